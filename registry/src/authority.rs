//! What only the authority may say: that a department is admitted, suspended or resumed, that a key is revoked, and where
//! the registry is. Each is a statement signed with the authority's key and sequenced like anybody's. The authority can
//! suspend and revoke; it cannot add a key or grant anything, and no code here could make the directory believe it did.
//!
//! Out of scope: who may ask for it (`admin_edge`), and enrolment tokens (`enrolment`).

use std::sync::Arc;

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

use crate::sequencer::{Accepted, Sequencer, Stopped};

/// How often a statement is made again because something else was said about its object in the meantime.
const TRIES: usize = 4;

/// Why the authority's statement is not in the directory.
#[derive(Clone, Debug, thiserror::Error)]
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
    key: Option<SigningKey>,
    sequencer: Sequencer,
    clock: Arc<dyn Clock>,
}

impl Authority {
    /// Speaks with `key`, if it is on this machine.
    pub fn new(exchange: ExchangeId, key: Option<SigningKey>, sequencer: Sequencer, clock: Arc<dyn Clock>) -> Self {
        Self { exchange, key, sequencer, clock }
    }

    /// Whether the authority can speak here.
    pub fn is_present(&self) -> bool {
        self.key.is_some()
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
    pub async fn resume(&self, department: &DepartmentId) -> Result<Accepted, Error> {
        let body = wire::DepartmentResumed { department: department.to_string() };
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

    /// Says something about an object. Whether it may is the directory's to judge.
    pub async fn say(&self, object: Object, body: Body) -> Result<Accepted, Error> {
        self.say_by(object, body, None).await
    }

    /// Says it, with who decided it.
    async fn say_by(
        &self,
        object: Object,
        body: Body,
        decision: Option<wire::OfficialDecision>,
    ) -> Result<Accepted, Error> {
        let key = self.key.as_ref().ok_or(Error::KeyAbsent)?;
        let mut refused = Refusal::new(Code::StatementOutdated);
        for _ in 0..TRIES {
            let predecessor = self.sequencer.directory().last(&object).map(|place| place.digest);
            let mut statement =
                statement(&self.exchange, &object, predecessor.as_ref(), self.clock.now_ms(), body.clone());
            statement.decision.clone_from(&decision);
            match self.sequencer.submit(sealed(&statement, key)).await? {
                Ok(accepted) => return Ok(accepted),
                Err(refusal) if refusal.code == Code::StatementOutdated => refused = refusal,
                Err(refusal) => return Err(Error::Refused(refusal)),
            }
        }
        Err(Error::Refused(refused))
    }
}

/// The bytes of the signed statement, as the log keeps them.
pub(crate) fn sealed(statement: &Statement, key: &dyn Signer) -> Vec<u8> {
    envelope::seal(statement, key).0.encode_to_vec()
}
