//! The asking side, with an answering side in the same process behind a courier that can be out of order.

mod of_batch;

use std::sync::{Mutex, atomic::AtomicUsize};

use futures_util::future::BoxFuture;
use host::{clock::MockClock, random::SeededRandom};
use proto::{
    exchange::v1::{self as wire, outcome::What, value::Kind},
    office::v1::BatchRow,
};
use trust::{
    claim::{Row, Verdict},
    directory::model::Node,
    envelope,
    fixture::{self, Fixture, NOW_MS, key, party},
    value::Value,
};

use super::*;
use crate::{
    answer::{self, Answerer, AnswererParts},
    budget::{GuessSettings, memory::MemoryBudget},
    duty::Duties,
    journal::memory::{Fault, MemoryJournal},
    peers::{Patience, SendFailure, Undelivered},
    records::{Lookup, aliases::Aliases, double::RecordsDouble},
    view::tests::view_of,
};

/// What the courier does with a question.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// The answer gets lost once, after it was given.
    AnswerLostOnce,
    /// The answer is altered.
    Altered,
    /// Nobody is there.
    Down,
    /// Works.
    Open,
    /// A bare status.
    Rejected,
}

struct CourierDouble {
    provider: Answerer,
    way: Mutex<Way>,
    sent: Mutex<Vec<wire::Signed>>,
    /// The node that may have had the question, at each attempt.
    held_by: Mutex<Vec<Option<NodeId>>>,
    lost: AtomicUsize,
}

impl Courier for CourierDouble {
    fn verify<'a>(
        &'a self,
        _nodes: &'a [Node],
        request: &'a wire::Signed,
        _patience: Patience,
        held_by: Option<&'a NodeId>,
    ) -> BoxFuture<'a, Result<wire::VerifyResponse, Undelivered>> {
        Box::pin(async move {
            let undelivered = |failure, held_by| Undelivered { failure, held_by };
            self.held_by.lock().unwrap().push(held_by.cloned());
            self.sent.lock().unwrap().push(request.clone());
            let way = *self.way.lock().unwrap();
            match way {
                Way::Down => return Err(undelivered(SendFailure::Unreachable, None)),
                Way::Rejected => return Err(undelivered(SendFailure::Rejected, None)),
                Way::AnswerLostOnce | Way::Altered | Way::Open => {}
            }
            let mut answer = self
                .provider
                .answer(&party("housing"), request.clone())
                .await
                .map_err(|_| undelivered(SendFailure::Unreachable, None))?;
            if way == Way::AnswerLostOnce && self.lost.fetch_add(1, Ordering::SeqCst) == 0 {
                return Err(undelivered(SendFailure::Unreachable, Some("1".parse().unwrap())));
            }
            if way == Way::Altered
                && let Some(wire::signed::Form::Envelope(envelope)) = &mut answer.form
            {
                *envelope.payload.last_mut().unwrap() ^= 1;
            }
            let later = self.provider.later(&answer).map_err(|_| undelivered(SendFailure::Rejected, None))?;
            Ok(wire::VerifyResponse { answer: Some(answer), later })
        })
    }
}

/// How many questions an officer may ask on a day.
const OFFICERS_DAY: u32 = 12;

struct Town {
    journal: Arc<MemoryJournal>,
    provider_journal: Arc<MemoryJournal>,
    courier: Arc<CourierDouble>,
    view: Arc<View>,
    clock: MockClock,
    asker: Asker,
    _dirs: [tempfile::TempDir; 2],
}

impl Town {
    async fn new() -> Self {
        let fixture = Fixture::town();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let view = view_of(dirs[0].path(), &fixture).await;
        let clock = MockClock::at(NOW_MS);
        let row: Row = [("marital_status", Value::Text("single".into()))].into_iter().collect();
        let provider_journal = Arc::new(MemoryJournal::new());
        let parts = AnswererParts {
            me: party("civil-affairs"),
            node: "1".parse().unwrap(),
            signer: Arc::new(key("civil-affairs node 1")),
            view: view_of(dirs[1].path(), &fixture).await,
            journal: Arc::clone(&provider_journal) as _,
            records: Arc::new(RecordsDouble::saying(Lookup::Rows { rows: vec![row], as_of: None })),
            budget: Arc::new(MemoryBudget::default()),
            budget_key: Arc::new(BudgetKey::new([7; 32])),
            guessing: GuessSettings::default(),
            aliases: Arc::new(Aliases::open(std::path::Path::new("no-such-folder"))),
            clock: Arc::new(clock.clone()),
            limits: Limits::default(),
            officers: OfficerLimits::default(),
            shared: None,
            watch: crate::events::Watch::idle(),
        };
        let provider = Answerer::new(
            parts,
            answer::Recalled::starting(&crate::usage::Saved::default(), &trust::calendar::Calendar::default(), NOW_MS),
        );
        let courier = Arc::new(CourierDouble {
            provider,
            way: Mutex::new(Way::Open),
            held_by: Mutex::default(),
            sent: Mutex::default(),
            lost: AtomicUsize::new(0),
        });
        let journal = Arc::new(MemoryJournal::new());
        let asker = asker(&view, &journal, &courier, &clock);
        Self { journal, provider_journal, courier, view, clock, asker, _dirs: dirs }
    }

    fn restart(&mut self) {
        self.journal = Arc::new(self.journal.restarted());
        self.asker = asker(&self.view, &self.journal, &self.courier, &self.clock);
    }

    fn go(&self, way: Way) {
        *self.courier.way.lock().unwrap() = way;
    }

    fn sent(&self) -> usize {
        self.courier.sent.lock().unwrap().len()
    }

    fn kinds(&self) -> Vec<EntryKind> {
        self.journal.commits().iter().flat_map(|commit| commit.entries.iter().map(|entry| entry.kind)).collect()
    }
}

fn asker(view: &Arc<View>, journal: &Arc<MemoryJournal>, courier: &Arc<CourierDouble>, clock: &MockClock) -> Asker {
    let mut recalled =
        Recalled::starting(&crate::usage::Saved::default(), &trust::calendar::Calendar::default(), clock.now_ms());
    journal.newest(0, &mut |head| recalled.take(&head)).unwrap();
    let parts = AskerParts {
        me: party("housing"),
        node: "1".parse().unwrap(),
        signer: Arc::new(key("housing node 1")),
        view: Arc::clone(view),
        journal: Arc::clone(journal) as _,
        courier: Arc::clone(courier) as _,
        aliases: Arc::new(Aliases::open(std::path::Path::new("no-such-folder"))),
        clock: Arc::new(clock.clone()),
        random: Arc::new(SeededRandom::new(journal.commits().len() as u64)),
        limits: Limits::default(),
        officers: OfficerLimits { per_second: 0, per_day: OFFICERS_DAY },
        budget_key: Arc::new(BudgetKey::new([8; 32])),
    };
    Asker::new(parts, recalled)
}

/// As an office writes it: spaces in the number, no legal basis, no version.
fn question() -> OfficeQuestion {
    OfficeQuestion {
        provider: "civil-affairs".into(),
        service: "marriage-registration".into(),
        subject: Some(wire::Subject { scheme: "resident_id".into(), value: spaced(fixture::RESIDENT) }),
        claims: vec![fixture::claim("marital_status", "equals", "single")],
        purpose: Some(wire::Purpose { item: "公租房申请".into(), ..Default::default() }),
        case_number: "GZF-2026-0001".into(),
        officer: "1024".into(),
        ..OfficeQuestion::default()
    }
}

fn spaced(number: &str) -> String {
    format!(" {} {}", &number[..6], &number[6..])
}

fn verdict(ending: &Ending) -> (Verdict, &str) {
    match ending {
        Ending::Answered { verdicts, .. } | Ending::Unanswered { verdicts, .. } => {
            (Verdict::from_proto(verdicts[0].verdict).unwrap(), verdicts[0].reason.as_str())
        }
        other => panic!("{other:?}"),
    }
}

fn refused(ending: &Ending) -> (&str, &str, Option<&str>) {
    match ending {
        Ending::Refused { refusal, by } => (&refusal.code, &refusal.field, by.as_deref()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_question_gets_its_answer_and_a_receipt_that_finds_it_again() {
    let town = Town::new().await;
    let asked = town.asker.ask(question()).await.unwrap();
    assert_eq!(verdict(&asked.ending), (Verdict::Match, ""));
    assert_eq!(town.kinds(), [EntryKind::QuestionSent, EntryKind::AnswerReceived]);
    assert_eq!(town.journal.commits()[1].about, Some(0));
    assert_eq!(asked.receipt.index(), 1);
    let shown = town.asker.show(&asked.receipt).unwrap();
    assert_eq!(Asked { elapsed: asked.elapsed, ..shown }, asked);
    let request: wire::Request = envelope::peek(&town.courier.sent.lock().unwrap()[0], 1 << 20).unwrap();
    assert_eq!(request.subject.unwrap().value, fixture::RESIDENT, "canonical");
    assert_eq!(request.purpose.unwrap().legal_bases, fixture::basis(), "those of the grant");
    assert_eq!(request.grant.len(), 32);

    let mistyped = "1-0011223344556677".parse().unwrap();
    assert!(matches!(town.asker.show(&mistyped), Err(NotFound::Unknown)));
    town.journal.forget_messages();
    assert!(matches!(town.asker.show(&asked.receipt), Err(NotFound::Destroyed)));
}

#[tokio::test]
async fn nothing_leaves_when_the_question_cannot_be_made_durable() {
    for fault in [Fault::Before, Fault::AfterPersisting] {
        let town = Town::new().await;
        town.journal.fail_next(fault);
        assert!(matches!(town.asker.ask(question()).await, Err(Error::Journal(_))), "{fault:?}");
        assert_eq!(town.sent(), 0);
    }
    // It left, and the answer cannot be recorded: the office hears of our failure, and no verdict.
    let town = Town::new().await;
    town.journal.fail_next(Fault::After);
    assert!(town.asker.ask(question()).await.is_err());
    assert_eq!(town.sent(), 1);
}

#[tokio::test]
async fn an_interrupted_question_is_closed_at_the_next_start() {
    let mut town = Town::new().await;
    town.asker.ask(question()).await.unwrap();
    town.journal.fail_next(Fault::After);
    assert!(town.asker.ask(question()).await.is_err());
    town.restart();
    assert_eq!(town.asker.close_interrupted().await.unwrap(), 1);
    let last = town.journal.commits().pop().unwrap();
    assert_eq!((last.about, last.entries[0].kind), (Some(2), EntryKind::Outcome));
    let signed = wire::Signed::decode(last.entries[0].message.as_slice()).unwrap();
    let outcome: wire::Outcome = envelope::peek(&signed, 1 << 20).unwrap();
    assert_eq!(outcome.what, Some(What::Unanswered("interrupted".into())));
    town.restart();
    assert_eq!(town.asker.close_interrupted().await.unwrap(), 0);
}

#[tokio::test]
async fn a_batch_that_was_recorded_and_never_left_is_closed_at_the_next_start() {
    let mut town = Town::new().await;
    let OfficeQuestion { subject, claims, .. } = question();
    let row = BatchRow { subject, claims, ..BatchRow::default() };
    let common = OfficeQuestion { subject: None, claims: Vec::new(), ..question() };
    let prepared = town.asker.prepare_batch(&common, &[row]).unwrap();
    town.asker.record_batch(prepared).await.unwrap();
    town.restart();
    let dir = tempfile::tempdir().unwrap();
    let (clock, random) = (Arc::new(town.clock.clone()), Arc::new(SeededRandom::new(7)));
    let duties = Arc::new(Duties::open(dir.path(), clock, random, |_| ()).unwrap());
    town.asker = town.asker.with_duties(duties).unwrap();
    assert_eq!(town.asker.close_interrupted().await.unwrap(), 1);
    let last = town.journal.commits().pop().unwrap();
    assert_eq!((last.about, last.entries[0].kind), (Some(0), EntryKind::Outcome));
}

#[tokio::test]
async fn a_batch_is_sent_again_as_the_evidence_has_it_and_one_that_it_lost_is_known_to_be_lost() {
    let town = Town::new().await;
    let OfficeQuestion { subject, claims, .. } = question();
    let row = BatchRow { subject, claims, ..BatchRow::default() };
    let common = OfficeQuestion { subject: None, claims: Vec::new(), ..question() };
    let prepared = town.asker.prepare_batch(&common, &[row]).unwrap();
    let sent = town.asker.record_batch(prepared).await.unwrap();
    assert_eq!(town.asker.sent_batch(sent.place).unwrap().bytes(), sent.bytes());
    // A job asks such rows anew (`bulk::run`), and does so for no other error.
    let is_lost = |place: u64| matches!(town.asker.sent_batch(place), Err(Error::StoredUnreadable));
    town.asker.ask(question()).await.unwrap();
    assert!(is_lost(sent.place + 1), "a single question is no batch");
    assert!(is_lost(1000), "the log does not reach so far");
    town.journal.forget_messages();
    assert!(is_lost(sent.place), "its month's key was destroyed");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_unavailable_with_its_reason() {
    let town = Town::new().await;
    for (way, reason) in [(Way::Down, "unreachable"), (Way::Rejected, "rejected")] {
        town.go(way);
        let asked = town.asker.ask(question()).await.unwrap();
        assert_eq!(verdict(&asked.ending), (Verdict::Unavailable, reason));
        let shown = town.asker.show(&asked.receipt).unwrap();
        assert_eq!(shown.ending, asked.ending);
        assert_eq!(shown.request_digest, asked.request_digest);
    }
    assert_eq!(town.kinds()[1], EntryKind::Outcome);
    town.go(Way::Altered);
    let asked = town.asker.ask(question()).await.unwrap();
    let (verdict, reason) = verdict(&asked.ending);
    assert_eq!(verdict, Verdict::Unavailable);
    assert!(reason.starts_with("answer_invalid: answer signature"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_reached_is_waited_for_as_long_as_the_office_says() {
    let town = Town::new().await;
    town.go(Way::Down);
    let patient = OfficeQuestion { timeout_ms: 5000, ..question() };
    let asked = town.asker.ask(patient.clone()).await.unwrap();
    assert!(asked.elapsed > Duration::from_secs(3), "{asked:?}");
    let sooner = OfficeQuestion { unreached_ms: 800, ..patient };
    let asked = town.asker.ask(sooner.clone()).await.unwrap();
    assert_eq!(verdict(&asked.ending), (Verdict::Unavailable, "unreachable"));
    assert!(asked.elapsed <= Duration::from_millis(800), "{asked:?}");
    // One that may have the question has the whole time.
    town.go(Way::AnswerLostOnce);
    let asked = town.asker.ask(OfficeQuestion { unreached_ms: 1, ..sooner }).await.unwrap();
    assert_eq!(verdict(&asked.ending), (Verdict::Match, ""));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_with_the_same_bytes() {
    let town = Town::new().await;
    town.go(Way::AnswerLostOnce);
    let asked = town.asker.ask(question()).await.unwrap();
    assert_eq!(verdict(&asked.ending), (Verdict::Match, ""));
    let sent = town.courier.sent.lock().unwrap();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
    let held_by = town.courier.held_by.lock().unwrap();
    assert_eq!(*held_by, [None, Some(fixture::node("1"))], "asked for again where it may be, and nowhere else");
    assert_eq!(town.provider_journal.commits().len(), 1, "one answer was given, twice");
}

#[tokio::test]
async fn what_need_not_be_asked_is_refused_here_and_recorded() {
    let town = Town::new().await;
    type Change = fn(&mut OfficeQuestion);
    let cases: &[(&str, &str, Change)] = &[
        ("SUBJECT_MALFORMED", "subject.value", |question| {
            question.subject.as_mut().unwrap().value = "890101199003070012".into();
        }),
        ("CASE_MISSING", "case_number", |question| question.case_number.clear()),
        ("OFFICER_MISSING", "officer", |question| question.officer.clear()),
        ("DEPARTMENT_UNKNOWN", "provider", |question| question.provider = "nobody".into()),
        ("SERVICE_UNKNOWN", "service", |question| question.service = "births".into()),
        ("SERVICE_UNKNOWN", "service", |question| question.service_version = 9),
        ("MESSAGE_MALFORMED", "provider", |question| question.provider = "民政局".into()),
        ("PURPOSE_NOT_COVERED", "purpose.item", |question| {
            question.purpose.as_mut().unwrap().item = "other".into();
        }),
        ("CLAIM_MALFORMED", "claims[0].operands[0]", |question| {
            question.claims[0].operands[0].kind = Some(Kind::Text("gone".into()));
        }),
        ("MESSAGE_MALFORMED", "idempotency_key", |question| question.idempotency_key = "x".repeat(65)),
        ("MESSAGE_MALFORMED", "trace", |question| question.trace = Some("民".into())),
    ];
    for (code, field, change) in cases {
        let mut office = question();
        change(&mut office);
        let asked = town.asker.ask(office).await.unwrap();
        assert_eq!(refused(&asked.ending), (*code, *field, None));
        assert!(asked.request_digest.is_none());
        assert_eq!(town.asker.show(&asked.receipt).unwrap().ending, asked.ending);
    }
    assert_eq!(town.sent(), 0);
    assert_eq!(town.kinds(), vec![EntryKind::Outcome; cases.len()]);
}

#[tokio::test]
async fn a_refusal_of_the_other_side_says_who_refused() {
    let town = Town::new().await;
    town.courier.provider.set_disk_low(false);
    // Only the provider's clock is wrong, so only the provider refuses; both share one here, so the question is aged.
    let prepared = town.asker.prepare(&question()).unwrap().0;
    let mut old = prepared.clone();
    old.wire.issued_at_ms -= 600_000;
    old.wire.expires_at_ms -= 600_000;
    old.issued_at_ms -= 600_000;
    let sent = town.asker.record_question(old, Duration::from_secs(2).into(), None, None).await.unwrap();
    let (_, answer) = town.asker.send(&sent).await.unwrap();
    assert_eq!(refused(&ending_of(answer.wire)), ("REQUEST_TOO_OLD", "expires_at_ms", Some("ninghe/civil-affairs")));
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_once_also_after_a_restart() {
    let mut town = Town::new().await;
    let keyed = || OfficeQuestion { idempotency_key: "case-1-fact-1".into(), system: "desk".into(), ..question() };
    let (first, second) = tokio::join!(town.asker.ask(keyed()), town.asker.ask(keyed()));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.receipt, second.receipt);
    assert_eq!(town.sent(), 1);
    town.restart();
    town.clock.advance(Duration::from_secs(60));
    let third = town.asker.ask(keyed()).await.unwrap();
    assert_eq!((third.receipt, town.sent()), (first.receipt, 1));

    let other = OfficeQuestion { case_number: "GZF-2026-0002".into(), ..keyed() };
    let asked = town.asker.ask(other).await.unwrap();
    assert_eq!(refused(&asked.ending), ("REQUEST_ID_REUSED", "idempotency_key", None));
    let of_another_system = OfficeQuestion { system: "other".into(), ..keyed() };
    assert_ne!(town.asker.ask(of_another_system).await.unwrap().receipt, first.receipt);
    assert_eq!(town.sent(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_without_an_answer_may_ask_again() {
    let town = Town::new().await;
    let keyed = || OfficeQuestion { idempotency_key: "case-1-fact-1".into(), ..question() };
    town.go(Way::Down);
    assert_eq!(verdict(&town.asker.ask(keyed()).await.unwrap().ending).0, Verdict::Unavailable);
    town.go(Way::Open);
    assert_eq!(verdict(&town.asker.ask(keyed()).await.unwrap().ending).0, Verdict::Match);
}

#[tokio::test]
async fn an_own_officer_over_the_limit_is_refused_before_anything_is_sent() {
    let mut town = Town::new().await;
    for _ in 0..OFFICERS_DAY {
        let asked = town.asker.ask(question()).await.unwrap();
        assert!(matches!(asked.ending, Ending::Answered { .. }), "{asked:?}");
    }
    for _ in 0..2 {
        let sent = town.sent();
        let asked = town.asker.ask(question()).await.unwrap();
        let Ending::Refused { refusal, by: None } = asked.ending else { panic!("{asked:?}") };
        assert_eq!((refusal.code.as_str(), refusal.field.as_str()), ("QUOTA_EXCEEDED", "officer"));
        assert!(refusal.retry_at_ms > NOW_MS);
        assert_eq!(town.sent(), sent, "nothing left");
        // A restart forgets none of it.
        town.restart();
    }
    let other = town.asker.ask(OfficeQuestion { officer: "1025".into(), ..question() }).await.unwrap();
    assert!(matches!(other.ending, Ending::Answered { .. }), "{other:?}");
    // What the node asks by itself later is nobody's use.
    for _ in 0..=OFFICERS_DAY {
        let own = town.asker.ask(OfficeQuestion { uncharged: true, ..question() }).await.unwrap();
        assert!(matches!(own.ending, Ending::Answered { .. }), "{own:?}");
    }
    town.restart();
    let another = town.asker.ask(OfficeQuestion { officer: "1025".into(), ..question() }).await.unwrap();
    assert!(matches!(another.ending, Ending::Answered { .. }), "{another:?}");
}
