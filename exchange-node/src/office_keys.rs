//! How the department's own office systems sign in: by an API key, or by a client certificate. Of an API key only a hash is
//! kept; the key itself is shown once. It is 32 random bytes, so a plain SHA-256 is enough: there is nothing to guess. A key
//! may end, and may be limited to services and items. Out of scope: what the department may ask, which grants decide.

use std::path::Path;

use data_encoding::HEXLOWER;
use host::{
    random::{self, Random},
    tls::{PeerPolicy, TlsKeyDigest},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::private_list::{self, PrivateList};

/// The file's name in the node's folder.
pub const FILE_NAME: &str = "office-keys.toml";

/// Why office keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It would never count.
    #[error("a key that has ended already is of no use: choose a later end")]
    AlreadyOver,
    /// A certificate stands for one system.
    #[error("this certificate's key is on the list already: `office-key list` shows it")]
    CertificateKnown,
    /// There is nothing to make anew.
    #[error("a client certificate is made by its owner: add the new one beside it, and remove this one afterwards")]
    CertificateRotated,
    /// The list of keys cannot be read or written.
    #[error(transparent)]
    List(#[from] private_list::Error),
    /// The name of the system is no name.
    #[error("an office system's name has 1 to 63 lower-case letters, digits and hyphens")]
    NameMalformed,
    /// There is no such key.
    #[error("there is no office key {id}: `office-key list` shows them")]
    Unknown {
        /// The id.
        id: String,
    },
}

/// A key without the key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OfficeKey {
    /// Its id, 8 hex digits.
    pub id: String,
    /// The office system it was made for.
    pub system: String,
    /// SHA-256 of the secret, hex; empty for a client certificate.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    hash: String,
    /// SHA-256 of a client certificate's key, hex; empty for an API key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub certificate_key: String,
    /// When it was made, Unix milliseconds.
    pub added_ms: u64,
    /// When it ends, Unix milliseconds; 0 for no end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expires_at_ms: u64,
    /// What it may be used for.
    #[serde(default, skip_serializing_if = "Limits::is_open")]
    pub limits: Limits,
    /// Whether it is a citizens' portal's: then it opens who asked about a subject, and nothing else.
    #[serde(default)]
    pub portal: bool,
}

/// What a key may be used for. A list that is there and empty covers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The services that may be asked, each `<department>/<service>`, or `<department>` for all of a department's; `None` for
    /// all that the department's grants cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// The public service items that it may be used for; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<String>>,
}

impl Limits {
    /// Whether there are none.
    pub fn is_open(&self) -> bool {
        self.services.is_none() && self.items.is_none()
    }

    /// Whether a case of an item may be handled: it asks whichever services the item names, so a key that is limited to
    /// services handles none.
    pub fn covers_case(&self, item: &str) -> Result<(), &'static str> {
        if self.services.is_some() {
            return Err("item");
        }
        self.covers("", "", item).map_err(|_| "item")
    }

    /// Whether a service may be asked for an item.
    pub fn covers(&self, department: &str, service: &str, item: &str) -> Result<(), &'static str> {
        let is_service = |known: &String| match known.split_once('/') {
            Some((of, name)) => of == department && name == service,
            None => known == department,
        };
        if self.services.as_ref().is_some_and(|services| !services.iter().any(is_service)) {
            return Err("service");
        }
        if self.items.as_ref().is_some_and(|items| !items.iter().any(|known| known == item)) {
            return Err("purpose.item");
        }
        Ok(())
    }
}

/// Who calls at the office port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The office system; empty for an operator.
    pub system: String,
    /// The id of the key that it signed in with; empty for an operator.
    pub key: String,
    /// What it may do.
    pub limits: Limits,
}

impl Caller {
    /// Whether it is an operator at the admin socket.
    pub fn is_operator(&self) -> bool {
        self.system.is_empty()
    }
}

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct NewOfficeKey {
    /// The office system.
    pub system: String,
    /// When it ends, Unix milliseconds; 0 for no end.
    pub expires_at_ms: u64,
    /// What it may be used for.
    pub limits: Limits,
    /// The key of a client certificate; `None` to make an API key.
    pub certificate_key: Option<TlsKeyDigest>,
    /// Whether it is for a citizens' portal: then it opens who asked about a subject, and nothing else.
    pub portal: bool,
}

/// The department's office keys.
#[derive(Debug)]
pub struct OfficeKeys {
    keys: PrivateList<OfficeKey>,
}

impl OfficeKeys {
    /// Reads the keys of the folder `dir`; none where there is no file.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self { keys: PrivateList::open(dir.join(FILE_NAME), "key")? })
    }

    /// Lets an office system in: by an API key, whose text is shown once and kept nowhere, or by the key of its client
    /// certificate.
    pub fn add(
        &self,
        new: NewOfficeKey,
        random: &dyn Random,
        now_ms: u64,
    ) -> Result<(OfficeKey, Option<Zeroizing<String>>), Error> {
        let NewOfficeKey { system, expires_at_ms, limits, certificate_key, portal } = new;
        system.parse::<trust::ids::NodeId>().map_err(|_| Error::NameMalformed)?;
        if expires_at_ms != 0 && expires_at_ms <= now_ms {
            return Err(Error::AlreadyOver);
        }
        let certificate_key = certificate_key.map(|key| key.to_string()).unwrap_or_default();
        self.keys.change(|keys| {
            if keys.iter().any(|key| !certificate_key.is_empty() && key.certificate_key == certificate_key) {
                return Err(Error::CertificateKnown);
            }
            let id = loop {
                let id = HEXLOWER.encode(&random::array::<4>(random));
                if keys.iter().all(|key| key.id != id) {
                    break id;
                }
            };
            let secret = certificate_key.is_empty().then(|| Zeroizing::new(random::array::<32>(random)));
            let hash = secret.as_ref().map(|secret| hash(secret.as_slice())).unwrap_or_default();
            let text = secret.map(|secret| Zeroizing::new(format!("{id}.{}", HEXLOWER.encode(secret.as_slice()))));
            let key = OfficeKey { id, system, hash, certificate_key, added_ms: now_ms, expires_at_ms, limits, portal };
            keys.push(key.clone());
            Ok((key, text))
        })
    }

    /// Makes a new API key of the same system with the same limits. The old one ends at `old_expires_at_ms`, or where it
    /// ended before.
    pub fn rotate(
        &self,
        id: &str,
        old_expires_at_ms: u64,
        expires_at_ms: u64,
        random: &dyn Random,
        now_ms: u64,
    ) -> Result<(OfficeKey, Option<Zeroizing<String>>), Error> {
        let unknown = || Error::Unknown { id: id.to_owned() };
        let old = self.list().into_iter().find(|key| key.id == id).ok_or_else(unknown)?;
        if !old.certificate_key.is_empty() {
            return Err(Error::CertificateRotated);
        }
        let new = NewOfficeKey {
            system: old.system,
            expires_at_ms,
            limits: old.limits,
            certificate_key: None,
            portal: old.portal,
        };
        let made = self.add(new, random, now_ms)?;
        self.keys.change(|keys| {
            for key in keys.iter_mut().filter(|key| key.id == id) {
                let ends = |at_ms: u64| at_ms != 0 && at_ms <= old_expires_at_ms;
                if !ends(key.expires_at_ms) {
                    key.expires_at_ms = old_expires_at_ms;
                }
            }
            Ok::<_, Error>(made)
        })
    }

    /// The keys, in the order in which they were made.
    pub fn list(&self) -> Vec<OfficeKey> {
        self.keys.all()
    }

    /// Removes a key; it counts no more from now on.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        self.keys.change(|keys| {
            let place = keys.iter().position(|key| key.id == id);
            keys.remove(place.ok_or_else(|| Error::Unknown { id: id.to_owned() })?);
            Ok(())
        })
    }

    /// Which office system presents this API key; none where it is a citizens' portal's.
    pub fn caller(&self, presented: &str, now_ms: u64) -> Option<Caller> {
        self.key_of(presented, now_ms).filter(|key| !key.portal).map(|key| key.caller())
    }

    /// Which citizens' portal presents this API key; none where it is an office system's.
    pub fn portal_of(&self, presented: &str, now_ms: u64) -> Option<String> {
        self.key_of(presented, now_ms).filter(|key| key.portal).map(|key| key.system)
    }

    /// Whether somebody who has signed in may still: his key has neither been removed nor ended.
    pub fn still_counts(&self, caller: &Caller, now_ms: u64) -> bool {
        caller.is_operator() || self.keys.find(|key| key.id == caller.key && key.counts(now_ms)).is_some()
    }

    fn key_of(&self, presented: &str, now_ms: u64) -> Option<OfficeKey> {
        let (id, secret) = presented.split_once('.')?;
        let secret = Zeroizing::new(HEXLOWER.decode(secret.as_bytes()).ok()?);
        let presented = hash(&secret);
        let key = self.keys.find(|key| key.id == id && !key.hash.is_empty())?;
        let fits = bool::from(key.hash.as_bytes().ct_eq(presented.as_bytes()));
        (fits && key.counts(now_ms)).then_some(key)
    }

    /// Who has signed in with a client certificate of this key.
    pub fn caller_by_certificate(&self, certificate_key: &TlsKeyDigest, now_ms: u64) -> Option<Caller> {
        let text = certificate_key.to_string();
        let signed_in = self.keys.find(|key| key.certificate_key == text && key.counts(now_ms) && !key.portal);
        signed_in.map(|key| key.caller())
    }
}

impl OfficeKey {
    /// Whether it has not ended.
    pub fn counts(&self, now_ms: u64) -> bool {
        self.expires_at_ms == 0 || now_ms < self.expires_at_ms
    }

    fn caller(&self) -> Caller {
        Caller { system: self.system.clone(), key: self.id.clone(), limits: self.limits.clone() }
    }
}

/// At the handshake; whether a key has ended is asked with each request.
impl PeerPolicy for OfficeKeys {
    fn accepts(&self, key: &TlsKeyDigest) -> bool {
        let text = key.to_string();
        self.keys.find(|known| known.certificate_key == text).is_some()
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn hash(secret: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use host::random::SeededRandom;

    use super::*;

    fn named(system: &str) -> NewOfficeKey {
        NewOfficeKey { system: system.to_owned(), ..NewOfficeKey::default() }
    }

    fn system_of(keys: &OfficeKeys, presented: &str, now_ms: u64) -> Option<String> {
        keys.caller(presented, now_ms).map(|caller| caller.system)
    }

    #[test]
    fn a_key_opens_until_it_is_removed_and_is_kept_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(1);
        let keys = OfficeKeys::open(dir.path()).unwrap();
        let (housing, text) = keys.add(named("housing-desk"), &random, 5).unwrap();
        let (_, other) = keys.add(named("other"), &random, 6).unwrap();
        let (text, other) = (text.unwrap(), other.unwrap());
        let path = dir.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = text.split_once('.').unwrap().1;
        assert!(!fs::read_to_string(&path).unwrap().contains(secret));

        let keys = OfficeKeys::open(dir.path()).unwrap();
        assert_eq!(system_of(&keys, &text, 7).as_deref(), Some("housing-desk"));
        assert_eq!(system_of(&keys, &other, 7).as_deref(), Some("other"));
        assert_eq!(keys.list().len(), 2);
        let mixed = format!("{}.{}", housing.id, other.split_once('.').unwrap().1);
        let without = format!("{}.", housing.id);
        for wrong in ["", ".", &text[..text.len() - 2], &mixed, &without, &housing.id] {
            assert_eq!(system_of(&keys, wrong, 7), None, "{wrong}");
        }
        keys.remove(&housing.id).unwrap();
        assert_eq!(system_of(&keys, &text, 7), None);
        assert!(matches!(keys.remove(&housing.id), Err(Error::Unknown { .. })));
        assert_eq!(OfficeKeys::open(dir.path()).unwrap().list().len(), 1);
    }

    #[test]
    fn a_key_ends_and_its_successor_has_its_limits() {
        let dir = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(1);
        let keys = OfficeKeys::open(dir.path()).unwrap();
        let limits =
            Limits { services: Some(vec!["civil-affairs/marriage".into(), "tax".into()]), items: Some(vec![]) };
        let new = NewOfficeKey { limits: limits.clone(), expires_at_ms: 1000, ..named("desk") };
        assert!(matches!(keys.add(new.clone(), &random, 1000), Err(Error::AlreadyOver)));
        let (old, text) = keys.add(new, &random, 5).unwrap();
        let text = text.unwrap();
        let (new, next) = keys.rotate(&old.id, 500, 2000, &random, 100).unwrap();
        let keys = OfficeKeys::open(dir.path()).unwrap();
        assert!(keys.caller(&text, 499).is_some() && keys.caller(&text, 500).is_none());
        let caller = keys.caller(&next.unwrap(), 1999).unwrap();
        assert_eq!(caller, Caller { system: "desk".into(), key: new.id.clone(), limits });
        // Who signed in before stays in until then, and no longer.
        assert!(keys.still_counts(&caller, 1999) && !keys.still_counts(&caller, 2000));
        keys.remove(&new.id).unwrap();
        assert!(!keys.still_counts(&caller, 1999) && keys.still_counts(&Caller::default(), 1999));
        assert_eq!(caller.limits.covers("tax", "tax-paid", "x"), Err("purpose.item"));
        assert_eq!(caller.limits.covers("civil-affairs", "death", "x"), Err("service"));
        let open = Limits { items: None, ..caller.limits };
        assert_eq!(open.covers("civil-affairs", "marriage", "x").and(open.covers("tax", "any", "x")), Ok(()));
    }

    #[test]
    fn a_certificate_signs_in_by_its_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        let keys = OfficeKeys::open(dir.path()).unwrap();
        let digest = TlsKeyDigest::from_bytes([7; 32]);
        let new = NewOfficeKey { certificate_key: Some(digest), expires_at_ms: 100, ..named("desk") };
        let (made, text) = keys.add(new.clone(), &SeededRandom::new(1), 5).unwrap();
        assert!(text.is_none() && keys.caller(&format!("{}.", made.id), 6).is_none());
        assert!(matches!(keys.add(new, &SeededRandom::new(2), 5), Err(Error::CertificateKnown)));
        assert!(matches!(keys.rotate(&made.id, 9, 0, &SeededRandom::new(3), 6), Err(Error::CertificateRotated)));
        assert!(keys.accepts(&digest) && !keys.accepts(&TlsKeyDigest::from_bytes([8; 32])));
        assert_eq!(keys.caller_by_certificate(&digest, 99).unwrap().system, "desk");
        assert_eq!(keys.caller_by_certificate(&digest, 100), None);
    }

    #[test]
    fn a_portals_key_opens_what_an_offices_does_not_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(1);
        let keys = OfficeKeys::open(dir.path()).unwrap();
        let (_, office) = keys.add(named("desk"), &random, 5).unwrap();
        let (_, portal) = keys.add(NewOfficeKey { portal: true, ..named("citizens") }, &random, 6).unwrap();
        let (office, portal) = (office.unwrap(), portal.unwrap());
        let keys = OfficeKeys::open(dir.path()).unwrap();
        assert_eq!((keys.caller(&portal, 7), keys.portal_of(&portal, 7).as_deref()), (None, Some("citizens")));
        assert_eq!(
            (keys.caller(&office, 7).map(|caller| caller.system).as_deref(), keys.portal_of(&office, 7)),
            (Some("desk"), None)
        );
    }

    #[test]
    fn a_list_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        OfficeKeys::open(dir.path()).unwrap().add(named("desk"), &SeededRandom::new(1), 5).unwrap();
        fs::set_permissions(dir.path().join(FILE_NAME), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(OfficeKeys::open(dir.path()), Err(Error::List(_))));
        assert!(matches!(OfficeKeys::open(&dir.path().join("none")).unwrap().list().as_slice(), []));
    }
}
