//! Items against the directory: what is missing is named, what a service answers may not be asked, circles are told with
//! their path, versions follow one another and old ones stay.

use proto::{
    exchange::v1::{self as exchange, LegalBasis},
    registry::v1::{self as wire, statement::Body},
};

use super::*;
use crate::{
    directory::StatementError,
    fixture::{self, Fixture},
};

fn item() -> ItemPublished {
    fixture::item()
}

fn object(item: &ItemPublished) -> String {
    format!("item/{}/{}", item.department, item.item)
}

fn refused(fixture: &Fixture, item: ItemPublished) -> StatementError {
    let object = object(&item);
    let statement = fixture.statement(Body::ItemPublished(item), &object);
    fixture.directory.check_draft(&statement).unwrap_err()
}

fn publish(fixture: &mut Fixture, item: ItemPublished) {
    let object = object(&item);
    let department = item.department.clone();
    fixture.say(&department, Body::ItemPublished(item), &object);
}

/// An item of housing that asks for these papers and issues those.
fn papers(id: &str, asks: &[&str], issues: &[&str]) -> ItemPublished {
    let proof = |paper: &&str| ProofRequirement {
        proof: (*paper).into(),
        legal_bases: vec![LegalBasis { instrument: "某条例".into(), article: "3".into() }],
        issuing_unit: "某单位".into(),
        ..Default::default()
    };
    ItemPublished {
        item: id.into(),
        proofs: asks.iter().map(proof).collect(),
        issues: issues.iter().map(|paper| (*paper).into()).collect(),
        ..item()
    }
}

#[test]
fn whatever_is_missing_is_refused_by_name() {
    let fixture = Fixture::town();
    assert_eq!(shape(&item()), []);
    type Change = fn(&mut ItemPublished);
    let cases: [(&str, Change); 12] = [
        ("item", |item| item.item = " ".into()),
        ("name.zh", |item| item.name = None),
        ("legal_basis", |item| item.legal_bases.clear()),
        ("accepting_unit", |item| item.accepting_unit.clear()),
        ("steps", |item| item.steps.clear()),
        ("steps[0].actor", |item| item.steps[0].actor.clear()),
        ("proofs", |item| item.proofs.clear()),
        ("samples", |item| item.samples.clear()),
        ("fees", |item| item.fees.clear()),
        ("time_limit_working_days", |item| item.time_limit_working_days = None),
        ("contact", |item| item.contact.clear()),
        ("proofs[0].legal_basis", |item| item.proofs[0].legal_bases.clear()),
    ];
    for (field, change) in cases {
        let mut changed = item();
        change(&mut changed);
        assert_eq!(shape(&changed)[0].field, field);
        let told = refused(&fixture, changed).refusal();
        assert_eq!(told.field, field, "{told}");
    }
    // A file among the samples has a kind, a name and a digest, and is one by itself.
    let sample = |kind: &str, name: &str, length: usize| wire::SampleFile {
        kind: kind.into(),
        name: name.into(),
        sha256: vec![7; length],
    };
    let with = |sample| ItemPublished { samples: Vec::new(), sample_files: vec![sample], ..item() };
    assert_eq!(shape(&with(sample("mistake", "常见错误.pdf", 32))), []);
    for (wrong, field) in [
        (sample("picture", "示范.pdf", 32), "sample_files[0].kind"),
        (sample("sample", " ", 32), "sample_files[0].name"),
        (sample("sample", "示范.pdf", 20), "sample_files[0].sha256"),
    ] {
        assert_eq!(shape(&with(wrong))[0].field, field);
    }
    // All at once, in one sentence.
    let bare = ItemPublished { item: "入学".into(), department: "housing".into(), version: 1, ..Default::default() };
    let told = refused(&fixture, bare).to_string();
    for field in ["name.zh", "accepting_unit", "steps", "samples", "fees", "contact"] {
        assert!(told.contains(field), "{told}");
    }
}

#[test]
fn what_a_service_answers_may_not_be_asked_of_the_applicant() {
    let mut fixture = Fixture::town();
    publish(&mut fixture, papers("入学", &["婚姻状况证明"], &[]));
    assert_eq!(findings(&fixture.directory, None, fixture::NOW_MS), []);
    let mut marriage = fixture::marriage_registration();
    marriage.minor_version = 1;
    marriage.replaces_proofs = vec!["婚姻状况证明 (marital status)".into()];
    fixture.publish(marriage);
    // What is published already is found, and cannot be said again.
    let found = findings(&fixture.directory, None, fixture::NOW_MS);
    assert_eq!(
        (found[0].kind, found[0].services.as_slice()),
        (FindingKind::NowObtainable, &["civil-affairs/marriage-registration".to_owned()][..])
    );
    let told = refused(&fixture, ItemPublished { version: 2, ..papers("入学", &["婚姻状况证明"], &[]) });
    assert!(told.to_string().contains("civil-affairs/marriage-registration answers it"), "{told}");
    let mut mended = ItemPublished { version: 2, ..papers("入学", &["婚姻状况证明"], &[]) };
    mended.proofs[0].answered_by = "civil-affairs/marriage-registration".into();
    mended.proofs[0].major_version = 1;
    mended.proofs[0].claim = Some(fixture::claim("marital_status", "equals", ""));
    mended.proofs[0].claim.as_mut().unwrap().operands.clear();
    let mut unasked = mended.clone();
    unasked.proofs[0].claim.as_mut().unwrap().attribute = "income".into();
    assert!(refused(&fixture, unasked).to_string().contains("has no attribute income"));
    publish(&mut fixture, mended);
    assert_eq!(findings(&fixture.directory, None, fixture::NOW_MS), []);
}

#[test]
fn a_circle_of_papers_is_told_with_its_path() {
    let mut fixture = Fixture::town();
    publish(&mut fixture, papers("甲", &["乙证明"], &["甲证明"]));
    publish(&mut fixture, papers("乙", &["丙证明"], &["乙证明"]));
    let told = refused(&fixture, papers("丙", &["甲证明"], &["丙证明"])).to_string();
    assert!(told.contains("housing/丙 → 甲证明 → housing/甲 → 乙证明 → housing/乙 → 丙证明 → housing/丙"), "{told}");
    let itself = refused(&fixture, papers("丁", &["丁证明"], &["丁证明"])).to_string();
    assert!(itself.contains("housing/丁 → 丁证明 → housing/丁"), "{itself}");
    publish(&mut fixture, papers("丙", &["户口簿"], &["丙证明"]));
    let dot = graph::text(&fixture.directory, Some("甲"), graph::Format::Dot);
    assert!(dot.starts_with("digraph") && dot.contains("户口簿") && dot.contains("issued by"), "{dot}");
    let mermaid = graph::text(&fixture.directory, Some("丙"), graph::Format::Mermaid);
    assert!(mermaid.starts_with("graph LR") && !mermaid.contains("乙证明"), "{mermaid}");
}

#[test]
fn a_circle_with_a_version_that_a_later_one_mends_is_not_taken_in_and_stays_readable() {
    let mut fixture = Fixture::town();
    let day = |number: u64| fixture::NOW_MS + number * 86_400_000;
    let dated =
        |version: u32, from_ms: u64, item: ItemPublished| ItemPublished { version, effective_from_ms: from_ms, ..item };
    let first = || papers("甲", &["乙证明"], &["甲证明"]);
    let free = || papers("甲", &["户口簿"], &["甲证明"]);
    publish(&mut fixture, first());
    publish(&mut fixture, dated(2, day(1), free()));
    let second = || papers("乙", &["甲证明"], &["乙证明"]);
    let path = "housing/乙 → 甲证明 → housing/甲 → 乙证明 → housing/乙";
    let told = refused(&fixture, second());
    assert!(told.to_string().contains(path), "{told}");
    assert_eq!(told.refusal().field, "proofs");
    // From the day on that the other does not ask for it there is no circle.
    let drafted = |fixture: &Fixture, item: ItemPublished| {
        let object = object(&item);
        fixture.directory.check_draft(&fixture.statement(Body::ItemPublished(item), &object)).map(|_| ())
    };
    assert_eq!(drafted(&fixture, dated(1, day(1), second())), Ok(()));
    // Nor may there be one between two days to come.
    publish(&mut fixture, dated(3, day(2), first()));
    publish(&mut fixture, dated(4, day(3), free()));
    assert!(drafted(&fixture, dated(1, day(1), second())).unwrap_err().to_string().contains(path));
    assert_eq!(drafted(&fixture, dated(1, day(3), second())), Ok(()));

    // Whoever takes a signed statement in refuses it; in a log that has it already it is read, and can be mended.
    let signed = fixture.sign("housing", Body::ItemPublished(second()), &object(&second()));
    let checked = fixture.directory.check_envelope(&signed).unwrap();
    assert!(fixture.directory.check_new(&checked).unwrap_err().to_string().contains(path));
    publish(&mut fixture, second());
    assert_eq!(drafted(&fixture, ItemPublished { version: 2, ..papers("乙", &["户口簿"], &["乙证明"]) }), Ok(()));
}

#[test]
fn versions_follow_one_another_and_old_ones_stay() {
    let mut fixture = Fixture::town();
    let department = fixture::department("housing");
    publish(&mut fixture, item());
    let told = refused(&fixture, ItemPublished { version: 3, ..item() }).refusal();
    assert_eq!(told.field, "version");
    let later_ms = fixture::NOW_MS + 1000;
    let second = ItemPublished { version: 2, effective_from_ms: later_ms, fees: "免费".into(), ..item() };
    publish(&mut fixture, second);
    let id = item().item;
    let at = |ms| fixture.directory.item_at(&department, &id, ms).map(|version| version.published.version);
    assert_eq!((at(fixture::NOW_MS), at(later_ms)), (Some(1), Some(2)));
    assert_eq!(fixture.directory.item_version(&department, &id, 1).unwrap().published.fees, item().fees);
    let early = wire::ItemPublished { version: 3, ..item() };
    assert_eq!(refused(&fixture, early).refusal().field, "effective_from");
}

/// An item of housing: the marriage register gives a value that other proofs take.
fn giving(gives: &str, attribute: &str, takers: &[(&str, &str)]) -> ItemPublished {
    let basis = papers("甲", &["某证明"], &[]).proofs[0].legal_bases.clone();
    let proof = |name: &str, attribute: &str, operator: &str| ProofRequirement {
        proof: name.into(),
        legal_bases: basis.clone(),
        issuing_unit: "某单位".into(),
        answered_by: "civil-affairs/marriage-registration".into(),
        major_version: 1,
        claim: Some(exchange::Claim { attribute: attribute.into(), operator: operator.into(), ..Default::default() }),
        ..Default::default()
    };
    let mut giver = proof("登记日期证明", attribute, "equals");
    giver.gives = gives.into();
    giver.claim.as_mut().unwrap().disclose = true;
    let takers = takers.iter().map(|(about, from)| ProofRequirement {
        about: (*about).into(),
        value_from: (*from).into(),
        ..proof("婚姻状况证明", "marital_status", "equals")
    });
    ItemPublished { proofs: std::iter::once(giver).chain(takers).collect(), ..papers("入学", &[], &[]) }
}

#[test]
fn what_an_answer_gives_must_be_disclosed_and_may_not_wait_for_itself() {
    let fixture = Fixture::town();
    let told = |item: ItemPublished| refused(&fixture, item).to_string();
    let taken = [("spouse", "spouse.married_on")];
    // Dates are disclosed by the fixture's register, statuses are not.
    assert_eq!(shape(&giving("spouse.married_on", "registered_on", &taken)), []);
    assert_eq!(
        standing(&fixture.directory, &giving("spouse.married_on", "registered_on", &taken), fixture::NOW_MS),
        []
    );
    let undisclosed = told(giving("spouse.married_on", "marital_status", &taken));
    assert!(undisclosed.contains("discloses no value of marital_status"), "{undisclosed}");
    for (gives, reason) in [("child.name", "one person of the case"), ("somebody", "one person of the case")] {
        let told = told(giving(gives, "registered_on", &taken));
        assert!(told.contains(reason), "{told}");
    }
    let mut twice = giving("spouse.married_on", "registered_on", &[]);
    twice.proofs.push(ProofRequirement { about: "spouse".into(), ..twice.proofs[0].clone() });
    assert!(told(twice).contains("another proof gives this already"));
    let mut hidden = giving("spouse.married_on", "registered_on", &taken);
    hidden.proofs[0].claim.as_mut().unwrap().disclose = false;
    assert!(told(hidden).contains("needs a claim that discloses"));
    let mut idle = giving("spouse.married_on", "registered_on", &taken);
    idle.proofs[0].gives.clear();
    assert!(told(idle).contains("must be for something"));

    // The spouse's number is given by a question about the spouse.
    let mut circular = giving("spouse.resident_id", "registered_on", &taken);
    circular.proofs[0].about = "spouse".into();
    let circle = told(circular);
    assert!(circle.contains("in a circle: 登记日期证明 → 登记日期证明"), "{circle}");
    // And over another proof.
    let mut over = giving("spouse.resident_id", "registered_on", &taken);
    over.proofs[0].value_from = "spouse.since".into();
    let (gives, disclosed) = ("spouse.since".to_owned(), over.proofs[0].claim.clone());
    over.proofs[1] = ProofRequirement {
        gives,
        claim: disclosed,
        stated: "wedding".into(),
        value_from: String::new(),
        ..over.proofs[1].clone()
    };
    let circle = told(over);
    assert!(circle.contains("登记日期证明 → 婚姻状况证明 → 登记日期证明"), "{circle}");
}

#[test]
fn a_claim_waits_for_nothing_of_the_applicants_and_what_selects_rows_may() {
    let fixture = Fixture::town();
    let mut item = giving("applicant.registered_on", "registered_on", &[("spouse", "")]);
    let asked = &mut item.proofs[1];
    let input = |name: &str| wire::ProofInput { name: name.into(), ..Default::default() };
    asked.inputs = vec![input("region"), input("resident_id")];
    let service = service_of(&fixture.directory, asked).unwrap();
    let needs = given::needs(service, asked);
    for (name, spouses, applicants) in
        [("marital_status", true, false), ("region", true, true), ("resident_id", true, false)]
    {
        let has = |role: &str| needs.contains(&format!("{role}.{name}"));
        assert_eq!((has("spouse"), has("applicant")), (spouses, applicants), "{name}: {needs:?}");
    }
    // What is asked about the spouse may therefore give what is the applicant's own under the same name.
    item.proofs[0].about = "spouse".into();
    assert_eq!(given::circle(&fixture.directory, &item), None);
}
