//! Tests of reading claims, of the operators' tables, and the builders that the other tests of claims use.

mod evaluation;
mod outcomes;
mod properties;
mod rules;

use jiff::civil::{Date, date};
use proto::exchange::v1 as wire;
use proto::registry::v1 as registry;

use super::{AttributeRule, Claim, ClaimError, ClaimFault, OPERAND_LIMIT, Operator, OperatorUnknown, Row};
use crate::value::{AttributeType, Type, Value, ValueError};

const TODAY: Date = date(2026, 11, 22);

const MARITAL_STATUS: [&str; 4] = ["single", "married", "divorced", "widowed"];

fn attribute_type(ty: Type) -> AttributeType {
    let members = if ty == Type::Enum { MARITAL_STATUS.map(str::to_owned).to_vec() } else { Vec::new() };
    AttributeType::new(ty, members).unwrap()
}

/// A value written in its usual form.
fn value(ty: Type, text: &str) -> Value {
    Value::read(text, &attribute_type(ty)).unwrap()
}

/// An attribute named "fact" with every operator of its type, which discloses.
fn attribute(ty: Type, rows: registry::RowRule) -> registry::Attribute {
    let operators = Operator::ALL.iter().filter(|operator| operator.allowed_for(ty));
    registry::Attribute {
        name: "fact".into(),
        r#type: ty.as_str().into(),
        members: attribute_type(ty).members().to_vec(),
        operators: operators.map(|operator| operator.as_str().to_owned()).collect(),
        discloses: true,
        sensitivity: "ordinary".into(),
        rows: rows.into(),
        latest_by: if rows == registry::RowRule::Latest { "since".into() } else { String::new() },
        absence: None,
        label: None,
    }
}

fn rule(ty: Type, rows: registry::RowRule) -> AttributeRule {
    AttributeRule::from_proto(&attribute(ty, rows)).unwrap()
}

fn rule_with_absence(ty: Type, rows: registry::RowRule, absence: &str) -> AttributeRule {
    let attribute = registry::Attribute { absence: Some(value(ty, absence).to_proto()), ..attribute(ty, rows) };
    AttributeRule::from_proto(&attribute).unwrap()
}

fn wire_claim(operator: &str, operands: &[&str]) -> wire::Claim {
    let operands = operands.iter().map(|text| Value::Text((*text).to_owned()).to_proto()).collect();
    wire::Claim { attribute: "fact".into(), operator: operator.into(), operands, disclose: true, fixed_by_item: false }
}

fn claim(ty: Type, operator: Operator, operands: &[&str]) -> Claim {
    Claim::from_proto(&wire_claim(operator.as_str(), operands), &attribute_type(ty)).unwrap()
}

/// A row whose "fact" is `fact`, or null, and whose "since" is null.
fn row(fact: Option<Value>) -> Row {
    fact.map(|fact| ("fact", fact)).into_iter().collect()
}

fn rows(ty: Type, facts: &[&str]) -> Vec<Row> {
    facts.iter().map(|&text| row((text != "null").then(|| value(ty, text)))).collect()
}

/// Rows of (fact, since), either of them "null".
fn dated_rows(ty: Type, facts: &[(&str, &str)]) -> Vec<Row> {
    let since = |text: &str| (text != "null").then(|| value(Type::Date, text));
    let row = |&(fact, day): &(&str, &str)| {
        let mut row = rows(ty, &[fact]).remove(0);
        since(day).into_iter().for_each(|day| row.insert("since", day));
        row
    };
    facts.iter().map(row).collect()
}

fn fault(ty: Type, operator: &str, operands: &[&str]) -> (String, ClaimFault) {
    let error = Claim::from_proto(&wire_claim(operator, operands), &attribute_type(ty)).unwrap_err();
    (error.field().to_owned(), error.fault())
}

#[test]
fn operators_go_with_their_types() {
    let allowed = |ty| {
        Operator::ALL.into_iter().filter(|operator| operator.allowed_for(ty)).map(Operator::as_str).collect::<Vec<_>>()
    };
    assert_eq!(allowed(Type::Boolean), ["equals", "exists", "not_equals"]);
    assert_eq!(
        allowed(Type::Date),
        ["after", "before", "between", "equals", "exists", "not_equals", "one_of", "within_last"]
    );
    for ty in [Type::Decimal, Type::Integer] {
        assert_eq!(allowed(ty), ["at_least", "at_most", "between", "equals", "exists", "not_equals", "one_of"]);
    }
    assert_eq!(allowed(Type::Enum), ["equals", "exists", "not_equals", "one_of"]);
    assert_eq!(allowed(Type::List), ["contains", "exists"]);
    assert_eq!(allowed(Type::String), ["equals", "exists", "matches_name", "not_equals", "one_of"]);
    for operator in Operator::ALL {
        assert_eq!(Operator::parse(operator.as_str()), Ok(operator));
    }
    assert_eq!(Operator::parse("Equals"), Err(OperatorUnknown));
}

#[test]
fn a_claim_is_read_and_written() {
    let offices = wire::Claim { fixed_by_item: true, ..wire_claim("at_most", &[" 60000.00 "]) };
    let claim = Claim::from_proto(&offices, &attribute_type(Type::Decimal)).unwrap();
    assert_eq!((claim.attribute(), claim.operator()), ("fact", Operator::AtMost));
    assert!(claim.disclose() && claim.fixed_by_item());
    assert!(claim.operands() == [value(Type::Decimal, "60000")]);
    let signed = claim.to_proto();
    assert_eq!(signed.operands[0], wire::Value { kind: Some(wire::value::Kind::Decimal("60000.00".into())) });
    assert!(Claim::from_proto_strict(&signed, &attribute_type(Type::Decimal)) == Ok(claim));
    let error = Claim::from_proto_strict(&offices, &attribute_type(Type::Decimal)).unwrap_err();
    assert_eq!(error.to_string(), "operands[0]: must be a decimal number such as 60000.00");
}

#[test]
fn faults_name_the_field() {
    use ClaimFault::{BoundsReversed, OperandCount, OperatorNotAllowed, PeriodMalformed};
    let count = |operator, fewest, most| OperandCount { operator, fewest, most };
    for (ty, operator, operands, field, expected) in [
        (Type::Integer, "about", vec!["1"], "operator", OperatorUnknown.into()),
        (Type::Integer, "", vec!["1"], "operator", OperatorUnknown.into()),
        (
            Type::String,
            "at_least",
            vec!["a"],
            "operator",
            OperatorNotAllowed { operator: Operator::AtLeast, ty: Type::String },
        ),
        (Type::Integer, "equals", vec![], "operands", count(Operator::Equals, 1, 1)),
        (Type::Integer, "equals", vec!["1", "2"], "operands", count(Operator::Equals, 1, 1)),
        (Type::Integer, "between", vec!["1"], "operands", count(Operator::Between, 2, 2)),
        (Type::Integer, "exists", vec!["1"], "operands", count(Operator::Exists, 0, 0)),
        (Type::Integer, "one_of", vec![], "operands", count(Operator::OneOf, 1, OPERAND_LIMIT)),
        (Type::Integer, "one_of", vec!["1"; OPERAND_LIMIT + 1], "operands", count(Operator::OneOf, 1, OPERAND_LIMIT)),
        (Type::Integer, "between", vec!["2", "1"], "operands[1]", BoundsReversed),
        (Type::Date, "between", vec!["2026-11-22", "2026-11-21"], "operands[1]", BoundsReversed),
        (Type::Integer, "one_of", vec!["1", "1e5"], "operands[1]", ValueError::IntegerMalformed.into()),
        (Type::Date, "within_last", vec!["6 months"], "operands[0]", PeriodMalformed),
        (Type::Date, "within_last", vec!["2026-11-22"], "operands[0]", PeriodMalformed),
        (Type::Enum, "equals", vec!["married?"], "operands[0]", ValueError::MemberUnknown { count: 4 }.into()),
    ] {
        assert_eq!(fault(ty, operator, &operands), (field.to_owned(), expected), "{operator} {operands:?}");
    }
    for name in ["", "Fact", "1st", "_fact", "fact-one", "事实", "a b", &"a".repeat(64)] {
        let nameless = wire::Claim { attribute: name.into(), ..wire_claim("exists", &[]) };
        let error = Claim::from_proto(&nameless, &attribute_type(Type::String)).unwrap_err();
        assert_eq!((error.field(), error.fault()), ("attribute", ClaimFault::AttributeMalformed), "{name:?}");
    }
    let equal_bounds = Claim::from_proto(&wire_claim("between", &["2", "2"]), &attribute_type(Type::Integer));
    assert!(equal_bounds.is_ok());
}

#[test]
fn neither_errors_nor_debug_output_show_an_operand() {
    let secret = "890101199003070011x";
    let shown = |error: &ClaimError| format!("{error} {error:?}");
    for (ty, operator) in [
        (Type::Boolean, "equals"),
        (Type::Date, "after"),
        (Type::Date, "within_last"),
        (Type::Decimal, "equals"),
        (Type::Enum, "one_of"),
        (Type::Integer, "equals"),
        (Type::String, "between"),
    ] {
        let error = Claim::from_proto(&wire_claim(operator, &[secret]), &attribute_type(ty)).unwrap_err();
        assert!(!shown(&error).contains("8901"), "{}", shown(&error));
    }
    assert!(!format!("{:?}", claim(Type::String, Operator::Equals, &[secret])).contains("8901"));
    assert!(!format!("{:?}", rows(Type::String, &[secret])).contains("8901"));
}

#[test]
fn the_count_of_operands_is_said_in_words() {
    let message = |operator, operands: &[&str]| {
        Claim::from_proto(&wire_claim(operator, operands), &attribute_type(Type::Integer)).unwrap_err().to_string()
    };
    assert_eq!(message("exists", &["1"]), "operands: exists takes no operand");
    assert_eq!(message("equals", &[]), "operands: equals takes one operand");
    assert_eq!(message("between", &["1"]), "operands: between takes 2 operands");
    assert_eq!(message("one_of", &[]), "operands: one_of takes 1 to 64 operands");
}

#[test]
fn a_row_holds_one_value_for_each_column() {
    let mut row: Row =
        [("fact", Value::Integer(1)), ("other", Value::Integer(2)), ("fact", Value::Integer(3))].into_iter().collect();
    assert!(row.value("fact") == Some(&Value::Integer(3)));
    row.insert("other", Value::Integer(4));
    assert!(row.value("other") == Some(&Value::Integer(4)));
    assert!(row.value("third").is_none());
}
