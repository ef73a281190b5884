//! Tells the registry which checkpoint of its own log this node verified, and hands over the statements that a restored
//! registry lacks. A registry that was put back from an older copy, with or without its operator's knowledge, learns so
//! that it has to wait; every node holds every statement, with a checkpoint that the log's own key signed.
//!
//! **Invariant:** what is told is the log's own signed word, with this node's cosignature of now: the registry has to trust
//! nobody. Out of scope: what the registry makes of it, and what this node makes of a registry that is behind (`view`).

use std::{sync::Arc, time::Duration};

use host::supervise::TaskError;
use proto::registry::v1::{HandOverRequest, TellRequest};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use trust::log::{checkpoint::Checkpoint, note::SignedNote};

use crate::me::Me;

/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to verify what was handed over.
const PATIENCE_FOR_ALL: Duration = Duration::from_secs(600);

/// How much one piece holds at most.
const PIECE_ENTRIES: usize = 256;
const PIECE_BYTES: usize = 1024 * 1024;

/// How many pieces wait.
const PIECES_WAITING: usize = 4;

/// Tells what this node saw.
#[derive(Debug)]
pub struct Teller(pub Me);

impl Teller {
    /// Tells the registry, and hands over what it asks for. Fails only where the registry cannot be reached.
    pub async fn tell(&self) -> Result<(), TaskError> {
        let Some((covered, note)) = self.note() else { return Ok(()) };
        let mut client = self.0.link.history(Some(&self.0.view))?;
        let told = match timeout(PATIENCE, client.tell(TellRequest { note })).await {
            Ok(Ok(told)) => told.into_inner(),
            // A registry of an earlier version; or one that cannot be reached, which whoever asks next finds out better.
            Ok(Err(status)) => {
                if status.code() != Code::Unimplemented {
                    tracing::debug!(%status, "the registry was not told what this node saw");
                }
                return Ok(());
            }
            Err(_) => return Err("the registry does not answer".into()),
        };
        self.0.view.set_registry_behind(told.catching_up);
        if let Some(refused) = told.refused {
            tracing::warn!(
                code = refused.code,
                message = refused.message,
                "the registry does not take what this node saw"
            );
            return Ok(());
        }
        if told.lacks {
            self.hand_over(told.from, covered).await?;
        }
        Ok(())
    }

    async fn hand_over(&self, from: u64, covered: u64) -> Result<(), TaskError> {
        tracing::warn!(from, covered, "the registry lacks statements of its own log: they are handed over");
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let (view, checkpoint) = (Arc::clone(&self.0.view), self.0.view.checkpoint().to_string());
        if covered_by(&checkpoint) != Some(covered) {
            // The view has grown meanwhile; the next time will do.
            return Ok(());
        }
        let reading = tokio::task::spawn_blocking(move || {
            let mut piece = HandOverRequest { checkpoint, start: from, entries: Vec::new() };
            let count = usize::try_from(covered.saturating_sub(from)).unwrap_or(usize::MAX);
            let mut bytes = 0;
            for (index, entry) in (from..).zip(view.entries_from(from).take(count)) {
                let entry = entry?;
                bytes += entry.len();
                piece.entries.push(entry);
                if bytes >= PIECE_BYTES || piece.entries.len() == PIECE_ENTRIES {
                    let next = HandOverRequest { start: index + 1, ..HandOverRequest::default() };
                    bytes = 0;
                    if sender.blocking_send(std::mem::replace(&mut piece, next)).is_err() {
                        // The registry has heard enough.
                        return Ok(());
                    }
                }
            }
            let _ = sender.blocking_send(piece);
            Ok::<_, crate::view::Error>(())
        });
        let mut client = self.0.link.history(Some(&self.0.view))?;
        let mut answers = client.hand_over(ReceiverStream::new(pieces)).await?.into_inner();
        let answer = timeout(PATIENCE_FOR_ALL, answers.message()).await??;
        reading.await??;
        match answer {
            Some(answer) => match answer.refused {
                None => tracing::info!(size = answer.size, "the registry has taken what it lacked"),
                Some(refused) => {
                    tracing::warn!(code = refused.code, message = refused.message, "the registry did not take it")
                }
            },
            None => return Err("the registry said nothing to what was handed over".into()),
        }
        Ok(())
    }

    /// The view's checkpoint with the log's own lines and, where the directory knows its key, this node's cosignature of now.
    fn note(&self) -> Option<(u64, String)> {
        let checkpoint = self.0.view.checkpoint();
        let signed = SignedNote::parse(checkpoint.as_bytes()).ok()?;
        let told = Checkpoint::parse(signed.text()).ok()?;
        let mut note = SignedNote::new(signed.text().to_owned()).ok()?;
        for line in signed.signatures().iter().filter(|line| line.name().as_str() == told.origin()) {
            note.add_signature(line.clone()).ok()?;
        }
        let line = self.0.cosign(note.text())?;
        note.add_signature(line).ok()?;
        Some((told.size(), note.to_string()))
    }
}

fn covered_by(checkpoint: &str) -> Option<u64> {
    let note = SignedNote::parse(checkpoint.as_bytes()).ok()?;
    Some(Checkpoint::parse(note.text()).ok()?.size())
}
