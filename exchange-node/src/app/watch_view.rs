//! Tells, in the log, when the view grows old, expires, and is fresh again. Out of scope: refusing then, which is done
//! where questions are asked and answered.

use std::{sync::Arc, time::Duration};

use host::{clock::Clock, readiness::Condition, supervise::TaskError};
use tokio_util::sync::CancellationToken;

use crate::view::{Age, State, View};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often a warning is said again, milliseconds.
const SAY_AGAIN_MS: u64 = 3_600_000;

/// Looks at the view's age until `stop`.
pub(super) async fn run(
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    condition: Condition,
    stop: CancellationToken,
) -> Result<(), TaskError> {
    let mut said = Said::default();
    loop {
        let now_ms = clock.now_ms();
        let age = view.age(now_ms);
        match view.check_usable(now_ms) {
            Ok(()) => condition.met(),
            Err(refusal) => condition.unmet(refusal.code.as_str()),
        }
        if said.is_due(age.state, now_ms) {
            say(&age, now_ms);
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// What was said last.
#[derive(Default)]
struct Said {
    state: Option<State>,
    at_ms: u64,
}

impl Said {
    /// Whether something is to be said: a change at once, what is not well again after a while.
    fn is_due(&mut self, state: State, now_ms: u64) -> bool {
        let changed = self.state != Some(state);
        let first = self.state.is_none();
        let again = state != State::Fresh && now_ms.saturating_sub(self.at_ms) >= SAY_AGAIN_MS;
        if !changed && !again {
            return false;
        }
        (self.state, self.at_ms) = (Some(state), now_ms);
        // That all is well is said only after it was not; a node that has just started has not read anything yet.
        !(first && matches!(state, State::Fresh | State::NeverRead))
    }
}

fn say(age: &Age, now_ms: u64) {
    let age_hours = now_ms.saturating_sub(age.vouched_ms) / 3_600_000;
    let left_hours = age.expires_ms.saturating_sub(now_ms) / 3_600_000;
    match age.state {
        State::Fresh => tracing::info!("the view of the directory is fresh again"),
        State::Ageing => tracing::warn!(
            age_hours,
            left_hours,
            "the view of the directory is older than half its lifetime: restore the way to the registry, or bring a fresh view by hand (directory import)"
        ),
        State::Expired => tracing::error!(
            age_hours,
            "the view of the directory has expired: nothing is asked or answered until the registry is back or a fresh view is brought by hand (directory import)"
        ),
        State::NeverRead => tracing::warn!("nobody vouches for this node's view of the directory"),
        State::ClockBackwards => tracing::error!("the clock is behind a time that was verified: set it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_said_at_once_and_what_is_not_well_every_hour() {
        let mut said = Said::default();
        assert!(!said.is_due(State::NeverRead, 0), "it has just started");
        assert!(said.is_due(State::Fresh, 1));
        assert!(!said.is_due(State::Fresh, 10 * SAY_AGAIN_MS));
        assert!(said.is_due(State::Ageing, 10 * SAY_AGAIN_MS + 1));
        assert!(!said.is_due(State::Ageing, 11 * SAY_AGAIN_MS));
        assert!(said.is_due(State::Ageing, 11 * SAY_AGAIN_MS + 1));
        assert!(said.is_due(State::Expired, 11 * SAY_AGAIN_MS + 2));
        assert!(said.is_due(State::Fresh, 11 * SAY_AGAIN_MS + 3));
        assert!(!Said::default().is_due(State::Fresh, 5));
        assert!(Said::default().is_due(State::Ageing, 5));
    }
}
