//! Attackers who search for a value by asking, through every path there is, and what they are left with.

mod search;

use std::collections::BTreeSet;

use host::random::SeededRandom;
use proto::registry::v1 as registry;
use trust::fixture::basis;

use super::*;
use crate::budget::{self, Book, DAY_MS, Guess, YEAR_MS};

/// What they are after: 4,231 of 0 to 65,535.
const INCOME: i64 = 4_231;
const MOST: i64 = 65_536;

/// A person whose number was given out before 1999, so that it has a form of fifteen digits; the check character is X.
const OLD: &str = "89010119510307007X";

fn attribute(name: &str, ty: &str, operators: &[&str]) -> registry::Attribute {
    registry::Attribute {
        name: name.into(),
        r#type: ty.into(),
        operators: operators.iter().map(ToString::to_string).collect(),
        sensitivity: "sensitive".into(),
        ..Default::default()
    }
}

/// A register that anybody may ask, so that no grant stands in the way.
fn register(service: &str, major: u32, ty: &str) -> registry::ServicePublished {
    registry::ServicePublished {
        service: service.into(),
        major_version: major,
        name: Some(registry::LocalName { zh: "收入核验".into(), en: String::new() }),
        subject_schemes: vec!["resident_id".into(), "certificate_no".into()],
        attributes: vec![
            attribute("income", ty, &["at_least", "at_most", "between", "equals", "not_equals", "one_of", "exists"]),
            attribute("employer", "string", &["equals", "matches_name"]),
            attribute("since", "date", &["before", "after", "between", "within_last", "equals"]),
        ],
        sharing: registry::SharingClass::Unconditional.into(),
        completeness: None,
        ..fixture::marriage_registration()
    }
}

fn income() -> Lookup {
    let row: Row = [
        ("income", Value::Integer(INCOME)),
        ("employer", Value::Text("宁河中学".into())),
        ("since", Value::Date(jiff::civil::date(2014, 6, 1))),
    ]
    .into_iter()
    .collect();
    Lookup::Rows { rows: vec![row], as_of: None }
}

async fn town() -> Provider {
    let mut fixture = Fixture::town();
    for (service, major) in [("income", 1), ("income", 2), ("assets", 1)] {
        fixture.publish(register(service, major, "integer"));
    }
    Provider::with(fixture, RecordsDouble::saying(income()), Limits::default()).await
}

/// One question about the income, which differs from every other in its id and time alone.
struct Ask<'a> {
    service: &'a str,
    major: u32,
    subject: (&'a str, &'a str),
    claims: Vec<wire::Claim>,
}

impl<'a> Ask<'a> {
    fn of(claims: Vec<wire::Claim>) -> Self {
        Self { service: "income", major: 1, subject: ("resident_id", OLD), claims }
    }
}

fn number(value: i64) -> wire::Value {
    wire::Value { kind: Some(wire::value::Kind::Integer(value)) }
}

fn claim(operator: &str, operands: &[i64]) -> wire::Claim {
    let operands = operands.iter().map(|value| number(*value)).collect();
    wire::Claim { attribute: "income".into(), operator: operator.into(), operands, ..Default::default() }
}

fn text_claim(attribute: &str, operator: &str, kind: wire::value::Kind) -> wire::Claim {
    let operands = vec![wire::Value { kind: Some(kind) }];
    wire::Claim { attribute: attribute.into(), operator: operator.into(), operands, ..Default::default() }
}

impl Provider {
    async fn put(&self, nth: u64, ask: Ask<'_>) -> wire::Answer {
        self.put_as(nth, ask, |_| {}).await
    }

    async fn put_as(&self, nth: u64, ask: Ask<'_>, change: impl FnOnce(&mut wire::Request)) -> wire::Answer {
        let now_ms = self.clock.now_ms();
        self.ask(|request| {
            request.request_id[..8].copy_from_slice(&nth.to_be_bytes());
            (request.issued_at_ms, request.expires_at_ms) = (now_ms, now_ms + 60_000);
            (request.service, request.service_version) = (ask.service.into(), ask.major);
            request.subject = Some(wire::Subject { scheme: ask.subject.0.into(), value: ask.subject.1.into() });
            request.claims = ask.claims;
            request.purpose.as_mut().unwrap().legal_bases = basis();
            change(request);
        })
        .await
    }

    /// Time goes by, and the directory is vouched for again.
    async fn later(&self, by_ms: u64) {
        self.clock.advance(Duration::from_millis(by_ms));
        bring(&self.view, &self.fixture, self.clock.now_ms()).await.unwrap();
    }
}

/// The verdict of the only claim, or the code of the refusal.
fn outcome(answer: &wire::Answer) -> Result<Verdict, String> {
    match answer.outcome.as_ref().unwrap() {
        Outcome::Verdicts(found) => Ok(Verdict::from_proto(found.verdicts[0].verdict).unwrap()),
        Outcome::Refusal(refusal) => Err(refusal.code.clone()),
        Outcome::Deferral(_) => panic!("nobody defers here"),
    }
}

fn spent() -> Result<Verdict, String> {
    Err("GUESS_BUDGET_SPENT".to_owned())
}

/// Every way in which the number of one person can be written.
const SPELLINGS: [&str; 5] =
    [OLD, "89010119510307007x", "890101510307007", "８９０１０１１９５１０３０７００７Ｘ", "890101 1951 0307 007x"];

#[tokio::test]
async fn an_income_cannot_be_found_by_halving_through_any_path_in_a_year() {
    let mut provider = town().await;
    let dir = tempfile::tempdir().unwrap();
    let open = || Arc::new(Book::open(dir.path(), &SeededRandom::new(1), |reason| panic!("{reason}")).unwrap());
    let mut book = open();
    provider.budget = Arc::clone(&book) as _;
    provider.restart();
    // What the attacker knows: from `low` on and below `high`.
    let (mut low, mut high) = (0, MOST);
    let (mut nth, mut answered) = (0_u64, 0);
    let begun_ms = provider.clock.now_ms();
    // Until a day before the year is over: then the first ones are free again.
    while provider.clock.now_ms() - begun_ms < YEAR_MS - 5 * DAY_MS {
        for path in 0..12_usize {
            nth += 1;
            let middle = low + (high - low) / 2;
            // Whatever is asked, `MATCH` says whether it is in this half.
            let (claims, upper) = match path % 6 {
                0 => (vec![claim("at_least", &[middle])], true),
                1 => (vec![claim("at_most", &[middle - 1])], false),
                2 => (vec![claim("between", &[low, middle - 1])], false),
                3 => (vec![claim("between", &[middle, high])], true),
                4 => (vec![claim("one_of", &[middle, middle + 1, middle + 2])], true),
                _ => (vec![claim("exists", &[]), claim("at_least", &[middle])], true),
            };
            let halves = path % 6 != 4;
            let mut ask = Ask::of(claims);
            (ask.service, ask.major) = [("income", 1), ("income", 2), ("assets", 1)][path % 3];
            ask.subject.1 = SPELLINGS[path % SPELLINGS.len()];
            let answer = provider.put_as(nth, ask, |request| request.case_number = format!("GZF-{nth}")).await;
            let Some(Outcome::Verdicts(found)) = &answer.outcome else {
                assert_eq!(outcome(&answer), spent());
                continue;
            };
            answered += 1;
            match found.verdicts.last().map(wire::ClaimVerdict::verdict) {
                Some(wire::Verdict::Match) if halves => {
                    if upper {
                        low = middle
                    } else {
                        high = middle
                    }
                }
                Some(wire::Verdict::Mismatch) if halves => {
                    if upper {
                        high = middle
                    } else {
                        low = middle
                    }
                }
                Some(wire::Verdict::Match | wire::Verdict::Mismatch) => {}
                other => panic!("{other:?}"),
            }
        }
        provider.later(5 * DAY_MS).await;
        if nth % 120 == 0 {
            book.close().await.unwrap();
            drop(std::mem::replace(&mut provider.budget, Arc::new(MemoryBudget::default())));
            provider.restart();
            drop(book);
            book = open();
            provider.budget = Arc::clone(&book) as _;
            provider.restart();
        }
    }
    assert!((low..high).contains(&INCOME), "the attacker reasons well: {low} to {high}");
    assert!(high - low >= MOST >> 6, "after {answered} answers the attacker knows it is from {low} to {high}");
    assert!(answered > 3, "something was answered on more days than the first: {answered}");
    // Another department has a budget of its own, and another subject too; a year later there is one again.
    let fresh = provider
        .put(nth + 1, Ask { subject: ("resident_id", fixture::RESIDENT), ..Ask::of(vec![claim("at_least", &[1])]) });
    assert_eq!(outcome(&fresh.await), Ok(Verdict::Match));
    provider.later(6 * DAY_MS).await;
    assert_eq!(outcome(&provider.put(nth + 2, Ask::of(vec![claim("at_least", &[33])])).await), Ok(Verdict::Match));
}

#[tokio::test]
async fn one_budget_counts_for_every_path_to_one_subject_and_attribute() {
    let paths: Vec<(&str, u32, &str)> = [("income", 1), ("income", 2), ("assets", 1)]
        .iter()
        .flat_map(|(service, major)| SPELLINGS.iter().map(move |number| (*service, *major, *number)))
        .collect();
    let provider = town().await;
    for (index, (service, major, number)) in paths.iter().enumerate() {
        let nth = index as u64;
        let asked = |value| Ask { service, major: *major, subject: ("resident_id", number), claims: vec![value] };
        let answer = provider.put(nth, asked(claim("equals", &[nth as i64]))).await;
        let expected = if index < 3 { Ok(Verdict::Mismatch) } else { spent() };
        assert_eq!(outcome(&answer), expected, "{service} v{major}");
        // What was asked before is free on every path, in either sense.
        let free = provider.put(nth + 100, asked(claim("equals", &[1.min(nth as i64)]))).await;
        assert_eq!(outcome(&free), Ok(Verdict::Mismatch));
        let contrary = provider.put(nth + 200, asked(claim("not_equals", &[0]))).await;
        assert_eq!(outcome(&contrary), Ok(Verdict::Match));
    }
    // Another attribute of the same subject is another budget.
    let employer = text_claim("employer", "matches_name", wire::value::Kind::Text("宁河中学".into()));
    assert_eq!(outcome(&provider.put(300, Ask::of(vec![employer])).await), Ok(Verdict::Match));
}

#[tokio::test]
async fn each_operand_costs_one_and_what_never_fits_says_so() {
    let provider = town().await;
    let answer = provider.put(1, Ask::of(vec![claim("one_of", &[1, 2, 3, 4])])).await;
    let Some(Outcome::Refusal(refused)) = &answer.outcome else { panic!("{answer:?}") };
    assert_eq!(
        (refused.code.as_str(), refused.field.as_str(), refused.retry_at_ms),
        ("GUESS_BUDGET_SPENT", "claims[0]", 0)
    );
    assert_eq!(outcome(&provider.put(2, Ask::of(vec![claim("between", &[0, 9])])).await), Ok(Verdict::Mismatch));
    // A third fits, and a fourth beside it does not: then neither is charged.
    let both = || vec![claim("at_least", &[5]), claim("at_most", &[7])];
    let answer = provider.put(3, Ask::of(both())).await;
    let Some(Outcome::Refusal(refused)) = &answer.outcome else { panic!("{answer:?}") };
    assert_eq!(refused.field, "claims[1]");
    assert!(refused.retry_at_ms == provider.clock.now_ms() + DAY_MS, "{refused:?}");
    assert_eq!(provider.records.lookups(), 1, "a refusal looks nothing up");
    assert_eq!(outcome(&provider.put(4, Ask::of(vec![claim("at_least", &[5])])).await), Ok(Verdict::Match));
    assert_eq!(outcome(&provider.put(5, Ask::of(vec![claim("at_least", &[6])])).await), spent());
    // Neither bound of the interval costs again, nor does asking whether there is a record at all.
    let bounds = vec![claim("at_least", &[0]), claim("at_most", &[9]), claim("exists", &[])];
    assert_eq!(outcome(&provider.put(6, Ask::of(bounds)).await), Ok(Verdict::Match));
}

#[tokio::test]
async fn a_number_that_is_said_to_be_former_is_charged_too() {
    let provider = town().await;
    let former = |request: &mut wire::Request| {
        request.former_subjects = vec![wire::Subject { scheme: "resident_id".into(), value: OLD.to_lowercase() }];
    };
    // Each time another made-up person, who is said to have had the victim's number.
    for nth in 0..5_u64 {
        let (certificate, value) = (format!("C{nth}"), claim("at_least", &[nth as i64]));
        let ask = Ask { subject: ("certificate_no", &certificate), ..Ask::of(vec![value]) };
        let expected = if nth < 3 { Ok(Verdict::Match) } else { spent() };
        assert_eq!(outcome(&provider.put_as(nth, ask, former).await), expected);
    }
    assert_eq!(outcome(&provider.put(9, Ask::of(vec![claim("at_least", &[9])])).await), spent());
    // Nobody makes a node work with a thousand of them.
    let many = |request: &mut wire::Request| {
        request.former_subjects = vec![wire::Subject { scheme: "resident_id".into(), value: OLD.into() }; 9];
    };
    let refused = provider.put_as(10, Ask::of(vec![claim("exists", &[])]), many).await;
    assert_eq!(refusal(&refused), ("SUBJECT_MALFORMED", "former_subjects"));
}

#[tokio::test]
async fn many_at_once_get_no_more_than_one_after_the_other() {
    let provider = Arc::new(town().await);
    let dir = tempfile::tempdir().unwrap();
    let book = Book::open(dir.path(), &SeededRandom::new(1), |reason| panic!("{reason}")).unwrap();
    let mut asked = Arc::try_unwrap(provider).ok().unwrap();
    asked.budget = Arc::new(book);
    asked.restart();
    let provider = Arc::new(asked);
    let asking = (0..24_u64).map(|nth| {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move { outcome(&provider.put(nth, Ask::of(vec![claim("at_least", &[nth as i64])])).await) })
    });
    let mut answered = 0;
    for asked in asking.collect::<Vec<_>>() {
        match asked.await.unwrap() {
            Ok(_) => answered += 1,
            refused => assert_eq!(refused, spent()),
        }
    }
    assert_eq!(answered, 3);
}

/// A budget that cannot write.
#[derive(Debug)]
struct Broken;

impl GuessBudget for Broken {
    fn take_budget(&self, _: Vec<Vec<Guess>>, _: u64) -> budget::Later<'_> {
        Box::pin(async { Err(budget::Error::Damaged { path: "budget".into(), what: "log" }) })
    }
}

#[tokio::test]
async fn nothing_is_looked_up_before_the_charge_is_durable_and_no_failure_gives_it_back() {
    let mut provider = town().await;
    provider.budget = Arc::new(Broken);
    provider.restart();
    let signed =
        provider.sealed(|request| (request.service, request.claims) = ("income".into(), vec![claim("at_least", &[1])]));
    let unanswered = provider.answerer.answer(&party("housing"), signed).await;
    assert!(matches!(unanswered, Err(Unanswered::Budget(_))), "{unanswered:?}");
    assert_eq!((provider.records.lookups(), provider.journal.commits().len()), (0, 0));

    // The evidence fails after the lookup: nothing left the node, and the guess is spent all the same.
    provider.budget = Arc::new(MemoryBudget::default());
    provider.restart();
    for nth in 0..3_u64 {
        provider.journal.fail_next(Fault::Before);
        let signed = provider.sealed(|request| {
            request.request_id[..8].copy_from_slice(&nth.to_be_bytes());
            (request.service, request.claims) = ("income".into(), vec![claim("at_least", &[nth as i64])]);
        });
        assert!(provider.answerer.answer(&party("housing"), signed).await.is_err());
        provider.restart();
    }
    let ask = Ask { subject: ("resident_id", fixture::RESIDENT), ..Ask::of(vec![claim("at_least", &[9])]) };
    assert_eq!(outcome(&provider.put(9, ask).await), spent());
}

#[tokio::test]
async fn who_exists_and_who_does_not_take_the_same_path() {
    let mut fixture = Fixture::town();
    fixture.publish(register("income", 1, "integer"));
    let records = RecordsDouble::empty().with(Subject::parse("resident_id", OLD).unwrap(), income());
    let mut provider = Provider::with(fixture, records, Limits::default()).await;
    let budget = Arc::new(MemoryBudget::default());
    provider.budget = Arc::clone(&budget) as _;
    provider.restart();
    let mut paths = BTreeSet::new();
    for (nth, subject) in [("resident_id", OLD), ("resident_id", fixture::RESIDENT)].into_iter().enumerate() {
        for (index, value) in [INCOME, 0, INCOME + 1, 77].into_iter().enumerate() {
            let before = (provider.records.lookups(), provider.journal.commits().len(), budget.calls());
            let ask = Ask { subject, ..Ask::of(vec![claim("equals", &[value])]) };
            let answer = provider.put((nth * 10 + index) as u64, ask).await;
            let after = (provider.records.lookups(), provider.journal.commits().len(), budget.calls());
            let steps = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
            let commits = provider.journal.commits();
            let kinds: Vec<_> = commits.last().unwrap().entries.iter().map(|entry| entry.kind as i32).collect();
            // A refusal, too, is word for word the same for both.
            let told = match answer.outcome.unwrap() {
                Outcome::Refusal(refusal) => format!("{refusal:?}"),
                _ => "verdicts".to_owned(),
            };
            paths.insert((index == 3, steps, kinds, told));
        }
    }
    assert_eq!(paths.len(), 2, "one for answers and one for the refusal: {paths:?}");
    let expected = [(false, (1, 1, 1)), (true, (0, 1, 1))];
    assert!(paths.iter().zip(expected).all(|(path, expected)| (path.0, path.1) == expected), "{paths:?}");
}

#[tokio::test]
async fn what_a_published_item_fixes_is_free_and_the_askers_word_for_it_is_not() {
    let mut fixture = Fixture::town();
    fixture.publish(register("income", 1, "integer"));
    let fixed = |operator: &str, value| wire::Claim { fixed_by_item: true, ..claim(operator, &[value]) };
    let proof = registry::ProofRequirement {
        proof: "收入证明".into(),
        about: "applicant".into(),
        legal_bases: basis(),
        issuing_unit: "用人单位".into(),
        answered_by: "civil-affairs/income".into(),
        major_version: 1,
        claim: Some(claim("at_most", &[60_000])),
        ..Default::default()
    };
    let item = registry::ItemPublished {
        department: "housing".into(),
        item: "公租房申请".into(),
        version: 1,
        effective_from_ms: NOW_MS - 1,
        name: Some(registry::LocalName { zh: "公租房申请".into(), en: String::new() }),
        legal_bases: basis(),
        accepting_unit: "住房保障中心".into(),
        proofs: vec![proof],
        ..fixture::item()
    };
    fixture.say("housing", registry::statement::Body::ItemPublished(item), "item/housing/公租房申请");
    let object = trust::directory::Object::Item("housing".parse().unwrap(), "公租房申请".into());
    let statement = fixture.digest_of(&object).as_bytes().to_vec();
    let provider = Provider::with(fixture, RecordsDouble::saying(income()), Limits::default()).await;
    let named = |request: &mut wire::Request| request.purpose.as_mut().unwrap().item_statement.clone_from(&statement);
    for nth in 0..3 {
        let other = provider.put_as(nth, Ask::of(vec![fixed("at_most", nth as i64)]), named).await;
        assert_eq!(outcome(&other), Ok(Verdict::Mismatch), "not what the item fixes: it costs");
    }
    assert_eq!(outcome(&provider.put_as(5, Ask::of(vec![fixed("at_most", 7)]), named).await), spent());
    assert_eq!(outcome(&provider.put_as(6, Ask::of(vec![fixed("at_most", 60_000)]), named).await), Ok(Verdict::Match));
    // Without the statement, or with another operator, it is a guess like any other.
    assert_eq!(outcome(&provider.put(7, Ask::of(vec![fixed("at_most", 60_000)])).await), spent());
    assert_eq!(outcome(&provider.put_as(8, Ask::of(vec![fixed("at_least", 60_000)]), named).await), spent());
    assert_eq!(outcome(&provider.put_as(9, Ask::of(vec![claim("at_most", &[60_000])]), named).await), spent());
}

#[tokio::test]
async fn a_date_has_six_a_year_a_text_three_a_day_and_a_service_may_say_otherwise() {
    let mut fixture = Fixture::town();
    fixture.publish(register("income", 1, "integer"));
    let more = registry::ServicePublished { guesses_per_day: 5, guesses_per_year: 9, ..register("open", 1, "integer") };
    fixture.publish(more);
    let provider = Provider::with(fixture, RecordsDouble::saying(income()), Limits::default()).await;
    let mut nth = 0;
    for (service, attribute, expected) in
        [("income", "since", [3, 3, 0]), ("income", "employer", [3, 3, 3]), ("open", "income", [5, 4, 0])]
    {
        let mut answered = [0; 3];
        for day in &mut answered {
            for _ in 0..8 {
                nth += 1;
                let date = format!("20{:02}-01-01", nth % 100);
                let claim = match attribute {
                    "since" => text_claim("since", "before", wire::value::Kind::Date(date)),
                    "income" => claim("at_least", &[nth as i64]),
                    _ => text_claim("employer", "equals", wire::value::Kind::Text(format!("单位{nth}"))),
                };
                let answer = provider.put(nth, Ask { service, ..Ask::of(vec![claim]) }).await;
                *day += usize::from(outcome(&answer).is_ok());
            }
            provider.later(DAY_MS).await;
        }
        assert_eq!(answered, expected, "{service} {attribute}");
    }
}

#[tokio::test]
async fn an_officers_quota_survives_a_restart_and_is_his_own() {
    let mut provider = town().await;
    provider.officers = OfficerLimits { per_second: 0, per_day: 2 };
    provider.restart();
    let exists = || Ask::of(vec![claim("exists", &[])]);
    assert_eq!(outcome(&provider.put(1, exists()).await), Ok(Verdict::Match));
    provider.restart();
    assert_eq!(outcome(&provider.put(2, exists()).await), Ok(Verdict::Match));
    provider.restart();
    let answer = provider.put(3, exists()).await;
    let Some(Outcome::Refusal(refused)) = &answer.outcome else { panic!("{answer:?}") };
    assert_eq!((refused.code.as_str(), refused.field.as_str()), ("QUOTA_EXCEEDED", "officer"));
    assert!(refused.retry_at_ms > provider.clock.now_ms());
    let other = provider.put_as(4, exists(), |request| request.officer = "1025".into()).await;
    assert_eq!(outcome(&other), Ok(Verdict::Match));
    provider.later(DAY_MS).await;
    assert_eq!(outcome(&provider.put(5, exists()).await), Ok(Verdict::Match));
}

#[tokio::test]
async fn thirty_two_claims_are_answered_and_one_more_is_refused_before_anything_is_looked_up() {
    let provider = town().await;
    let many = |count| Ask::of(vec![claim("exists", &[]); count]);
    let answer = provider.put(1, many(32)).await;
    assert_eq!(verdicts(&answer).len(), 32);
    let refused = provider.put(2, many(33)).await;
    assert_eq!(refusal(&refused), ("TOO_MANY_CLAIMS", "claims"));
    assert_eq!(provider.records.lookups(), 1);
}

#[tokio::test]
async fn with_whom_somebody_is_added_up_is_a_value_of_its_own() {
    use trust::subject::resident_number::ResidentNumber;
    let born = jiff::civil::date(1980, 2, 3);
    let others = [1, 2, 3, 4].map(|nth| ResidentNumber::compose("890101", born, nth).unwrap().into_string());
    let subject = |number: &str| Subject::parse("resident_id", number).unwrap();
    let row = |income: i64| Lookup::Rows {
        rows: vec![[("income", Value::Integer(income))].into_iter().collect()],
        as_of: None,
    };
    let mut fixture = Fixture::town();
    let mut summed = register("income", 1, "integer");
    summed.attributes[0].rows = registry::RowRule::Sum.into();
    fixture.publish(summed);
    let records = RecordsDouble::empty().with(subject(OLD), row(INCOME));
    // The last of them has no row.
    let records = others[..3].iter().fold(records, |records, other| records.with(subject(other), row(100)));
    let provider = Provider::with(fixture, records, Limits::default()).await;
    let with = |other: &str| {
        let other = wire::Subject { scheme: "resident_id".into(), value: other.into() };
        move |request: &mut wire::Request| {
            request.also_about = vec![other];
            request.wire_version = trust::question::wire_version_of(request);
        }
    };
    let most = |value| Ask::of(vec![claim("at_most", &[value])]);
    assert_eq!(outcome(&provider.put_as(1, most(INCOME + 100), with(&others[0])).await), Ok(Verdict::Match));
    assert_eq!(outcome(&provider.put_as(2, most(INCOME + 99), with(&others[0])).await), Ok(Verdict::Mismatch));
    // Again costs nothing; who has no row may be unknown.
    assert_eq!(outcome(&provider.put_as(3, most(INCOME + 99), with(&others[0])).await), Ok(Verdict::Mismatch));
    assert_eq!(outcome(&provider.put_as(4, most(INCOME + 99), with(&others[3])).await), Ok(Verdict::NoRecord));
    // The same bound with somebody else is another guess, and three a day are all.
    assert_eq!(outcome(&provider.put_as(5, most(INCOME + 99), with(&others[1])).await), spent());
    assert_eq!(outcome(&provider.put_as(6, most(INCOME), |_| {}).await), spent(), "each of them is charged");
    let employer = text_claim("employer", "equals", wire::value::Kind::Text("宁河中学".into()));
    let single = provider.put_as(7, Ask::of(vec![employer]), with(&others[2])).await;
    assert_eq!(outcome(&single), Err("CLAIM_MALFORMED".to_owned()));
    let twice = provider.put_as(8, most(1), with(OLD)).await;
    assert_eq!(outcome(&twice), Err("SUBJECT_MALFORMED".to_owned()));
}

#[tokio::test]
async fn equal_rows_under_two_numbers_are_counted_twice_or_not_at_all() {
    let certificate = || Subject::parse("certificate_no", "C7").unwrap();
    let row = || -> Row {
        [("income", Value::Integer(100)), ("employer", Value::Text("宁河中学".into()))].into_iter().collect()
    };
    let rows = |count| Lookup::Rows { rows: vec![row(); count], as_of: None };
    let records = || {
        let records = RecordsDouble::empty().with(Subject::parse("resident_id", OLD).unwrap(), rows(1));
        records.with(certificate(), rows(1))
    };
    let fixture = || {
        let mut fixture = Fixture::town();
        let mut counted = register("income", 1, "integer");
        counted.attributes[0].rows = registry::RowRule::Count.into();
        fixture.publish(counted);
        fixture
    };
    let former = |request: &mut wire::Request| {
        request.former_subjects = vec![wire::Subject { scheme: "certificate_no".into(), value: "C7".into() }];
    };
    let asked = || {
        let employer = text_claim("employer", "equals", wire::value::Kind::Text("宁河中学".into()));
        Ask::of(vec![claim("at_most", &[1]), employer])
    };
    let imported = Provider::with(fixture(), records(), Limits::default()).await;
    let answer = imported.put_as(1, asked(), former).await;
    assert_eq!(verdicts(&answer), [(Verdict::Mismatch, ""), (Verdict::Match, "")], "two rows are at most one");
    let asked_there = Provider::with(fixture(), records().that_may_repeat(), Limits::default()).await;
    let answer = asked_there.put_as(1, asked(), former).await;
    assert_eq!(verdicts(&answer), [(Verdict::Unavailable, "ambiguous"), (Verdict::Match, "")], "nobody knows");
    // One person who is named as two is not added up with himself.
    let twice = |request: &mut wire::Request| {
        former(request);
        request.also_about = request.former_subjects.clone();
        request.wire_version = trust::question::wire_version_of(request);
    };
    let answer = imported.put_as(2, Ask::of(vec![claim("at_most", &[3])]), twice).await;
    assert_eq!(verdicts(&answer), [(Verdict::Unavailable, "ambiguous")]);
}
