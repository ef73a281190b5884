//! Cases on real processes: one call asks all departments, each proof gets its outcome and its sentence, one that is down leaves
//! the others standing, and what is added later is all that is asked.

use std::{fs, path::Path, time::Duration};

use proto::{
    exchange::v1::{Purpose, Verdict},
    office::v1::{AddToCaseRequest, OpenCaseRequest, ProofOutcome::*, ShowCaseRequest, VerifyRequest},
};
use town::harness::{Plan, eventually};

use crate::support::{
    AUDITED, MARRIAGE, MARRIED, Place, SINGLE, WIDOWED,
    cases::{
        self, Desk, MARRIAGE_ALONE, NAMES, RENTAL, SPOUSE, applicant, application, outcomes, person, proof, publish,
        rental_with_given_spouse,
    },
    exit,
    http::Call,
    marital_status, marriage_records, said, verdict,
    webhook::Receiver,
};

const LONG: Duration = Duration::from_secs(60);

/// The town, where housing keeps a register of its own too, which others would need a grant for.
fn with_own_register(plan: Plan, dir: &Path) -> Plan {
    let own = MARRIAGE.replace("service: marriage-registration", "service: household-file");
    fs::write(dir.join("households.csv"), marriage_records()).unwrap();
    cases::departments(plan, dir).service(own, dir.join("households.csv")).setting(AUDITED.0, AUDITED.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_asks_everybody_at_once_and_says_proof_by_proof_what_is_left() {
    let place = Place::start(with_own_register).await;
    publish(&place, RENTAL).await;
    let desk = Desk::at(&place).await;

    // 31,000 and 28,000 are the household's; nothing has to be brought.
    let spouse = || person("spouse", &[("resident_id", &SPOUSE)]);
    let whole = desk.open(application("C-1", vec![applicant(&MARRIED, NAMES[0], "married"), spouse()])).await;
    assert_eq!((whole.state.as_str(), outcomes(&whole)), ("complete", vec![NotRequired; 4]), "{whole:?}");
    assert!(whole.proofs.iter().all(|proof| proof.receipt.contains('-')), "{whole:?}");
    assert!(whole.notice.is_none() && whole.days_left >= 19, "{whole:?}");
    // Taxation can tell the spouse too who asked, although the question was about the applicant in the first place.
    for member in [&MARRIED, &SPOUSE] {
        let asked = place.asked_about("taxation", member).await;
        assert_eq!((asked.len(), &asked[0]["case_number"]), (1, &"C-1".into()), "{asked:?}");
        assert_eq!((&asked[0]["department"], &asked[0]["officer"]), (&"housing".into(), &"1024".into()), "{asked:?}");
    }
    assert!(place.asked_about("taxation", &WIDOWED).await.is_empty());

    // Somebody with a house and too much income: both are told, and what to do about it.
    let wrong = desk.open(application("C-2", vec![applicant(&WIDOWED, NAMES[1], "married")])).await;
    assert_eq!(outcomes(&wrong), [NotRequired, DoesNotMatch, DoesNotMatch, DoesNotMatch], "{wrong:?}");
    let notice = wrong.notice.clone().unwrap();
    assert_eq!((notice.zh.len(), notice.en.len()), (3, 3), "{notice:?}");
    assert!(wrong.pauses[0].until_ms == 0, "the clock stands still while the applicant is waited for");

    // No row means single and no house, but only of somebody who is who he says.
    let unknown = desk.open(application("C-3", vec![applicant(&SINGLE, "顾长庚", "single")])).await;
    let (identity, marriage) = (proof(&unknown, "身份证明"), proof(&unknown, "婚姻状况证明"));
    assert_eq!((identity.outcome(), marriage.outcome()), (DoesNotMatch, SubmitOnPaper), "{unknown:?}");
    assert_eq!((marriage.reason.as_str(), marriage.by_absence), ("identity_not_confirmed", true));
    let before = place.evidence_size("housing").await;
    let more = AddToCaseRequest {
        case_number: "C-3".into(),
        officer: "1024".into(),
        people: vec![person("applicant", &[("name", NAMES[2])])],
        ..AddToCaseRequest::default()
    };
    let (mut client, request) = desk.call(more);
    let known = client.add(request).await.unwrap().into_inner();
    assert_eq!((known.state.as_str(), outcomes(&known)), ("complete", vec![NotRequired; 4]), "{known:?}");
    assert_eq!(place.evidence_size("housing").await, before + 2, "only the name was asked again");
    assert!(known.pauses[0].until_ms > 0, "the clock runs again");

    // A spouse whose number nobody stated, and then does; what is known is not asked again.
    let people = vec![applicant(&MARRIED, NAMES[0], "married"), person("spouse", &[("name", NAMES[3])])];
    let lacking = desk.open(application("C-4", people)).await;
    let income = proof(&lacking, "收入证明");
    assert_eq!((income.outcome(), income.missing.as_str()), (InformationMissing, "spouse.resident_id"));
    let file = place.dir().join("spouse.json");
    fs::write(&file, format!("{{\"people\": [{{\"role\": \"spouse\", \"resident_id\": \"{}\"}}]}}", *SPOUSE)).unwrap();
    let added =
        place.json("housing", &["case", "add", "C-4", "--officer", "1024", "--file", file.to_str().unwrap()]).await;
    assert_eq!(added["state"], "complete", "{added}");

    // The same again is the same case, and somebody else under its number is refused.
    let again = desk.open(application("C-1", vec![applicant(&MARRIED, NAMES[0], "married"), spouse()])).await;
    assert_eq!(proof(&again, "无房证明").receipt, proof(&whole, "无房证明").receipt);
    let (mut client, request) = desk.call(application("C-1", vec![applicant(&WIDOWED, NAMES[1], "married")]));
    let other = client.open(request).await.unwrap().into_inner();
    assert_eq!((other.refusal.unwrap().code.as_str(), other.proofs.len()), ("CASE_EXISTS", 0));
    let listed = place.json("housing", &["case", "list", "--limit", "2"]).await;
    assert_eq!(listed["cases"].as_array().unwrap().len(), 2);
    assert_eq!(listed["cases"][0]["case"], "C-4", "the newest first: {listed}");

    // The slip says it in two languages and names nobody.
    let slip = said(&place.cli("housing", &["case", "slip", "C-2"]).await);
    assert!(slip.contains("与登记信息不一致") && slip.contains("is not what the record says"), "{slip}");
    assert!(!slip.contains(WIDOWED.as_str()) && !slip.contains(NAMES[1]), "{slip}");

    // Whoever they are stands in no file that is not encrypted.
    place.town.node("housing").stop().await.unwrap();
    let secrets = [MARRIED.as_str(), SINGLE.as_str(), NAMES[1]];
    let looked_at = assert_hidden(&place.town.node("housing").dir().join("duties"), &secrets);
    assert!(looked_at > 10_000, "{looked_at} bytes");
    place.town.node("housing").start().await.unwrap();
    let shown = place.json("housing", &["case", "show", "C-2"]).await;
    assert_eq!(shown["proofs"][2]["outcome"], "DOES_NOT_MATCH", "{shown}");

    a_doubted_answer_lets_the_paper_stand_in(&place).await;
    a_value_from_another_answer_counts_before_what_is_stated(&place).await;
    Box::pin(a_department_asks_its_own_conditional_service(&place)).await;
}

/// Housing's own conditional service is asked by housing's offices without a grant, alone and in a case. Why is stated, guesses
/// cost, and both sides of it are in housing's evidence, which anybody can check.
async fn a_department_asks_its_own_conditional_service(place: &Place) {
    let own = |status: &str| VerifyRequest {
        provider: "housing".into(),
        service: "household-file".into(),
        ..marital_status(&MARRIED, status)
    };
    let code = async |question: VerifyRequest| {
        let refused = place.ask(question).await;
        refused.refusal.map(|refusal| refusal.code).unwrap_or_default()
    };
    let before = place.evidence_size("housing").await;
    let answered = place.ask(own("married")).await;
    assert_eq!(verdict(&answered).verdict(), Verdict::Match, "{answered:?}");
    assert!(place.evidence_size("housing").await >= before + 4, "asked and received, answered and received");

    let purpose = Purpose { item: "内部核查".into(), ..Purpose::default() };
    assert_eq!(code(VerifyRequest { purpose: Some(purpose), ..own("married") }).await, "LEGAL_BASIS_MISSING");
    assert_eq!(code(VerifyRequest { officer: String::new(), ..own("married") }).await, "OFFICER_MISSING");
    for wrong in ["single", "divorced"] {
        assert_eq!(verdict(&place.ask(own(wrong)).await).verdict(), Verdict::Mismatch, "{wrong}");
    }
    assert_eq!(code(own("widowed")).await, "GUESS_BUDGET_SPENT");

    publish(place, &MARRIAGE_ALONE.replace("civil-affairs/marriage-registration", "housing/household-file")).await;
    let desk = Desk::at(place).await;
    let case = desk.open(application("O-1", vec![applicant(&MARRIED, NAMES[0], "married")])).await;
    assert_eq!((case.state.as_str(), outcomes(&case)), ("complete", vec![NotRequired]), "{case:?}");

    let usage = place.json("housing", &["access", "usage"]).await;
    let mut standing = usage["standing"].as_array().unwrap().iter();
    let itself = standing.find(|standing| standing["provider"] == "housing").unwrap_or_else(|| panic!("{usage}"));
    assert_eq!((&itself["consumer"], &itself["used"]["total"]), (&"housing".into(), &4.into()), "{usage}");
    let asked = place.asked_about("housing", &MARRIED).await;
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked["department"] == "housing"), "{asked:?}");
    let authority = place.town.authority_key();
    for (name, receipt) in [("alone", &answered.receipt), ("case", &proof(&case, "婚姻状况证明").receipt)] {
        let bundle = place.dir().join(format!("own-{name}.evidence")).display().to_string();
        place.json("housing", &["evidence", "export", receipt, "-o", &bundle]).await;
        let checked = place.json("housing", &["evidence", "verify", &bundle, "--authority", authority]).await;
        assert_eq!(checked["sound"], true, "{checked}");
    }
}

/// While an answer of a case is doubted the applicant's paper is accepted, and the case says so; then what was found counts.
async fn a_doubted_answer_lets_the_paper_stand_in(place: &Place) {
    let income = async || {
        let shown = place.json("housing", &["case", "show", "C-1"]).await;
        let state = shown["state"].as_str().unwrap().to_owned();
        let mut proofs = shown["proofs"].as_array().unwrap().iter();
        (state, proofs.find(|proof| proof["proof"] == "收入证明").unwrap().clone())
    };
    let receipt = income().await.1["receipt"].as_str().unwrap().to_owned();
    let told = Receiver::default();
    told.take(true);
    place.json("housing", &["webhook", "add", "housing-desk", &told.start().await]).await;
    let opened = ["corrections", "open", &receipt, "--reason", "PAPER_SAYS_OTHERWISE", "--officer", "1024"];
    let opened = place.json("housing", &opened).await;
    let id = opened["id"].as_str().unwrap();
    let (state, doubted) = income().await;
    assert_eq!((&doubted["outcome"], &doubted["reason"]), (&"SUBMIT_ON_PAPER".into(), &"correction_open".into()));
    assert!(doubted["zh"].as_str().unwrap().contains("校核期间可凭有效纸质证明办理"), "{doubted}");
    assert!(doubted["en"].as_str().unwrap().contains("meanwhile a valid paper proof is accepted"), "{doubted}");
    assert_eq!(state, "waiting", "{doubted}");
    let slip = said(&place.cli("housing", &["case", "slip", "C-1"]).await);
    assert!(slip.contains("校核期间可凭有效纸质证明办理"), "{slip}");

    // The list says so too, and the office hears of it by itself.
    let is_listed = async || {
        let listed = place.json("housing", &["case", "list"]).await;
        let mut cases = listed["cases"].as_array().unwrap().iter();
        cases.find(|case| case["case"] == "C-1").unwrap()["state"] == "waiting"
    };
    assert!(eventually(LONG, is_listed).await);
    let heard = || told.of("case.changed").iter().filter(|notice| notice["data"]["case_number"] == "C-1").count();
    assert!(eventually(LONG, async || heard() >= 1).await, "{:?}", told.notices());
    // The paper is taken in meanwhile, and only while the answer is doubted.
    let paper = ["case", "add", "C-1", "--officer", "1024", "--paper", "收入证明"];
    assert_eq!(place.json("housing", &paper).await["proofs"][3]["outcome"], "PAPER_ACCEPTED");
    let (state, taken) = income().await;
    assert_eq!((state.as_str(), &taken["outcome"]), ("complete", &"PAPER_ACCEPTED".into()), "{taken}");
    let certain = cases::refused(place, &["case", "add", "C-2", "--officer", "1024", "--paper", "无房证明"]).await;
    assert!(certain.contains("PAPER_NOT_ACCEPTED"), "{certain}");
    let office = place.town.office("housing").await.unwrap();
    let over_http = |about: &str| {
        let more = serde_json::json!({ "officer": "1024", "papers": ["收入证明"], "papers_about": about });
        let address = format!("http://{}/v1/cases/C-2/additions", office.address());
        Call::new("POST", &address).key(office.api_key()).json(&more).send()
    };
    for (about, code) in [("household", "PAPER_NOT_ACCEPTED"), ("spouse", "PROOF_UNKNOWN")] {
        let refused = over_http(about);
        assert_eq!((refused.status, refused.problem().as_str()), (422, code), "{refused:?}");
    }

    let decide = ["corrections", "decide", id, "--record-is-right", "RECORD_CONFIRMED", "--officer", "2001"];
    let decided = async || exit(&place.cli("taxation", &decide).await) == 0;
    assert!(eventually(LONG, decided).await, "taxation's clerk has it");
    let counts = async || {
        let (state, found) = income().await;
        let found = (found["outcome"].as_str(), found["receipt"].as_str());
        state == "complete" && found == (Some("NOT_REQUIRED"), Some(receipt.as_str()))
    };
    assert!(eventually(LONG, counts).await, "{:?}", income().await);
    assert!(eventually(LONG, async || heard() >= 2).await, "{:?}", told.notices());
}

/// The spouse's number comes from the marriage register's answer, in the same call.
async fn a_value_from_another_answer_counts_before_what_is_stated(place: &Place) {
    publish(place, &rental_with_given_spouse()).await;
    let desk = Desk::at(place).await;
    // 31,000 alone would be within the limit; together they have 71,000.
    let taxes = place.dir().join("more.csv");
    let row = |number: &str, yuan: u32| format!("{number},2025,individual_income,true,{yuan}.00,2026-10-31\n");
    let rows = [row(&MARRIED, 31_000), row(&SPOUSE, 40_000), row(&SINGLE, 20_000)].concat();
    fs::write(&taxes, format!("resident_id,period,tax_type,paid,annual_income,record_as_of\n{rows}")).unwrap();
    place.town.import("taxation", "tax-paid", &taxes).await.unwrap();
    let married = || applicant(&MARRIED, NAMES[0], "married");
    let stating = |spouse: &str| vec![married(), person("spouse", &[("resident_id", spouse)])];
    // Nobody was stated; and then somebody else with less income, whom the record does not name.
    for (number, people) in [("G-1", vec![married()]), ("G-2", stating(&SINGLE))] {
        let given = desk.open(application(number, people)).await;
        let (giver, income) = (proof(&given, "配偶关系证明"), proof(&given, "收入证明"));
        assert_eq!((giver.outcome(), income.outcome()), (NotRequired, DoesNotMatch), "{given:?}");
    }
    // Who is not in the register is asked about alone.
    let single = desk.open(application("G-3", vec![applicant(&SINGLE, NAMES[2], "single")])).await;
    assert_eq!(proof(&single, "配偶关系证明").reason, "no_record", "{single:?}");
    assert_eq!((proof(&single, "收入证明").outcome(), single.state.as_str()), (NotRequired, "complete"), "{single:?}");

    // While the register is away nobody knows who belongs to the household: that is missing, and is no match. What is
    // stated is asked.
    place.town.node("civil-affairs").kill();
    let open = |number: &str, people| {
        let hurried = OpenCaseRequest { deadline_ms: 4000, ..application(number, people) };
        desk.open(hurried)
    };
    let (unknown, stated) = tokio::join!(open("G-4", vec![married()]), open("G-5", stating(&SPOUSE)));
    let income = proof(&unknown, "收入证明");
    assert_eq!((income.outcome(), income.missing.as_str()), (InformationMissing, "spouse.resident_id"), "{unknown:?}");
    assert!(income.zh.contains("未能从《配偶关系证明》"), "{unknown:?}");
    assert_eq!(proof(&stated, "收入证明").outcome(), DoesNotMatch, "{stated:?}");
    place.town.node("civil-affairs").start().await.unwrap();
    let added = place.cli("housing", &["case", "add", "G-4", "--officer", "1024", "--json"]).await;
    let added: serde_json::Value = serde_json::from_slice(&added.stdout).unwrap();
    assert_eq!(added["proofs"][4]["outcome"], "DOES_NOT_MATCH", "{added}");
    assert!(!added.to_string().contains(SPOUSE.as_str()), "what was told is nobody's to read");
}

/// That none of these stands in any file of the folder; how many bytes were looked at.
fn assert_hidden(folder: &Path, secrets: &[&str]) -> usize {
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            seen += assert_hidden(&path, secrets);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        seen += bytes.len();
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds what nobody may read", path.display());
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn one_department_that_is_down_leaves_the_others_standing_and_is_watched_as_it_comes_back() {
    let place = Place::start(cases::departments).await;
    publish(&place, RENTAL).await;
    let desk = Desk::at(&place).await;
    place.town.node("natural-resources").kill();
    place.town.node("taxation").kill();
    let case = desk.open(application("D-1", vec![applicant(&MARRIED, NAMES[0], "married")])).await;
    assert_eq!(outcomes(&case), [NotRequired, NotRequired, MayCommit, SubmitOnPaper], "{case:?}");
    assert!(proof(&case, "无房证明").next_zh.contains("告知承诺书"), "{case:?}");

    let (mut client, request) = desk.call(ShowCaseRequest { case_number: "D-1".into() });
    let mut watched = client.watch(request).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().kind, "case");
    for department in ["natural-resources", "taxation"] {
        place.town.node(department).start().await.unwrap();
    }
    let asked_again = place.cli("housing", &["case", "add", "D-1", "--officer", "1024"]).await;
    assert_eq!(exit(&asked_again), 0, "{}", said(&asked_again));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event = tokio::time::timeout(Duration::from_secs(60), watched.message()).await.unwrap().unwrap().unwrap();
        if let Some(proof) = event.proof {
            seen.push((proof.proof.clone(), proof.outcome()));
        }
    }
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [("收入证明".to_owned(), NotRequired), ("无房证明".to_owned(), NotRequired)];
    let mut expected = expected.to_vec();
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(seen, expected, "only those two were asked again");
}
