//! Pages of lists: how many, and behind what. Cursors are opaque: what stands in them is the node's own business. Out of scope:
//! what is listed.

use serde::Deserialize;

pub(super) use crate::office::cursor::cursor_of;
use crate::office::{cursor::place_of, problem::Problem};

/// How many a page has, where the caller does not say otherwise.
const USUAL: usize = 50;

/// How many it has at most.
pub(super) const LARGEST: usize = 200;

/// The parameters of a list that has no others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    cursor: Option<String>,
    limit: Option<usize>,
}

impl Paging {
    /// The page that is asked for, with so many at most.
    pub(super) fn page(self, largest: usize) -> Result<Page, Problem> {
        Page::of(self.cursor, self.limit, largest)
    }
}

/// The parameters of a list of what goes on, or of all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenOrAll {
    cursor: Option<String>,
    limit: Option<usize>,
    /// Also what is over.
    #[serde(default)]
    pub(super) all: bool,
}

impl OpenOrAll {
    /// The page that is asked for, with so many at most.
    pub(super) fn page(self, largest: usize) -> Result<Page, Problem> {
        Page::of(self.cursor, self.limit, largest)
    }
}

/// The page that is asked for.
pub(super) struct Page {
    /// How many at most.
    pub(super) most: usize,
    cursor: String,
}

impl Page {
    /// From the parameters of a list.
    pub(super) fn of(cursor: Option<String>, limit: Option<usize>, largest: usize) -> Result<Self, Problem> {
        let most = limit.unwrap_or(USUAL);
        if !(1..=largest).contains(&most) {
            return Err(Problem::malformed(format!("limit is 1 to {largest}")).at("limit"));
        }
        Ok(Self { most, cursor: cursor.unwrap_or_default() })
    }

    /// Behind what, for lists whose cursors are texts; empty on the first page.
    pub(super) fn behind(&self) -> &str {
        &self.cursor
    }

    /// Behind which place, for lists whose cursors are places; `None` on the first page.
    pub(super) fn place(&self) -> Result<Option<u64>, Problem> {
        place_of(&self.cursor).map_err(Problem::from)
    }

    /// The cursor of the next page: that of the last row, where the page is full.
    pub(super) fn next(&self, count: usize, last: Option<String>) -> Option<String> {
        last.filter(|_| count == self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_and_its_cursor_is_one_that_was_given_out() {
        let page = |cursor: &str, limit| Page::of(Some(cursor.to_owned()), limit, LARGEST);
        assert_eq!(page("", None).map(|page| page.most).ok(), Some(USUAL));
        assert!(page("", Some(0)).is_err() && page("", Some(LARGEST + 1)).is_err());
        let place = |cursor: &str| page(cursor, Some(1)).and_then(|page| page.place());
        assert_eq!(place(&cursor_of(7)).ok(), Some(Some(7)));
        assert_eq!(place("").ok(), Some(None));
        assert!(place("x").is_err());
        let full = page("", Some(2)).unwrap();
        assert_eq!((full.next(2, Some("b".into())), full.next(1, Some("a".into()))), (Some("b".into()), None));
    }
}
