//! Properties of evaluation over any rows: what must hold whatever a register contains.

use jiff::civil::Date;
use proptest::prelude::*;
use proto::exchange::v1 as wire;
use proto::registry::v1::RowRule;

use super::{attribute_type, rule, rule_with_absence};
use crate::claim::period::Period;
use crate::claim::{AttributeRule, Claim, ClaimOutcome, Operator, Row, Verdict, evaluate};
use crate::value::{Type, Value};

const RULES: [RowRule; 5] = [RowRule::Only, RowRule::Latest, RowRule::Any, RowRule::Count, RowRule::Sum];

/// Few different values, so that they meet.
fn small_date() -> impl Strategy<Value = Date> {
    (2024..2027_i16, 1..13_i8, 27..29_i8).prop_map(|(year, month, day)| Date::new(year, month, day).unwrap())
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![9 => -3..4_i64, 1 => any::<i64>()]
}

fn row() -> impl Strategy<Value = Row> {
    (proptest::option::weighted(0.9, number()), proptest::option::weighted(0.9, small_date())).prop_map(
        |(fact, since)| {
            let fact = fact.map(|fact| ("fact", Value::Integer(fact)));
            fact.into_iter().chain(since.map(|since| ("since", Value::Date(since)))).collect()
        },
    )
}

fn row_rule() -> impl Strategy<Value = RowRule> {
    (0..RULES.len()).prop_map(|index| RULES[index])
}

/// A claim about an integer, by any operator of that type.
fn integer_claim() -> impl Strategy<Value = Claim> {
    let operators =
        Operator::ALL.into_iter().filter(|operator| operator.allowed_for(Type::Integer)).collect::<Vec<_>>();
    (0..operators.len(), proptest::collection::vec(number(), 2)).prop_map(move |(index, mut numbers)| {
        numbers.sort_unstable();
        numbers.truncate(*operators[index].operand_count().end());
        asking(operators[index], &numbers)
    })
}

fn asking(operator: Operator, numbers: &[i64]) -> Claim {
    let operands = numbers.iter().map(|number| Value::Integer(*number).to_proto()).collect();
    let claim = wire::Claim {
        attribute: "fact".into(),
        operator: operator.as_str().into(),
        operands,
        disclose: true,
        fixed_by_item: false,
    };
    Claim::from_proto_strict(&claim, &attribute_type(Type::Integer)).unwrap()
}

fn verdict(rule: &AttributeRule, claim: &Claim, rows: &[Row]) -> Verdict {
    evaluate(rule, claim, rows, super::TODAY).verdict()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_row_is_never_a_mismatch(rows in row_rule(), claim in integer_claim()) {
        let outcome = evaluate(&rule(Type::Integer, rows), &claim, &[], super::TODAY);
        prop_assert_eq!(outcome, ClaimOutcome::no_record());
    }

    #[test]
    fn a_missing_value_is_never_a_mismatch(
        rows in row_rule(), claim in integer_claim(), found in proptest::collection::vec(row(), 1..5)
    ) {
        prop_assume!(rows != RowRule::Count);
        let missing = found.iter().filter(|row| row.value("fact").is_none()).count();
        let rule = rule_with_absence(Type::Integer, rows, "0");
        let verdict = verdict(&rule, &claim, &found);
        if missing == found.len() {
            prop_assert_eq!(verdict, Verdict::Unavailable);
        }
        // The latest row may have its value while an older one lacks it; a row that equals decides not_equals.
        let others_decide = rows == RowRule::Latest || claim.operator() == Operator::NotEquals && rows == RowRule::Any;
        if missing > 0 && !others_decide {
            prop_assert_ne!(verdict, Verdict::Mismatch);
        }
        prop_assert_ne!(verdict, Verdict::NoRecord);
    }

    /// Whatever a null turns out to be, a verdict given without knowing it would have stood.
    #[test]
    fn a_verdict_survives_what_was_missing(
        rows in row_rule(), claim in integer_claim(), found in proptest::collection::vec(row(), 1..5),
        late in proptest::collection::vec((number(), small_date()), 5),
    ) {
        let rule = rule(Type::Integer, rows);
        let before = verdict(&rule, &claim, &found);
        let mut filled = found;
        for (row, (number, date)) in filled.iter_mut().zip(late) {
            if row.value("fact").is_none() {
                row.insert("fact", Value::Integer(number));
            }
            if row.value("since").is_none() {
                row.insert("since", Value::Date(date));
            }
        }
        if before != Verdict::Unavailable {
            prop_assert_eq!(verdict(&rule, &claim, &filled), before);
        }
    }

    #[test]
    fn the_order_of_rows_never_matters(
        rows in row_rule(), claim in integer_claim(),
        (found, shuffled) in proptest::collection::vec(row(), 0..6)
            .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
    ) {
        let rule = rule(Type::Integer, rows);
        let today = super::TODAY;
        prop_assert_eq!(evaluate(&rule, &claim, &found, today), evaluate(&rule, &claim, &shuffled, today));
    }

    #[test]
    fn not_equals_is_the_contrary_of_equals(
        rows in row_rule(), number in number(), found in proptest::collection::vec(row(), 0..5), absent in any::<bool>()
    ) {
        let rule = if absent { rule_with_absence(Type::Integer, rows, "0") } else { rule(Type::Integer, rows) };
        let equals = verdict(&rule, &asking(Operator::Equals, &[number]), &found);
        let contrary = match equals {
            Verdict::Match => Verdict::Mismatch,
            Verdict::Mismatch => Verdict::Match,
            same => same,
        };
        prop_assert_eq!(verdict(&rule, &asking(Operator::NotEquals, &[number]), &found), contrary);
    }

    /// A value at least n is not at most n - 1, and the other way about.
    #[test]
    fn at_least_and_at_most_are_dual(
        rows in row_rule(), number in -5..6_i64, found in proptest::collection::vec(row(), 0..5)
    ) {
        prop_assume!(rows != RowRule::Any);
        let rule = rule(Type::Integer, rows);
        let at_least = verdict(&rule, &asking(Operator::AtLeast, &[number]), &found);
        let at_most = verdict(&rule, &asking(Operator::AtMost, &[number - 1]), &found);
        match at_least {
            Verdict::Match => prop_assert_eq!(at_most, Verdict::Mismatch),
            Verdict::Mismatch => prop_assert_eq!(at_most, Verdict::Match),
            same => prop_assert_eq!(at_most, same),
        }
        let between = verdict(&rule, &asking(Operator::Between, &[number, number + 2]), &found);
        let at_most = verdict(&rule, &asking(Operator::AtMost, &[number + 2]), &found);
        let both = at_least == Verdict::Match && at_most == Verdict::Match;
        prop_assert_eq!(between == Verdict::Match, both);
    }

    #[test]
    fn one_of_is_equals_for_one_of_them(
        rows in row_rule(), numbers in proptest::collection::vec(number(), 1..5),
        found in proptest::collection::vec(row(), 0..5),
    ) {
        let rule = rule(Type::Integer, rows);
        let any_equals =
            numbers.iter().any(|number| verdict(&rule, &asking(Operator::Equals, &[*number]), &found) == Verdict::Match);
        prop_assert_eq!(verdict(&rule, &asking(Operator::OneOf, &numbers), &found) == Verdict::Match, any_equals);
    }

    #[test]
    fn an_absence_is_always_marked(
        rows in row_rule(), claim in integer_claim(), found in proptest::collection::vec(row(), 0..4)
    ) {
        let outcome = evaluate(&rule_with_absence(Type::Integer, rows, "0"), &claim, &found, super::TODAY);
        prop_assert_eq!(outcome.by_absence(), found.is_empty());
    }

    #[test]
    fn reading_a_claim_never_panics_and_what_is_read_is_written_back(
        attribute in "[a-z_A-Z0-9]{0,4}", operator in "[a-z_]{0,12}", index in 0..Operator::ALL.len(), known in any::<bool>(),
        texts in proptest::collection::vec(prop_oneof![any::<String>(), "P?[0-9]{0,4}[YMD]?", "[0-9-]{1,10}"], 0..4),
        ty in 0..Type::ALL.len(),
    ) {
        let operator = if known { Operator::ALL[index].as_str().to_owned() } else { operator };
        let operands = texts.into_iter().map(|text| Value::Text(text).to_proto()).collect();
        let sent = wire::Claim { attribute, operator, operands, disclose: false, fixed_by_item: true };
        let ty = attribute_type(Type::ALL[ty]);
        if let Ok(claim) = Claim::from_proto(&sent, &ty) {
            prop_assert!(Claim::from_proto_strict(&claim.to_proto(), &ty) == Ok(claim));
        }
    }

    #[test]
    fn periods_end_today_and_never_panic(text in "P?[0-9YMD]{0,12}", date in small_date()) {
        if let Some(period) = Period::parse(&text) {
            prop_assert!(period.start(date) < date);
        }
        let _ = Period::parse(&format!("P{text}"));
    }
}
