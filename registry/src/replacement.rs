//! A log key that is lost without a copy: the authority's key and a new one say so, and the log goes on. `registry keys
//! replace-log` makes the new key and leaves a note here; the next start makes the statement, **once the registry has heard
//! what its nodes saw**, because whoever lost a key may have lost statements too, and a log has one history.
//!
//! Out of scope: the rule, which takes the signatures of the authority and of the new key (`trust::directory`), and keys that
//! are there (`rotation`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use host::{files, random::Random};
use proto::registry::v1::{LogKeyChanged, statement::Body};
use serde::{Deserialize, Serialize};
use trust::key::{DescribedKey, Role, Signer, SigningKey};

use crate::keys::{self, AUTHORITY_FILE, LOG_FILE, LOG_NEXT_FILE, LOG_OLD_FILE};

/// The note, in the folder `keys`.
const FILE: &str = "log.replaced.json";

/// What stands in the directory as the reason of the change.
const REASON: &str = "the log's key before it is lost";

/// Why a key cannot be replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The authority's key is elsewhere.
    #[error(
        "the authority's key must sign the change and is not in keys/authority.key: bring it there for this one start, and take it away again"
    )]
    AuthorityAway,
    /// A key of the log is there.
    #[error(
        "{} is there: a key that is not lost is changed with `registry keys rotate-log`; move away one that cannot be read", .0.display()
    )]
    KeyThere(PathBuf),
    /// A key cannot be read or made.
    #[error(transparent)]
    Key(#[from] keys::Error),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The note is not one.
    #[error("{} cannot be read: {reason}", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing says what became of the key.
    #[error("say what became of the key: it stands in the directory")]
    ReasonMissing,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Note {
    lost: String,
    key_id: String,
}

/// A key of the log that is to take the place of one that is lost.
pub struct Replacement {
    lost: String,
    key: SigningKey,
    authority: SigningKey,
    note: Option<PathBuf>,
}

impl Replacement {
    /// The authority says with this key that the log's is lost and this one takes its place.
    pub fn new(lost: String, key: SigningKey, authority: SigningKey) -> Self {
        Self { lost, key, authority, note: None }
    }

    /// Makes the new key, and leaves the note for the next start; the key's id. Only where no key of the log is left.
    pub fn prepare(folder: &Path, lost: &str, random: &dyn Random) -> Result<String, Error> {
        if lost.trim().is_empty() {
            return Err(Error::ReasonMissing);
        }
        let path = |name: &str| folder.join(keys::FOLDER).join(name);
        if let Some(there) = [LOG_FILE, LOG_NEXT_FILE, LOG_OLD_FILE].map(path).into_iter().find(|path| path.exists()) {
            return Err(Error::KeyThere(there));
        }
        if !path(AUTHORITY_FILE).exists() {
            return Err(Error::AuthorityAway);
        }
        let key = keys::make_signing_key(&path(LOG_FILE), random)?;
        let key_id = key.public_key().id().to_string();
        let note = Note { lost: lost.to_owned(), key_id: key_id.clone() };
        let text = serde_json::to_vec_pretty(&note)
            .map_err(|error| Error::Note { path: path(FILE), reason: error.to_string() })?;
        files::replace_file(&path(FILE), &text, files::PRIVATE_MODE)?;
        Ok(key_id)
    }

    /// What [`Replacement::prepare`] left, where it is still to be said.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = |name: &str| folder.join(keys::FOLDER).join(name);
        if !path(FILE).exists() {
            return Ok(None);
        }
        let wrong = |reason: String| Error::Note { path: path(FILE), reason };
        let bytes = files::read_private_file(&path(FILE))?;
        let note: Note = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        let key = keys::read_signing_key(&path(LOG_FILE))?;
        if key.public_key().id().to_string() != note.key_id {
            return Err(wrong("it is about another key than keys/log.key".to_owned()));
        }
        if !path(AUTHORITY_FILE).exists() {
            return Err(Error::AuthorityAway);
        }
        let authority = keys::read_signing_key(&path(AUTHORITY_FILE))?;
        Ok(Some(Self { lost: note.lost, key, authority, note: Some(path(FILE)) }))
    }

    /// Who signs the statement: the authority and the new key.
    pub(crate) fn signers(&self) -> [&SigningKey; 2] {
        [&self.authority, &self.key]
    }

    /// The new key.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The statement's body.
    pub(crate) fn body(&self) -> Body {
        let key = self.key.public_key().clone();
        let key = DescribedKey { role: Role::Log, key, valid_from_ms: 0, valid_until_ms: None };
        let (reason, lost) = (REASON.to_owned(), self.lost.clone());
        Body::LogKeyChanged(LogKeyChanged { log_key: Some(key.to_wire()), reason, lost })
    }

    /// It was said: the note has no use any more.
    pub(crate) fn done(self) -> io::Result<()> {
        match self.note.map(fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use host::random::SeededRandom;

    use super::*;

    #[test]
    fn only_a_key_that_is_gone_is_replaced_and_only_with_the_authoritys() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, random) = (folder.path(), SeededRandom::new(1));
        let path = |name: &str| dir.join(keys::FOLDER).join(name);
        files::private_folder(&dir.join(keys::FOLDER)).unwrap();
        let prepare = |lost: &str| Replacement::prepare(dir, lost, &random);
        assert!(matches!(prepare("the disk broke"), Err(Error::AuthorityAway)));
        keys::make_signing_key(&path(AUTHORITY_FILE), &random).unwrap();
        assert!(matches!(prepare(" "), Err(Error::ReasonMissing)));
        keys::make_signing_key(&path(LOG_OLD_FILE), &random).unwrap();
        assert!(matches!(prepare("the disk broke"), Err(Error::KeyThere(_))));
        fs::remove_file(path(LOG_OLD_FILE)).unwrap();
        assert!(Replacement::read(dir).unwrap().is_none(), "nothing was asked for");

        let key_id = prepare("the disk broke").unwrap();
        assert!(matches!(prepare("the disk broke"), Err(Error::KeyThere(_))), "once");
        let read = Replacement::read(dir).unwrap().unwrap();
        assert_eq!(read.key().public_key().id().to_string(), key_id);
        let Body::LogKeyChanged(body) = read.body() else { panic!() };
        assert_eq!(body.lost, "the disk broke");
        read.done().unwrap();
        assert!(Replacement::read(dir).unwrap().is_none());
    }
}
