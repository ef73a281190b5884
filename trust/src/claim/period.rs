//! Periods of the calendar such as "P6M", the operand of `within_last`: the part of ISO 8601 durations that counts in
//! years, months and days.
//!
//! Out of scope: weeks and times of day, which no law here counts in, and the day that "today" is.

use jiff::{Span, civil::Date};

/// Years, months and days, not all of them zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    years: i32,
    months: i32,
    days: i32,
}

impl Period {
    /// Reads "P", then years, months and days in this order, each left out or 1 to 9999 without leading zeros.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty())?;
        let mut period = Self { years: 0, months: 0, days: 0 };
        for (unit, field) in [('Y', &mut period.years), ('M', &mut period.months), ('D', &mut period.days)] {
            let Some((digits, after)) = rest.split_once(unit) else { continue };
            let plain = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            if !plain || digits.starts_with('0') {
                return None;
            }
            *field = digits.parse().ok()?;
            rest = after;
        }
        rest.is_empty().then_some(period)
    }

    /// The first day of the period that ends today. Years and months go first, and a day that its month lacks becomes the
    /// month's last; before the first day of the calendar there is nothing to leave out.
    pub(super) fn start(self, today: Date) -> Date {
        let span = Span::new().years(self.years).months(self.months).days(self.days);
        today.checked_sub(span).unwrap_or(Date::MIN)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn periods_are_read_in_one_spelling() {
        let period = |years, months, days| Some(Period { years, months, days });
        for (text, expected) in [
            ("P1Y", period(1, 0, 0)),
            ("P6M", period(0, 6, 0)),
            ("P30D", period(0, 0, 30)),
            ("P1Y6M", period(1, 6, 0)),
            ("P1Y2M3D", period(1, 2, 3)),
            ("P9999Y9999M9999D", period(9999, 9999, 9999)),
        ] {
            assert_eq!(Period::parse(text), expected, "{text}");
        }
        for text in [
            "", "P", "6M", "p6m", "P6", "PM", "P0D", "P06M", "P-6M", "+P6M", "-P6M", "P6M1Y", "P1Y1Y", "P1.5Y", "P1W",
            "PT6M", "P1DT1H", "P 6M", "P6M ", "P10000D", "P６M", "P1Y0M", "PY6M",
        ] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
    }

    #[test]
    fn periods_follow_the_calendar() {
        for (text, today, start) in [
            ("P1M", date(2026, 3, 31), date(2026, 2, 28)),
            ("P1Y", date(2024, 2, 29), date(2023, 2, 28)),
            ("P12M", date(2026, 11, 22), date(2025, 11, 22)),
            ("P1M1D", date(2026, 3, 31), date(2026, 2, 27)),
            ("P1D", date(2026, 1, 1), date(2025, 12, 31)),
        ] {
            assert_eq!(Period::parse(text).unwrap().start(today), start, "{text}");
        }
        assert!(Period::parse("P9999Y9999M9999D").unwrap().start(date(1, 1, 1)) < date(1, 1, 1));
    }
}
