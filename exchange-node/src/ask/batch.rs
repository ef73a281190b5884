//! Asking many questions at once: each is prepared and decided as a single one would be, what all share stands once in the
//! batch, one signature and one entry of the evidence stand for all. Out of scope: jobs, and when a batch is sent again
//! (`bulk`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use host::random;
use prost::Message;
use proto::{
    exchange::v1::{self as wire, EntryKind, outcome::What, signed::Form},
    office::v1::BatchRow,
};
use trust::{
    answer::{self, AnswerError},
    batch::{self, LARGEST_BATCH, Questions},
    decision::decide,
    envelope::EnvelopeError,
    evidence::Receipt,
    ids::{DepartmentId, Digest, Party},
    question::{LARGEST_REQUEST, Question},
    refusal::{Code, Refusal},
};

use super::{Asked, Asker, Error, NotFound, OfficeQuestion, ending_of, last, request, unanswered};
use crate::{
    journal::{Commit, NewEntry},
    keys::seal,
    usage::{self, Mark},
    view::Seen,
};

/// How long to wait for directory news that the answering side has seen.
const CATCH_UP: Duration = Duration::from_secs(2);

/// A batch that may be asked, and which rows may not.
pub struct PreparedBatch {
    batch: wire::Batch,
    /// The department asked.
    pub provider: DepartmentId,
    /// The row of each item.
    pub rows: Vec<usize>,
    /// Rows that this node refuses by itself, and why.
    pub refused: Vec<(usize, Refusal)>,
    grant: Option<Mark>,
    officer: Option<Mark>,
}

/// A batch that was signed and recorded.
#[derive(Clone)]
pub struct SentBatch {
    /// Its bytes.
    pub batch: Arc<wire::Batch>,
    /// Its questions.
    pub questions: Arc<Questions>,
    /// The place of its entry.
    pub place: u64,
    /// The mark of the grant that it rests on.
    grant: Option<Mark>,
}

impl SentBatch {
    /// As it is sent: an encoded `exchange.v1.Signed`.
    pub fn bytes(&self) -> Vec<u8> {
        wire::Signed { form: Some(Form::Batch(self.batch.as_ref().clone())) }.encode_to_vec()
    }

    fn of(batch: wire::Batch, place: u64, me: &Party) -> Result<Self, Refusal> {
        let questions = Questions::of(&batch)?;
        let grant = Digest::try_from(questions.common.wire.grant.as_slice()).ok();
        let grant = grant.map(|grant| usage::mark(&grant, me.department()));
        Ok(Self { batch: Arc::new(batch), questions: Arc::new(questions), place, grant })
    }
}

/// What a batch came to.
pub enum BatchAnswer {
    /// An answer to each item, in their order.
    Answered(Vec<wire::Answer>),
    /// The whole was refused.
    Refused(wire::Refusal),
}

impl Asker {
    /// Prepares the rows of a batch. What stands in the way of all of them is the error; what of one, beside it. Takes its
    /// time: hashing is no work for a thread that others wait for.
    ///
    /// # Errors
    ///
    /// Why none of them can be asked now.
    pub fn prepare_batch(&self, office: &OfficeQuestion, rows: &[BatchRow]) -> Result<PreparedBatch, Refusal> {
        let now_ms = self.clock.now_ms();
        self.view.check_usable(now_ms)?;
        let seen = self.view.seen();
        let directory = seen.directory();
        let target = office.target(directory, &self.me, now_ms)?;
        directory
            .node_key(self.me.department(), &self.signer.key_id(), now_ms)
            .map_err(|code| Refusal::new(code).at("sender_node").because("the key of this node"))?;
        if directory.nodes_of(&target.department).next().is_none() {
            return Err(Refusal::new(Code::ProviderUnreachable).at("provider"));
        }
        let service = directory.service(&target);
        let batch_id = random::array::<32>(self.random.as_ref());
        let mut common = wire::Request {
            wire_version: trust::directory::WIRE_VERSION,
            exchange_id: self.me.exchange().to_string(),
            request_id: batch_id.to_vec(),
            sender: self.me.to_string(),
            sender_node: self.node.to_string(),
            recipient: Party::new(self.me.exchange().clone(), target.department.clone()).to_string(),
            service: target.service.to_string(),
            service_version: target.major,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(directory.profile().request_validity_ms),
            directory_size: seen.size(),
            directory_root: seen.root().as_bytes().to_vec(),
            trace: data_encoding::HEXLOWER.encode(&random::array::<8>(self.random.as_ref())),
            ..office.body()
        };
        (common.subject, common.authorisation, common.accepts_deferral) = (None, None, false);
        common.also_about.clear();
        request::make_canonical(&mut common, service, &directory.profile().schemes);
        request::fill_purpose(&mut common, directory, &self.me, service);
        let (mut items, mut asked, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let (mut grant, mut officer) = (None, None);
        for (index, row) in rows.iter().enumerate() {
            let mut whole = common.clone();
            whole.subject.clone_from(&row.subject);
            whole.inputs.extend_from_slice(&row.inputs);
            whole.claims.extend_from_slice(&row.claims);
            whole.authorisation.clone_from(&row.authorisation);
            if !row.case_number.is_empty() {
                whole.case_number.clone_from(&row.case_number);
            }
            request::make_canonical(&mut whole, service, &directory.profile().schemes);
            self.name_former(&mut whole, service);
            let decided = Question::read(whole).and_then(|question| {
                let permit = decide(directory, &question, now_ms)?;
                if *grant.get_or_insert(permit.grant) != permit.grant {
                    return Err(Refusal::new(Code::BatchGrantDiffers).at("grant"));
                }
                officer = self.take_officer(&question)?;
                Ok(question.wire)
            });
            match decided {
                Ok(whole) => {
                    let own = own_part(whole, row, &common);
                    if common.encoded_len() + own.len() + 100 > LARGEST_REQUEST {
                        refused.push((index, Refusal::new(Code::MessageTooLarge)));
                    } else {
                        items.push(own);
                        asked.push(index);
                    }
                }
                Err(refusal) => refused.push((index, refusal)),
            }
        }
        common.request_id.clear();
        common.grant = grant.map(|grant| grant.as_bytes().to_vec()).unwrap_or_default();
        let batch = wire::Batch {
            batch_id: batch_id.to_vec(),
            salt_seed: random::array::<32>(self.random.as_ref()).to_vec(),
            common: common.encode_to_vec(),
            items,
            root: None,
        };
        if batch.encoded_len() + 1024 > LARGEST_BATCH {
            return Err(Refusal::new(Code::MessageTooLarge));
        }
        let grant = grant.map(|grant| usage::mark(&grant, self.me.department()));
        Ok(PreparedBatch { batch, provider: target.department, rows: asked, refused, grant, officer })
    }

    /// Signs a batch and makes it durable. Only then may it leave.
    pub async fn record_batch(&self, prepared: PreparedBatch) -> Result<SentBatch, Error> {
        self.check_may_record()?;
        let PreparedBatch { mut batch, grant, officer, .. } = prepared;
        let at_ms = self.clock.now_ms();
        let root;
        (batch, root) = tokio::task::spawn_blocking(move || {
            let root = batch::root(&batch, &batch::question_digests(&batch), at_ms);
            (batch, root)
        })
        .await
        .map_err(|_| Error::StoredUnreadable)?;
        let (envelope, digest) = seal(&root, self.signer.as_ref());
        batch.root = Some(envelope);
        let message = wire::Signed { form: Some(Form::Batch(batch.clone())) }.encode_to_vec();
        let entries = vec![NewEntry { kind: EntryKind::QuestionSent, digest, message }];
        let uses = u32::try_from(batch.items.len()).unwrap_or(u32::MAX);
        let commit = Commit { at_ms, entries, grant, officer, uses: Some(uses), ..Commit::default() };
        let committed = self.journal.commit(commit).await?;
        self.count_batch(&self.asked, grant, uses);
        SentBatch::of(batch, committed.first_index, &self.me).map_err(|_| Error::StoredUnreadable)
    }

    /// A batch that was recorded at this place, as it is sent again.
    pub fn sent_batch(&self, place: u64) -> Result<SentBatch, Error> {
        let stored = self.journal.entry(place)?.and_then(|stored| stored.message).ok_or(Error::StoredUnreadable)?;
        let signed = wire::Signed::decode(stored.as_slice()).map_err(|_| Error::StoredUnreadable)?;
        let Some(Form::Batch(batch)) = signed.form else { return Err(Error::StoredUnreadable) };
        SentBatch::of(batch, place, &self.me).map_err(|_| Error::StoredUnreadable)
    }

    /// Opens what came back for a batch.
    pub async fn open_batch(&self, sent: &SentBatch, answer: &Arc<wire::Signed>) -> Result<BatchAnswer, String> {
        let open = |seen: Arc<Seen>| {
            let (sent, answer, view) = (sent.clone(), Arc::clone(answer), Arc::clone(&self.view));
            let now_ms = self.clock.now_ms();
            tokio::task::spawn_blocking(move || open_answer(&seen, &sent, &answer, now_ms, |size| view.root_at(size)))
        };
        let mut opened = open(self.view.seen()).await.map_err(|error| error.to_string())?;
        if matches!(opened, Err(AnswerError::Envelope(EnvelopeError::KeyUnknown)))
            && let Some(size) = claimed_size(answer)
            && size > self.view.seen().size()
        {
            let _ = tokio::time::timeout(CATCH_UP, self.view.reached(size)).await;
            opened = open(self.view.seen()).await.map_err(|error| error.to_string())?;
        }
        opened.map_err(|error| format!("answer_invalid: {error}"))
    }

    /// Makes the answer to a batch durable; `answered` of its items have verdicts.
    pub async fn record_batch_answer(
        &self,
        sent: &SentBatch,
        answer: Arc<wire::Signed>,
        answered: usize,
    ) -> Result<Receipt, Error> {
        self.check_may_record()?;
        let digest = trust::envelope::digest_of(&answer).map_err(|_| Error::StoredUnreadable)?;
        let entry = NewEntry { kind: EntryKind::AnswerReceived, digest, message: answer.encode_to_vec() };
        drop(answer);
        let answered = u32::try_from(answered).unwrap_or(u32::MAX);
        let commit = Commit {
            at_ms: self.clock.now_ms(),
            entries: vec![entry],
            about: Some(sent.place),
            grant: sent.grant.filter(|_| answered > 0),
            uses: Some(answered),
            ..Commit::default()
        };
        let committed = self.journal.commit(commit).await?;
        self.count_batch(&self.answered, sent.grant, answered);
        last(&committed)
    }

    /// Rows that this node refuses to ask: an outcome for each reason stands in the evidence.
    pub async fn record_refused(&self, refused: &[(usize, Refusal)]) -> Result<(), Error> {
        let mut reasons: BTreeMap<Code, &Refusal> = BTreeMap::new();
        for (_, refusal) in refused {
            reasons.entry(refusal.code).or_insert(refusal);
        }
        for refusal in reasons.into_values() {
            self.record_outcome(self.clock.now_ms(), None, None, What::Refused(refusal.to_wire())).await?;
        }
        Ok(())
    }

    /// These questions are under way still, and are no interrupted ones: whoever says so goes on with them.
    pub fn keep_under_way(&self, places: &[u64]) {
        super::lock(&self.interrupted).retain(|question| !places.contains(&question.index));
    }

    fn check_may_record(&self) -> Result<(), Error> {
        if self.disk_low.load(std::sync::atomic::Ordering::Acquire) {
            return Err(Error::DiskFull);
        }
        Ok(self.journal.check_open()?)
    }

    fn count_batch(&self, counted: &usage::Usage, grant: Option<Mark>, uses: u32) {
        if let Some(grant) = grant {
            let seen = self.view.seen();
            counted.count_many(&grant, &seen.directory().profile().calendar, self.clock.now_ms(), uses);
        }
    }

    /// One item of a batch as a verification of its own, found by the receipt of the batch's question or answer.
    pub fn show_item(&self, receipt: &Receipt, item: usize) -> Result<Asked, NotFound> {
        let entry = |place: u64| self.journal.entry(place).map_err(Error::from)?.ok_or(NotFound::Unknown);
        let stored = entry(self.journal.find(receipt).map_err(Error::from)?.ok_or(NotFound::Unknown)?)?;
        let (question, answer) = match (stored.entry.kind, stored.about) {
            (EntryKind::AnswerReceived, Some(about)) => (entry(about)?, Some(stored)),
            (EntryKind::AnswerGiven, about) => (entry(about.unwrap_or(stored.companions.start))?, Some(stored)),
            (EntryKind::QuestionReceived, _) => {
                let answer = entry(stored.companions.end - 1)?;
                (stored, Some(answer))
            }
            (EntryKind::QuestionSent, _) => (stored, None),
            _ => return Err(NotFound::Unknown),
        };
        let signed = |message: &Option<Vec<u8>>| -> Result<wire::Signed, NotFound> {
            let bytes = message.as_deref().ok_or(NotFound::Destroyed)?;
            wire::Signed::decode(bytes).map_err(|_| Error::StoredUnreadable.into())
        };
        let Some(Form::Batch(batch)) = signed(&question.message)?.form else { return Err(NotFound::Unknown) };
        if let Some(newest) = self.newest_of_item(question.index, item) {
            return self.show_entry(newest);
        }
        let payload = batch::question_payload(&batch, item);
        let request = wire::Request::decode(payload.as_slice()).map_err(|_| Error::StoredUnreadable)?;
        if payload.is_empty() {
            return Err(NotFound::Unknown);
        }
        let digest = trust::envelope::digest(<wire::Request as trust::envelope::Payload>::TYPE, &payload);
        let (ending, number, at_ms) = match &answer {
            None => (unanswered(&request.claims, "interrupted"), 0, question.at_ms),
            Some(stored) => {
                let answer = match signed(&stored.message)? {
                    wire::Signed { form: Some(Form::Batch(answers)) } => {
                        let payload = batch::answer_payload(&answers, item, &digest);
                        wire::Answer::decode(payload.as_slice()).map_err(|_| Error::StoredUnreadable)?
                    }
                    whole => trust::envelope::peek(&whole, usize::MAX).map_err(|_| Error::StoredUnreadable)?,
                };
                // What follows the answer to another item.
                if answer.number > 1 && answer.request_digest != digest.as_bytes() {
                    return Err(NotFound::Unknown);
                }
                let number = answer.number;
                (ending_of(answer), number, stored.at_ms)
            }
        };
        Ok(Asked {
            ending,
            receipt: *receipt,
            request_digest: Some(digest),
            provider: request.recipient,
            service: request.service,
            service_version: request.service_version,
            asked_at_ms: request.issued_at_ms,
            elapsed: Duration::from_millis(at_ms.saturating_sub(request.issued_at_ms)),
            case_number: request.case_number,
            item: request.purpose.map(|purpose| purpose.item).unwrap_or_default(),
            officer: request.officer,
            clerk: String::new(),
            number,
            correction: String::new(),
        })
    }
}

/// What a question says beside what all of its batch share.
fn own_part(whole: wire::Request, row: &BatchRow, common: &wire::Request) -> Vec<u8> {
    wire::Request {
        subject: whole.subject,
        former_subjects: whole.former_subjects,
        inputs: whole.inputs.into_iter().skip(common.inputs.len()).collect(),
        claims: whole.claims.into_iter().skip(common.claims.len()).collect(),
        case_number: row.case_number.clone(),
        authorisation: whole.authorisation,
        ..wire::Request::default()
    }
    .encode_to_vec()
}

fn claimed_size(answer: &wire::Signed) -> Option<u64> {
    match &answer.form {
        Some(Form::Batch(batch)) => {
            wire::Answer::decode(batch.common.as_slice()).ok().map(|answer| answer.directory_size)
        }
        _ => None,
    }
}

fn open_answer(
    seen: &Seen,
    sent: &SentBatch,
    answer: &wire::Signed,
    now_ms: u64,
    root_at: impl Fn(u64) -> Option<trust::log::hash::Hash>,
) -> Result<BatchAnswer, AnswerError> {
    let (directory, questions) = (seen.directory(), &sent.questions);
    let Some(Form::Batch(answers)) = &answer.form else {
        let whole = answer::open(directory, answer, &questions.common, &questions.digest, now_ms, root_at)?;
        return match whole.wire.outcome {
            Some(wire::answer::Outcome::Refusal(refusal)) => Ok(BatchAnswer::Refused(refusal)),
            _ => Err(AnswerError::Verdicts),
        };
    };
    let opened = batch::open_answers(directory, answers, questions, now_ms)?;
    let mut answered = Vec::with_capacity(answers.items.len());
    for (index, digest) in questions.requests.iter().enumerate() {
        let question = questions.question(&sent.batch, index).map_err(|_| EnvelopeError::Malformed)?;
        let one = opened.answer(directory, answers, (&question, digest), index, now_ms, &root_at)?;
        answered.push(one.wire);
    }
    Ok(BatchAnswer::Answered(answered))
}
