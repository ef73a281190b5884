//! The witnesses' words on this view: of each department the newest cosignature of a checkpoint that is this view's, or
//! that this view begins with. A cosignature of another history is not counted, so a registry that tells this node
//! another story than the witnesses cannot make its view younger.
//!
//! Out of scope: making cosignatures (`cosigner`).

use std::{collections::HashMap, sync::atomic::Ordering};

use trust::{
    directory::{self, Directory},
    ids::DepartmentId,
    log::{
        checkpoint::Checkpoint,
        note::{Signature, SignedNote},
    },
    witness::{self, Cosigned},
};

use super::{Error, View, age, lock};

/// So many departments' words are remembered: four times what is served.
const MOST_WITNESSES: usize = 128;

/// What a department's witness said last.
#[derive(Clone, Debug)]
pub struct Witnessed {
    /// Who, and when.
    pub cosigned: Cosigned,
    /// The size that was cosigned.
    pub size: u64,
}

/// The newest word of each department.
#[derive(Default)]
pub(super) struct Book {
    latest: HashMap<DepartmentId, Witnessed>,
}

impl View {
    /// The newest word of each department's witness, the newest first.
    pub fn witnesses(&self) -> Vec<Witnessed> {
        let mut latest: Vec<Witnessed> = lock(&self.witness_book).latest.values().cloned().collect();
        latest.sort_by_key(|witnessed| std::cmp::Reverse(witnessed.cosigned.time_seconds));
        latest
    }

    /// Takes notes of earlier checkpoints that witnesses have cosigned. What does not fit this view says nothing to it.
    pub async fn take_witnessed(&self, notes: &[String], now_ms: u64) -> Result<(), Error> {
        for text in notes {
            // Not the registry's word but the witnesses': one that cannot be read counts for nobody.
            if let Ok(note) = SignedNote::parse(text.as_bytes()) {
                self.take_cosignatures(&note, self.latest_seconds(now_ms)).await?;
            }
        }
        Ok(())
    }

    /// Until when a cosignature may be dated.
    pub(super) fn latest_seconds(&self, now_ms: u64) -> u64 {
        let seen = self.seen();
        let skew_ms = age::profile(seen.directory()).map_or(0, |profile| profile.clock_skew_ms);
        now_ms.saturating_add(skew_ms) / 1000
    }

    /// Counts the cosignatures of a note, and keeps them over restarts where the profile requires them.
    pub(super) async fn take_cosignatures(&self, note: &SignedNote, latest_seconds: u64) -> Result<(), Error> {
        let news = self.count_cosignatures(note, latest_seconds);
        let required = age::profile(self.seen().directory()).map_or(0, |profile| profile.witnesses_required);
        if required > 0 && !news.is_empty() {
            self.stored.keep_witnessed(news).await?;
        }
        Ok(())
    }

    /// Counts the cosignatures of a note; those that were news, as notes of their own by department.
    pub(super) fn count_cosignatures(&self, note: &SignedNote, latest_seconds: u64) -> Vec<(String, String)> {
        let seen = self.seen();
        let directory = seen.directory();
        let Ok(told) = Checkpoint::parse(note.text()) else { return Vec::new() };
        let is_ours = told.origin() == directory::origin(directory.exchange())
            && (self.root_at(told.size()) == Some(told.root()));
        if !is_ours {
            return Vec::new();
        }
        let mut news = Vec::new();
        let mut book = lock(&self.witness_book);
        for cosigned in witness::cosignatures(directory, note, latest_seconds) {
            let newest = book.latest.get(&cosigned.department).map(|known| known.cosigned.time_seconds);
            if newest.is_some_and(|newest| newest >= cosigned.time_seconds) {
                continue;
            }
            if let Some(text) = alone(note, directory, &cosigned) {
                news.push((cosigned.department.to_string(), text));
            }
            book.latest.insert(cosigned.department.clone(), Witnessed { cosigned, size: told.size() });
        }
        while book.latest.len() > MOST_WITNESSES {
            let oldest = book.latest.values().min_by_key(|known| known.cosigned.time_seconds);
            let Some(oldest) = oldest.map(|known| known.cosigned.department.clone()) else { break };
            book.latest.remove(&oldest);
        }
        drop(book);
        self.reckon();
        news
    }

    /// Reckons anew as of when the required witnesses vouch for the view. Those whose key was revoked no longer count.
    pub(super) fn reckon(&self) {
        let seen = self.seen();
        let Some(profile) = age::profile(seen.directory()) else { return };
        let book = lock(&self.witness_book);
        let counting = book.latest.values().filter(|known| witness::counts(seen.directory(), &known.cosigned));
        let times = counting.map(|known| known.cosigned.time_seconds);
        let vouched = witness::vouched_seconds(times, profile.witnesses_required).unwrap_or(0);
        self.witnessed_ms.store(vouched.saturating_mul(1000), Ordering::Release);
    }
}

/// The checkpoint's text with this one cosignature.
fn alone(note: &SignedNote, directory: &Directory, cosigned: &Cosigned) -> Option<String> {
    let key = &directory.key(&cosigned.key_id)?.described.key;
    let key = witness::note_key(directory.exchange(), &cosigned.department, &cosigned.node, key).ok()?;
    let is_it = |line: &&Signature| line.name() == key.name() && line.key_id() == key.id();
    let mut alone = SignedNote::new(note.text().to_owned()).ok()?;
    alone.add_signature(note.signatures().iter().find(is_it)?.clone()).ok()?;
    Some(alone.to_string())
}
