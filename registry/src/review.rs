//! What the authority has to say about data services, where its profile asks for reviews: what waits and since when, with
//! the clock, what the registry finds missing by itself, and what was said before. Computed from the directory whenever
//! somebody looks. Out of scope: saying it (`authority`), and what a review lets in (`trust::directory`).

use proto::{admin::v1 as wire, registry::v1::ServicePublished};
use trust::{
    directory::Directory,
    ids::{Digest, ServiceId},
    refusal::{Code, Refusal},
    service::{
        Review, Service, catalogue,
        compatibility::{Effect, compare},
    },
};

use crate::board;

/// Services that wait or were returned, and with `all` those that were approved too. What waits longest comes first.
pub fn list(directory: &Directory, now_ms: u64, all: bool) -> Vec<wire::ReviewState> {
    let mut reviews: Vec<wire::ReviewState> =
        directory.services().flat_map(|service| states(directory, service, now_ms, all)).collect();
    let rank = |state: &str| ["waiting", "returned", "approved"].iter().position(|known| *known == state);
    reviews.sort_by_key(|review| (rank(&review.state), review.since_ms));
    reviews
}

fn states(directory: &Directory, service: &Service, now_ms: u64, all: bool) -> Vec<wire::ReviewState> {
    let mut states = Vec::new();
    if let Some((published, statement, review)) = service.unapproved() {
        let mut state = wire::ReviewState {
            found_missing: catalogue::missing(published)
                .into_iter()
                .map(|(field, what)| format!("{field}: {what}"))
                .collect(),
            is_change: service.proposed.is_some(),
            ..state(directory, published, statement, now_ms)
        };
        if state.is_change {
            let differences = compare(&service.published, published).into_iter();
            state.differences = differences
                .map(|difference| wire::ServiceDifference {
                    incompatible: difference.effect == Effect::Incompatible,
                    field: difference.field,
                    what: difference.what,
                })
                .collect();
        }
        match review {
            Review::Waiting { since_ms } => {
                let profile = directory.profile();
                let limit = profile.limit(*since_ms, profile.clocks.review, now_ms);
                "waiting".clone_into(&mut state.state);
                state.since_ms = *since_ms;
                state.clock = Some(board::clock(profile, "review", limit));
            }
            Review::Returned { at_ms, missing } => {
                "returned".clone_into(&mut state.state);
                state.since_ms = *at_ms;
                state.missing.clone_from(missing);
            }
            // What may answer does not wait.
            Review::Approved { .. } | Review::NotRequired => return states,
        }
        states.push(state);
    }
    if let (Review::Approved { at_ms }, true) = (&service.review, all) {
        let approved = state(directory, &service.published, &service.statement, now_ms);
        states.push(wire::ReviewState { state: "approved".to_owned(), since_ms: *at_ms, ..approved });
    }
    states
}

fn state(directory: &Directory, published: &ServicePublished, statement: &Digest, now_ms: u64) -> wire::ReviewState {
    wire::ReviewState {
        provider_name: name_of(directory, &published.department, now_ms),
        service: Some(published.clone()),
        statement: statement.to_string(),
        ..wire::ReviewState::default()
    }
}

/// What waits for a decision: the service, its statement, and the minor version.
///
/// # Errors
/// That nothing does, or that another statement waits than the one that was looked at.
pub fn waiting(
    directory: &Directory,
    department: &str,
    service: &str,
    major: u32,
    looked_at: &str,
) -> Result<(ServiceId, Digest, u32), Refusal> {
    let found = directory
        .services()
        .filter(|known| (known.id.department.as_str(), known.id.service.as_str()) == (department, service))
        .filter(|known| major == 0 || known.id.major == major)
        .max_by_key(|known| (known.unapproved().is_some(), known.id.major))
        .ok_or_else(|| Refusal::new(Code::ServiceUnknown).at("service"))?;
    let (published, statement, _) = found.unapproved().ok_or_else(|| {
        let reason = format!("{} does not wait for a review", found.id);
        Refusal::new(Code::StatementRefused).at("service").because(reason)
    })?;
    if !looked_at.is_empty() && statement.to_string() != looked_at {
        let reason = "another description waits for a review now: look at it again (`registry review show`)";
        return Err(Refusal::new(Code::StatementRefused).at("statement").because(reason));
    }
    Ok((found.id.clone(), *statement, published.minor_version))
}

/// Every data service, with its provider's name.
pub fn catalogue(directory: &Directory, provider: &str, now_ms: u64) -> Vec<wire::CatalogueService> {
    let services =
        directory.services().filter(|service| provider.is_empty() || service.id.department.as_str() == provider);
    let entry = |service: &Service| {
        let provider = name_of(directory, service.id.department.as_str(), now_ms);
        wire::CatalogueService {
            state: catalogue::Entry::of(service, &provider, now_ms).state,
            service: Some(service.published.clone()),
            provider_name: provider,
        }
    };
    services.map(entry).collect()
}

fn name_of(directory: &Directory, department: &str, now_ms: u64) -> String {
    let known = department.parse().ok().and_then(|id| directory.department(&id));
    known.map(|known| known.name_at(now_ms).zh).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proto::registry::v1 as statement;
    use trust::{
        directory::model::Profile,
        fixture::{self, FOUNDED_MS, Fixture},
    };

    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn reviewing() -> Fixture {
        let reviews = statement::ServiceReviews::All.into();
        let profile = statement::Profile { service_reviews: reviews, ..Profile::usual() };
        let mut fixture = Fixture::founded_with(profile);
        fixture.admit("civil-affairs");
        fixture.publish(fixture::marriage_registration());
        fixture
    }

    #[test]
    fn what_waits_shows_its_clock_and_all_that_is_missing() {
        let fixture = reviewing();
        // Published on Thursday, 1 January 2026: two working days end with Monday.
        let colour = |days: u64| {
            let [review] = list(&fixture.directory, FOUNDED_MS + days * DAY_MS, false).try_into().unwrap();
            assert_eq!(review.state, "waiting");
            let clock = review.clock.unwrap();
            (clock.last_day, clock.colour)
        };
        assert_eq!(colour(0), ("2026-01-05".into(), "green".into()));
        assert_eq!(colour(1).1, "amber");
        assert_eq!(colour(5).1, "red");
        let [review] = list(&fixture.directory, FOUNDED_MS, false).try_into().unwrap();
        assert!(review.found_missing.iter().any(|found| found.starts_with("contact: ")), "{review:?}");
        assert!(!review.is_change && review.differences.is_empty());
    }

    #[test]
    fn what_was_said_is_listed_and_a_change_shows_its_differences() {
        let mut fixture = reviewing();
        fixture.review("marriage-registration", &["contact"]);
        let [review] = list(&fixture.directory, FOUNDED_MS, false).try_into().unwrap();
        assert_eq!((review.state.as_str(), review.missing.as_slice()), ("returned", ["contact".to_owned()].as_slice()));
        let mut changed = fixture::marriage_registration();
        (changed.minor_version, changed.contact) = (1, "0890".into());
        fixture.publish(changed.clone());
        fixture.review("marriage-registration", &[]);
        assert!(list(&fixture.directory, FOUNDED_MS, false).is_empty());
        (changed.minor_version, changed.contact) = (2, "0891".into());
        fixture.publish(changed);
        let reviews = list(&fixture.directory, FOUNDED_MS, true);
        let states: Vec<&str> = reviews.iter().map(|review| review.state.as_str()).collect();
        assert_eq!(states, ["waiting", "approved"]);
        assert!(reviews[0].is_change && reviews[0].differences[0].what == "0890 becomes 0891", "{reviews:?}");
    }

    #[test]
    fn a_decision_is_about_what_was_looked_at() {
        let mut fixture = reviewing();
        let find = |fixture: &Fixture, major, statement: &str| {
            waiting(&fixture.directory, "civil-affairs", "marriage-registration", major, statement)
        };
        let (id, digest, _) = find(&fixture, 0, "").unwrap();
        assert_eq!(id.major, 1);
        assert!(find(&fixture, 1, &digest.to_string()).is_ok());
        assert_eq!(find(&fixture, 1, &"0".repeat(64)).unwrap_err().field, "statement");
        assert_eq!(find(&fixture, 2, "").unwrap_err().code, Code::ServiceUnknown);
        fixture.review("marriage-registration", &[]);
        assert_eq!(find(&fixture, 0, "").unwrap_err().code, Code::StatementRefused);
    }

    #[test]
    fn the_catalogue_has_every_service_with_its_providers_name() {
        let fixture = reviewing();
        let entries = catalogue(&fixture.directory, "", FOUNDED_MS);
        assert_eq!((entries.len(), entries[0].state.as_str()), (1, "waiting"));
        assert_eq!(entries[0].provider_name, "civil-affairs");
        assert!(catalogue(&fixture.directory, "housing", FOUNDED_MS).is_empty());
    }
}
