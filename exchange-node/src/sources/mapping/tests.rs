//! What cells become, what whole rows become, and that nothing is guessed on the way.

use std::collections::BTreeMap;

use jiff::civil::date;
use proto::exchange::v1 as wire;
use trust::{
    claim::{Claim, Reason, Verdict, evaluate},
    ids::Digest,
    subject::Scheme,
    value::{AttributeType, Type},
};

use super::*;

fn ty(ty: Type) -> AttributeType {
    AttributeType::new(ty, Vec::new()).unwrap()
}

fn states() -> AttributeType {
    AttributeType::new(Type::Enum, vec!["married".to_owned(), "single".to_owned()]).unwrap()
}

fn text(text: &str) -> Raw {
    Raw::Text(text.to_owned())
}

fn value(mapping: &ColumnMapping, raw: Raw, ty: &AttributeType) -> Option<String> {
    match mapping.cell(&raw, ty) {
        Cell::Value(value) => Some(value.to_text()),
        Cell::Null => Some("null".to_owned()),
        Cell::Unreadable(_) => None,
    }
}

#[test]
fn codes_are_looked_up_and_never_guessed() {
    let codes = BTreeMap::from([("10".to_owned(), "single".to_owned()), ("20".to_owned(), "married".to_owned())]);
    let mapping = ColumnMapping { codes: Some(codes), null: vec!["99".to_owned()], ..ColumnMapping::default() };
    let read = |raw| value(&mapping, raw, &states());
    assert_eq!(read(text("10")).as_deref(), Some("single"));
    // Full-width digits, blanks of a char(4) column, a number.
    assert_eq!(read(text(" ２０ ")).as_deref(), Some("married"));
    assert_eq!(read(Raw::Integer(20)).as_deref(), Some("married"));
    assert_eq!(read(text("30")), None);
    // The meaning itself is no code.
    assert_eq!(read(text("single")), None);
    assert_eq!(read(text("99")).as_deref(), Some("null"));
    assert_eq!(read(text("  ")).as_deref(), Some("null"));
    let typo = BTreeMap::from([("10".to_owned(), "singel".to_owned())]);
    let mapping = ColumnMapping { codes: Some(typo), ..ColumnMapping::default() };
    assert_eq!(value(&mapping, text("10"), &states()), None);
}

#[test]
fn numbers_are_exact_or_nothing() {
    let usual = ColumnMapping::default();
    let decimal = |raw| value(&usual, raw, &ty(Type::Decimal));
    assert_eq!(decimal(Raw::Number("60000.10".to_owned())).as_deref(), Some("60000.10"));
    assert_eq!(decimal(Raw::Integer(7)).as_deref(), Some("7"));
    assert_eq!(decimal(text("６００００.５")).as_deref(), Some("60000.5"));
    assert_eq!(decimal(Raw::Number("1".repeat(40))), None);
    assert_eq!(decimal(text("60,000")), None);
    assert_eq!(decimal(Raw::Inexact), None);
    let integer = |raw| value(&usual, raw, &ty(Type::Integer));
    assert_eq!(integer(Raw::Number("12.00".to_owned())).as_deref(), Some("12"));
    assert_eq!(integer(Raw::Number("12.50".to_owned())), None);
    assert_eq!(integer(Raw::Inexact), None);
    let boolean = |raw| value(&usual, raw, &ty(Type::Boolean));
    assert_eq!(boolean(Raw::Integer(1)).as_deref(), Some("true"));
    assert_eq!(boolean(Raw::Integer(2)), None);
}

#[test]
fn dates_are_days_and_texts_are_canonical() {
    let usual = ColumnMapping::default();
    let day = |raw| value(&usual, raw, &ty(Type::Date));
    for raw in [
        Raw::Date(date(2018, 5, 21)),
        Raw::Moment(date(2018, 5, 21).at(23, 59, 59, 0)),
        Raw::Integer(20_180_521),
        text("２０１８年５月２１日"),
        text("2018/5/21 "),
    ] {
        assert_eq!(day(raw.clone()).as_deref(), Some("2018-05-21"), "{raw:?}");
    }
    assert_eq!(day(Raw::Integer(5)), None);
    assert_eq!(day(text("21.05.2018")), None);
    let compact = ColumnMapping { dates: vec![DateForm::Compact], ..ColumnMapping::default() };
    assert_eq!(value(&compact, text("2018-05-21"), &ty(Type::Date)), None);
    assert_eq!(value(&usual, text("　张　三 "), &ty(Type::String)).as_deref(), Some("张 三"));
    assert_eq!(value(&usual, Raw::Date(date(2018, 5, 21)), &ty(Type::String)), None);
    let list = ColumnMapping { separator: Some("、".to_owned()), ..ColumnMapping::default() };
    assert_eq!(value(&list, text("甲、乙、"), &ty(Type::List)).as_deref(), Some("甲;乙"));
    assert_eq!(value(&usual, Raw::List(vec![text("a"), Raw::Null]), &ty(Type::List)).as_deref(), Some("a"));
}

/// The marriage register, by the town's own description.
fn marriage() -> Service {
    Service::check(&trust::fixture::marriage_registration(), Digest::new([7; 32])).unwrap()
}

fn subject() -> Subject {
    Subject::parse_as(Scheme::ResidentId, "11010519491231002X").unwrap()
}

fn fetched(columns: &[&str], rows: Vec<Vec<Raw>>) -> Fetched {
    Fetched { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows }
}

fn mapped(mapping: &Mapping, fetched: &Fetched) -> Result<Mapped, String> {
    mapping.rows(&marriage(), &subject(), &[], &|_| false, fetched)
}

#[test]
fn what_cannot_be_read_is_unavailable_and_the_rest_is_answered() {
    let given =
        fetched(&["marital_status", "registered_on"], vec![vec![text("betrothed"), Raw::Date(date(2018, 5, 21))]]);
    let mapped = mapped(&Mapping::default(), &given).unwrap();
    let [note] = mapped.notes.as_slice() else { panic!("{:?}", mapped.notes) };
    assert!(note.starts_with("column marital_status: ") && !note.contains("betrothed"), "{note}");
    let service = marriage();
    let today = date(2026, 11, 29);
    let said = |attribute: &str, value: &str| {
        let rule = &service.attributes[attribute];
        let kind = wire::value::Kind::Text(value.to_owned());
        let claim = wire::Claim {
            attribute: attribute.to_owned(),
            operator: "equals".to_owned(),
            operands: vec![wire::Value { kind: Some(kind) }],
            ..wire::Claim::default()
        };
        let outcome = evaluate(rule, &Claim::from_proto(&claim, rule.ty()).unwrap(), &mapped.rows, today);
        (outcome.verdict(), outcome.reason())
    };
    assert_eq!(said("marital_status", "married"), (Verdict::Unavailable, Some(Reason::NotComparable)));
    assert_eq!(said("registered_on", "2018-05-21"), (Verdict::Match, None));
    assert_eq!(said("registered_on", "2018-05-22"), (Verdict::Mismatch, None));
}

#[test]
fn a_column_that_is_missing_is_lacking_and_never_absent() {
    let mapped = mapped(&Mapping::default(), &fetched(&["REGISTERED_ON"], Vec::new())).unwrap();
    assert_eq!(mapped.lacking, ["marital_status"]);
    assert!(mapped.rows.is_empty());
}

#[test]
fn a_row_of_somebody_else_makes_all_of_it_unusable() {
    let row = |number: &str| vec![vec![text(number), text("married"), Raw::Null]];
    let columns = ["resident_id", "marital_status", "registered_on"];
    let old_form = subject().value().to_owned();
    let old_form = format!("{}{}", &old_form[..6], &old_form[8..17]);
    assert!(mapped(&Mapping::default(), &fetched(&columns, row(subject().value()))).is_ok());
    assert!(mapped(&Mapping::default(), &fetched(&columns, row(&old_form))).is_ok());
    let other = mapped(&Mapping::default(), &fetched(&columns, row("440524188001010014"))).unwrap_err();
    assert!(other.contains("another subject's") && !other.contains("4405"), "{other}");
}
