//! Working days and the clocks that run by them: pure arithmetic over days that begin and end at a fixed offset from UTC.
//! Monday to Friday are working days, but for what the published holiday calendars say: holidays, and the weekend days
//! that are worked instead (调休). A year whose calendar is not published yet is counted by weekends alone.
//!
//! A time limit of n working days that begins on a day ends with the n-th working day after it: the day itself does not
//! count (民法典, art. 201). Out of scope: which time limits there are (`directory::model::Profile`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{civil::Date, tz::Offset};
use proto::registry::v1 as wire;

const DAY_MS: i64 = 86_400_000;

/// UTC+8.
const USUAL_OFFSET_MINUTES: i32 = 480;

/// The most days that one year's calendar may list.
const MOST_DAYS: usize = 366;

/// What is wrong with a calendar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct CalendarError {
    /// The field at fault, for example `calendar.2026.holidays`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How close a time limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Colour {
    /// There is time.
    Green,
    /// It is over soon.
    Amber,
    /// It is over.
    Red,
}

impl Colour {
    /// The name in lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Amber => "amber",
            Self::Red => "red",
        }
    }
}

/// A time limit as it stands at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// When it is over, Unix milliseconds: the end of its last day.
    pub ends_ms: u64,
    /// How many working days are left after this one; below 0, how many have passed since.
    pub days_left: i64,
    /// How close it is.
    pub colour: Colour,
}

/// Which days are working days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    offset_ms: i64,
    years: BTreeSet<i16>,
    /// Days that are not what their weekday says, by number since 1970-01-01: whether they are worked.
    exceptions: BTreeMap<i64, bool>,
}

impl Default for Calendar {
    /// Weekends alone, at UTC+8.
    fn default() -> Self {
        let offset_ms = i64::from(USUAL_OFFSET_MINUTES) * 60_000;
        Self { offset_ms, years: BTreeSet::new(), exceptions: BTreeMap::new() }
    }
}

impl Calendar {
    /// Reads a statement's calendar.
    ///
    /// # Errors
    /// Everything that is wrong with it, in order.
    pub fn from_wire(calendar: &wire::Calendar) -> Result<Self, Vec<CalendarError>> {
        let mut read = Self::default();
        let mut wrong = Vec::new();
        if let Some(minutes) = calendar.utc_offset_minutes {
            // The widest offsets that are in use.
            if (-720..=840).contains(&minutes) {
                read.offset_ms = i64::from(minutes) * 60_000;
            } else {
                let reason = "must be -720 to 840 minutes".to_owned();
                wrong.push(CalendarError { field: "calendar.utc_offset_minutes".to_owned(), reason });
            }
        }
        for year in &calendar.years {
            read.take_year(year, &mut wrong);
        }
        if wrong.is_empty() { Ok(read) } else { Err(wrong) }
    }

    fn take_year(&mut self, calendar: &wire::CalendarYear, wrong: &mut Vec<CalendarError>) {
        let mut fault = |name: &str, reason: String| {
            wrong.push(CalendarError { field: format!("calendar.{}{name}", calendar.year), reason });
        };
        let year = match i16::try_from(calendar.year) {
            Ok(year) if (1970..=9998).contains(&year) => year,
            _ => return fault("", "is no year".to_owned()),
        };
        if !self.years.insert(year) {
            return fault("", "stands twice".to_owned());
        }
        for (name, days, is_worked) in
            [(".holidays", &calendar.holidays, false), (".workdays", &calendar.workdays, true)]
        {
            if days.len() > MOST_DAYS {
                return fault(name, format!("lists more than {MOST_DAYS} days"));
            }
            for text in days {
                let Some(day) = text.parse::<Date>().ok().filter(|day| day.year() == year && day.to_string() == *text)
                else {
                    fault(name, format!("{text:?} is no day of {year}; write {year}-MM-DD"));
                    continue;
                };
                let number = number_of(day);
                if is_worked && is_weekday(number) {
                    fault(name, format!("{text} is no Saturday or Sunday, so it is worked anyway"));
                } else if self.exceptions.insert(number, is_worked).is_some() {
                    fault(name, format!("{text} stands twice"));
                }
            }
        }
    }

    /// Whether the holidays of a year are known.
    pub fn knows(&self, year: i16) -> bool {
        self.years.contains(&year)
    }

    /// The day on which a moment falls, as days since 1970-01-01.
    pub fn day_of(&self, at_ms: u64) -> i64 {
        i64::try_from(at_ms).unwrap_or(i64::MAX).saturating_add(self.offset_ms).div_euclid(DAY_MS)
    }

    /// The day on which a moment falls, for people.
    pub fn date_of(&self, at_ms: u64) -> String {
        date_of_number(self.day_of(at_ms)).map_or_else(|| "beyond the calendar".to_owned(), |date| date.to_string())
    }

    /// The year in which a moment falls.
    pub fn year_of(&self, at_ms: u64) -> Option<i16> {
        date_of_number(self.day_of(at_ms)).map(Date::year)
    }

    /// The moment at which a day begins, Unix milliseconds.
    pub fn begin_of(&self, day: i64) -> u64 {
        u64::try_from(day.saturating_mul(DAY_MS).saturating_sub(self.offset_ms)).unwrap_or(0)
    }

    /// Whether a day is a working day.
    pub fn is_working_day(&self, day: i64) -> bool {
        self.exceptions.get(&day).copied().unwrap_or_else(|| is_weekday(day))
    }

    /// When a time limit of so many working days is over that begins at `start_ms`: the end of its last day. That of
    /// 0 days is over with the day it begins on.
    pub fn deadline(&self, start_ms: u64, working_days: u32) -> u64 {
        let mut day = self.day_of(start_ms);
        let mut left = working_days;
        while left > 0 {
            day = day.saturating_add(1);
            left -= u32::from(self.is_working_day(day));
        }
        self.begin_of(day.saturating_add(1))
    }

    /// How many working days are left after the day of `now_ms` until the time limit that ends at `ends_ms` is over:
    /// 0 on its last day, and below 0 afterwards: as many as have begun since.
    pub fn working_days_left(&self, now_ms: u64, ends_ms: u64) -> i64 {
        let last = self.day_of(ends_ms.saturating_sub(1));
        let today = self.day_of(now_ms);
        if today <= last { self.count(today, last) } else { -self.count(last, today).max(1) }
    }

    /// A time limit of so many working days as it stands at `now_ms`. It is amber with at most `amber_days` left, and
    /// never for more than half of its days.
    pub fn limit(&self, start_ms: u64, working_days: u32, amber_days: u32, now_ms: u64) -> Limit {
        let ends_ms = self.deadline(start_ms, working_days);
        let days_left = self.working_days_left(now_ms, ends_ms);
        let colour = if now_ms >= ends_ms {
            Colour::Red
        } else if days_left <= i64::from(amber_days.min(working_days / 2)) {
            Colour::Amber
        } else {
            Colour::Green
        };
        Limit { ends_ms, days_left, colour }
    }

    /// The working days after `from`, up to and with `to`.
    fn count(&self, from: i64, to: i64) -> i64 {
        if from >= to {
            return 0;
        }
        // Whole weeks by arithmetic, so that a moment far away costs nothing; then what the calendars say otherwise.
        let days = to.saturating_sub(from);
        let mut worked = days / 7 * 5;
        let rest = from.saturating_add(days / 7 * 7);
        worked += (rest.saturating_add(1)..=to).map(|day| i64::from(is_weekday(day))).sum::<i64>();
        for (day, is_worked) in self.exceptions.range(from.saturating_add(1)..=to) {
            worked += i64::from(*is_worked) - i64::from(is_weekday(*day));
        }
        worked
    }
}

/// Monday to Friday. 1970-01-01 was a Thursday.
fn is_weekday(day: i64) -> bool {
    day.saturating_add(3).rem_euclid(7) < 5
}

fn number_of(date: Date) -> i64 {
    let midnight = Offset::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight()));
    midnight.map_or(0, |midnight| midnight.as_second().div_euclid(DAY_MS / 1000))
}

fn date_of_number(day: i64) -> Option<Date> {
    let midnight = jiff::Timestamp::from_second(day.checked_mul(DAY_MS / 1000)?).ok()?;
    Some(Offset::UTC.to_datetime(midnight).date())
}

#[cfg(test)]
mod tests;
