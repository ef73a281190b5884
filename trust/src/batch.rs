//! Many questions, or the answers to them, under one signature. Each message of a batch is a whole request or answer: its
//! bytes are put together from parts and never encoded again, a salted leaf stands for it in a tree, and the tree's root is
//! what is signed. Out of it one message comes with its path (an attestation) and shows nothing of its neighbours.
//!
//! Ids and salts of a batch are hashes: an id of the batch's id and the item's place, a salt of a seed that only the two
//! nodes know. Out of scope: whether an item may be asked (`decision`), and how a batch travels.

use prost::Message;
use proto::exchange::v1 as wire;
use sha2::{Digest as _, Sha256};

use crate::{
    answer::{self, Answer, AnswerError},
    directory::Directory,
    envelope::{self, EnvelopeError, Opened, Payload, attestation_leaf},
    ids::{Digest, Party},
    key::{KeyId, PublicKey},
    log::hash::{Hash, node_hash},
    question::{LARGEST_REQUEST, Question, refuse_envelope},
    refusal::{Code, Refusal},
};

/// The most items in a batch.
pub const MOST_ITEMS: usize = 10_000;

/// The largest batch, in bytes.
pub const LARGEST_BATCH: usize = 8 * 1024 * 1024;

/// A root message is two numbers and a hash.
const LARGEST_ROOT: usize = 256;

/// The id of the question at this place of the batch.
pub fn item_id(batch_id: &[u8], index: usize) -> [u8; 32] {
    derived(b"errand batch item v1\0", batch_id, index)
}

fn salt(seed: &[u8], index: usize) -> [u8; 32] {
    derived(b"errand batch salt v1\0", seed, index)
}

fn derived(domain: &[u8], secret: &[u8], index: usize) -> [u8; 32] {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    Sha256::new().chain_update(domain).chain_update(secret).chain_update(index.to_be_bytes()).finalize().into()
}

/// The exact bytes of the question at this place; empty beyond the end.
pub fn question_payload(batch: &wire::Batch, index: usize) -> Vec<u8> {
    let Some(own) = batch.items.get(index) else { return Vec::new() };
    let mut payload = Vec::with_capacity(batch.common.len() + 34 + own.len());
    payload.extend_from_slice(&batch.common);
    payload.extend_from_slice(&[REQUEST_ID_OF_A_REQUEST, 32]);
    payload.extend_from_slice(&item_id(&batch.batch_id, index));
    payload.extend_from_slice(own);
    payload
}

/// The exact bytes of the answer at this place, which answers the question with this identity.
pub fn answer_payload(batch: &wire::Batch, index: usize, request: &Digest) -> Vec<u8> {
    let Some(own) = batch.items.get(index) else { return Vec::new() };
    let mut payload = Vec::with_capacity(batch.common.len() + 68 + own.len());
    payload.extend_from_slice(&batch.common);
    payload.extend_from_slice(&[REQUEST_DIGEST_OF_AN_ANSWER, 32]);
    payload.extend_from_slice(request.as_bytes());
    payload.extend_from_slice(&[REQUEST_ID_OF_AN_ANSWER, 32]);
    payload.extend_from_slice(&item_id(&batch.batch_id, index));
    payload.extend_from_slice(own);
    payload
}

/// The identities of all questions of a batch.
pub fn question_digests(batch: &wire::Batch) -> Vec<Digest> {
    let payload = |index| envelope::digest(wire::Request::TYPE, &question_payload(batch, index));
    (0..batch.items.len()).map(payload).collect()
}

/// The identities of all answers of a batch, to the questions with these identities.
pub fn answer_digests(batch: &wire::Batch, requests: &[Digest]) -> Vec<Digest> {
    let payload = |(index, request)| envelope::digest(wire::Answer::TYPE, &answer_payload(batch, index, request));
    requests.iter().enumerate().take(batch.items.len()).map(payload).collect()
}

fn leaves(batch: &wire::Batch, digests: &[Digest]) -> Vec<Hash> {
    let leaf = |(index, digest)| attestation_leaf(&salt(&batch.salt_seed, index), digest);
    digests.iter().enumerate().map(leaf).collect()
}

/// What is to be signed for a batch whose messages have these identities.
pub fn root(batch: &wire::Batch, digests: &[Digest], signed_at_ms: u64) -> wire::AttestationRoot {
    wire::AttestationRoot {
        size: u64::try_from(digests.len()).unwrap_or(u64::MAX),
        root: tree_root(&leaves(batch, digests)).as_bytes().to_vec(),
        signed_at_ms,
    }
}

/// The question at this place with its path, alone; `None` where there is none.
pub fn attest_question(batch: &wire::Batch, index: usize) -> Option<wire::Attestation> {
    batch.items.get(index)?;
    attest(batch, &question_digests(batch), index, wire::Request::TYPE, question_payload(batch, index))
}

/// The answer at this place with its path, alone. `questions` is the batch that it answers.
pub fn attest_answer(answers: &wire::Batch, questions: &wire::Batch, index: usize) -> Option<wire::Attestation> {
    let requests = question_digests(questions);
    let payload = answer_payload(answers, index, requests.get(index)?);
    answers.items.get(index)?;
    attest(answers, &answer_digests(answers, &requests), index, wire::Answer::TYPE, payload)
}

fn attest(
    batch: &wire::Batch,
    digests: &[Digest],
    index: usize,
    payload_type: &str,
    payload: Vec<u8>,
) -> Option<wire::Attestation> {
    let path = tree_path(&leaves(batch, digests), index);
    Some(wire::Attestation {
        payload,
        payload_type: payload_type.to_owned(),
        salt: salt(&batch.salt_seed, index).to_vec(),
        index: u64::try_from(index).ok()?,
        path: path.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
        root: Some(batch.root.clone()?),
    })
}

/// Verifies that the root of a batch is signed by an acceptable key and is the root over all of its messages.
fn open_root(
    batch: &wire::Batch,
    digests: &[Digest],
    key_for: impl Fn(&KeyId) -> Option<PublicKey>,
) -> Result<Opened<wire::AttestationRoot>, EnvelopeError> {
    let signed = batch.root.as_ref().ok_or(EnvelopeError::Missing)?;
    let opened = envelope::open::<wire::AttestationRoot>(signed, LARGEST_ROOT, key_for)?;
    let expected = root(batch, digests, opened.message.signed_at_ms);
    if opened.message != expected {
        return Err(EnvelopeError::PathWrong);
    }
    Ok(opened)
}

fn check_form(batch: &wire::Batch) -> Result<(), EnvelopeError> {
    let size = batch.encoded_len();
    if size > LARGEST_BATCH {
        return Err(EnvelopeError::TooLarge { size, limit: LARGEST_BATCH });
    }
    let has_form = batch.batch_id.len() == 32 && batch.salt_seed.len() == 32;
    if !has_form || batch.items.is_empty() || batch.items.len() > MOST_ITEMS {
        return Err(EnvelopeError::Malformed);
    }
    let longest = batch.items.iter().map(Vec::len).max().unwrap_or(0).saturating_add(batch.common.len() + 68);
    if longest > LARGEST_REQUEST {
        return Err(EnvelopeError::TooLarge { size: longest, limit: LARGEST_REQUEST });
    }
    Ok(())
}

/// A batch of questions that opened, or that was made here.
#[derive(Clone, Debug)]
pub struct Questions {
    /// The identity of the batch: that of its root.
    pub digest: Digest,
    /// What all questions share, with the batch's id in the place of theirs.
    pub common: Question,
    /// The identity of each question.
    pub requests: Vec<Digest>,
}

impl Questions {
    /// Those of a batch that was made here and has its root.
    ///
    /// # Errors
    ///
    /// What the questions share cannot be read.
    pub fn of(batch: &wire::Batch) -> Result<Self, Refusal> {
        let root = batch.root.as_ref().ok_or_else(|| refuse_envelope(&EnvelopeError::Missing))?;
        Ok(Self {
            digest: envelope::digest(&root.payload_type, &root.payload),
            common: read_common(batch)?,
            requests: question_digests(batch),
        })
    }

    /// The question at this place.
    ///
    /// # Errors
    ///
    /// It cannot be read, or its own part says what all questions of a batch have in common.
    pub fn question(&self, batch: &wire::Batch, index: usize) -> Result<Question, Refusal> {
        let malformed = || Refusal::new(Code::MessageMalformed).at(format!("items[{index}]"));
        let own = batch.items.get(index).ok_or_else(malformed)?;
        let own = wire::Request::decode(own.as_slice()).map_err(|_| malformed())?;
        let allowed = wire::Request {
            subject: own.subject.clone(),
            former_subjects: own.former_subjects.clone(),
            inputs: own.inputs.clone(),
            claims: own.claims.clone(),
            case_number: own.case_number.clone(),
            authorisation: own.authorisation.clone(),
            ..wire::Request::default()
        };
        if own != allowed {
            return Err(malformed().because("it says what all items of a batch have in common"));
        }
        let payload = question_payload(batch, index);
        Question::read(wire::Request::decode(payload.as_slice()).map_err(|_| malformed())?)
    }
}

fn read_common(batch: &wire::Batch) -> Result<Question, Refusal> {
    let malformed = || Refusal::new(Code::MessageMalformed).at("common");
    let common = wire::Request::decode(batch.common.as_slice()).map_err(|_| malformed())?;
    if common.accepts_deferral || common.subscription.is_some() || !common.also_about.is_empty() {
        return Err(malformed().because("an item of a batch is about one subject, and accepts no later answer"));
    }
    Question::read(wire::Request { request_id: batch.batch_id.clone(), ..common })
}

/// Opens a batch of questions that came over a connection of `peer`, for the department `me`: size, key, role, signature,
/// sender and recipient, as for a single one (`question::open`).
///
/// # Errors
///
/// What is wrong, as a refusal of the whole.
pub fn open_questions(
    directory: &Directory,
    batch: &wire::Batch,
    peer: &Party,
    me: &Party,
    now_ms: u64,
) -> Result<Questions, Refusal> {
    check_form(batch).map_err(|error| refuse_envelope(&error))?;
    let common = read_common(batch)?;
    if directory.department(common.sender.department()).is_none() {
        return Err(Refusal::new(Code::DepartmentUnknown).at("sender"));
    }
    if common.sender != *peer {
        return Err(Refusal::new(Code::SenderWrong).at("sender"));
    }
    let requests = question_digests(batch);
    let open = |at_ms: u64| {
        let not_valid = std::cell::Cell::new(None);
        let opened =
            open_root(batch, &requests, |key_id| match directory.node_key(common.sender.department(), key_id, at_ms) {
                Ok(key) => Some(key.key.clone()),
                Err(code) => {
                    not_valid.set(not_valid.get().or(Some(code)));
                    None
                }
            });
        match (opened, not_valid.get()) {
            (Ok(opened), _) => Ok(opened),
            (Err(EnvelopeError::KeyUnknown), Some(code)) => Err(Refusal::new(code).at("signatures")),
            (Err(error), _) => Err(refuse_envelope(&error)),
        }
    };
    let opened = match open(common.issued_at_ms.min(now_ms)) {
        Err(refusal) if refusal.code == Code::KeyNotYetValid => open(now_ms)?,
        opened => opened?,
    };
    if common.wire.exchange_id != me.exchange().as_str() {
        return Err(Refusal::new(Code::ExchangeWrong).at("exchange_id"));
    }
    if common.recipient != *me {
        return Err(Refusal::new(Code::RecipientWrong).at("recipient"));
    }
    Ok(Questions { digest: opened.digest, common, requests })
}

/// A batch of answers that opened.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The identity of the batch: that of its root.
    pub digest: Digest,
    digests: Vec<Digest>,
}

impl Answers {
    /// The answer at this place, with every check that a single one gets (`answer::open`).
    ///
    /// # Errors
    ///
    /// Why it is not believed.
    pub fn answer(
        &self,
        directory: &Directory,
        batch: &wire::Batch,
        question: (&Question, &Digest),
        index: usize,
        now_ms: u64,
        root_at: impl Fn(u64) -> Option<Hash>,
    ) -> Result<Answer, AnswerError> {
        let (question, request) = question;
        let payload = answer_payload(batch, index, request);
        let answer = wire::Answer::decode(payload.as_slice()).map_err(|_| EnvelopeError::Malformed)?;
        let digest = *self.digests.get(index).ok_or(EnvelopeError::Malformed)?;
        let answer = answer::check(answer, digest, question, request)?;
        answer::check_now(directory, question, &answer, now_ms, root_at)?;
        if answer.wire.number == 1 { Ok(answer) } else { Err(AnswerError::Succession) }
    }
}

/// Opens the batch of answers to these questions: one for each, signed by a node of whom was asked.
///
/// # Errors
///
/// Why it is not believed.
pub fn open_answers(
    directory: &Directory,
    batch: &wire::Batch,
    questions: &Questions,
    now_ms: u64,
) -> Result<Answers, AnswerError> {
    check_form(batch)?;
    if batch.batch_id != questions.common.wire.request_id || batch.items.len() != questions.requests.len() {
        return Err(AnswerError::Field { field: "batch_id" });
    }
    let made_ms = wire::Answer::decode(batch.common.as_slice()).map_err(|_| EnvelopeError::Malformed)?.answered_at_ms;
    let digests = answer_digests(batch, &questions.requests);
    let opened = open_root(batch, &digests, |key_id| {
        let recipient = questions.common.recipient.department();
        directory.node_key(recipient, key_id, made_ms.min(now_ms)).ok().map(|key| key.key.clone())
    })?;
    Ok(Answers { digest: opened.digest, digests })
}

/// RFC 6962 root over at least one leaf.
fn tree_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => crate::log::hash::empty_root(),
        [leaf] => *leaf,
        leaves => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&tree_root(left), &tree_root(right))
        }
    }
}

/// RFC 6962 inclusion path of the leaf at `index`.
fn tree_path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(split);
    let (mut path, other) = match index.checked_sub(split) {
        None => (tree_path(left, index), tree_root(right)),
        Some(index) => (tree_path(right, index), tree_root(left)),
    };
    path.push(other);
    path
}

/// Tags of fields of 32 bytes: field number times 8, and 2.
const REQUEST_ID_OF_A_REQUEST: u8 = 3 << 3 | 2;
const REQUEST_DIGEST_OF_AN_ANSWER: u8 = 3 << 3 | 2;
const REQUEST_ID_OF_AN_ANSWER: u8 = 4 << 3 | 2;

#[cfg(test)]
mod tests;
