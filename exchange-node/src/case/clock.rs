//! The working-day clock of a case: the item's time limit, longer by the working days on which the clock stood still.

use trust::directory::model::Profile;

use super::Case;

/// How the time limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// When it is over, Unix milliseconds.
    pub due_at_ms: u64,
    /// Working days left; below 0, how many it is late.
    pub days_left: i64,
    /// Whether it stands still now.
    pub paused: bool,
}

impl Case {
    /// How the time limit stands at a time.
    pub fn clock(&self, profile: &Profile, now_ms: u64) -> Clock {
        let calendar = &profile.calendar;
        let stood_still: i64 = self
            .pauses
            .iter()
            .map(|pause| {
                calendar.working_days_left(pause.from_ms, pause.until_ms.unwrap_or(now_ms).max(pause.from_ms + 1))
            })
            .map(|days| days.max(0))
            .sum();
        let days = self.working_days.saturating_add(u32::try_from(stood_still).unwrap_or(u32::MAX));
        let due_at_ms = calendar.deadline(self.opened_ms, days);
        let days_left = calendar.working_days_left(now_ms, due_at_ms);
        Clock { due_at_ms, days_left, paused: self.is_paused() }
    }

    /// Whether the clock stands still.
    pub fn is_paused(&self) -> bool {
        self.pauses.iter().any(|pause| pause.until_ms.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Pause;
    use trust::directory::Directory;

    #[test]
    fn the_clock_is_longer_by_the_working_days_on_which_it_stood_still() {
        let key = trust::key::Signer::public_key(&trust::key::SigningKey::from_seed(&[1; 32])).clone();
        let directory = Directory::new("ninghe".parse().unwrap(), key);
        let profile = directory.profile();
        // Monday, 2026-03-02, 10:00 at UTC+8.
        let monday = 1_772_416_800_000;
        let day = 86_400_000;
        let mut case = Case { opened_ms: monday, working_days: 3, ..Case::default() };
        let due = |case: &Case, now| case.clock(profile, now).due_at_ms;
        let plain = due(&case, monday);
        assert_eq!(case.clock(profile, monday).days_left, 3);
        // From Tuesday to Thursday: two working days.
        let pause = Pause { reason: "补正".into(), from_ms: monday + day, until_ms: Some(monday + 3 * day) };
        case.pauses.push(pause);
        assert_eq!(due(&case, monday), plain + 4 * day, "Thursday becomes Monday");
        assert!(!case.is_paused());
        case.pauses[0].until_ms = None;
        assert!(case.clock(profile, monday + 30 * day).paused);
        assert!(case.clock(profile, monday + 30 * day).days_left >= 0, "it does not run out while it stands still");
    }
}
