//! The authority's board: what departments and the authority itself owe a reply to, each with its clock. Computed from
//! the directory whenever somebody looks. A kind of thing that can be overdue is one entry of `SOURCES`.
//!
//! Out of scope: what the directory does not know (whether supply has begun, which the two departments see), and overdue
//! answers, which stand in the second log (`anchors`).

use proto::admin::v1 as wire;
use trust::{
    calendar::{Colour, Limit},
    directory::{Directory, Object, model::Profile},
};

use crate::review;

/// What looks for one kind of thing that somebody owes a reply to.
type Source = fn(&Directory, u64) -> Vec<wire::Due>;

const SOURCES: &[Source] = &[applications, reviews];

/// What is owed at `now_ms`, the most overdue first; all of it, or what is overdue alone.
pub fn board(directory: &Directory, now_ms: u64, all: bool) -> wire::BoardResponse {
    let mut due: Vec<wire::Due> = SOURCES.iter().flat_map(|source| source(directory, now_ms)).collect();
    due.sort_by_key(|due| (due.clock.as_ref().map_or(0, |clock| clock.ends_ms), due.object.clone()));
    let is_overdue = |due: &wire::Due| due.clock.as_ref().is_some_and(|clock| clock.colour == Colour::Red.as_str());
    let overdue = u32::try_from(due.iter().filter(|due| is_overdue(due)).count()).unwrap_or(u32::MAX);
    due.retain(|due| all || is_overdue(due));
    wire::BoardResponse { due, overdue, overdue_answers: Vec::new() }
}

/// A clock as operators see it.
pub(crate) fn clock(profile: &Profile, what: &str, limit: Limit) -> wire::Clock {
    wire::Clock {
        what: what.to_owned(),
        ends_ms: limit.ends_ms,
        last_day: profile.calendar.date_of(limit.ends_ms.saturating_sub(1)),
        days_left: limit.days_left,
        colour: limit.colour.as_str().to_owned(),
    }
}

/// Applications that wait for their provider's reply.
fn applications(directory: &Directory, now_ms: u64) -> Vec<wire::Due> {
    let profile = directory.profile();
    let waiting = directory.all_access().filter_map(|(key, access)| {
        let limit = access.reply(profile, now_ms)?;
        Some(wire::Due {
            kind: "access application".to_owned(),
            object: Object::Access(key.clone()).to_string(),
            owner: key.provider.to_string(),
            waiting: key.consumer.to_string(),
            about: format!("{}/{} v{}", key.provider, access.applied.service, access.applied.major_version),
            since_ms: access.applied_ms,
            clock: Some(clock(profile, "reply", limit)),
        })
    });
    waiting.collect()
}

/// Data services that wait for the authority's own review.
fn reviews(directory: &Directory, now_ms: u64) -> Vec<wire::Due> {
    let waiting = review::list(directory, now_ms, false).into_iter().filter(|review| review.state == "waiting");
    let due = waiting.map(|review| {
        let service = review.service.unwrap_or_default();
        let path = format!("{}/{}/{}", service.department, service.service, service.major_version);
        wire::Due {
            kind: "service review".to_owned(),
            object: format!("review/{path}"),
            owner: "authority".to_owned(),
            about: format!("{}/{} v{}", service.department, service.service, service.major_version),
            waiting: service.department,
            since_ms: review.since_ms,
            clock: review.clock,
        }
    });
    due.collect()
}

/// What an operator should know of the settings: the years whose holidays are not known.
pub fn notes(profile: &Profile, now_ms: u64) -> Vec<String> {
    let Some(year) = profile.calendar.year_of(now_ms) else { return Vec::new() };
    let unknown: Vec<String> = [year, year.saturating_add(1)]
        .iter()
        .filter(|year| !profile.calendar.knows(**year))
        .map(i16::to_string)
        .collect();
    match unknown.as_slice() {
        [] => Vec::new(),
        years => vec![format!(
            "the holiday calendar of {} is not known: time limits are counted by weekends alone there",
            years.join(" and ")
        )],
    }
}

#[cfg(test)]
mod tests {
    use trust::fixture::{Fixture, NOW_MS};

    use super::*;

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn an_application_without_a_reply_shows_when_its_days_are_over() {
        let mut fixture = Fixture::town();
        fixture.apply_for_access("8899aabbccddeeff");
        let soon = board(&fixture.directory, NOW_MS, true);
        assert_eq!((soon.due.len(), soon.overdue), (1, 0), "the granted one is replied to");
        assert!(board(&fixture.directory, NOW_MS, false).due.is_empty());
        let due = &soon.due[0];
        assert_eq!((due.owner.as_str(), due.waiting.as_str()), ("civil-affairs", "housing"));
        let clock = due.clock.as_ref().unwrap();
        // Applied for on Thursday, 1 January 2026; no holidays are known.
        assert_eq!((clock.last_day.as_str(), clock.colour.as_str()), ("2026-01-15", "green"));
        let late = board(&fixture.directory, NOW_MS + 30 * DAY_MS, false);
        assert_eq!((late.due.len(), late.overdue), (1, 1));
        assert_eq!(late.due[0].clock.as_ref().unwrap().colour, "red");
    }

    #[test]
    fn a_year_without_its_calendar_is_told() {
        let notes = notes(Fixture::founded().directory.profile(), NOW_MS);
        assert!(notes[0].contains("2026 and 2027"), "{notes:?}");
    }
}
