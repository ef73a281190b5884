//! The operators: their stable names, the types they can be asked of, and what operands they take.
//!
//! Out of scope: what they mean when compared with a row, which is in `evaluate`.

use std::{fmt, ops::RangeInclusive};

use super::OPERAND_LIMIT;
use crate::value::{AttributeType, Type};

/// How a record is compared with what is claimed. Names are on the wire and in grants, so a name never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operator {
    /// A date strictly later than the operand.
    After,
    /// A number not less than the operand.
    AtLeast,
    /// A number not greater than the operand.
    AtMost,
    /// A date strictly earlier than the operand.
    Before,
    /// A number or date from the first operand to the second, both included.
    Between,
    /// A list with the operand among its values.
    Contains,
    /// The same value as the operand: texts exactly, decimals whatever their trailing zeros.
    Equals,
    /// The record has a value at all.
    Exists,
    /// The same name as the operand, whatever its spaces, middle dots and letter case.
    MatchesName,
    /// The contrary of `equals`.
    NotEquals,
    /// The same value as one of the operands.
    OneOf,
    /// A date not later than today and not earlier than today less the operand, a period such as "P6M".
    WithinLast,
}

/// No operator has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no operator has that name")]
pub struct OperatorUnknown;

/// What an operator's operands are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    /// Values of the attribute's type.
    Attribute,
    /// Values of the type that the attribute's list holds.
    Element,
    /// Periods, as text.
    Period,
}

impl Operator {
    /// Every operator, in the order of their names.
    pub const ALL: [Self; 12] = [
        Self::After,
        Self::AtLeast,
        Self::AtMost,
        Self::Before,
        Self::Between,
        Self::Contains,
        Self::Equals,
        Self::Exists,
        Self::MatchesName,
        Self::NotEquals,
        Self::OneOf,
        Self::WithinLast,
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::After => "after",
            Self::AtLeast => "at_least",
            Self::AtMost => "at_most",
            Self::Before => "before",
            Self::Between => "between",
            Self::Contains => "contains",
            Self::Equals => "equals",
            Self::Exists => "exists",
            Self::MatchesName => "matches_name",
            Self::NotEquals => "not_equals",
            Self::OneOf => "one_of",
            Self::WithinLast => "within_last",
        }
    }

    /// The operator with the stable name `name`, which is matched exactly.
    ///
    /// # Errors
    /// [`OperatorUnknown`].
    pub fn parse(name: &str) -> Result<Self, OperatorUnknown> {
        Self::ALL.into_iter().find(|operator| operator.as_str() == name).ok_or(OperatorUnknown)
    }

    /// Whether the operator can be asked of an attribute of the type `ty`.
    ///
    /// Texts have no order, and no part of a text can be asked for: prefixes would let an asker spell a record out.
    #[must_use]
    pub const fn allowed_for(self, ty: Type) -> bool {
        match self {
            Self::After | Self::Before | Self::WithinLast => matches!(ty, Type::Date),
            Self::AtLeast | Self::AtMost => matches!(ty, Type::Decimal | Type::Integer),
            Self::Between => matches!(ty, Type::Date | Type::Decimal | Type::Integer),
            Self::Contains => matches!(ty, Type::List),
            Self::Equals | Self::NotEquals => !matches!(ty, Type::List),
            Self::Exists => true,
            Self::MatchesName => matches!(ty, Type::String),
            Self::OneOf => !matches!(ty, Type::Boolean | Type::List),
        }
    }

    /// How many operands the operator takes.
    #[must_use]
    pub const fn operand_count(self) -> RangeInclusive<usize> {
        match self {
            Self::Exists => 0..=0,
            Self::Between => 2..=2,
            Self::OneOf => 1..=OPERAND_LIMIT,
            _ => 1..=1,
        }
    }

    /// The type of an operand of this operator, asked of an attribute of the type `ty`. A period is a text.
    #[must_use]
    pub fn operand_type(self, ty: &AttributeType) -> AttributeType {
        match self.operands() {
            Operands::Attribute => ty.clone(),
            Operands::Element => ty.element(),
            Operands::Period => AttributeType::text(),
        }
    }

    pub(super) const fn operands(self) -> Operands {
        match self {
            Self::Contains => Operands::Element,
            Self::WithinLast => Operands::Period,
            _ => Operands::Attribute,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
