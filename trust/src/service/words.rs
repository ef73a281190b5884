//! A service's classes and rules in one word each: those that service files use, and that people read everywhere.

use proto::{
    exchange::v1::LegalBasis,
    registry::v1::{RowRule, SharingClass},
};

/// A sharing class as service files name it.
pub fn sharing(class: SharingClass) -> &'static str {
    match class {
        SharingClass::Unspecified => "",
        SharingClass::Unconditional => "unconditional",
        SharingClass::Conditional => "conditional",
        SharingClass::NotShared => "not_shared",
    }
}

/// How several rows count, as service files name it; without the column that says which is latest.
pub fn rows(rule: RowRule) -> &'static str {
    match rule {
        RowRule::Unspecified | RowRule::Only => "only",
        RowRule::Latest => "latest",
        RowRule::Any => "any",
        RowRule::Count => "count",
        RowRule::Sum => "sum",
    }
}

/// A legal basis in one text: instrument and article.
pub fn basis(basis: &LegalBasis) -> String {
    format!("{} {}", basis.instrument, basis.article).trim_end().to_owned()
}
