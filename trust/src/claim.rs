//! Claims and their verdicts: one attribute compared with the record by one operator, and nothing more than a verdict
//! comes out. Pure: the rows, the rule and the day come in from outside.
//!
//! **Invariant:** an outage is never a mismatch, and a missing record is never "false". Whatever keeps the comparison
//! from being made (a missing value, two rows that disagree, a sum too large) is `UNAVAILABLE` with a reason, and no row
//! is `NO_RECORD` unless the provider declares what no row means.
//!
//! Out of scope: who may ask what (`decide`), which rows a question selects (the node's records), guess budgets.

mod evaluate;
mod operator;
mod outcome;
mod period;
mod rule;

use proto::exchange::v1 as wire;

use crate::value::{AttributeType, Type, Value, ValueError};

pub use self::evaluate::{Row, evaluate};
pub use self::operator::{Operator, OperatorUnknown};
pub use self::outcome::{ClaimOutcome, OutcomeError, Reason, Verdict};
pub use self::rule::{AttributeRule, RowRule, RuleError, RuleFault, is_attribute_name};

use self::operator::Operands;
use self::period::Period;

/// The most values that one claim may be compared with.
pub const OPERAND_LIMIT: usize = 64;

/// One thing to be compared with the record. Its operator goes with the attribute's type, and its operands are as many
/// as the operator takes and of the type it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    attribute: String,
    operator: Operator,
    operands: Vec<Value>,
    disclose: bool,
    fixed_by_item: bool,
}

impl Claim {
    /// The claim of an office's message about an attribute of the type `ty`. Operands may be written as text, as by
    /// [`Value::from_proto`].
    ///
    /// # Errors
    /// Names the field of the claim and the reason, and never repeats an operand.
    pub fn from_proto(claim: &wire::Claim, ty: &AttributeType) -> Result<Self, ClaimError> {
        Self::read(claim, ty, Value::from_proto)
    }

    /// The claim of a signed request, whose operands must be of exactly their types, as by [`Value::from_proto_strict`].
    ///
    /// # Errors
    /// As [`Claim::from_proto`].
    pub fn from_proto_strict(claim: &wire::Claim, ty: &AttributeType) -> Result<Self, ClaimError> {
        Self::read(claim, ty, Value::from_proto_strict)
    }

    fn read(
        claim: &wire::Claim,
        ty: &AttributeType,
        value: impl Fn(&wire::Value, &AttributeType) -> Result<Value, ValueError>,
    ) -> Result<Self, ClaimError> {
        let fault = |field: &str, fault: ClaimFault| ClaimError { field: field.to_owned(), fault };
        if !is_attribute_name(&claim.attribute) {
            return Err(fault("attribute", ClaimFault::AttributeMalformed));
        }
        let operator = Operator::parse(&claim.operator).map_err(|unknown| fault("operator", unknown.into()))?;
        if !operator.allowed_for(ty.ty()) {
            return Err(fault("operator", ClaimFault::OperatorNotAllowed { operator, ty: ty.ty() }));
        }
        let (fewest, most) = operator.operand_count().into_inner();
        if !operator.operand_count().contains(&claim.operands.len()) {
            return Err(fault("operands", ClaimFault::OperandCount { operator, fewest, most }));
        }
        let operand_type = operator.operand_type(ty);
        let operands = claim
            .operands
            .iter()
            .enumerate()
            .map(|(index, operand)| {
                let fault = |fault| ClaimError { field: format!("operands[{index}]"), fault };
                let operand = value(operand, &operand_type).map_err(|error| fault(error.into()))?;
                match (operator.operands(), &operand) {
                    (Operands::Period, Value::Text(text)) if Period::parse(text).is_none() => {
                        Err(fault(ClaimFault::PeriodMalformed))
                    }
                    _ => Ok(operand),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if let (Operator::Between, [low, high]) = (operator, operands.as_slice())
            && evaluate::order(low, high).is_none_or(|ordering| ordering.is_gt())
        {
            return Err(fault("operands[1]", ClaimFault::BoundsReversed));
        }
        Ok(Self {
            attribute: claim.attribute.clone(),
            operator,
            operands,
            disclose: claim.disclose,
            fixed_by_item: claim.fixed_by_item,
        })
    }

    /// The claim as it stands in a signed request; [`Claim::from_proto_strict`] reads it back.
    #[must_use]
    pub fn to_proto(&self) -> wire::Claim {
        wire::Claim {
            attribute: self.attribute.clone(),
            operator: self.operator.as_str().to_owned(),
            operands: self.operands.iter().map(Value::to_proto).collect(),
            disclose: self.disclose,
            fixed_by_item: self.fixed_by_item,
        }
    }

    /// The attribute's name.
    #[must_use]
    pub fn attribute(&self) -> &str {
        &self.attribute
    }

    /// How the record is compared with the operands.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What the record is compared with. Personal data.
    #[must_use]
    pub fn operands(&self) -> &[Value] {
        &self.operands
    }

    /// Whether the value is asked for too.
    #[must_use]
    pub fn disclose(&self) -> bool {
        self.disclose
    }

    /// Whether a published item is said to fix the operands. The asker says so; who relies on it checks it.
    #[must_use]
    pub fn fixed_by_item(&self) -> bool {
        self.fixed_by_item
    }
}

/// Why a claim cannot be asked: which field of it, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct ClaimError {
    field: String,
    fault: ClaimFault,
}

impl ClaimError {
    /// The field within the claim: `attribute`, `operator`, `operands` or, for example, `operands[1]`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with it.
    #[must_use]
    pub fn fault(&self) -> ClaimFault {
        self.fault
    }
}

/// What is wrong with a field of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimFault {
    /// Not an attribute's name.
    #[error("must be an attribute's name as in the service description")]
    AttributeMalformed,
    /// `between` with the greater bound first.
    #[error("must not be less than operands[0]")]
    BoundsReversed,
    /// Too few or too many operands.
    #[error("{operator} takes {}", count(*fewest, *most))]
    OperandCount {
        /// The operator.
        operator: Operator,
        /// The fewest operands it takes.
        fewest: usize,
        /// The most operands it takes.
        most: usize,
    },
    /// An operator that says nothing about this type.
    #[error("{operator} cannot be asked of a {ty}")]
    OperatorNotAllowed {
        /// The operator.
        operator: Operator,
        /// The attribute's type.
        ty: Type,
    },
    /// No operator has that name.
    #[error(transparent)]
    OperatorUnknown(#[from] OperatorUnknown),
    /// Not a period such as "P6M".
    #[error("must be a period of years, months and days such as P6M, P1Y or P30D")]
    PeriodMalformed,
    /// Not a value of its type.
    #[error(transparent)]
    Value(#[from] ValueError),
}

fn count(fewest: usize, most: usize) -> String {
    match (fewest, most) {
        (0, 0) => "no operand".to_owned(),
        (1, 1) => "one operand".to_owned(),
        (fewest, most) if fewest == most => format!("{fewest} operands"),
        (fewest, most) => format!("{fewest} to {most} operands"),
    }
}

#[cfg(test)]
mod tests;
