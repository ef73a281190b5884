//! Small texts that operators write on the command line: claims, inputs, legal bases, dates. Each is read here and nowhere
//! else, and a fault says what to write instead. Out of scope: what a value means for an attribute, which the node knows.

pub(super) use directory_reader::service_path as service;
use jiff::civil::Date;
use proto::exchange::v1::{Claim, Input, LegalBasis, Value, value::Kind};
use trust::claim::Operator;

/// Reads a claim: `attribute=value`, `!=`, `>=`, `<=`, `<` (before), `>` (after), or the attribute, an operator by name
/// and its values: `attribute one_of a,b`, `attribute in a,b`, `attribute between a,b`, `attribute exists`.
pub(super) fn claim(text: &str) -> Result<Claim, String> {
    let text = text.trim();
    let end = text
        .find(|character: char| !(character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'));
    let (attribute, rest) = text.split_at(end.unwrap_or(text.len()));
    if attribute.is_empty() {
        return Err(format!("a claim begins with the attribute's name; {CLAIM_FORMS}"));
    }
    let (operator, operands) = operator_and_operands(attribute, rest.trim_start())?;
    let expected = operator.operand_count();
    if !expected.contains(&operands.len()) {
        return Err(format!("{attribute}: {operator} takes {}, not {}", count(expected), operands.len()));
    }
    Ok(Claim {
        attribute: attribute.to_owned(),
        operator: operator.as_str().to_owned(),
        operands: operands.iter().map(|operand| text_value(operand)).collect(),
        disclose: false,
        fixed_by_item: false,
    })
}

const CLAIM_FORMS: &str =
    "write for example marital_status=single, amount>=60000.00, 'status in a,b' or 'house exists'";

fn operator_and_operands<'a>(attribute: &str, rest: &'a str) -> Result<(Operator, Vec<&'a str>), String> {
    const SIGNS: [(&str, Operator); 6] = [
        (">=", Operator::AtLeast),
        ("<=", Operator::AtMost),
        ("!=", Operator::NotEquals),
        ("=", Operator::Equals),
        ("<", Operator::Before),
        (">", Operator::After),
    ];
    for (sign, operator) in SIGNS {
        if let Some(value) = rest.strip_prefix(sign) {
            let value = value.trim();
            if value.is_empty() || value.starts_with('=') {
                return Err(format!("{attribute}: a value is expected after {sign}; {CLAIM_FORMS}"));
            }
            return Ok((operator, vec![value]));
        }
    }
    let (name, values) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let operator = match name {
        "in" => Operator::OneOf,
        "" => return Err(format!("{attribute}: what is claimed? {CLAIM_FORMS}")),
        _ => Operator::parse(name).map_err(|_| {
            let names: Vec<&str> = Operator::ALL.iter().map(|operator| operator.as_str()).collect();
            format!("{attribute}: there is no such operator; there are {}", names.join(", "))
        })?,
    };
    let values = values.trim();
    let operands = match operator {
        _ if values.is_empty() => Vec::new(),
        Operator::OneOf | Operator::Between => values.split(',').map(str::trim).collect(),
        _ => vec![values],
    };
    if operands.iter().any(|operand| operand.is_empty()) {
        return Err(format!("{attribute}: a value between two commas is empty"));
    }
    Ok((operator, operands))
}

fn count(range: std::ops::RangeInclusive<usize>) -> String {
    match (*range.start(), *range.end()) {
        (0, 0) => "no value".to_owned(),
        (1, 1) => "1 value".to_owned(),
        (least, most) if least == most => format!("{least} values"),
        (least, most) => format!("{least} to {most} values"),
    }
}

/// Reads an input, `name=value`.
pub(super) fn input(text: &str) -> Result<Input, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok(Input { name: name.trim().to_owned(), value: Some(text_value(value.trim())) })
        }
        _ => Err("write an input as name=value, for example period=2026-10".to_owned()),
    }
}

/// Reads a legal basis, `<instrument> <article>`: the last word is the article where it begins with a digit.
pub(super) fn legal_basis(text: &str) -> Result<LegalBasis, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("state the instrument and the article, for example \"公共租赁住房管理办法 7\"".to_owned());
    }
    let (instrument, article) = match text.rsplit_once(char::is_whitespace) {
        Some((instrument, article)) if article.starts_with(|character: char| character.is_ascii_digit()) => {
            (instrument.trim_end(), article)
        }
        _ => (text, ""),
    };
    Ok(LegalBasis { instrument: instrument.to_owned(), article: article.to_owned() })
}

/// Reads the last day of something, and gives the moment at which that day is over where the departments are (UTC+8), in
/// Unix milliseconds.
pub(crate) fn end_of_day(text: &str) -> Result<u64, String> {
    let wrong = || "write a date as YYYY-MM-DD, for example 2027-12-31".to_owned();
    let date: Date = text.trim().parse().map_err(|_| wrong())?;
    let next = date.tomorrow().map_err(|_| wrong())?.to_datetime(jiff::civil::Time::midnight());
    let end = jiff::tz::Offset::constant(8).to_timestamp(next).map_err(|_| wrong())?;
    u64::try_from(end.as_millisecond()).map_err(|_| "the day is before 1970".to_owned())
}

/// Whether an end that was given is still to come; `option` is where it was given.
pub(super) fn check_not_over(option: &str, end_ms: Option<u64>, now_ms: u64) -> Result<(), String> {
    match end_ms {
        Some(end_ms) if end_ms <= now_ms => Err(format!("{option}: that day is over")),
        _ => Ok(()),
    }
}

fn text_value(text: &str) -> Value {
    Value { kind: Some(Kind::Text(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String, Vec<String>) {
        let claim = claim(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let operands = claim.operands.into_iter().map(|value| match value.kind {
            Some(Kind::Text(text)) => text,
            other => panic!("{other:?}"),
        });
        (claim.attribute, claim.operator, operands.collect())
    }

    #[test]
    fn claims_are_read_in_each_form() {
        for (text, attribute, operator, operands) in [
            ("marital_status=single", "marital_status", "equals", &["single"][..]),
            ("marital_status = single", "marital_status", "equals", &["single"]),
            ("name=欧阳·娜娜", "name", "equals", &["欧阳·娜娜"]),
            ("note=a=b", "note", "equals", &["a=b"]),
            ("income>=60000.00", "income", "at_least", &["60000.00"]),
            ("income <= 60000", "income", "at_most", &["60000"]),
            ("status!=dead", "status", "not_equals", &["dead"]),
            ("born<2000-01-01", "born", "before", &["2000-01-01"]),
            ("born>2000-01-01", "born", "after", &["2000-01-01"]),
            ("status in a, b,c", "status", "one_of", &["a", "b", "c"]),
            ("status one_of a", "status", "one_of", &["a"]),
            ("area between 10,20", "area", "between", &["10", "20"]),
            ("house exists", "house", "exists", &[]),
            ("paid_on within_last P6M", "paid_on", "within_last", &["P6M"]),
            ("name matches_name Zhang San", "name", "matches_name", &["Zhang San"]),
            ("income at_least 5", "income", "at_least", &["5"]),
        ] {
            let operands: Vec<String> = operands.iter().map(|operand| (*operand).to_owned()).collect();
            assert_eq!(read(text), (attribute.to_owned(), operator.to_owned(), operands), "{text}");
        }
    }

    #[test]
    fn a_claim_that_cannot_be_read_says_what_to_write() {
        for (text, reason) in [
            ("", "begins with the attribute's name"),
            ("=single", "begins with the attribute's name"),
            ("marital_status", "what is claimed?"),
            ("marital_status=", "a value is expected after ="),
            ("marital_status==single", "a value is expected after ="),
            ("status is single", "there is no such operator"),
            ("status in a,,b", "between two commas"),
            ("status in", "takes 1 to"),
            ("area between 1", "takes 2 values, not 1"),
            ("house exists yes", "takes no value, not 1"),
        ] {
            let error = claim(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("yes"), "a value is never repeated: {error}");
        }
    }

    #[test]
    fn the_article_is_the_last_word_that_begins_with_a_digit() {
        let read = |text: &str| legal_basis(text).map(|basis| (basis.instrument, basis.article));
        assert_eq!(read("公共租赁住房管理办法 7"), Ok(("公共租赁住房管理办法".into(), "7".into())));
        assert_eq!(read("Housing Act 7(2)"), Ok(("Housing Act".into(), "7(2)".into())));
        assert_eq!(read("Housing Act"), Ok(("Housing Act".into(), String::new())));
        assert!(read("  ").is_err());
    }

    #[test]
    fn the_last_day_counts_whole() {
        // 2026-01-01T00:00+08:00 is when 2025-12-31 is over.
        assert_eq!(end_of_day("2025-12-31"), Ok(1_767_225_600_000 - 8 * 3_600_000));
        for wrong in ["", "31.12.2025", "2025-02-30", "1969-01-01"] {
            assert!(end_of_day(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_day_that_is_over_is_no_end() {
        assert!(check_not_over("--until", Some(5), 5).is_err());
        assert!(check_not_over("--until", Some(6), 5).is_ok());
        assert!(check_not_over("--until", None, 5).is_ok());
    }

    #[test]
    fn inputs_and_services_have_two_parts() {
        assert_eq!(input("period=2026-10").unwrap().name, "period");
        for wrong in ["period", "=x", "period="] {
            assert!(input(wrong).is_err(), "{wrong}");
        }
        assert_eq!(service("a/b"), Ok(("a".into(), "b".into())));
        assert!(service("marriage-registration").is_err());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,60}") {
            let _ = (claim(&text), input(&text), legal_basis(&text), end_of_day(&text), service(&text));
        }
    }
}
