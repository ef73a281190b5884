//! Tests of attributes of a service description: what makes a rule, and what is wrong with what does not.

use proto::exchange::v1 as wire;
use proto::registry::v1::{self as registry, RowRule as WireRows};

use super::{attribute, value};
use crate::claim::{AttributeRule, Operator, OperatorUnknown, RowRule, RuleFault};
use crate::value::{MemberError, Type, TypeUnknown, Value, ValueError};

#[test]
fn a_rule_says_what_its_attribute_says() {
    let rule = AttributeRule::from_proto(&registry::Attribute {
        name: "marital_status".into(),
        operators: vec!["equals".into(), "one_of".into()],
        sensitivity: "sensitive".into(),
        latest_by: "registered_on".into(),
        absence: Some(value(Type::Enum, "single").to_proto()),
        ..attribute(Type::Enum, WireRows::Latest)
    })
    .unwrap();
    assert_eq!(rule.name(), "marital_status");
    assert_eq!(rule.ty().ty(), Type::Enum);
    assert_eq!(rule.operators(), [Operator::Equals, Operator::OneOf]);
    assert_eq!(rule.rows(), &RowRule::Latest { by: "registered_on".into() });
    assert!(rule.absence() == Some(&Value::Text("single".into())));
    assert!(rule.discloses() && rule.is_sensitive() && rule.needs_column());
    let count = AttributeRule::from_proto(&attribute(Type::Integer, WireRows::Count)).unwrap();
    assert!(!count.needs_column() && !count.is_sensitive());
}

#[test]
fn every_type_goes_with_the_rules_that_make_sense() {
    for ty in Type::ALL {
        for rows in [WireRows::Unspecified, WireRows::Only, WireRows::Latest, WireRows::Any] {
            assert!(AttributeRule::from_proto(&attribute(ty, rows)).is_ok(), "{ty} {rows:?}");
        }
        let fits = |rows| AttributeRule::from_proto(&attribute(ty, rows)).is_ok();
        assert_eq!(fits(WireRows::Count), ty == Type::Integer, "{ty}");
        assert_eq!(fits(WireRows::Sum), matches!(ty, Type::Integer | Type::Decimal), "{ty}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    use registry::Attribute;
    let integer = || attribute(Type::Integer, WireRows::Only);
    let status = || attribute(Type::Enum, WireRows::Only);
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let absence = |value: Value| Some(value.to_proto());
    let at_least = RuleFault::OperatorNotAllowed { operator: Operator::AtLeast, ty: Type::Enum };
    for (attribute, field, fault) in [
        (Attribute { name: String::new(), ..integer() }, "name", RuleFault::NameMalformed),
        (Attribute { name: "Count".into(), ..integer() }, "name", RuleFault::NameMalformed),
        (Attribute { name: "a".repeat(64), ..integer() }, "name", RuleFault::NameMalformed),
        (Attribute { r#type: "number".into(), ..integer() }, "type", TypeUnknown.into()),
        (Attribute { members: Vec::new(), ..status() }, "members", MemberError::Missing.into()),
        (
            Attribute { members: names(&["a"]), ..integer() },
            "members",
            MemberError::NotAllowed { ty: Type::Integer }.into(),
        ),
        (Attribute { operators: Vec::new(), ..status() }, "operators", RuleFault::OperatorsMissing),
        (Attribute { operators: names(&["equals", "like"]), ..status() }, "operators[1]", OperatorUnknown.into()),
        (Attribute { operators: names(&["at_least"]), ..status() }, "operators[0]", at_least),
        (
            Attribute { operators: names(&["equals", "exists", "equals"]), ..status() },
            "operators[2]",
            RuleFault::OperatorRepeated,
        ),
        (Attribute { sensitivity: String::new(), ..status() }, "sensitivity", RuleFault::SensitivityUnknown),
        (Attribute { sensitivity: "secret".into(), ..status() }, "sensitivity", RuleFault::SensitivityUnknown),
        (Attribute { rows: 6, ..status() }, "rows", RuleFault::RowRuleUnknown),
        (Attribute { rows: -1, ..status() }, "rows", RuleFault::RowRuleUnknown),
        (attribute(Type::Decimal, WireRows::Count), "rows", RuleFault::CountNotInteger { ty: Type::Decimal }),
        (attribute(Type::Date, WireRows::Sum), "rows", RuleFault::SumNotNumber { ty: Type::Date }),
        (
            Attribute { latest_by: String::new(), ..attribute(Type::Enum, WireRows::Latest) },
            "latest_by",
            RuleFault::LatestByMisplaced,
        ),
        (
            Attribute { latest_by: "a b".into(), ..attribute(Type::Enum, WireRows::Latest) },
            "latest_by",
            RuleFault::NameMalformed,
        ),
        (Attribute { latest_by: "since".into(), ..status() }, "latest_by", RuleFault::LatestByMisplaced),
        (
            Attribute { absence: absence(Value::Boolean(false)), ..status() },
            "absence",
            ValueError::KindWrong { ty: Type::Enum }.into(),
        ),
        (
            Attribute { absence: absence(Value::Text("never".into())), ..status() },
            "absence",
            ValueError::MemberUnknown { count: 4 }.into(),
        ),
        // A statement is signed: nothing is converted in it.
        (
            Attribute { absence: absence(Value::Text("0".into())), ..integer() },
            "absence",
            ValueError::KindWrong { ty: Type::Integer }.into(),
        ),
        (Attribute { absence: Some(wire::Value::default()), ..integer() }, "absence", ValueError::Missing.into()),
        (
            Attribute { absence: absence(Value::Integer(1)), ..attribute(Type::Integer, WireRows::Count) },
            "absence",
            RuleFault::AbsenceNotZero,
        ),
        (
            Attribute { absence: absence(value(Type::Decimal, "0.01")), ..attribute(Type::Decimal, WireRows::Sum) },
            "absence",
            RuleFault::AbsenceNotZero,
        ),
    ] {
        let error = AttributeRule::from_proto(&attribute).unwrap_err();
        assert_eq!((error.field(), error.fault()), (field, fault), "{error}");
        assert!(error.to_string().starts_with(&format!("{field}: ")));
    }
}
