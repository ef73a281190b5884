//! Tests of the written forms of values, of their form on the wire, and that no error or debug output shows a value.

use jiff::civil::date;
use proptest::prelude::*;
use proto::exchange::v1::{self as wire, value::Kind};
use rust_decimal::Decimal;

use super::{AttributeType, LIST_LIMIT, MemberError, TEXT_LIMIT, Type, TypeUnknown, Value, ValueError};

fn plain(ty: Type) -> AttributeType {
    let members = if ty == Type::Enum { vec!["single".to_owned(), "已婚".to_owned()] } else { Vec::new() };
    AttributeType::new(ty, members).unwrap()
}

fn read(ty: Type, text: &str) -> Result<Value, ValueError> {
    Value::read(text, &plain(ty))
}

fn of(kind: Kind) -> wire::Value {
    wire::Value { kind: Some(kind) }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn decimal(text: &str) -> Value {
    Value::Decimal(Decimal::from_str_exact(text).unwrap())
}

#[test]
fn usual_forms_are_read() {
    for (ty, raw, expected) in [
        (Type::Boolean, "true", Value::Boolean(true)),
        (Type::Boolean, " false\n", Value::Boolean(false)),
        (Type::Boolean, "ｔｒｕｅ", Value::Boolean(true)),
        (Type::Integer, "0", Value::Integer(0)),
        (Type::Integer, "-0", Value::Integer(0)),
        (Type::Integer, "12", Value::Integer(12)),
        (Type::Integer, "１２", Value::Integer(12)),
        (Type::Integer, "-12", Value::Integer(-12)),
        (Type::Integer, "9223372036854775807", Value::Integer(i64::MAX)),
        (Type::Integer, "-9223372036854775808", Value::Integer(i64::MIN)),
        (Type::Decimal, "60000", decimal("60000")),
        (Type::Decimal, "60000.00", decimal("60000")),
        (Type::Decimal, "-0.5", decimal("-0.5")),
        (Type::Decimal, "-0.00", decimal("0")),
        (Type::Decimal, "\u{3000}６０．５０\u{a0}", decimal("60.5")),
        (Type::Decimal, "9999999999999999999999999999", decimal("9999999999999999999999999999")),
        (Type::Decimal, "0.000000000000000000000000001", decimal("0.000000000000000000000000001")),
        (Type::Date, "2026-11-22", Value::Date(date(2026, 11, 22))),
        (Type::Date, "2024-02-29", Value::Date(date(2024, 2, 29))),
        (Type::Date, "0001-01-01", Value::Date(date(1, 1, 1))),
        (Type::Date, "9999-12-31", Value::Date(date(9999, 12, 31))),
        (Type::Date, "２０２６－１１－２２", Value::Date(date(2026, 11, 22))),
        (Type::Enum, "single", text("single")),
        (Type::Enum, " 已婚 ", text("已婚")),
        (Type::String, "  宁河 市  ", text("宁河 市")),
        (Type::String, "ＡＢＣ①", text("ABC1")),
        (Type::String, "\u{fb01}", text("fi")),
        (Type::List, "甲;乙", Value::List(vec![text("甲"), text("乙")])),
        (Type::List, " 甲 ； 乙 ", Value::List(vec![text("甲"), text("乙")])),
        (Type::List, "甲", Value::List(vec![text("甲")])),
    ] {
        assert!(read(ty, raw) == Ok(expected), "{ty} {raw:?}");
    }
}

#[test]
fn other_forms_are_refused() {
    use ValueError::{
        BooleanMalformed, CharacterNotAllowed, DateMalformed, DecimalMalformed, Empty, IntegerMalformed, MemberUnknown,
    };
    for ty in Type::ALL {
        for raw in ["", " ", "\u{3000}\t\r\n"] {
            assert_eq!(read(ty, raw), Err(Empty), "{ty} {raw:?}");
        }
    }
    for raw in ["True", "TRUE", "yes", "1", "是", "true false"] {
        assert_eq!(read(Type::Boolean, raw), Err(BooleanMalformed), "{raw:?}");
    }
    for raw in [
        "+1",
        "--1",
        "-",
        "01",
        "-01",
        "00",
        "1.0",
        "1,000",
        "1 000",
        "1_000",
        "0x10",
        "1e5",
        "NaN",
        "∞",
        "١٢",
        "一",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999999999999",
    ] {
        assert_eq!(read(Type::Integer, raw), Err(IntegerMalformed), "{raw:?}");
    }
    for raw in [
        "1e5",
        "8.9E+17",
        "8.9e17",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "Infinity",
        "+1",
        "1.",
        ".5",
        "-.5",
        ".",
        "-",
        "1.2.3",
        "1,000.00",
        "1_000",
        "60 000",
        "¥60000",
        "60000元",
        "00.5",
        "01",
        "1.-5",
        "1.+5",
        "½",
        "--1",
        "0x1",
        "99999999999999999999999999999",
        "0.0000000000000000000000000001",
        "1.0000000000000000000000000000",
    ] {
        assert_eq!(read(Type::Decimal, raw), Err(DecimalMalformed), "{raw:?}");
    }
    for raw in [
        "2026-2-2",
        "20261122",
        "2026/11/22",
        "2026.11.22",
        "2026年11月22日",
        "22-11-2026",
        "2026-11-22T00:00",
        "26-11-22",
        "2026-11-22Z",
        "2023-02-29",
        "2026-13-01",
        "2026-00-10",
        "2026-11-31",
        "2026-11-00",
        "0000-01-01",
        "-001-01-01",
        "+002026-11-22",
        "2026-W01-1",
        "2026-326",
        "١٢٣٤-01-01",
    ] {
        assert_eq!(read(Type::Date, raw), Err(DateMalformed), "{raw:?}");
    }
    for raw in ["Single", "married", "sin gle", "single;已婚"] {
        assert_eq!(read(Type::Enum, raw), Err(MemberUnknown { count: 2 }), "{raw:?}");
    }
    for (raw, position) in [
        ("a\u{0}", 2),
        ("甲\n乙", 2),
        ("甲\t乙", 2),
        ("\u{feff}甲", 1),
        ("甲乙\u{200b}", 3),
        ("a\u{202e}b", 2),
        ("a\u{ad}b", 2),
    ] {
        assert_eq!(read(Type::String, raw), Err(CharacterNotAllowed { position }), "{raw:?}");
    }
    for raw in [";", "甲;", ";甲", "甲;;乙"] {
        assert_eq!(read(Type::List, raw), Err(Empty), "{raw:?}");
    }
}

#[test]
fn limits_are_exact() {
    assert!(read(Type::String, &"字".repeat(TEXT_LIMIT)).is_ok());
    assert_eq!(read(Type::String, &"字".repeat(TEXT_LIMIT + 1)), Err(ValueError::TextTooLong));
    assert_eq!(read(Type::String, &"a".repeat(TEXT_LIMIT + 1)), Err(ValueError::TextTooLong));
    // One character of eighteen: short enough as it came, too long as it would be kept.
    assert_eq!(read(Type::String, &"\u{fdfa}".repeat(TEXT_LIMIT / 10)), Err(ValueError::TextTooLong));
    assert_eq!(read(Type::String, &" ".repeat(1_000_000)), Err(ValueError::TextTooLong));
    assert!(read(Type::List, &vec!["甲"; LIST_LIMIT].join(";")).is_ok());
    assert_eq!(read(Type::List, &vec!["甲"; LIST_LIMIT + 1].join(";")), Err(ValueError::ListLength));
    assert!(read(Type::List, &vec!["字".repeat(TEXT_LIMIT); LIST_LIMIT].join(";")).is_ok());
    assert_eq!(read(Type::List, &"字".repeat(TEXT_LIMIT + 1)), Err(ValueError::TextTooLong));
    let list = |length| of(Kind::List(wire::ValueList { values: vec![text("甲").to_proto(); length] }));
    assert!(Value::from_proto_strict(&list(LIST_LIMIT), &plain(Type::List)).is_ok());
    for length in [0, LIST_LIMIT + 1] {
        assert_eq!(Value::from_proto(&list(length), &plain(Type::List)), Err(ValueError::ListLength), "{length}");
    }
}

#[test]
fn offices_may_write_any_value_as_text() {
    for (ty, kind, expected) in [
        (Type::Boolean, Kind::Text("false".into()), Value::Boolean(false)),
        (Type::Date, Kind::Text("2026-11-22".into()), Value::Date(date(2026, 11, 22))),
        (Type::Decimal, Kind::Text("60000".into()), decimal("60000")),
        (Type::Decimal, Kind::Integer(60_000), decimal("60000")),
        (Type::Decimal, Kind::Integer(i64::MIN), decimal("-9223372036854775808")),
        (Type::Integer, Kind::Text("12".into()), Value::Integer(12)),
        (Type::List, Kind::Text("甲;乙".into()), Value::List(vec![text("甲"), text("乙")])),
        (Type::String, Kind::Text(" Ａ ".into()), text("A")),
        (Type::Date, Kind::Date(" 2026-11-22".into()), Value::Date(date(2026, 11, 22))),
    ] {
        let value = of(kind);
        assert!(Value::from_proto(&value, &plain(ty)) == Ok(expected.clone()), "{value:?}");
        assert!(Value::from_proto_strict(&value, &plain(ty)).is_err(), "{value:?}");
        assert!(Value::from_proto_strict(&expected.to_proto(), &plain(ty)) == Ok(expected), "{value:?}");
    }
}

#[test]
fn signed_values_are_of_one_kind_and_one_spelling() {
    use ValueError::{KindWrong, Missing, NotCanonical};
    for (ty, kind, expected) in [
        (Type::Integer, Kind::Text("12".into()), KindWrong { ty: Type::Integer }),
        (Type::Integer, Kind::Decimal("12".into()), KindWrong { ty: Type::Integer }),
        (Type::Decimal, Kind::Integer(12), KindWrong { ty: Type::Decimal }),
        (Type::Decimal, Kind::Date("12".into()), KindWrong { ty: Type::Decimal }),
        (Type::Decimal, Kind::Decimal(" 12".into()), NotCanonical),
        (Type::Decimal, Kind::Decimal("１２".into()), NotCanonical),
        (Type::Decimal, Kind::Decimal("-0.0".into()), NotCanonical),
        (Type::Date, Kind::Date("2026-11-22 ".into()), NotCanonical),
        (Type::String, Kind::Text("Ａ".into()), NotCanonical),
        (Type::String, Kind::Text("A ".into()), NotCanonical),
        (Type::String, Kind::Boolean(true), KindWrong { ty: Type::String }),
        (Type::Boolean, Kind::Integer(1), KindWrong { ty: Type::Boolean }),
        (Type::Enum, Kind::Boolean(true), KindWrong { ty: Type::Enum }),
        (Type::List, Kind::Text("甲".into()), KindWrong { ty: Type::List }),
        (Type::List, Kind::List(wire::ValueList { values: vec![of(Kind::Text("甲 ".into()))] }), NotCanonical),
        (
            Type::List,
            Kind::List(wire::ValueList { values: vec![of(Kind::Integer(1))] }),
            KindWrong { ty: Type::String },
        ),
        (Type::List, Kind::List(wire::ValueList { values: vec![wire::Value::default()] }), Missing),
        (
            Type::List,
            Kind::List(wire::ValueList { values: vec![of(Kind::Text("甲;乙".into()))] }),
            ValueError::ListSeparator,
        ),
    ] {
        let value = of(kind);
        assert_eq!(Value::from_proto_strict(&value, &plain(ty)), Err(expected), "{value:?}");
    }
    assert_eq!(Value::from_proto(&wire::Value::default(), &plain(Type::String)), Err(Missing));
    let list = of(Kind::List(wire::ValueList { values: vec![text("甲").to_proto()] }));
    let nested = of(Kind::List(wire::ValueList { values: vec![list.clone()] }));
    assert_eq!(Value::from_proto(&nested, &plain(Type::List)), Err(KindWrong { ty: Type::String }));
    assert_eq!(Value::from_proto(&list, &plain(Type::String)), Err(KindWrong { ty: Type::String }));
    // Trailing zeros are the asker's to choose: they are kept, and change nothing in a comparison.
    let kept = Value::from_proto_strict(&of(Kind::Decimal("60000.00".into())), &plain(Type::Decimal)).unwrap();
    assert_eq!(kept.to_text(), "60000.00");
    let mut minus_zero = Decimal::ZERO;
    minus_zero.set_sign_negative(true);
    assert_eq!(minus_zero.to_string(), "-0");
    assert_eq!(Value::Decimal(minus_zero).to_text(), "0");
    assert!(kept == decimal("60000"));
}

#[test]
fn members_are_checked() {
    let make = |ty, members: &[&str]| AttributeType::new(ty, members.iter().map(|&member| member.into()).collect());
    assert_eq!(make(Type::Enum, &[]), Err(MemberError::Missing));
    assert_eq!(make(Type::Enum, &["a", "b", "a"]), Err(MemberError::Repeated { index: 2 }));
    for member in ["", " a", "Ａ", "a;b", "a\u{200b}"] {
        assert_eq!(make(Type::Enum, &["x", member]), Err(MemberError::NotCanonical { index: 1 }), "{member:?}");
    }
    for ty in [Type::Boolean, Type::Date, Type::Decimal, Type::Integer, Type::String] {
        assert_eq!(make(ty, &["a"]), Err(MemberError::NotAllowed { ty }));
        assert!(make(ty, &[]).is_ok());
    }
    let names = (0..=256).map(|number| number.to_string()).collect::<Vec<_>>();
    assert!(AttributeType::new(Type::Enum, names[..256].to_vec()).is_ok());
    assert_eq!(AttributeType::new(Type::Enum, names), Err(MemberError::TooMany));
    let list = make(Type::List, &["甲", "乙"]).unwrap();
    assert!(Value::read("甲;乙", &list).is_ok());
    assert_eq!(Value::read("甲;丙", &list), Err(ValueError::MemberUnknown { count: 2 }));
}

#[test]
fn values_know_their_type() {
    let values = [
        Value::Boolean(true),
        Value::Date(date(2026, 11, 22)),
        decimal("1"),
        Value::Integer(1),
        Value::List(vec![text("甲")]),
        text("single"),
    ];
    for ty in Type::ALL {
        let fitting = values.iter().filter(|value| value.is_of(&plain(ty))).collect::<Vec<_>>();
        assert_eq!(fitting.len(), 1, "{ty}");
    }
    assert!(!text("married").is_of(&plain(Type::Enum)));
    assert!(!text("").is_of(&plain(Type::String)));
    assert!(!Value::List(Vec::new()).is_of(&plain(Type::List)));
    assert!(!Value::List(vec![Value::Integer(1)]).is_of(&plain(Type::List)));
}

#[test]
fn type_names_are_stable() {
    let names = Type::ALL.map(Type::as_str);
    assert_eq!(names, ["boolean", "date", "decimal", "enum", "integer", "list", "string"]);
    for ty in Type::ALL {
        assert_eq!(Type::parse(ty.as_str()), Ok(ty));
    }
    assert_eq!(Type::parse("String"), Err(TypeUnknown));
}

#[test]
fn debug_output_names_the_type_alone() {
    let secret = "890101199003070011";
    for (value, shown) in [
        (Value::Boolean(true), "Boolean(…)"),
        (Value::Date(date(2026, 11, 22)), "Date(…)"),
        (decimal(secret), "Decimal(…)"),
        (Value::Integer(890_101_199_003_070_011), "Integer(…)"),
        (Value::List(vec![text(secret)]), "List(…)"),
        (text(secret), "Text(…)"),
    ] {
        assert_eq!(format!("{value:?}"), shown);
        assert_eq!(format!("{value:#?}"), shown);
    }
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Kind::Text),
        "[0-9.\\-+eE ]{0,40}".prop_map(Kind::Decimal),
        "[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}".prop_map(Kind::Date),
        any::<bool>().prop_map(Kind::Boolean),
        any::<i64>().prop_map(Kind::Integer),
        "(true|-?[0-9]{1,30}(\\.[0-9]{1,30})?|single)".prop_map(Kind::Text),
    ];
    leaf.prop_recursive(2, 16, 4, |inner| {
        proptest::collection::vec(inner, 0..4)
            .prop_map(|kinds| Kind::List(wire::ValueList { values: kinds.into_iter().map(of).collect() }))
    })
}

proptest! {
    #[test]
    fn reading_never_panics_and_what_is_read_is_of_its_type(raw in any::<String>(), index in 0..Type::ALL.len()) {
        let ty = plain(Type::ALL[index]);
        if let Ok(value) = Value::read(&raw, &ty) {
            prop_assert!(value.is_of(&ty));
            prop_assert!(Value::read(&value.to_text(), &ty) == Ok(value.clone()));
            prop_assert!(Value::from_proto_strict(&value.to_proto(), &ty) == Ok(value));
        }
    }

    #[test]
    fn what_offices_may_send_is_sent_on_in_one_spelling(kind in any_kind(), index in 0..Type::ALL.len()) {
        let ty = plain(Type::ALL[index]);
        let sent = of(kind);
        match (Value::from_proto(&sent, &ty), Value::from_proto_strict(&sent, &ty)) {
            (Ok(value), strict) => {
                prop_assert!(value.is_of(&ty));
                prop_assert!(Value::from_proto_strict(&value.to_proto(), &ty) == Ok(value.clone()));
                prop_assert_eq!(strict.is_ok(), value.to_proto() == sent);
            }
            (Err(_), strict) => prop_assert!(strict.is_err()),
        }
    }

    #[test]
    fn numbers_keep_their_digits(whole in "(0|[1-9][0-9]{0,14})", fraction in "[0-9]{1,13}", number in any::<i64>()) {
        let written = format!("{whole}.{fraction}");
        prop_assert_eq!(read(Type::Decimal, &written).unwrap().to_text(), written);
        prop_assert_eq!(read(Type::Integer, &number.to_string()).unwrap().to_text(), number.to_string());
    }
}
