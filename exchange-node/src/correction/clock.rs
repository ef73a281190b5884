//! How the clock of a correction stands, for the clerk's inbox. Out of scope: what happens when it is over (`steps`).

use trust::{calendar::Colour, directory::model::Profile};

use super::Received;

/// Where the department promises to be sooner than the profile asks, the last part of its time that is amber: one fifth.
const AMBER_PART: u64 = 5;

impl Received {
    /// How the clock stands at a time, or stood when it was decided.
    pub fn colour(&self, profile: &Profile, now_ms: u64) -> Colour {
        let at_ms = if self.found.is_some() { self.decided_ms } else { now_ms };
        if at_ms > self.due_ms {
            return Colour::Red;
        }
        let by_profile = profile.limit(self.since_ms, profile.clocks.correction, at_ms);
        let promised_ms = self.due_ms.saturating_sub(self.since_ms);
        let is_sooner = self.due_ms < by_profile.ends_ms;
        match by_profile.colour {
            Colour::Green if is_sooner && self.due_ms - at_ms <= promised_ms / AMBER_PART => Colour::Amber,
            colour => colour,
        }
    }
}

#[cfg(test)]
mod tests {
    use trust::{
        directory::Directory,
        key::{Signer as _, SigningKey},
    };

    use super::*;
    use crate::correction::Found;

    const DAY_MS: u64 = 86_400_000;

    /// Monday, 2026-03-02, 10:00 at UTC+8.
    const MONDAY: u64 = 1_772_416_800_000;

    #[test]
    fn a_correction_is_amber_on_its_last_days_and_red_when_it_is_late() {
        let key = SigningKey::from_seed(&[1; 32]).public_key().clone();
        let directory = Directory::new("ninghe".parse().unwrap(), key);
        let profile = directory.profile();
        let due_ms = profile.calendar.deadline(MONDAY, profile.clocks.correction);
        let mut row = Received { since_ms: MONDAY, due_ms, ..Received::default() };
        // Ten working days: until Monday in two weeks; with two left it is amber.
        let colours =
            |row: &Received| [0, 9, 10, 14, 15].map(|days| row.colour(profile, MONDAY + days * DAY_MS).as_str());
        assert_eq!(colours(&row), ["green", "green", "amber", "amber", "red"]);
        // What was decided in time stays as it was then.
        let found = Found {
            record_was_wrong: false,
            reason: "RECORD_CONFIRMED".into(),
            officer: "2001".into(),
            although_unchanged: false,
        };
        (row.found, row.decided_ms) = (Some(found), MONDAY + DAY_MS);
        assert_eq!(colours(&row), ["green"; 5]);
    }

    #[test]
    fn a_promise_that_is_sooner_has_an_amber_of_its_own() {
        let key = SigningKey::from_seed(&[1; 32]).public_key().clone();
        let directory = Directory::new("ninghe".parse().unwrap(), key);
        let row = Received { since_ms: MONDAY, due_ms: MONDAY + 10_000, ..Received::default() };
        let colours = [0, 7_999, 8_000, 10_000, 10_001].map(|ms| row.colour(directory.profile(), MONDAY + ms).as_str());
        assert_eq!(colours, ["green", "green", "amber", "amber", "red"]);
    }
}
