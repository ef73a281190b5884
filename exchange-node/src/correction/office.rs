//! The offices' service about corrections: open, show, list. Each call shows an API key; on the admin socket none is asked for.
//! It translates; what becomes of a correction is the parent's.

use std::sync::Arc;

use proto::{
    exchange::v1::{self as exchange, correction_reply::Said},
    office::v1::{
        self as wire, ListCorrectionsRequest, ListCorrectionsResponse, OpenCorrectionRequest, OpenCorrectionResponse,
        OpenedCorrection, ShowCorrectionRequest,
        corrections_server::{Corrections as Service, CorrectionsServer},
    },
};
use tonic::{Request, Response, Status};
use trust::evidence::{ItemReceipt, Receipt};

use super::{
    Corrections, Error, NewCorrection,
    book::{Opened, OpenedState, id_of},
    find,
};
use crate::{
    journal::JournalError,
    logs,
    office::sign_in::SignIn,
    office_edge::{LARGEST_MESSAGE, signed_in},
    office_keys::Caller,
};

/// The service.
#[derive(Clone, Debug)]
pub struct OfficeCorrections {
    corrections: Arc<Corrections>,
    /// How office systems sign in; `None` on the admin socket.
    sign_in: Option<SignIn>,
}

impl OfficeCorrections {
    /// As a tonic service with its limit on messages.
    pub fn server(corrections: Arc<Corrections>, sign_in: Option<SignIn>) -> CorrectionsServer<Self> {
        CorrectionsServer::new(Self { corrections, sign_in }).max_decoding_message_size(LARGEST_MESSAGE)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        signed_in(self.sign_in.as_ref(), request)
    }
}

impl Corrections {
    /// A key with limits sees the corrections of what it could have asked, and nothing else. Reads the evidence.
    fn check_visible(&self, caller: &Caller, question: u64) -> Result<(), Error> {
        if caller.limits.is_open() {
            return Ok(());
        }
        covers(caller, &find::message::<exchange::Request>(self.journal.as_ref(), question)?.0)
    }

    /// As [`Corrections::check_visible`], of the question that an answer is to. An unknown receipt is refused by the opening.
    fn check_answer_visible(&self, caller: &Caller, receipt: &Receipt, item: Option<usize>) -> Result<(), Error> {
        if caller.limits.is_open() {
            return Ok(());
        }
        if let Some(item) = item {
            let asked = self.item_question(receipt, item)?.ok_or(Error::Unknown)?;
            return covers(caller, &asked);
        }
        let place = self.journal.find(receipt)?.ok_or(Error::Unknown)?;
        let question = self.journal.entry(place)?.and_then(|stored| stored.about).ok_or(Error::Unknown)?;
        self.check_visible(caller, question)
    }

    /// A correction as offices see it. Reads the evidence.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub fn to_wire(&self, row: &Opened) -> Result<OpenedCorrection, Error> {
        let mut shown = OpenedCorrection {
            id: id_of(&row.digest).to_owned(),
            state: row.state.as_str().to_owned(),
            receipt: row.receipt.clone(),
            provider: row.provider.clone(),
            service: row.service.clone(),
            major_version: row.major,
            case_number: find::message::<exchange::Correction>(self.journal.as_ref(), row.entry)?.0.case_number,
            reason: row.reason.clone(),
            officer: row.officer.clone(),
            opened_at_ms: row.opened_ms,
            due_at_ms: row.due_ms,
            overdue: row.state == OpenedState::Open && self.clock.now_ms() > row.due_ms,
            paper_accepted: row.state.is_open(),
            decision_reason: row.decision_reason.clone(),
            decided_at_ms: row.decided_ms,
            corrected_receipt: String::new(),
            refusal: None,
        };
        if let Some(place) = row.corrected {
            let stored = self.journal.entry(place)?.ok_or(Error::StoredUnreadable)?;
            shown.corrected_receipt = stored.entry.receipt(logs::index_in(place)).to_string();
        }
        if let (OpenedState::Refused, Some(place)) = (row.state, row.reply) {
            let (reply, _) = find::message::<exchange::CorrectionReply>(self.journal.as_ref(), place)?;
            if let Some(Said::Refused(refusal)) = reply.said {
                shown.refusal = Some(refusal);
            }
        }
        Ok(shown)
    }

    fn find_opened(&self, id: &str) -> Result<Opened, Error> {
        let of_id = self.book.opened_by(|row| id_of(&row.digest) == id || row.receipt == id);
        if let Some(row) = of_id {
            return Ok(row);
        }
        // The receipt of another answer to the same question.
        let receipt = id.parse::<Receipt>().map_err(|_| Error::Unknown)?;
        let place = self.journal.find(&receipt)?.ok_or(Error::Unknown)?;
        let question = self.journal.entry(place)?.and_then(|stored| stored.about).ok_or(Error::Unknown)?;
        self.book.opened_by(|row| row.question == question).ok_or(Error::Unknown)
    }
}

#[tonic::async_trait]
impl Service for OfficeCorrections {
    async fn open(&self, request: Request<OpenCorrectionRequest>) -> Result<Response<OpenCorrectionResponse>, Status> {
        let caller = self.caller(&request)?;
        let wire::OpenCorrectionRequest { receipt, reason, text, officer } = request.into_inner();
        let ItemReceipt { receipt, item } = receipt
            .parse()
            .map_err(|error: trust::evidence::NotAReceipt| Status::invalid_argument(format!("receipt: {error}")))?;
        let corrections = Arc::clone(&self.corrections);
        let visible = tokio::task::spawn_blocking(move || corrections.check_answer_visible(&caller, &receipt, item));
        let visible = visible.await.map_err(|error| Status::internal(error.to_string()))?;
        visible.map_err(|error| failed(&error))?;
        let corrections = Arc::clone(&self.corrections);
        let new = NewCorrection { receipt, reason, text, officer };
        // In a task of its own: where the office hangs up, what was opened stands in the book.
        let opened = tokio::spawn(async move {
            match item {
                None => corrections.open(new).await,
                Some(item) => corrections.open_item(item, new).await,
            }
        });
        let opened = opened.await;
        let opened = opened.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| failed(&error))?;
        Ok(Response::new(match opened {
            Ok(row) => {
                let correction = self.corrections.to_wire(&row).map_err(|error| failed(&error))?;
                OpenCorrectionResponse { correction: Some(correction), refused: None }
            }
            Err(refusal) => OpenCorrectionResponse { correction: None, refused: Some(refusal.to_wire()) },
        }))
    }

    async fn show(&self, request: Request<ShowCorrectionRequest>) -> Result<Response<OpenedCorrection>, Status> {
        let caller = self.caller(&request)?;
        let id = request.into_inner().id;
        let corrections = Arc::clone(&self.corrections);
        let shown = tokio::task::spawn_blocking(move || {
            let row = corrections.find_opened(id.trim())?;
            corrections.check_visible(&caller, row.question)?;
            corrections.to_wire(&row)
        });
        let shown = shown.await.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(shown.map_err(|error| failed(&error))?))
    }

    async fn list(
        &self,
        request: Request<ListCorrectionsRequest>,
    ) -> Result<Response<ListCorrectionsResponse>, Status> {
        let caller = self.caller(&request)?;
        let all = request.into_inner().all;
        let corrections = Arc::clone(&self.corrections);
        let listed = tokio::task::spawn_blocking(move || {
            let mut shown = Vec::new();
            for row in corrections.book.opened().into_iter().filter(|row| all || row.state.is_open()) {
                match corrections.check_visible(&caller, row.question) {
                    Ok(()) if shown.len() < MOST_LISTED => shown.push(corrections.to_wire(&row)?),
                    Ok(()) => break,
                    Err(Error::Unknown) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(shown)
        });
        let listed = listed.await.map_err(|error| Status::internal(error.to_string()))?;
        let corrections = listed.map_err(|error| failed(&error))?;
        Ok(Response::new(ListCorrectionsResponse { corrections }))
    }
}

/// Whether a key with limits could have asked this.
fn covers(caller: &Caller, asked: &exchange::Request) -> Result<(), Error> {
    let provider = asked.recipient.split_once('/').map_or("", |(_, department)| department);
    let item = asked.purpose.as_ref().map_or("", |purpose| &purpose.item);
    caller.limits.covers(provider, &asked.service, item).map_err(|_| Error::Unknown)
}

/// The newest, where there are more.
const MOST_LISTED: usize = 1000;

pub(crate) fn failed(error: &Error) -> Status {
    match error {
        Error::Unknown => Status::not_found(error.to_string()),
        Error::Journal(JournalError::Held { reason }) => Status::unavailable(reason.as_str()),
        Error::RecordAway => Status::unavailable(error.to_string()),
        _ => {
            tracing::error!(%error, "a command about corrections failed");
            Status::unavailable(error.to_string())
        }
    }
}
