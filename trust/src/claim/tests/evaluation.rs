//! Tests of evaluation: one value against every operator, then several rows under every rule, then no row.

use proto::registry::v1::{self as registry, RowRule};

use super::{TODAY, attribute, claim, dated_rows, row, rows, rule, rule_with_absence, value, wire_claim};
use crate::claim::{AttributeRule, Claim, ClaimOutcome, Operator, Reason, Row, Verdict, evaluate};
use crate::value::{Type, Value};

/// Match, mismatch, or the reason why neither.
fn told(outcome: &ClaimOutcome) -> &'static str {
    match outcome.verdict() {
        Verdict::Match => "match",
        Verdict::Mismatch => "mismatch",
        Verdict::NoRecord => "no_record",
        Verdict::Unavailable => outcome.reason().unwrap().as_str(),
    }
}

fn outcome(rule: &AttributeRule, operator: Operator, operands: &[&str], rows: &[Row]) -> ClaimOutcome {
    evaluate(rule, &claim(rule.ty().ty(), operator, operands), rows, TODAY)
}

#[test]
fn one_value_against_each_operator() {
    use Operator::{
        After, AtLeast, AtMost, Before, Between, Contains, Equals, Exists, MatchesName, NotEquals, OneOf, WithinLast,
    };
    let yes = true;
    let no = false;
    for (ty, fact, operator, operands, expected) in [
        (Type::Boolean, "false", Equals, vec!["false"], yes),
        (Type::Boolean, "false", Equals, vec!["true"], no),
        (Type::Boolean, "false", NotEquals, vec!["true"], yes),
        (Type::Boolean, "false", Exists, vec![], yes),
        (Type::Integer, "12", Equals, vec!["12"], yes),
        (Type::Integer, "12", AtLeast, vec!["12"], yes),
        (Type::Integer, "12", AtLeast, vec!["13"], no),
        (Type::Integer, "12", AtMost, vec!["12"], yes),
        (Type::Integer, "12", AtMost, vec!["11"], no),
        (Type::Integer, "-12", AtMost, vec!["11"], yes),
        (Type::Integer, "12", Between, vec!["12", "12"], yes),
        (Type::Integer, "12", Between, vec!["1", "11"], no),
        (Type::Integer, "12", Between, vec!["13", "20"], no),
        (Type::Integer, "12", OneOf, vec!["11", "12"], yes),
        (Type::Integer, "12", OneOf, vec!["11", "13"], no),
        (Type::Integer, "12", NotEquals, vec!["12"], no),
        (Type::Decimal, "60000.00", Equals, vec!["60000"], yes),
        (Type::Decimal, "60000.00", Equals, vec!["60000.0000000001"], no),
        (Type::Decimal, "60000.01", AtMost, vec!["60000"], no),
        (Type::Decimal, "60000.00", AtMost, vec!["60000"], yes),
        (Type::Decimal, "-0.00", AtLeast, vec!["0"], yes),
        (Type::Decimal, "0.10", OneOf, vec!["1", "0.1"], yes),
        (Type::Decimal, "0.3", Between, vec!["0.3", "0.30"], yes),
        (Type::Decimal, "9999999999999999999999999999", AtLeast, vec!["0.000000000000000000000000001"], yes),
        (Type::Date, "2026-11-22", After, vec!["2026-11-21"], yes),
        (Type::Date, "2026-11-22", After, vec!["2026-11-22"], no),
        (Type::Date, "2026-11-22", Before, vec!["2026-11-22"], no),
        (Type::Date, "2026-11-22", Before, vec!["2026-11-23"], yes),
        (Type::Date, "2026-11-22", Between, vec!["2026-11-22", "2026-11-22"], yes),
        (Type::Date, "2026-11-22", Equals, vec!["2026-11-22"], yes),
        (Type::Date, "2026-05-22", WithinLast, vec!["P6M"], yes),
        (Type::Date, "2026-05-21", WithinLast, vec!["P6M"], no),
        (Type::Date, "2026-11-22", WithinLast, vec!["P1D"], yes),
        (Type::Date, "2026-11-23", WithinLast, vec!["P1D"], no),
        (Type::Date, "2026-10-23", WithinLast, vec!["P30D"], yes),
        (Type::Date, "2026-10-22", WithinLast, vec!["P30D"], no),
        (Type::Date, "2025-11-22", WithinLast, vec!["P1Y"], yes),
        (Type::Date, "2025-11-21", WithinLast, vec!["P1Y"], no),
        (Type::Date, "0001-01-01", WithinLast, vec!["P9999Y"], yes),
        (Type::Enum, "married", Equals, vec!["married"], yes),
        (Type::Enum, "married", OneOf, vec!["single", "divorced"], no),
        (Type::List, "甲;乙", Contains, vec!["乙"], yes),
        (Type::List, "甲;乙", Contains, vec!["丙"], no),
        (Type::String, "张三", Equals, vec!["张三"], yes),
        (Type::String, "张三", Equals, vec!["张 三"], no),
        (Type::String, "ABC", Equals, vec!["abc"], no),
        (Type::String, "张三", MatchesName, vec!["张 三"], yes),
        (Type::String, "张三", MatchesName, vec!["张三丰"], no),
        (Type::String, "ZHANG San", MatchesName, vec!["zhangsan"], yes),
        (Type::String, "Zhang　San", MatchesName, vec!["ＺＨＡＮＧ ＳＡＮ"], yes),
    ] {
        let expected = if expected { "match" } else { "mismatch" };
        let outcome = outcome(&rule(ty, RowRule::Only), operator, &operands, &rows(ty, &[fact]));
        assert_eq!(told(&outcome), expected, "{fact} {operator} {operands:?}");
        assert!(!outcome.by_absence());
    }
}

#[test]
fn middle_dots_of_every_kind_are_one_and_one_that_is_left_out_is_no_other_name() {
    let rule = rule(Type::String, RowRule::Only);
    for dot in ["·", "•", "‧", "∙", "・", ".", "⋅", "･", "．", "\u{387}", " · "] {
        let other = format!("阿依{dot}买买提");
        let outcome = outcome(&rule, Operator::MatchesName, &[&other], &rows(Type::String, &["阿依·买买提"]));
        assert_eq!(told(&outcome), "match", "{other}");
    }
    // A record that was not read by `Value::read` is brought to the same form.
    let raw = row(Some(Value::Text("ＡＹＩ\u{3000}･ｂ".into())));
    assert_eq!(told(&outcome(&rule, Operator::MatchesName, &["Ayi·B"], &[raw])), "match");
    // Older systems have no such dot to store.
    for (asked, stored) in
        [("阿依买买提", "阿依·买买提"), ("阿依·买买提", "阿依买买提"), ("阿·依买买提", "阿依·买买提")]
    {
        let without = outcome(&rule, Operator::MatchesName, &[asked], &rows(Type::String, &[stored]));
        assert_eq!(told(&without), "match", "{asked} and {stored}");
    }
    let other = outcome(&rule, Operator::MatchesName, &["阿依买提"], &rows(Type::String, &["阿依·买买提"]));
    assert_eq!(told(&other), "mismatch");
    let dots = outcome(&rule, Operator::MatchesName, &["·"], &rows(Type::String, &["."]));
    assert_eq!(told(&dots), "not_comparable");
}

#[test]
fn several_rows_under_each_rule() {
    use Operator::{AtLeast, Equals, Exists, NotEquals};
    for (rule_name, facts, operator, operands, expected) in [
        (RowRule::Only, vec!["1", "1"], Equals, vec!["1"], "match"),
        (RowRule::Only, vec!["1", "2"], Equals, vec!["1"], "ambiguous"),
        (RowRule::Only, vec!["1", "2"], Equals, vec!["3"], "ambiguous"),
        (RowRule::Only, vec!["1", "null"], Equals, vec!["2"], "missing_value"),
        (RowRule::Only, vec!["null"], Equals, vec!["1"], "missing_value"),
        (RowRule::Only, vec!["null"], NotEquals, vec!["1"], "missing_value"),
        (RowRule::Only, vec!["null"], Exists, vec![], "missing_value"),
        (RowRule::Only, vec!["1", "2"], Exists, vec![], "match"),
        (RowRule::Only, vec!["1", "null"], Exists, vec![], "missing_value"),
        (RowRule::Unspecified, vec!["1", "2"], Equals, vec!["1"], "ambiguous"),
        (RowRule::Any, vec!["1", "2"], Equals, vec!["2"], "match"),
        (RowRule::Any, vec!["null", "2"], Equals, vec!["2"], "match"),
        (RowRule::Any, vec!["1", "2"], Equals, vec!["3"], "mismatch"),
        (RowRule::Any, vec!["1", "null"], Equals, vec!["3"], "missing_value"),
        (RowRule::Any, vec!["1", "5"], AtLeast, vec!["5"], "match"),
        (RowRule::Any, vec!["1", "2"], NotEquals, vec!["2"], "mismatch"),
        (RowRule::Any, vec!["null", "2"], NotEquals, vec!["2"], "mismatch"),
        (RowRule::Any, vec!["1", "2"], NotEquals, vec!["3"], "match"),
        (RowRule::Any, vec!["null", "2"], NotEquals, vec!["3"], "missing_value"),
        (RowRule::Any, vec!["null", "2"], Exists, vec![], "match"),
        (RowRule::Any, vec!["null", "null"], Exists, vec![], "missing_value"),
        (RowRule::Count, vec!["9", "null", "9"], Equals, vec!["3"], "match"),
        (RowRule::Count, vec!["9"], AtLeast, vec!["2"], "mismatch"),
        (RowRule::Count, vec!["null"], Exists, vec![], "match"),
        (RowRule::Sum, vec!["5", "7"], Equals, vec!["12"], "match"),
        (RowRule::Sum, vec!["5", "-7"], Equals, vec!["-2"], "match"),
        (RowRule::Sum, vec!["5", "null"], AtLeast, vec!["1"], "missing_value"),
        (RowRule::Sum, vec!["5"], AtLeast, vec!["6"], "mismatch"),
        (RowRule::Sum, vec!["9223372036854775807", "1"], AtLeast, vec!["0"], "not_comparable"),
        (RowRule::Sum, vec!["9223372036854775807", "1", "-1"], Equals, vec!["9223372036854775807"], "match"),
    ] {
        let outcome = outcome(&rule(Type::Integer, rule_name), operator, &operands, &rows(Type::Integer, &facts));
        assert_eq!(told(&outcome), expected, "{rule_name:?} {facts:?} {operator} {operands:?}");
        assert!(!outcome.by_absence());
    }
}

#[test]
fn decimal_sums_are_exact_or_not_at_all() {
    let sum = rule(Type::Decimal, RowRule::Sum);
    for (facts, operand, expected) in [
        (vec!["0.1", "0.2"], "0.3", "match"),
        (vec!["30000.005", "29999.995"], "60000", "match"),
        (vec!["9999999999999999999999999999", "1"], "0", "not_comparable"),
        (vec!["9999999999999999999999999999", "0.1"], "0", "not_comparable"),
        (vec!["9999999999999999999999999999", "-9999999999999999999999999999"], "0", "match"),
        // Bounded before it is summed, so that no order of the rows makes it fit.
        (vec!["9999999999999999999999999999", "-9999999999999999999999999999", "0.1"], "0.1", "not_comparable"),
        (vec!["5", "5", "-0.000000000000000000000000001"], "9.999999999999999999999999999", "match"),
    ] {
        let outcome = outcome(&sum, Operator::Equals, &[operand], &rows(Type::Decimal, &facts));
        assert_eq!(told(&outcome), expected, "{facts:?}");
    }
}

#[test]
fn the_latest_row_counts() {
    for (facts, expected) in [
        (vec![("single", "2001-01-01"), ("married", "2010-05-01")], "match"),
        (vec![("married", "2010-05-01"), ("divorced", "2015-01-01")], "mismatch"),
        (vec![("null", "2001-01-01"), ("married", "2010-05-01")], "match"),
        (vec![("married", "2001-01-01"), ("null", "2010-05-01")], "missing_value"),
        // Two registrations on one day: nothing says which was the later.
        (vec![("married", "2010-05-01"), ("divorced", "2010-05-01")], "ambiguous"),
        (vec![("married", "2010-05-01"), ("married", "2010-05-01")], "match"),
        (vec![("single", "2009-05-01"), ("married", "2010-05-01"), ("married", "2010-05-01")], "match"),
        (vec![("married", "null"), ("divorced", "2010-05-01")], "ambiguous"),
        (vec![("married", "null"), ("divorced", "null")], "ambiguous"),
        (vec![("married", "null"), ("null", "2010-05-01")], "missing_value"),
        // Whichever is the latest, it says the same.
        (vec![("married", "null"), ("married", "2010-05-01")], "match"),
        (vec![("married", "null")], "match"),
    ] {
        let latest = rule(Type::Enum, RowRule::Latest);
        let found = dated_rows(Type::Enum, &facts);
        assert_eq!(told(&outcome(&latest, Operator::Equals, &["married"], &found)), expected, "{facts:?}");
    }
}

#[test]
fn only_ordered_columns_say_which_row_is_latest() {
    let latest = rule(Type::Integer, RowRule::Latest);
    let row = |fact, since| [("fact", Value::Integer(fact)), ("since", since)].into_iter().collect::<Row>();
    let told = |rows: &[Row]| told(&outcome(&latest, Operator::Equals, &["1"], rows));
    assert_eq!(told(&[row(1, Value::Integer(10)), row(2, Value::Integer(9))]), "match");
    let decimal = |text| value(Type::Decimal, text);
    assert_eq!(told(&[row(1, decimal("10.0")), row(2, decimal("9.9"))]), "match");
    // As texts, "9" would come after "10".
    assert_eq!(told(&[row(1, Value::Text("10".into())), row(2, Value::Text("9".into()))]), "ambiguous");
    assert_eq!(told(&[row(1, Value::Integer(10)), row(2, decimal("9"))]), "ambiguous");
}

#[test]
fn no_row_is_no_record_unless_absence_is_declared() {
    for rule_name in [RowRule::Only, RowRule::Any, RowRule::Latest, RowRule::Count, RowRule::Sum] {
        let undeclared = rule(Type::Integer, rule_name);
        for operator in [Operator::Equals, Operator::NotEquals, Operator::AtLeast] {
            assert_eq!(outcome(&undeclared, operator, &["0"], &[]), ClaimOutcome::no_record(), "{rule_name:?}");
        }
        assert_eq!(outcome(&undeclared, Operator::Exists, &[], &[]), ClaimOutcome::no_record());

        let declared = rule_with_absence(Type::Integer, rule_name, "0");
        for (operator, operands, expected) in [
            (Operator::Equals, vec!["0"], "match"),
            (Operator::Equals, vec!["1"], "mismatch"),
            (Operator::NotEquals, vec!["1"], "match"),
            (Operator::AtLeast, vec!["1"], "mismatch"),
            // Zero houses is a fact by absence; a record it is not.
            (Operator::Exists, vec![], "mismatch"),
        ] {
            let outcome = outcome(&declared, operator, &operands, &[]);
            assert_eq!((told(&outcome), outcome.by_absence()), (expected, true), "{rule_name:?} {operator}");
        }
        let present = outcome(&declared, Operator::Exists, &[], &rows(Type::Integer, &["0"]));
        assert_eq!((told(&present), present.by_absence()), ("match", false));
    }
    // A row without the value is not absence.
    let declared = rule_with_absence(Type::Boolean, RowRule::Only, "false");
    let null = outcome(&declared, Operator::Equals, &["false"], &rows(Type::Boolean, &["null"]));
    assert_eq!((told(&null), null.by_absence()), ("missing_value", false));
}

#[test]
fn a_value_of_another_type_is_not_comparable() {
    let not_a_member = row(Some(Value::Text("unknown".into())));
    for rule_name in [RowRule::Only, RowRule::Any, RowRule::Latest] {
        let rule = rule(Type::Enum, rule_name);
        for (operator, operands) in
            [(Operator::Equals, vec!["single"]), (Operator::NotEquals, vec!["single"]), (Operator::Exists, vec![])]
        {
            for found in [&not_a_member, &row(Some(Value::Integer(1))), &row(Some(Value::Text(String::new())))] {
                let outcome = outcome(&rule, operator, &operands, std::slice::from_ref(found));
                assert_eq!(told(&outcome), "not_comparable", "{rule_name:?} {operator}");
            }
        }
    }
    let two = [not_a_member.clone(), rows(Type::Enum, &["single"]).remove(0)];
    let exists = outcome(&rule(Type::Enum, RowRule::Only), Operator::Exists, &[], &two);
    assert_eq!(told(&exists), "not_comparable");
    let any = outcome(&rule(Type::Enum, RowRule::Any), Operator::Equals, &["single"], &two);
    assert_eq!(told(&any), "match");
    let none = outcome(&rule(Type::Enum, RowRule::Any), Operator::Equals, &["married"], &two);
    assert_eq!(told(&none), "not_comparable");
    let sum = [row(Some(Value::Integer(1))), row(Some(value(Type::Decimal, "1")))];
    for ty in [Type::Integer, Type::Decimal] {
        let outcome = outcome(&rule(ty, RowRule::Sum), Operator::Equals, &["2"], &sum);
        assert_eq!(told(&outcome), "not_comparable", "{ty}");
    }
    let decimals = rows(Type::Decimal, &["1", "1"]);
    let integer_sum = outcome(&rule(Type::Integer, RowRule::Sum), Operator::Equals, &["2"], &decimals);
    assert_eq!(told(&integer_sum), "not_comparable");
}

#[test]
fn what_the_rule_does_not_cover_is_not_compared() {
    let narrow = AttributeRule::from_proto(&registry::Attribute {
        operators: vec!["equals".into()],
        ..attribute(Type::Enum, RowRule::Only)
    })
    .unwrap();
    let found = rows(Type::Enum, &["single"]);
    assert_eq!(told(&outcome(&narrow, Operator::NotEquals, &["single"], &found)), "not_comparable");
    // Even where there is no row: what may not be asked is not answered.
    assert_eq!(told(&outcome(&narrow, Operator::NotEquals, &["single"], &[])), "not_comparable");
    let other_type = claim(Type::String, Operator::Equals, &["unknown"]);
    assert_eq!(told(&evaluate(&narrow, &other_type, &found, TODAY)), "not_comparable");
    let other_name = proto::exchange::v1::Claim { attribute: "other".into(), ..wire_claim("equals", &["single"]) };
    let other_name = Claim::from_proto(&other_name, narrow.ty()).unwrap();
    assert_eq!(evaluate(&narrow, &other_name, &found, TODAY), ClaimOutcome::unavailable(Reason::NotComparable));
}

#[test]
fn a_value_is_disclosed_only_where_asked_and_allowed() {
    let disclosing = rule(Type::Integer, RowRule::Only);
    let found = rows(Type::Integer, &["12"]);
    let disclosed = |rule: &AttributeRule, claim: &Claim, rows: &[Row]| {
        evaluate(rule, claim, rows, TODAY).disclosed().map(Value::to_text)
    };
    let asking = claim(Type::Integer, Operator::Equals, &["11"]);
    assert_eq!(disclosed(&disclosing, &asking, &found).as_deref(), Some("12"));
    assert_eq!(disclosed(&disclosing, &claim(Type::Integer, Operator::Exists, &[]), &found).as_deref(), Some("12"));

    let silent = proto::exchange::v1::Claim { disclose: false, ..asking.to_proto() };
    let silent = Claim::from_proto_strict(&silent, disclosing.ty()).unwrap();
    assert_eq!(disclosed(&disclosing, &silent, &found), None);
    let closed = registry::Attribute { discloses: false, ..attribute(Type::Integer, RowRule::Only) };
    assert_eq!(disclosed(&AttributeRule::from_proto(&closed).unwrap(), &asking, &found), None);

    for facts in [vec![], vec!["null"], vec!["1", "2"]] {
        assert_eq!(disclosed(&disclosing, &asking, &rows(Type::Integer, &facts)), None, "{facts:?}");
    }
    let absent = rule_with_absence(Type::Integer, RowRule::Only, "0");
    assert_eq!(disclosed(&absent, &asking, &[]).as_deref(), Some("0"));
    assert_eq!(disclosed(&absent, &claim(Type::Integer, Operator::Exists, &[]), &[]), None);

    let any = rule(Type::Integer, RowRule::Any);
    let at_least = claim(Type::Integer, Operator::AtLeast, &["5"]);
    for (facts, expected) in [
        (vec!["1", "7"], Some("7")),
        (vec!["null", "7", "7"], Some("7")),
        (vec!["6", "7"], None),
        (vec!["1", "1"], Some("1")),
        (vec!["1", "2"], None),
    ] {
        assert_eq!(disclosed(&any, &at_least, &rows(Type::Integer, &facts)).as_deref(), expected, "{facts:?}");
    }
    let decimals = rule(Type::Decimal, RowRule::Only);
    for facts in [["1.0", "1.000"], ["1.000", "1.0"]] {
        let claim = claim(Type::Decimal, Operator::Equals, &["1"]);
        assert_eq!(disclosed(&decimals, &claim, &rows(Type::Decimal, &facts)).as_deref(), Some("1.000"));
    }
}
