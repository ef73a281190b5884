//! Changes of the registry's own keys: the log's, the authority's, and the TLS key of the directory port. Each new key is
//! on the disk before anything is said about it, and comes into use when the directory says so; a crash in between is
//! caught up with at the next start.
//!
//! Out of scope: the statements' rules (`trust::directory`), and which key signs a checkpoint (`log_keys`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use host::{
    clock::Clock,
    files,
    random::Random,
    tls::{IdentityError, ServerTls, SetupError, TlsIdentity, TlsKeyDigest},
};
use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{self as wire, Statement, statement::Body},
};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use trust::{
    directory::Object,
    key::{DescribedKey, PublicKey, Role, Signer, SigningKey},
    refusal::{Code, Refusal},
};

use crate::{
    authority::{self, Authority},
    carried::{self, CarriedStatement},
    init::AUTHORITY_PUBLIC_FILE,
    keys::{self, AUTHORITY_FILE, AUTHORITY_NEXT_FILE, AUTHORITY_OLD_FILE, TLS_FILE, TLS_NEXT_FILE, TLS_SWITCH_FILE},
    ledger,
    log_keys::{self, LogKeys},
    replicas::{self, Replicas},
    sequencer::{Accepted, Sequencer},
};

/// Why a key was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The authority's statement is not in the directory.
    #[error(transparent)]
    Authority(#[from] authority::Error),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The ledger cannot be asked.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// Other registries over the same directory could not go on with the new key.
    #[error(
        "nothing was changed: the registries at {} do not hold the next key. Copy {} from this machine into the folder keys/ of each of them (mode 0600), and give the command again: they take it up by themselves",
        registries.join(", "),
        next.display()
    )]
    NotEverywhere {
        /// The next key's file.
        next: PathBuf,
        /// Where the registries are that lack it.
        registries: Vec<String>,
    },
    /// A TLS key cannot be made or read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A key cannot be used.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The new TLS key cannot be served with.
    #[error(transparent)]
    Tls(#[from] SetupError),
    /// This registry was away when the TLS key was renewed.
    #[error(
        "this registry's TLS key is not the one that the directory names, and the registries at {} answer with that: copy keys/tls.pem of one of them into the folder keys/ of this one (mode 0600), and start it again",
        registries.join(", ")
    )]
    TlsKeyOutOfUse {
        /// Where the registries are that have the key in force.
        registries: Vec<String>,
    },
}

/// Changes keys. One change at a time.
pub struct Rotation {
    folder: PathBuf,
    authority: Arc<Authority>,
    sequencer: Sequencer,
    log_keys: Arc<LogKeys>,
    replicas: Option<Arc<Replicas>>,
    tls: Vec<Arc<ServerTls>>,
    names: Vec<String>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    turn: Mutex<()>,
    /// Held while files are brought in line.
    settling: std::sync::Mutex<()>,
    /// A TLS key was announced, or its moment moved.
    changed: Notify,
}

/// What became of a statement that the authority signed elsewhere.
#[derive(Clone, Debug)]
pub enum BroughtIn {
    /// It is in the directory.
    Accepted {
        /// Its index.
        index: u64,
    },
    /// Something else was said about its object meanwhile: it was made again, and waits.
    MadeAgain {
        /// Its new id.
        id: String,
    },
    /// It is not.
    Refused(Refusal),
}

/// What a rotation needs.
pub struct RotationParts {
    /// The registry's folder.
    pub folder: PathBuf,
    /// Who speaks for the authority.
    pub authority: Arc<Authority>,
    /// The directory.
    pub sequencer: Sequencer,
    /// The log's keys.
    pub log_keys: Arc<LogKeys>,
    /// The registries over the same database, where it is shared.
    pub replicas: Option<Arc<Replicas>>,
    /// The directory port's TLS.
    pub tls: Vec<Arc<ServerTls>>,
    /// Names for new certificates.
    pub names: Vec<String>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where keys come from.
    pub random: Arc<dyn Random>,
}

impl Rotation {
    /// Over these parts.
    pub fn new(parts: RotationParts) -> Self {
        let RotationParts { folder, authority, sequencer, log_keys, replicas, tls, names, clock, random } = parts;
        Self {
            folder,
            authority,
            sequencer,
            log_keys,
            replicas,
            tls,
            names,
            clock,
            random,
            turn: Mutex::new(()),
            settling: std::sync::Mutex::new(()),
            changed: Notify::new(),
        }
    }

    /// Changes the log's key: the new one is made here, and the old one signs the change. Where several registries share the
    /// directory, not before each of them holds the new one.
    pub async fn log_key(&self, reason: &str) -> Result<(Result<Accepted, authority::Error>, PublicKey), Error> {
        let _turn = self.turn.lock().await;
        let next = log_keys::make_next(&self.folder, self.random.as_ref())?;
        let public = next.public_key().clone();
        // Held before it is said: the checkpoint over the statement needs it.
        self.log_keys.hold(next);
        if let Some(replicas) = &self.replicas {
            let registries = replicas.lacking(&public.id().to_string()).await?;
            if !registries.is_empty() {
                return Err(Error::NotEverywhere { next: self.path(keys::LOG_NEXT_FILE), registries });
            }
        }
        let in_force = self.sequencer.directory().log_key().cloned();
        let signers = in_force.iter().chain([&public]).filter_map(|key| self.log_keys.held(key)).collect::<Vec<_>>();
        let body = Body::LogKeyChanged(wire::LogKeyChanged {
            log_key: Some(described(Role::Log, &public)),
            reason: reason.to_owned(),
            lost: String::new(),
        });
        let said = self.authority.say_with(Object::Log, body, None, &signers).await;
        self.settle()?;
        Ok((said, public))
    }

    /// Changes the authority's key. Where that is on this machine, the new one is made here; otherwise it was made where
    /// the authority's key is, and both sign there.
    pub async fn authority_key(
        &self,
        reason: &str,
        new: Option<PublicKey>,
    ) -> Result<(Result<Accepted, authority::Error>, PublicKey), Error> {
        let _turn = self.turn.lock().await;
        let (public, signers) = match new {
            Some(public) => (public, Vec::new()),
            None if self.authority.is_present() => {
                let path = self.path(AUTHORITY_NEXT_FILE);
                let next = match path.exists() {
                    true => keys::read_signing_key(&path)?,
                    false => keys::make_signing_key(&path, self.random.as_ref())?,
                };
                (next.public_key().clone(), vec![Arc::new(next)])
            }
            None => {
                let refusal = Refusal::new(Code::StatementRefused).at("new_public_key").because(
                    "the authority's key is not on this machine: make the new one where it is, with `registry authority new-key`, and give its public half",
                );
                return Err(authority::Error::Refused(refusal).into());
            }
        };
        let body = Body::AuthorityKeyChanged(wire::AuthorityKeyChanged {
            authority_key: Some(described(Role::Authority, &public)),
            reason: reason.to_owned(),
        });
        let said = self.authority.say_with(Object::Authority, body, None, &signers).await;
        self.settle()?;
        Ok((said, public))
    }

    /// Brings a statement in that the authority has signed elsewhere: its id, its object, and what became of it.
    pub async fn bring_in(&self, envelope: Envelope) -> Result<(String, String, BroughtIn), Error> {
        let id = carried::id_of(&envelope);
        let carried = match CarriedStatement::read(envelope) {
            Ok(carried) => carried,
            Err(error) => {
                let refusal = Refusal::new(Code::MessageMalformed).because(error);
                return Ok((id, String::new(), BroughtIn::Refused(refusal)));
            }
        };
        let object = carried.object.to_string();
        let submitted =
            self.sequencer.submit(carried.envelope.encode_to_vec()).await.map_err(authority::Error::from)?;
        let waiting = self.authority.waiting().filter(|waiting| waiting.holds(&id));
        let outcome = match (submitted, waiting) {
            (Ok(accepted), waiting) => {
                if let Some(waiting) = waiting {
                    waiting.remove(&id).map_err(authority::Error::from)?;
                }
                self.settle()?;
                BroughtIn::Accepted { index: accepted.index }
            }
            (Err(refusal), Some(waiting)) if refusal.code == Code::StatementOutdated => {
                let others = self.others(&carried.statement);
                let directory = self.sequencer.directory();
                let again = waiting.make_again(&directory, &id, others, self.clock.now_ms());
                match again.map_err(authority::Error::from)? {
                    Ok(id) => BroughtIn::MadeAgain { id },
                    Err(refusal) => BroughtIn::Refused(refusal),
                }
            }
            (Err(refusal), _) => BroughtIn::Refused(refusal),
        };
        Ok((id, object, outcome))
    }

    /// Who must sign a statement besides the authority, of those who are here.
    fn others(&self, statement: &Statement) -> Vec<Arc<SigningKey>> {
        let Some(Body::LogKeyChanged(changed)) = &statement.body else { return Vec::new() };
        let new = changed.log_key.as_ref().and_then(|key| DescribedKey::from_wire(key).ok()).map(|key| key.key);
        let in_force = self.sequencer.directory().log_key().cloned();
        in_force.iter().chain(&new).filter_map(|key| self.log_keys.held(key)).collect()
    }

    /// Brings the files, and who signs, in line with what the directory says. Done at the start, after each change, and
    /// whenever the directory has changed.
    pub fn settle(&self) -> Result<(), Error> {
        // The command that changed something and the task that follows the directory both come here.
        let _settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.clock.now_ms();
        let (authority_key, tls) = {
            let directory = self.sequencer.directory();
            log_keys::settle(&self.folder, &self.log_keys, &directory, now_ms)?;
            (directory.current_authority_key().cloned(), directory.registry().map(|known| known.tls_key.clone()))
        };
        if let Some(in_force) = authority_key {
            self.settle_authority(&in_force)?;
        }
        if let Some(named) = tls {
            self.settle_tls(&named)?;
        }
        Ok(())
    }

    fn settle_authority(&self, in_force: &PublicKey) -> Result<(), Error> {
        let path = self.path(AUTHORITY_NEXT_FILE);
        if path.exists() {
            let next = keys::read_signing_key(&path)?;
            if next.public_key() == in_force {
                let old = files::read_private_file(&self.path(AUTHORITY_FILE))?;
                // Kept: it opens nothing any more, and bundles from before the change still name it.
                files::replace_file(&self.path(AUTHORITY_OLD_FILE), &old, files::PRIVATE_MODE)?;
                let new = files::read_private_file(&path)?;
                files::replace_file(&self.path(AUTHORITY_FILE), &new, files::PRIVATE_MODE)?;
                remove(&path)?;
                self.authority.take_key(Arc::new(next));
                tracing::info!(key = %in_force.id(), "the authority signs with another key");
            }
        }
        let public = self.folder.join(AUTHORITY_PUBLIC_FILE);
        let text = format!("{in_force}\n");
        if fs::read_to_string(&public).ok().as_deref() != Some(&text) {
            files::replace_file(&public, text.as_bytes(), files::PUBLIC_MODE)?;
        }
        Ok(())
    }
}

/// The TLS key of the directory port.
impl Rotation {
    /// Before this registry says where it is: a TLS key that was renewed while it was away must not take the place of the one
    /// that the others answer with.
    ///
    /// # Errors
    ///
    /// Others that run answer with the key that the directory names, and this one has another.
    pub async fn check_tls(&self) -> Result<(), Error> {
        let Some(replicas) = &self.replicas else { return Ok(()) };
        let announced = self.announced();
        let named = |key: &[u8]| <[u8; 32]>::try_from(key).map(TlsKeyDigest::from_bytes).ok();
        let known = [named(&announced.tls_key), named(&announced.next_tls_key)];
        let Some(in_force) = known[0] else { return Ok(()) };
        if self.tls.iter().any(|tls| known.contains(&Some(tls.key_digest()))) {
            return Ok(());
        }
        let registries = replicas.others_with(&replicas::tls_key(&in_force)).await?;
        if registries.is_empty() { Ok(()) } else { Err(Error::TlsKeyOutOfUse { registries }) }
    }

    /// Tells nodes of the next TLS key; the registry answers with it `lead_ms` later. The same command once more moves
    /// that moment. Where several registries share the directory, not before each of them holds the key.
    pub async fn announce_next_tls(
        &self,
        lead_ms: u64,
    ) -> Result<(Result<Accepted, authority::Error>, TlsIdentity), Error> {
        let _turn = self.turn.lock().await;
        let next = self.next_tls()?;
        if let Some(replicas) = &self.replicas {
            let registries = replicas.lacking(&replicas::tls_key(&next.key_digest())).await?;
            if !registries.is_empty() {
                return Err(Error::NotEverywhere { next: self.path(TLS_NEXT_FILE), registries });
            }
        }
        let switch_ms = self.clock.now_ms().saturating_add(lead_ms);
        files::replace_file(&self.path(TLS_SWITCH_FILE), switch_ms.to_string().as_bytes(), files::PRIVATE_MODE)?;
        let mut announced = self.announced();
        announced.next_tls_key = next.key_digest().as_bytes().to_vec();
        let known = self.sequencer.directory().registry() == Some(&announced);
        let said = match known {
            false => self.authority.announce(announced).await,
            true => {
                let index = self.sequencer.directory().last(&Object::Registry).map_or(0, |place| place.index);
                Ok(Accepted { index, checkpoint: self.sequencer.head().checkpoint })
            }
        };
        self.changed.notify_one();
        Ok((said, next))
    }

    /// When the registry is to answer with the next TLS key; `None` while there is none, or nobody was told of it.
    fn tls_switch_ms(&self) -> Option<u64> {
        let next = TlsIdentity::read(&self.path(TLS_NEXT_FILE)).ok()?;
        let told = self.announced().next_tls_key == next.key_digest().as_bytes();
        let text = told.then(|| fs::read_to_string(self.path(TLS_SWITCH_FILE)).ok())??;
        text.trim().parse().ok()
    }

    /// Answers with the next TLS key from now on: new connections alone, those that stand live on. Then says that the
    /// old one is out of use.
    async fn switch_tls(&self) -> Result<Result<Accepted, authority::Error>, Error> {
        let _turn = self.turn.lock().await;
        let next = self.next_tls()?;
        self.tls.iter().try_for_each(|tls| tls.reload(&next))?;
        // Said once: where the authority signs elsewhere, the statement waits, and nodes accept either key until then.
        remove(&self.path(TLS_SWITCH_FILE))?;
        tracing::info!(key = %next.key_digest(), "the directory port answers with another TLS key");
        let mut announced = self.announced();
        announced.tls_key = next.key_digest().as_bytes().to_vec();
        announced.next_tls_key = Vec::new();
        let said = self.authority.announce(announced).await;
        self.settle()?;
        Ok(said)
    }

    /// The digest of the next TLS key, where one is made.
    pub fn next_tls_digest(&self) -> Option<String> {
        let path = self.path(TLS_NEXT_FILE);
        path.exists().then(|| TlsIdentity::read(&path).ok().map(|next| next.key_digest().to_string())).flatten()
    }

    fn next_tls(&self) -> Result<TlsIdentity, Error> {
        let path = self.path(TLS_NEXT_FILE);
        if !path.exists() {
            let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
            TlsIdentity::generate(self.random.as_ref(), &names)?.write(&path)?;
        }
        Ok(TlsIdentity::read(&path)?)
    }

    fn announced(&self) -> wire::RegistryAnnounced {
        self.sequencer.directory().registry().cloned().unwrap_or_default()
    }

    /// Once the directory names the next key as the key, it is: also after a crash, or where the authority has signed
    /// elsewhere.
    fn settle_tls(&self, named: &[u8]) -> Result<(), Error> {
        let path = self.path(TLS_NEXT_FILE);
        if !path.exists() {
            return Ok(());
        }
        let next = TlsIdentity::read(&path)?;
        if next.key_digest().as_bytes() != named {
            return Ok(());
        }
        self.tls.iter().try_for_each(|tls| tls.reload(&next))?;
        let bytes = files::read_private_file(&path)?;
        files::replace_file(&self.path(TLS_FILE), &bytes, files::PRIVATE_MODE)?;
        Ok(remove(&path)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(keys::FOLDER).join(name)
    }
}

/// Follows the directory, and settles when a key has changed; now and then too, so that an old key goes in time. Answers
/// with the next TLS key when its moment has come.
pub async fn follow(rotation: Arc<Rotation>, sequencer: Sequencer, stop: CancellationToken) -> Result<(), Error> {
    let mut head = sequencer.watch();
    let mut settled = None;
    loop {
        let now = {
            let directory = sequencer.directory();
            let last = |object| directory.last(&object).map(|place| place.index);
            (last(Object::Authority), last(Object::Log), last(Object::Registry))
        };
        if settled != Some(now) {
            rotation.settle()?;
            settled = Some(now);
        }
        let left_ms = rotation.tls_switch_ms().map(|at_ms| at_ms.saturating_sub(rotation.clock.now_ms()));
        if left_ms == Some(0) {
            match rotation.switch_tls().await? {
                Ok(_) | Err(authority::Error::Waiting { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, "the new TLS key is in use, and the directory does not say so yet")
                }
            }
            continue;
        }
        let wait = left_ms.map_or(LOOK_AGAIN, Duration::from_millis).min(LOOK_AGAIN);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => settled = None,
            () = rotation.changed.notified() => {}
            changed = head.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// How often files are looked at although the directory says nothing new of keys.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

fn remove(path: &Path) -> Result<(), files::Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(files::Error::Io { doing: "cannot remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// A key that is in force from its statement on.
fn described(role: Role, public: &PublicKey) -> wire::Key {
    DescribedKey { role, key: public.clone(), valid_from_ms: 0, valid_until_ms: None }.to_wire()
}

/// Whether a private half of the key is in the folder, under any of the names that are used here.
pub fn is_here(folder: &Path, public: &PublicKey) -> bool {
    let names = [
        AUTHORITY_FILE,
        AUTHORITY_NEXT_FILE,
        AUTHORITY_OLD_FILE,
        keys::LOG_FILE,
        keys::LOG_NEXT_FILE,
        keys::LOG_OLD_FILE,
    ];
    let read = |name: &&str| keys::read_signing_key(&folder.join(keys::FOLDER).join(name)).ok();
    names.iter().filter_map(read).any(|key: SigningKey| key.public_key() == public)
}

#[cfg(test)]
mod tests;
