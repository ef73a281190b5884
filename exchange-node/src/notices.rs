//! What operators and offices should know of the services they ask: that one is suspended, that it ends, when and why, and
//! which version takes its place. Pure, from the directory as it stands; and a task that logs what is new.
//!
//! Out of scope: the refusal that an asker gets once it is so (`trust::decision`).

use std::{collections::BTreeSet, sync::Arc};

use host::clock::Clock;
use trust::{
    catalogue::service_standing,
    directory::{
        AccessKey, Directory,
        model::{Access, AccessState},
    },
    ids::{DepartmentId, ServiceId},
    reading::moment,
    service::{Review, Service},
};

use crate::view::View;

/// What became of a service that a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The grant.
    pub access: AccessKey,
    /// The service.
    pub service: ServiceId,
    /// What became of it.
    pub fate: Fate,
    /// The provider's reason or notice.
    pub text: String,
    /// The major version that answers in its place.
    pub successor: Option<u32>,
}

/// What becomes of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has ended, at that time.
    Ended(u64),
    /// It will end, at that time.
    Ends(u64),
    /// It does not answer for now.
    Suspended,
}

impl Fate {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended(_) => "ended",
            Self::Ends(_) => "ends",
            Self::Suspended => "suspended",
        }
    }

    /// When it ends, Unix milliseconds; 0 where it is only suspended.
    pub fn ends_ms(self) -> u64 {
        match self {
            Self::Ended(at_ms) | Self::Ends(at_ms) => at_ms,
            Self::Suspended => 0,
        }
    }
}

/// Whether a service answers, in one stable word.
pub fn state_word(service: &Service, now_ms: u64) -> &'static str {
    service_standing(service, now_ms).state
}

/// What the authority has said of it, in one stable word; empty where no review was asked for.
pub fn review_word(service: &Service) -> &'static str {
    match service.review {
        Review::Approved { .. } => "approved",
        Review::NotRequired => "",
        Review::Returned { .. } => "returned",
        Review::Waiting { .. } => "waiting",
    }
}

/// What became of the services that `consumer` holds grants for: those that end, have ended or are suspended.
pub fn of_grants(directory: &Directory, consumer: &DepartmentId, now_ms: u64) -> Vec<Notice> {
    directory
        .access_held_by(consumer)
        .filter(|(_, access)| is_held(access, now_ms))
        .filter_map(|(key, access)| {
            let service = service_of(directory, &key, access)?;
            let (fate, text) = fate(service, now_ms)?;
            let successor = successor(directory, &service.id, now_ms);
            Some(Notice { access: key, service: service.id.clone(), fate, text, successor })
        })
        .collect()
}

/// The departments that hold grants for a service.
pub fn holders(directory: &Directory, service: &ServiceId, now_ms: u64) -> BTreeSet<DepartmentId> {
    directory
        .access_given_by(&service.department)
        .filter(|(_, access)| is_held(access, now_ms))
        .filter(|(key, access)| service_of(directory, key, access).is_some_and(|known| known.id == *service))
        .map(|(key, _)| key.consumer.clone())
        .collect()
}

/// What an office that asked a service should know of its end, in a sentence; empty where it does not end.
pub fn hint(directory: &Directory, service: &ServiceId, now_ms: u64) -> String {
    let Some(known) = directory.service(service) else { return String::new() };
    let Some((from_ms, reason)) = known.ends() else { return String::new() };
    let when = moment(from_ms);
    let next = match successor(directory, service, now_ms) {
        Some(major) => format!("; version {major} answers in its place"),
        None => String::new(),
    };
    let verb = if from_ms <= now_ms { "ended" } else { "ends" };
    format!("version {} of {}/{} {verb} on {when}: {reason}{next}", service.major, service.department, service.service)
}

fn fate(service: &Service, now_ms: u64) -> Option<(Fate, String)> {
    match (service.ends(), service.notice()) {
        (Some((from_ms, reason)), _) if from_ms <= now_ms => Some((Fate::Ended(from_ms), reason.to_owned())),
        (Some((from_ms, reason)), _) => Some((Fate::Ends(from_ms), reason.to_owned())),
        (None, Some(notice)) => Some((Fate::Suspended, notice.to_owned())),
        (None, None) => None,
    }
}

/// The newest other version that answers.
fn successor(directory: &Directory, service: &ServiceId, now_ms: u64) -> Option<u32> {
    let others = directory.services_of(&service.department).filter(|other| {
        other.id.service == service.service
            && other.id.major > service.major
            && other.answers_at(now_ms)
            && other.ends().is_none()
    });
    others.map(|other| other.id.major).max()
}

fn is_held(access: &Access, now_ms: u64) -> bool {
    let holds = |until_ms: u64| until_ms == 0 || now_ms < until_ms;
    matches!(access.state, AccessState::Granted | AccessState::Suspended { .. })
        && access.granted.as_ref().is_some_and(|granted| holds(granted.valid_until_ms))
}

fn service_of<'a>(directory: &'a Directory, key: &AccessKey, access: &Access) -> Option<&'a Service> {
    let (department, service) = (key.provider.clone(), access.applied.service.parse().ok()?);
    directory.service(&ServiceId { department, service, major: access.applied.major_version })
}

/// Logs what is new about the services that this department holds grants for, for as long as it runs.
pub async fn watch(view: Arc<View>, me: DepartmentId, clock: Arc<dyn Clock>) {
    let mut sizes = view.sizes();
    let mut told: Vec<Notice> = Vec::new();
    loop {
        let now_ms = clock.now_ms();
        let notices = of_grants(view.seen().directory(), &me, now_ms);
        for notice in notices.iter().filter(|notice| !told.contains(notice)) {
            let Notice { access, service, fate, text, successor } = notice;
            tracing::warn!(
                service = %service, access = %access.id, state = fate.as_str(), ends = moment(fate.ends_ms()), text,
                successor, "a service that this department holds a grant for does not go on as it was"
            );
        }
        told = notices;
        // What was announced comes to pass without any news.
        let next = told.iter().filter_map(|notice| match notice.fate {
            Fate::Ends(at_ms) => Some(at_ms.saturating_sub(now_ms)),
            Fate::Ended(_) | Fate::Suspended => None,
        });
        let next =
            std::time::Duration::from_millis(next.min().unwrap_or(LONGEST_WAIT_MS).clamp(1_000, LONGEST_WAIT_MS));
        // Never an error: the view holds the sender.
        let _ = tokio::time::timeout(next, sizes.changed()).await;
    }
}

const LONGEST_WAIT_MS: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use proto::registry::v1::{self as wire, statement::Body};
    use trust::fixture::{self, FOUNDED_MS, Fixture, NOW_MS};

    use super::*;

    const OBJECT: &str = "service/civil-affairs/marriage-registration/1";
    const END_MS: u64 = FOUNDED_MS + 30 * 86_400_000;

    fn withdrawn() -> Fixture {
        let mut fixture = Fixture::town();
        let body = wire::ServiceWithdrawn {
            department: "civil-affairs".into(),
            service: "marriage-registration".into(),
            major_version: 1,
            reason: "version 2 replaces it".into(),
            from_ms: END_MS,
        };
        fixture.say("civil-affairs", Body::ServiceWithdrawn(body), OBJECT);
        fixture
    }

    #[test]
    fn those_who_hold_grants_hear_that_the_service_ends() {
        let mut fixture = withdrawn();
        let housing = fixture::department("housing");
        let [notice] = of_grants(&fixture.directory, &housing, NOW_MS).try_into().unwrap();
        assert_eq!((notice.fate, notice.successor), (Fate::Ends(END_MS), None));
        assert_eq!(of_grants(&fixture.directory, &housing, END_MS)[0].fate, Fate::Ended(END_MS));
        assert!(of_grants(&fixture.directory, &fixture::department("civil-affairs"), NOW_MS).is_empty());
        assert_eq!(holders(&fixture.directory, &notice.service, NOW_MS), BTreeSet::from([housing]));

        let second = wire::ServicePublished { major_version: 2, ..fixture::marriage_registration() };
        fixture.publish(second);
        let told = hint(&fixture.directory, &notice.service, NOW_MS);
        let expected = "version 1 of civil-affairs/marriage-registration ends on 2026-01-31 08:00:00 +08:00: \
                        version 2 replaces it; version 2 answers in its place";
        assert_eq!(told, expected);
        let second = ServiceId { major: 2, ..notice.service };
        assert_eq!(hint(&fixture.directory, &second, NOW_MS), "");
    }

    #[test]
    fn a_suspension_is_told_too() {
        let mut fixture = Fixture::town();
        let body = wire::ServiceSuspended {
            department: "civil-affairs".into(),
            service: "marriage-registration".into(),
            major_version: 1,
            notice: "登记系统维护至周五".into(),
        };
        fixture.say("civil-affairs", Body::ServiceSuspended(body), OBJECT);
        let notices = of_grants(&fixture.directory, &fixture::department("housing"), NOW_MS);
        assert_eq!((notices[0].fate, notices[0].text.as_str()), (Fate::Suspended, "登记系统维护至周五"));
        let service = fixture.directory.service(&notices[0].service).unwrap();
        assert_eq!(state_word(service, NOW_MS), "suspended");
    }
}
