//! Decisions on access that take four eyes: what the first officer decided waits here, in a file of the node's folder,
//! until a second one confirms it or somebody sets it aside. Only then is anything signed.
//!
//! A decision waits about exactly what was said last about the application: where something else is said in the
//! meantime, it cannot be confirmed any more. Out of scope: which decisions take four eyes (`trust::official`).

use std::path::Path;

use data_encoding::HEXLOWER;
use prost::Message;
use proto::{admin::v1::DecideAccessRequest, registry::v1::OfficialDecision};
use serde::{Deserialize, Serialize};
use trust::{
    directory::{AccessKey, Object},
    ids::Digest,
};

use crate::private_list::{Error, PrivateList};

/// The file's name in the node's folder.
pub const FILE_NAME: &str = "pending-decisions.toml";

/// A decision that waits.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Pending {
    /// The application.
    pub key: AccessKey,
    /// Digest of what was said last about it when the first officer decided.
    pub follows: Digest,
    /// What was decided.
    pub request: DecideAccessRequest,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
}

impl Pending {
    /// The first officer and the document.
    pub fn decision(&self) -> OfficialDecision {
        self.request.decision.clone().unwrap_or_default()
    }
}

/// One decision in the file. Who looks at it sees who decided what; the request holds the details.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    object: String,
    action: String,
    officer: String,
    since_ms: u64,
    follows: String,
    request: String,
}

/// The decisions that wait.
#[derive(Debug)]
pub struct PendingDecisions {
    waiting: PrivateList<Pending>,
}

impl PendingDecisions {
    /// Reads those of the folder `dir`; none where there is no file.
    ///
    /// # Errors
    /// The file is not as it was written.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self { waiting: PrivateList::open(dir.join(FILE_NAME), "decision")? })
    }

    /// The decisions that wait, in the order in which they were made.
    pub fn list(&self) -> Vec<Pending> {
        self.waiting.all()
    }

    /// The one about an application.
    pub fn about(&self, key: &AccessKey) -> Option<Pending> {
        self.waiting.find(|pending| pending.key == *key)
    }

    /// Keeps a decision until it is confirmed; `false` where another one about the same application waits already.
    ///
    /// # Errors
    /// It could not be made durable.
    pub fn add(&self, pending: Pending) -> Result<bool, Error> {
        self.waiting.change(|waiting| {
            let is_first = waiting.iter().all(|other| other.key != pending.key);
            waiting.extend(is_first.then_some(pending));
            Ok(is_first)
        })
    }

    /// Sets the decision about an application aside.
    ///
    /// # Errors
    /// That could not be made durable.
    pub fn remove(&self, key: &AccessKey) -> Result<Option<Pending>, Error> {
        self.waiting.change(|waiting| {
            let place = waiting.iter().position(|pending| pending.key == *key);
            Ok(place.map(|place| waiting.remove(place)))
        })
    }
}

impl From<Pending> for Stored {
    fn from(pending: Pending) -> Self {
        Self {
            object: Object::Access(pending.key.clone()).to_string(),
            action: pending.request.action.clone(),
            officer: pending.decision().officer,
            since_ms: pending.since_ms,
            follows: pending.follows.to_string(),
            request: HEXLOWER.encode(&pending.request.encode_to_vec()),
        }
    }
}

impl TryFrom<Stored> for Pending {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let object = stored.object.clone();
        read(stored).ok_or_else(|| {
            format!(
                "the decision about {object} is not as it was written: restore the file, or remove it and decide again"
            )
        })
    }
}

fn read(stored: Stored) -> Option<Pending> {
    let request = HEXLOWER.decode(stored.request.as_bytes()).ok()?;
    Some(Pending {
        key: stored.object.parse().ok()?,
        follows: stored.follows.parse().ok()?,
        request: DecideAccessRequest::decode(request.as_slice()).ok()?,
        since_ms: stored.since_ms,
    })
}

#[cfg(test)]
mod tests {
    use host::files;

    use super::*;

    fn pending(id: &str, officer: &str) -> Pending {
        let decision = OfficialDecision { officer: officer.into(), ..OfficialDecision::default() };
        Pending {
            key: format!("access/civil-affairs/housing/{id}").parse().unwrap(),
            follows: Digest::new([7; 32]),
            request: DecideAccessRequest {
                id: id.into(),
                action: "approve".into(),
                decision: Some(decision),
                ..DecideAccessRequest::default()
            },
            since_ms: 5,
        }
    }

    #[test]
    fn a_decision_waits_across_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (pending("0011223344556677", "2001"), pending("8899aabbccddeeff", "2002"));
        let waiting = PendingDecisions::open(dir.path()).unwrap();
        assert!(waiting.add(one.clone()).unwrap() && waiting.add(other.clone()).unwrap());
        assert!(!waiting.add(pending("0011223344556677", "2003")).unwrap(), "one decision at a time");
        let again = PendingDecisions::open(dir.path()).unwrap();
        assert_eq!(again.list(), [one.clone(), other.clone()]);
        assert_eq!(again.about(&one.key).unwrap().decision().officer, "2001");
        assert_eq!(again.remove(&one.key).unwrap(), Some(one.clone()));
        assert_eq!(again.remove(&one.key).unwrap(), None);
        assert_eq!(PendingDecisions::open(dir.path()).unwrap().list(), [other]);
    }

    #[test]
    fn a_file_that_was_changed_by_hand_is_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        let waiting = PendingDecisions::open(dir.path()).unwrap();
        waiting.add(pending("0011223344556677", "2001")).unwrap();
        let path = dir.path().join(FILE_NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        files::replace_file(&path, text.replace("follows = \"07", "follows = \"x7").as_bytes(), files::PRIVATE_MODE)
            .unwrap();
        let error = PendingDecisions::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("decide again"), "{error}");
    }
}
