//! The book of tasks: a promise survives a crash wherever it comes, an answer is given once, and two officers are two.

use std::time::Duration;

use host::clock::MockClock;
use proto::exchange::v1::{EntryKind, Verdict};
use trust::{
    calendar::Calendar,
    fixture::{self, Fixture, NOW_MS, key, party},
    refusal::Code,
};

use super::*;
use crate::{
    answer::{self, Answerer, AnswererParts},
    budget::{BudgetKey, GuessSettings, memory::MemoryBudget},
    config::{Limits, OfficerLimits},
    duty::tests::duties,
    journal::memory::MemoryJournal,
    records::{Lookup, aliases::Aliases, double::RecordsDouble},
    usage::Saved,
    view::tests::view_of,
};

struct Desk {
    dir: tempfile::TempDir,
    fixture: Fixture,
    view: Arc<View>,
    journal: Arc<MemoryJournal>,
    clock: MockClock,
    clerks: Arc<Clerks>,
    duties: Arc<Duties>,
    answerer: Answerer,
}

impl Desk {
    /// Civil affairs, whose service is answered as the description says, over records that say `found`.
    async fn new(answered_by: &str, four_eyes: bool, found: Lookup) -> Self {
        let mut profile = trust::directory::model::Profile::usual();
        profile.four_eyes = if four_eyes { vec!["clerk.answer".into()] } else { Vec::new() };
        let mut fixture = Fixture::founded_with(profile);
        for department in ["civil-affairs", "housing"] {
            fixture.admit(department);
            fixture.add_node(department, "1");
        }
        let mut service = fixture::marriage_registration();
        service.answered_by = answered_by.into();
        service.clerk_seconds = 60;
        // No row is no record here.
        service.attributes[0].absence = None;
        fixture.publish(service);
        fixture.apply_for_access("0011223344556677");
        fixture.grant("0011223344556677", |_| ());
        let dir = tempfile::tempdir().unwrap();
        let view = view_of(dir.path(), &fixture).await;
        let journal = Arc::new(MemoryJournal::new());
        let clock = MockClock::at(NOW_MS);
        Self::over(dir, fixture, view, journal, clock, found)
    }

    fn over(
        dir: tempfile::TempDir,
        fixture: Fixture,
        view: Arc<View>,
        journal: Arc<MemoryJournal>,
        clock: MockClock,
        found: Lookup,
    ) -> Self {
        let duties = duties(dir.path(), Arc::new(clock.clone()));
        let clerks = Clerks::open(ClerksParts {
            me: party("civil-affairs"),
            node: fixture::node("1"),
            signer: Arc::new(key("civil-affairs node 1")),
            view: Arc::clone(&view),
            journal: Arc::clone(&journal) as _,
            duties: Arc::clone(&duties),
            clock: Arc::new(clock.clone()),
        });
        let most = Most { of_one: 3, of_all: 4 };
        let clerks = Arc::new(Clerks { most, ..clerks.unwrap() });
        let parts = AnswererParts {
            me: party("civil-affairs"),
            node: fixture::node("1"),
            signer: Arc::new(key("civil-affairs node 1")),
            view: Arc::clone(&view),
            journal: Arc::clone(&journal) as _,
            records: Arc::new(RecordsDouble::saying(found)),
            aliases: Arc::new(Aliases::open(dir.path())),
            budget: Arc::new(MemoryBudget::default()),
            budget_key: Arc::new(BudgetKey::new([7; 32])),
            guessing: GuessSettings::default(),
            clock: Arc::new(clock.clone()),
            limits: Limits::default(),
            officers: OfficerLimits::default(),
            shared: None,
            watch: crate::events::Watch::idle(),
        };
        let recalled = answer::Recalled::starting(&Saved::default(), &Calendar::default(), NOW_MS);
        let answerer = Answerer::new(parts, recalled).with_clerks(Arc::clone(&clerks));
        Self { dir, fixture, view, journal, clock, clerks, duties, answerer }
    }

    /// After a crash that lost everything in the due-list that was not there `before`, a copy of its folder.
    async fn restarted(self, found: Lookup) -> Self {
        let Self { dir, fixture, view, journal, clock, clerks, duties, answerer } = self;
        drop((clerks, duties, answerer));
        let journal = Arc::new(journal.restarted());
        Self::over(dir, fixture, view, journal, clock, found)
    }

    fn request(&self, accepts_deferral: bool) -> wire::Signed {
        let request = wire::Request { accepts_deferral, ..self.fixture.request() };
        envelope::signed(envelope::seal(&request, &key("housing node 1")).0)
    }

    async fn ask(&self, accepts_deferral: bool) -> wire::Answer {
        let answer = self.answerer.answer(&party("housing"), self.request(accepts_deferral)).await.unwrap();
        envelope::peek(&answer, usize::MAX).unwrap()
    }

    /// Shows the book what the evidence has, as a start does; how much of it the book did not know.
    async fn recover(&self) -> usize {
        let mut recovered = 0;
        for head in self.journal.tail(0, 100).unwrap().into_iter().filter(|head| head.duty) {
            let answer = head.answer_given().expect("an answer");
            recovered += usize::from(match head.about {
                None => self.clerks.recover_deferral(answer).await.unwrap(),
                Some(question) => self.clerks.recover_answer(question, answer).await.unwrap(),
            });
        }
        recovered
    }

    fn ticket(&self) -> String {
        self.clerks.list()[0].ticket()
    }
}

fn nothing() -> Lookup {
    Lookup::Rows { rows: Vec::new(), as_of: None }
}

fn says(verdict: Verdict) -> Word {
    Word::Answer { verdicts: vec![(verdict.into(), String::new())], record_as_of: String::new() }
}

#[tokio::test]
async fn a_question_that_a_person_answers_is_deferred_and_answered_once() {
    let desk = Desk::new("clerk", false, Lookup::NotImported).await;
    let refused = desk.ask(false).await;
    assert!(matches!(&refused.outcome, Some(Outcome::Refusal(refusal)) if refusal.code == "DEFERRAL_NOT_ACCEPTED"));
    assert!(desk.clerks.list().is_empty());

    let desk = Desk::new("clerk", false, Lookup::NotImported).await;
    let deferral = desk.ask(true).await;
    let Some(Outcome::Deferral(said)) = &deferral.outcome else { panic!("{deferral:?}") };
    assert_eq!((said.reason.as_str(), said.due_at_ms), ("clerk", NOW_MS + 60_000));
    assert_eq!((desk.duties.count(), desk.clerks.list().len()), (1, 1));

    // Long after the id would be forgotten otherwise, the same question gets the same answer.
    desk.clock.advance(Duration::from_secs(3 * 86_400));
    assert_eq!(desk.ask(true).await, deferral);
    let ticket = desk.ticket();
    assert!(matches!(desk.clerks.decide("0000000000000000", says(Verdict::Match), "2001").await, Err(Error::Unknown)));
    let refusal = desk.clerks.decide(&ticket, says(Verdict::Match), " ").await.unwrap().unwrap_err();
    assert_eq!(refusal.code, Code::OfficerMissing);
    let task = desk.clerks.decide(&ticket, says(Verdict::Match), "2001").await.unwrap().unwrap();
    assert_eq!((task.state(), task.is_overdue(NOW_MS)), (TaskState::Answered, true));
    let again = desk.clerks.decide(&ticket, says(Verdict::Mismatch), "2001").await.unwrap().unwrap_err();
    assert_eq!(again.code, Code::TaskClosed);

    let later = desk.answerer.later(&envelope_of(&desk, task.question + 1)).unwrap();
    let answer: wire::Answer = envelope::peek(&later[0], usize::MAX).unwrap();
    assert_eq!((later.len(), answer.number, answer.clerk.as_str()), (1, 2, "2001"));
    assert_eq!(answer.follows, task.deferral.as_bytes());
    assert_eq!(desk.clerks.answers(task.question), [task.question + 1, task.answer.unwrap()]);
}

fn envelope_of(desk: &Desk, index: u64) -> wire::Signed {
    desk.clerks.answer_at(index).unwrap()
}

#[tokio::test]
async fn a_person_answers_where_the_record_is_missing_and_not_where_it_is_down() {
    let desk = Desk::new("record_then_clerk", false, nothing()).await;
    let deferral = desk.ask(true).await;
    assert!(matches!(&deferral.outcome, Some(Outcome::Deferral(said)) if said.reason == "record_missing"));
    // Whoever does not accept that gets what the record says: that there is none.
    let desk = Desk::new("record_then_clerk", false, nothing()).await;
    let answer = desk.ask(false).await;
    let Some(Outcome::Verdicts(verdicts)) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!(verdicts.verdicts[0].verdict(), Verdict::NoRecord);
    let desk = Desk::new("record_then_clerk", false, Lookup::Failed("down".into())).await;
    let answer = desk.ask(true).await;
    let Some(Outcome::Verdicts(verdicts)) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!(verdicts.verdicts[0].verdict(), Verdict::Unavailable, "an outage is no missing record");
}

impl Desk {
    /// A question of its own about this value.
    async fn ask_about(&self, nth: u8, value: &str) -> wire::Answer {
        let request = wire::Request {
            accepts_deferral: true,
            request_id: vec![nth; 32],
            claims: vec![fixture::claim("marital_status", "equals", value)],
            ..self.fixture.request()
        };
        let signed = envelope::signed(envelope::seal(&request, &key("housing node 1")).0);
        envelope::peek(&self.answerer.answer(&party("housing"), signed).await.unwrap(), usize::MAX).unwrap()
    }
}

#[tokio::test]
async fn more_questions_than_may_wait_are_refused_and_cost_nothing() {
    let is_deferred = |answer: &wire::Answer| matches!(&answer.outcome, Some(Outcome::Deferral(_)));
    let code = |answer: wire::Answer| match answer.outcome {
        Some(Outcome::Refusal(refusal)) => (refusal.code, refusal.retry_at_ms),
        other => panic!("{other:?}"),
    };
    let desk = Desk::new("clerk", false, Lookup::NotImported).await;
    for nth in 1..=3 {
        assert!(is_deferred(&desk.ask_about(nth, "single").await), "{nth}");
    }
    for (nth, value) in [(4, "married"), (5, "divorced")] {
        assert_eq!(code(desk.ask_about(nth, value).await), ("OVERLOADED".to_owned(), NOW_MS + 3_600_000));
    }
    assert_eq!(desk.clerks.list().len(), 3);
    let ticket = desk.ticket();
    desk.clerks.decide(&ticket, says(Verdict::Match), "2001").await.unwrap().unwrap();
    // There is room again; had the two been charged, the guesses of the day would be spent.
    assert!(is_deferred(&desk.ask_about(6, "widowed").await));

    // One's own limit is nobody else's, and that of all is everybody's.
    let (own, other) = (party("housing"), party("taxation"));
    assert!(!desk.clerks.has_room(&own) && desk.clerks.has_room(&other));
    let task = Task {
        question: 1_000,
        key: [9; 16],
        request: Digest::new([9; 32]),
        consumer: other.to_string(),
        answer: None,
        ..desk.clerks.list().remove(0)
    };
    desk.clerks.keep(task.clone(), Vec::new()).await.unwrap();
    assert!(!desk.clerks.has_room(&other));
    desk.clerks.keep(Task { answer: Some(1_001), ..task }, Vec::new()).await.unwrap();
    assert!(desk.clerks.has_room(&other));
    let desk = desk.restarted(Lookup::NotImported).await;
    assert_eq!(code(desk.ask_about(7, "married").await).0, "OVERLOADED", "a restart forgets nobody who waits");

    // Who falls back to a person is not told that there is no record where nobody can look.
    let desk = Desk::new("record_then_clerk", false, nothing()).await;
    for nth in 1..=3 {
        assert!(is_deferred(&desk.ask_about(nth, "single").await), "{nth}");
    }
    let Some(Outcome::Verdicts(found)) = desk.ask_about(4, "single").await.outcome else { panic!("no verdicts") };
    assert_eq!(found.verdicts[0].verdict(), Verdict::Unavailable);
}

#[tokio::test]
async fn a_promise_and_an_answer_that_a_crash_cut_short_are_found_in_the_evidence() {
    let desk = Desk::new("clerk", false, Lookup::NotImported).await;
    desk.ask(true).await;
    let task = desk.clerks.list().remove(0);
    // As after a crash between the journal and the list: the evidence has it, the list has not.
    let row = Change::RowGone { book: BOOK, key: row_key(task.question) };
    desk.duties.commit(vec![row, Change::Done(overdue_id(task.question))]).await.unwrap();
    let desk = desk.restarted(Lookup::NotImported).await;
    assert!(desk.clerks.list().is_empty() && desk.duties.count() == 0);
    assert_eq!(desk.recover().await, 1);
    assert_eq!((desk.clerks.list(), desk.duties.count()), (vec![task.clone()], 1));
    assert_eq!(desk.recover().await, 0, "once");

    let answered = desk.clerks.decide(&task.ticket(), says(Verdict::Mismatch), "2001").await.unwrap().unwrap();
    desk.duties.commit(vec![Change::row(BOOK, row_key(task.question), &task)]).await.unwrap();
    let desk = desk.restarted(Lookup::NotImported).await;
    assert_eq!(desk.recover().await, 1);
    assert_eq!(desk.clerks.list(), [answered]);
    let kinds: Vec<_> = desk.journal.commits().iter().map(|commit| commit.entries.len()).collect();
    assert_eq!(kinds, [2, 1], "nothing was answered twice");
}

#[tokio::test]
async fn two_officers_are_two_and_the_second_one_confirms_what_the_first_one_said() {
    let desk = Desk::new("clerk", true, Lookup::NotImported).await;
    desk.ask(true).await;
    let ticket = desk.ticket();
    let proposed = desk.clerks.decide(&ticket, says(Verdict::Match), "2001").await.unwrap().unwrap();
    assert_eq!(proposed.state(), TaskState::Proposed);
    assert_eq!(desk.journal.commits().len(), 1, "nothing is signed yet");
    let desk = desk.restarted(Lookup::NotImported).await;
    let same = desk.clerks.confirm(&ticket, "2001").await.unwrap().unwrap_err();
    assert_eq!(same.code, Code::SecondOfficerSame);
    desk.clerks.reopen(&ticket).await.unwrap().unwrap();
    let word = Word::Decline("NOT_OUR_RECORD".into());
    desk.clerks.decide(&ticket, word, "2001").await.unwrap().unwrap();
    let task = desk.clerks.confirm(&ticket, "2002").await.unwrap().unwrap();
    let answer: wire::Answer = envelope::peek(&envelope_of(&desk, task.answer.unwrap()), usize::MAX).unwrap();
    assert_eq!((answer.clerk.as_str(), answer.second_clerk.as_str()), ("2001", "2002"));
    let Some(Outcome::Refusal(refusal)) = answer.outcome else { panic!("{answer:?}") };
    assert!(refusal.code == "CLERK_DECLINED" && refusal.message.contains("NOT_OUR_RECORD"), "{refusal:?}");
}

#[tokio::test]
async fn an_answer_that_is_not_given_in_time_is_overdue_whenever_it_comes() {
    let desk = Desk::new("clerk", false, Lookup::NotImported).await;
    desk.ask(true).await;
    let question = desk.clerks.list()[0].question;
    assert!(desk.clerks.overdue(question).is_none(), "not yet");
    desk.clock.advance(Duration::from_secs(61));
    let overdue = desk.clerks.overdue(question).expect("overdue");
    let entry = prost::Message::encode_to_vec(&overdue);
    let stated = trust::overdue::read(&desk.fixture.directory, &entry, trust::anchor::Revoked::Refused).unwrap();
    assert_eq!(stated.department.as_str(), "civil-affairs");
    let ticket = desk.ticket();
    desk.clerks.decide(&ticket, says(Verdict::Match), "2001").await.unwrap().unwrap();
    assert!(desk.clerks.overdue(question).is_some(), "the registry was away, and it was late all the same");
    desk.clerks.overdue_recorded(question).await.unwrap();
    assert!(desk.clerks.overdue(question).is_none());
    assert!(desk.view.check_usable(NOW_MS).is_ok());
    assert!(desk.journal.commits()[1].entries.iter().all(|entry| entry.kind == EntryKind::AnswerGiven));
}
