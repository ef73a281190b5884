//! Makes evidence bundles: what was asked and answered, as it was signed; proofs that both are in this node's evidence
//! log; and the statements of the directory that they rest on, with proofs that these are in the directory. Whoever holds
//! a bundle needs the authority's public key and nothing else (`trust::bundle`).
//!
//! **Invariant:** a bundle holds every statement about the objects relied on, the suspensions and revocations too. One
//! that left them out would let evidence look better than it is.
//!
//! Out of scope: showing a verification to an office (`ask`), and checking a bundle (`trust::bundle`).

mod access;
mod item;
mod statements;

use std::sync::Arc;

use prost::Message;
use proto::exchange::v1::{
    self as wire, Answer, EntryKind, EvidenceBundle, EvidenceItem, EvidenceLogPart, Outcome, Request, Signed,
};
use trust::{
    bundle,
    directory::{Committed, Directory, Object},
    envelope::{self, Payload},
    evidence::{LogOf, Receipt},
    ids::{DepartmentId, Digest, NodeId, Party, ServiceId},
    key::{KeyId, Signer},
    log::hash::Hash,
};

use self::statements::{Excerpt, Wanted};
use crate::{
    anchors::{AnchorBook, Proved},
    config::Config,
    custody::KeptLog,
    journal::{self, CheckpointError, Journal, JournalError, Month, SignedHead, StoredEntry},
    keys::Keyring,
    logs::{self, Found, Logs},
    successors::Successors,
    view::{self, View},
};

/// Why evidence cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The batch was refused as a whole.
    #[error("the whole batch was refused, so there is no answer to one item of it: `evidence show` shows the refusal")]
    BatchRefused,
    /// The receipt finds a batch, and evidence is of one item.
    #[error(
        "this is the receipt of a batch of {items} questions: name one of them, <receipt>/<item>, as its result does"
    )]
    WholeBatch {
        /// How many it has.
        items: usize,
    },
    /// The log was closed with fewer entries.
    #[error(
        "this entry lies beyond the {kept} entries that the evidence log kept when it was closed, so this node can prove it no more: the other side's evidence does"
    )]
    BeyondClosed {
        /// How many it kept.
        kept: u64,
    },
    /// It is not this node's own evidence.
    #[error(
        "this came back from the other side's evidence, and is no entry of this node's own: ask the other side for its evidence file"
    )]
    FromTheOtherSide,
    /// The evidence log's checkpoint cannot be made.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The month's key was destroyed.
    #[error(
        "the question and answer of this receipt were destroyed with the key of {month}, so there is nothing to export; the log still proves that they were made"
    )]
    Destroyed {
        /// The month.
        month: Month,
    },
    /// The evidence cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The node refused by itself.
    #[error(
        "this node refused before anything was asked: there is no signed question to export, and `evidence show` shows the refusal"
    )]
    NothingAsked,
    /// No checkpoint of the directory was ever verified.
    #[error("this node has no checkpoint of the directory yet: wait until it has reached the registry once")]
    NoDirectory,
    /// The directory's checkpoint has another root than the stored statements lead to.
    #[error("this node's copy of the directory does not fit its checkpoint: run `exchange-node doctor`")]
    DirectoryDamaged,
    /// What is stored cannot be read.
    #[error("the stored question or answer cannot be read: run `exchange-node doctor`")]
    StoredUnreadable,
    /// The bundle would be larger than anybody reads.
    #[error("the bundle would have {size} bytes, and {} are read at most", bundle::LARGEST_BUNDLE)]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// There is no such application in the view.
    #[error("the directory has no such application")]
    NoApplication,
    /// No entry has this receipt.
    #[error("this node's evidence has nothing with this receipt: compare it digit by digit")]
    Unknown,
    /// The directory cannot be read.
    #[error(transparent)]
    View(#[from] view::Error),
}

/// Makes evidence bundles.
pub struct Exporter {
    /// The evidence logs.
    pub logs: Arc<Logs>,
    /// What of it was anchored.
    pub book: Arc<AnchorBook>,
    /// The configuration.
    pub config: Arc<Config>,
    /// The keys; the node's signs the checkpoint.
    pub keys: Arc<Keyring>,
    /// The directory.
    pub view: Arc<View>,
    /// The evidence.
    pub journal: Arc<dyn Journal>,
    /// Which answers follow others.
    pub successors: Successors,
    /// The time.
    pub clock: Arc<dyn host::clock::Clock>,
}

impl Exporter {
    /// The exact bytes of an `exchange.v1.EvidenceBundle`. Blocks.
    pub fn export(&self, receipt: &Receipt) -> Result<Vec<u8>, Error> {
        self.export_item(receipt, None)
    }

    /// The same of one item of a batch, which shows nothing of the others. Blocks.
    pub fn export_item(&self, receipt: &Receipt, item: Option<usize>) -> Result<Vec<u8>, Error> {
        let seen = self.view.seen();
        let key = self.keys.node();
        let place = self.journal.find(receipt)?.ok_or(Error::Unknown)?;
        let base = logs::base_of(place);
        let closed_head;
        let (evidence, journal, head, most): (_, &dyn Journal, _, _) = match self.logs.of_place(place) {
            Some(Found::Current) => (&self.logs.of, self.logs.current.as_ref(), Head::Own(key.as_ref()), u64::MAX),
            Some(Found::Earlier(earlier)) => {
                let (size, root) = match &earlier.closed {
                    Some(closed) => (closed.size, closed.root),
                    None => earlier.journal.head(),
                };
                if receipt.index() >= size {
                    return Err(Error::BeyondClosed { kept: size });
                }
                // The same head as the one that closed it; with a key that is in use.
                let origin = earlier.of.to_string();
                closed_head = journal::sign_head(size, root, &origin, key.as_ref(), self.clock.now_ms())?;
                (&earlier.of, &earlier.journal, Head::Kept(&closed_head, key.public_key().id()), size)
            }
            Some(Found::Recovered(_)) => return Err(Error::FromTheOtherSide),
            None => return Err(Error::Unknown),
        };
        let source = Source {
            me: self.config.party(),
            node: self.config.node.clone(),
            evidence: evidence.clone(),
            anchored: &|index, end| self.book.proof(evidence, index, end).filter(|proved| proved.anchored.size <= most),
            head,
            journal,
            answers: &|question| {
                let place = base + question;
                let answers = self.successors.answers(place).into_iter();
                let here = answers.filter(|answer| logs::base_of(*answer) == base).map(logs::index_in);
                here.filter(|answer| *answer < most).collect()
            },
            check_open: &|| self.journal.check_open(),
            directory_checkpoint: &self.view.checkpoint(),
            committed: seen.directory().committed(),
            directory: seen.directory(),
            entries: &|| Box::new(self.view.entries()),
            now_ms: self.clock.now_ms(),
            item,
        };
        self.finish(source.bundle(receipt)?)
    }

    /// The same from evidence that is kept for a predecessor: under the predecessor's name and key, over its last checkpoint.
    pub fn export_kept(&self, kept: &KeptLog, receipt: &Receipt) -> Result<Vec<u8>, Error> {
        let seen = self.view.seen();
        let source = Source {
            me: kept.party.clone(),
            node: kept.node.clone(),
            evidence: LogOf { party: kept.party.clone(), node: kept.node.clone(), number: kept.number },
            // The predecessor's record of its anchors stays with its own folder.
            anchored: &|_, _| None,
            head: Head::Kept(&kept.head, &kept.key),
            journal: &kept.journal,
            // The list of what followed stays there too; what names its question is found.
            answers: &|_| Vec::new(),
            check_open: &|| Ok(()),
            directory_checkpoint: &self.view.checkpoint(),
            committed: seen.directory().committed(),
            directory: seen.directory(),
            entries: &|| Box::new(self.view.entries()),
            now_ms: self.clock.now_ms(),
            item: None,
        };
        self.finish(source.bundle(receipt)?)
    }

    fn finish(&self, bundle: EvidenceBundle) -> Result<Vec<u8>, Error> {
        let bytes = bundle.encode_to_vec();
        if bytes.len() > bundle::LARGEST_BUNDLE {
            return Err(Error::TooLarge { size: bytes.len() });
        }
        let report = bundle::verify(&bytes, &self.config.authority_key);
        if let Some(wrong) = report.wrong() {
            // Handed out all the same: evidence that is not sound (a key was revoked) is evidence of that.
            tracing::warn!(check = wrong.name, "an exported bundle is not sound");
        }
        Ok(bytes)
    }
}

/// Entries of the directory's log from the first on; read several times.
type Entries<'a> = dyn Fn() -> Box<dyn Iterator<Item = Result<Vec<u8>, view::Error>> + 'a> + 'a;

/// The first proved anchor that covers an entry and that the directory took before one of its statements.
type ProofOf<'a> = dyn Fn(u64, u64) -> Option<Proved> + 'a;

/// What a bundle is made from.
struct Source<'a> {
    me: Party,
    node: NodeId,
    evidence: LogOf,
    anchored: &'a ProofOf<'a>,
    /// Whether the log may go on.
    check_open: &'a dyn Fn() -> Result<(), JournalError>,
    head: Head<'a>,
    journal: &'a dyn Journal,
    /// The entries of all answers to a question that was deferred.
    answers: &'a dyn Fn(u64) -> Vec<u64>,
    directory_checkpoint: &'a str,
    /// The last commitment to the state, which shows that nothing was held back.
    committed: Option<&'a Committed>,
    /// For what was carried over from a predecessor.
    directory: &'a Directory,
    entries: &'a Entries<'a>,
    now_ms: u64,
    /// Which item, where it is about a batch.
    item: Option<usize>,
}

/// Who vouches for the evidence log.
enum Head<'a> {
    /// This node, now.
    Own(&'a dyn Signer),
    /// A predecessor's node, when its evidence was taken over, with this key.
    Kept(&'a SignedHead, &'a KeyId),
}

/// An entry with its message.
struct Kept {
    stored: StoredEntry,
    message: Signed,
}

impl Source<'_> {
    fn bundle(&self, receipt: &Receipt) -> Result<EvidenceBundle, Error> {
        let entry = self.journal.entry(receipt.index())?.filter(|stored| receipt.fits(&stored.entry));
        let kept = self.related(entry.ok_or(Error::Unknown)?)?;
        let mut wanted = self.relied_on(&kept)?;
        let last = kept.iter().map(|kept| kept.stored.index).max().unwrap_or(u64::MAX);
        // The bundle's directory must reach the statement that took the anchor.
        let proved = (self.anchored)(last, statements::size_of(self.directory_checkpoint));
        wanted.index(proved.as_ref().map(|proved| proved.anchor.taken_at));
        let excerpt = Excerpt::read(self.entries, self.directory_checkpoint, self.committed, wanted)?;
        Ok(EvidenceBundle {
            version: bundle::VERSION,
            exchange_id: self.me.exchange().to_string(),
            logs: vec![self.log_part(kept, proved)?],
            directory_checkpoint: self.directory_checkpoint.to_owned(),
            directory: excerpt.statements,
            state: excerpt.state,
        })
    }

    /// The entry with those that belong to it: on the asking side its question, on the answering side the rest of its
    /// commit; and every answer to the same question.
    fn related(&self, entry: StoredEntry) -> Result<Vec<Kept>, Error> {
        let mut indexes: Vec<u64> = entry.companions.clone().collect();
        // A question in an earlier log is not in this one.
        let about = entry.about.filter(|about| logs::base_of(*about) == logs::base(self.evidence.number));
        let about = about.map(logs::index_in);
        // On the answering side its first answer came with it.
        if let Some(about) = about {
            indexes.extend(self.journal.entry(about)?.map_or(about..about + 1, |asked| asked.companions));
        }
        indexes.extend((self.answers)(about.unwrap_or(entry.companions.start)));
        indexes.sort_unstable();
        indexes.dedup();
        let mut kept = Vec::with_capacity(indexes.len());
        for index in indexes {
            let stored = match index == entry.index {
                true => entry.clone(),
                false => self.journal.entry(index)?.ok_or(Error::StoredUnreadable)?,
            };
            let Some(message) = &stored.message else {
                return Err(Error::Destroyed { month: Month::of_ms(stored.at_ms) });
            };
            let message = Signed::decode(message.as_slice()).map_err(|_| Error::StoredUnreadable)?;
            kept.push(Kept { stored, message });
        }
        if !kept.iter().any(|kept| is_question(kept.stored.entry.kind)) {
            return Err(Error::NothingAsked);
        }
        item::alone(&mut kept, self.item, entry.index)?;
        Ok(kept)
    }

    /// With the checkpoint that was anchored, where one covers all of it; otherwise with one that is signed now.
    fn log_part(&self, kept: Vec<Kept>, proved: Option<Proved>) -> Result<EvidenceLogPart, Error> {
        let origin = self.evidence.to_string();
        let (size, checkpoint, anchor) = match (proved, &self.head) {
            (Some(Proved { anchored, anchor }), _) => (anchored.size, anchored.checkpoint, Some(anchor)),
            (None, Head::Own(signer)) => {
                (self.check_open)()?;
                let head = journal::checkpoint(self.journal, &origin, *signer, self.now_ms)?;
                (head.size, head.note, None)
            }
            (None, Head::Kept(head, _)) => (head.size, head.note.clone(), None),
        };
        let items = kept
            .into_iter()
            .map(|Kept { stored, message }| {
                Ok(EvidenceItem {
                    kind: stored.entry.kind.into(),
                    message: Some(message),
                    salt: stored.entry.salt.to_vec(),
                    index: stored.index,
                    inclusion: bytes_of(&self.journal.inclusion(stored.index, size)?),
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(EvidenceLogPart { origin, checkpoint, items, anchor })
    }

    /// The objects of the directory that question and answer rest on.
    fn relied_on(&self, kept: &[Kept]) -> Result<Wanted, Error> {
        let mut wanted = Wanted::default();
        // The founding stands in every bundle, and with it every change of the keys that all rests on.
        for object in ["exchange", "authority", "log"] {
            wanted.object(object);
        }
        wanted.object("profile");
        // Whoever checks it with the key of today follows from here to the keys of then.
        wanted.object(&Object::Authority.to_string());
        wanted.object(&Object::Log.to_string());
        wanted.key(&match self.head {
            Head::Own(signer) => signer.public_key().id().to_string(),
            Head::Kept(_, key_id) => key_id.to_string(),
        });
        wanted.object(&format!("node/{}/{}", self.me.department(), self.node));
        // Which logs of the node were closed, with what they kept.
        wanted.object(&Object::Evidence(self.me.department().clone(), self.node.clone()).to_string());
        for kept in kept {
            for keyid in signers(&kept.message) {
                wanted.key(keyid);
            }
            match kept.stored.entry.kind {
                EntryKind::QuestionSent | EntryKind::QuestionReceived => {
                    let request: Request = read(&kept.message)?;
                    let asker = department(&request.sender);
                    let provider = department(&request.recipient);
                    wanted.object(&format!("department/{asker}"));
                    wanted.object(&format!("department/{provider}"));
                    wanted.object(&format!("node/{asker}/{}", request.sender_node));
                    // The authority's review of it too, and the settings that ask for one.
                    for of in ["service", "review"] {
                        wanted.object(&format!("{of}/{provider}/{}/{}", request.service, request.service_version));
                    }
                    wanted.statement(&request.grant);
                    self.want_carried(&mut wanted, &request, asker, provider);
                }
                EntryKind::AnswerGiven | EntryKind::AnswerReceived => {
                    let answer: Answer = read(&kept.message)?;
                    wanted.object(&format!("node/{}/{}", department(&answer.sender), answer.sender_node));
                    wanted.statement(&answer.grant);
                }
                EntryKind::Outcome => {
                    let _: Outcome = read(&kept.message)?;
                }
                EntryKind::CorrectionSent | EntryKind::CorrectionReceived => {
                    let said: wire::Correction = read(&kept.message)?;
                    wanted.object(&format!("node/{}/{}", department(&said.sender), said.sender_node));
                }
                EntryKind::CorrectionReplyGiven | EntryKind::CorrectionReplyReceived => {
                    let said: wire::CorrectionReply = read(&kept.message)?;
                    wanted.object(&format!("node/{}/{}", department(&said.sender), said.sender_node));
                }
                EntryKind::Unspecified => return Err(Error::StoredUnreadable),
            }
        }
        Ok(wanted)
    }

    /// What was carried over to a successor rests on what was said before, under another name, and on the succession.
    fn want_carried(&self, wanted: &mut Wanted, request: &Request, asker: &str, provider: &str) {
        let (Ok(asker), Ok(provider)) = (asker.parse::<DepartmentId>(), provider.parse::<DepartmentId>()) else {
            return;
        };
        let directory = self.directory;
        for party in [&asker, &provider] {
            for object in directory.relied_on_by_succession(party) {
                wanted.object(&object.to_string());
            }
        }
        if let Ok(service) = request.service.parse() {
            let mut id = ServiceId { department: provider.clone(), service, major: request.service_version };
            while let Some(carried) = directory.service_carried_from(&id) {
                id = carried.origin.clone();
                wanted.object(&Object::Service(id.clone()).to_string());
            }
        }
        let mut keys: Vec<_> = directory.access_between(&provider, &asker).map(|(key, _)| key.clone()).collect();
        while let Some(key) = keys.pop() {
            if let Some(carried) = directory.access_carried_from(&key) {
                wanted.object(&Object::Access(key).to_string());
                wanted.object(&Object::Access(carried.origin.clone()).to_string());
                keys.push(carried.origin.clone());
            }
        }
    }
}

fn is_question(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::QuestionSent | EntryKind::QuestionReceived)
}

/// A stored message; the entry's digest has bound it since it was verified.
fn read<M: Payload>(message: &Signed) -> Result<M, Error> {
    envelope::peek(message, usize::MAX).map_err(|_| Error::StoredUnreadable)
}

/// The ids of the keys that are said to have signed.
fn signers(message: &Signed) -> impl Iterator<Item = &str> {
    let envelope = match &message.form {
        Some(wire::signed::Form::Envelope(envelope)) => Some(envelope),
        Some(wire::signed::Form::Attestation(attestation)) => attestation.root.as_ref(),
        Some(wire::signed::Form::Batch(batch)) => batch.root.as_ref(),
        None => None,
    };
    envelope.into_iter().flat_map(|envelope| &envelope.signatures).map(|signature| signature.keyid.as_str())
}

/// The department of a party as it stands in a message.
fn department(party: &str) -> &str {
    party.split_once('/').map_or(party, |(_, department)| department)
}

fn bytes_of(hashes: &[Hash]) -> Vec<Vec<u8>> {
    hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect()
}

/// The digest in a message's field; nothing where the field is empty.
fn digest(bytes: &[u8]) -> Option<Digest> {
    Digest::try_from(bytes).ok()
}

#[cfg(test)]
pub(crate) mod tests;
