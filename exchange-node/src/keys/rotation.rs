//! Changes of the department's and the node's keys while the node runs: a new one is made, said in the directory, and put
//! to use; the old one stays valid until the overlap ends. Nothing that is under way fails: a message bears both signatures
//! meanwhile, and connections that stand live on. Whatever a crash interrupts, [`KeyCare::tend`] ends at the next start.
//!
//! Out of scope: revocations (`publish`), and what a statement about a key must be (`trust::directory`).

use std::{fs, io, sync::Arc, time::Duration};

use host::{
    clock::Clock,
    files,
    random::Random,
    tls::{ServerTls, SetupError},
};
use proto::{
    exchange::v1::Envelope,
    registry::v1::{KeyRetired, statement::Body},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify};
use trust::{
    directory::{Object, model::Node},
    envelope::Payload,
    ids::{DepartmentId, NodeId},
    key::{KeyId, PublicKey, Role, Signer},
    refusal::{Code, Refusal},
};

use super::{Error as KeysError, Keyring, TLS_SCHEDULE};
use crate::{
    config::KeySettings,
    peers::Peers,
    publish::{self, NodePlace, Publisher, department_key_added, node_key_added, node_published},
    view::View,
};

/// How long peers accept the old TLS key after a renewal that began by itself: longer than anything is under way.
pub const TLS_OVERLAP: Duration = Duration::from_secs(3600);

/// How often it is looked whether something is due, when nothing says so before.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// How soon it is tried again what the registry or the disk prevented.
const TRY_AGAIN: Duration = Duration::from_secs(20);

/// Why a key was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file beside the keys cannot be used.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A key cannot be read, made or written.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The directory does not name this node yet.
    #[error("the directory does not say yet where this node answers: wait until it does (`doctor` shows it)")]
    NotPublished,
    /// The directory does not take the statement.
    #[error(transparent)]
    Publish(#[from] publish::Error),
    /// The new TLS key cannot be shown.
    #[error(transparent)]
    Tls(#[from] SetupError),
}

/// A key that was changed.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The statement that adds the new key; its index is 0 where it stood there before.
    pub added: publish::Published,
    /// The statement that ends the old one; `None` where the directory did not know the old one.
    pub retired: Option<publish::Published>,
    /// The new key.
    pub new: KeyId,
    /// The old key.
    pub old: KeyId,
    /// Until when the old one counts, Unix milliseconds.
    pub old_until_ms: u64,
}

/// A TLS key that is being renewed.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The statement that names the next key.
    pub announced: publish::Published,
    /// The next key's digest, 64 hex digits.
    pub next: String,
    /// When this node shows it.
    pub switch_ms: u64,
    /// When the old one is given up.
    pub finish_ms: u64,
}

/// Takes care of the keys of a running node.
pub struct KeyCare {
    /// The keys.
    pub keys: Arc<Keyring>,
    /// The directory.
    pub view: Arc<View>,
    /// Makes statements.
    pub publisher: Arc<Publisher>,
    /// Connections to other nodes, which show the TLS key.
    pub peers: Arc<Peers>,
    /// The peer port's TLS.
    pub tls: Arc<ServerTls>,
    /// The node.
    pub node: NodeId,
    /// How long keys serve.
    pub settings: KeySettings,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where keys come from.
    pub random: Arc<dyn Random>,
    /// Told when a key has changed, so that what waits for a key goes on.
    pub changed: Arc<Notify>,
    /// One change at a time.
    pub turn: Mutex<()>,
}

/// When the next TLS key is shown, and when the old one is given up.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Schedule {
    switch_ms: u64,
    finish_ms: u64,
}

impl KeyCare {
    fn me(&self) -> &DepartmentId {
        &self.publisher.department
    }

    /// Puts a new key in the place of the node's or the department's; the old one counts for `overlap_ms` more.
    pub async fn rotate(&self, role: Role, overlap_ms: u64) -> Result<Rotated, Error> {
        let _turn = self.turn.lock().await;
        let (old, new) = match role {
            Role::Node => {
                (self.keys.node().public_key().clone(), self.keys.next_node(self.random.as_ref())?.public_key().clone())
            }
            _ => {
                let old = self.keys.department().ok_or(publish::Error::KeyElsewhere)?;
                (old.public_key().clone(), self.keys.next_department(self.random.as_ref())?.public_key().clone())
            }
        };
        let now_ms = self.clock.now_ms();
        let body = match role {
            Role::Node => node_key_added(self.me(), &self.node, new.clone(), now_ms),
            _ => department_key_added(self.me(), new.clone(), now_ms),
        };
        let added = self.add(&new, body).await?;
        let old_until_ms = now_ms.saturating_add(overlap_ms);
        let retired = self.retire(&old, old_until_ms).await?;
        match role {
            Role::Node => self.keys.advance_node()?,
            _ => self.keys.advance_department()?,
        }
        tracing::info!(?role, new = %new.id(), old = %old.id(), old_until_ms, "a key was changed");
        self.changed.notify_waiters();
        Ok(Rotated { added, retired, new: *new.id(), old: *old.id(), old_until_ms })
    }

    async fn add(&self, key: &PublicKey, body: Body) -> Result<publish::Published, Error> {
        let object = Object::Key(*key.id());
        let known = self.view.seen().directory().last(&object);
        // The same command once more, after something came in between.
        if let Some(place) = known {
            return Ok(publish::Published { object: object.to_string(), index: place.index, digest: place.digest });
        }
        Ok(self.publisher.publish(&object, body).await?)
    }

    async fn retire(&self, key: &PublicKey, from_ms: u64) -> Result<Option<publish::Published>, Error> {
        let ends = {
            let seen = self.view.seen();
            let Some(known) = seen.directory().key(key.id()) else { return Ok(None) };
            known.revoked.is_some() || known.described.valid_until_ms.is_some_and(|until_ms| until_ms <= from_ms)
        };
        if ends {
            return Ok(None);
        }
        // Never before the statement, which is made a moment after this.
        let from_ms = from_ms.max(self.clock.now_ms().saturating_add(SOONEST_END_MS));
        let body =
            Body::KeyRetired(KeyRetired { department: self.me().to_string(), key_id: key.id().to_string(), from_ms });
        Ok(Some(self.publisher.publish(&Object::Key(*key.id()), body).await?))
    }

    /// A new department key, and the statement that adds it, for the recovery key to sign.
    pub async fn begin_recovery(&self) -> Result<(Vec<u8>, KeyId), Error> {
        let _turn = self.turn.lock().await;
        let next = self.keys.next_department(self.random.as_ref())?;
        let id = *next.public_key().id();
        let body = department_key_added(self.me(), next.public_key().clone(), self.clock.now_ms());
        let statement = self.publisher.draft(&Object::Key(id), body);
        Ok((prost::Message::encode_to_vec(&statement), id))
    }

    /// Brings in the statement that the recovery key has signed, and uses the new department key from now on.
    pub async fn finish_recovery(&self, envelope: Envelope) -> Result<publish::Published, Error> {
        let _turn = self.turn.lock().await;
        let next = self.keys.next_department(self.random.as_ref())?.public_key().clone();
        let object = Object::Key(*next.id());
        let said = trust::envelope::peek::<proto::registry::v1::Statement>(
            &trust::envelope::signed(envelope.clone()),
            trust::directory::LARGEST_STATEMENT,
        );
        if envelope.payload_type != proto::registry::v1::Statement::TYPE
            || said.map_or(true, |statement| statement.object != object.to_string())
        {
            let refusal = Refusal::new(Code::StatementRefused).at("object").because("it adds another key than this");
            return Err(publish::Error::Refused(refusal.to_wire()).into());
        }
        let known = self.view.seen().directory().last(&object);
        let published = match known {
            Some(place) => publish::Published { object: object.to_string(), index: place.index, digest: place.digest },
            None => self.publisher.bring_in(&object, envelope).await?,
        };
        self.keys.advance_department()?;
        tracing::info!(key = %next.id(), "the department's key was recovered");
        self.changed.notify_waiters();
        Ok(published)
    }
}

/// The TLS key.
impl KeyCare {
    /// Begins to renew the TLS key: peers are told of the next one at once, this node shows it after `lead_ms`, and
    /// peers accept the old one for `overlap_ms` more.
    pub async fn renew_tls(&self, lead_ms: u64, overlap_ms: u64) -> Result<Renewal, Error> {
        let _turn = self.turn.lock().await;
        let next = *self.keys.next_tls(self.random.as_ref())?.key_digest().as_bytes();
        let switch_ms = self.clock.now_ms().saturating_add(lead_ms);
        let schedule = Schedule { switch_ms, finish_ms: switch_ms.saturating_add(overlap_ms) };
        // Before it is said: whoever is told of a key has to see it some day.
        self.keep(&schedule)?;
        let known = self.own_node().ok_or(Error::NotPublished)?;
        let object = Object::Node(self.me().clone(), self.node.clone());
        let announced = if known.next_tls_key == Some(next) {
            let place = self.view.seen().directory().last(&object).ok_or(Error::NotPublished)?;
            publish::Published { object: object.to_string(), index: place.index, digest: place.digest }
        } else {
            self.publisher.publish(&object, self.node_body(&known, known.tls_key, Some(next))).await?
        };
        self.changed.notify_waiters();
        let next = data_encoding::HEXLOWER.encode(&next);
        tracing::info!(next, switch_ms, "the TLS key is being renewed");
        Ok(Renewal { announced, next, switch_ms, finish_ms: schedule.finish_ms })
    }

    /// The digest of the next TLS key, while it is renewed.
    pub fn next_tls(&self) -> Option<String> {
        let waiting = self.keys.waiting().ok()?;
        waiting.tls.map(|next| next.key_digest().to_string())
    }

    /// This node, as the directory names it.
    pub fn own_node(&self) -> Option<Node> {
        self.view.seen().directory().nodes_of(self.me()).find(|node| node.node == self.node).cloned()
    }

    /// The node's statement with other TLS keys and everything else as it is.
    fn node_body(&self, known: &Node, tls_key: [u8; 32], next: Option<[u8; 32]>) -> Body {
        let place = NodePlace {
            addresses: known.addresses.clone(),
            relays: known.relays.clone(),
            draining: known.draining,
            next_tls_key: next,
        };
        node_published(self.me(), &self.node, &place, tls_key)
    }

    async fn tend_tls(&self) -> Result<Duration, Error> {
        let Some(known) = self.own_node() else { return Ok(LOOK_AGAIN) };
        let now_ms = self.clock.now_ms();
        let schedule = self.schedule()?;
        if let (Some(next), Some(schedule)) = (self.keys.waiting()?.tls, schedule) {
            if known.next_tls_key != Some(*next.key_digest().as_bytes()) {
                // Made, and not said: the registry was away.
                let body = self.node_body(&known, known.tls_key, Some(*next.key_digest().as_bytes()));
                self.publisher.publish(&Object::Node(self.me().clone(), self.node.clone()), body).await?;
                return Ok(Duration::ZERO);
            }
            if now_ms < schedule.switch_ms {
                return Ok(Duration::from_millis(schedule.switch_ms - now_ms));
            }
            let next = self.keys.advance_tls()?;
            self.tls.reload(&next)?;
            self.peers.show(Arc::clone(&next));
            tracing::info!(key = %next.key_digest(), "connections show the new TLS key");
            self.changed.notify_waiters();
            return Ok(Duration::ZERO);
        }
        let shown = *self.keys.tls().key_digest().as_bytes();
        if known.next_tls_key == Some(shown) {
            let finish_ms = schedule.map_or(now_ms, |schedule| schedule.finish_ms);
            if now_ms < finish_ms {
                return Ok(Duration::from_millis(finish_ms - now_ms));
            }
            let body = self.node_body(&known, shown, None);
            self.publisher.publish(&Object::Node(self.me().clone(), self.node.clone()), body).await?;
            tracing::info!("the old TLS key is given up");
        }
        self.keys.remove(TLS_SCHEDULE)?;
        self.renew_in_time(&known, now_ms).await
    }

    /// Begins a renewal by itself when the key has served long enough. It ends before its lifetime does.
    async fn renew_in_time(&self, known: &Node, now_ms: u64) -> Result<Duration, Error> {
        let (tls_lifetime_ms, tls_lead_ms) = (self.settings.tls_lifetime.as_ms(), self.settings.tls_lead.as_ms());
        let served = tls_lifetime_ms.saturating_sub(tls_lead_ms.saturating_mul(2)).max(tls_lifetime_ms / 2);
        let due_ms = known.tls_key_since_ms.saturating_add(served);
        if now_ms < due_ms {
            return Ok(Duration::from_millis(due_ms - now_ms));
        }
        if self.keys.department().is_none() {
            // Somebody has to bring it; `doctor` says so.
            return Ok(LOOK_AGAIN);
        }
        let overlap_ms = u64::try_from(TLS_OVERLAP.as_millis()).unwrap_or(u64::MAX).min(tls_lifetime_ms / 4);
        Box::pin(self.renew_tls(tls_lead_ms, overlap_ms)).await?;
        Ok(Duration::ZERO)
    }

    fn schedule(&self) -> Result<Option<Schedule>, Error> {
        let path = self.keys.path(TLS_SCHEDULE);
        match fs::read(&path) {
            // One that cannot be read is no schedule: what is under way is ended at once.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(files::Error::Io { doing: "cannot read", path, source }.into()),
        }
    }

    fn keep(&self, schedule: &Schedule) -> Result<(), Error> {
        let text = format!(r#"{{"switch_ms":{},"finish_ms":{}}}"#, schedule.switch_ms, schedule.finish_ms);
        Ok(files::replace_file(&self.keys.path(TLS_SCHEDULE), text.as_bytes(), files::PRIVATE_MODE)?)
    }
}

/// What is due.
impl KeyCare {
    /// Does what is due, for ever: ends overlaps, renews the TLS key, and ends what a crash interrupted.
    pub async fn run(&self) {
        loop {
            let wait = match self.tend().await {
                Ok(wait) => wait.min(LOOK_AGAIN),
                Err(error) => {
                    tracing::warn!(%error, "a key cannot be changed now; trying again");
                    TRY_AGAIN
                }
            };
            let changed = self.changed.notified();
            tokio::select! {
                () = changed => {}
                // Never busy: what is due at once may depend on the disk or the registry.
                () = tokio::time::sleep(wait.max(Duration::from_millis(20))) => {}
            }
        }
    }

    /// Does what is due now; how long until there is more.
    pub async fn tend(&self) -> Result<Duration, Error> {
        // A view that has not caught up would say of a key that it is unknown.
        if !self.view.is_registry_reachable() || self.view.check_usable(self.clock.now_ms()).is_err() {
            return Ok(Duration::from_secs(1));
        }
        let overlaps = {
            let _turn = self.turn.lock().await;
            self.end_interrupted().await?;
            self.end_overlaps()?
        };
        Ok(overlaps.min(self.tend_tls().await?))
    }

    /// A key that was said and not put to use, and one that was put to use while the old one got no end.
    async fn end_interrupted(&self) -> Result<(), Error> {
        let waiting = self.keys.waiting()?;
        let is_said =
            |key: &PublicKey| self.view.seen().directory().key(key.id()).is_some_and(|key| key.revoked.is_none());
        if waiting.node.is_some_and(|next| is_said(next.public_key())) {
            self.keys.advance_node()?;
        }
        if waiting.department.is_some_and(|next| is_said(next.public_key())) {
            self.keys.advance_department()?;
        }
        let until_ms = self.clock.now_ms().saturating_add(self.settings.overlap.as_ms());
        let before = [self.keys.node_before(), self.keys.department_before()?];
        for old in before.into_iter().flatten() {
            let open = self
                .view
                .seen()
                .directory()
                .key(old.public_key().id())
                .is_some_and(|known| known.revoked.is_none() && known.described.valid_until_ms.is_none());
            if open && self.keys.department().is_some() {
                self.retire(old.public_key(), until_ms).await?;
            }
        }
        Ok(())
    }

    /// Lets go of old keys whose time is over; how long until the next one's is.
    fn end_overlaps(&self) -> Result<Duration, Error> {
        let now_ms = self.clock.now_ms();
        let seen = self.view.seen();
        let left = |key: &PublicKey| {
            let known = seen.directory().key(key.id()).filter(|known| known.revoked.is_none())?;
            match known.described.valid_until_ms {
                Some(until_ms) => Some(until_ms.saturating_sub(now_ms)).filter(|left| *left > 0),
                None => Some(u64::MAX),
            }
        };
        let mut next = LOOK_AGAIN;
        if let Some(old) = self.keys.node_before() {
            match left(old.public_key()) {
                Some(left_ms) => next = next.min(Duration::from_millis(left_ms)),
                None => {
                    self.keys.forget_node_before()?;
                    tracing::info!(key = %old.public_key().id(), "the node's key before is out of use");
                }
            }
        }
        if let Some(old) = self.keys.department_before()? {
            match left(old.public_key()) {
                Some(left_ms) => next = next.min(Duration::from_millis(left_ms)),
                None => {
                    self.keys.forget_department_before()?;
                    tracing::info!(key = %old.public_key().id(), "the department's key before is out of use");
                }
            }
        }
        Ok(next)
    }
}

impl std::fmt::Debug for KeyCare {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeyCare").field("node", &self.node).finish_non_exhaustive()
    }
}

/// How soon a key may end after it was said, milliseconds.
const SOONEST_END_MS: u64 = 2_000;
