//! The town's departments, the data services they publish, and its public service items: the files under
//! `examples/town`, built in, so that a program that starts a town needs no path to them.
//!
//! Out of scope: reading a service description (the node does, on `service publish`) and addresses (whoever starts the
//! town chooses them).

pub mod windows;

/// A department of the town.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Department {
    /// Its id, which never changes.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its name in English.
    pub name_en: &'static str,
    /// Its unified social credit code.
    pub uscc: &'static str,
    /// The data services it publishes; none for a department that only asks.
    pub services: &'static [Service],
}

/// A data service of the town.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// Its id. The records of the town are in the file `<id>.csv`; see [`crate::population::Register`].
    pub id: &'static str,
    /// Its description, as `service publish` takes it.
    pub yaml: &'static str,
}

/// Every department, the six that answer, then the one that asks.
pub const DEPARTMENTS: [Department; 7] = [
    Department {
        id: "public-security",
        name: "公安局",
        name_en: "Public Security",
        uscc: "1189000000000102XR",
        services: &[Service { id: "resident-identity", yaml: include_str!("../town/services/resident-identity.yaml") }],
    },
    Department {
        id: "civil-affairs",
        name: "民政局",
        name_en: "Civil Affairs",
        uscc: "118900000000010112",
        services: &[
            Service { id: "marriage-registration", yaml: include_str!("../town/services/marriage-registration.yaml") },
            Service { id: "subsistence-allowance", yaml: include_str!("../town/services/subsistence-allowance.yaml") },
        ],
    },
    Department {
        id: "natural-resources",
        name: "自然资源局",
        name_en: "Natural Resources",
        uscc: "11890000000001038R",
        services: &[Service {
            id: "property-ownership",
            yaml: include_str!("../town/services/property-ownership.yaml"),
        }],
    },
    Department {
        id: "taxation",
        name: "税务局",
        name_en: "Taxation",
        uscc: "11890000000001046L",
        services: &[Service { id: "tax-paid", yaml: include_str!("../town/services/tax-paid.yaml") }],
    },
    Department {
        id: "human-resources",
        name: "人力资源和社会保障局",
        name_en: "Human Resources and Social Security",
        uscc: "11890000000001054F",
        services: &[Service { id: "social-insurance", yaml: include_str!("../town/services/social-insurance.yaml") }],
    },
    Department {
        id: "health",
        name: "卫生健康委员会",
        name_en: "Health",
        uscc: "11890000000001062A",
        services: &[
            Service { id: "birth-certificate", yaml: include_str!("../town/services/birth-certificate.yaml") },
            Service { id: "death-certificate", yaml: include_str!("../town/services/death-certificate.yaml") },
        ],
    },
    Department {
        id: "housing", name: "住房保障中心", name_en: "Housing", uscc: "118900000000010705", services: &[]
    },
];

/// The town's public service items with their guides.
pub const ITEMS_YAML: &str = include_str!("../town/items.yaml");

#[cfg(test)]
mod tests;
