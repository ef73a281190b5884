//! Each difference with its effect; and over many changes, that a compatible one refuses nothing that was permitted.

use proptest::{prelude::*, sample::subsequence};
use proto::{
    exchange::v1::{Value, value::Kind},
    registry::v1::statement::Body,
};

use super::*;
use crate::{
    decision::decide,
    fixture::{self, Fixture, NOW_MS},
    question::Question,
};

fn changed(change: impl FnOnce(&mut wire::ServicePublished)) -> Vec<Difference> {
    let before = fixture::marriage_registration();
    let mut after = before.clone();
    change(&mut after);
    compare(&before, &after)
}

fn text(text: &str) -> Option<Value> {
    Some(Value { kind: Some(Kind::Text(text.into())) })
}

#[test]
fn the_same_description_has_no_differences() {
    assert_eq!(changed(|_| {}), []);
    // Not said, and said as it is usual, is the same.
    assert_eq!(changed(|after| after.mode = "verification".into()), []);
    assert_eq!(changed(|after| after.version_of(3, 4)), []);
}

trait Version {
    fn version_of(&mut self, major: u32, minor: u32);
}

impl Version for wire::ServicePublished {
    fn version_of(&mut self, major: u32, minor: u32) {
        (self.major_version, self.minor_version) = (major, minor);
    }
}

#[test]
fn what_takes_something_away_needs_a_new_major_version() {
    type Change<'a> = (&'a str, &'a dyn Fn(&mut wire::ServicePublished));
    let input = |required| wire::InputDescription { name: "region".into(), r#type: "string".into(), required };
    let changes: [Change<'_>; 20] = [
        ("attributes.registered_on", &|after| drop(after.attributes.pop())),
        ("attributes.registered_on.type", &|after| after.attributes[1].r#type = "string".into()),
        ("attributes.marital_status.members", &|after| drop(after.attributes[0].members.pop())),
        ("attributes.marital_status.operators", &|after| drop(after.attributes[0].operators.pop())),
        ("attributes.registered_on.discloses", &|after| after.attributes[1].discloses = false),
        ("attributes.marital_status.rows", &|after| after.attributes[0].rows = wire::RowRule::Any.into()),
        ("attributes.marital_status.rows", &|after| after.attributes[0].latest_by = "entered_on".into()),
        ("attributes.marital_status.absence", &|after| after.attributes[0].absence = None),
        ("attributes.marital_status.absence", &|after| after.attributes[0].absence = text("divorced")),
        ("subject", &|after| after.subject_schemes = vec!["uscc".into()]),
        ("sharing", &|after| after.sharing = wire::SharingClass::NotShared.into()),
        ("inputs.region", &|after| after.inputs.push(input(true))),
        ("complete", &|after| after.completeness = None),
        ("complete.territory", &|after| {
            after.completeness.as_mut().unwrap().territories = vec!["890100".into()];
        }),
        ("complete.since", &|after| after.completeness.as_mut().unwrap().since = "2010-01-01".into()),
        ("needs_authorisation", &|after| after.needs_authorisation = Some(fixture::basis()[0].clone())),
        ("answered_by", &|after| after.answered_by = "clerk".into()),
        ("guesses_per_day", &|after| after.guesses_per_day = 2),
        ("guesses_per_year", &|after| after.guesses_per_year = 5),
        ("mode", &|after| after.mode = "batch".into()),
    ];
    for (field, change) in changes {
        let differences = changed(change);
        let breaking: Vec<&str> = incompatible(&differences).map(|difference| difference.field.as_str()).collect();
        assert!(breaking.contains(&field), "{field}: {differences:?}");
        let mut after = fixture::marriage_registration();
        change(&mut after);
        let reason = require_compatible(&fixture::marriage_registration(), &after).unwrap_err();
        assert!(reason.contains(field) && reason.contains("version 2.0"), "{reason}");
    }
}

#[test]
fn what_only_adds_keeps_the_major_version() {
    type Change<'a> = (&'a str, &'a dyn Fn(&mut wire::ServicePublished));
    let input = wire::InputDescription { name: "region".into(), r#type: "string".into(), required: false };
    let changes: [Change<'_>; 14] = [
        ("name", &|after| after.name.as_mut().unwrap().en = "Marriages".into()),
        ("attributes.office", &|after| {
            let office = wire::Attribute { name: "office".into(), ..after.attributes[1].clone() };
            after.attributes.push(office);
        }),
        ("attributes.marital_status.members", &|after| after.attributes[0].members.push("separated".into())),
        ("attributes.marital_status.operators", &|after| after.attributes[0].operators.push("exists".into())),
        ("attributes.marital_status.discloses", &|after| after.attributes[0].discloses = true),
        ("subject", &|after| after.subject_schemes.push("passport".into())),
        ("sharing", &|after| after.sharing = wire::SharingClass::Unconditional.into()),
        ("inputs.region", &|after| after.inputs.push(input.clone())),
        ("complete.territory", &|after| {
            after.completeness.as_mut().unwrap().territories.push("880000".into());
        }),
        ("contact", &|after| after.contact = "0890".into()),
        ("guesses_per_day", &|after| after.guesses_per_day = 4),
        ("guesses_per_year", &|after| after.guesses_per_year = 7),
        ("catalogue_code", &|after| after.catalogue_code = "890000-1".into()),
        ("legal_basis", &|after| after.legal_bases.extend(fixture::basis())),
    ];
    for (field, change) in changes {
        let differences = changed(change);
        assert!(differences.iter().any(|difference| difference.field == field), "{field}: {differences:?}");
        assert_eq!(incompatible(&differences).count(), 0, "{field}: {differences:?}");
    }
}

#[test]
fn a_difference_is_told_in_a_sentence() {
    let told = |change: &dyn Fn(&mut wire::ServicePublished)| changed(change)[0].to_string();
    assert_eq!(told(&|after| drop(after.attributes.pop())), "attributes.registered_on: is gone");
    assert_eq!(
        told(&|after| after.attributes[1].r#type = "string".into()),
        "attributes.registered_on.type: date becomes string"
    );
    assert_eq!(
        told(&|after| drop(after.attributes[0].operators.pop())),
        "attributes.marital_status.operators: one_of is gone"
    );
    assert_eq!(told(&|after| after.contact = "0890".into()), "contact: 0890 is new");
}

/// What a description may look like: everything that a decision depends on varies.
fn description() -> impl Strategy<Value = wire::ServicePublished> {
    const NAMES: &[&str] = &["status", "since", "office", "amount"];
    let attributes = proptest::collection::btree_map(proptest::sample::select(NAMES), attribute(), 1..=4);
    let inputs = proptest::collection::btree_map(
        proptest::sample::select(&["period", "region"][..]),
        (proptest::sample::select(&["string", "integer"][..]), any::<bool>()),
        0..=2,
    );
    let schemes = subsequence(vec!["resident_id", "uscc"], 1..=2);
    let classes = [wire::SharingClass::Conditional, wire::SharingClass::Unconditional, wire::SharingClass::NotShared];
    let sharing = prop_oneof![8 => Just(classes[0]), 3 => Just(classes[1]), 1 => Just(classes[2])];
    (attributes, inputs, schemes, sharing, prop::bool::weighted(0.2)).prop_map(
        |(attributes, inputs, schemes, sharing, authorised)| {
            let mut service = fixture::marriage_registration();
            service.service = "changing".into();
            service.completeness = None;
            service.forbidden_by = Some(fixture::basis()[0].clone());
            service.sharing = sharing.into();
            service.subject_schemes = schemes.into_iter().map(str::to_owned).collect();
            service.attributes = attributes
                .into_iter()
                .map(|(name, attribute)| wire::Attribute { name: name.into(), ..attribute })
                .collect();
            service.inputs = inputs
                .into_iter()
                .map(|(name, (ty, required))| wire::InputDescription { name: name.into(), r#type: ty.into(), required })
                .collect();
            service.needs_authorisation = authorised.then(|| fixture::basis()[0].clone());
            service
        },
    )
}

fn attribute() -> impl Strategy<Value = wire::Attribute> {
    let of = |ty: &'static str, operators: Vec<&'static str>, members: Vec<&'static str>| {
        let (least, most) = (usize::from(ty == "enum"), members.len());
        (subsequence(operators, 1..=2), subsequence(members, least..=most), any::<bool>()).prop_map(
            move |(operators, members, discloses)| wire::Attribute {
                r#type: ty.into(),
                operators: operators.into_iter().map(str::to_owned).collect(),
                members: members.into_iter().map(str::to_owned).collect(),
                discloses,
                sensitivity: "ordinary".into(),
                ..Default::default()
            },
        )
    };
    prop_oneof![
        of("string", vec!["equals", "exists", "one_of"], vec![]),
        of("enum", vec!["equals", "exists", "one_of"], vec!["a", "b", "c"]),
        of("integer", vec!["at_least", "equals", "exists"], vec![]),
    ]
}

/// Every question with one claim that a description speaks of, with and without each input, value and authorisation.
fn questions(fixture: &Fixture, service: &wire::ServicePublished) -> Vec<Question> {
    let mut requests = Vec::new();
    let authorisation = proto::exchange::v1::Authorisation {
        form_digest: vec![1; 32],
        scope: "公租房申请".into(),
        signed_by: "subject".into(),
        valid_until_ms: NOW_MS + 1,
    };
    let subjects = [("resident_id", fixture::RESIDENT), ("uscc", "91890101MA0000015M")];
    for attribute in &service.attributes {
        for operator in ["at_least", "equals", "exists", "one_of"] {
            for operand in ["a", "b", "c", "7"] {
                for (disclose, authorised) in [(false, false), (true, false), (false, true)] {
                    for (subject, inputs) in [(0, 0), (0, 1), (0, 3), (1, 2)] {
                        let mut request = fixture.request();
                        request.service = "changing".into();
                        let operand = match attribute.r#type.as_str() {
                            "integer" => Kind::Integer(operand.parse().unwrap_or(1)),
                            _ => Kind::Text(operand.into()),
                        };
                        request.claims[0].attribute.clone_from(&attribute.name);
                        request.claims[0].operator = operator.into();
                        request.claims[0].disclose = disclose;
                        request.claims[0].operands = vec![Value { kind: Some(operand) }];
                        if operator == "exists" {
                            request.claims[0].operands.clear();
                        }
                        request.authorisation = authorised.then(|| authorisation.clone());
                        let given = service.inputs.iter().enumerate().filter(|(index, _)| inputs & (1 << index) != 0);
                        request.inputs = given
                            .map(|(_, input)| proto::exchange::v1::Input {
                                name: input.name.clone(),
                                value: Some(Value {
                                    kind: Some(match input.r#type.as_str() {
                                        "integer" => Kind::Integer(2025),
                                        _ => Kind::Text("2025".into()),
                                    }),
                                }),
                            })
                            .collect();
                        let (scheme, value) = subjects[subject];
                        request.subject =
                            Some(proto::exchange::v1::Subject { scheme: scheme.into(), value: value.into() });
                        requests.push(Question::read(request).unwrap());
                    }
                }
            }
        }
    }
    requests
}

/// A town with the service and, where it needs one, a grant for all of it.
fn town(service: &wire::ServicePublished) -> Fixture {
    let mut fixture = Fixture::town();
    fixture.publish(service.clone());
    if service.sharing() == wire::SharingClass::Conditional {
        let id = "8899aabbccddeeff";
        let scope: Vec<wire::AttributeScope> = service
            .attributes
            .iter()
            .map(|attribute| wire::AttributeScope {
                attribute: attribute.name.clone(),
                operators: attribute.operators.clone(),
                disclose: attribute.discloses,
            })
            .collect();
        let object = format!("access/civil-affairs/housing/{id}");
        let applied =
            wire::AccessApplied { service: "changing".into(), scope: scope.clone(), ..fixture::application(id) };
        fixture.say("housing", Body::AccessApplied(applied), &object);
        let granted = wire::AccessGranted { service: "changing".into(), scope, ..fixture::granted(id) };
        fixture.say("civil-affairs", Body::AccessGranted(granted), &object);
    }
    fixture
}

/// A change of `before` in some of its parts: most changes of a real service are small.
fn change() -> impl Strategy<Value = (wire::ServicePublished, wire::ServicePublished)> {
    let parts = subsequence(vec![0_u8, 1, 2, 3, 4, 5, 6], 1..=2);
    (description(), description(), parts).prop_map(|(before, other, parts)| {
        let mut after = before.clone();
        after.minor_version += 1;
        for part in parts {
            match part {
                0 => after.sharing = other.sharing,
                1 => after.subject_schemes.clone_from(&other.subject_schemes),
                2 => after.inputs.clone_from(&other.inputs),
                3 => after.needs_authorisation.clone_from(&other.needs_authorisation),
                4 => after.attributes.clone_from(&other.attributes),
                5 => {
                    // New attributes beside the old ones.
                    let is_new = |new: &&wire::Attribute| !before.attributes.iter().any(|old| old.name == new.name);
                    after.attributes.extend(other.attributes.iter().filter(is_new).cloned());
                }
                _ => {
                    for attribute in &mut after.attributes {
                        attribute.discloses |= other.attributes[0].discloses;
                        let may = |operator: &&String| operator.as_str() == "exists" || attribute.r#type == "string";
                        let more: Vec<String> = other.attributes[0].operators.iter().filter(may).cloned().collect();
                        let is_new = |operator: &String| {
                            !attribute.operators.contains(operator) && operator.as_str() != "at_least"
                        };
                        let more: Vec<String> = more.into_iter().filter(is_new).collect();
                        attribute.operators.extend(more);
                    }
                }
            }
        }
        (before, after)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The rules and the comparison say the same; and what they let pass refuses nothing that was permitted.
    #[test]
    fn a_compatible_change_refuses_nothing_that_was_permitted((before, after) in change()) {
        let mut fixture = town(&before);
        let asked = questions(&fixture, &before);
        let permitted: Vec<Question> =
            asked.into_iter().filter(|question| decide(&fixture.directory, question, NOW_MS).is_ok()).collect();
        let body = Body::ServicePublished(after.clone());
        let entry = fixture.sign("civil-affairs", body, "service/civil-affairs/changing/1");
        let checked = fixture.directory.check_envelope(&entry);
        let compatible = require_compatible(&before, &after);
        prop_assert_eq!(checked.is_ok(), compatible.is_ok(), "{:?} {:?}", checked.err(), compatible);
        if compatible.is_ok() {
            fixture.publish(after);
            for question in permitted {
                let decided = decide(&fixture.directory, &question, NOW_MS);
                prop_assert!(decided.is_ok(), "{:?}: {:?}", question.wire, decided.err());
            }
        }
    }
}

/// The property says something: both kinds of change occur, and questions are permitted.
#[test]
fn the_changes_that_are_tried_are_of_both_kinds() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut compatible, mut incompatible, mut permitted) = (0, 0, 0);
    for _ in 0..24 {
        let (before, after) = change().new_tree(&mut runner).unwrap().current();
        match require_compatible(&before, &after) {
            Ok(()) if !compare(&before, &after).is_empty() => {
                compatible += 1;
                let fixture = town(&before);
                let asked = questions(&fixture, &before);
                permitted +=
                    asked.iter().filter(|question| decide(&fixture.directory, question, NOW_MS).is_ok()).count();
            }
            Ok(()) => {}
            Err(_) => incompatible += 1,
        }
    }
    assert!(compatible > 2 && incompatible > 2 && permitted > 20, "{compatible} {incompatible} {permitted}");
}
