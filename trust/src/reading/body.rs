//! What each kind of statement says, in a sentence and in detail. A kind that has no sentence of its own yet is named.
//!
//! No detail is ever a secret or about a person: the directory holds none.

use data_encoding::HEXLOWER;
use proto::registry::v1::{self as wire, AttributeScope, Key, Quota, Statement, statement::Body};

use super::{Fact, bases, both_names, department::role, moment};
use crate::{key::DescribedKey, service::words};

/// A statement's kind by its name on the wire.
pub fn kind(body: &Body) -> &'static str {
    match body {
        Body::ExchangeFounded(_) => "exchange_founded",
        Body::RegistryAnnounced(_) => "registry_announced",
        Body::DepartmentAdmitted(_) => "department_admitted",
        Body::DepartmentSuspended(_) => "department_suspended",
        Body::DepartmentResumed(_) => "department_resumed",
        Body::KeyAdded(_) => "key_added",
        Body::KeyRevoked(_) => "key_revoked",
        Body::NodePublished(_) => "node_published",
        Body::NodeRemoved(_) => "node_removed",
        Body::ServicePublished(_) => "service_published",
        Body::ServiceSuspended(_) => "service_suspended",
        Body::ServiceResumed(_) => "service_resumed",
        Body::ServiceWithdrawn(_) => "service_withdrawn",
        Body::AccessApplied(_) => "access_applied",
        Body::AccessGranted(_) => "access_granted",
        Body::AccessRefused(_) => "access_refused",
        Body::AccessReturned(_) => "access_returned",
        Body::AccessSuspended(_) => "access_suspended",
        Body::AccessResumed(_) => "access_resumed",
        Body::AccessRevoked(_) => "access_revoked",
        Body::ItemPublished(_) => "item_published",
        Body::State(_) => "state",
        Body::AnchorsTaken(_) => "anchors_taken",
        Body::EvidenceLogClosed(_) => "evidence_log_closed",
        Body::DepartmentRenamed(_) => "department_renamed",
        Body::DepartmentSucceeded(_) => "department_succeeded",
        Body::DepartmentClosed(_) => "department_closed",
        Body::DepartmentSplit(_) => "department_split",
        Body::SuccessionAccepted(_) => "succession_accepted",
        Body::ProfileChanged(_) => "profile_changed",
        Body::ServiceReviewed(_) => "service_reviewed",
        Body::AccessExtended(_) => "access_extended",
        Body::AuthorityKeyChanged(_) => "authority_key_changed",
        Body::LogKeyChanged(_) => "log_key_changed",
        Body::KeyRetired(_) => "key_retired",
        #[allow(unreachable_patterns, reason = "kinds come that this list does not have yet")]
        _ => "other",
    }
}

/// What a statement says, in a sentence.
pub(super) fn says(body: &Body, statement: &Statement) -> String {
    let service = |department: &str, service: &str, major: u32| format!("{department}/{service} version {major}");
    match body {
        Body::ExchangeFounded(body) => {
            format!("The exchange {} ({}) is founded.", both_names(body.name.as_ref()), statement.exchange_id)
        }
        Body::RegistryAnnounced(_) => "The registry says where it is reached.".to_owned(),
        Body::DepartmentAdmitted(body) => {
            format!("{} ({}) is admitted.", both_names(body.name.as_ref()), body.department)
        }
        Body::DepartmentSuspended(body) => format!("{} is suspended: {}", body.department, body.reason),
        Body::DepartmentResumed(body) if body.reason.is_empty() => format!("{} takes part again.", body.department),
        Body::DepartmentResumed(body) => format!("{} takes part again: {}", body.department, body.reason),
        Body::KeyAdded(body) => {
            let node = if body.node.is_empty() { String::new() } else { format!(" of node {}", body.node) };
            format!("{} has a new {} key{node}.", body.department, body.key.as_ref().map_or("", role))
        }
        Body::KeyRevoked(body) => format!("A key of {} is revoked: {}", body.department, body.reason),
        Body::NodePublished(body) => {
            format!("Node {} of {} answers at {}.", body.node, body.department, body.addresses.join(", "))
        }
        Body::NodeRemoved(body) => format!("Node {} of {} is gone.", body.node, body.department),
        Body::ServicePublished(body) => format!(
            "{} publishes {} ({} {}.{}).",
            body.department,
            both_names(body.name.as_ref()),
            body.service,
            body.major_version,
            body.minor_version
        ),
        Body::ServiceSuspended(body) => {
            let service = service(&body.department, &body.service, body.major_version);
            format!("{service} does not answer for now: {}", body.notice)
        }
        Body::ServiceResumed(body) => {
            format!("{} answers again.", service(&body.department, &body.service, body.major_version))
        }
        Body::ServiceWithdrawn(body) => {
            let service = service(&body.department, &body.service, body.major_version);
            format!("{service} ends at {}: {}", moment(body.from_ms), body.reason)
        }
        Body::AccessApplied(body) => format!(
            "{} applies to ask {} for {}.",
            body.consumer,
            service(&body.provider, &body.service, body.major_version),
            purpose(&body.item, &body.scenario)
        ),
        Body::AccessGranted(body) => format!(
            "{} grants {} to ask {} version {} for {}.",
            body.provider,
            body.consumer,
            body.service,
            body.major_version,
            purpose(&body.item, &body.scenario)
        ),
        Body::AccessRefused(body) => format!("The application is refused ({}): {}", body.reason_code, body.reason),
        Body::AccessReturned(body) => {
            format!("The application is returned; missing is: {}.", body.missing.join("; "))
        }
        Body::AccessSuspended(body) => format!("The grant is suspended: {}", body.reason),
        Body::AccessResumed(_) => "The grant holds again.".to_owned(),
        Body::AccessRevoked(body) => format!("The grant is revoked: {}", body.reason),
        Body::ItemPublished(body) => {
            format!("{} publishes the public service item {}.", body.department, both_names(body.name.as_ref()))
        }
        Body::State(body) => {
            format!("The log commits to {} objects at {} statements.", body.objects, body.directory_size)
        }
        Body::DepartmentRenamed(body) => {
            let name = both_names(body.name.as_ref());
            format!("{} is called {name} from {} on.", body.department, moment(body.from_ms))
        }
        Body::DepartmentSucceeded(body) => {
            let custody = if body.custody { ", and its evidence" } else { "" };
            let (services, held) = (body.services.len(), body.held.len());
            let what = format!("{services} services with their grants and {held} grants that it holds{custody}");
            format!("{} hands {} over: {what}. {}", body.department, body.successor, body.reason)
        }
        Body::DepartmentClosed(body) => {
            format!("{} ends at {}: {}", body.department, moment(body.from_ms), body.reason)
        }
        Body::DepartmentSplit(body) => {
            let successors = body.successors.join(", ");
            format!(
                "{} is split at {}; {successors} take parts of it: {}",
                body.department,
                moment(body.from_ms),
                body.reason
            )
        }
        Body::AnchorsTaken(body) => {
            let again =
                if body.reason.is_empty() { String::new() } else { format!(" It begins anew: {}", body.reason) };
            format!("The directory takes the checkpoint of the log of anchors.{again}")
        }
        Body::EvidenceLogClosed(body) => format!(
            "Evidence log {} of node {} of {} ends, and a successor goes on: {}",
            body.log, body.node, body.department, body.reason
        ),
        Body::ServiceReviewed(body) => {
            let service = service(&body.department, &body.service, body.major_version);
            match body.approved {
                true => format!("The authority has reviewed {service}, which may answer."),
                false => format!("The authority returns {service}; missing is: {}.", body.missing.join("; ")),
            }
        }
        Body::ProfileChanged(_) => "The authority's settings are these from now on.".to_owned(),
        Body::AccessExtended(body) => {
            format!("The time to reply is extended by {} working days: {}", body.working_days, body.notice)
        }
        Body::AuthorityKeyChanged(body) => {
            format!("The authority signs with another key from here on: {}", body.reason)
        }
        Body::LogKeyChanged(body) => {
            let lost = if body.lost.is_empty() { String::new() } else { format!(" (the old key: {})", body.lost) };
            format!("The directory's log signs with another key from here on: {}{lost}", body.reason)
        }
        Body::KeyRetired(body) => {
            format!("A key of {} is out of use from {} on.", body.department, moment(body.from_ms))
        }
        Body::SuccessionAccepted(body) => {
            format!("{} accepts what {} handed over.", body.successor, body.department)
        }
        #[allow(unreachable_patterns, reason = "kinds come that this list does not have yet")]
        _ => format!("Something is said about {}.", statement.object),
    }
}

/// What a statement says in detail. Empty values are not shown.
pub(super) fn details(body: &Body) -> Vec<Fact> {
    match body {
        Body::ExchangeFounded(body) => {
            let mut facts = key_facts("authority key", body.authority_key.as_ref());
            facts.extend(key_facts("log key", body.log_key.as_ref()));
            facts.extend(body.profile.iter().flat_map(profile));
            facts
        }
        Body::RegistryAnnounced(body) => vec![
            ("addresses", body.addresses.join("\n")),
            ("tiles at", body.tile_addresses.join("\n")),
            ("TLS key", HEXLOWER.encode(&body.tls_key)),
        ],
        Body::DepartmentAdmitted(body) => {
            let mut facts = vec![("credit code", body.uscc.clone()), ("division", body.division.clone())];
            facts.extend(key_facts("first key", body.first_key.as_ref()));
            facts.extend(key_facts("recovery key", body.recovery_key.as_ref()));
            facts
        }
        Body::KeyAdded(body) => key_facts("key", body.key.as_ref()),
        Body::KeyRevoked(body) => vec![("key", body.key_id.clone())],
        Body::AnchorsTaken(body) => vec![("checkpoint", body.checkpoint.clone())],
        Body::EvidenceLogClosed(body) => vec![
            ("entries it had at least", body.highest_seen.to_string()),
            ("last checkpoint", body.checkpoint.clone()),
        ],
        Body::ServiceReviewed(body) => vec![("reviewed", HEXLOWER.encode(&body.service_statement))],
        Body::KeyRetired(body) => vec![("key", body.key_id.clone())],
        Body::AuthorityKeyChanged(body) => key_facts("new key", body.authority_key.as_ref()),
        Body::LogKeyChanged(body) => key_facts("new key", body.log_key.as_ref()),
        Body::ProfileChanged(body) => body.profile.iter().flat_map(profile).collect(),
        Body::NodePublished(body) => vec![
            ("TLS key", HEXLOWER.encode(&body.tls_key)),
            ("relays", body.relays.join("\n")),
            ("takes new questions", if body.draining { "no" } else { "yes" }.to_owned()),
            ("wire versions", format!("{} to {}", body.oldest_wire_version, body.newest_wire_version)),
        ],
        Body::ServicePublished(body) => service(body),
        Body::AccessApplied(body) => vec![
            ("scope", scope(&body.scope)),
            ("legal bases", bases(&body.legal_bases)),
            ("until", moment(body.valid_until_ms)),
            ("expected a day", number(body.expected_per_day.into())),
            ("only system", body.system.clone()),
            ("notices of changes", if body.subscribe { "applied for" } else { "" }.to_owned()),
        ],
        Body::AccessGranted(body) => vec![
            ("scope", scope(&body.scope)),
            ("legal bases", bases(&body.legal_bases)),
            ("from", moment(body.valid_from_ms)),
            ("until", moment(body.valid_until_ms)),
            ("quota", body.quota.as_ref().map(quota).unwrap_or_default()),
            ("only system", body.system.clone()),
            ("notices of changes", if body.subscribe { "granted" } else { "" }.to_owned()),
        ],
        Body::AccessResumed(body) => vec![("reason", body.reason.clone())],
        Body::ItemPublished(body) => vec![
            ("item", body.item.clone()),
            ("version", body.version.to_string()),
            ("from", moment(body.effective_from_ms)),
            ("legal bases", bases(&body.legal_bases)),
            ("accepted by", body.accepting_unit.clone()),
            ("proofs", body.proofs.iter().map(|proof| proof.proof.as_str()).collect::<Vec<_>>().join("\n")),
        ],
        Body::State(body) => vec![("root", HEXLOWER.encode(&body.root))],
        Body::DepartmentRenamed(body) => vec![("credit code", body.uscc.clone()), ("division", body.division.clone())],
        Body::DepartmentSucceeded(body) => {
            let services = body.services.iter().map(|handed| format!("{} {}", handed.service, handed.major_version));
            let held = body.held.iter().map(|grant| format!("{} of {}", grant.id, grant.provider));
            vec![
                ("services", services.collect::<Vec<_>>().join("\n")),
                ("grants held", held.collect::<Vec<_>>().join("\n")),
                ("evidence", if body.custody { "goes over" } else { "stays" }.to_owned()),
            ]
        }
        Body::DepartmentClosed(body) => vec![("successors", body.successors.join(", "))],
        Body::SuccessionAccepted(body) => vec![("accepts", HEXLOWER.encode(&body.offer))],
        _ => Vec::new(),
    }
}

fn service(body: &wire::ServicePublished) -> Vec<Fact> {
    let attributes = body
        .attributes
        .iter()
        .map(|attribute| format!("{}: {} ({})", attribute.name, attribute.r#type, attribute.operators.join(", ")));
    vec![
        ("sharing", words::sharing(body.sharing()).to_owned()),
        ("subjects", body.subject_schemes.join(", ")),
        ("attributes", attributes.collect::<Vec<_>>().join("\n")),
        ("legal bases", bases(&body.legal_bases)),
        ("forbidden by", bases(body.forbidden_by.as_slice())),
        ("replaces", body.replaces_proofs.join("\n")),
        ("items", body.items.join("\n")),
        ("contact", body.contact.clone()),
    ]
}

fn profile(profile: &wire::Profile) -> Vec<Fact> {
    vec![
        ("view lifetime", format!("{} h", profile.view_lifetime_hours)),
        ("clock skew", format!("{} s", profile.clock_skew_seconds)),
        ("a question is valid", format!("{} s", profile.request_validity_seconds)),
        ("witnesses required", profile.witnesses_required.to_string()),
        ("evidence is kept", format!("{} days", profile.evidence_retention_days)),
        ("reply to an application", working_days(profile.reply_conditional_days)),
        ("reply, unconditional", working_days(profile.reply_unconditional_days)),
        ("extension", working_days(profile.extension_days)),
        ("supply", working_days(profile.supply_days)),
        ("correction", working_days(profile.correction_days)),
        ("review", working_days(profile.review_days)),
        ("holiday calendars", calendars(profile)),
        ("four eyes", profile.four_eyes.join(", ")),
        ("subject schemes", profile.subject_schemes.iter().map(added_scheme).collect::<Vec<_>>().join("\n")),
        ("decisions name officer and document", if profile.decisions_named { "always" } else { "" }.to_owned()),
        ("tiles are for", if profile.tiles_members_only { "members" } else { "" }.to_owned()),
    ]
}

fn added_scheme(scheme: &wire::SubjectScheme) -> String {
    let check = if scheme.check.is_empty() { String::new() } else { format!(", check {}", scheme.check) };
    format!("{}: {} ({}{check})", scheme.name, scheme.label, scheme.pattern)
}

/// 0 stands for the usual time, which need not be shown.
fn working_days(days: u32) -> String {
    if days == 0 { String::new() } else { format!("{days} working days") }
}

fn calendars(profile: &wire::Profile) -> String {
    let years = profile.calendar.iter().flat_map(|calendar| &calendar.years).map(|year| year.year.to_string());
    years.collect::<Vec<_>>().join(", ")
}

fn key_facts(name: &'static str, key: Option<&Key>) -> Vec<Fact> {
    let Some(key) = key else { return Vec::new() };
    let id = DescribedKey::from_wire(key).map(|described| described.key.id().to_string());
    let mut text = id.unwrap_or_else(|error| error.to_string());
    if key.valid_until_ms != 0 {
        text += &format!(" until {}", moment(key.valid_until_ms));
    }
    vec![(name, text)]
}

fn purpose<'a>(item: &'a str, scenario: &'a str) -> &'a str {
    if item.is_empty() { scenario } else { item }
}

fn scope(scope: &[AttributeScope]) -> String {
    let lines = scope.iter().map(|part| {
        let disclosed = if part.disclose { ", value disclosed" } else { "" };
        format!("{}: {}{disclosed}", part.attribute, part.operators.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn quota(quota: &Quota) -> String {
    let parts = [(u64::from(quota.per_second), "a second"), (quota.per_day.into(), "a day"), (quota.total, "in all")];
    let parts = parts.into_iter().filter(|(number, _)| *number != 0).map(|(number, per)| format!("{number} {per}"));
    parts.collect::<Vec<_>>().join(", ")
}

fn number(number: u64) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}
