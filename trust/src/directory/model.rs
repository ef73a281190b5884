//! What the directory knows: departments, keys, nodes, services, access and items, as the statements left them. Plain
//! data; how it comes about is in `rules` and `fold`.

use proto::registry::v1 as wire;

use crate::{
    ids::{DepartmentId, Digest, NodeId},
    key::{DescribedKey, PublicKey},
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
}

impl Profile {
    /// The settings for an authority that does not say otherwise: 240 hours, 60 seconds, 5 minutes.
    pub fn usual() -> wire::Profile {
        wire::Profile {
            view_lifetime_hours: 240,
            clock_skew_seconds: 60,
            request_validity_seconds: 300,
            witnesses_required: 0,
            evidence_retention_days: 1096,
        }
    }

    pub(super) fn from_wire(profile: &wire::Profile) -> Self {
        Self {
            view_lifetime_ms: u64::from(profile.view_lifetime_hours) * 3_600_000,
            clock_skew_ms: u64::from(profile.clock_skew_seconds) * 1000,
            request_validity_ms: u64::from(profile.request_validity_seconds) * 1000,
        }
    }
}

/// The exchange's founding: what everything else is checked against.
#[derive(Clone, Debug)]
pub struct Founding {
    /// The exchange's name in Chinese.
    pub name: String,
    /// When it was founded, Unix milliseconds.
    pub stated_at_ms: u64,
    /// The directory log's key.
    pub log_key: PublicKey,
    /// The authority's settings.
    pub profile: Profile,
}

/// A department.
#[derive(Clone, Debug)]
pub struct Department {
    /// As admitted.
    pub admitted: wire::DepartmentAdmitted,
    /// Why it is suspended, where it is.
    pub suspended: Option<String>,
    /// Its later names, in the order in which they were stated.
    pub renamed: Vec<wire::DepartmentRenamed>,
    /// Its end, where it has ended or will.
    pub closed: Option<Closed>,
}

impl Department {
    /// As admitted.
    pub fn new(admitted: wire::DepartmentAdmitted) -> Self {
        Self { admitted, suspended: None, renamed: Vec::new(), closed: None }
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
            .filter(|renamed| renamed.from_ms <= at_ms && fits(renamed))
            .max_by_key(|renamed| renamed.from_ms)
    }
}

/// A department's end.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug)]
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

/// A key's revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When it was stated, Unix milliseconds.
    pub stated_at_ms: u64,
    /// Why.
    pub reason: String,
    /// Its place in the directory; `None` where it came directly and the directory has yet to bring it.
    pub index: Option<u64>,
}

/// A node: where it answers, and by which TLS key it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// Whether a grant holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessState {
    /// Applied for, not decided.
    Applied,
    /// Granted.
    Granted,
    /// Refused.
    Refused {
        /// Why.
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
#[derive(Clone, Debug)]
pub struct Access {
    /// As applied for, signed by the consumer.
    pub applied: wire::AccessApplied,
    /// As granted, signed by the provider.
    pub granted: Option<wire::AccessGranted>,
    /// Digest of the granting statement.
    pub grant_statement: Option<Digest>,
    /// Whether it holds.
    pub state: AccessState,
}

/// A statement's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its index in the directory.
    pub index: u64,
    /// Its identity.
    pub digest: Digest,
}
