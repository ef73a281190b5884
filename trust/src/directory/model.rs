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
    /// Where it answers, `host:port`.
    pub addresses: Vec<String>,
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
