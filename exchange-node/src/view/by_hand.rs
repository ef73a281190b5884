//! The view carried by hand: out into a file of the directory's own formats, and in from one, verified like anything
//! from the registry. Out of scope: the file's format (`trust::log::archive`).

use std::io::{Read, Write};

use trust::log::{archive, checkpoint::Checkpoint, note::SignedNote};

use super::{Error, View, accept::Source};

/// The most bytes of new statements in one file.
const MOST_BYTES: usize = 1024 * 1024 * 1024;

/// What a file holds that this view may lack.
#[derive(Debug)]
pub struct Brought {
    checkpoint: String,
    first: u64,
    entries: Vec<Vec<u8>>,
}

/// What a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// How many statements were new.
    pub added: u64,
    /// By how much the view became younger, milliseconds.
    pub younger_ms: u64,
}

impl View {
    /// Writes the view's latest checkpoint and its entries, from the bundle that holds `from` on. Blocks.
    pub fn export(&self, from: u64, target: impl Write) -> Result<(), archive::Error> {
        let checkpoint = self.checkpoint();
        let unwanted = |reason: &str| archive::Error::Unwanted(reason.to_owned());
        let covered = covered_by(&checkpoint).ok_or_else(|| unwanted("this node has not read the directory yet"))?;
        if from > covered {
            return Err(unwanted(&format!("this node's view ends at {covered} statements")));
        }
        let start = archive::bundle_start(from);
        let mut writer = archive::Writer::begin(target, &checkpoint, start)?;
        let place = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
        for entry in self.stored.entries_from(start).take(place(covered - start)) {
            writer.entry(entry.map_err(|error| archive::Error::Unwanted(error.to_string()))?)?;
        }
        Ok(writer.finish()?.flush()?)
    }

    /// Reads a file, as far as this view lacks what is in it. Nothing of it is believed yet. Blocks.
    pub fn read_file(&self, source: impl Read) -> Result<Brought, archive::Error> {
        let known = self.seen().size();
        let (mut first, mut entries, mut bytes) = (None, Vec::new(), 0);
        let checkpoint = archive::read(source, |index, entry| {
            if first.is_none() && index > known {
                return Err(format!(
                    "the file begins at statement {index}, and this node's view ends at {known}: export it from {known} or less"
                ));
            }
            bytes += entry.len();
            if bytes > MOST_BYTES {
                return Err("the file holds more statements than can be taken at once".to_owned());
            }
            first.get_or_insert(index);
            if index >= known {
                entries.push(entry);
            }
            Ok(())
        })?;
        let first = known.max(first.unwrap_or(known));
        Ok(Brought { checkpoint, first, entries })
    }

    /// Takes what a file brought: all that its checkpoint covers, or nothing.
    pub async fn import(&self, brought: Brought, now_ms: u64) -> Result<Imported, Error> {
        let Brought { checkpoint, first, entries } = brought;
        let mut followed = self.followed.lock().await;
        // What the registry is sending just now has to wait: it is asked for again.
        self.let_go_of_registry(&mut followed).await?;
        let (size, vouched_ms) = (followed.frontier.size(), self.age(now_ms).vouched_ms);
        let outcome = self.take(&mut followed, Source::File, first, entries, &checkpoint, now_ms).await;
        let held = followed.next_index();
        let waiting = self.let_go(&mut followed).await?;
        if let Err(error) = outcome {
            // That a file begins too late is no lie.
            if !matches!(error, Error::OutOfOrder { .. }) {
                self.find_lie(&error, Source::File, &checkpoint, waiting, now_ms);
            }
            return Err(error);
        }
        let covered = covered_by(&checkpoint).unwrap_or(0);
        if followed.frontier.size() < covered {
            return Err(Error::CutShort { covered, held });
        }
        Ok(Imported {
            added: followed.frontier.size() - size,
            younger_ms: self.age(now_ms).vouched_ms.saturating_sub(vouched_ms),
        })
    }
}

/// How many entries a checkpoint covers, by its own word.
pub(super) fn covered_by(checkpoint: &str) -> Option<u64> {
    let note = SignedNote::parse(checkpoint.as_bytes()).ok()?;
    Some(Checkpoint::parse(note.text()).ok()?.size())
}
