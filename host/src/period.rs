//! Spans of time as people write them: `7d`, `36h`, `90s`, `1d 12h`. A day is 24 hours. Out of scope: calendars.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

/// A text is no span of time.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no span of time: write numbers with a unit (d, h, m, s), for example 7d or 1d 12h")]
pub struct PeriodInvalid(String);

impl Period {
    /// From a duration.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        self.0
    }

    /// In milliseconds.
    pub fn as_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Period {
    type Err = PeriodInvalid;

    fn from_str(text: &str) -> Result<Self, PeriodInvalid> {
        let invalid = || PeriodInvalid(text.to_owned());
        let mut seconds = 0_u64;
        for part in text.split_whitespace() {
            let unit = part.chars().next_back().ok_or_else(invalid)?;
            let number: u64 = part[..part.len() - unit.len_utf8()].parse().map_err(|_| invalid())?;
            let unit = match unit {
                'd' => 86_400,
                'h' => 3_600,
                'm' => 60,
                's' => 1,
                _ => return Err(invalid()),
            };
            seconds = number.checked_mul(unit).and_then(|part| seconds.checked_add(part)).ok_or_else(invalid)?;
        }
        if text.trim().is_empty() { Err(invalid()) } else { Ok(Self(Duration::from_secs(seconds))) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_secs();
        if left == 0 {
            return formatter.write_str("0s");
        }
        let mut before = false;
        for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
            let count = left / seconds;
            left %= seconds;
            if count > 0 {
                let space = if before { " " } else { "" };
                write!(formatter, "{space}{count}{unit}")?;
                before = true;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_read_as_it_is_written() {
        for (text, seconds) in [("7d", 604_800), ("1d 12h", 129_600), ("90s", 90), ("0s", 0), ("2h 30m", 9_000)] {
            assert_eq!(text.parse::<Period>().unwrap().duration(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!("36h".parse::<Period>().unwrap().to_string(), "1d 12h");
        assert_eq!(Period::new(Duration::ZERO).to_string(), "0s");
        for wrong in ["", " ", "7", "d", "7 d", "7y", "-7d", "7d12h", "99999999999999999999d", "七d"] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }
}
