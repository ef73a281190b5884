//! The evaluation itself: a rule, a claim, the rows of one subject and the day, to one outcome.
//!
//! Which rows are looked at is the caller's: it has applied the inputs, and it answers `UNAVAILABLE` by itself where the
//! records cannot be read. The order of the rows never matters.

use std::cmp::Ordering;

use jiff::civil::Date;
use rust_decimal::Decimal;
use unicode_normalization::UnicodeNormalization;

use super::operator::Operands;
use super::{AttributeRule, Claim, ClaimOutcome, Operator, Period, Reason, RowRule};
use crate::value::{DIGIT_LIMIT, Value};

/// One row of a subject's record: values by column. A column that the row does not name is null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(Vec<(String, Value)>);

impl Row {
    /// The value in `column`, or `None` where it is null.
    #[must_use]
    pub fn value(&self, column: &str) -> Option<&Value> {
        // A row has a handful of columns: looking through them is quicker than hashing.
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value)
    }

    /// Every column that is not null, with its value.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Puts a value into `column`, in place of the one there.
    pub fn insert(&mut self, column: impl Into<String>, value: Value) {
        let column = column.into();
        match self.0.iter_mut().find(|(name, _)| *name == column) {
            Some((_, present)) => *present = value,
            None => self.0.push((column, value)),
        }
    }
}

impl<C: Into<String>> FromIterator<(C, Value)> for Row {
    fn from_iter<I: IntoIterator<Item = (C, Value)>>(values: I) -> Self {
        let mut row = Self::default();
        values.into_iter().for_each(|(column, value)| row.insert(column, value));
        row
    }
}

/// Compares `claim` with `rows`, the rows of one subject that the question's inputs selected, on the day `today` (the
/// provider's calendar day).
///
/// - **No rows**: the declared absence stands for the value and the outcome is marked `by_absence`; without one it is
///   `NO_RECORD`. `exists` asks for a record, so a declared absence makes it a `MISMATCH` by absence, never a `MATCH`.
/// - **only**: one row counts; several only where all hold the same value, otherwise `ambiguous`.
/// - **latest**: the row with the greatest value in the column counts. Rows at the same place count where they hold the
///   same value. Where the column is null, or of types that have no order, all rows could be the latest.
/// - **any**: `MATCH` where the claim holds for any row, `MISMATCH` only where every row was compared and it holds for
///   none. `not_equals` is the contrary of `equals` here too: `MISMATCH` where any row equals, `MATCH` only where every
///   row was compared and none does.
/// - **count**: the number of rows is the value, whatever is in them.
/// - **sum**: every row must have a value, and the sum is exact or `not_comparable`.
/// - **exists**: holds where every row that could count has a value (for `any`: one row). A row whose value is null is
///   `UNAVAILABLE`, since nothing says whether the register lacks the value or the world does.
///
/// A value is disclosed where the claim asks and the service discloses; that the grant allows it too, the caller has
/// checked. Under `any` it is disclosed only where one value alone decides.
///
/// A claim that the rule does not cover is `not_comparable`: asking was refused before, so this is a second lock.
#[must_use]
pub fn evaluate(rule: &AttributeRule, claim: &Claim, rows: &[Row], today: Date) -> ClaimOutcome {
    let comparison = Comparison { rule, claim, today };
    if !comparison.is_covered() {
        return ClaimOutcome::unavailable(Reason::NotComparable);
    }
    if rows.is_empty() {
        return comparison.absent();
    }
    let values = || rows.iter().map(|row| row.value(rule.name())).collect::<Vec<_>>();
    match rule.rows() {
        RowRule::Any => comparison.any(&values()),
        RowRule::Count => match i64::try_from(rows.len()) {
            Ok(count) => comparison.one(&Value::Integer(count)),
            Err(_) => ClaimOutcome::unavailable(Reason::NotComparable),
        },
        RowRule::Latest { by } => comparison.settled(&latest(rows, by, rule.name())),
        RowRule::Only => comparison.settled(&values()),
        RowRule::Sum => match sum(&values()) {
            Ok(sum) => comparison.one(&sum),
            Err(reason) => ClaimOutcome::unavailable(reason),
        },
    }
}

/// How two values of one ordered type stand to each other; `None` for other types and for different ones.
pub(super) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Date(left), Value::Date(right)) => Some(left.cmp(right)),
        (Value::Decimal(left), Value::Decimal(right)) => Some(left.cmp(right)),
        (Value::Integer(left), Value::Integer(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

struct Comparison<'a> {
    rule: &'a AttributeRule,
    claim: &'a Claim,
    today: Date,
}

impl Comparison<'_> {
    fn is_covered(&self) -> bool {
        let operator = self.claim.operator();
        // The claim may have been read for another version of the service, with other members.
        let operands_fit = || match operator.operands() {
            Operands::Attribute => self.claim.operands().iter().all(|operand| operand.is_of(self.rule.ty())),
            Operands::Element => {
                let element = self.rule.ty().element();
                self.claim.operands().iter().all(|operand| operand.is_of(&element))
            }
            Operands::Period => true,
        };
        self.claim.attribute() == self.rule.name() && self.rule.operators().contains(&operator) && operands_fit()
    }

    /// No row was found.
    fn absent(&self) -> ClaimOutcome {
        let Some(value) = self.rule.absence() else { return ClaimOutcome::no_record() };
        if self.claim.operator() == Operator::Exists {
            return ClaimOutcome::compared(false, true, None);
        }
        match self.holds(value) {
            Some(holds) => ClaimOutcome::compared(holds, true, self.disclosed(Some(value))),
            None => ClaimOutcome::unavailable(Reason::NotComparable),
        }
    }

    /// One value decides.
    fn one(&self, value: &Value) -> ClaimOutcome {
        match self.holds(value) {
            Some(holds) => ClaimOutcome::compared(holds, false, self.disclosed(Some(value))),
            None => ClaimOutcome::unavailable(Reason::NotComparable),
        }
    }

    /// One of these values decides, and nothing says which, so they must agree.
    fn settled(&self, values: &[Option<&Value>]) -> ClaimOutcome {
        let Some(values) = values.iter().copied().collect::<Option<Vec<_>>>() else {
            return ClaimOutcome::unavailable(Reason::MissingValue);
        };
        match one_of_equals(&values) {
            Some(value) => self.one(value),
            // Whichever of them counts, there is a value.
            None if self.claim.operator() == Operator::Exists => match self.all_hold(&values) {
                true => ClaimOutcome::compared(true, false, None),
                false => ClaimOutcome::unavailable(Reason::NotComparable),
            },
            None => ClaimOutcome::unavailable(Reason::Ambiguous),
        }
    }

    /// Any of these values decides.
    fn any(&self, values: &[Option<&Value>]) -> ClaimOutcome {
        // `not_equals` is decided by a row that equals, every other operator by a row for which it holds.
        let decisive = self.claim.operator() != Operator::NotEquals;
        let held = |value: &Option<&Value>| value.and_then(|value| self.holds(value));
        let deciding =
            values.iter().filter(|value| held(value) == Some(decisive)).flatten().copied().collect::<Vec<_>>();
        if !deciding.is_empty() {
            return ClaimOutcome::compared(decisive, false, self.disclosed(one_of_equals(&deciding)));
        }
        if values.iter().any(|value| value.is_some() && held(value).is_none()) {
            return ClaimOutcome::unavailable(Reason::NotComparable);
        }
        match values.iter().copied().collect::<Option<Vec<_>>>() {
            Some(values) => ClaimOutcome::compared(!decisive, false, self.disclosed(one_of_equals(&values))),
            None => ClaimOutcome::unavailable(Reason::MissingValue),
        }
    }

    fn all_hold(&self, values: &[&Value]) -> bool {
        values.iter().all(|value| self.holds(value) == Some(true))
    }

    /// Whether the claim holds for `value`; `None` where the two cannot be compared.
    fn holds(&self, value: &Value) -> Option<bool> {
        if !value.is_of(self.rule.ty()) {
            return None;
        }
        match (self.claim.operator(), self.claim.operands()) {
            (Operator::After, [operand]) => Some(order(value, operand)?.is_gt()),
            (Operator::AtLeast, [operand]) => Some(order(value, operand)?.is_ge()),
            (Operator::AtMost, [operand]) => Some(order(value, operand)?.is_le()),
            (Operator::Before, [operand]) => Some(order(value, operand)?.is_lt()),
            (Operator::Between, [low, high]) => Some(order(value, low)?.is_ge() && order(value, high)?.is_le()),
            (Operator::Contains, [operand]) => match value {
                Value::List(values) => Some(values.contains(operand)),
                _ => None,
            },
            (Operator::Equals, [operand]) => Some(value == operand),
            (Operator::Exists, []) => Some(true),
            (Operator::MatchesName, [operand]) => Some(name_key(value)? == name_key(operand)?),
            (Operator::NotEquals, [operand]) => Some(value != operand),
            (Operator::OneOf, operands) => Some(operands.contains(value)),
            (Operator::WithinLast, [Value::Text(period)]) => match value {
                Value::Date(date) => Some((Period::parse(period)?.start(self.today)..=self.today).contains(date)),
                _ => None,
            },
            _ => None,
        }
    }

    fn disclosed(&self, value: Option<&Value>) -> Option<Value> {
        value.filter(|_| self.claim.disclose() && self.rule.discloses()).cloned()
    }
}

/// The value of `column` in every row that could be the one with the greatest value in `by`.
fn latest<'a>(rows: &'a [Row], by: &str, column: &str) -> Vec<Option<&'a Value>> {
    let mut greatest: Vec<&Row> = Vec::new();
    for row in rows {
        let place = greatest.first().map(|first| order(row.value(by)?, first.value(by)?));
        match place {
            None | Some(Some(Ordering::Equal)) => greatest.push(row),
            Some(Some(Ordering::Greater)) => greatest = vec![row],
            Some(Some(Ordering::Less)) => {}
            // Nothing says where this row stands.
            Some(None) => return rows.iter().map(|row| row.value(column)).collect(),
        }
    }
    greatest.iter().map(|row| row.value(column)).collect()
}

/// The value that all `values` equal. Decimals can be equal and yet be written differently: the longest is taken, so that
/// the order of the rows never shows.
fn one_of_equals<'a>(values: &[&'a Value]) -> Option<&'a Value> {
    let first = *values.first()?;
    if values.iter().any(|value| *value != first) {
        return None;
    }
    let digits_after_point = |value: &&Value| match value {
        Value::Decimal(decimal) => decimal.scale(),
        _ => 0,
    };
    values.iter().copied().max_by_key(digits_after_point)
}

/// The exact sum of integers, or of decimals.
///
/// Not by `Decimal`'s own addition, which rounds where digits run out: a rounded sum is a guess. Everything is brought
/// to one scale first and bounded, so that neither the order of the rows nor their signs decide whether it fits.
fn sum(values: &[Option<&Value>]) -> Result<Value, Reason> {
    let values = values.iter().copied().collect::<Option<Vec<_>>>().ok_or(Reason::MissingValue)?;
    let integers = || {
        let add = |sum: i128, value: &&Value| match value {
            // Cannot overflow: 2^63 rows of 64 bits fit into 127.
            Value::Integer(integer) => sum.checked_add(i128::from(*integer)),
            _ => None,
        };
        i64::try_from(values.iter().try_fold(0, add)?).ok().map(Value::Integer)
    };
    integers().or_else(|| decimal_sum(&values).map(Value::Decimal)).ok_or(Reason::NotComparable)
}

fn decimal_sum(values: &[&Value]) -> Option<Decimal> {
    let decimals = values
        .iter()
        .map(|value| match value {
            Value::Decimal(decimal) => Some(*decimal),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    let limit = 10_i128.checked_pow(u32::try_from(DIGIT_LIMIT).ok()?)?;
    let scale = decimals.iter().map(Decimal::scale).max()?;
    let mut sum = 0_i128;
    for decimal in decimals {
        let rescaled = decimal.mantissa().checked_mul(10_i128.checked_pow(scale - decimal.scale())?)?;
        // Each is under 10^28, so 10^10 of them cannot overflow 127 bits, whatever their order.
        sum = sum.checked_add(Some(rescaled).filter(|mantissa| mantissa.abs() < limit)?)?;
    }
    Some(sum).filter(|sum| sum.abs() < limit).and_then(|sum| Decimal::try_from_i128_with_scale(sum, scale).ok())
}

/// A name reduced to what identifies it: NFKC, without white space and middle dots of any kind, in lower case. A system that
/// has no such dot stores a name without it.
fn name_key(value: &Value) -> Option<String> {
    let Value::Text(text) = value else { return None };
    let key = text
        .nfkc()
        .filter(|c| !c.is_whitespace() && !is_middle_dot(*c))
        .flat_map(char::to_lowercase)
        .collect::<String>();
    // Nothing but dots names nobody.
    (!key.is_empty()).then_some(key)
}

/// What stands between the parts of a name such as 买买提·吐尔逊: the dot that GB 18030 calls for, and what keyboards and
/// older systems put there. NFKC has already turned U+0387, U+2024, U+FE52, U+FF0E and U+FF65 into some of these.
fn is_middle_dot(c: char) -> bool {
    matches!(c, '.' | '·' | '•' | '‧' | '∙' | '⋅' | '・')
}
