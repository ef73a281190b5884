//! Who asked about a subject, for a citizens' portal that speaks HTTP. Out of scope: what it is shown (`subject_log`).

use std::sync::Arc;

use proto::office::v1::{ListAskedRequest, ListAskedResponse};
use trust::refusal::Refusal;

use super::{Failure, Office};

impl Office {
    /// What was asked about a subject, for the portal of this name.
    ///
    /// # Errors
    /// It cannot be looked up, or the look-up not recorded.
    pub async fn asked_about(
        &self,
        portal: String,
        request: ListAskedRequest,
    ) -> Result<Result<ListAskedResponse, Refusal>, Failure> {
        let log = Arc::clone(self.corrections.subjects());
        let looked = tokio::task::spawn_blocking(move || log.for_portal(portal, request)).await?;
        looked.map_err(|error| {
            tracing::error!(%error, "who asked about a subject cannot be looked up");
            Failure::Unavailable(error.to_string())
        })
    }
}
