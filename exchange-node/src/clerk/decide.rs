//! What an officer decides about a task: an answer, claim by claim, or that there will be none, and, where the authority's
//! profile asks for two officers, the second one's word. The answer is decided on once more when it is given: a grant that
//! was revoked meanwhile opens nothing. Then it is signed, made durable, and put on the list to be delivered.

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome};
use trust::{
    clerk,
    decision::decide,
    envelope, official,
    question::Question,
    refusal::{Code, Refusal},
};

use super::{Clerks, Error, Proposal, Task, TaskState, Word, overdue_id, row_key, task::said};
use crate::{
    duty::{Change, Duty, What},
    journal::{Commit, NewEntry},
    keys::seal,
};

/// What may take two officers.
const KIND: &str = "clerk.answer";

/// What became of a decision.
pub type Decided = Result<Task, Refusal>;

impl Clerks {
    /// An officer answers or declines.
    ///
    /// # Errors
    ///
    /// Our own failure, or there is no such ticket.
    pub async fn decide(&self, ticket: &str, word: Word, officer: &str) -> Result<Decided, Error> {
        let _turn = self.turn.lock().await;
        let task = self.find(ticket).ok_or(Error::Unknown)?;
        if task.state() != TaskState::Open {
            return Ok(Err(closed(&task)));
        }
        if let Err(refusal) = check_officer("officer", officer) {
            return Ok(Err(refusal));
        }
        let outcome = match self.outcome(&task, &word)? {
            Ok(outcome) => outcome,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if official::takes_four_eyes(self.parts.view.seen().directory().profile(), KIND) {
            let proposal = Proposal { officer: officer.to_owned(), word };
            let proposed = Task { proposal: Some(proposal), officer: officer.to_owned(), ..task };
            return Ok(match self.keep(proposed.clone(), Vec::new()).await {
                Ok(()) => Ok(proposed),
                Err(Error::Duty(crate::duty::Error::TooLong { .. })) => {
                    Err(Refusal::new(Code::MessageTooLarge).at("verdicts"))
                }
                Err(error) => return Err(error),
            });
        }
        self.finish(task, outcome, officer, "").await.map(Ok)
    }

    /// A second officer confirms what the first one said.
    ///
    /// # Errors
    ///
    /// Our own failure, or there is no such ticket.
    pub async fn confirm(&self, ticket: &str, officer: &str) -> Result<Decided, Error> {
        let _turn = self.turn.lock().await;
        let task = self.find(ticket).ok_or(Error::Unknown)?;
        let (TaskState::Proposed, Some(proposal)) = (task.state(), task.proposal.clone()) else {
            return Ok(Err(closed(&task)));
        };
        if let Err(refusal) = check_officer("officer", officer) {
            return Ok(Err(refusal));
        }
        if officer.trim() == proposal.officer.trim() {
            return Ok(Err(Refusal::new(Code::SecondOfficerSame).at("officer")));
        }
        match self.outcome(&task, &proposal.word)? {
            Ok(outcome) => self.finish(task, outcome, &proposal.officer, officer).await.map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// What the first officer said is set aside.
    ///
    /// # Errors
    ///
    /// Our own failure, or there is no such ticket.
    pub async fn reopen(&self, ticket: &str) -> Result<Decided, Error> {
        let _turn = self.turn.lock().await;
        let task = self.find(ticket).ok_or(Error::Unknown)?;
        if task.state() != TaskState::Proposed {
            return Ok(Err(closed(&task)));
        }
        let reopened = Task { proposal: None, officer: String::new(), ..task };
        self.keep(reopened.clone(), Vec::new()).await?;
        Ok(Ok(reopened))
    }

    /// What goes into the answer, or why the officer's word cannot be one.
    fn outcome(&self, task: &Task, word: &Word) -> Result<Result<(Outcome, Vec<u8>), Refusal>, Error> {
        let now_ms = self.parts.clock.now_ms();
        if let Err(refusal) = self.parts.view.check_usable(now_ms) {
            return Ok(Err(refusal));
        }
        let question = Question::read(self.request(task)?).map_err(|_| Error::StoredUnreadable)?;
        let seen = self.parts.view.seen();
        Ok(match (decide(seen.directory(), &question, now_ms), word) {
            // What was permitted when it was asked is not permitted any more: the asker gets to read why.
            (Err(refusal), _) => Ok((Outcome::Refusal(refusal.to_wire()), Vec::new())),
            (Ok(_), Word::Decline(reason)) => match clerk::declined(reason) {
                Some(refusal) => Ok((Outcome::Refusal(refusal.to_wire()), Vec::new())),
                None => Err(Refusal::new(Code::MessageMalformed).at("reason").because("it is none of the list")),
            },
            (Ok(permit), Word::Answer { verdicts, record_as_of }) => {
                let said = said(verdicts).ok_or(Error::StoredUnreadable)?;
                let given = clerk::verdicts(&permit, &said, record_as_of);
                given.map(|verdicts| (Outcome::Verdicts(verdicts), permit.grant.as_bytes().to_vec()))
            }
        })
    }

    /// Signs the answer, makes it durable, and puts it on the list.
    async fn finish(
        &self,
        task: Task,
        (outcome, grant): (Outcome, Vec<u8>),
        officer: &str,
        second: &str,
    ) -> Result<Task, Error> {
        let (deferral, digest) = self.message::<wire::Answer>(task.question + 1)?;
        if digest != task.deferral {
            return Err(Error::StoredUnreadable);
        }
        let seen = self.parts.view.seen();
        let now_ms = self.parts.clock.now_ms();
        let answer = wire::Answer {
            sender_node: self.parts.node.to_string(),
            number: deferral.number + 1,
            follows: digest.as_bytes().to_vec(),
            answered_at_ms: now_ms.max(deferral.answered_at_ms),
            directory_size: seen.size(),
            directory_root: seen.root().as_bytes().to_vec(),
            grant,
            outcome: Some(outcome),
            clerk: officer.to_owned(),
            second_clerk: second.to_owned(),
            ..deferral
        };
        drop(seen);
        let (sealed, digest) = seal(&answer, self.parts.signer.as_ref());
        let message = envelope::signed(sealed).encode_to_vec();
        let commit = Commit {
            at_ms: now_ms,
            entries: vec![NewEntry { kind: EntryKind::AnswerGiven, digest, message }],
            about: Some(task.question),
            duty: true,
            ..Commit::default()
        };
        let _expected = self.announce();
        let committed = self.parts.journal.commit(commit).await?;
        let answered = Task { officer: officer.to_owned(), ..task };
        self.answered(answered, committed.first_index, answer.answered_at_ms).await
    }

    /// The answer to a task is in the evidence: it is to be delivered.
    pub(super) async fn answered(&self, task: Task, answer: u64, at_ms: u64) -> Result<Task, Error> {
        let question = task.question;
        let task = Task { answer: Some(answer), answered_ms: at_ms, proposal: None, ..task };
        let deliver = Duty {
            id: format!("deliver/{}", row_key(answer)),
            order: format!("question/{}", row_key(question)),
            at_ms,
            what: What::Deliver { question, answer },
        };
        let mut changes = vec![Change::Put(deliver)];
        if at_ms <= task.due_ms {
            changes.push(Change::Done(overdue_id(question)));
        }
        self.keep(task.clone(), changes).await?;
        tracing::info!(ticket = task.ticket(), service = task.service, "a clerk has answered");
        Ok(task)
    }
}

fn closed(task: &Task) -> Refusal {
    Refusal::new(Code::TaskClosed).at("ticket").because(format!("it is {}", task.state().as_str()))
}

/// An officer's number as it may stand in a decision.
pub(crate) fn check_officer(field: &str, officer: &str) -> Result<(), Refusal> {
    let plain = officer.len() <= official::LONGEST_TEXT && !officer.chars().any(char::is_control);
    match (officer.trim().is_empty(), plain) {
        (true, _) => Err(Refusal::new(Code::OfficerMissing).at(field)),
        (false, true) => Ok(()),
        (false, false) => Err(Refusal::new(Code::MessageMalformed).at(field)),
    }
}
