//! One item of a batch is doubted. The provider knows an answer by the identity of its entry, and a batch has one for all: so
//! the node puts the same question again, alone, and doubts that answer, where it is still the same. Asking again is a use of
//! the grant, and tries nothing new. Where the record was wrong the item's own answer is followed too (`tell`). Out of scope:
//! opening a correction (`open`).

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, signed::Form};
use trust::{
    batch,
    evidence::Receipt,
    refusal::{Code, Refusal},
};

use super::{Corrections, Error, NewCorrection, book::Opened};
use crate::{
    ask::{Ending, NotFound, OfficeQuestion},
    asked::{item_in, message},
};

impl Corrections {
    /// The question of one item of a batch, found by the receipt of its answer; `None` where there is none. Blocks.
    pub(super) fn item_question(&self, receipt: &Receipt, item: usize) -> Result<Option<wire::Request>, Error> {
        let Some(place) = self.journal.find(receipt)? else { return Ok(None) };
        let stored = self.journal.entry(place)?.ok_or(Error::StoredUnreadable)?;
        let (EntryKind::AnswerReceived, Some(question)) = (stored.entry.kind, stored.about) else { return Ok(None) };
        let question = self.journal.entry(question)?.ok_or(Error::StoredUnreadable)?;
        let bytes = question.message.as_deref().ok_or(Error::StoredUnreadable)?;
        let signed = wire::Signed::decode(bytes).map_err(|_| Error::StoredUnreadable)?;
        let Some(Form::Batch(batch)) = signed.form else { return Ok(None) };
        let payload = batch::question_payload(&batch, item);
        if payload.is_empty() {
            return Ok(None);
        }
        wire::Request::decode(payload.as_slice()).map(Some).map_err(|_| Error::StoredUnreadable)
    }

    /// Which item of a batch an answer is to that followed the item's first, found by its receipt; `None` for any other. Blocks.
    pub(super) fn item_answered(&self, receipt: &Receipt) -> Result<Option<usize>, Error> {
        let Some(place) = self.journal.find(receipt)? else { return Ok(None) };
        let stored = self.journal.entry(place)?.ok_or(Error::StoredUnreadable)?;
        let (EntryKind::AnswerReceived, Some(question)) = (stored.entry.kind, stored.about) else { return Ok(None) };
        let Some(answer) = message::<wire::Answer>(&stored) else { return Ok(None) };
        let question = self.journal.entry(question)?.ok_or(Error::StoredUnreadable)?;
        Ok(item_in(&question, &answer.request_digest).map(|(item, _)| item))
    }

    /// Opens a correction of one item of a batch: `new` has the batch's receipt.
    ///
    /// # Errors
    /// Our own failure.
    pub async fn open_item(&self, item: usize, new: NewCorrection) -> Result<Result<Opened, Refusal>, Error> {
        let unknown = || Refusal::new(Code::AnswerUnknown).at("receipt");
        let not_correctable = |why: String| Refusal::new(Code::NotCorrectable).at("receipt").because(why);
        let Some(request) = self.item_question(&new.receipt, item)? else { return Ok(Err(unknown())) };
        let before = match self.asker.show_item(&new.receipt, item) {
            Ok(before) => before,
            Err(NotFound::Failed(error)) => return Err(error.into()),
            Err(NotFound::Destroyed | NotFound::Unknown) => return Ok(Err(unknown())),
        };
        let Ending::Answered { verdicts: doubted, .. } = before.ending else {
            return Ok(Err(not_correctable("it has no verdict".to_owned())));
        };
        // The same item again finds the same answer, and with it the correction that is open.
        let key = format!("item/{}/{item}", new.receipt);
        let alone = self.asker.ask(again(request, new.officer.clone(), key)).await?;
        let why = match alone.ending {
            Ending::Answered { verdicts, .. } => {
                let said = |verdicts: &[wire::ClaimVerdict]| -> Vec<i32> {
                    verdicts.iter().map(|verdict| verdict.verdict).collect()
                };
                if said(&verdicts) == said(&doubted) {
                    return self.open(NewCorrection { receipt: alone.receipt, ..new }).await;
                }
                format!("asked alone it is answered otherwise by now, as {} shows", alone.receipt)
            }
            Ending::Refused { refusal, .. } => format!("asked alone it is refused: {}", refusal.code),
            Ending::Deferred(_) => "asked alone it is answered later: doubt that answer".to_owned(),
            Ending::Unanswered { reason, .. } => {
                format!("asked alone it gets no answer for the moment ({reason}): try again later")
            }
        };
        Ok(Err(not_correctable(why)))
    }
}

/// The question as it was asked, for an office that asks it again.
fn again(request: wire::Request, officer: String, idempotency_key: String) -> OfficeQuestion {
    OfficeQuestion {
        provider: request.recipient.split_once('/').map_or("", |(_, department)| department).to_owned(),
        service: request.service,
        service_version: request.service_version,
        subject: request.subject,
        inputs: request.inputs,
        claims: request.claims,
        purpose: request.purpose,
        case_number: request.case_number,
        officer,
        system: request.system,
        authorisation: request.authorisation,
        idempotency_key,
        max_record_age_seconds: request.max_record_age_seconds,
        ..OfficeQuestion::default()
    }
}
