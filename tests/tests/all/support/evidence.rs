//! Reads the evidence of a node that does not run, as an inquiry would: the journal is opened with the node's own code,
//! read again from the first entry, and compared with what others were told.

use std::{collections::HashMap, path::Path, sync::Arc};

use exchange_node::journal::{Journal, SledJournal, Verified};
use host::{clock::SystemClock, random::SystemRandom};
use proto::exchange::v1::EntryKind;
use trust::{evidence::Receipt, ids::Digest};

/// All entries of a node's evidence.
pub(crate) struct Evidence {
    /// In their order.
    pub(crate) entries: Vec<Kept>,
    /// What a full reading found.
    pub(crate) verified: Verified,
}

/// One entry.
pub(crate) struct Kept {
    /// What it is about.
    pub(crate) kind: EntryKind,
    /// The message's identity.
    pub(crate) digest: Digest,
    /// Its receipt.
    pub(crate) receipt: Receipt,
    /// The encoded `exchange.v1.Signed`.
    pub(crate) message: Vec<u8>,
    /// The index of the question's entry.
    pub(crate) about: Option<u64>,
}

/// Opens the journal in the folder of a stopped node, verifies all of it, and reads every entry. Called in a runtime.
pub(crate) fn read(dir: &Path) -> Evidence {
    tokio::task::block_in_place(|| {
        let failed = Arc::new(|reason: &str| panic!("the journal's writer has ended: {reason}"));
        let journal = SledJournal::open(dir, Arc::new(SystemRandom), &SystemClock, failed)
            .unwrap_or_else(|error| panic!("the journal in {} opens: {error}", dir.display()));
        let verified = journal.verify().unwrap_or_else(|error| panic!("the log verifies: {error}"));
        let entries: Vec<Kept> = (0..journal.size())
            .map(|index| {
                let stored = journal.entry(index).expect("an entry can be read").expect("there is no gap");
                Kept {
                    kind: stored.entry.kind,
                    digest: stored.entry.envelope,
                    receipt: stored.entry.receipt(index),
                    message: stored.message.expect("no month's key was destroyed"),
                    about: stored.about,
                }
            })
            .collect();
        assert_eq!(verified.entries, journal.size());
        Evidence { entries, verified }
    })
}

impl Evidence {
    /// The entries of one kind, by the identity of their messages.
    pub(crate) fn of(&self, kind: EntryKind) -> HashMap<Digest, &Kept> {
        self.entries.iter().filter(|entry| entry.kind == kind).map(|entry| (entry.digest, entry)).collect()
    }
}
