//! How data services look, for people and for machines. Out of scope: what there is to show (`trust::reading`).

use proto::{
    admin::v1::ServiceState,
    registry::v1::{ServiceEntry, ServicePublished},
};
use serde_json::{Value, json};
use trust::{
    reading::{ServiceWords, bases},
    service::words,
};

use super::super::output;

pub(super) fn row(state: &ServiceState) -> [String; 6] {
    let service = state.service.clone().unwrap_or_default();
    let name = service.name.clone().unwrap_or_default();
    let attributes: Vec<&str> = service.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    [
        format!("{}/{}", service.department, service.service),
        format!("{}.{}", service.major_version, service.minor_version),
        name.zh,
        words::sharing(service.sharing()).to_owned(),
        state_text(state),
        attributes.join("\n"),
    ]
}

pub(super) fn state_text(state: &ServiceState) -> String {
    if state.notice.is_empty() { state.state.clone() } else { format!("{}: {}", state.state, state.notice) }
}

pub(super) fn state_json(state: &ServiceState) -> Value {
    let mut machine = published_json(&state.service.clone().unwrap_or_default());
    machine["state"] = json!(state.state);
    machine["notice"] = json!(state.notice);
    machine["ends_ms"] = json!(state.ends_ms);
    machine["review"] = json!(state.review);
    let change = state.change.as_ref();
    machine["change_version"] =
        json!(change.map(|change| format!("{}.{}", change.major_version, change.minor_version)));
    machine["change_missing"] = json!(state.change_missing);
    machine["provider_name"] = json!(state.provider_name);
    machine
}

pub(super) fn state_details(state: &ServiceState) -> String {
    let change = state.change.as_ref().map(|change| {
        let version = format!("{}.{}", change.major_version, change.minor_version);
        match state.change_missing.as_slice() {
            [] => format!("{version} waits for the authority's review"),
            missing => format!("{version} was returned by the authority: {}", missing.join("; ")),
        }
    });
    let general = [
        ("state", state_text(state)),
        ("ends", output::moment(state.ends_ms)),
        ("review", state.review.clone()),
        ("change", change.unwrap_or_default()),
    ];
    format!("{}\n{}", output::pairs(general), state.service.as_ref().map(details).unwrap_or_default())
}

pub(super) fn published_json(service: &ServicePublished) -> Value {
    let name = service.name.clone().unwrap_or_default();
    let read = in_words(service);
    let mut machine = json!({
        "provider": service.department,
        "service": service.service,
        "major_version": service.major_version,
        "minor_version": service.minor_version,
        "name_zh": name.zh,
        "name_en": name.en,
        "sharing": words::sharing(service.sharing()),
        "subject_schemes": service.subject_schemes,
        "attributes": read.attributes,
        "inputs": read.inputs,
        "legal_bases": service.legal_bases.iter().map(words::basis).collect::<Vec<_>>(),
        "update_cycle": service.update_cycle,
        "contact": service.contact,
        "catalogue_code": service.catalogue_code,
        "needs_authorisation": service.needs_authorisation.is_some(),
        "items": service.items,
        "replaces_proofs": service.replaces_proofs,
    });
    if let (Value::Object(machine), Value::Object(rest)) = (&mut machine, json!(read.description)) {
        machine.extend(rest);
    }
    machine
}

/// As every reader of the directory is shown it.
fn in_words(service: &ServicePublished) -> ServiceWords {
    ServiceWords::of(&ServiceEntry { service: Some(service.clone()), ..ServiceEntry::default() })
}

pub(super) fn details(service: &ServicePublished) -> String {
    let name = service.name.clone().unwrap_or_default();
    let inputs: Vec<String> = service
        .inputs
        .iter()
        .map(|input| format!("{}: {}{}", input.name, input.r#type, if input.required { ", required" } else { "" }))
        .collect();
    let provider = if service.department.is_empty() { String::new() } else { format!("{}/", service.department) };
    let read = in_words(service);
    let mut general = vec![
        ("service", format!("{provider}{} {}.{}", service.service, service.major_version, service.minor_version)),
        ("name", [name.zh, name.en].join(" ").trim().to_owned()),
        ("sharing", words::sharing(service.sharing()).to_owned()),
        ("subjects", service.subject_schemes.join(", ")),
        ("inputs", inputs.join("\n")),
        ("legal bases", bases(&service.legal_bases)),
        ("items", service.items.join("\n")),
        ("replaces", service.replaces_proofs.join("\n")),
        ("updated", service.update_cycle.clone()),
        ("contact", service.contact.clone()),
        ("catalogue code", service.catalogue_code.clone()),
    ];
    general.extend(read.description.facts());
    let attributes = output::table(ServiceWords::ATTRIBUTE_HEADER, read.attribute_rows());
    format!("{}\n{attributes}", output::pairs(general))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service_file;

    #[test]
    fn a_service_is_shown_with_what_an_asker_must_know() {
        let machine = state_json(&ServiceState {
            service: Some(trust::fixture::marriage_registration()),
            state: "answering".into(),
            ..ServiceState::default()
        });
        assert_eq!(machine["service"], "marriage-registration");
        assert_eq!(machine["state"], "answering");
        assert_eq!(machine["attributes"][0]["operators"], json!(["equals", "one_of"]));
        let text = details(&trust::fixture::marriage_registration());
        for part in ["civil-affairs/marriage-registration 1.0", "婚姻登记条例 4", "single, married", "latest"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    /// An operator who reads what others publish must not have to guess what was left out.
    #[test]
    fn every_field_of_a_description_is_in_its_text_and_its_json() {
        let text = r#"service: horse-register
version: "1.7"
name: {zh: 马匹登记, en: Horse register}
subject: [uscc]
sharing: not_shared
forbidden_by: 某保密法 13
legal_basis: ["某登记条例 4"]
attributes:
  owner:
    type: enum
    members: [herd, stable]
    operators: [equals, one_of]
    discloses: true
    sensitivity: sensitive
    rows: latest seen_on
    absence: herd
    label: {zh: 所属, en: Owner}
  count:
    type: integer
    operators: [at_least]
    sensitivity: ordinary
    rows: count
    label: {zh: 数量}
inputs:
  region: {type: string, required: true}
complete: {territory: ["890000"], since: 2003-04-05}
needs_authorisation: 某救助办法 58
items: [马匹补贴]
replaces_proofs: [马匹证明]
update_cycle: weekly
time_to_answer_ms: 567
record_as_of: seen_on_day
conditions: 仅限补贴
classification: 三级
contact: 0890-1
catalogue_code: 890000-0099
answered_by: record_then_clerk
clerk_answers_within: 7 working days
guesses_per_day: 2
guesses_per_year: 5
"#;
        let service = service_file::parse(text, "f.yaml").unwrap_or_else(|problems| panic!("{problems:#?}"));
        let told = details(&service);
        let machine = published_json(&service).to_string();
        for part in [
            "horse-register",
            "马匹登记",
            "Horse register",
            "uscc",
            "not_shared",
            "某保密法 13",
            "某登记条例 4",
            "owner",
            "enum",
            "herd",
            "stable",
            "equals",
            "one_of",
            "sensitive",
            "latest",
            "seen_on",
            "所属",
            "count",
            "integer",
            "at_least",
            "ordinary",
            "数量",
            "region",
            "890000",
            "2003-04-05",
            "某救助办法 58",
            "马匹补贴",
            "马匹证明",
            "weekly",
            "567",
            "seen_on_day",
            "仅限补贴",
            "三级",
            "0890-1",
            "890000-0099",
            "7",
            "2",
            "5",
        ] {
            assert!(told.contains(part), "{part} is not in the text: {told}");
            assert!(machine.contains(part), "{part} is not in the JSON: {machine}");
        }
        for part in ["disclosed", "verdict only", "a person where there is none", "7 working days", "means something"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let read = published_json(&service);
        assert_eq!((read["answered_by"].as_str(), read["clerk_days"].as_u64()), (Some("record_then_clerk"), Some(7)));
        assert_eq!((read["guesses_per_day"].as_u64(), read["guesses_per_year"].as_u64()), (Some(2), Some(5)));
        assert_eq!(read["attributes"][0]["discloses"], true);
        // The same as the readers' service of both programs tells.
        let reader = json!(in_words(&service));
        for key in ["conditions", "classification", "forbidden_by", "record_as_of", "answered_by", "complete_in"] {
            assert_eq!(reader[key], read[key], "{key}");
        }
    }
}
