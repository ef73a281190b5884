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

use proto::{
    exchange::v1::EntryKind,
    office::v1::{State, VerifyResponse},
};
use tokio::task::JoinSet;
use town::harness::{Office, eventually};
use trust::{envelope, evidence::Receipt, ids::Digest};

use super::{MARRIED, SINGLE, WIDOWED, evidence::Evidence, marital_status};

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
                            if response.state() == State::Answered {
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            told.lock().unwrap().push(response);
                        }
                        // The own node is away: nothing was acknowledged.
                        Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
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

/// That everything acknowledged is in the evidence of both sides, and that nothing left unrecorded.
pub(crate) fn compare(told: &[VerifyResponse], asker: &Evidence, answerer: &Evidence) {
    let received = answerer.of(EntryKind::QuestionReceived);
    let given = answerer.of(EntryKind::AnswerGiven);
    let sent = asker.of(EntryKind::QuestionSent);
    for response in told {
        assert!(!response.receipt.is_empty(), "{response:?}");
        let receipt: Receipt = response.receipt.parse().expect("a receipt");
        let kept = asker.entries.get(usize::try_from(receipt.index()).unwrap());
        let kept = kept.unwrap_or_else(|| panic!("the asker's evidence ends before {receipt}"));
        assert_eq!(kept.receipt, receipt, "another entry stands where the receipt points");
        let request: Digest = digest(&response.request_digest);
        assert!(sent.contains_key(&request), "the asker's evidence lacks the question of {receipt}");
        if response.state() == State::Answered {
            assert_eq!(kept.kind, EntryKind::AnswerReceived);
            assert!(received.contains_key(&request), "the answerer's evidence lacks the question of {receipt}");
            assert!(given.contains_key(&kept.digest), "the answerer's evidence lacks the answer of {receipt}");
        }
    }
    // Nothing leaves unrecorded: what reached the other side was in the sender's evidence before.
    for question in received.keys() {
        assert!(sent.contains_key(question), "a question left the asker unrecorded");
    }
    for (digest, kept) in asker.of(EntryKind::AnswerReceived) {
        assert!(given.contains_key(&digest), "an answer left the answerer unrecorded");
        let signed = prost::Message::decode(kept.message.as_slice()).expect("a signed message");
        assert_eq!(envelope::digest_of(&signed).expect("an envelope"), digest);
    }
    // Every question has an ending, those that a crash interrupted too.
    let ended: HashSet<u64> = asker.entries.iter().filter_map(|entry| entry.about).collect();
    for question in asker.entries.iter().filter(|entry| entry.kind == EntryKind::QuestionSent) {
        assert!(ended.contains(&question.receipt.index()), "the question {} has no ending", question.receipt);
    }
}

fn digest(hex: &str) -> Digest {
    let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("a digest");
    Digest::new(bytes.try_into().expect("32 bytes"))
}
