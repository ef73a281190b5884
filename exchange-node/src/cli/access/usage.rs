//! `access usage`: what is used of every quota and grant. Out of scope: counting (`crate::usage`).

use proto::{
    admin::v1::{AccessState, StandingUse, Use},
    registry::v1::Quota,
};
use serde_json::{Value, json};

use super::{
    super::{
        Error, Exit,
        node::Folder,
        output::{self, Output},
    },
    all, show,
};

pub(super) async fn run(id: Option<&str>, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let listed = all(folder).await?;
    let granted: Vec<AccessState> = listed
        .access
        .into_iter()
        .filter(|state| state.granted.is_some())
        .filter(|state| id.is_none_or(|id| show::is_meant(state, id)))
        .collect();
    if let Some(id) = id.filter(|_| granted.is_empty()) {
        return Err(Error::Usage(format!("there is no grant {id}: `access list --state granted` shows them")));
    }
    let standing = if id.is_some() { Vec::new() } else { listed.standing };
    let machine = json!({
        "grants": granted.iter().map(grant_json).collect::<Vec<_>>(),
        "standing": standing.iter().map(standing_json).collect::<Vec<_>>(),
        "counted_here_alone": listed.counted_here_alone,
        "asked_here_alone": listed.asked_here_alone,
    });
    let alone = alone(listed.counted_here_alone, listed.asked_here_alone);
    output.show(&machine, || text(&granted, &standing) + alone);
    Ok(Exit::Done)
}

/// Which of the uses are those of one node of several.
fn alone(counted: bool, asked: bool) -> &'static str {
    match (counted, asked) {
        (true, true) => {
            "\nThe department has other nodes: these are the uses that this node alone has counted. Ask the others too."
        }
        (true, false) => {
            "\nWhat was answered is what this node alone has counted: the shared database is away, or there is none. \
             Ask the department's other nodes too."
        }
        (false, true) => "\nWhat this department asked is what it asked through this node: ask its other nodes too.",
        (false, false) => "",
    }
}

fn quota(state: &AccessState) -> Quota {
    state.granted.as_ref().and_then(|granted| granted.quota).unwrap_or_default()
}

fn used(state: &AccessState) -> Use {
    state.r#use.unwrap_or_default()
}

fn grant_json(state: &AccessState) -> Value {
    let applied = state.applied.clone().unwrap_or_default();
    let quota = quota(state);
    json!({
        "id": applied.id,
        "provider": applied.provider,
        "consumer": applied.consumer,
        "service": applied.service,
        "major_version": applied.major_version,
        "state": state.state,
        "quota": { "per_second": quota.per_second, "per_day": quota.per_day, "total": quota.total },
        "used": used_json(&used(state)),
    })
}

fn standing_json(standing: &StandingUse) -> Value {
    json!({
        "provider": standing.provider,
        "consumer": standing.consumer,
        "service": standing.service,
        "major_version": standing.major_version,
        "used": used_json(&standing.r#use.unwrap_or_default()),
    })
}

fn used_json(used: &Use) -> Value {
    json!({
        "in_second": used.in_second,
        "today": used.today,
        "total": used.total,
        "last_ms": used.last_ms,
        "asked": used.asked,
        "asked_today": used.asked_today,
    })
}

/// Used of a limit; 0 is no limit.
fn of(used: u64, limit: u64) -> String {
    if limit == 0 { used.to_string() } else { format!("{used} of {limit}") }
}

fn text(granted: &[AccessState], standing: &[StandingUse]) -> String {
    if granted.is_empty() && standing.is_empty() {
        return "No grants, own or given, and nothing was asked.".to_owned();
    }
    let nothing_asked = |asked: u64| if asked == 0 { String::new() } else { asked.to_string() };
    let rows = granted
        .iter()
        .map(|state| {
            let (applied, quota, used) = (state.applied.clone().unwrap_or_default(), quota(state), used(state));
            let per_second = if quota.per_second == 0 { String::new() } else { quota.per_second.to_string() };
            [
                applied.id,
                format!("{}/{} v{}", applied.provider, applied.service, applied.major_version),
                applied.consumer,
                of(used.today, quota.per_day.into()),
                of(used.total, quota.total),
                per_second,
                nothing_asked(used.asked),
                output::moment(used.last_ms),
            ]
        })
        .chain(standing.iter().map(|standing| {
            let used = standing.r#use.unwrap_or_default();
            [
                if standing.provider == standing.consumer { "own" } else { "unconditional" }.to_owned(),
                format!("{}/{} v{}", standing.provider, standing.service, standing.major_version),
                standing.consumer.clone(),
                used.today.to_string(),
                used.total.to_string(),
                String::new(),
                nothing_asked(used.asked),
                output::moment(used.last_ms),
            ]
        }));
    let header =
        ["id", "service", "consumer", "answered today", "answered in all", "most a second", "asked in all", "last"];
    output::table(header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stands_beside_its_limit() {
        let mut granted = trust::fixture::granted("0011223344556677");
        granted.quota = Some(Quota { per_second: 5, per_day: 100, total: 0 });
        let state = AccessState {
            applied: Some(trust::fixture::application("0011223344556677")),
            granted: Some(granted),
            state: "granted".into(),
            r#use: Some(Use { today: 7, total: 30, asked: 31, ..Use::default() }),
            ..AccessState::default()
        };
        let told = text(std::slice::from_ref(&state), &[]);
        assert!(told.contains("7 of 100") && told.contains("30") && told.contains("31"), "{told}");
        assert_eq!(grant_json(&state)["used"]["today"], 7);
        assert_eq!(grant_json(&state)["quota"]["per_day"], 100);
        assert!(text(&[], &[]).starts_with("No grants"));
    }

    #[test]
    fn uses_of_one_node_of_several_are_told_as_such() {
        let told = [alone(true, true), alone(true, false), alone(false, true)];
        assert!(told.iter().all(|told| told.contains("other") && told.contains("this node")), "{told:?}");
        assert!(told[2].contains("asked") && !told[1].contains("asked"), "{told:?}");
        assert_eq!(alone(false, false), "");
    }
}
