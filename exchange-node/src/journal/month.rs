//! The months that the journal is cut into: UTC, written `2026-11`.
//!
//! Out of scope: what a month's folder holds.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, tz::Offset};

/// A month of the UTC calendar. Ordered by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i16,
    month: i8,
}

impl Month {
    /// The month in which this moment lies, in Unix milliseconds. A moment beyond the calendar's end (the year 9999)
    /// lies in its last month.
    pub fn of_ms(at_ms: u64) -> Self {
        let moment = i64::try_from(at_ms).ok().and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok());
        let date = Offset::UTC.to_datetime(moment.unwrap_or(Timestamp::MAX));
        Self { year: date.year(), month: date.month() }
    }

    /// Year × 100 + month, as it is stored.
    pub(super) fn to_number(self) -> u32 {
        u32::from(self.year.unsigned_abs()) * 100 + u32::from(self.month.unsigned_abs())
    }

    /// Reads what [`Month::to_number`] gives, and nothing else.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        let (year, month) = (i16::try_from(number / 100).ok()?, i8::try_from(number % 100).ok()?);
        ((1970..=9999).contains(&year) && (1..=12).contains(&month)).then_some(Self { year, month })
    }
}

/// A text that is no month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a month is written YYYY-MM, from 1970-01 on")]
pub struct NotAMonth;

impl FromStr for Month {
    type Err = NotAMonth;

    fn from_str(text: &str) -> Result<Self, NotAMonth> {
        let (year, month) = text.split_once('-').ok_or(NotAMonth)?;
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return Err(NotAMonth);
        }
        let (year, month) = (year.parse().map_err(|_| NotAMonth)?, month.parse().map_err(|_| NotAMonth)?);
        let (year, month): (u32, u32) = (year, month);
        Self::from_number(year * 100 + month).ok_or(NotAMonth)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}", self.year, self.month)
    }
}

impl fmt::Debug for Month {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_with_its_first_millisecond_in_utc() {
        // 2026-12-01T00:00:00Z.
        let start = 1_796_083_200_000;
        assert_eq!(Month::of_ms(start - 1).to_string(), "2026-11");
        assert_eq!(Month::of_ms(start).to_string(), "2026-12");
        assert_eq!(Month::of_ms(0).to_string(), "1970-01");
        assert_eq!(Month::of_ms(u64::MAX).to_string(), "9999-12");
        assert!(Month::of_ms(start - 1) < Month::of_ms(start));
    }

    #[test]
    fn a_month_is_stored_as_a_number() {
        for text in ["1970-01", "2026-11", "9999-12"] {
            let month: Month = text.parse().unwrap();
            assert_eq!(Month::from_number(month.to_number()), Some(month));
        }
        assert_eq!([196_912, 202_600, 202_613, u32::MAX].map(Month::from_number), [None; 4]);
    }

    #[test]
    fn a_month_has_one_spelling() {
        assert_eq!("2026-11".parse::<Month>().unwrap().to_string(), "2026-11");
        for wrong in
            ["", "2026", "2026-1", "2026-13", "2026-00", "1969-12", "2026-011", "+026-11", "2026-11.key", "20261-1"]
        {
            assert_eq!(wrong.parse::<Month>(), Err(NotAMonth), "{wrong}");
        }
    }
}
