//! The columns that a service's records have.
use trust::value::AttributeType;
/// One typed column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column { /// Its name.
    pub name: String, /// Its type.
    pub ty: AttributeType }
/// Columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {}
/// Why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ColumnsError { /// Field.
 pub field: String, /// Reason.
 pub reason: String }
