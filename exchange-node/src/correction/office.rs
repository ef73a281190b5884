//! Corrections for office systems: open, show, list, each as far as its key reaches, over gRPC, whose service stands here, and
//! over HTTP (`office::http`). Each call shows an API key; on the admin socket none is asked for. What becomes of a correction
//! is the parent's.

use std::sync::Arc;

use proto::{
    exchange::v1::{self as exchange, correction_reply::Said},
    office::v1::{
        ListCorrectionsRequest, ListCorrectionsResponse, OpenCorrectionRequest, OpenCorrectionResponse,
        OpenedCorrection, ShowCorrectionRequest,
        corrections_server::{Corrections as Service, CorrectionsServer},
    },
};
use tonic::{Request, Response, Status};
use trust::{
    evidence::{ItemReceipt, Receipt},
    refusal::Refusal,
};

use super::{
    Corrections, Error, NewCorrection,
    book::{Opened, OpenedState, id_of},
    find,
};
use crate::{
    journal::JournalError,
    logs,
    office::{
        Failure,
        cursor::{cursor_of, most_of, place_of},
        read_item_receipt,
        sign_in::SignIn,
    },
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
    /// Opens a correction for an office system, where its key reaches the answer.
    ///
    /// # Errors
    /// The receipt is none, there is no such answer for this caller, or our own failure.
    pub async fn open_for(
        self: &Arc<Self>,
        caller: Caller,
        request: OpenCorrectionRequest,
    ) -> Result<Result<OpenedCorrection, Refusal>, Failure> {
        let OpenCorrectionRequest { receipt, reason, text, officer } = request;
        let ItemReceipt { receipt, item } = read_item_receipt(&receipt)?;
        let corrections = Arc::clone(self);
        let visible = tokio::task::spawn_blocking(move || {
            let item = match item {
                Some(item) => Some(item),
                None => corrections.item_answered(&receipt)?,
            };
            corrections.check_answer_visible(&caller, &receipt, item)?;
            Ok::<_, Error>(item)
        });
        let item = visible.await?.map_err(failure)?;
        let corrections = Arc::clone(self);
        let new = NewCorrection { receipt, reason, text, officer };
        // In a task of its own: where the office hangs up, what was opened stands in the book.
        let opened = tokio::spawn(async move {
            match item {
                None => corrections.open(new).await,
                Some(item) => corrections.open_item(item, new).await,
            }
        });
        let opened = opened.await?.map_err(failure)?;
        Ok(match opened {
            Ok(row) => Ok(self.to_wire(&row).map_err(failure)?),
            Err(refusal) => Err(refusal),
        })
    }

    /// The correction with this id, or of the answer with this receipt, for an office system.
    ///
    /// # Errors
    /// There is none for this caller, or our own failure.
    pub async fn show_for(self: &Arc<Self>, caller: Caller, id: String) -> Result<OpenedCorrection, Failure> {
        let corrections = Arc::clone(self);
        let shown = tokio::task::spawn_blocking(move || {
            let row = corrections.find_opened(id.trim())?;
            corrections.check_visible(&caller, row.question)?;
            corrections.to_wire(&row)
        });
        shown.await?.map_err(failure)
    }

    /// Corrections for an office system, the newest first, each with its place, behind a place; as many as `most`.
    ///
    /// # Errors
    /// Our own failure.
    pub async fn list_for(
        self: &Arc<Self>,
        caller: Caller,
        all: bool,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<(u64, OpenedCorrection)>, Failure> {
        let corrections = Arc::clone(self);
        let listed = tokio::task::spawn_blocking(move || {
            let mut shown = Vec::new();
            let rows = corrections.book.opened().into_iter().filter(|row| all || row.state.is_open());
            for row in rows.filter(|row| before.is_none_or(|before| row.entry < before)) {
                match corrections.check_visible(&caller, row.question) {
                    Ok(()) if shown.len() < most => shown.push((row.entry, corrections.to_wire(&row)?)),
                    Ok(()) => break,
                    Err(Error::Unknown) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(shown)
        });
        listed.await?.map_err(failure)
    }

    /// The correction at this place in the evidence.
    pub fn opened(&self, entry: u64) -> Option<Opened> {
        self.book.opened_at(entry)
    }

    /// What the question at a place is about, as far as keys are limited by it: department, service, item. Reads the evidence.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn scope_of(&self, question: u64) -> Result<(String, String, String), Error> {
        Ok(scope(find::message::<exchange::Request>(self.journal.as_ref(), question)?.0))
    }

    /// A key with limits sees the corrections of what it could have asked, and nothing else. Reads the evidence.
    fn check_visible(&self, caller: &Caller, question: u64) -> Result<(), Error> {
        if caller.limits.is_open() {
            return Ok(());
        }
        covers(caller, &self.scope_of(question)?)
    }

    /// As [`Corrections::check_visible`], of the question that an answer is to. An unknown receipt is refused by the opening.
    fn check_answer_visible(&self, caller: &Caller, receipt: &Receipt, item: Option<usize>) -> Result<(), Error> {
        if caller.limits.is_open() {
            return Ok(());
        }
        if let Some(item) = item {
            let asked = self.item_question(receipt, item)?.ok_or(Error::Unknown)?;
            return covers(caller, &scope(asked));
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
            paper_accepted: row.doubts(),
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
        Ok(Response::new(match self.corrections.open_for(caller, request.into_inner()).await? {
            Ok(correction) => OpenCorrectionResponse { correction: Some(correction), refused: None },
            Err(refusal) => OpenCorrectionResponse { correction: None, refused: Some(refusal.to_wire()) },
        }))
    }

    async fn show(&self, request: Request<ShowCorrectionRequest>) -> Result<Response<OpenedCorrection>, Status> {
        let caller = self.caller(&request)?;
        Ok(Response::new(self.corrections.show_for(caller, request.into_inner().id).await?))
    }

    async fn list(
        &self,
        request: Request<ListCorrectionsRequest>,
    ) -> Result<Response<ListCorrectionsResponse>, Status> {
        let caller = self.caller(&request)?;
        let ListCorrectionsRequest { all, limit, cursor } = request.into_inner();
        let most = most_of(limit, MOST_LISTED, MOST_LISTED);
        let listed = self.corrections.list_for(caller, all, place_of(&cursor)?, most).await?;
        let last = listed.last().filter(|_| listed.len() == most);
        let next_cursor = last.map(|(place, _)| cursor_of(*place)).unwrap_or_default();
        let corrections = listed.into_iter().map(|(_, correction)| correction).collect();
        Ok(Response::new(ListCorrectionsResponse { corrections, next_cursor }))
    }
}

/// What a question is about, as far as keys are limited by it.
fn scope(asked: exchange::Request) -> (String, String, String) {
    let provider = asked.recipient.split_once('/').map_or("", |(_, department)| department).to_owned();
    (provider, asked.service, asked.purpose.unwrap_or_default().item)
}

/// Whether a key with limits could have asked this.
fn covers(caller: &Caller, (provider, service, item): &(String, String, String)) -> Result<(), Error> {
    caller.limits.covers(provider, service, item).map_err(|_| Error::Unknown)
}

/// How many a page has at most, and where nobody says how many.
const MOST_LISTED: usize = 1000;

fn failure(error: Error) -> Failure {
    match error {
        Error::Unknown => Failure::NotFound(error.to_string()),
        Error::Journal(JournalError::Held { reason }) => Failure::Unavailable(reason.as_str().to_owned()),
        error => {
            tracing::error!(%error, "a correction could not be opened or shown");
            Failure::Unavailable(error.to_string())
        }
    }
}

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
