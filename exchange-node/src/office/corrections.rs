//! Corrections for office systems that speak HTTP. Out of scope: what becomes of one, and who may see which (`correction`).

use proto::office::v1::OpenCorrectionRequest;
use trust::refusal::Refusal;

use super::{Failure, Office, json::Correction};
use crate::office_keys::Caller;

impl Office {
    /// Opens a correction of an answer.
    ///
    /// # Errors
    /// There is no such answer for this caller, or our own failure.
    pub async fn open_correction(
        &self,
        caller: &Caller,
        new: OpenCorrectionRequest,
    ) -> Result<Result<Correction, Refusal>, Failure> {
        Ok(self.corrections.open_for(caller.clone(), new).await?.map(Correction::from))
    }

    /// A correction by its id, or by the receipt of the answer.
    ///
    /// # Errors
    /// There is none for this caller, or it cannot be read.
    pub async fn correction(&self, caller: &Caller, id: String) -> Result<Correction, Failure> {
        Ok(self.corrections.show_for(caller.clone(), id).await?.into())
    }

    /// Corrections, the newest first, each with its place, behind a place.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn corrections(
        &self,
        caller: &Caller,
        all: bool,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<(u64, Correction)>, Failure> {
        let listed = self.corrections.list_for(caller.clone(), all, before, most).await?;
        Ok(listed.into_iter().map(|(place, correction)| (place, correction.into())).collect())
    }
}
