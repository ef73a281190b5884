//! How data services look, for people and for machines.

use proto::{admin::v1::ServiceState, registry::v1::ServicePublished};
use serde_json::{Value, json};
use trust::{reading::bases, service::words};

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
    let attributes: Vec<Value> = service
        .attributes
        .iter()
        .map(|attribute| {
            json!({
                "name": attribute.name,
                "type": attribute.r#type,
                "members": attribute.members,
                "operators": attribute.operators,
                "discloses": attribute.discloses,
                "rows": words::rows(attribute.rows()),
                "absence": attribute.absence.is_some(),
            })
        })
        .collect();
    let inputs: Vec<Value> = service
        .inputs
        .iter()
        .map(|input| json!({ "name": input.name, "type": input.r#type, "required": input.required }))
        .collect();
    json!({
        "provider": service.department,
        "service": service.service,
        "major_version": service.major_version,
        "minor_version": service.minor_version,
        "name_zh": name.zh,
        "name_en": name.en,
        "sharing": words::sharing(service.sharing()),
        "subject_schemes": service.subject_schemes,
        "attributes": attributes,
        "inputs": inputs,
        "legal_bases": service.legal_bases.iter().map(words::basis).collect::<Vec<_>>(),
        "update_cycle": service.update_cycle,
        "conditions": service.conditions,
        "classification": service.classification,
        "contact": service.contact,
        "catalogue_code": service.catalogue_code,
        "needs_authorisation": service.needs_authorisation.is_some(),
        "items": service.items,
        "replaces_proofs": service.replaces_proofs,
    })
}

pub(super) fn details(service: &ServicePublished) -> String {
    let name = service.name.clone().unwrap_or_default();
    let inputs: Vec<String> = service
        .inputs
        .iter()
        .map(|input| format!("{}: {}{}", input.name, input.r#type, if input.required { ", required" } else { "" }))
        .collect();
    let provider = if service.department.is_empty() { String::new() } else { format!("{}/", service.department) };
    let general = output::pairs([
        ("service", format!("{provider}{} {}.{}", service.service, service.major_version, service.minor_version)),
        ("name", [name.zh, name.en].join(" ").trim().to_owned()),
        ("sharing", words::sharing(service.sharing()).to_owned()),
        ("subjects", service.subject_schemes.join(", ")),
        ("inputs", inputs.join("\n")),
        ("legal bases", bases(&service.legal_bases)),
        ("needs authorisation", bases(service.needs_authorisation.as_slice())),
        ("forbidden by", bases(service.forbidden_by.as_slice())),
        ("conditions", service.conditions.clone()),
        ("items", service.items.join("\n")),
        ("replaces", service.replaces_proofs.join("\n")),
        ("updated", service.update_cycle.clone()),
        ("contact", service.contact.clone()),
        ("classification", service.classification.clone()),
        ("catalogue code", service.catalogue_code.clone()),
    ]);
    let attributes = service.attributes.iter().map(|attribute| {
        let ty = match attribute.members.as_slice() {
            [] => attribute.r#type.clone(),
            members => format!("{}: {}", attribute.r#type, members.join(", ")),
        };
        let absence = if attribute.absence.is_some() { "means something" } else { "" };
        [
            attribute.name.clone(),
            ty,
            attribute.operators.join(", "),
            words::rows(attribute.rows()).to_owned(),
            absence.to_owned(),
        ]
    });
    format!("{general}\n{}", output::table(["attribute", "type", "operators", "rows", "no row"], attributes))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
