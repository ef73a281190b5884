//! What people call what a proof still needs: whose it is, and what, in Chinese and in English; an attribute as the service that
//! is asked calls it. No values are in it. Out of scope: whole sentences (`sentences`).

use std::collections::BTreeMap;

use proto::registry::v1::ProofRequirement;
use serde::{Deserialize, Serialize};
use trust::{item::HOUSEHOLD, service::Service};

use super::people::which;
use crate::ask::OfficeQuestion;

/// What something is called.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Words {
    /// In Chinese.
    pub zh: String,
    /// In English.
    pub en: String,
}

impl Words {
    fn new(zh: &str, en: &str) -> Self {
        Self { zh: zh.to_owned(), en: en.to_owned() }
    }

    /// Whose it is, before it.
    fn of(self, whom: &str) -> Self {
        let Self { zh, en } = self;
        Self { zh: format!("{}{zh}", whom_zh(whom)), en: format!("{en} of {}", whom_en(whom)) }
    }
}

/// What is called what, of all that a proof asks about somebody: by the name under which it is stated, such as
/// `spouse.marital_status`.
pub(super) fn stated(requirement: &ProofRequirement, service: &Service, whom: &str) -> BTreeMap<String, Words> {
    let inputs = requirement.inputs.iter().map(|input| (&input.name, &input.stated, &input.value_from));
    let claim = requirement.claim.iter();
    let claim = claim.map(|claim| (&claim.attribute, &requirement.stated, &requirement.value_from));
    let own = inputs.chain(claim).filter(|(_, _, value_from)| value_from.is_empty());
    own.map(|(name, stated, _)| {
        let key = if stated.is_empty() { name } else { stated };
        (format!("{whom}.{key}"), label(service, name).of(whom))
    })
    .collect()
}

/// The same by the fields that a refusal of the question names.
pub(super) fn refused(
    requirement: &ProofRequirement,
    service: &Service,
    whom: &str,
    question: &OfficeQuestion,
) -> BTreeMap<String, Words> {
    let called = |name: &str, value_from: &str| match value_from {
        "" => label(service, name).of(whom),
        from => named(from),
    };
    let mut words = BTreeMap::new();
    for (index, input) in question.inputs.iter().enumerate() {
        let rule = requirement.inputs.iter().find(|rule| rule.name == input.name);
        words.insert(format!("inputs[{index}]"), called(&input.name, rule.map_or("", |rule| &rule.value_from)));
    }
    if let Some(claim) = &requirement.claim {
        words.insert("claims[0]".to_owned(), called(&claim.attribute, &requirement.value_from));
    }
    if let Some(subject) = &question.subject {
        words.insert("subject".to_owned(), built_in(&subject.scheme).of(whom));
    }
    for (index, member) in question.also_about.iter().enumerate() {
        let Words { zh, en } = built_in(&member.scheme);
        let member = Words { zh: format!("家庭成员{zh}"), en: format!("{en} of a member of the household") };
        words.insert(format!("also_about[{index}]"), member);
    }
    words
}

/// Something that is missing, by its name alone, such as `spouse.resident_id`.
pub(super) fn named(missing: &str) -> Words {
    match missing.split_once('.') {
        Some((whom, what)) => built_in(what).of(whom),
        None => built_in(missing),
    }
}

/// The field of a refusal, as a key of [`refused`]: `claims[0]` of `claims[0].operands[0]`.
pub(super) fn head(field: &str) -> &str {
    let end = field.find(']').map_or_else(|| field.find('.').unwrap_or(field.len()), |bracket| bracket + 1);
    &field[..end]
}

fn label(service: &Service, name: &str) -> Words {
    let attribute = service.published.attributes.iter().find(|attribute| attribute.name == name);
    match attribute.and_then(|attribute| attribute.label.as_ref()) {
        Some(label) if !label.zh.is_empty() => {
            Words { zh: label.zh.clone(), en: if label.en.is_empty() { name.to_owned() } else { label.en.clone() } }
        }
        _ => built_in(name),
    }
}

/// What has the same name everywhere.
fn built_in(name: &str) -> Words {
    match name {
        "authorisation" => Words::new("签署的授权书", "signed authorisation"),
        "certificate_no" => Words::new("证件编号", "certificate number"),
        "inputs" => Words::new("查询条件", "what selects the record"),
        "name" => Words::new("姓名", "name"),
        "passport" => Words::new("护照号码", "passport number"),
        "period" => Words::new("所属期间", "period"),
        "region" => Words::new("所在地区", "region"),
        "resident_id" => Words::new("公民身份号码", "identity number"),
        "uscc" => Words::new("统一社会信用代码", "unified social credit code"),
        other => Words::new(other, other),
    }
}

pub(super) fn whom_zh(whom: &str) -> String {
    let role = match which(whom) {
        Some(("applicant", _)) => "申请人",
        Some(("spouse", _)) => "配偶",
        Some(("child", place)) if place > 1 => return format!("第{place}个子女"),
        Some(("child", _)) => "子女",
        Some(("guardian", _)) => "监护人",
        Some(("father", _)) => "父亲",
        Some(("mother", _)) => "母亲",
        _ if whom == HOUSEHOLD => "家庭",
        _ => whom,
    };
    role.to_owned()
}

fn whom_en(whom: &str) -> String {
    match which(whom) {
        Some(("child", place)) if place > 1 => format!("child {place}"),
        _ => format!("the {whom}"),
    }
}

#[cfg(test)]
mod tests {
    use proto::{
        exchange::v1::{Claim, Input, Subject},
        registry::v1::{LocalName, ProofInput},
    };
    use trust::{fixture::Fixture, ids::ServiceId};

    use super::*;

    fn service() -> Service {
        let directory = Fixture::town().directory;
        let id = ServiceId::read("civil-affairs/marriage-registration", 1).unwrap();
        let mut service = directory.service(&id).unwrap().clone();
        service.published.attributes[0].label =
            Some(LocalName { zh: "婚姻状况".into(), en: "Marital status".into() });
        service
    }

    #[test]
    fn a_thing_is_called_as_its_service_calls_it_and_whose_it_is_is_said() {
        let claim = Claim { attribute: "marital_status".into(), operator: "equals".into(), ..Claim::default() };
        let requirement = ProofRequirement {
            claim: Some(claim),
            stated: "status".into(),
            inputs: vec![ProofInput { name: "region".into(), ..ProofInput::default() }],
            ..ProofRequirement::default()
        };
        let words = stated(&requirement, &service(), "spouse");
        assert_eq!(words["spouse.status"], Words::new("配偶婚姻状况", "Marital status of the spouse"));
        assert_eq!(words["spouse.region"], Words::new("配偶所在地区", "region of the spouse"));
        let question = OfficeQuestion {
            inputs: vec![Input { name: "region".into(), value: None }],
            subject: Some(Subject { scheme: "resident_id".into(), value: String::new() }),
            ..OfficeQuestion::default()
        };
        let words = refused(&requirement, &service(), "child-2", &question);
        assert_eq!(words[head("claims[0].operands[0]")], Words::new("第2个子女婚姻状况", "Marital status of child 2"));
        assert_eq!(words[head("inputs[0]")].zh, "第2个子女所在地区");
        assert_eq!(words[head("subject.value")].en, "identity number of child 2");
        // Taken from somebody else, it is his.
        let theirs = ProofRequirement { value_from: "mother.resident_id".into(), ..requirement };
        assert!(!stated(&theirs, &service(), "child").contains_key("child.status"));
        let words = refused(&theirs, &service(), "child", &question);
        assert_eq!(words["claims[0]"], Words::new("母亲公民身份号码", "identity number of the mother"));
    }
}
