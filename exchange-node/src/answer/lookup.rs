//! One lookup under every number that the subject has: what was recorded under a former one counts as what is recorded
//! under the one in use. Out of scope: which numbers belong together (`records::aliases`).

use trust::{claim::Row, service::Service, subject::Subject, value::Value};

use crate::records::{Lookup, Reading, RecordSource};

/// What was found under all numbers of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Together {
    pub(crate) lookup: Lookup,
    /// Set where a source gave an equal row under several of the numbers. It may know former numbers itself and mean one row,
    /// or hold two that are alike: nothing says which, so that nothing may be counted or summed.
    pub(crate) is_repeated: bool,
}

impl Together {
    /// What was found under one number.
    pub(crate) fn of(lookup: Lookup) -> Self {
        Self { lookup, is_repeated: false }
    }
}

/// The rows of a subject under all of its `numbers`. Whatever cannot be told under one of them cannot be told at all.
pub(crate) async fn under_all(
    records: &dyn RecordSource,
    reading: Reading<'_>,
    service: &Service,
    numbers: &[Subject],
    inputs: &[(String, Value)],
) -> Together {
    let mut found = Vec::with_capacity(numbers.len());
    for number in numbers.iter().filter(|number| service.schemes.contains(&number.scheme())) {
        found.push(records.lookup(reading, service, number, inputs).await);
    }
    merged(found, records.may_repeat(service))
}

/// What was found under each of a subject's numbers, as one. `may_repeat` says whether the source may give one row under
/// several of them.
pub(crate) fn merged(found: impl IntoIterator<Item = Lookup>, may_repeat: bool) -> Together {
    let found = found.into_iter().map(Together::of).reduce(|one, other| merge(one, other, may_repeat));
    found.unwrap_or_else(|| {
        Together::of(Lookup::SchemeNotHeld("the service takes none of the subject's schemes".to_owned()))
    })
}

fn merge(one: Together, other: Together, may_repeat: bool) -> Together {
    let mut is_repeated = one.is_repeated || other.is_repeated;
    let lookup = match (one.lookup, other.lookup) {
        (Lookup::SchemeNotHeld(_), other) => other,
        (one, Lookup::SchemeNotHeld(_)) => one,
        (Lookup::Failed(reason), _) | (_, Lookup::Failed(reason)) => Lookup::Failed(reason),
        (Lookup::NotImported, _) | (_, Lookup::NotImported) => Lookup::NotImported,
        (Lookup::Quarantined, _) | (_, Lookup::Quarantined) => Lookup::Quarantined,
        (one, other) => match (parts(one), parts(other)) {
            (
                Some((mut rows, as_of, mut lacking, mut uncertain)),
                Some((more, more_as_of, more_lacking, more_uncertain)),
            ) => {
                // Where one side holds nothing, the other's rows are as fresh as they are.
                let as_of = match (rows.is_empty(), more.is_empty()) {
                    (true, false) => more_as_of,
                    (false, true) => as_of,
                    _ => as_of.zip(more_as_of).map(|(one, other)| one.min(other)),
                };
                is_repeated |= may_repeat && more.iter().any(|row| rows.contains(row));
                rows.extend(more);
                lacking.extend(more_lacking);
                uncertain.extend(more_uncertain);
                if lacking.is_empty() && uncertain.is_empty() {
                    Lookup::Rows { rows, as_of }
                } else {
                    Lookup::Partial { rows, as_of, lacking, uncertain }
                }
            }
            _ => Lookup::Failed("what was found under several numbers cannot be joined".to_owned()),
        },
    };
    Together { lookup, is_repeated }
}

type Parts = (Vec<Row>, Option<jiff::civil::Date>, Vec<String>, Vec<String>);

fn parts(lookup: Lookup) -> Option<Parts> {
    match lookup {
        Lookup::Rows { rows, as_of } => Some((rows, as_of, Vec::new(), Vec::new())),
        Lookup::Partial { rows, as_of, lacking, uncertain } => Some((rows, as_of, lacking, uncertain)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn rows(values: &[i64], day: i8) -> Lookup {
        let row = |value: &i64| Row::from_iter([("a", Value::Integer(*value))]);
        Lookup::Rows { rows: values.iter().map(row).collect(), as_of: Some(date(2026, 1, day)) }
    }

    fn merge(one: Lookup, other: Lookup) -> Lookup {
        merged([one, other], false).lookup
    }

    #[test]
    fn rows_under_several_numbers_are_rows_of_one_subject() {
        assert_eq!(merge(rows(&[1], 5), rows(&[2, 3], 3)), rows(&[1, 2, 3], 3));
        assert_eq!(merge(rows(&[1], 5), rows(&[], 3)), rows(&[1], 5));
        assert_eq!(merge(rows(&[], 3), rows(&[1], 5)), rows(&[1], 5));
        assert_eq!(merge(rows(&[], 3), rows(&[], 5)), rows(&[], 3));
    }

    #[test]
    fn equal_rows_under_two_numbers_are_two_and_a_source_that_may_repeat_itself_is_doubted() {
        let together = |lookup: Lookup, is_repeated: bool| Together { lookup, is_repeated };
        // Imported rows hold the service's columns alone: two houses of one kind are alike.
        assert_eq!(merged([rows(&[1], 5), rows(&[1], 3)], false), together(rows(&[1, 1], 3), false));
        assert_eq!(merged([rows(&[1, 2], 5), rows(&[2, 1], 3)], false), together(rows(&[1, 2, 2, 1], 3), false));
        // A query may know former numbers itself.
        assert_eq!(merged([rows(&[1, 2], 5), rows(&[2, 1], 3)], true), together(rows(&[1, 2, 2, 1], 3), true));
        assert_eq!(
            merged([rows(&[1], 5), rows(&[1, 2], 5), rows(&[3], 5)], true),
            together(rows(&[1, 1, 2, 3], 5), true)
        );
        assert_eq!(merged([rows(&[1], 5), rows(&[2, 3], 3)], true), together(rows(&[1, 2, 3], 3), false));
        // Under one number alike rows are what they are.
        assert_eq!(merged([rows(&[1, 1], 5), rows(&[], 5)], true), together(rows(&[1, 1], 5), false));
    }

    #[test]
    fn what_cannot_be_told_under_one_number_cannot_be_told() {
        for trouble in [Lookup::Failed("down".into()), Lookup::NotImported, Lookup::Quarantined] {
            assert_eq!(merge(trouble.clone(), rows(&[1], 5)), trouble);
            assert_eq!(merge(rows(&[1], 5), trouble.clone()), trouble);
        }
        let not_held = || Lookup::SchemeNotHeld("no column".into());
        assert_eq!(merge(not_held(), rows(&[1], 5)), rows(&[1], 5));
        assert_eq!(merge(rows(&[1], 5), not_held()), rows(&[1], 5));
        assert_eq!(merge(not_held(), not_held()), not_held());
    }
}
