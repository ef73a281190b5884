//! Webhooks: an office system is told of what comes later at an address of its own, in the form of Standard Webhooks
//! (standardwebhooks.com): an id that stays the same when a notice is sent again, a time, and an HMAC-SHA256 over both and
//! the body. Each notice is a duty: tried with longer and longer pauses until it is taken, across restarts, and those of one
//! case in their order.
//!
//! **Invariant:** a notice goes to the system that asked, over TLS or within this machine, and names no subject. Out of
//! scope: what is told (`office::notices`), and when (`outbox`).

mod send;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use data_encoding::{BASE64, HEXLOWER};
use host::random::{self, Random};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use self::send::NotSent;
use crate::{
    duty::{Change, Duty, What},
    private_list::{self, PrivateList},
};

/// The file's name in the node's folder.
pub const FILE_NAME: &str = "webhooks.toml";

/// What stands before a secret in its text form.
const SECRET_PREFIX: &str = "whsec_";

/// Why webhooks cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be one.
    #[error("the address {0}")]
    AddressWrong(String),
    /// The list of webhooks cannot be read or written.
    #[error(transparent)]
    List(#[from] private_list::Error),
    /// The name of the system is no name.
    #[error("an office system's name has 1 to 63 lower-case letters, digits and hyphens")]
    NameMalformed,
    /// There is no such webhook.
    #[error("there is no webhook {id}: `webhook list` shows them")]
    Unknown {
        /// The id.
        id: String,
    },
}

/// Where an office system is told.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its id, 8 hex digits.
    pub id: String,
    /// The office system.
    pub system: String,
    /// The address.
    pub url: String,
    /// The certificates that are believed, PEM; needed for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The secret, hex. The receiver needs the same, so it cannot be kept as a hash.
    secret: String,
    /// When it was made, Unix milliseconds.
    pub added_ms: u64,
}

/// The department's webhooks.
#[derive(Debug)]
pub struct Webhooks {
    dir: PathBuf,
    hooks: PrivateList<Webhook>,
}

impl Webhooks {
    /// Reads those of the folder `dir`; none where there is no file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self { dir: dir.to_owned(), hooks: PrivateList::open(dir.join(FILE_NAME), "webhook")? })
    }

    /// Has an office system told at `url`. The secret is shown once.
    ///
    /// # Errors
    /// Name or address cannot be one, or the list cannot be written.
    pub fn add(
        &self,
        system: &str,
        url: &str,
        ca_file: Option<PathBuf>,
        random: &dyn Random,
        now_ms: u64,
    ) -> Result<(Webhook, Zeroizing<String>), Error> {
        system.parse::<trust::ids::NodeId>().map_err(|_| Error::NameMalformed)?;
        send::check_address(url, ca_file.is_some()).map_err(Error::AddressWrong)?;
        let secret = Zeroizing::new(random::array::<32>(random));
        let id = HEXLOWER.encode(&random::array::<4>(random));
        let (system, url) = (system.to_owned(), url.to_owned());
        let hook = Webhook { id, system, url, ca_file, secret: HEXLOWER.encode(secret.as_slice()), added_ms: now_ms };
        self.hooks.change(|hooks| {
            hooks.push(hook.clone());
            Ok::<_, Error>(())
        })?;
        Ok((hook, Zeroizing::new(format!("{SECRET_PREFIX}{}", BASE64.encode(secret.as_slice())))))
    }

    /// The webhooks, in the order in which they were made.
    pub fn list(&self) -> Vec<Webhook> {
        self.hooks.all()
    }

    /// The one with this id.
    pub fn find(&self, id: &str) -> Option<Webhook> {
        self.hooks.find(|hook| hook.id == id)
    }

    /// Removes one; what it was still to be told is not told.
    ///
    /// # Errors
    /// There is none, or the list cannot be written.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        self.hooks.change(|hooks| {
            let place = hooks.iter().position(|hook| hook.id == id);
            hooks.remove(place.ok_or_else(|| Error::Unknown { id: id.to_owned() })?);
            Ok(())
        })
    }

    /// The duties to tell a system's webhooks of an event. Those of one case are told in their order.
    pub fn duties(&self, system: &str, case_number: &str, event: u64, now_ms: u64) -> Vec<Change> {
        // A case number is the office's own business: not in the list of what is to be done.
        let case = HEXLOWER.encode(&Sha256::digest(case_number.as_bytes())[..8]);
        let hooks = self.list().into_iter().filter(|hook| hook.system == system);
        hooks
            .map(|hook| {
                let order = format!("webhook/{}/{case}", hook.id);
                let what = What::Webhook { webhook: hook.id, event };
                Change::Put(Duty { id: format!("{order}/{event:020}"), order, at_ms: now_ms, what })
            })
            .collect()
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Webhook").field("id", &self.id).field("system", &self.system).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use host::random::SeededRandom;

    use super::*;

    #[test]
    fn a_webhook_is_kept_and_its_notices_are_in_order_for_each_case() {
        let dir = tempfile::tempdir().unwrap();
        let hooks = Webhooks::open(dir.path()).unwrap();
        let random = SeededRandom::new(1);
        let (hook, secret) = hooks.add("desk", "http://127.0.0.1:9/told", None, &random, 5).unwrap();
        assert!(secret.starts_with(SECRET_PREFIX) && !format!("{hook:?}").contains(&hook.secret));
        let hooks = Webhooks::open(dir.path()).unwrap();
        let duty = |event: u64| match hooks.duties("desk", "GZF-1", event, 7).remove(0) {
            Change::Put(duty) => duty,
            change => panic!("{change:?}"),
        };
        assert_eq!(duty(9).order, duty(10).order);
        assert!(duty(9).id < duty(10).id && !duty(9).id.contains("GZF"));
        assert!(hooks.duties("other", "GZF-1", 9, 7).is_empty());
        hooks.remove(&hook.id).unwrap();
        assert!(hooks.duties("desk", "GZF-1", 9, 7).is_empty());
        assert!(matches!(hooks.remove(&hook.id), Err(Error::Unknown { .. })));
    }

    #[test]
    fn an_address_elsewhere_needs_tls() {
        let dir = tempfile::tempdir().unwrap();
        let hooks = Webhooks::open(dir.path()).unwrap();
        let random = SeededRandom::new(1);
        for (url, ca_file) in [
            ("http://desk.example/told", None),
            ("https://desk.example/told", None),
            ("https://desk.example/told?case=1", Some("ca.pem")),
            ("ftp://127.0.0.1/told", None),
        ] {
            let added = hooks.add("desk", url, ca_file.map(Into::into), &random, 5);
            assert!(matches!(added, Err(Error::AddressWrong(_))), "{url}");
        }
        assert!(hooks.add("desk", "https://desk.example/told", Some("ca.pem".into()), &random, 5).is_ok());
        assert!(matches!(hooks.add("Desk", "http://127.0.0.1/", None, &random, 5), Err(Error::NameMalformed)));
    }
}
