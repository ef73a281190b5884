//! What a service file says comes out; what is wrong with one is said by line and field, all of it at once.

use proptest::prelude::*;
use proto::registry::v1 as wire;
use trust::claim::RowRule;
use trust::ids::Digest;
use trust::service::Service;

use super::*;

const SAMPLE: &str = r#"service: marriage-registration
version: "1.10"
name: {zh: 婚姻登记核验, en: Marriage registration}
subject: [resident_id]
sharing: conditional
legal_basis: ["婚姻登记条例 4", 居民身份证法, "国卫规划发〔2013〕57号"]
attributes:
  marital_status:
    type: enum
    members: [single, married, divorced, widowed]
    operators: [equals, one_of]
    discloses: true
    sensitivity: sensitive
    rows: latest registered_on
    absence: single
    label: {zh: 婚姻状况, en: Marital status}
  registrations:
    type: integer
    operators: [at_least]
    rows: count
inputs:
  period: {type: string, required: true}
complete: {territory: ["890000"], since: 2001-01-01}
needs_authorisation: 社会救助暂行办法 58
items: [公租房申请]
replaces_proofs: [婚姻状况证明]
update_cycle: daily
time_to_answer_ms: 500
record_as_of: record_as_of
conditions: 仅用于所列事项的办理
classification: L3
contact: 民政局婚姻登记处 0890-000-0000
catalogue_code: ""
answered_by: record
guesses_per_day: 3
"#;

/// The descriptions of the demo town.
const TOWN: [&str; 8] = [
    include_str!("../../../examples/town/services/birth-certificate.yaml"),
    include_str!("../../../examples/town/services/death-certificate.yaml"),
    include_str!("../../../examples/town/services/marriage-registration.yaml"),
    include_str!("../../../examples/town/services/property-ownership.yaml"),
    include_str!("../../../examples/town/services/resident-identity.yaml"),
    include_str!("../../../examples/town/services/social-insurance.yaml"),
    include_str!("../../../examples/town/services/subsistence-allowance.yaml"),
    include_str!("../../../examples/town/services/tax-paid.yaml"),
];

fn checked(mut published: wire::ServicePublished) -> Service {
    published.department = "civil-affairs".to_owned();
    Service::check(&published, Digest::new([1; 32])).unwrap()
}

/// The problems of `text`, as they are printed.
fn problems(text: &str) -> Vec<String> {
    parse(text, "service.yaml").unwrap_err().iter().map(ToString::to_string).collect()
}

/// The problems of the sample with `from` replaced by `to`, without the file's name.
fn changed(from: &str, to: &str) -> Vec<String> {
    assert!(SAMPLE.contains(from), "{from}");
    let problems = problems(&SAMPLE.replacen(from, to, 1));
    problems.into_iter().map(|problem| problem.replacen("service.yaml:", "", 1)).collect()
}

#[test]
fn every_field_comes_out() {
    let published = parse(SAMPLE, "service.yaml").unwrap();
    assert_eq!(published.department, "");
    assert_eq!((published.major_version, published.minor_version), (1, 10));
    let basis = |instrument: &str, article: &str| proto::exchange::v1::LegalBasis {
        instrument: instrument.to_owned(),
        article: article.to_owned(),
    };
    let bases = [basis("婚姻登记条例", "4"), basis("居民身份证法", ""), basis("国卫规划发〔2013〕57号", "")];
    assert_eq!(published.legal_bases, bases);
    assert_eq!(published.needs_authorisation, Some(basis("社会救助暂行办法", "58")));
    assert_eq!((published.mode.as_str(), published.format.as_str()), ("verification", "claims"));
    assert_eq!((published.time_to_answer_ms, published.guesses_per_day), (500, 3));
    assert_eq!(published.completeness.as_ref().unwrap().since, "2001-01-01");
    assert_eq!(published.inputs[0].name, "period");
    assert!(published.inputs[0].required);
    assert_eq!(published.answered_by, "record");
    let service = checked(published);
    let status = &service.attributes["marital_status"];
    assert_eq!(status.rows(), &RowRule::Latest { by: "registered_on".to_owned() });
    assert_eq!(status.absence().unwrap().to_text(), "single");
    assert!(status.discloses() && status.is_sensitive());
    assert_eq!(service.attributes["registrations"].rows(), &RowRule::Count);
}

#[test]
fn what_may_be_left_out_may_be_left_out() {
    let text = "service: s\nversion: 2.0\nname: {zh: 名}\nsubject: [uscc]\nsharing: unconditional\nlegal_basis: [法]\n\
                attributes:\n  a: {type: string, operators: [equals]}\nupdate_cycle: yearly\n";
    let published = parse(text, "s.yaml").unwrap();
    assert_eq!(published.time_to_answer_ms, 1000);
    assert_eq!(published.answered_by, "record");
    assert_eq!(published.attributes[0].rows(), wire::RowRule::Only);
    assert_eq!(published.attributes[0].sensitivity, "ordinary");
    checked(published);
}

#[test]
fn the_towns_descriptions_are_read_and_written() {
    for text in TOWN.into_iter().chain([SAMPLE]) {
        let published = parse(text, "town.yaml").unwrap();
        checked(published.clone());
        let rendered = render(&published);
        assert_eq!(parse(&rendered, "rendered.yaml").unwrap(), published, "{rendered}");
    }
}

#[test]
fn everything_wrong_is_said_at_once_in_order() {
    let text = SAMPLE
        .replace("\"1.10\"", "1.10.2")
        .replace("[equals, one_of]", "[equals, at_least]")
        .replace("absence: single", "absence: unknown")
        .replace("since: 2001-01-01", "since: 2001-02-30")
        .replace("guesses_per_day: 3", "guesses: 3");
    let problems = problems(&text);
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert!(problems[0].starts_with("service.yaml:2: version: must be a major number"), "{problems:#?}");
    assert!(
        problems[1].starts_with("service.yaml:11: attributes.marital_status.operators[1]: at_least"),
        "{problems:#?}"
    );
    assert!(
        problems[2].starts_with("service.yaml:15: attributes.marital_status.absence: must be one of the 4"),
        "{problems:#?}"
    );
    assert_eq!(problems[3], "service.yaml:23: complete.since: must be a day of the calendar, written YYYY-MM-DD");
    assert!(
        problems[4].starts_with("service.yaml:35: guesses: there is no such field: service, version, "),
        "{problems:#?}"
    );
}

/// Faults that only show in the whole are said at once too.
#[test]
fn contradictions_between_fields_are_all_said() {
    let text = SAMPLE
        .replace(
            "  period: {type: string, required: true}",
            "  period: {type: string}\n  registrations: {type: string}",
        )
        .replace("rows: latest registered_on", "rows: latest period")
        .replace("record_as_of: record_as_of", "record_as_of: marital_status");
    let problems = problems(&text);
    let lines: Vec<&str> = problems.iter().map(|problem| problem.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["14", "23", "30"], "{problems:#?}");
}

/// The node counts the minor version where the file does not.
#[test]
fn a_major_version_alone_will_do() {
    let published = parse(&SAMPLE.replace("\"1.10\"", "\"2\""), "service.yaml").unwrap();
    assert_eq!((published.major_version, published.minor_version), (2, 0));
}

#[test]
fn each_fault_has_its_line_and_field() {
    let cases = [
        ("service: marriage", "service: Marriage", "1: service: a service's id must be lower-case"),
        ("service: marriage-registration\n", "", "1: service: is missing"),
        ("\"1.10\"", "0.1", "2: version: must be a major"),
        ("\"1.10\"", "01.1", "2: version: must be a major"),
        ("\"1.10\"", "1.", "2: version: must be a major"),
        ("\"1.10\"", "v1", "2: version: must be a major"),
        ("{zh: 婚姻登记核验, en: Marriage registration}", "婚姻登记核验", "3: name: must be a map"),
        ("zh: 婚姻登记核验", "zh: ~", "3: name.zh: is missing"),
        ("zh: 婚姻登记核验", "zn: 婚姻登记核验", "3: name.zh: is missing"),
        ("[resident_id]", "[resident_number]", "4: subject[0]: unknown subject scheme"),
        ("[resident_id]", "[uscc, uscc]", "4: subject[1]: is repeated"),
        ("[resident_id]", "[]", "4: subject: must name at least one"),
        ("[resident_id]", "resident_id", "4: subject: must be a list"),
        ("sharing: conditional", "sharing: sometimes", "5: sharing: must be unconditional, conditional or not_shared"),
        ("sharing: conditional", "sharing: not_shared", "5: forbidden_by: is missing"),
        ("sharing: conditional", "sharing: conditional\nforbidden_by: 法 1", "6: forbidden_by: only a service"),
        ("[\"婚姻登记条例 4\", 居民身份证法, \"国卫规划发〔2013〕57号\"]", "[]", "6: legal_basis: no legal basis"),
        ("  marital_status:", "  MaritalStatus:", "8: attributes.MaritalStatus: a name is"),
        ("  registrations:", "  marital_status:", "17: attributes.marital_status: stands on line 8 already"),
        ("type: enum", "type: choice", "9: attributes.marital_status.type: must be boolean, date,"),
        (
            "    members: [single, married, divorced, widowed]\n",
            "",
            "8: attributes.marital_status.members: an enumeration",
        ),
        ("[equals, one_of]", "[equals, equals]", "11: attributes.marital_status.operators[1]: is repeated"),
        ("[equals, one_of]", "[equals,\n at_least]", "12: attributes.marital_status.operators[1]: at_least cannot"),
        ("discloses: true", "discloses: yes", "12: attributes.marital_status.discloses: must be true or false"),
        (
            "sensitivity: sensitive",
            "sensitivity: secret",
            "13: attributes.marital_status.sensitivity: must be ordinary",
        ),
        ("rows: latest registered_on", "rows: latest", "14: attributes.marital_status.rows: must be only, any,"),
        ("rows: latest registered_on", "rows: last", "14: attributes.marital_status.rows: must be only, any,"),
        ("rows: latest registered_on", "rows: latest Date", "14: attributes.marital_status.rows: must be 1 to 63"),
        (
            "rows: latest registered_on",
            "rows: latest period",
            "14: attributes.marital_status.rows: the column period holds no",
        ),
        ("rows: latest registered_on", "rows: sum", "14: attributes.marital_status.rows: sum needs"),
        (
            "complete: {territory: [\"890000\"], since: 2001-01-01}\n",
            "",
            "15: attributes.marital_status.absence: means something only",
        ),
        ("period: {type: string", "period: {type: enum", "22: inputs.period.type: must be string, boolean,"),
        (
            "period: {type: string",
            "resident_id: {type: string",
            "22: inputs.resident_id: the column of that name holds the subject",
        ),
        (
            "period: {type: string",
            "registrations: {type: string",
            "22: inputs.registrations: an attribute of that name counts rows",
        ),
        (
            "period: {type: string",
            "marital_status: {type: string",
            "22: inputs.marital_status: the column of that name has another type",
        ),
        ("required: true", "required: 1", "22: inputs.period.required: must be true or false"),
        ("[\"890000\"]", "[\"89\"]", "23: complete.territory[0]: must be a division code"),
        ("[\"890000\"]", "[]", "23: complete.territory: must name at least one"),
        ("[公租房申请]", "[公租房申请, \"\"]", "25: items[1]: must not be empty"),
        ("update_cycle: daily", "update_cycle: hourly", "27: update_cycle: must be real_time, daily,"),
        ("update_cycle: daily\n", "", "1: update_cycle: is missing"),
        (
            "time_to_answer_ms: 500",
            "time_to_answer_ms: 0",
            "28: time_to_answer_ms: must be a whole number from 1 to 300000",
        ),
        ("time_to_answer_ms: 500", "time_to_answer_ms: 1e3", "28: time_to_answer_ms: must be a whole number"),
        (
            "record_as_of: record_as_of",
            "record_as_of: marital_status",
            "29: record_as_of: the column marital_status must hold dates",
        ),
        ("contact: 民政局婚姻登记处 0890-000-0000", "contact: \"a\\nb\"", "32: contact: must be one line"),
        ("answered_by: record", "answered_by: person", "34: answered_by: must be record, clerk or record_then_clerk"),
        ("guesses_per_day: 3", "guesses_per_day: -3", "35: guesses_per_day: must be a whole number"),
        ("guesses_per_day: 3", "service: other", "35: service: stands on line 1 already"),
        ("[resident_id]", "&a [resident_id]", "4: anchors (&) are not allowed"),
        ("[resident_id]", "!x [resident_id]", "4: tags (!) are not allowed"),
        ("guesses_per_day: 3", "? [a, b]\n: c", "35: a field's name must be a text"),
        ("guesses_per_day: 3\n", "---\nservice: other\n", "35: a file holds one description"),
        ("[resident_id]", "[[[[[[[[[resident_id]]]]]]]]]", "4: nested too deeply"),
        ("[resident_id]", "[resident_id", "5: "),
    ];
    for (from, to, expected) in cases {
        let problems = changed(from, to);
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{to}: {problems:#?}");
    }
}

#[test]
fn a_single_fault_is_said_once() {
    for (from, to) in [
        ("sharing: conditional", "sharing: sometimes"),
        ("type: enum", "type: choice"),
        ("[equals, one_of]", "[equals, at_least]"),
        ("update_cycle: daily\n", ""),
        ("rows: latest registered_on", "rows: last"),
        ("[\"890000\"]", "[]"),
    ] {
        assert_eq!(changed(from, to).len(), 1, "{to}: {:#?}", changed(from, to));
    }
}

#[test]
fn files_that_are_no_description_say_so() {
    assert_eq!(problems(""), ["service.yaml:1: the file is empty"]);
    assert_eq!(problems("# nothing\n"), ["service.yaml:1: the file is empty"]);
    assert!(problems("- a\n- b\n")[0].starts_with("service.yaml:1: a service file is a map"));
    assert!(problems("a: b\nc: [d\n\ne: f\n")[0].starts_with("service.yaml:4: "));
    assert!(problems(&"a: b\n".repeat(60_000))[0].contains("longer than 256 KiB"));
    let many = (0..300).map(|n| format!("  - {}{n}\n", "申".repeat(100))).collect::<String>();
    let long = SAMPLE.replacen("items: [公租房申请]\n", &format!("items:\n{many}"), 1);
    assert!(problems(&long)[0].contains("can be published"), "{:?}", problems(&long));
}

#[test]
fn a_legal_basis_that_would_be_misread_is_written_out() {
    let mut published = parse(SAMPLE, "service.yaml").unwrap();
    published.legal_bases[0].instrument = "GB 11643".to_owned();
    published.legal_bases[0].article = String::new();
    published.legal_bases[1].article = "第四条".to_owned();
    let rendered = render(&published);
    assert!(rendered.contains("{instrument: GB 11643}"), "{rendered}");
    assert_eq!(parse(&rendered, "rendered.yaml").unwrap(), published, "{rendered}");
}

proptest! {
    #[test]
    fn texts_come_back_as_they_were(
        zh in "\\PC{1,20}", instrument in "\\PC{1,12}", article in "\\PC{0,5}", item in "[a-z:#\\-?\\[{}&*!|>'\"%@` ,0-9~=]{1,12}",
    ) {
        let usable = |text: &str| !text.trim().is_empty();
        prop_assume!(usable(&zh) && usable(&item) && usable(&instrument));
        let mut published = parse(SAMPLE, "service.yaml").unwrap();
        published.name.as_mut().unwrap().zh = zh.trim().to_owned();
        published.items = vec![item.trim().to_owned()];
        published.legal_bases[0].instrument = instrument.trim().to_owned();
        published.legal_bases[0].article = article.trim().to_owned();
        let rendered = render(&published);
        prop_assert_eq!(parse(&rendered, "rendered.yaml").map_err(|problems| format!("{problems:?}\n{rendered}")), Ok(published));
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in "\\PC{0,200}") {
        let _ = parse(&text, "any.yaml");
    }

    #[test]
    fn broken_descriptions_do_not_panic(
        at in 0..SAMPLE.len(), length in 0_usize..40, insert in "[\\-:?,\\[\\]{}&*!|>'\"%@`# \n\ta1~]{0,6}",
    ) {
        let mut bytes = SAMPLE.as_bytes().to_vec();
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, insert.bytes());
        if let Ok(published) = parse(&String::from_utf8_lossy(&bytes), "any.yaml") {
            checked(published);
        }
    }
}
