//! What only the authority may say: that a department is admitted, suspended or resumed, that a key is revoked, and where
//! the registry is. Each is a statement signed with the authority's key and sequenced like anybody's. The authority can
//! suspend and revoke; it cannot add a key or grant anything, and no code here could make the directory believe it did.
//!
//! The authority's key may be kept on a machine without a network. Then what it is to say waits here (`waiting`) until it
//! was carried there, signed and carried back.
//!
//! Out of scope: who may ask for it (`admin_edge`), and enrolment tokens (`enrolment`).

use std::sync::{Arc, PoisonError, RwLock};

use host::clock::Clock;
use prost::Message;
use proto::registry::v1::{self as wire, Statement, statement::Body};
use trust::{
    directory::{Object, statement},
    envelope,
    ids::{DepartmentId, Digest, ExchangeId, ServiceId},
    key::{DescribedKey, KeyId, PublicKey, Role, Signer, SigningKey},
    refusal::{Code, Refusal},
};

use crate::{
    sequencer::{Accepted, Sequencer, Stopped},
    waiting::{self, Draft, Waiting},
};

/// How often a statement is made again because something else was said about its object in the meantime.
const TRIES: usize = 4;

/// Why the authority's statement is not in the directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The authority's key is not on this machine.
    #[error("the authority's key is not on this machine: put keys/authority.key back and start the registry again")]
    KeyAbsent,
    /// The directory does not take it.
    #[error("{0}")]
    Refused(Refusal),
    /// The registry is stopping.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// It waits for the authority's signature. That is how it should be where the key is kept elsewhere.
    #[error(
        "the statement waits for the authority's signature as {id}: `registry authority export-request` writes what is to be carried to it"
    )]
    Waiting {
        /// Its id.
        id: String,
    },
    /// What waits cannot be kept.
    #[error(transparent)]
    WaitingUnusable(#[from] waiting::Error),
}

/// What the authority decided about a department that wants to take part.
#[derive(Clone, Debug)]
pub struct DepartmentProfile {
    /// Its id.
    pub department: DepartmentId,
    /// Its name.
    pub name: wire::LocalName,
    /// Its unified social credit code.
    pub uscc: String,
    /// Its division code; may be empty.
    pub division: String,
}

/// The authority's voice.
pub struct Authority {
    exchange: ExchangeId,
    key: RwLock<Option<Arc<SigningKey>>>,
    waiting: Option<Arc<Waiting>>,
    sequencer: Sequencer,
    clock: Arc<dyn Clock>,
}

impl Authority {
    /// Speaks with `key`, if it is on this machine.
    pub fn new(exchange: ExchangeId, key: Option<SigningKey>, sequencer: Sequencer, clock: Arc<dyn Clock>) -> Self {
        Self { exchange, key: RwLock::new(key.map(Arc::new)), waiting: None, sequencer, clock }
    }

    /// What cannot be signed here waits there.
    #[must_use]
    pub fn with_waiting(mut self, waiting: Arc<Waiting>) -> Self {
        self.waiting = Some(waiting);
        self
    }

    /// What waits for the authority's signature; `None` where nothing can.
    pub fn waiting(&self) -> Option<&Arc<Waiting>> {
        self.waiting.as_ref()
    }

    /// Whether the authority can speak here.
    pub fn is_present(&self) -> bool {
        self.key_in_force().is_some()
    }

    /// Speaks with another key from now on.
    pub fn take_key(&self, key: Arc<SigningKey>) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// The key, where it is on this machine and the one in force.
    fn key_in_force(&self) -> Option<Arc<SigningKey>> {
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        (self.sequencer.directory().current_authority_key() == Some(key.public_key())).then_some(key)
    }

    /// Admits a department with the keys that it made.
    pub async fn admit(
        &self,
        profile: &DepartmentProfile,
        first_key: PublicKey,
        recovery_key: PublicKey,
    ) -> Result<Accepted, Error> {
        let skew_ms = self.sequencer.directory().profile().clock_skew_ms;
        // The department's clock may be behind ours, and its first statements follow at once.
        let valid_from_ms = self.clock.now_ms().saturating_sub(skew_ms);
        let describe = |key, role| Some(DescribedKey { role, key, valid_from_ms, valid_until_ms: None }.to_wire());
        let body = wire::DepartmentAdmitted {
            department: profile.department.to_string(),
            name: Some(profile.name.clone()),
            uscc: profile.uscc.clone(),
            first_key: describe(first_key, Role::Department),
            recovery_key: describe(recovery_key, Role::Recovery),
            division: profile.division.clone(),
        };
        self.say(Object::Department(profile.department.clone()), Body::DepartmentAdmitted(body)).await
    }

    /// Suspends a department.
    pub async fn suspend(&self, department: &DepartmentId, reason: &str) -> Result<Accepted, Error> {
        let body = wire::DepartmentSuspended { department: department.to_string(), reason: reason.to_owned() };
        self.say(Object::Department(department.clone()), Body::DepartmentSuspended(body)).await
    }

    /// Lets a suspended department take part again.
    pub async fn resume(&self, department: &DepartmentId, reason: &str) -> Result<Accepted, Error> {
        let body = wire::DepartmentResumed { department: department.to_string(), reason: reason.to_owned() };
        self.say(Object::Department(department.clone()), Body::DepartmentResumed(body)).await
    }

    /// Revokes a department's key.
    pub async fn revoke(&self, department: &DepartmentId, key_id: KeyId, reason: &str) -> Result<Accepted, Error> {
        let body = wire::KeyRevoked {
            department: department.to_string(),
            key_id: key_id.to_string(),
            reason: reason.to_owned(),
        };
        self.say(Object::Key(key_id), Body::KeyRevoked(body)).await
    }

    /// Says where the registry is.
    pub async fn announce(&self, announcement: wire::RegistryAnnounced) -> Result<Accepted, Error> {
        self.say(Object::Registry, Body::RegistryAnnounced(announcement)).await
    }

    /// Changes the settings that every node follows. The new ones stand in whole.
    pub async fn set_profile(
        &self,
        profile: wire::Profile,
        decision: Option<wire::OfficialDecision>,
    ) -> Result<Accepted, Error> {
        let body = Body::ProfileChanged(wire::ProfileChanged { profile: Some(profile) });
        self.say_by(Object::Profile, body, decision).await
    }

    /// Lets a service answer as its department described it in that statement, or returns it with all that is missing.
    pub async fn review(
        &self,
        service: ServiceId,
        statement: &Digest,
        approved: bool,
        missing: Vec<String>,
        decision: Option<wire::OfficialDecision>,
    ) -> Result<Accepted, Error> {
        let body = wire::ServiceReviewed {
            department: service.department.to_string(),
            service: service.service.to_string(),
            major_version: service.major,
            service_statement: statement.as_bytes().to_vec(),
            approved,
            missing,
        };
        self.say_by(Object::Review(service), Body::ServiceReviewed(body), decision).await
    }

    /// The time.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Makes a statement of the authority's, or lets it wait where the key is elsewhere.
    pub async fn say(&self, object: Object, body: Body) -> Result<Accepted, Error> {
        self.say_with(object, body, None, &[]).await
    }

    /// Says it, with who decided it.
    pub(crate) async fn say_by(
        &self,
        object: Object,
        body: Body,
        decision: Option<wire::OfficialDecision>,
    ) -> Result<Accepted, Error> {
        self.say_with(object, body, decision, &[]).await
    }

    /// The same for a statement that others must sign too.
    pub(crate) async fn say_with(
        &self,
        object: Object,
        body: Body,
        decision: Option<wire::OfficialDecision>,
        others: &[Arc<SigningKey>],
    ) -> Result<Accepted, Error> {
        let Some(key) = self.key_in_force() else { return self.wait(object, body, decision, others) };
        let mut refused = Refusal::new(Code::StatementOutdated);
        for _ in 0..TRIES {
            let predecessor = self.sequencer.directory().last(&object).map(|place| place.digest);
            let mut statement =
                statement(&self.exchange, &object, predecessor.as_ref(), self.clock.now_ms(), body.clone());
            statement.decision.clone_from(&decision);
            let (mut envelope, _) = envelope::seal(&statement, key.as_ref());
            for other in others {
                let too_many = |_| Error::Refused(Refusal::new(Code::StatementRefused).at("signatures"));
                envelope::countersign(&mut envelope, other.as_ref()).map_err(too_many)?;
            }
            match self.sequencer.submit(envelope.encode_to_vec()).await? {
                Ok(accepted) => return Ok(accepted),
                Err(refusal) if refusal.code == Code::StatementOutdated => refused = refusal,
                Err(refusal) => return Err(Error::Refused(refusal)),
            }
        }
        Err(Error::Refused(refused))
    }

    fn wait(
        &self,
        object: Object,
        body: Body,
        decision: Option<wire::OfficialDecision>,
        others: &[Arc<SigningKey>],
    ) -> Result<Accepted, Error> {
        let waiting = self.waiting.as_ref().ok_or(Error::KeyAbsent)?;
        let draft = Draft { object, body, decision, others: others.to_vec() };
        match waiting.add(&self.sequencer.directory(), draft, self.clock.now_ms())? {
            Ok(id) => Err(Error::Waiting { id }),
            Err(refusal) => Err(Error::Refused(refusal)),
        }
    }
}

/// The bytes of the signed statement, as the log keeps them.
pub(crate) fn sealed(statement: &Statement, key: &dyn Signer) -> Vec<u8> {
    envelope::seal(statement, key).0.encode_to_vec()
}
