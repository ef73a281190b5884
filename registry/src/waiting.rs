//! Statements that wait for the authority's signature, because its key is not on this machine: each a file under
//! `waiting/`, in the order in which they were made. They hold nothing secret; mode 0600 keeps others from adding any.
//!
//! A statement waits for days, perhaps, and something else may be said about its object meanwhile. Then it is made again
//! when it comes back, and waits once more. Out of scope: the file that is carried (`carried`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host::files;
use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{OfficialDecision, Statement, statement::Body},
};
use trust::{
    directory::{Directory, Object, statement},
    envelope,
    key::SigningKey,
    refusal::Refusal,
};

use crate::carried::{self, CarriedStatement, id_of};

/// The folder, within the registry's.
pub const FOLDER: &str = "waiting";

/// How many may wait: a file with more would be too much to read before signing.
const MOST_WAITING: usize = 500;

/// Why what waits cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The operating system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file is not what this program wrote.
    #[error("{} is no waiting statement: {source}; remove it and give the command again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: carried::Error,
    },
    /// Too many wait.
    #[error("{MOST_WAITING} statements wait for the authority's signature already: have them signed first")]
    TooMany,
    /// There is none of that id.
    #[error("no statement {id} waits: `registry authority waiting` lists those that do")]
    Unknown {
        /// The id.
        id: String,
    },
}

/// A statement to be made.
pub struct Draft {
    /// What it is about.
    pub object: Object,
    /// What it says.
    pub body: Body,
    /// Who decided it, and on what document.
    pub decision: Option<OfficialDecision>,
    /// Who must sign it too and is here.
    pub others: Vec<Arc<SigningKey>>,
}

/// The statements that wait.
pub struct Waiting {
    folder: PathBuf,
    /// Oldest first, each with its file.
    all: Mutex<Vec<(PathBuf, CarriedStatement)>>,
}

impl Waiting {
    /// Opens the folder of a registry.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let folder = folder.join(FOLDER);
        files::private_folder(&folder)?;
        let io = |source| Error::Io { path: folder.clone(), source };
        let mut paths = Vec::new();
        for file in fs::read_dir(&folder).map_err(io)? {
            let path = file.map_err(io)?.path();
            if path.extension().is_some_and(|extension| extension == "statement") {
                paths.push(path);
            }
        }
        // The names begin with the time.
        paths.sort();
        let mut all = Vec::with_capacity(paths.len());
        for path in paths {
            let bytes = files::read_private_file(&path)?;
            let envelope = Envelope::decode(bytes.as_slice()).unwrap_or_default();
            let read = CarriedStatement::read(envelope);
            let read = read.map_err(|source| Error::Malformed { path: path.clone(), source })?;
            all.push((path, read));
        }
        Ok(Self { folder, all: Mutex::new(all) })
    }

    /// What waits, oldest first.
    pub fn all(&self) -> Vec<CarriedStatement> {
        self.locked().iter().map(|(_, waiting)| waiting.clone()).collect()
    }

    /// Lets a statement wait; its id. One that says the same waits once. Where it breaks a rule nobody needs to carry it
    /// anywhere.
    pub fn add(&self, directory: &Directory, draft: Draft, now_ms: u64) -> Result<Result<String, Refusal>, Error> {
        let Draft { object, body, decision, others } = draft;
        let mut all = self.locked();
        let same = |waiting: &CarriedStatement| waiting.object == object && says(&waiting.statement, &body);
        if let Some((_, waiting)) = all.iter().find(|(_, waiting)| same(waiting)) {
            return Ok(Ok(waiting.id.clone()));
        }
        if all.len() >= MOST_WAITING {
            return Err(Error::TooMany);
        }
        let before = all.iter().rev().find(|(_, waiting)| waiting.object == object);
        let predecessor = match before {
            Some((_, waiting)) => Some(envelope::digest(&waiting.envelope.payload_type, &waiting.envelope.payload)),
            None => directory.last(&object).map(|place| place.digest),
        };
        let mut statement = statement(directory.exchange(), &object, predecessor.as_ref(), now_ms, body);
        statement.decision = decision;
        if let Err(error) = directory.check_draft(&statement) {
            return Ok(Err(error.refusal()));
        }
        let waiting = self.keep(&statement, &others)?;
        let id = waiting.1.id.clone();
        all.push(waiting);
        Ok(Ok(id))
    }

    /// A statement that came back and follows nothing any more: it is made again, and waits, without the signatures that
    /// it had. Its new id, or why it is not said any more.
    pub fn make_again(
        &self,
        directory: &Directory,
        id: &str,
        others: Vec<Arc<SigningKey>>,
        now_ms: u64,
    ) -> Result<Result<String, Refusal>, Error> {
        let CarriedStatement { statement, object, .. } = self.remove(id)?;
        let Some(body) = statement.body else { return Err(Error::Unknown { id: id.to_owned() }) };
        self.add(directory, Draft { object, body, decision: statement.decision, others }, now_ms)
    }

    /// Takes a statement away.
    pub fn remove(&self, id: &str) -> Result<CarriedStatement, Error> {
        let mut all = self.locked();
        let position = all.iter().position(|(_, waiting)| waiting.id == id);
        let position = position.ok_or_else(|| Error::Unknown { id: id.to_owned() })?;
        let path = all[position].0.clone();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(Error::Io { path, source }),
            _ => {}
        }
        Ok(all.remove(position).1)
    }

    /// Whether a statement of this id waits.
    pub fn holds(&self, id: &str) -> bool {
        self.locked().iter().any(|(_, waiting)| waiting.id == id)
    }

    /// Whether a statement waits that admits a department, and with which first key.
    pub fn admission(&self, object: &Object) -> Option<Vec<u8>> {
        self.locked().iter().find_map(|(_, waiting)| match &waiting.statement.body {
            Some(Body::DepartmentAdmitted(body)) if waiting.object == *object => {
                body.first_key.as_ref().map(|key| key.public_key.clone())
            }
            _ => None,
        })
    }

    fn keep(&self, statement: &Statement, others: &[Arc<SigningKey>]) -> Result<(PathBuf, CarriedStatement), Error> {
        let (mut envelope, _) = envelope::unsigned(statement);
        for other in others {
            // Three signatures at most, of eight that fit.
            let _ = envelope::countersign(&mut envelope, other.as_ref());
        }
        let name = format!("{:015}-{}.statement", statement.stated_at_ms, id_of(&envelope));
        let path = self.folder.join(name);
        files::replace_file(&path, &envelope.encode_to_vec(), files::PRIVATE_MODE)?;
        let read = CarriedStatement::read(envelope);
        let read = read.map_err(|source| Error::Malformed { path: path.clone(), source })?;
        Ok((path, read))
    }

    fn locked(&self) -> MutexGuard<'_, Vec<(PathBuf, CarriedStatement)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a statement says this, whenever it was made. A key's beginning is part of when.
fn says(statement: &Statement, body: &Body) -> bool {
    let plain = |body: &Body| {
        let mut body = body.clone();
        if let Body::DepartmentAdmitted(admitted) = &mut body {
            for key in [&mut admitted.first_key, &mut admitted.recovery_key].into_iter().flatten() {
                key.valid_from_ms = 0;
            }
        }
        body
    };
    statement.body.as_ref().is_some_and(|said| plain(said) == plain(body))
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Waiting").field("count", &self.locked().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::v1 as wire;
    use trust::{
        fixture::{Fixture, NOW_MS, key},
        refusal::Code,
    };

    use super::*;

    fn draft(body: Body) -> Draft {
        Draft { object: Object::Department("housing".parse().unwrap()), body, decision: None, others: Vec::new() }
    }

    fn suspended(reason: &str) -> Draft {
        let body = wire::DepartmentSuspended { department: "housing".into(), reason: reason.into() };
        draft(Body::DepartmentSuspended(body))
    }

    fn resumed() -> Draft {
        let body = wire::DepartmentResumed { department: "housing".into(), reason: String::new() };
        draft(Body::DepartmentResumed(body))
    }

    #[test]
    fn what_waits_survives_a_restart_in_its_order_and_follows_what_waits_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut fixture = Fixture::town();
        let waiting = Waiting::open(folder.path()).unwrap();
        let add = |draft, now_ms| waiting.add(&fixture.directory, draft, now_ms).unwrap();
        let first = add(suspended("inquiry"), NOW_MS).unwrap();
        assert_eq!(add(suspended("inquiry"), NOW_MS + 5).unwrap(), first, "the same waits once");
        let second = add(resumed(), NOW_MS + 1).unwrap();
        assert_ne!(first, second);
        let refused = add(suspended(" "), NOW_MS).unwrap_err();
        assert_eq!((refused.code, refused.field.as_str()), (Code::StatementRefused, "reason"));

        let again = Waiting::open(folder.path()).unwrap().all();
        assert_eq!(again.iter().map(|carried| carried.id.clone()).collect::<Vec<_>>(), [first.clone(), second]);
        for mut carried in again {
            envelope::countersign(&mut carried.envelope, &key("authority")).unwrap();
            fixture.directory.apply(&carried.envelope.encode_to_vec()).unwrap();
        }
        waiting.remove(&first).unwrap();
        assert!(matches!(waiting.remove(&first), Err(Error::Unknown { .. })));
        assert_eq!(Waiting::open(folder.path()).unwrap().all().len(), 1);
    }

    #[test]
    fn what_was_overtaken_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut fixture = Fixture::town();
        let waiting = Waiting::open(folder.path()).unwrap();
        let id = waiting.add(&fixture.directory, suspended("inquiry"), NOW_MS).unwrap().unwrap();
        fixture.say("authority", suspended("another reason").body, "department/housing");
        let again = waiting.make_again(&fixture.directory, &id, Vec::new(), NOW_MS + 1).unwrap().unwrap();
        assert_ne!(again, id);
        let mut carried = waiting.all().remove(0);
        envelope::countersign(&mut carried.envelope, &key("authority")).unwrap();
        fixture.directory.check_envelope(&carried.envelope).unwrap();
    }
}
