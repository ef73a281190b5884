//! What a service description says about one attribute, checked: its type, its operators, how several rows of one subject
//! count, and what having no row means. A rule that exists is one that can be evaluated.
//!
//! Out of scope: whether the register is declared complete, without which no attribute may declare an absence, and
//! whether the `latest` column exists. The service description as a whole answers for both.

use proto::registry::v1 as registry;

use super::{Operator, OperatorUnknown};
use crate::value::{AttributeType, MemberError, Type, TypeUnknown, Value, ValueError};

/// The longest name of an attribute, in bytes.
const LONGEST_NAME: usize = 63;

/// Whether `name` can name an attribute, an input or a column: lower-case ASCII letters, digits and underscores, a letter
/// first, at most 63.
#[must_use]
pub fn is_attribute_name(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= LONGEST_NAME && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(valid)
}

/// How several rows of one subject count for an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowRule {
    /// The claim holds where it holds for any row.
    Any,
    /// The number of rows is the value.
    Count,
    /// The row with the greatest value in a column counts.
    Latest {
        /// The column. Its values are dates, integers or decimals; where it is no attribute, dates.
        by: String,
    },
    /// One row is expected; several count only where they agree.
    Only,
    /// The sum over the rows is the value.
    Sum,
}

/// One attribute of a data service, as it is evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeRule {
    name: String,
    ty: AttributeType,
    operators: Vec<Operator>,
    rows: RowRule,
    absence: Option<Value>,
    discloses: bool,
    sensitive: bool,
}

impl AttributeRule {
    /// The rule of a signed service description's attribute.
    ///
    /// An attribute needs at least one operator (an empty list covers nothing) and each must go with its type. `count` is
    /// for integers, `sum` for integers and decimals, and having no row can only mean zero there.
    ///
    /// # Errors
    /// Names the field within the attribute and the reason.
    pub fn from_proto(attribute: &registry::Attribute) -> Result<Self, RuleError> {
        let fault = |field: &str, fault| RuleError { field: field.to_owned(), fault };
        if !is_attribute_name(&attribute.name) {
            return Err(fault("name", RuleFault::NameMalformed));
        }
        let ty = Type::parse(&attribute.r#type).map_err(|unknown| fault("type", unknown.into()))?;
        let ty = AttributeType::new(ty, attribute.members.clone()).map_err(|error| fault("members", error.into()))?;
        let operators = operators(&attribute.operators, ty.ty())?;
        let sensitive = match attribute.sensitivity.as_str() {
            "ordinary" => false,
            "sensitive" => true,
            _ => return Err(fault("sensitivity", RuleFault::SensitivityUnknown)),
        };
        let rows = row_rule(attribute, ty.ty())?;
        let absence = attribute
            .absence
            .as_ref()
            .map(|value| Value::from_proto_strict(value, &ty))
            .transpose()
            .map_err(|error| fault("absence", error.into()))?;
        if matches!(rows, RowRule::Count | RowRule::Sum) && absence.as_ref().is_some_and(|value| !is_zero(value)) {
            return Err(fault("absence", RuleFault::AbsenceNotZero));
        }
        let name = attribute.name.clone();
        Ok(Self { name, ty, operators, rows, absence, discloses: attribute.discloses, sensitive })
    }

    /// The attribute's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    #[must_use]
    pub fn ty(&self) -> &AttributeType {
        &self.ty
    }

    /// The operators that a claim may use.
    #[must_use]
    pub fn operators(&self) -> &[Operator] {
        &self.operators
    }

    /// How several rows count.
    #[must_use]
    pub fn rows(&self) -> &RowRule {
        &self.rows
    }

    /// What having no row means, where the provider says so.
    #[must_use]
    pub fn absence(&self) -> Option<&Value> {
        self.absence.as_ref()
    }

    /// Whether the value may be disclosed at all, where a grant allows it too.
    #[must_use]
    pub fn discloses(&self) -> bool {
        self.discloses
    }

    /// Whether the attribute is sensitive personal information.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.sensitive
    }

    /// Whether rows are counted or summed, so that one row more or less makes another value.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        matches!(self.rows, RowRule::Count | RowRule::Sum)
    }

    /// Whether rows need a column of the attribute's name: the number of rows needs none.
    #[must_use]
    pub fn needs_column(&self) -> bool {
        self.rows != RowRule::Count
    }
}

fn operators(names: &[String], ty: Type) -> Result<Vec<Operator>, RuleError> {
    if names.is_empty() {
        return Err(RuleError { field: "operators".to_owned(), fault: RuleFault::OperatorsMissing });
    }
    let mut operators = Vec::with_capacity(names.len().min(Operator::ALL.len()));
    for (index, name) in names.iter().enumerate() {
        let fault = |fault| RuleError { field: format!("operators[{index}]"), fault };
        let operator = Operator::parse(name).map_err(|unknown| fault(unknown.into()))?;
        if !operator.allowed_for(ty) {
            return Err(fault(RuleFault::OperatorNotAllowed { operator, ty }));
        }
        if operators.contains(&operator) {
            return Err(fault(RuleFault::OperatorRepeated));
        }
        operators.push(operator);
    }
    Ok(operators)
}

fn row_rule(attribute: &registry::Attribute, ty: Type) -> Result<RowRule, RuleError> {
    let fault = |field: &str, fault| Err(RuleError { field: field.to_owned(), fault });
    let is_latest = attribute.rows == i32::from(registry::RowRule::Latest);
    if is_latest == attribute.latest_by.is_empty() {
        return fault("latest_by", RuleFault::LatestByMisplaced);
    }
    match registry::RowRule::try_from(attribute.rows) {
        Err(_) => fault("rows", RuleFault::RowRuleUnknown),
        Ok(registry::RowRule::Unspecified | registry::RowRule::Only) => Ok(RowRule::Only),
        Ok(registry::RowRule::Any) => Ok(RowRule::Any),
        Ok(registry::RowRule::Count) if ty != Type::Integer => fault("rows", RuleFault::CountNotInteger { ty }),
        Ok(registry::RowRule::Count) => Ok(RowRule::Count),
        Ok(registry::RowRule::Latest) if !is_attribute_name(&attribute.latest_by) => {
            fault("latest_by", RuleFault::NameMalformed)
        }
        Ok(registry::RowRule::Latest) => Ok(RowRule::Latest { by: attribute.latest_by.clone() }),
        Ok(registry::RowRule::Sum) if !matches!(ty, Type::Decimal | Type::Integer) => {
            fault("rows", RuleFault::SumNotNumber { ty })
        }
        Ok(registry::RowRule::Sum) => Ok(RowRule::Sum),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Decimal(decimal) => decimal.is_zero(),
        Value::Integer(integer) => *integer == 0,
        _ => false,
    }
}

/// Why an attribute of a service description cannot be evaluated: which field of it, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct RuleError {
    field: String,
    fault: RuleFault,
}

impl RuleError {
    /// The field within the attribute, for example `operators[1]`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with it.
    #[must_use]
    pub fn fault(&self) -> RuleFault {
        self.fault
    }
}

/// What is wrong with a field of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleFault {
    /// Having no row would mean something other than zero.
    #[error("where rows are counted or summed, having no row can only mean 0")]
    AbsenceNotZero,
    /// `count` on another type.
    #[error("count needs an integer, not a {ty}")]
    CountNotInteger {
        /// The attribute's type.
        ty: Type,
    },
    /// `latest` without its column, or a column without `latest`.
    #[error("names the column that says which row is latest, where rows is latest and only there")]
    LatestByMisplaced,
    /// The members do not make a type.
    #[error(transparent)]
    Members(#[from] MemberError),
    /// Not a name.
    #[error("must be 1 to 63 lower-case letters, digits and underscores, and begin with a letter")]
    NameMalformed,
    /// An operator that says nothing about this type.
    #[error("{operator} cannot be asked of a {ty}")]
    OperatorNotAllowed {
        /// The operator.
        operator: Operator,
        /// The attribute's type.
        ty: Type,
    },
    /// The same operator twice.
    #[error("is repeated")]
    OperatorRepeated,
    /// No operator has that name.
    #[error(transparent)]
    OperatorUnknown(#[from] OperatorUnknown),
    /// An empty list covers nothing.
    #[error("must name at least one operator")]
    OperatorsMissing,
    /// No row rule has that number.
    #[error("must be only, latest, any, count or sum")]
    RowRuleUnknown,
    /// Neither ordinary nor sensitive.
    #[error("must be ordinary or sensitive")]
    SensitivityUnknown,
    /// `sum` on another type.
    #[error("sum needs an integer or a decimal, not a {ty}")]
    SumNotNumber {
        /// The attribute's type.
        ty: Type,
    },
    /// No type has that name.
    #[error(transparent)]
    TypeUnknown(#[from] TypeUnknown),
    /// The absence is not a value of the attribute's type.
    #[error(transparent)]
    Value(#[from] ValueError),
}
