//! Applications and grants as operators see them: state, clock, who decided, what is used. Out of scope: changing any of it.

use proto::{
    admin::v1::{AccessState, Clock, ListAccessResponse, PendingDecision, StandingUse, Use},
    registry::v1::OfficialDecision,
};
use trust::{
    calendar::{Colour, Limit},
    clerk::AnsweredBy,
    directory::{
        AccessKey, Directory,
        kept::Kept,
        model::{self, Access, Profile},
    },
    ids::{DepartmentId, Digest, ServiceId, ServiceName},
    service::{Service, Sharing},
};

use super::super::answers::access_words;
use crate::{
    parts::Parts,
    pending::{Pending, PendingDecisions},
    records::RecordsStatus,
    usage::{Usage, Used, mark},
};

/// Everything from and to this department.
pub(super) async fn list(parts: &Parts) -> ListAccessResponse {
    let now_ms = parts.clock.now_ms();
    let calendar = parts.view.seen().directory().profile().calendar.clone();
    let shared = match &parts.shared {
        None => None,
        Some(shared) => Some(shared.uses(&calendar, now_ms).await),
    };
    if let Some(Err(error)) = &shared {
        tracing::warn!(%error, "uses of grants are told as this node alone has counted them");
    }
    let seen = parts.view.seen();
    let directory = seen.directory();
    let me = &parts.config.department;
    let has_others = directory.nodes_of(me).nth(1).is_some();
    let counted_here_alone = shared.as_ref().map_or(has_others, Result::is_err);
    let looked = Looked {
        me,
        directory,
        records: parts.records.status(),
        is_sourced: &|service| parts.sources.of_service(service).is_some(),
        pending: &parts.pending,
        given: shared.as_ref().and_then(|uses| uses.as_ref().ok()).unwrap_or(parts.answerer.usage()),
        asked: parts.asker.asked(),
        answered: parts.asker.answered(),
        now_ms,
    };
    let given = directory.access_given_by(me).map(|(key, access)| looked.state(key, access));
    let held = directory.access_held_by(me).map(|(key, access)| looked.state(&key, access));
    let mut access: Vec<AccessState> = given.chain(held).collect();
    access.sort_by_key(|state| (state.applied_ms, state.applied.as_ref().map(|applied| applied.id.clone())));
    let standing = looked.standing();
    let asked_here_alone = has_others && asks(me, &access, &standing);
    ListAccessResponse { access, standing, counted_here_alone, asked_here_alone }
}

/// Whether there is anything that a department asks, or may ask by a grant.
pub(super) fn asks(me: &DepartmentId, access: &[AccessState], standing: &[StandingUse]) -> bool {
    let me = me.as_str();
    let may_ask = |state: &AccessState| state.granted.as_ref().is_some_and(|granted| granted.consumer == me);
    access.iter().any(may_ask) || standing.iter().any(|standing| standing.consumer == me)
}

/// A decision that waits, as operators see it.
pub(super) fn pending_decision(pending: &Pending) -> PendingDecision {
    let OfficialDecision { officer, document, .. } = pending.decision();
    PendingDecision {
        id: pending.key.id.to_string(),
        consumer: pending.key.consumer.to_string(),
        action: pending.request.action.clone(),
        officer,
        document,
        since_ms: pending.since_ms,
        reason: match pending.request.missing.as_slice() {
            [] => pending.request.reason.clone(),
            missing => missing.join("; "),
        },
    }
}

/// What everything is told from.
pub(super) struct Looked<'a> {
    pub(super) me: &'a DepartmentId,
    pub(super) directory: &'a Directory,
    pub(super) records: Vec<RecordsStatus>,
    /// Whether sources.toml names where the records of a service are.
    pub(super) is_sourced: &'a dyn Fn(&Service) -> bool,
    pub(super) pending: &'a PendingDecisions,
    pub(super) given: &'a Usage,
    pub(super) asked: &'a Usage,
    pub(super) answered: &'a Usage,
    pub(super) now_ms: u64,
}

impl Looked<'_> {
    pub(super) fn state(&self, key: &AccessKey, access: &Access) -> AccessState {
        let (state, reason) = access_words(&access.state);
        let used = access.grant_statement.map(|grant| self.uses(&grant, &key.provider, &key.consumer));
        let (reason_code, missing) = match &access.state {
            model::AccessState::Refused { code, .. } => (code.clone(), Vec::new()),
            model::AccessState::Returned { missing } => (String::new(), missing.clone()),
            _ => (String::new(), Vec::new()),
        };
        AccessState {
            applied: Some(access.applied.read()),
            granted: access.granted.as_ref().map(Kept::read),
            state: state.to_owned(),
            reason,
            reason_code,
            missing,
            applied_ms: access.applied_ms,
            granted_ms: access.granted_ms,
            extended_days: access.extended.as_ref().map_or(0, |extended| extended.working_days),
            extension_notice: access.extended.as_ref().map(|extended| extended.notice.clone()).unwrap_or_default(),
            decision: access.decision.as_ref().map(Kept::read),
            clock: self.clock(key, access, used.as_ref()),
            pending: self.pending.about(key).as_ref().map(pending_decision),
            r#use: used,
        }
    }

    /// What is due next: the reply, and once it is granted, the supply.
    fn clock(&self, key: &AccessKey, access: &Access, used: Option<&Use>) -> Option<Clock> {
        let profile = self.directory.profile();
        if let Some(limit) = access.reply(profile, self.now_ms) {
            return Some(clock(profile, "reply", limit));
        }
        let granted = access.state == model::AccessState::Granted;
        if !granted || used.is_some_and(|used| used.total > 0) || self.supplies(key, access) {
            return None;
        }
        let limit = profile.limit(access.granted_ms, profile.clocks.supply, self.now_ms);
        // A consumer that never asked cannot say that nothing was supplied.
        let never_asked = used.is_none_or(|used| used.asked == 0) && key.consumer == *self.me;
        (limit.colour != Colour::Red || !never_asked).then(|| clock(profile, "supply", limit))
    }

    /// Whether this node, as the provider's, has something to answer from: records, a source of them, or a person.
    fn supplies(&self, key: &AccessKey, access: &Access) -> bool {
        let (name, major) = (&access.applied.service, access.applied.major_version);
        let Ok(service) = name.parse::<ServiceName>() else { return false };
        let id = ServiceId { department: key.provider.clone(), service, major };
        if key.provider != *self.me {
            return false;
        }
        let stands =
            |service: &Service| AnsweredBy::of(&service.published) != AnsweredBy::Record || (self.is_sourced)(service);
        self.directory.service(&id).is_some_and(stands)
            || self
                .records
                .iter()
                .any(|records| records.service == id.service && records.major == major && records.fault.is_none())
    }

    /// What is used of a grant by this node's evidence.
    fn uses(&self, grant: &Digest, provider: &DepartmentId, consumer: &DepartmentId) -> Use {
        let calendar = &self.directory.profile().calendar;
        let mark = mark(grant, consumer);
        if *provider == *self.me {
            return used(self.given.of(&mark, calendar, self.now_ms));
        }
        let asked = self.asked.of(&mark, calendar, self.now_ms);
        let answered = self.answered.of(&mark, calendar, self.now_ms);
        Use {
            asked: asked.total,
            asked_today: asked.today,
            last_ms: asked.last_ms.max(answered.last_ms),
            ..used(answered)
        }
    }

    /// What was asked without a grant: of services that everybody may ask, the own ones by whom and others' by this
    /// department, and of its own conditional ones by itself.
    pub(super) fn standing(&self) -> Vec<StandingUse> {
        let me = self.me;
        let mut uses = Vec::new();
        for service in self.directory.scan_services().filter(|service| service.needs_no_grant_for(me)) {
            let by_everybody = service.sharing == Sharing::Unconditional && service.id.department == *me;
            let consumers: Vec<&DepartmentId> = match by_everybody {
                true => self.directory.departments().map(|(id, _)| id).collect(),
                false => vec![me],
            };
            for consumer in consumers {
                let used = self.uses(&service.statement, &service.id.department, consumer);
                if used != Use::default() {
                    uses.push(StandingUse {
                        provider: service.id.department.to_string(),
                        service: service.id.service.to_string(),
                        major_version: service.id.major,
                        consumer: consumer.to_string(),
                        r#use: Some(used),
                    });
                }
            }
        }
        uses
    }
}

fn used(used: Used) -> Use {
    Use { in_second: used.in_second, today: used.today, total: used.total, last_ms: used.last_ms, ..Use::default() }
}

fn clock(profile: &Profile, what: &str, limit: Limit) -> Clock {
    Clock {
        what: what.to_owned(),
        ends_ms: limit.ends_ms,
        last_day: profile.calendar.date_of(limit.ends_ms.saturating_sub(1)),
        days_left: limit.days_left,
        colour: limit.colour.as_str().to_owned(),
    }
}
