//! Says that the log's key is lost and another takes its place, once nothing is held back (`replacement`).

use prost::Message;
use trust::{
    directory::{Object, statement},
    envelope,
    key::Signer,
};

use super::{Error, SequencerTask};

impl SequencerTask {
    /// Where the log's key is lost, makes the statement that brings the next one. Nothing can be signed before.
    pub(super) async fn replace_log_key(&mut self) -> Result<(), Error> {
        let Some(replacement) = self.replacement.take() else { return Ok(()) };
        self.catch_up().await?;
        let entry = {
            let directory = self.shared.directory();
            if directory.log_key().is_some_and(|key| self.log_keys.held(key).is_some()) {
                // Said before a crash, or not lost at all.
                None
            } else {
                let predecessor = directory.last(&Object::Log).map(|place| place.digest);
                let (exchange, now_ms) = (directory.exchange(), self.clock.now_ms());
                let statement = statement(exchange, &Object::Log, predecessor.as_ref(), now_ms, replacement.body());
                let (mut envelope, _) = envelope::unsigned(&statement);
                for signer in replacement.signers() {
                    envelope::countersign(&mut envelope, signer)
                        .map_err(|error| Error::Replacement(error.to_string()))?;
                }
                Some(envelope.encode_to_vec())
            }
        };
        if let Some(entry) = entry {
            let accepted = self.take_one(entry).await?;
            let accepted = accepted.map_err(|refusal| Error::Replacement(refusal.to_string()))?;
            let key = replacement.key().public_key().id().to_string();
            tracing::warn!(index = accepted.index, key, "the log's key is lost: another has taken its place");
        }
        replacement.done().map_err(|error| Error::Replacement(error.to_string()))
    }
}
