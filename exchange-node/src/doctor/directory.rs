//! The checks of the directory: how old the view is, what was found wrong with it, and who else watches over it.

use proto::admin::v1::Finding;
use trust::{directory::Directory, witness};

use super::{OK, finding, ok, span, warning, wrong};
use crate::{
    findings,
    parts::Parts,
    view::{Age, State, Witnessed},
};

/// A witness that has been silent for so long is told, milliseconds.
const SILENT_MS: u64 = 3_600_000;

/// Examines the view.
pub(super) fn examine(parts: &Parts, directory: &Directory, now_ms: u64) -> Vec<Finding> {
    let age = parts.view.age(now_ms);
    let mut found = vec![self::age(&age, now_ms)];
    if let Some(stuck) = parts.view.stuck() {
        found.push(wrong("directory log", stuck, "update this program, or ask the authority about the statement"));
    }
    found.extend(parts.view.findings().open_ones().iter().map(|one| of(one, parts)));
    let departments = directory.departments().filter(|(_, department)| department.suspended.is_none()).count();
    found.push(witnesses(age.witnesses_required, departments, &parts.view.witnesses(), now_ms));
    found
}

fn of(found: &findings::Finding, parts: &Parts) -> Finding {
    let folder = parts.view.findings().folder_of(&found.id);
    let advice = format!(
        "keep {}, show it to the authority and to other departments; when it is explained: exchange-node directory settle {} --note TEXT",
        folder.display(),
        found.id
    );
    wrong(&format!("directory {}", found.kind.as_str()), &found.what, advice)
}

fn age(age: &Age, now_ms: u64) -> Finding {
    const CHECK: &str = "directory";
    const ADVICE: &str = "restore the connection to the registry, or bring a fresh view by hand: registry directory export, exchange-node directory import";
    let ago = span(now_ms.saturating_sub(age.vouched_ms));
    let who = if age.witnesses_required == 0 { "the registry" } else { "the required witnesses" };
    let found = format!("{who} vouched for it {ago} ago; its lifetime is {}", span(age.lifetime_ms));
    match age.state {
        State::Fresh => ok(CHECK, found),
        State::Ageing => warning(CHECK, found, ADVICE),
        State::Expired => wrong(CHECK, format!("{found}: nothing is asked or answered"), ADVICE),
        State::NeverRead if age.log_vouched_ms == 0 => wrong(CHECK, "it was never read", ADVICE),
        State::NeverRead => wrong(
            CHECK,
            format!("fewer than {} departments' witnesses have vouched for it", age.witnesses_required),
            "wait until other departments' nodes have cosigned it; the authority's profile says how many must",
        ),
        State::ClockBackwards => wrong(CHECK, found, "set the clock"),
    }
}

fn witnesses(required: usize, departments: usize, known: &[Witnessed], now_ms: u64) -> Finding {
    const CHECK: &str = "witnesses";
    let is_there = |one: &&Witnessed| now_ms.saturating_sub(one.cosigned.time_seconds.saturating_mul(1000)) < SILENT_MS;
    let there: Vec<&str> = known.iter().filter(is_there).map(|one| one.cosigned.department.as_str()).collect();
    let listed = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    let found = format!("{required} required; cosigned within the last hour: {listed}");
    if required > 0 && there.len() < required {
        return warning(
            CHECK,
            found,
            "see that other departments' nodes run and reach the registry (`directory show`)",
        );
    }
    if required == 0 && departments >= witness::DEPARTMENTS_FOR_WITNESSES {
        let advice = format!(
            "there are {departments} departments: the authority should require two witnesses in its profile, so that its registry cannot tell two stories unseen"
        );
        return finding(CHECK, OK, found, advice);
    }
    ok(CHECK, found)
}

#[cfg(test)]
mod tests {
    use trust::{fixture, key::Signer, witness::Cosigned};

    use super::*;
    use crate::doctor::{WARNING, WRONG};

    fn of_state(state: State) -> Age {
        let lifetime_ms = 864_000_000;
        Age { state, vouched_ms: 1, log_vouched_ms: 1, expires_ms: lifetime_ms + 1, lifetime_ms, witnesses_required: 0 }
    }

    #[test]
    fn half_of_the_lifetime_is_a_warning_and_the_whole_is_wrong() {
        let level = |state: State| age(&of_state(state), 5).level;
        assert_eq!(level(State::Fresh), OK);
        assert_eq!(level(State::Ageing), WARNING);
        for state in [State::Expired, State::NeverRead, State::ClockBackwards] {
            assert_eq!(level(state), WRONG, "{state:?}");
        }
        let lacking = Age { witnesses_required: 2, vouched_ms: 0, ..of_state(State::NeverRead) };
        assert!(age(&lacking, 5).found.contains("fewer than 2 departments"));
    }

    #[test]
    fn two_witnesses_are_recommended_once_there_are_five_departments() {
        let known = |department: &str, time_seconds| Witnessed {
            cosigned: Cosigned {
                department: department.parse().unwrap(),
                node: "1".parse().unwrap(),
                key_id: *fixture::key("x").public_key().id(),
                time_seconds,
            },
            size: 5,
        };
        let now_ms = 10_000_000;
        let few = witnesses(0, 4, &[], now_ms);
        assert_eq!((few.level.as_str(), few.advice.as_str()), (OK, ""));
        let many = witnesses(0, 5, &[known("housing", 9_999)], now_ms);
        assert_eq!(many.level, OK);
        assert!(many.advice.contains("require two witnesses") && many.found.contains("housing"), "{many:?}");
        let lacking = witnesses(2, 5, &[known("housing", 9_999), known("health", 1)], now_ms);
        assert_eq!(lacking.level, WARNING);
        let enough = witnesses(2, 5, &[known("housing", 9_999), known("health", 9_000)], now_ms);
        assert_eq!((enough.level.as_str(), enough.advice.as_str()), (OK, ""));
    }
}
