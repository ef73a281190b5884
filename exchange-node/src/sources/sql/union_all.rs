//! One query about many subjects at once over MySQL, MariaDB and SQLite, which do not all know a join that a whole query can
//! stand in: the operator's query stands whole, once for each subject and with its own parameters, in one UNION ALL, so that it
//! means for each of them what it means alone; a number before each row says whose it is.
//!
//! What a database refuses in that form is asked one by one (`sources::service::many`). Out of scope: PostgreSQL ([`super::many`]).

use super::Parameter;
use crate::sources::raw::{Fetched, Raw};

/// The most subjects in one statement. SQLite takes 500 parts of a union, and MariaDB opens the table once for each.
const MOST_PARTS: usize = 100;

/// The most parameters of one statement: SQLite takes 32,766, MySQL 65,535.
const MOST_PARAMETERS: usize = 32_000;

/// The most bytes of one statement: SQLite takes a million, and MySQL no more than fits into a packet.
const MOST_BYTES: usize = 500_000;

/// One statement, about as many subjects as it may be.
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) parameters: Vec<Parameter>,
    subjects: usize,
}

impl Statement {
    /// What was fetched for each of its subjects, in their order.
    pub(super) fn split(&self, fetched: Fetched) -> Result<Vec<Fetched>, sqlx::Error> {
        let lost = "a row of a union does not say which part it belongs to";
        split(fetched, self.subjects).ok_or_else(|| sqlx::Error::Decode(lost.into()))
    }
}

/// The statements about all these subjects, where `alone` is the query about one and `parameters` are each one's.
pub(super) fn statements(alone: &str, parameters: &[Vec<Parameter>]) -> impl Iterator<Item = Statement> {
    let at_once = parts(alone, parameters.first().map_or(0, Vec::len));
    parameters.chunks(at_once).map(|some| Statement {
        text: text(alone, some.len()),
        parameters: some.concat(),
        subjects: some.len(),
    })
}

/// How many subjects go into one statement, where `alone` is the query about one with so many parameters.
fn parts(alone: &str, parameters: usize) -> usize {
    let by_parameters = MOST_PARAMETERS / parameters.max(1);
    let by_bytes = MOST_BYTES / alone.len().max(1);
    MOST_PARTS.min(by_parameters).min(by_bytes).max(1)
}

/// The query `alone` for `count` subjects.
fn text(alone: &str, count: usize) -> String {
    // On lines of its own: the query may end with a comment.
    let part = |number| format!("SELECT {number} AS errand_number, errand_rows.* FROM (\n{alone}\n) AS errand_rows");
    (0..count).map(part).collect::<Vec<_>>().join("\nUNION ALL\n")
}

/// What was fetched for each of `count` subjects. `None` where a row does not say whose it is.
fn split(fetched: Fetched, count: usize) -> Option<Vec<Fetched>> {
    let columns = fetched.columns.get(1..)?.to_vec();
    let mut split = vec![Fetched { columns, rows: Vec::new() }; count];
    for mut row in fetched.rows {
        let Some(Raw::Integer(number)) = row.first() else { return None };
        let of = usize::try_from(*number).ok().and_then(|number| split.get_mut(number))?;
        row.remove(0);
        of.rows.push(row);
    }
    Some(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_stands_whole_in_each_part() {
        assert_eq!(
            text("SELECT a FROM t WHERE id = ? -- why", 2),
            "SELECT 0 AS errand_number, errand_rows.* FROM (\nSELECT a FROM t WHERE id = ? -- why\n) AS errand_rows\n\
             UNION ALL\n\
             SELECT 1 AS errand_number, errand_rows.* FROM (\nSELECT a FROM t WHERE id = ? -- why\n) AS errand_rows"
        );
    }

    #[test]
    fn no_statement_is_larger_than_a_database_takes() {
        assert_eq!(parts("SELECT 1", 2), 100);
        assert_eq!(parts("SELECT 1", 1000), 32);
        assert_eq!(parts(&"x".repeat(100_000), 2), 5);
        assert_eq!(parts(&"x".repeat(1_000_000), 100_000), 1);
    }

    #[test]
    fn each_row_goes_to_the_one_it_belongs_to() {
        let text = |text: &str| Raw::Text(text.to_owned());
        let columns = vec!["errand_number".to_owned(), "a".to_owned()];
        let rows =
            vec![vec![Raw::Integer(2), text("x")], vec![Raw::Integer(0), text("y")], vec![Raw::Integer(2), text("z")]];
        let found = split(Fetched { columns: columns.clone(), rows }, 3).unwrap();
        assert!(found.iter().all(|one| one.columns == ["a"]));
        assert_eq!(found[0].rows, [[text("y")]]);
        assert!(found[1].rows.is_empty());
        assert_eq!(found[2].rows, [[text("x")], [text("z")]]);
        for number in [Raw::Integer(3), Raw::Integer(-1), Raw::Null] {
            let rows = vec![vec![number, text("x")]];
            assert_eq!(split(Fetched { columns: columns.clone(), rows }, 3), None);
        }
        assert_eq!(split(Fetched::default(), 0), None);
    }
}
