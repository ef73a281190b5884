//! The town's five public service items as their departments publish them, what each may ask of whom, and the departments that
//! are there for these items alone: the files under `examples/town`, built in.
//!
//! Out of scope: handling a case (the node does), the people ([`crate::population`]), and the guide that the demo's first
//! part follows question by question ([`super::ITEMS_YAML`]).

use super::Service;

/// One public service item at its window.
#[derive(Debug)]
#[non_exhaustive]
pub struct Window {
    /// The department that publishes the item and handles its cases.
    pub department: &'static str,
    /// The item.
    pub item: &'static str,
    /// Its name in English.
    pub name_en: &'static str,
    /// The law that its grants rest on.
    pub legal_basis: &'static str,
    /// The item's file, as `item publish` takes it.
    pub yaml: &'static str,
    /// What it may ask: a conditional service as `<department>/<service>`, an attribute and an operator.
    pub asks: &'static [(&'static str, &'static str, &'static str)],
}

/// The five items. What the first may ask follows from its guide, like the grants of the demo's first part.
pub const WINDOWS: [Window; 5] = [
    Window {
        department: "housing",
        item: "公租房申请",
        name_en: "Public rental housing",
        legal_basis: "公共租赁住房管理办法 7",
        yaml: include_str!("../../town/items/public-rental-housing.yaml"),
        asks: &[],
    },
    Window {
        department: "human-resources",
        item: "养老金领取资格认证",
        name_en: "Pension eligibility",
        legal_basis: "社会保险经办条例 26",
        yaml: include_str!("../../town/items/pension-eligibility.yaml"),
        asks: &[("health/death-certificate", "deceased", "equals")],
    },
    Window {
        department: "public-security",
        item: "新生儿出生登记",
        name_en: "Registering a birth",
        legal_basis: "户口登记条例 7",
        yaml: include_str!("../../town/items/birth-registration.yaml"),
        asks: &[
            ("health/birth-certificate", "mother_resident_id", "equals"),
            ("civil-affairs/marriage-registration", "spouse_resident_id", "equals"),
        ],
    },
    Window {
        department: APPROVALS,
        item: "住房公积金提取",
        name_en: "Withdrawing from the housing fund",
        legal_basis: "住房公积金管理条例 25",
        yaml: include_str!("../../town/items/housing-fund-withdrawal.yaml"),
        asks: &[
            ("civil-affairs/marriage-registration", "marital_status", "equals"),
            ("natural-resources/property-ownership", "has_property", "equals"),
            ("housing-fund/housing-fund", "months_paid", "at_least"),
        ],
    },
    Window {
        department: APPROVALS,
        item: "教师资格认定",
        name_en: "Teacher qualification",
        legal_basis: "教师资格条例 15",
        yaml: include_str!("../../town/items/teacher-qualification.yaml"),
        asks: &[("education/degree", "level", "one_of"), ("public-security/criminal-record", "has_record", "equals")],
    },
];

/// 行政审批局: the window for what the departments below it keep themselves.
pub const APPROVALS: &str = "approvals";

/// The departments that keep records for these items alone, each with its service.
pub const FURTHER: [(&str, Service); 2] = [
    ("education", Service { id: "degree", yaml: include_str!("../../town/services/degree.yaml") }),
    ("housing-fund", Service { id: "housing-fund", yaml: include_str!("../../town/services/housing-fund.yaml") }),
];

/// The service of public security that has no records in a machine: a clerk looks them up.
pub const ANSWERED_BY_CLERK: Service =
    Service { id: "criminal-record", yaml: include_str!("../../town/services/criminal-record.yaml") };

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::services::DEPARTMENTS;

    #[test]
    fn every_window_asks_services_that_somebody_of_the_town_publishes() {
        let known: BTreeSet<String> = DEPARTMENTS
            .iter()
            .flat_map(|department| department.services.iter().map(move |service| (department.id, service.id)))
            .chain(FURTHER.iter().map(|(department, service)| (*department, service.id)))
            .chain([("public-security", ANSWERED_BY_CLERK.id)])
            .map(|(department, service)| format!("{department}/{service}"))
            .collect();
        for window in &WINDOWS {
            assert!(window.yaml.contains(&format!("\nitem: {}\n", window.item)), "{}", window.item);
            assert!(window.yaml.contains(&format!("en: {}}}", window.name_en)), "{}", window.item);
            for (service, attribute, operator) in window.asks {
                assert!(known.contains(*service), "{service}");
                assert!(window.yaml.contains(&format!("answered_by: {service}\n")), "{service}");
                let claim = format!("claim: {{attribute: {attribute}, operator: {operator}");
                assert!(window.yaml.contains(&claim), "{service}: {attribute}");
            }
        }
    }
}
