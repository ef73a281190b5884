//! Many questions under one signature, answered under one. What holds for a single question holds for each item: the same
//! decision, guesses, quotas and comparison, and a refusal of its own. What costs a disk is done once for all: guesses in one
//! commit, question and answer as one entry each; and the source is passed over once.
//!
//! Out of scope: what a batch is (`trust::batch`), and how it comes here (`peer_edge::bulk`).

use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering},
};

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome, signed::Form};
use tokio::sync::OwnedSemaphorePermit;
use trust::{
    batch::{self, Questions},
    claim::Reason,
    decision::{Permit, decide},
    envelope,
    ids::{Digest, Party},
    question::{LARGEST_REQUEST, Question},
    refusal::{Code, Refusal},
};

use super::{
    Answerer, Unanswered,
    charge::Charged,
    evaluate::unavailable,
    known::{Begin, Turn},
    lookup::merged,
    request_key,
};
use crate::{
    budget::guesses,
    journal::{Commit, NewEntry, RequestMark},
    keys::seal,
    records::{Lookup, Wanted},
    shared::Claim,
    usage,
    view::Seen,
};

/// How many batches are answered at once.
pub(super) const AT_ONCE: usize = 2;

/// After so many items others have their turn on this thread.
const IN_A_TURN: usize = 32;

/// For so long one pass over a source for a thousand items may take.
const LONGEST_PASS: std::time::Duration = std::time::Duration::from_secs(20);

/// In each pass.
const IN_ONE_PASS: usize = 1000;

impl Answerer {
    /// A place among the batches that are answered at once. Whoever waits has sent nothing yet.
    pub async fn batch_turn(&self) -> Result<OwnedSemaphorePermit, Unanswered> {
        Arc::clone(&self.batches).acquire_owned().await.map_err(|_| Unanswered::TooMany)
    }

    /// Answers a batch that came over a connection of `peer`: with a batch of answers, or with one that refuses the whole.
    /// It comes back with its `place`, which is held as long as the answer is in memory.
    ///
    /// What is new is answered in a task of its own, up to the commit, also where nobody waits any more: ten thousand
    /// look-ups may take longer than whoever asked can wait, and the same bytes, sent again, find what was begun.
    pub async fn answer_batch(
        self: &Arc<Self>,
        peer: &Party,
        batch: wire::Batch,
        place: OwnedSemaphorePermit,
    ) -> Result<(wire::Signed, OwnedSemaphorePermit), Unanswered> {
        if self.disk_low.load(Ordering::Acquire) {
            return Err(Unanswered::DiskFull);
        }
        self.journal.check_open()?;
        let batch = Arc::new(batch);
        let (seen, questions, turn) = match self.begin_batch(peer, &batch).await? {
            ControlFlow::Continue(new) => new,
            ControlFlow::Break(answer) => return Ok((answer, place)),
        };
        let answerer = Arc::clone(self);
        let answering = tokio::spawn(async move {
            let answer = answerer.answer_new_batch(seen, questions, batch, turn).await?;
            Ok::<_, Unanswered>((answer, place))
        });
        answering.await?
    }

    /// Opens a batch, and finds the answer where it has one; waits where it is being answered.
    async fn begin_batch(
        &self,
        peer: &Party,
        batch: &Arc<wire::Batch>,
    ) -> Result<ControlFlow<wire::Signed, NewBatch>, Unanswered> {
        let (seen, opened) = self.open_batch(peer, batch).await?;
        let questions = match opened {
            Ok(questions) => questions,
            Err(refusal) => {
                return Ok(ControlFlow::Break(self.refuse_unopened_batch(&seen, peer, batch, &refusal).await?));
            }
        };
        let key = request_key(&questions.common.sender, questions.common.id.as_bytes());
        let turn = loop {
            match self.known.begin(&key) {
                Begin::Mine(turn) => break turn,
                Begin::InFlight(ended) => drop(ended.await),
                Begin::Stored(first_index) => {
                    let answer = match self.stored(first_index, &questions.digest)? {
                        Some(answer) => self.ours_batch(&seen, &questions, batch, answer).await?,
                        None => self.refuse_reuse(&seen, &questions, batch).await?,
                    };
                    return Ok(ControlFlow::Break(answer));
                }
            }
        };
        if self.may_have_been_answered(&questions.common) {
            return Err(Unanswered::BeforeThisLog);
        }
        Ok(ControlFlow::Continue((seen, questions, turn)))
    }

    async fn answer_new_batch(
        &self,
        seen: Arc<Seen>,
        questions: Questions,
        batch: Arc<wire::Batch>,
        turn: Turn,
    ) -> Result<wire::Signed, Unanswered> {
        if let Some(shared) = &self.shared {
            match shared.claim_request(turn.key(), &questions.digest).await? {
                Claim::Mine => {}
                Claim::Answered(answer) => {
                    self.counts.repeated.fetch_add(1, Ordering::Relaxed);
                    return Ok(answer);
                }
                Claim::OtherBytes => return self.refuse_reuse(&seen, &questions, &batch).await,
            }
        }
        self.answer_items(seen, questions, batch, turn).await
    }

    async fn open_batch(
        &self,
        peer: &Party,
        batch: &Arc<wire::Batch>,
    ) -> Result<(Arc<Seen>, Result<Questions, Refusal>), Unanswered> {
        let mut seen = self.view.seen();
        if seen.directory().founding().is_none() {
            return Err(Unanswered::DirectoryMissing);
        }
        let open = |seen: Arc<Seen>| {
            let (batch, peer, me) = (Arc::clone(batch), peer.clone(), self.me.clone());
            let now_ms = self.clock.now_ms();
            // Hashing ten thousand messages is no work for a thread that others wait for.
            tokio::task::spawn_blocking(move || batch::open_questions(seen.directory(), &batch, &peer, &me, now_ms))
        };
        let mut opened = open(Arc::clone(&seen)).await?;
        if matches!(&opened, Err(refusal) if matches!(refusal.code, Code::KeyUnknown | Code::DepartmentUnknown))
            && let Ok(claimed) = wire::Request::decode(batch.common.as_slice())
            && claimed.directory_size > seen.size()
        {
            seen = self.catch_up(claimed.directory_size).await;
            opened = open(Arc::clone(&seen)).await?;
        }
        Ok((seen, opened))
    }

    async fn answer_items(
        &self,
        mut seen: Arc<Seen>,
        questions: Questions,
        batch: Arc<wire::Batch>,
        turn: Turn,
    ) -> Result<wire::Signed, Unanswered> {
        let now_ms = self.clock.now_ms();
        let common = &questions.common;
        let usable = self.check(&seen, common, now_ms);
        if usable.is_ok() && common.wire.directory_size > seen.size() {
            let first = questions.question(&batch, 0);
            if first.is_ok_and(|first| decide(seen.directory(), &first, now_ms).is_err()) {
                seen = self.catch_up(common.wire.directory_size).await;
            }
        }
        let mut items = Vec::with_capacity(batch.items.len());
        let mut grant = None;
        for index in 0..batch.items.len() {
            let decided = usable.clone().and_then(|()| questions.question(&batch, index));
            items.push(decided.and_then(|question| permitted(&seen, question, now_ms, &mut grant)));
            let_others(index).await;
        }
        let charged = self.charge_batch(&seen, common, &mut items, &turn, now_ms).await?;
        let outcomes = self.evaluate_batch(&items, now_ms).await;
        let refused = items.iter().filter(|item| item.is_err()).count();
        drop(items);
        let uses = outcomes.len() - refused;
        self.counts.answered.fetch_add(uses as u64, Ordering::Relaxed);
        self.counts.refused.fetch_add(refused as u64, Ordering::Relaxed);
        tracing::debug!(trace = common.wire.trace, service = %common.service, uses, refused, "answered a batch");
        self.commit_batch(&seen, questions, batch, outcomes, (grant, charged, uses), turn).await
    }

    /// Takes what the items cost, in their order; an item that is over a limit is refused, and the others are not.
    async fn charge_batch(
        &self,
        seen: &Seen,
        common: &Question,
        items: &mut [Item<'_>],
        turn: &Turn,
        now_ms: u64,
    ) -> Result<Charged, Unanswered> {
        let directory = seen.directory();
        let (department, calendar) = (common.sender.department(), &directory.profile().calendar);
        let mut tried = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Ok((question, permit)) = item else { continue };
            self.watch.asked(department, &question.wire.case_number, &permit.subject, calendar, now_ms);
            let also = self.aliases.numbers(&permit.subject, &permit.former_subjects).unwrap_or_default();
            tried.push(guesses(&self.budget_key, &self.guessing, directory, question, permit, &also, now_ms));
            let_others(index).await;
        }
        let mut taken = self.budget.take_budget(tried, now_ms).await?.into_iter();
        let mut marks = Charged::default();
        let refuse = |item: &mut Item<'_>, refusal: Refusal| {
            self.watch.refused(department, refusal.code, calendar, now_ms);
            *item = Err(refusal);
        };
        for item in items.iter_mut() {
            let Ok((question, permit)) = &*item else { continue };
            if let Some(Err(spent)) = taken.next() {
                refuse(item, spent.refusal());
                continue;
            }
            let grant = usage::mark(&permit.grant, department);
            let officer = match &self.shared {
                // All together below, as the uses of the grant.
                Some(_) => Ok(self.officers.mark(department, &question.wire.officer, calendar, now_ms)),
                None => self.officers.take(department, &question.wire.officer, calendar, now_ms),
            };
            let used = match &self.shared {
                Some(_) => Ok(()),
                None => officer.as_ref().map_or(Ok(()), |_| self.usage.take(&grant, permit.quota, calendar, now_ms)),
            };
            match (officer, used) {
                (Ok(officer), Ok(())) => marks = Charged { grant: Some(grant), officer, goes_on: false },
                (Err(refusal), _) | (_, Err(refusal)) => refuse(item, refusal),
            }
        }
        let beyond = |items: &mut [Item<'_>], uses: u32, reached: Option<Refusal>| {
            let Some(reached) = reached else { return };
            let beyond = items.iter_mut().filter(|item| item.is_ok()).skip(usize::try_from(uses).unwrap_or(0));
            beyond.for_each(|item| refuse(item, reached.clone()));
        };
        // All items are one officer's, and rest on one grant.
        if let (Some(shared), Some(mark)) = (&self.shared, marks.officer) {
            let wanted = u32::try_from(items.iter().filter(|item| item.is_ok()).count()).unwrap_or(u32::MAX);
            let quota = self.officers.quota();
            let (uses, reached) = shared.take_officer(turn.key(), &mark, quota, calendar, now_ms, wanted).await?;
            self.officers.count(&mark, calendar, now_ms, uses);
            beyond(items, uses, reached);
        }
        if let (Some(shared), Some(mark)) = (&self.shared, marks.grant) {
            let wanted = items.iter().filter(|item| item.is_ok()).count();
            let quota = items.iter().find_map(|item| item.as_ref().ok()).and_then(|(_, permit)| permit.quota);
            let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
            let (uses, reached) = shared.take_uses(turn.key(), &mark, quota, calendar, now_ms, wanted).await?;
            self.usage.count_many(&mark, calendar, now_ms, uses);
            beyond(items, uses, reached);
        }
        Ok(marks)
    }

    /// Looks up what is permitted and compares it; the outcome of each item, in their order.
    async fn evaluate_batch(&self, items: &[Item<'_>], now_ms: u64) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(items.len());
        for some in items.chunks(IN_ONE_PASS) {
            let Some(service) = some.iter().find_map(|item| item.as_ref().ok()).map(|(_, permit)| permit.service)
            else {
                outcomes.extend(some.iter().map(|item| refused(item.as_ref().err())));
                continue;
            };
            let mut wanted = Vec::with_capacity(some.len());
            let mut counts: Vec<Result<usize, Reason>> = Vec::with_capacity(some.len());
            for (_, permit) in some.iter().filter_map(|item| item.as_ref().ok()) {
                let before = wanted.len();
                let numbers = self.numbers(permit, now_ms).map(|numbers| {
                    let held = numbers.into_iter().filter(|number| service.schemes.contains(&number.scheme()));
                    wanted.extend(held.map(|subject| Wanted { subject, inputs: permit.inputs.clone() }));
                });
                counts.push(numbers.map(|()| wanted.len() - before));
            }
            let looking = self.records.lookup_many(service, &wanted);
            let found = match tokio::time::timeout(LONGEST_PASS, looking).await {
                Ok(found) => found,
                Err(_) => vec![Lookup::Failed("it took too long".to_owned()); wanted.len()],
            };
            let (mut found, mut counts) = (found.into_iter(), counts.into_iter());
            for (index, item) in some.iter().enumerate() {
                outcomes.push(match item {
                    Err(refusal) => refused(Some(refusal)),
                    Ok((question, permit)) => {
                        Outcome::Verdicts(match counts.next().unwrap_or(Err(Reason::SourceDown)) {
                            Err(reason) => unavailable(permit, reason),
                            Ok(count) => {
                                let found = merged(found.by_ref().take(count), self.records.may_repeat(service));
                                self.verdicts(permit, question, found, now_ms)
                            }
                        })
                    }
                });
                let_others(index).await;
            }
        }
        outcomes
    }

    /// Puts the answers together, signs them, makes both batches durable, and only then hands them out.
    async fn commit_batch(
        &self,
        seen: &Seen,
        questions: Questions,
        batch: Arc<wire::Batch>,
        outcomes: Vec<Outcome>,
        (grant, charged, uses): (Option<Digest>, Charged, usize),
        turn: Turn,
    ) -> Result<wire::Signed, Unanswered> {
        let common = &questions.common;
        let no_outcome = Outcome::Verdicts(wire::Verdicts::default());
        let shared_part = wire::Answer {
            request_id: Vec::new(),
            outcome: None,
            grant: grant.map(|grant| grant.as_bytes().to_vec()).unwrap_or_default(),
            ..self.build(seen, &common.wire, &common.wire.sender, Vec::new(), no_outcome)
        };
        let at_ms = shared_part.answered_at_ms;
        let digest = questions.digest;
        let mut answers = wire::Batch {
            batch_id: batch.batch_id.clone(),
            salt_seed: self.budget_key.salt_seed(&digest).to_vec(),
            common: shared_part.encode_to_vec(),
            items: Vec::new(),
            root: None,
        };
        let (answers, root) = tokio::task::spawn_blocking(move || {
            answers.items = outcomes.into_iter().map(own_part).collect();
            let root = batch::root(&answers, &batch::answer_digests(&answers, &questions.requests), at_ms);
            (answers, root)
        })
        .await?;
        let (root, answer_digest) = seal(&root, self.signer.as_ref());
        let answer = wire::Signed { form: Some(Form::Batch(wire::Batch { root: Some(root), ..answers })) };
        let question = wire::Signed { form: Some(Form::Batch(Arc::unwrap_or_clone(batch))) };
        let request = RequestMark { key: *turn.key(), digest };
        let commit = Commit {
            at_ms,
            entries: vec![
                NewEntry { kind: EntryKind::QuestionReceived, digest, message: question.encode_to_vec() },
                NewEntry { kind: EntryKind::AnswerGiven, digest: answer_digest, message: answer.encode_to_vec() },
            ],
            request: Some(request),
            grant: charged.grant,
            officer: charged.officer,
            uses: Some(u32::try_from(uses).unwrap_or(u32::MAX)),
            ..Commit::default()
        };
        drop(question);
        let (journal, shared) = (Arc::clone(&self.journal), self.shared.clone());
        // In a task of its own, as for a single answer: a commit under way cannot be taken back.
        let committing = tokio::spawn(async move {
            let committed = journal.commit(commit).await?;
            let key = *turn.key();
            turn.answered(committed.first_index, at_ms);
            match shared {
                Some(shared) => Ok::<_, Unanswered>(shared.keep_answer(&key, &answer).await?.unwrap_or(answer)),
                None => Ok(answer),
            }
        });
        committing.await?
    }

    async fn ours_batch(
        &self,
        seen: &Seen,
        questions: &Questions,
        batch: &wire::Batch,
        stored: wire::Signed,
    ) -> Result<wire::Signed, Unanswered> {
        let Some(shared) = &self.shared else { return Ok(stored) };
        let key = request_key(&questions.common.sender, questions.common.id.as_bytes());
        match shared.claim_request(&key, &questions.digest).await? {
            Claim::Answered(answer) => Ok(answer),
            Claim::Mine => Ok(shared.keep_answer(&key, &stored).await?.unwrap_or(stored)),
            Claim::OtherBytes => self.refuse_reuse(seen, questions, batch).await,
        }
    }

    async fn refuse_reuse(
        &self,
        seen: &Seen,
        questions: &Questions,
        batch: &wire::Batch,
    ) -> Result<wire::Signed, Unanswered> {
        let refusal = Refusal::new(Code::RequestIdReused).at("batch_id");
        let common = &questions.common.wire;
        self.log_refusal(&refusal, &common.sender, &common.trace);
        let digest = questions.digest.as_bytes().to_vec();
        let answer = self.build(seen, common, &common.sender, digest, Outcome::Refusal(refusal.to_wire()));
        let signed = wire::Signed { form: Some(Form::Batch(batch.clone())) };
        self.commit(&signed, Some(questions.digest), &answer, None, Charged::default()).await
    }

    /// A batch that did not open: as for a single question nobody has vouched for it.
    async fn refuse_unopened_batch(
        &self,
        seen: &Seen,
        peer: &Party,
        batch: &wire::Batch,
        refusal: &Refusal,
    ) -> Result<wire::Signed, Unanswered> {
        if !self.unopened.take(peer.department().as_str(), self.clock.now_ms()) {
            return Err(Unanswered::TooMany);
        }
        self.log_refusal(refusal, &peer.to_string(), "");
        let claimed = Some(&batch.common).filter(|common| common.len() <= LARGEST_REQUEST);
        let claimed = claimed.and_then(|common| wire::Request::decode(common.as_slice()).ok()).unwrap_or_default();
        let claimed = wire::Request { request_id: batch.batch_id.clone(), ..claimed };
        let signed = wire::Signed { form: Some(Form::Batch(batch.clone())) };
        let digest = envelope::digest_of(&signed).ok();
        let request_digest = digest.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default();
        let answer = self.build(seen, &claimed, &peer.to_string(), request_digest, Outcome::Refusal(refusal.to_wire()));
        self.commit(&signed, digest, &answer, None, Charged::default()).await
    }
}

/// A batch that nobody has answered: by what directory it was opened, and the right to answer it.
type NewBatch = (Arc<Seen>, Questions, Turn);

/// A permitted item, or why it is refused.
type Item<'a> = Result<(Question, Permit<'a>), Refusal>;

/// Decides on one item. All of a batch rest on one grant: what is used of it is counted once for all.
fn permitted<'a>(seen: &'a Seen, question: Question, now_ms: u64, grant: &mut Option<Digest>) -> Item<'a> {
    let permit = decide(seen.directory(), &question, now_ms)?;
    if *grant.get_or_insert(permit.grant) != permit.grant {
        return Err(Refusal::new(Code::BatchGrantDiffers).at("grant"));
    }
    Ok((question, permit))
}

fn refused(refusal: Option<&Refusal>) -> Outcome {
    Outcome::Refusal(refusal.cloned().unwrap_or_else(|| Refusal::new(Code::MessageMalformed)).to_wire())
}

/// What an answer says beside what all of them share. A refusal rests on no grant, and says so over what they share.
fn own_part(outcome: Outcome) -> Vec<u8> {
    let is_refusal = matches!(outcome, Outcome::Refusal(_));
    let mut own = wire::Answer { outcome: Some(outcome), ..wire::Answer::default() }.encode_to_vec();
    if is_refusal {
        own.extend_from_slice(&[GRANT_OF_AN_ANSWER, 0]);
    }
    own
}

/// The tag of the field `grant`.
const GRANT_OF_AN_ANSWER: u8 = 15 << 3 | 2;

async fn let_others(index: usize) {
    if index % IN_A_TURN == IN_A_TURN - 1 {
        tokio::task::yield_now().await;
    }
}
