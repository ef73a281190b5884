//! How what a directory knows lies in memory: keys in the order of their bytes, values without what stands in their keys, and
//! a grant without what stands in its application. Out of scope: the map (`map`), and what it all means (`model`).

use proto::registry::v1 as wire;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    AccessKey,
    kept::Kept,
    map::{Key, Packed},
    model::{Access, AccessState, Department, Extension, ItemVersion, KnownKey, Node},
};
use crate::{
    ids::{AccessId, DepartmentId, Digest, NodeId, ServiceId},
    key::KeyId,
    service::{Proposal, Review, Service, ServiceState},
};

/// Between the names in a key: below every character that a name may have, so that bytes sort as names do.
const BETWEEN: u8 = 0;

fn names<const N: usize>(names: [&str; N], out: &mut Vec<u8>) {
    for (number, name) in names.into_iter().enumerate() {
        if number > 0 {
            out.push(BETWEEN);
        }
        out.extend_from_slice(name.as_bytes());
    }
}

/// The names of a key; the last may have anything in it.
fn split<const N: usize>(bytes: &[u8]) -> Option<[&str; N]> {
    let mut names = std::str::from_utf8(bytes).ok()?.splitn(N, char::from(BETWEEN));
    let mut found = [""; N];
    for name in &mut found {
        *name = names.next()?;
    }
    Some(found)
}

impl Key for DepartmentId {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_str().as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }
}

impl Key for (DepartmentId, NodeId) {
    fn write(&self, out: &mut Vec<u8>) {
        names([self.0.as_str(), self.1.as_str()], out);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let [department, node] = split(bytes)?;
        Some((department.parse().ok()?, node.parse().ok()?))
    }
}

impl Key for (DepartmentId, String) {
    fn write(&self, out: &mut Vec<u8>) {
        names([self.0.as_str(), &self.1], out);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let [department, item] = split(bytes)?;
        Some((department.parse().ok()?, item.to_owned()))
    }
}

impl Key for AccessKey {
    fn write(&self, out: &mut Vec<u8>) {
        names([self.provider.as_str(), self.consumer.as_str(), self.id.as_str()], out);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let [provider, consumer, id] = split(bytes)?;
        Some(Self { provider: provider.parse().ok()?, consumer: consumer.parse().ok()?, id: id.parse().ok()? })
    }
}

/// An application, named from the side of whoever applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    pub(super) consumer: DepartmentId,
    pub(super) provider: DepartmentId,
    pub(super) id: AccessId,
}

impl Held {
    pub(super) fn of(key: &AccessKey) -> Self {
        let AccessKey { provider, consumer, id } = key.clone();
        Self { consumer, provider, id }
    }

    pub(super) fn key(self) -> AccessKey {
        AccessKey { provider: self.provider, consumer: self.consumer, id: self.id }
    }
}

impl Key for Held {
    fn write(&self, out: &mut Vec<u8>) {
        names([self.consumer.as_str(), self.provider.as_str(), self.id.as_str()], out);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let [consumer, provider, id] = split(bytes)?;
        Some(Self { consumer: consumer.parse().ok()?, provider: provider.parse().ok()?, id: id.parse().ok()? })
    }
}

/// The name says it all.
macro_rules! name_alone {
    ($key:ty) => {
        impl Packed<$key> for () {
            fn pack(&self, _: &$key, _: &mut Vec<u8>) {}

            fn unpack(_: &$key, bytes: &[u8]) -> Option<Self> {
                bytes.is_empty().then_some(())
            }
        }
    };
}

name_alone!(Held);
name_alone!(ServiceId);

impl Key for ServiceId {
    fn write(&self, out: &mut Vec<u8>) {
        names([self.department.as_str(), self.service.as_str()], out);
        out.push(BETWEEN);
        out.extend_from_slice(&self.major.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (names, major) = bytes.split_last_chunk::<4>()?;
        let [department, service] = split(names.strip_suffix(&[BETWEEN])?)?;
        let major = u32::from_be_bytes(*major);
        Some(Self { department: department.parse().ok()?, service: service.parse().ok()?, major })
    }
}

impl Key for KeyId {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_bytes)
    }
}

/// The digest of a TLS key.
impl Key for [u8; 32] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

/// A value as postcard writes it. What was made here can be written, and read again: a value that could not would be as if
/// it were not there, which gives nobody anything.
fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    match postcard::to_extend(value, std::mem::take(out)) {
        Ok(written) => *out = written,
        Err(error) => debug_assert!(false, "{error}"),
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let read = postcard::from_bytes(bytes);
    debug_assert!(read.is_ok(), "what was packed here cannot be read");
    read.ok()
}

macro_rules! as_it_is {
    ($key:ty, $value:ty, $most:literal) => {
        impl Packed<$key> for $value {
            const MOST_READ: u32 = $most;

            fn pack(&self, _: &$key, out: &mut Vec<u8>) {
                write(self, out);
            }

            fn unpack(_: &$key, bytes: &[u8]) -> Option<Self> {
                postcard::from_bytes(bytes).ok()
            }
        }
    };
}

as_it_is!(DepartmentId, Department, 4096);
// With the point that was computed for those that verified something, which costs more than reading it.
as_it_is!(KeyId, KnownKey, 8192);
as_it_is!((DepartmentId, NodeId), Vec<KeyId>, 4096);
as_it_is!(DepartmentId, Vec<KeyId>, 4096);
as_it_is!([u8; 32], (DepartmentId, NodeId), 4096);
as_it_is!((DepartmentId, String), Vec<ItemVersion>, 1024);

/// A node as it is packed: without its names.
#[derive(Serialize, Deserialize)]
struct PackedNode {
    addresses: Vec<String>,
    relays: Vec<String>,
    draining: bool,
    tls_key: [u8; 32],
    next_tls_key: Option<[u8; 32]>,
    tls_key_since_ms: u64,
}

impl Packed<(DepartmentId, NodeId)> for Node {
    fn pack(&self, _: &(DepartmentId, NodeId), out: &mut Vec<u8>) {
        // Every field is named, so that the compiler asks for a new one.
        let Self { department: _, node: _, addresses, relays, draining, tls_key, next_tls_key, tls_key_since_ms } =
            self.clone();
        write(&PackedNode { addresses, relays, draining, tls_key, next_tls_key, tls_key_since_ms }, out);
    }

    fn unpack((department, node): &(DepartmentId, NodeId), bytes: &[u8]) -> Option<Self> {
        let PackedNode { addresses, relays, draining, tls_key, next_tls_key, tls_key_since_ms } = read(bytes)?;
        let (department, node) = (department.clone(), node.clone());
        Some(Self { department, node, addresses, relays, draining, tls_key, next_tls_key, tls_key_since_ms })
    }
}

/// A service as it is packed: its rules follow from what was published.
#[derive(Serialize, Deserialize)]
struct PackedService {
    published: Kept<wire::ServicePublished>,
    state: ServiceState,
    statement: Digest,
    review: Review,
    proposed: Option<PackedProposal>,
}

/// A change of a service that waits for its review.
#[derive(Serialize, Deserialize)]
struct PackedProposal {
    published: Kept<wire::ServicePublished>,
    statement: Digest,
    review: Review,
}

impl Packed<ServiceId> for Service {
    const MOST_READ: u32 = 1024;

    fn pack(&self, _: &ServiceId, out: &mut Vec<u8>) {
        // As with nodes; the unnamed follow from what was published.
        let Self {
            published,
            state,
            statement,
            review,
            proposed,
            id: _,
            attributes: _,
            inputs: _,
            schemes: _,
            sharing: _,
        } = self;
        let proposed = proposed.as_ref().map(|Proposal { published, statement, review }| PackedProposal {
            published: Kept::new(published),
            statement: *statement,
            review: review.clone(),
        });
        let (published, state, review) = (Kept::new(published), state.clone(), review.clone());
        write(&PackedService { published, state, statement: *statement, review, proposed }, out);
    }

    fn unpack(_: &ServiceId, bytes: &[u8]) -> Option<Self> {
        let PackedService { published, state, statement, review, proposed } = read(bytes)?;
        let service = Self::check(&published.read(), statement).ok()?;
        let proposed = proposed.map(|PackedProposal { published, statement, review }| Proposal {
            published: published.read(),
            statement,
            review,
        });
        Some(Self { state, review, proposed, ..service })
    }
}

/// An application and its grant as they are packed: without their names, and the grant without what it has in common with
/// the application.
#[derive(Serialize, Deserialize)]
struct PackedAccess {
    applied: Kept<wire::AccessApplied>,
    applied_ms: u64,
    extended: Option<Extension>,
    granted: Option<PackedGrant>,
    granted_ms: u64,
    decision: Option<Kept<wire::OfficialDecision>>,
    grant_statement: Option<Digest>,
    state: AccessState,
}

#[derive(Serialize, Deserialize)]
struct PackedGrant {
    /// One bit for each field that is as in the application, in the order of [`each_common_field`].
    common: u8,
    granted: Kept<wire::AccessGranted>,
}

/// Calls a macro with the fields that an application and its grant have in common, and a number for each.
macro_rules! each_common_field {
    ($each:ident) => {
        $each!(0, service);
        $each!(1, major_version);
        $each!(2, scope);
        $each!(3, item);
        $each!(4, scenario);
        $each!(5, legal_bases);
        $each!(6, system);
        $each!(7, valid_until_ms);
    };
}

fn pack_grant(granted: &wire::AccessGranted, applied: &wire::AccessApplied) -> PackedGrant {
    let (mut granted, mut common) = (granted.clone(), 0);
    (granted.provider, granted.consumer, granted.id) = Default::default();
    macro_rules! leave_out {
        ($bit:literal, $field:ident) => {
            if granted.$field == applied.$field {
                common |= 1 << $bit;
                granted.$field = Default::default();
            }
        };
    }
    each_common_field!(leave_out);
    PackedGrant { common, granted: granted.into() }
}

fn unpack_grant(PackedGrant { common, granted }: &PackedGrant, applied: &wire::AccessApplied) -> wire::AccessGranted {
    let mut granted = granted.read();
    (granted.provider, granted.consumer, granted.id) =
        (applied.provider.clone(), applied.consumer.clone(), applied.id.clone());
    macro_rules! put_back {
        ($bit:literal, $field:ident) => {
            if common & (1 << $bit) != 0 {
                granted.$field = applied.$field.clone();
            }
        };
    }
    each_common_field!(put_back);
    granted
}

impl Packed<AccessKey> for Access {
    fn pack(&self, _: &AccessKey, out: &mut Vec<u8>) {
        let Self { applied, applied_ms, extended, granted, granted_ms, decision, grant_statement, state } = self;
        let mut applied = applied.read();
        let granted = granted.as_ref().map(|granted| pack_grant(&granted.read(), &applied));
        (applied.provider, applied.consumer, applied.id) = Default::default();
        let packed = PackedAccess {
            applied: applied.into(),
            applied_ms: *applied_ms,
            extended: extended.clone(),
            granted,
            granted_ms: *granted_ms,
            decision: decision.clone(),
            grant_statement: *grant_statement,
            state: state.clone(),
        };
        write(&packed, out);
    }

    fn unpack(key: &AccessKey, bytes: &[u8]) -> Option<Self> {
        let PackedAccess { applied, applied_ms, extended, granted, granted_ms, decision, grant_statement, state } =
            read(bytes)?;
        let mut applied = applied.read();
        (applied.provider, applied.consumer, applied.id) =
            (key.provider.to_string(), key.consumer.to_string(), key.id.to_string());
        let granted = granted.map(|granted| Kept::from(unpack_grant(&granted, &applied)));
        let applied = Kept::from(applied);
        Some(Self { applied, applied_ms, extended, granted, granted_ms, decision, grant_statement, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    fn again<K: Key, V: Packed<K>>(key: &K, value: &V) -> (K, V) {
        let (mut name, mut bytes) = (Vec::new(), Vec::new());
        key.write(&mut name);
        value.pack(key, &mut bytes);
        let key = K::read(&name).unwrap();
        let value = V::unpack(&key, &bytes).unwrap();
        (key, value)
    }

    #[test]
    fn what_was_packed_reads_the_same() {
        let directory = Fixture::town().directory;
        for (key, access) in directory.all_access() {
            let (read_key, read) = again(key, access);
            assert_eq!((format!("{read:?}"), &read_key), (format!("{access:?}"), key));
            assert!(read.granted.is_some() && read.applied == access.applied && read.granted == access.granted);
            let mut other = access.clone();
            // A grant that has nothing in common with its application but the names.
            let granted = wire::AccessGranted {
                provider: key.provider.to_string(),
                consumer: key.consumer.to_string(),
                id: key.id.to_string(),
                service: "another".into(),
                major_version: 7,
                item: "另一事项".into(),
                valid_until_ms: 9,
                ..Default::default()
            };
            other.granted = Some(granted.into());
            assert_eq!(format!("{:?}", again(key, &other).1), format!("{other:?}"));
        }
        assert!(directory.all_access().count() > 0);
        for node in directory.nodes() {
            assert_eq!(again(&(node.department.clone(), node.node.clone()), node).1, *node);
        }
        for (id, key) in directory.keys() {
            assert_eq!(format!("{:?}", again(id, key).1), format!("{key:?}"));
        }
    }

    #[test]
    fn keys_sort_as_their_bytes() {
        let department = |name: &str| name.parse::<DepartmentId>().unwrap();
        let ids: Vec<(DepartmentId, NodeId)> =
            [("a", "z"), ("a-b", "a"), ("a0", "1"), ("ab", "1"), ("ab", "1-a"), ("ab", "10"), ("b", "1")]
                .map(|(owner, node)| (department(owner), node.parse().unwrap()))
                .to_vec();
        let services: Vec<ServiceId> =
            [("a", "x", 300), ("a", "x-y", 1), ("ab", "x", 1), ("ab", "x", 256), ("b", "a", 0)]
                .map(|(owner, service, major)| ServiceId {
                    department: department(owner),
                    service: service.parse().unwrap(),
                    major,
                })
                .to_vec();
        fn sorted<K: Key + std::fmt::Debug>(keys: &[K]) {
            let mut bytes: Vec<(Vec<u8>, K)> = keys
                .iter()
                .map(|key| {
                    let mut out = Vec::new();
                    key.write(&mut out);
                    (out, key.clone())
                })
                .collect();
            bytes.sort();
            let mut keys = keys.to_vec();
            keys.sort();
            assert_eq!(bytes.iter().map(|(_, key)| key.clone()).collect::<Vec<_>>(), keys);
            assert!(bytes.iter().all(|(bytes, key)| K::read(bytes).as_ref() == Some(key)));
        }
        sorted(&ids);
        sorted(&services);
    }
}
