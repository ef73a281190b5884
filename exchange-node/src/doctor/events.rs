//! Whether other departments' questions have looked wrong lately. Out of scope: what is watched (`crate::events`).

use proto::admin::v1::Finding;

use super::{ok, warning};
use crate::events::Event;

/// For so long an event is told here.
const RECENT_MS: u64 = 7 * 86_400_000;

pub(super) fn examine(events: &[Event], now_ms: u64) -> Finding {
    const CHECK: &str = "events";
    let recent: Vec<&Event> = events.iter().filter(|event| event.last_ms.saturating_add(RECENT_MS) > now_ms).collect();
    let Some(newest) = recent.first() else {
        return ok(CHECK, "no department's questions have looked wrong in the last seven days");
    };
    let found = format!(
        "{} in the last seven days; the newest: {} ({})",
        match recent.len() {
            1 => "1 event".to_owned(),
            count => format!("{count} events"),
        },
        newest.kind.what(),
        newest.department
    );
    warning(CHECK, found, format!("look into it: exchange-node events show {}", newest.id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        doctor::{OK, WARNING},
        events::Kind,
    };

    #[test]
    fn an_event_of_this_week_is_told_and_an_older_one_is_not() {
        let event = Event {
            kind: Kind::Sweep,
            department: "housing".into(),
            day: "2026-11-29".into(),
            count: 3,
            first_ms: 1,
            last_ms: 1_000,
            told: 0,
        };
        let found = examine(std::slice::from_ref(&event), 2_000);
        assert_eq!(found.level, WARNING);
        assert!(found.advice.ends_with("events show sweep-housing-2026-11-29"), "{found:?}");
        assert_eq!(examine(&[event], 1_000 + RECENT_MS).level, OK);
        assert_eq!(examine(&[], 0).level, OK);
    }
}
