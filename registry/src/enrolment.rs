//! Enrolment: how a department that the authority has decided to admit becomes part of the exchange. The authority's tool
//! makes a token with a secret for one use and keeps the decision; the department makes its keys on its own machine and
//! presents the public ones under a MAC with the secret; then the admission that names them is signed.
//!
//! A pending decision is kept beside the ledger (`decisions`), so that any registry over it can take the department in. It is
//! removed once the admission is in the log. Out of scope: the token's form (`trust::token`), rates (`enrolment_edge`).

pub mod decisions;

use std::sync::Arc;

use host::{
    clock::Clock,
    random::{self, Random},
    tls::ServerTls,
};
use prost::Message;
use proto::registry::v1 as wire;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use trust::{
    directory::{Directory, Object},
    ids::{DepartmentId, ExchangeId},
    key::PublicKey,
    refusal::{Code, Refusal},
    subject::credit_code::{Strictness, Uscc},
    token::{EnrolmentToken, Secret},
};

use self::decisions::Decisions;
use crate::{
    authority::{self, Authority, DepartmentProfile},
    sequencer::{Accepted, Sequencer, Stopped},
    waiting,
};

/// The largest offer in bytes: two names and two keys.
const LARGEST_OFFER: usize = 1024;

/// Why an enrolment could not be handled. A refusal is none of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A pending decision cannot be read or written.
    #[error(transparent)]
    Decisions(#[from] decisions::Error),
    /// A pending decision is not what this program wrote.
    #[error("{place} is no pending enrolment: {reason}; remove it and admit the department again")]
    Malformed {
        /// Where it is.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The registry is stopping.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// An admission that waits for the authority's signature cannot be kept.
    #[error(transparent)]
    Waiting(#[from] waiting::Error),
}

/// What became of an offer.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The department is admitted.
    Admitted(Accepted),
    /// The authority signs later.
    Waiting,
    /// It is not.
    Refused(Refusal),
}

/// What the tokens of this registry say about it.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// The exchange.
    pub exchange: ExchangeId,
    /// The authority's key.
    pub authority_key: PublicKey,
    /// The registry's gRPC addresses.
    pub addresses: Vec<String>,
    /// The digest of its TLS key.
    pub tls_key: [u8; 32],
}

/// Handles tokens and offers.
pub struct Enrolment {
    decisions: Arc<dyn Decisions>,
    introduction: Introduction,
    authority: Arc<Authority>,
    sequencer: Sequencer,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    token_lifetime_ms: u64,
    tls: Option<Arc<ServerTls>>,
    /// One at a time: otherwise two offers could use one token.
    turn: Mutex<()>,
}

/// What an enrolment needs.
pub struct EnrolmentParts {
    /// Where pending decisions are kept.
    pub decisions: Arc<dyn Decisions>,
    /// What tokens say about the registry.
    pub introduction: Introduction,
    /// Who signs admissions.
    pub authority: Arc<Authority>,
    /// The directory.
    pub sequencer: Sequencer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where secrets come from.
    pub random: Arc<dyn Random>,
    /// How long a token is good, milliseconds.
    pub token_lifetime_ms: u64,
}

impl Enrolment {
    /// Removes the pending decisions that have become admissions, and goes on with the others.
    pub async fn open(parts: EnrolmentParts) -> Result<Self, Error> {
        let enrolment = Self {
            decisions: parts.decisions,
            introduction: parts.introduction,
            authority: parts.authority,
            sequencer: parts.sequencer,
            clock: parts.clock,
            random: parts.random,
            token_lifetime_ms: parts.token_lifetime_ms,
            tls: None,
            turn: Mutex::new(()),
        };
        enrolment.tidy().await?;
        Ok(enrolment)
    }

    /// Tokens name the TLS key that this port answers with when they are made.
    #[must_use]
    pub fn at_port(mut self, tls: Arc<ServerTls>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Removes the decisions that have become admissions: after a crash in between, and after the authority has signed
    /// elsewhere. What is left of them is a secret that is good for nothing.
    pub async fn tidy(&self) -> Result<(), Error> {
        for pending in self.all().await? {
            if self.sequencer.directory().department(&pending.department).is_some() {
                self.decisions.remove(&pending.department).await?;
            }
        }
        Ok(())
    }

    /// Keeps the decision to admit a department and makes its token. A token made before for the same department is void
    /// from now on.
    pub async fn admit(
        &self,
        profile: DepartmentProfile,
        strictness: Strictness,
    ) -> Result<Result<EnrolmentToken, Refusal>, Error> {
        let uscc = match Uscc::parse(&profile.uscc, strictness) {
            Ok(uscc) => uscc.into_string(),
            Err(error) => return Ok(Err(Refusal::new(Code::StatementRefused).at("uscc").because(error))),
        };
        if profile.name.zh.trim().is_empty() {
            let refusal = Refusal::new(Code::StatementRefused).at("name").because("the department needs a name");
            return Ok(Err(refusal));
        }
        let _turn = self.turn.lock().await;
        if self.sequencer.directory().department(&profile.department).is_some() {
            let refusal = Refusal::new(Code::StatementRefused).at("department");
            return Ok(Err(refusal.because("it is admitted already, and an id is never used again")));
        }
        let secret = Secret::new(random::array(self.random.as_ref()));
        // Whole seconds, so that people can read the token's line.
        let expires_ms = self.clock.now_ms().saturating_add(self.token_lifetime_ms) / 1000 * 1000;
        let department = profile.department.clone();
        let profile = DepartmentProfile { uscc, ..profile };
        self.write(&Pending { profile, secret: secret.clone(), expires_ms }).await?;
        let Introduction { exchange, authority_key, addresses, tls_key } = self.introduction.clone();
        let tls_key = self.tls.as_ref().map_or(tls_key, |tls| *tls.key_digest().as_bytes());
        // Where several registries share the directory, any of them takes the department in.
        let announced = self.sequencer.directory().registry().cloned().filter(|known| known.tls_key == tls_key);
        let mut addresses = addresses;
        for address in announced.into_iter().flat_map(|announced| announced.addresses) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        // The key in force vouches for those before it; whoever is new should not have to trust an old one.
        let authority_key = self.sequencer.directory().current_authority_key().cloned().unwrap_or(authority_key);
        Ok(Ok(EnrolmentToken {
            exchange,
            department,
            authority_key,
            registry: addresses,
            registry_tls_key: tls_key,
            secret,
            expires_ms,
        }))
    }

    /// Takes the offer of a department that holds a token.
    pub async fn enrol(&self, offer: &[u8], mac: &[u8]) -> Result<Outcome, Error> {
        let read = match Offer::read(offer, &self.introduction.exchange) {
            Ok(read) => read,
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        let _turn = self.turn.lock().await;
        if let Some(outcome) = self.enrolled_before(&read) {
            return Ok(outcome);
        }
        let unknown = Refusal::new(Code::TokenUnknown).at("offer.department");
        let Some(pending) = self.read(&read.department).await? else { return Ok(Outcome::Refused(unknown)) };
        // The MAC first: whoever does not hold the token learns nothing of when it ends.
        if !pending.secret.fits(offer, mac) {
            return Ok(Outcome::Refused(Refusal::new(Code::MacWrong).at("mac")));
        }
        if self.clock.now_ms() >= pending.expires_ms {
            return Ok(Outcome::Refused(unknown.because("it has expired")));
        }
        // The first offer with the token is the one that waits: whoever comes with other keys meanwhile has it from elsewhere.
        let object = Object::Department(read.department.clone());
        let waiting = self.authority.waiting().and_then(|waiting| waiting.admission(&object));
        if waiting.is_some_and(|first_key| first_key != read.first_key.as_bytes()) {
            return Ok(Outcome::Refused(unknown.because("an enrolment with other keys waits for the authority")));
        }
        match self.authority.admit(&pending.profile, read.first_key, read.recovery_key).await {
            Ok(accepted) => {
                self.decisions.remove(&read.department).await?;
                Ok(Outcome::Admitted(accepted))
            }
            Err(authority::Error::KeyAbsent | authority::Error::Waiting { .. }) => Ok(Outcome::Waiting),
            Err(authority::Error::Refused(refusal)) => Ok(Outcome::Refused(refusal)),
            Err(authority::Error::Stopped(stopped)) => Err(stopped.into()),
            Err(authority::Error::WaitingUnusable(error)) => Err(error.into()),
        }
    }

    /// Departments whose token waits to be used.
    pub async fn pending(&self) -> Result<Vec<DepartmentProfile>, Error> {
        let now_ms = self.clock.now_ms();
        let waiting = self.all().await?.into_iter().filter(|pending| now_ms < pending.expires_ms);
        Ok(waiting.map(|pending| pending.profile).collect())
    }

    /// A department that asks again, because the answer was lost, gets the same answer; anybody else who comes with a
    /// used token gets none. What is compared is public, so the secret is not needed any more.
    fn enrolled_before(&self, offer: &Offer) -> Option<Outcome> {
        let directory = self.sequencer.directory();
        let admitted = &directory.department(&offer.department)?.admitted;
        let named = [&admitted.first_key, &admitted.recovery_key];
        let offered = [&offer.first_key, &offer.recovery_key];
        let same = named
            .iter()
            .zip(offered)
            .all(|(named, offered)| named.as_ref().is_some_and(|named| named.public_key == offered.as_bytes()));
        let index = admission_index(&directory, &offer.first_key);
        match index.filter(|_| same) {
            Some(index) => Some(Outcome::Admitted(Accepted { index, checkpoint: self.sequencer.head().checkpoint })),
            None => {
                let refusal = Refusal::new(Code::TokenUnknown).at("offer.department");
                Some(Outcome::Refused(refusal.because("the department has enrolled with other keys")))
            }
        }
    }

    async fn all(&self) -> Result<Vec<Pending>, Error> {
        let mut all = Vec::new();
        for department in self.decisions.departments().await? {
            all.extend(self.read(&department).await?);
        }
        all.sort_by(|one, other| one.profile.department.cmp(&other.profile.department));
        Ok(all)
    }

    async fn read(&self, department: &DepartmentId) -> Result<Option<Pending>, Error> {
        let Some(text) = self.decisions.read(department).await? else { return Ok(None) };
        let malformed = |reason| Error::Malformed { place: self.decisions.place(department), reason };
        Pending::from_toml(&text, department).map(Some).map_err(malformed)
    }

    async fn write(&self, pending: &Pending) -> Result<(), Error> {
        let department = &pending.profile.department;
        let malformed = |reason| Error::Malformed { place: self.decisions.place(department), reason };
        let text = zeroize::Zeroizing::new(pending.to_toml().map_err(malformed)?.as_bytes().to_vec());
        Ok(self.decisions.write(department, &text).await?)
    }
}

/// The index of the statement that admitted the department with this key.
fn admission_index(directory: &Directory, first_key: &PublicKey) -> Option<u64> {
    directory.key(first_key.id()).map(|key| key.added_at)
}

/// An offer that was read; its MAC may still be wrong.
struct Offer {
    department: DepartmentId,
    first_key: PublicKey,
    recovery_key: PublicKey,
}

impl Offer {
    fn read(bytes: &[u8], exchange: &ExchangeId) -> Result<Self, Refusal> {
        let malformed = |field: &str| Refusal::new(Code::MessageMalformed).at(field);
        if bytes.len() > LARGEST_OFFER {
            return Err(Refusal::new(Code::MessageTooLarge).at("offer"));
        }
        let offer = wire::EnrolmentOffer::decode(bytes).map_err(|_| malformed("offer"))?;
        if offer.exchange_id != exchange.as_str() {
            return Err(Refusal::new(Code::ExchangeWrong).at("offer.exchange_id"));
        }
        let department = offer.department.parse();
        let key =
            |field: &str, bytes: &[u8]| PublicKey::ed25519(bytes).map_err(|error| malformed(field).because(error));
        Ok(Self {
            department: department.map_err(|error| malformed("offer.department").because(error))?,
            first_key: key("offer.first_key", &offer.first_key)?,
            recovery_key: key("offer.recovery_key", &offer.recovery_key)?,
        })
    }
}

/// A decision that waits for its department.
struct Pending {
    profile: DepartmentProfile,
    secret: Secret,
    expires_ms: u64,
}

impl std::ops::Deref for Pending {
    type Target = DepartmentProfile;
    fn deref(&self) -> &DepartmentProfile {
        &self.profile
    }
}

/// The file's form.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PendingFile {
    name: String,
    name_en: String,
    uscc: String,
    division: String,
    secret: String,
    expires_ms: u64,
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

impl Pending {
    fn to_toml(&self) -> Result<zeroize::Zeroizing<String>, String> {
        let file = PendingFile {
            name: self.profile.name.zh.clone(),
            name_en: self.profile.name.en.clone(),
            uscc: self.profile.uscc.clone(),
            division: self.profile.division.clone(),
            secret: self.secret.to_hex().to_string(),
            expires_ms: self.expires_ms,
        };
        toml::to_string(&file).map(zeroize::Zeroizing::new).map_err(|error| error.to_string())
    }

    fn from_toml(text: &[u8], department: &DepartmentId) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
        // The parser's own message would quote the line, and the line may be the secret's.
        let file: PendingFile = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        Ok(Self {
            profile: DepartmentProfile {
                department: department.clone(),
                name: wire::LocalName { zh: file.name.clone(), en: file.name_en.clone() },
                uscc: file.uscc.clone(),
                division: file.division.clone(),
            },
            secret: Secret::from_hex(&file.secret).ok_or_else(|| "its secret is no secret".to_owned())?,
            expires_ms: file.expires_ms,
        })
    }
}

/// Whether the folder holds a pending decision about a department; for tests.
#[cfg(test)]
pub(crate) fn is_pending(folder: &std::path::Path, department: &str) -> bool {
    folder.join(decisions::FOLDER).join(format!("{department}.toml")).exists()
}

#[cfg(test)]
mod tests;
