//! Cases for office systems: what a caller may see and do of them. Out of scope: what a case is (`case`).

use std::{sync::Arc, time::Duration};

use futures_util::stream::{Stream, StreamExt as _};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use trust::refusal::{Code, Refusal};

use super::{
    Failure, Office,
    json::{CaseEvent, Commitment},
};
use crate::{
    case::{AddToCase, Case, Error, Head, NewCommitment, OpenCase},
    case_edge,
    office_keys::Caller,
};

/// A case, or why nothing was done.
type Handled = Result<proto::office::v1::Case, Refusal>;

impl Office {
    /// Opens a case, and asks for all its proofs at once; whether it was opened now, and not before.
    ///
    /// # Errors
    /// Our own failure.
    pub async fn open_case(
        &self,
        caller: &Caller,
        new: OpenCase,
    ) -> Result<Result<(proto::office::v1::Case, bool), Refusal>, Failure> {
        if let Err(field) = caller.limits.covers_case(&new.item) {
            return Ok(Err(Refusal::new(Code::OfficeKeyNotCovering).at(field)));
        }
        let cases = Arc::clone(&self.cases);
        // In a task of its own: where the office hangs up, what came is kept all the same.
        let opened = tokio::spawn(async move { cases.open(new).await }).await?;
        Ok(opened.map_err(failed)?.map(|opened| (self.case_seen(&opened.case), opened.is_new)))
    }

    /// Adds people, values or papers to a case, and asks what is missing.
    ///
    /// # Errors
    /// There is none for this caller, or our own failure.
    pub async fn add_to_case(&self, caller: &Caller, more: AddToCase) -> Result<Handled, Failure> {
        self.case(caller, &more.number)?;
        let cases = Arc::clone(&self.cases);
        let added = tokio::spawn(async move { cases.add(more).await }).await?;
        Ok(added.map_err(failed)?.map(|case| self.case_seen(&case)))
    }

    /// How long all questions of a case may take, in milliseconds, for an office that waits so long.
    pub fn case_deadline(&self, wished_ms: u32, waits: Option<Duration>) -> u32 {
        self.cases.deadline(wished_ms, waits)
    }

    /// A case as it stands.
    ///
    /// # Errors
    /// There is none for this caller, or it cannot be read.
    pub fn case(&self, caller: &Caller, number: &str) -> Result<proto::office::v1::Case, Failure> {
        Ok(self.case_seen(&self.own_case(caller, number)?))
    }

    /// The slip for the applicant, as text to print.
    ///
    /// # Errors
    /// As for [`Office::case`].
    pub fn slip(&self, caller: &Caller, number: &str) -> Result<String, Failure> {
        let case = self.own_case(caller, number)?;
        Ok(case.slip(&self.cases.clock_of(&case), |at_ms| self.cases.date(at_ms)))
    }

    /// A case as it stands, and then each change of it as it comes. Ends with `stop`.
    ///
    /// # Errors
    /// As for [`Office::case`].
    pub fn watch_case(
        &self,
        caller: &Caller,
        number: &str,
        stop: CancellationToken,
    ) -> Result<impl Stream<Item = CaseEvent> + Send + use<>, Failure> {
        self.own_case(caller, number)?;
        let watched = self.cases.watch(number).map_err(failed)?;
        let cases = Arc::clone(&self.cases);
        let events = ReceiverStream::new(watched);
        let events = events.map(move |seen| CaseEvent::from(case_edge::event_to_wire(&cases, &seen)));
        Ok(events.take_until(stop.cancelled_owned()))
    }

    /// Takes a commitment in place of a proof.
    ///
    /// # Errors
    /// There is no such case for this caller, or our own failure.
    pub async fn commit_in_case(&self, caller: &Caller, new: NewCommitment) -> Result<Handled, Failure> {
        self.own_case(caller, &new.number)?;
        let cases = Arc::clone(&self.cases);
        let committed = tokio::spawn(async move { cases.commit(new).await }).await?;
        Ok(committed.map_err(failed)?.map(|case| self.case_seen(&case)))
    }

    /// Stops the clock of a case, or lets it run again where there is no reason.
    ///
    /// # Errors
    /// There is no such case for this caller, or our own failure.
    pub async fn pause_case(
        &self,
        caller: &Caller,
        number: String,
        reason: String,
        officer: String,
    ) -> Result<Handled, Failure> {
        self.own_case(caller, &number)?;
        let cases = Arc::clone(&self.cases);
        let paused = tokio::spawn(async move { cases.pause(&number, &reason, &officer).await }).await?;
        Ok(paused.map_err(failed)?.map(|case| self.case_seen(&case)))
    }

    /// Commitments, the oldest first, behind an id; of one state and of one case where these are given.
    pub fn commitments(
        &self,
        caller: &Caller,
        (state, number): (&str, &str),
        behind: &str,
        most: usize,
    ) -> Vec<Commitment> {
        let rows = self.cases.commitments(state, number).into_iter().filter(|row| row.id.as_str() > behind);
        let rows = rows.filter(|row| caller.limits.covers_case(&row.item).is_ok()).take(most);
        rows.map(|row| row.to_wire().into()).collect()
    }

    /// Says that a broken commitment was put right.
    ///
    /// # Errors
    /// There is no such commitment for this caller, or our own failure.
    pub async fn repair_commitment(
        &self,
        caller: &Caller,
        id: String,
        officer: String,
        how: String,
    ) -> Result<Result<Commitment, Refusal>, Failure> {
        let known = self.cases.commitment(&id).filter(|row| caller.limits.covers_case(&row.item).is_ok());
        known.ok_or_else(|| failed(Error::Unknown))?;
        let cases = Arc::clone(&self.cases);
        let repaired = tokio::spawn(async move { cases.repair(&id, &officer, &how).await }).await?;
        Ok(repaired.map_err(failed)?.map(|row| row.to_wire().into()))
    }

    /// Cases, the newest first, behind a case number.
    ///
    /// # Errors
    /// There is no such case for this caller.
    pub fn case_list(&self, caller: &Caller, after: &str, most: usize) -> Result<Vec<Head>, Failure> {
        let seen = |head: &Head| caller.limits.covers_case(&head.item).is_ok();
        if !after.is_empty() && self.cases.head(after).is_none_or(|head| !seen(&head)) {
            let reason = "the cursor is none that this node gave out".to_owned();
            return Err(Failure::Malformed { field: "cursor", reason });
        }
        Ok(self.cases.list(most, after, seen))
    }

    fn own_case(&self, caller: &Caller, number: &str) -> Result<Case, Failure> {
        let case = self.cases.show(number).map_err(failed)?;
        caller.limits.covers_case(&case.item).map_err(|_| failed(Error::Unknown))?;
        Ok(case)
    }

    fn case_seen(&self, case: &Case) -> proto::office::v1::Case {
        case_edge::to_wire(&self.cases, case)
    }
}

fn failed(error: Error) -> Failure {
    match error {
        Error::Unknown | Error::Destroyed => Failure::NotFound(error.to_string()),
        Error::Ask(error) => super::failed(error),
        error => {
            tracing::error!(%error, "a case could not be handled");
            Failure::Unavailable(error.to_string())
        }
    }
}
