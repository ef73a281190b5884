//! Witnesses: nodes that cosign the directory's checkpoints (C2SP `tlog-cosignature`, version 1) with their node keys.
//! A cosignature says: as of this time, this is the largest directory I saw, and all I saw before is in it.
//!
//! The name under which a node cosigns is `<exchange>/<department>/<node>`, its key the node key that the directory names.
//! Where the authority's profile requires `n` witnesses, a view is as old as the `n`-th newest word of different
//! departments' witnesses: a registry that tells two stories needs `n` departments for each of them.
//!
//! Out of scope: when a node cosigns, and where cosignatures are kept and served.

use crate::{
    directory::Directory,
    ids::{DepartmentId, ExchangeId, NodeId},
    key::{KeyId, PublicKey},
    log::note::{
        SignedNote,
        key::{self, Algorithm, KeyName, NoteKey},
    },
};

/// The most witnesses that a profile can require.
pub const MOST_WITNESSES_REQUIRED: u32 = 16;

/// The most departments whose cosignatures are served with a checkpoint, one of each: twice what can be required.
pub const MOST_COSIGNATURES: usize = 32;

/// From so many departments on two witnesses are recommended.
pub const DEPARTMENTS_FOR_WITNESSES: usize = 5;

/// The key under which a node cosigns.
///
/// # Errors
///
/// Never for a name and a key that the directory knows.
pub fn note_key(
    exchange: &ExchangeId,
    department: &DepartmentId,
    node: &NodeId,
    key: &PublicKey,
) -> Result<NoteKey, key::Error> {
    NoteKey::new(format!("{exchange}/{department}/{node}").parse()?, Algorithm::CosignatureV1, key.as_bytes())
}

/// A cosignature that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// The witness's department.
    pub department: DepartmentId,
    /// Its node.
    pub node: NodeId,
    /// Its key.
    pub key_id: KeyId,
    /// When it cosigned, in seconds after 1970.
    pub time_seconds: u64,
}

/// The cosignatures of a note by nodes of the directory: of each node one, and only those whose key counted at the time
/// they bear. All other signatures are passed over, as are those from later than `latest_seconds`.
pub fn cosignatures(directory: &Directory, note: &SignedNote, latest_seconds: u64) -> Vec<Cosigned> {
    let names = note.signatures().iter().map(|signature| signature.name());
    let witnesses = names.filter_map(|name| parse_name(directory.exchange(), name));
    let found = witnesses.filter_map(|(department, node)| {
        let keys = directory.node_keys(&department, &node).iter();
        let mut cosigned = keys.filter_map(|key_id| {
            let time_seconds = verify(directory, note, &department, &node, key_id, latest_seconds)?;
            Some(Cosigned { department: department.clone(), node: node.clone(), key_id: *key_id, time_seconds })
        });
        cosigned.next()
    });
    let mut cosigned: Vec<Cosigned> = Vec::new();
    for one in found {
        if !cosigned.iter().any(|other| (&other.department, &other.node) == (&one.department, &one.node)) {
            cosigned.push(one);
        }
    }
    cosigned
}

/// Whether a key still counts as a witness's: revoked keys and suspended departments do not.
pub fn counts(directory: &Directory, cosigned: &Cosigned) -> bool {
    let at_ms = cosigned.time_seconds.saturating_mul(1000);
    directory.node_key(&cosigned.department, &cosigned.key_id, at_ms).is_ok()
        && directory.department(&cosigned.department).is_some_and(|department| department.suspended.is_none())
}

/// The `required`-th newest of the times, which are one of each department: what at least so many vouch for.
pub fn vouched_seconds(times: impl IntoIterator<Item = u64>, required: usize) -> Option<u64> {
    let mut times: Vec<u64> = times.into_iter().collect();
    times.sort_unstable_by(|one, other| other.cmp(one));
    times.get(required.checked_sub(1)?).copied()
}

fn parse_name(exchange: &ExchangeId, name: &KeyName) -> Option<(DepartmentId, NodeId)> {
    let mut parts = name.as_str().split('/');
    let (first, department, node) = (parts.next()?, parts.next()?, parts.next()?);
    if first != exchange.as_str() || parts.next().is_some() {
        return None;
    }
    Some((department.parse().ok()?, node.parse().ok()?))
}

fn verify(
    directory: &Directory,
    note: &SignedNote,
    department: &DepartmentId,
    node: &NodeId,
    key_id: &KeyId,
    latest_seconds: u64,
) -> Option<u64> {
    let known = directory.key(key_id)?;
    let key = note_key(directory.exchange(), department, node, &known.described.key).ok()?;
    let time_seconds = crate::log::cosignature::verify_cosignature(note, &key).ok()?;
    let cosigned = Cosigned { department: department.clone(), node: node.clone(), key_id: *key_id, time_seconds };
    (time_seconds <= latest_seconds && counts(directory, &cosigned)).then_some(time_seconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::registry::v1::{self as wire, statement::Body};

    use super::*;
    use crate::{
        fixture::{Fixture, NOW_MS, exchange_id, key},
        key::Signer,
        log::{checkpoint::Checkpoint, cosignature::cosign},
    };

    const NOW_SECONDS: u64 = NOW_MS / 1000;

    fn cosigned_by(note: &mut SignedNote, department: &str, signer: &str, time_seconds: u64) {
        let signer = key(signer);
        let (department, node) = (department.parse().unwrap(), "1".parse().unwrap());
        let key = note_key(&exchange_id(), &department, &node, signer.public_key()).unwrap();
        let cosignature = cosign(note.text(), &key, time_seconds, |message| signer.sign(message)).unwrap();
        note.add_signature(cosignature).unwrap();
    }

    fn note(fixture: &Fixture) -> SignedNote {
        let origin = crate::directory::origin(&exchange_id()).parse().unwrap();
        let checkpoint = Checkpoint::new(&origin, fixture.directory.size(), fixture.directory.root()).unwrap();
        SignedNote::new(checkpoint.to_text()).unwrap()
    }

    #[test]
    fn only_node_keys_of_the_directory_cosign() {
        let fixture = Fixture::town();
        let mut note = note(&fixture);
        cosigned_by(&mut note, "housing", "housing node 1", NOW_SECONDS);
        // A department's key, another department's node, and one that nobody knows.
        cosigned_by(&mut note, "housing", "housing", NOW_SECONDS);
        cosigned_by(&mut note, "civil-affairs", "housing node 1", NOW_SECONDS);
        cosigned_by(&mut note, "health", "health node 1", NOW_SECONDS);
        let found = cosignatures(&fixture.directory, &note, NOW_SECONDS);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].department.as_str(), found[0].time_seconds), ("housing", NOW_SECONDS));
        assert!(cosignatures(&fixture.directory, &note, NOW_SECONDS - 1).is_empty(), "not from the future");
    }

    #[test]
    fn a_cosignature_of_another_text_or_a_revoked_key_does_not_count() {
        let mut fixture = Fixture::town();
        let mut told = note(&fixture);
        cosigned_by(&mut told, "housing", "housing node 1", NOW_SECONDS);
        let mut other = Fixture::town();
        other.admit("health");
        let mut altered = note(&other);
        altered.add_signature(told.signatures()[0].clone()).unwrap();
        assert!(cosignatures(&fixture.directory, &altered, NOW_SECONDS).is_empty());

        let found = cosignatures(&fixture.directory, &told, NOW_SECONDS);
        assert!(counts(&fixture.directory, &found[0]));
        let body = Body::KeyRevoked(wire::KeyRevoked {
            department: "housing".into(),
            key_id: found[0].key_id.to_string(),
            reason: "遗失".into(),
        });
        fixture.say("housing", body, &format!("key/{}", found[0].key_id));
        assert!(!counts(&fixture.directory, &found[0]));
        assert!(cosignatures(&fixture.directory, &told, NOW_SECONDS).is_empty());
    }

    #[test]
    fn a_suspended_department_is_no_witness() {
        let mut fixture = Fixture::town();
        let mut told = note(&fixture);
        cosigned_by(&mut told, "housing", "housing node 1", NOW_SECONDS);
        let body =
            Body::DepartmentSuspended(wire::DepartmentSuspended { department: "housing".into(), reason: "x".into() });
        fixture.say("authority", body, "department/housing");
        assert!(cosignatures(&fixture.directory, &told, NOW_SECONDS).is_empty());
    }

    proptest! {
        /// Whoever lies needs `required` departments: with fewer new times the age does not move.
        #[test]
        fn fewer_witnesses_than_required_cannot_make_a_view_younger(
            old in prop::collection::vec(0_u64..1_000, 1..20),
            new in prop::collection::vec(1_000_u64..2_000, 0..20),
            required in 1_usize..17,
        ) {
            let before = vouched_seconds(old.iter().copied(), required);
            let renewed: Vec<u64> = old.iter().enumerate().map(|(place, time)| *new.get(place).unwrap_or(time)).collect();
            let after = vouched_seconds(renewed.iter().copied(), required);
            prop_assert_eq!(before.is_some(), old.len() >= required);
            if new.len().min(old.len()) < required {
                prop_assert!(after.unwrap_or(0) < 1_000);
            } else {
                prop_assert!(after.unwrap_or(0) >= 1_000);
            }
        }

        /// Two stories with separate witnesses: both are young only where there are departments enough for both.
        #[test]
        fn two_stories_need_twice_the_witnesses(departments in 1_usize..40, on_one_side in 0_usize..40, required in 1_usize..17) {
            let on_one_side = on_one_side.min(departments);
            let fresh = |count: usize| vouched_seconds(std::iter::repeat_n(1, count), required).is_some();
            let both = fresh(on_one_side) && fresh(departments - on_one_side);
            prop_assert!(!both || departments >= 2 * required);
        }
    }
}
