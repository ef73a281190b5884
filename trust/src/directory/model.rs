//! What the directory knows: departments, keys, nodes, services, access and items, as the statements left them. Plain
//! data; how it comes about is in `rules` and `fold`.
//!
//! A directory may have a million statements, and every reader holds what they leave in memory: so it lies there packed
//! (`packed`), which is what the serde derives are for, and whole messages stand here as [`Kept`].

use std::collections::BTreeSet;

use proto::registry::v1 as wire;
use serde::{Deserialize, Serialize};

use super::kept::Kept;
use crate::{
    calendar::{Calendar, Limit},
    ids::{DepartmentId, Digest, NodeId},
    key::{DescribedKey, PublicKey},
    log::hash::Hash,
    refusal::Code,
    subject::added::Schemes,
};

/// The authority's settings that every node follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How long a view is good without the registry, milliseconds.
    pub view_lifetime_ms: u64,
    /// How much clocks may differ, milliseconds.
    pub clock_skew_ms: u64,
    /// How long a question may be valid at most, milliseconds.
    pub request_validity_ms: u64,
    /// How many departments' witnesses must have cosigned the directory lately; 0 where the log's own word will do.
    pub witnesses_required: usize,
    /// Which data services the authority reviews before they answer.
    pub service_reviews: wire::ServiceReviews,
    /// How long before its end a data service's withdrawal is stated at least, milliseconds.
    pub withdrawal_notice_ms: u64,
    /// The time limits, in working days.
    pub clocks: Clocks,
    /// Which days are working days.
    pub calendar: Calendar,
    /// The kinds of decision that take two officers (`crate::official`).
    pub four_eyes: BTreeSet<String>,
    /// Whether decisions on access count only with officer and document.
    pub decisions_named: bool,
    /// Whether the directory's tiles are served to nodes of the exchange alone.
    pub tiles_members_only: bool,
    /// The subject schemes, with those that the authority has added.
    pub schemes: Schemes,
}

/// Time limits in working days (政务数据共享条例 16-26).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// To reply about an unconditional service.
    pub reply_unconditional: u32,
    /// To reply to an application.
    pub reply_conditional: u32,
    /// By how much a reply may be extended, once and with notice.
    pub extension: u32,
    /// From a grant until supply begins.
    pub supply: u32,
    /// To answer a request for correction.
    pub correction: u32,
    /// To review a new service.
    pub review: u32,
    /// With so many days left a clock is amber.
    pub amber: u32,
    /// For a clerk to answer, where the service does not say otherwise.
    pub clerk: u32,
}

/// How long a withdrawal is told before, where the profile does not say otherwise: as long as a view may be old, so that
/// every node has heard of it.
const USUAL_WITHDRAWAL_NOTICE_SECONDS: u32 = 10 * 24 * 3600;

impl Profile {
    /// The settings for an authority that does not say otherwise: 240 hours, 60 seconds, 5 minutes.
    pub fn usual() -> wire::Profile {
        wire::Profile {
            view_lifetime_hours: 240,
            clock_skew_seconds: 60,
            request_validity_seconds: 300,
            witnesses_required: 0,
            evidence_retention_days: 1096,
            ..wire::Profile::default()
        }
    }

    /// How a time limit that began at `start_ms` stands at `now_ms`.
    pub fn limit(&self, start_ms: u64, working_days: u32, now_ms: u64) -> Limit {
        self.calendar.limit(start_ms, working_days, self.clocks.amber, now_ms)
    }

    pub(super) fn from_wire(profile: &wire::Profile) -> Self {
        let or_usual = |days: u32, usual: u32| if days == 0 { usual } else { days };
        let notice_seconds = match profile.withdrawal_notice_seconds {
            0 => USUAL_WITHDRAWAL_NOTICE_SECONDS,
            seconds => seconds,
        };
        Self {
            clocks: Clocks {
                reply_unconditional: or_usual(profile.reply_unconditional_days, 1),
                reply_conditional: or_usual(profile.reply_conditional_days, 10),
                extension: or_usual(profile.extension_days, 10),
                supply: or_usual(profile.supply_days, 20),
                correction: or_usual(profile.correction_days, 10),
                review: or_usual(profile.review_days, 2),
                amber: or_usual(profile.amber_days, 2),
                clerk: or_usual(profile.clerk_days, 10),
            },
            // Checked before it is folded: one that cannot be read does not come here.
            calendar: profile.calendar.as_ref().and_then(|found| Calendar::from_wire(found).ok()).unwrap_or_default(),
            four_eyes: profile.four_eyes.iter().cloned().collect(),
            decisions_named: profile.decisions_named,
            tiles_members_only: profile.tiles_members_only,
            // As the calendar.
            schemes: Schemes::from_wire(&profile.subject_schemes).unwrap_or_default(),
            view_lifetime_ms: u64::from(profile.view_lifetime_hours) * 3_600_000,
            clock_skew_ms: u64::from(profile.clock_skew_seconds) * 1000,
            request_validity_ms: u64::from(profile.request_validity_seconds) * 1000,
            witnesses_required: profile.witnesses_required as usize,
            service_reviews: profile.service_reviews(),
            withdrawal_notice_ms: u64::from(notice_seconds) * 1000,
        }
    }
}

/// The exchange's founding: what everything else is checked against.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Founding {
    /// The exchange's name in Chinese.
    pub name: String,
    /// When it was founded, Unix milliseconds.
    pub stated_at_ms: u64,
    /// The directory log's key.
    pub log_key: PublicKey,
}

/// A department.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Department {
    /// As admitted.
    pub admitted: Kept<wire::DepartmentAdmitted>,
    /// Why it is suspended, where it is.
    pub suspended: Option<String>,
    /// Its later names, in the order in which they were stated.
    pub renamed: Vec<Kept<wire::DepartmentRenamed>>,
    /// Its end, where it has ended or will.
    pub closed: Option<Closed>,
}

impl Department {
    /// As admitted.
    pub fn new(admitted: wire::DepartmentAdmitted) -> Self {
        Self { admitted: admitted.into(), suspended: None, renamed: Vec::new(), closed: None }
    }

    /// Its name at a time, Unix milliseconds: names are dated, and what is old shows the old one.
    pub fn name_at(&self, at_ms: u64) -> wire::LocalName {
        let latest = self.dated(at_ms, |_| true).and_then(|renamed| renamed.name.clone());
        latest.or_else(|| self.admitted.name.clone()).unwrap_or_default()
    }

    /// Its unified social credit code at a time, Unix milliseconds.
    pub fn uscc_at(&self, at_ms: u64) -> &str {
        self.dated(at_ms, |renamed| !renamed.uscc.is_empty()).map_or(&self.admitted.uscc, |renamed| &renamed.uscc)
    }

    /// Its end, where it has ended at that time.
    pub fn closed_at(&self, at_ms: u64) -> Option<&Closed> {
        self.closed.as_ref().filter(|closed| closed.from_ms <= at_ms)
    }

    /// Whether its keys sign no more statements made at that time. Where it had ended when that was stated, none at all:
    /// the time in a statement is its maker's word.
    pub(super) fn may_not_speak(&self, at_ms: u64) -> bool {
        self.closed.as_ref().is_some_and(|closed| closed.at_once || closed.from_ms <= at_ms)
    }

    fn dated(&self, at_ms: u64, fits: impl Fn(&wire::DepartmentRenamed) -> bool) -> Option<&wire::DepartmentRenamed> {
        // Of several for the same moment the one stated last counts.
        self.renamed
            .iter()
            .map(|renamed| &**renamed)
            .filter(|renamed| renamed.from_ms <= at_ms && fits(renamed))
            .max_by_key(|renamed| renamed.from_ms)
    }
}

/// A department's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// From when, Unix milliseconds.
    pub from_ms: u64,
    /// Whether it had begun when it was stated.
    pub at_once: bool,
    /// Who succeeds it.
    pub successors: Vec<String>,
    /// Why.
    pub reason: String,
}

/// A key with its owner and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownKey {
    /// The key.
    pub described: DescribedKey,
    /// The department it belongs to; `None` for the authority's and the log's.
    pub department: Option<DepartmentId>,
    /// For a node key, its node.
    pub node: Option<NodeId>,
    /// The index of the statement that added it.
    pub added_at: u64,
    /// Its revocation, where it was revoked.
    pub revoked: Option<Revocation>,
}

impl KnownKey {
    /// Whether what the key signed at `at_ms` counts; or why it does not.
    ///
    /// `anchored` is the index of a directory statement that the signed message was anchored by, where there is one: a
    /// revocation is retroactive for nothing that was anchored before it, and for everything that was not.
    pub fn counts(&self, at_ms: u64, anchored: Option<u64>) -> Result<(), Code> {
        if self.revoked.as_ref().is_some_and(|revocation| !revocation.spares(anchored)) {
            return Err(Code::KeyRevoked);
        }
        if at_ms < self.described.valid_from_ms {
            return Err(Code::KeyNotYetValid);
        }
        if self.described.valid_until_ms.is_some_and(|until_ms| at_ms >= until_ms) {
            return Err(Code::KeyExpired);
        }
        Ok(())
    }
}

impl Revocation {
    /// Whether it leaves alone what was anchored by the directory statement `anchored`: only what stood there before.
    pub fn spares(&self, anchored: Option<u64>) -> bool {
        match (anchored, self.index) {
            (Some(anchored), Some(revoked)) => anchored < revoked,
            // The directory has yet to bring the revocation, so whatever it anchored came before.
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

/// A key of the authority or of the directory's log, and from where on it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// The index of the statement that brought it: it is in force for every later one.
    pub from_index: u64,
    /// When that statement was made, Unix milliseconds.
    pub since_ms: u64,
    /// The key.
    pub key: PublicKey,
}

/// A key's revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When it was stated, Unix milliseconds.
    pub stated_at_ms: u64,
    /// Why.
    pub reason: String,
    /// Its place in the directory; `None` where it came directly and the directory has yet to bring it.
    pub index: Option<u64>,
}

/// A node: where it answers, and by which TLS key it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its department.
    pub department: DepartmentId,
    /// Its id.
    pub node: NodeId,
    /// Where it answers, `host:port`; empty for a node that can only dial out.
    pub addresses: Vec<String>,
    /// Relays at which it can be called, `host:port`.
    pub relays: Vec<String>,
    /// Whether it takes no new questions.
    pub draining: bool,
    /// SHA-256 of the DER SubjectPublicKeyInfo of its TLS key.
    pub tls_key: [u8; 32],
    /// The next one, while the TLS key is renewed.
    pub next_tls_key: Option<[u8; 32]>,
    /// When the statement was made that first named the TLS key as this node's, Unix milliseconds.
    pub tls_key_since_ms: u64,
}

impl Node {
    /// The TLS keys by which it is known now: one, or two while it is renewed.
    pub fn tls_keys(&self) -> impl Iterator<Item = &[u8; 32]> {
        [&self.tls_key].into_iter().chain(&self.next_tls_key)
    }
}

/// Whether a grant holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessState {
    /// Applied for, not decided.
    Applied,
    /// Granted.
    Granted,
    /// Refused.
    Refused {
        /// The stable reason code.
        code: String,
        /// Why, in words.
        reason: String,
    },
    /// Returned to the applicant.
    Returned {
        /// Everything that is missing.
        missing: Vec<String>,
    },
    /// Revoked.
    Revoked {
        /// Why.
        reason: String,
    },
    /// Suspended.
    Suspended {
        /// Why.
        reason: String,
    },
}

/// An application and the grant it became.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Access {
    /// As applied for, signed by the consumer.
    pub applied: Kept<wire::AccessApplied>,
    /// When it was applied for, Unix milliseconds: the time to reply begins.
    pub applied_ms: u64,
    /// By how much the provider extended the time to reply, where it did.
    pub extended: Option<Extension>,
    /// As granted, signed by the provider.
    pub granted: Option<Kept<wire::AccessGranted>>,
    /// When it was granted, Unix milliseconds; 0 where it is not. The time to supply begins.
    pub granted_ms: u64,
    /// Who made the provider's last decision about it, where that was said.
    pub decision: Option<Kept<wire::OfficialDecision>>,
    /// Digest of the granting statement.
    pub grant_statement: Option<Digest>,
    /// Whether it holds.
    pub state: AccessState,
}

impl Access {
    /// How many working days the provider has to reply.
    pub fn reply_days(&self, profile: &Profile) -> u32 {
        let extension = self.extended.as_ref().map_or(0, |extended| extended.working_days);
        profile.clocks.reply_conditional.saturating_add(extension)
    }

    /// How the time to reply stands; `None` once the provider has replied.
    pub fn reply(&self, profile: &Profile, now_ms: u64) -> Option<Limit> {
        (self.state == AccessState::Applied).then(|| profile.limit(self.applied_ms, self.reply_days(profile), now_ms))
    }
}

/// An extension of the time to reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// By how many working days.
    pub working_days: u32,
    /// The provider's notice.
    pub notice: String,
}

/// One version of a public service item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemVersion {
    /// The version, counted from 1.
    pub version: u32,
    /// From when it holds, Unix milliseconds; until the next one does.
    pub effective_from_ms: u64,
    /// Digest of the statement that published it.
    pub statement: Digest,
    /// The item.
    pub published: Kept<wire::ItemPublished>,
}

/// A statement's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its index in the directory.
    pub index: u64,
    /// Its identity.
    pub digest: Digest,
}

/// The registry's second log as the directory last took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenAnchors {
    /// Its number: 1, or higher where earlier ones lost entries.
    pub log: u32,
    /// How many checkpoints it held.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// The statement's place.
    pub place: Place,
    /// When it was stated, Unix milliseconds.
    pub stated_at_ms: u64,
}

/// An evidence log that was closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedLog {
    /// How many entries are kept.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// How many entries it had at least, as its peers saw.
    pub highest_seen: u64,
    /// Why it was closed.
    pub reason: String,
    /// The statement's place.
    pub place: Place,
    /// When it was stated, Unix milliseconds.
    pub stated_at_ms: u64,
}
