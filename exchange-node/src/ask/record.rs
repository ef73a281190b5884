//! What the asking side makes durable: the question before it leaves, and what became of it. Out of scope: where it is
//! kept (`journal`).

use std::time::Duration;

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, outcome::What};
use trust::{envelope, evidence::Receipt, ids::Digest, question::Question, refusal::Refusal};

use super::{Asked, Asker, Ending, Error, OfficeQuestion, request, send::Sent};
use crate::{
    journal::{Commit, Committed, NewEntry},
    keys::seal,
    peers::Patience,
    usage::{self, Mark, Usage},
};

impl Asker {
    /// Signs the request and makes it durable. Only then may it leave.
    pub(super) async fn record_question(
        &self,
        question: Question,
        patience: Patience,
        key: Option<[u8; 16]>,
        officer: Option<Mark>,
    ) -> Result<Sent, Error> {
        let (sealed, digest) = seal(&question.wire, self.signer.as_ref());
        let signed = envelope::signed(sealed);
        let entry = NewEntry { kind: EntryKind::QuestionSent, digest, message: signed.encode_to_vec() };
        let grant = Digest::try_from(question.wire.grant.as_slice()).ok();
        let grant = grant.map(|grant| usage::mark(&grant, self.me.department()));
        let committed = self.commit(vec![entry], None, key, (grant, officer), false).await?;
        self.count(&self.asked, grant);
        Ok(Sent { question, digest, signed, index: committed.first_index, patience, grant })
    }

    /// The node itself refuses to ask. That is an outcome, and stands in the evidence.
    ///
    /// # Errors
    ///
    /// It could not be made durable.
    pub async fn refuse(&self, office: &OfficeQuestion, refusal: Refusal) -> Result<Asked, Error> {
        let at_ms = self.clock.now_ms();
        tracing::info!(code = refusal.code.as_str(), field = refusal.field, system = office.system, "refused to ask");
        let refusal = refusal.to_wire();
        let receipt = self.record_outcome(at_ms, None, None, What::Refused(refusal.clone())).await?;
        Ok(Asked {
            ending: Ending::Refused { refusal, by: None },
            receipt,
            request_digest: None,
            provider: request::name(&format!("{}/{}", self.me.exchange(), office.provider)),
            service: request::name(&office.service),
            service_version: office.service_version,
            asked_at_ms: at_ms,
            elapsed: Duration::ZERO,
            case_number: office.case_number.clone(),
            item: office.item().to_owned(),
            officer: office.officer.clone(),
            clerk: String::new(),
            number: 0,
            correction: String::new(),
        })
    }

    pub(super) async fn record_unanswered(&self, index: u64, digest: &Digest, reason: &str) -> Result<Receipt, Error> {
        let what = What::Unanswered(reason.to_owned());
        self.record_outcome(self.clock.now_ms(), Some(index), Some(digest), what).await
    }

    pub(super) async fn record_outcome(
        &self,
        at_ms: u64,
        about: Option<u64>,
        digest: Option<&Digest>,
        what: What,
    ) -> Result<Receipt, Error> {
        let outcome = wire::Outcome {
            exchange_id: self.me.exchange().to_string(),
            sender: self.me.to_string(),
            request_digest: digest.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default(),
            at_ms,
            what: Some(what),
        };
        let (sealed, digest) = seal(&outcome, self.signer.as_ref());
        let message = envelope::signed(sealed).encode_to_vec();
        let entry = NewEntry { kind: EntryKind::Outcome, digest, message };
        last(&self.commit(vec![entry], about, None, (None, None), false).await?)
    }

    pub(super) async fn commit(
        &self,
        entries: Vec<NewEntry>,
        about: Option<u64>,
        idempotency: Option<[u8; 16]>,
        (grant, officer): (Option<Mark>, Option<Mark>),
        duty: bool,
    ) -> Result<Committed, Error> {
        let at_ms = self.clock.now_ms();
        let commit = Commit { at_ms, entries, about, idempotency, grant, officer, duty, ..Commit::default() };
        Ok(self.journal.commit(commit).await?)
    }

    /// Counts a use of a grant that is in the journal.
    pub(super) fn count(&self, uses: &Usage, grant: Option<Mark>) {
        if let Some(grant) = grant {
            let seen = self.view.seen();
            uses.count(&grant, &seen.directory().profile().calendar, self.clock.now_ms());
        }
    }
}

/// The receipt of the last entry.
pub(super) fn last(committed: &Committed) -> Result<Receipt, Error> {
    committed.receipts.last().copied().ok_or(Error::StoredUnreadable)
}
