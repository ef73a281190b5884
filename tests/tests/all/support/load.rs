//! Load from an office, and what it was told: every acknowledged result is written down, to be compared with the evidence
//! afterwards.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use prost::Message;
use proto::{
    exchange::v1::{EntryKind, Signed},
    office::v1::{State, VerifyResponse},
};
use tokio::task::JoinSet;
use town::harness::{Office, eventually};
use trust::{envelope, evidence::Receipt, ids::Digest};

use super::{MARRIED, SINGLE, WIDOWED, evidence::Evidence, marital_status};

/// How long an asker waits while a node is away: asking it without a pause would only keep it from coming back.
const AWAY: Duration = Duration::from_millis(20);

/// Questions that are asked until somebody says stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    told: Arc<Mutex<Vec<VerifyResponse>>>,
    askers: JoinSet<()>,
}

impl Load {
    /// Begins to ask, `at_once` questions at a time. That a node is away is no reason to stop.
    pub(crate) fn begin(office: &Office, at_once: usize) -> Self {
        let mut load =
            Self { stop: Arc::default(), answered: Arc::default(), told: Arc::default(), askers: JoinSet::new() };
        for asker in 0..at_once {
            let (office, stop) = (office.clone(), Arc::clone(&load.stop));
            let (answered, told) = (Arc::clone(&load.answered), Arc::clone(&load.told));
            load.askers.spawn(async move {
                let subjects = [&*MARRIED, &*WIDOWED, &*SINGLE];
                for number in asker.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let mut question = marital_status(subjects[number % 3], "married");
                    question.timeout_ms = 400;
                    match office.verify(question).await {
                        Ok(response) => {
                            let is_answered = response.state() == State::Answered;
                            told.lock().unwrap().push(response);
                            match is_answered {
                                true => _ = answered.fetch_add(1, Ordering::Relaxed),
                                // The other node is away, and needs the machine to come back.
                                false => tokio::time::sleep(AWAY).await,
                            }
                        }
                        // The own node is away: nothing was acknowledged.
                        Err(_) => tokio::time::sleep(AWAY).await,
                    }
                }
            });
        }
        load
    }

    /// Waits until `more` further questions have been answered.
    pub(crate) async fn goes_on(&self, more: u64) {
        let until = self.answered.load(Ordering::Relaxed) + more;
        let reached =
            eventually(Duration::from_secs(30), async || self.answered.load(Ordering::Relaxed) >= until).await;
        assert!(reached, "questions are answered again");
    }

    /// Ends the load, and tells everything that was acknowledged.
    pub(crate) async fn end(mut self) -> Vec<VerifyResponse> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(asker) = self.askers.join_next().await {
            asker.expect("an asker ends well");
        }
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

/// That everything acknowledged is in the evidence of both sides, and that nothing left unrecorded; or the first thing
/// that is not so.
pub(crate) fn compare(told: &[VerifyResponse], asker: &Evidence, answerer: &Evidence) -> Result<(), String> {
    let received = answerer.of(EntryKind::QuestionReceived);
    let given = answerer.of(EntryKind::AnswerGiven);
    let sent = asker.of(EntryKind::QuestionSent);
    let holds = |holds: bool, what: &dyn Fn() -> String| if holds { Ok(()) } else { Err(what()) };
    for response in told {
        let receipt: Receipt = response.receipt.parse().map_err(|error| format!("{response:?}: {error}"))?;
        let kept = usize::try_from(receipt.index()).ok().and_then(|index| asker.entries.get(index));
        let kept = kept.ok_or_else(|| format!("the asker's evidence ends before {receipt}"))?;
        holds(kept.receipt == receipt, &|| format!("another entry stands where {receipt} points"))?;
        let request = digest(&response.request_digest);
        holds(sent.contains_key(&request), &|| format!("the asker's evidence lacks the question of {receipt}"))?;
        if response.state() == State::Answered {
            let lacks = |what| format!("the answerer's evidence lacks the {what} of {receipt}");
            holds(kept.kind == EntryKind::AnswerReceived, &|| format!("{receipt} is not that of an answer"))?;
            holds(received.contains_key(&request), &|| lacks("question"))?;
            holds(given.contains_key(&kept.digest), &|| lacks("answer"))?;
        }
    }
    // Nothing leaves unrecorded: what reached the other side was in the sender's evidence before.
    holds(received.keys().all(|question| sent.contains_key(question)), &|| "a question left unrecorded".to_owned())?;
    for (digest, kept) in asker.of(EntryKind::AnswerReceived) {
        holds(given.contains_key(&digest), &|| format!("the answer of {} left unrecorded", kept.receipt))?;
        let signed = Signed::decode(kept.message.as_slice()).map_err(|error| format!("{}: {error}", kept.receipt))?;
        let is_the_logged = envelope::digest_of(&signed).is_ok_and(|found| found == digest);
        holds(is_the_logged, &|| format!("the message of {} is not the one that was logged", kept.receipt))?;
    }
    // Every question has an ending, those that a crash interrupted too.
    let ended: HashSet<u64> = asker.entries.iter().filter_map(|entry| entry.about).collect();
    let mut questions = asker.entries.iter().filter(|entry| entry.kind == EntryKind::QuestionSent);
    match questions.find(|question| !ended.contains(&question.receipt.index())) {
        Some(question) => Err(format!("the question {} has no ending", question.receipt)),
        None => Ok(()),
    }
}

/// [`compare`], and that it would notice if the answerer's last answers were not there.
pub(crate) fn assert_nothing_is_lost(told: &[VerifyResponse], asker: &Evidence, mut answerer: Evidence) {
    compare(told, asker, &answerer).unwrap_or_else(|lost| panic!("{lost}"));
    answerer.entries.truncate(answerer.entries.len() - 40);
    compare(told, asker, &answerer).expect_err("the comparison sees nothing");
}

fn digest(hex: &str) -> Digest {
    let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("a digest");
    Digest::new(bytes.try_into().expect("32 bytes"))
}
