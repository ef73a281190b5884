//! One lookup under every number that the subject has: what was recorded under a former one counts as what is recorded
//! under the one in use. Out of scope: which numbers belong together (`records::aliases`).

use trust::{claim::Row, ids::Party, service::Service, subject::Subject, value::Value};

use crate::records::{Lookup, RecordSource};

/// The rows of a subject under all of its `numbers`. Whatever cannot be told under one of them cannot be told at all.
pub(super) async fn under_all(
    records: &dyn RecordSource,
    consumer: &Party,
    service: &Service,
    numbers: &[Subject],
    inputs: &[(String, Value)],
) -> Lookup {
    let mut found: Option<Lookup> = None;
    for number in numbers.iter().filter(|number| service.schemes.contains(&number.scheme())) {
        let next = records.lookup_for(consumer, service, number, inputs).await;
        found = Some(match found {
            None => next,
            Some(found) => merge(found, next),
        });
    }
    found.unwrap_or_else(|| Lookup::SchemeNotHeld("the service takes none of the subject's schemes".to_owned()))
}

/// What was found under each of a subject's numbers, as one.
pub(super) fn merged(found: impl IntoIterator<Item = Lookup>) -> Lookup {
    let found = found.into_iter().reduce(merge);
    found.unwrap_or_else(|| Lookup::SchemeNotHeld("the service takes none of the subject's schemes".to_owned()))
}

fn merge(one: Lookup, other: Lookup) -> Lookup {
    match (one, other) {
        (Lookup::SchemeNotHeld(_), other) => other,
        (one, Lookup::SchemeNotHeld(_)) => one,
        (Lookup::Failed(reason), _) | (_, Lookup::Failed(reason)) => Lookup::Failed(reason),
        (Lookup::NotImported, _) | (_, Lookup::NotImported) => Lookup::NotImported,
        (Lookup::Quarantined, _) | (_, Lookup::Quarantined) => Lookup::Quarantined,
        (one, other) => {
            let (Some((mut rows, as_of, mut lacking)), Some((more, more_as_of, more_lacking))) =
                (parts(one), parts(other))
            else {
                return Lookup::Failed("what was found under several numbers cannot be joined".to_owned());
            };
            // Where one side holds nothing, the other's rows are as fresh as they are.
            let as_of = match (rows.is_empty(), more.is_empty()) {
                (true, false) => more_as_of,
                (false, true) => as_of,
                _ => as_of.zip(more_as_of).map(|(one, other)| one.min(other)),
            };
            // A source that knows former numbers itself gives the same rows under each: they are there once, not twice.
            let is_shared = |row: &Row| rows.contains(row);
            match (more.iter().any(is_shared), more.iter().all(is_shared) && more.len() == rows.len()) {
                (false, _) => rows.extend(more),
                (true, true) => {}
                (true, false) => {
                    return Lookup::Failed(
                        "one row stands under several numbers of a subject, others do not".to_owned(),
                    );
                }
            }
            lacking.extend(more_lacking);
            if lacking.is_empty() { Lookup::Rows { rows, as_of } } else { Lookup::Partial { rows, as_of, lacking } }
        }
    }
}

type Parts = (Vec<Row>, Option<jiff::civil::Date>, Vec<String>);

fn parts(lookup: Lookup) -> Option<Parts> {
    match lookup {
        Lookup::Rows { rows, as_of } => Some((rows, as_of, Vec::new())),
        Lookup::Partial { rows, as_of, lacking } => Some((rows, as_of, lacking)),
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

    #[test]
    fn rows_under_several_numbers_are_rows_of_one_subject() {
        assert_eq!(merge(rows(&[1], 5), rows(&[2, 3], 3)), rows(&[1, 2, 3], 3));
        assert_eq!(merge(rows(&[1], 5), rows(&[], 3)), rows(&[1], 5));
        assert_eq!(merge(rows(&[], 3), rows(&[1], 5)), rows(&[1], 5));
        assert_eq!(merge(rows(&[], 3), rows(&[], 5)), rows(&[], 3));
    }

    #[test]
    fn what_a_source_gives_under_both_numbers_is_there_once() {
        assert_eq!(merge(rows(&[1, 2], 5), rows(&[2, 1], 3)), rows(&[1, 2], 3));
        assert!(matches!(merge(rows(&[1, 2], 5), rows(&[2, 3], 5)), Lookup::Failed(_)));
        assert!(matches!(merge(rows(&[1], 5), rows(&[1, 2], 5)), Lookup::Failed(_)));
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
