//! No more rows than a subject may have. Whatever a query gives, it is read row by row and given up at the first one too many:
//! a condition that somebody forgot does not bring a whole table into memory. Out of scope: what a row means.

use futures_util::stream::{BoxStream, StreamExt as _};

use crate::records::SUBJECT_ROW_LIMIT;

/// The most rows about one subject.
pub(super) const ABOUT_ONE: usize = SUBJECT_ROW_LIMIT;

/// The most rows about all subjects of one pass. Where there are more, each is asked alone.
pub(super) const ABOUT_MANY: usize = 10 * SUBJECT_ROW_LIMIT;

/// There were more.
#[derive(Debug, thiserror::Error)]
#[error("there are more than {most} rows for {}", whose(*most))]
struct TooMany {
    most: usize,
}

fn whose(most: usize) -> &'static str {
    if most > ABOUT_ONE { "the subjects of one pass" } else { "one subject" }
}

/// All rows of a result, where there are not too many.
pub(super) async fn rows<R>(
    mut result: BoxStream<'_, Result<R, sqlx::Error>>,
    most: usize,
) -> Result<Vec<R>, sqlx::Error> {
    let mut rows = Vec::new();
    while let Some(row) = result.next().await {
        if rows.len() >= most {
            return Err(sqlx::Error::Decode(Box::new(TooMany { most })));
        }
        rows.push(row?);
    }
    Ok(rows)
}

/// What is said of a result that was given up, if this is one. Its connection is closed: the rest is still on its way.
pub(super) fn given_up(error: &sqlx::Error) -> Option<String> {
    let sqlx::Error::Decode(error) = error else { return None };
    error.downcast_ref::<TooMany>().map(ToString::to_string)
}
