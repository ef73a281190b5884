//! Looks an earlier verification up by its receipt, from the evidence alone. Out of scope: proofs and bundles (`export`).

use proto::exchange::v1 as wire;
use trust::{
    evidence::Receipt,
    refusal::{Code, Refusal},
};

use super::{Asked, Asker, Error, OfficeQuestion};
use crate::{
    asked::{self, message, read_back},
    logs,
};

/// Why a receipt finds no verification.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotFound {
    /// The month's key was destroyed: only the proof that something was asked is left.
    #[error("{}", asked::Error::Destroyed)]
    Destroyed,
    /// Our own failure.
    #[error(transparent)]
    Failed(#[from] Error),
    /// No entry has this receipt, or it is not the receipt of a verification.
    #[error("{}", asked::Error::Unknown)]
    Unknown,
}

impl From<asked::Error> for NotFound {
    fn from(error: asked::Error) -> Self {
        match error {
            asked::Error::Destroyed => Self::Destroyed,
            asked::Error::Journal(error) => Self::Failed(error.into()),
            asked::Error::StoredUnreadable => Self::Failed(Error::StoredUnreadable),
            asked::Error::Unknown => Self::Unknown,
        }
    }
}

impl Asker {
    /// The verification that the receipt was given for.
    pub fn show(&self, receipt: &Receipt) -> Result<Asked, NotFound> {
        let place = self.journal.find(receipt).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let stored = self.journal.entry(place).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let newest = stored
            .about
            .and_then(|question| self.newest(question).or_else(|| self.newest_beside(question, stored.index)));
        match newest {
            // The same question, as it stands now.
            Some(newest) if newest != stored.index => self.show_entry(newest),
            _ => Ok(read_back(self.journal.as_ref(), &stored, *receipt)?),
        }
    }

    pub(super) fn show_entry(&self, index: u64) -> Result<Asked, NotFound> {
        let stored = self.journal.entry(index).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let receipt = stored.entry.receipt(logs::index_in(index));
        Ok(read_back(self.journal.as_ref(), &stored, receipt)?)
    }

    /// Whether what the receipt finds was brought back from the other side's evidence, because the own one lost it.
    pub fn is_from_the_other_side(&self, receipt: &Receipt) -> bool {
        self.journal.find(receipt).ok().flatten().is_some_and(logs::is_recovered)
    }

    /// The stored answer under an idempotency key; refused where the question is another one.
    pub(super) async fn repeat(&self, office: &OfficeQuestion, index: u64) -> Result<Asked, Error> {
        let first = self.journal.entry(index)?.ok_or(Error::StoredUnreadable)?;
        let index = first.about.and_then(|question| self.newest(question)).unwrap_or(index);
        let stored = self.journal.entry(index)?.ok_or(Error::StoredUnreadable)?;
        let question = match stored.about {
            Some(question) => self.journal.entry(question)?.ok_or(Error::StoredUnreadable)?,
            None => return Err(Error::StoredUnreadable),
        };
        let asked_before: wire::Request = message(&question).ok_or(Error::StoredUnreadable)?;
        let receipt = stored.entry.receipt(logs::index_in(index));
        match self.prepare(office) {
            Ok((again, _)) if is_same(&again.wire, &asked_before) => {
                match read_back(self.journal.as_ref(), &stored, receipt) {
                    Ok(asked) => Ok(asked),
                    Err(asked::Error::Journal(error)) => Err(error.into()),
                    Err(_) => Err(Error::StoredUnreadable),
                }
            }
            Ok(_) => {
                let refusal = Refusal::new(Code::RequestIdReused).at("idempotency_key");
                self.refuse(office, refusal.because("another question was asked with this key")).await
            }
            Err(refusal) => self.refuse(office, refusal).await,
        }
    }
}

/// Whether two requests ask the same, whenever and under whatever id.
fn is_same(left: &wire::Request, right: &wire::Request) -> bool {
    let question = |request: &wire::Request| wire::Request {
        request_id: Vec::new(),
        sender_node: String::new(),
        issued_at_ms: 0,
        expires_at_ms: 0,
        directory_size: 0,
        directory_root: Vec::new(),
        grant: Vec::new(),
        trace: String::new(),
        // A later try asks for a later end.
        subscription: request.subscription.as_ref().map(|_| wire::Subscription::default()),
        ..request.clone()
    };
    question(left) == question(right)
}
