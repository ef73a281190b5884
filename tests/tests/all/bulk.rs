//! Many questions at once, from a file to a file, between real processes: each row is decided, charged and answered as a
//! question of its own; one row's evidence shows nothing of the others; and whatever is killed, nothing is asked twice. What a
//! batch is to the byte is in `trust/src/batch/tests.rs`.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use prost::Message;
use proto::{
    exchange::v1::{EntryKind, Request, Signed, Subject, signed::Form},
    office::v1::{
        BatchHeader, BatchJob, BatchResultsRequest, BatchRow, BatchRows, ListBatchesRequest, ShowBatchRequest, State,
        SubmitBatchRequest, batches_client::BatchesClient, submit_batch_request::Part,
    },
    registry::v1::Quota,
};
use serde_json::Value;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use town::harness::eventually;

use crate::{
    postgres_server,
    sources::sqlite,
    support::{
        ITEM, MARRIAGE, MARRIED, Place, SINGLE, WIDOWED, claim, evidence, exit, housings_scope, purpose, question,
        resident, said, small,
    },
};

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Civil affairs and housing, whose node puts so many rows into a batch.
pub(crate) async fn town(rows: usize) -> Place {
    let place = Place::start(small).await;
    let node = place.town.node("housing");
    node.stop().await.unwrap();
    node.edit_config(|text| format!("{text}\n[bulk]\nrows_per_batch = {rows}\n")).unwrap();
    node.start().await.unwrap();
    place.town.settled().await.unwrap();
    place
}

/// Writes the file of applicants and a map for it.
pub(crate) fn files(dir: &Path, rows: &[(String, String)], claim: &str) -> (PathBuf, PathBuf) {
    let mut text = "办件编号,姓名,身份证号,声明\n".to_owned();
    for (index, (number, stated)) in rows.iter().enumerate() {
        text.push_str(&format!("GZF-2026-{index:04},=1+1,{number},{stated}\n"));
    }
    let (people, map) = (dir.join("applicants.csv"), dir.join("map.toml"));
    fs::write(&people, text).unwrap();
    fs::write(
        &map,
        format!(
            "service = \"civil-affairs/marriage-registration\"\nitem = \"{ITEM}\"\nofficer = \"1024\"\n\
             case_column = \"办件编号\"\nsubject_column = \"身份证号\"\nlanguage = \"en\"\n{claim}"
        ),
    )
    .unwrap();
    (people, map)
}

/// The claim that is asked of each row.
pub(crate) const STATUS: &str = "[[claim]]\nname = \"marital_status\"\ncolumn = \"声明\"\n";

/// The command that asks.
pub(crate) fn arguments<'a>(people: &'a Path, map: &'a Path, results: &'a Path) -> Vec<&'a str> {
    let [people, map, results] = [people, map, results].map(|path| path.to_str().unwrap());
    vec!["batch", "verify", people, "--map", map, "-o", results]
}

/// The results by the applicant's number.
fn read(results: &Path) -> HashMap<String, HashMap<String, String>> {
    let bytes = fs::read(results).unwrap();
    assert!(bytes.starts_with("\u{feff}".as_bytes()), "spreadsheet programs know it by its mark");
    let mut reader = csv::Reader::from_reader(&bytes[3..]);
    let header = reader.headers().unwrap().clone();
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        let cells = header.iter().zip(&record).map(|(name, cell)| (name.to_owned(), cell.to_owned()));
        let cells: HashMap<_, _> = cells.collect();
        (cells["身份证号"].trim().to_owned(), cells)
    });
    rows.collect()
}

/// How many batches a department received, and how often it was asked about each subject.
pub(crate) async fn received(place: &Place, department: &str) -> (usize, HashMap<String, usize>) {
    place.town.node(department).stop().await.unwrap();
    let evidence = evidence::read(place.town.node(department).dir());
    let (mut batches, mut asked) = (0, HashMap::new());
    for kept in evidence.entries.iter().filter(|kept| kept.kind == EntryKind::QuestionReceived) {
        let signed = Signed::decode(kept.message.as_slice()).unwrap();
        let Some(Form::Batch(batch)) = signed.form else { continue };
        batches += 1;
        for item in &batch.items {
            let request = Request::decode(item.as_slice()).unwrap();
            *asked.entry(request.subject.unwrap().value).or_default() += 1;
        }
    }
    (batches, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_a_file_gets_its_own_verdict_or_refusal_and_evidence_of_its_own() {
    let place = town(3).await;
    let stranger = resident(1985, 5, 5, 7);
    let rows = [
        (MARRIED.clone(), "married"),
        (WIDOWED.clone(), "married"),
        (SINGLE.clone(), "single"),
        (stranger.clone(), "married"),
        ("12345".to_owned(), "married"),
        (resident(1986, 6, 6, 8), "abducted by aliens"),
    ];
    let rows = rows.map(|(number, stated)| (number, stated.to_owned()));
    let (people, map) = files(place.dir(), &rows, STATUS);
    let results = place.dir().join("results.csv");
    let told = place.json("housing", &arguments(&people, &map, &results)).await;
    assert_eq!((&told["rows"], &told["job"]["done"], &told["job"]["state"]), (&6.into(), &6.into(), &"done".into()));

    let text = fs::read_to_string(&results).unwrap();
    assert!(text.contains(&format!("\t{}", *MARRIED)), "a long number stays a text: {text}");
    assert!(text.contains("'=1+1") && !text.contains(",=1+1"), "nothing is a formula: {text}");
    let found = read(&results);
    let cell = |number: &str, column: &str| found[number][column].clone();
    let verdict = |number: &str| cell(number, "verdict: marital_status equals");
    assert_eq!((cell(&MARRIED, "state"), verdict(&MARRIED)), ("answered".into(), "match".into()));
    assert_eq!(verdict(&WIDOWED), "mismatch");
    assert_eq!(verdict(&SINGLE), "match", "no entry means single, as the service says");
    assert_eq!(verdict(&stranger), "mismatch");
    let refused = cell("12345", "reason");
    assert_eq!(cell("12345", "state"), "refused");
    assert!(refused.starts_with("SUBJECT_MALFORMED (subject.value)"), "{refused}");
    assert_eq!(cell("12345", "receipt"), "", "it was never asked");
    let refused = cell(&rows[5].0, "reason");
    assert!(refused.starts_with("CLAIM_MALFORMED"), "{refused}");

    // One row's evidence, checked offline with the authority's key alone.
    let receipt = cell(&WIDOWED, "receipt");
    assert!(receipt.ends_with("/1"), "{receipt}");
    let shown = place.json_of("housing", &["evidence", "show", &receipt]).await;
    assert_eq!(shown["case_number"], "GZF-2026-0001", "{shown}");
    let bundle = place.dir().join("one.bundle");
    let file = bundle.to_str().unwrap();
    place.json("housing", &["evidence", "export", &receipt, "-o", file]).await;
    let authority = place.town.authority_key().to_owned();
    let verified = place.json("housing", &["evidence", "verify", file, "--authority", &authority]).await;
    assert!(verified.to_string().contains("attestation"), "{verified}");
    let bytes = fs::read(&bundle).unwrap();
    let shows = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    assert!(shows(&WIDOWED));
    for neighbour in [&*MARRIED, &*SINGLE, "GZF-2026-0000", "GZF-2026-0002"] {
        assert!(!shows(neighbour), "{neighbour} is a neighbour's");
    }
    let mut altered = bytes.clone();
    let at = altered.windows(18).position(|window| window == WIDOWED.as_bytes()).unwrap();
    altered[at] = b'9';
    fs::write(&bundle, altered).unwrap();
    let unsound = place.cli("housing", &["evidence", "verify", file, "--authority", &authority]).await;
    assert_ne!(exit(&unsound), 0, "{}", said(&unsound));
    let whole = receipt.split_once('/').unwrap().0;
    let unnamed = place.cli("housing", &["evidence", "export", whole, "-o", file]).await;
    assert!(said(&unnamed).contains("name one of them"), "{}", said(&unnamed));

    // The same command is the same job: nothing is asked again.
    let again = place.json("housing", &arguments(&people, &map, &results)).await;
    assert_eq!(again["job"]["job"], told["job"]["job"]);
    let listed = place.json("housing", &["batch", "list"]).await;
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1), "{listed}");
    let id = told["job"]["job"].as_str().unwrap();
    assert_eq!(place.json("housing", &["batch", "show", id]).await["matched"], 2);
    place.json("housing", &["batch", "remove", id]).await;
    let (batches, asked) = received(&place, "civil-affairs").await;
    assert_eq!(batches, 2, "six rows by three, of which some were not asked");
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
}

/// So many people who do not exist.
pub(crate) fn people(count: u16) -> Vec<(String, String)> {
    (0..count).map(|number| (resident(1970, 1, 1 + (number % 28) as i8, 1 + number), "single".to_owned())).collect()
}

/// How many rows of the only job have a result.
async fn done(place: &Place) -> u64 {
    let listed: Value = place.json_of("housing", &["batch", "list"]).await;
    listed["jobs"][0]["done"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_killed_on_either_side_goes_on_and_asks_nothing_twice() {
    let place = town(2).await;
    let rows = people(600);
    let (file, map) = files(place.dir(), &rows, STATUS);
    let results = place.dir().join("results.csv");
    let arguments = arguments(&file, &map, &results);
    let killing = async {
        let begun = eventually(PATIENCE, || async { done(&place).await >= 20 });
        assert!(begun.await, "it gets on its way");
        place.town.node("housing").kill();
    };
    let (interrupted, ()) = tokio::join!(place.cli("housing", &arguments), killing);
    assert_ne!(exit(&interrupted), 0, "{}", said(&interrupted));
    assert!(!results.exists(), "what looks finished is");
    place.town.node("housing").start().await.unwrap();
    let before = done(&place).await;
    assert!((4..600).contains(&before), "killed in the middle: {before}");

    // It goes on by itself; then the other side is killed.
    let goes_on = eventually(PATIENCE, || async { done(&place).await >= before + 20 });
    assert!(goes_on.await, "it goes on where it was");
    place.town.node("civil-affairs").kill();
    let waits = eventually(PATIENCE, || async {
        let listed = place.json("housing", &["batch", "list"]).await;
        let job = &listed["jobs"][0];
        job["state"] == "waiting" && job["waiting_for"] == "unreachable" || job["done"] == 600
    });
    assert!(waits.await, "an outage is told");
    place.town.node("civil-affairs").start().await.unwrap();

    let told = place.json("housing", &arguments).await;
    assert_eq!((&told["job"]["done"], &told["job"]["matched"]), (&600.into(), &600.into()), "{told}");
    assert_eq!(read(&results).len(), 600);
    let (batches, asked) = received(&place, "civil-affairs").await;
    assert_eq!((batches, asked.len()), (300, 600));
    assert!(asked.values().all(|times| *times == 1), "each is asked once: {asked:?}");
    // And the asker's evidence has one question and one answer for each batch, but for what never left.
    place.town.node("housing").stop().await.unwrap();
    let own = evidence::read(place.town.node("housing").dir());
    assert_eq!(own.of(EntryKind::AnswerReceived).len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_found_by_single_questions_cannot_be_found_through_batches() {
    let place = town(2).await;
    let days = ["2010-01-01", "2017-01-01", "2017-01-01", "2020-01-01", "2019-01-01", "2018-01-01"];
    let rows = days.map(|day| (MARRIED.clone(), day.to_owned()));
    let after = "[[claim]]\nname = \"registered_on\"\noperator = \"after\"\ncolumn = \"声明\"\n";
    let (file, map) = files(place.dir(), &rows, after);
    let results = place.dir().join("results.csv");
    let told = place.json("housing", &arguments(&file, &map, &results)).await;
    // Three different days are answered, and one of them again; the others are refused, whatever batch they are in.
    assert_eq!((&told["job"]["answered"], &told["job"]["refused"]), (&4.into(), &2.into()), "{told}");
    let text = fs::read_to_string(&results).unwrap();
    assert_eq!(text.matches("GUESS_BUDGET_SPENT").count(), 2, "{text}");
    // The budget is one with that of single questions.
    let single = place.ask(question(&MARRIED, vec![claim("registered_on", "after", "2018-06-01")])).await;
    assert_eq!(single.state(), State::Refused);
    assert_eq!(single.refusal.unwrap().code, "GUESS_BUDGET_SPENT");
    an_office_system_sees_its_own_jobs_alone(&place).await;
}

/// An office system of housing with a key of its own.
struct Desk {
    client: BatchesClient<Channel>,
    key: String,
}

impl Desk {
    async fn new(place: &Place, system: &str) -> Self {
        let added = place.json("housing", &["office-key", "add", system]).await;
        let office = place.town.office("housing").await.unwrap();
        let channel = Endpoint::from_shared(format!("http://{}", office.address())).unwrap().connect_lazy();
        Self { client: BatchesClient::new(channel), key: added["key"].as_str().unwrap().to_owned() }
    }

    /// The client, and a message with the key.
    fn call<M>(&self, message: M) -> (BatchesClient<Channel>, tonic::Request<M>) {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.key).parse().unwrap());
        (self.client.clone(), request)
    }

    /// Hands a job of one row in and waits for its end; its id.
    async fn submit(&self) -> String {
        let header = BatchHeader {
            name: "monthly".into(),
            provider: "civil-affairs".into(),
            service: "marriage-registration".into(),
            service_version: 1,
            claims: vec![claim("marital_status", "equals", "single")],
            purpose: Some(purpose()),
            case_number: "GZF-2026-0100".into(),
            officer: "1024".into(),
            ..BatchHeader::default()
        };
        let subject = Subject { scheme: "resident_id".into(), value: SINGLE.clone() };
        let rows = BatchRows { rows: vec![BatchRow { subject: Some(subject), ..BatchRow::default() }] };
        let parts = [Part::Header(header), Part::Rows(rows)].map(|part| SubmitBatchRequest { part: Some(part) });
        let (mut client, request) = self.call(tokio_stream::iter(parts));
        let mut shown = client.submit(request).await.unwrap().into_inner();
        let mut job = BatchJob::default();
        while let Some(next) = shown.message().await.unwrap() {
            job = next;
        }
        let (mut client, request) = self.call(ShowBatchRequest { job: job.job.clone() });
        let mut changes = client.watch(request).await.unwrap().into_inner();
        while let Some(next) = changes.message().await.unwrap() {
            job = next;
        }
        assert_eq!((job.state.as_str(), job.matched), ("done", 1), "{job:?}");
        job.job
    }

    async fn listed(&self) -> Vec<String> {
        let (mut client, request) = self.call(ListBatchesRequest {});
        client.list_batches(request).await.unwrap().into_inner().jobs.into_iter().map(|job| job.job).collect()
    }
}

/// That no other system sees or touches it, and an operator does.
async fn an_office_system_sees_its_own_jobs_alone(place: &Place) {
    let (desk, other) = (Desk::new(place, "desk-1").await, Desk::new(place, "desk-2").await);
    let job = desk.submit().await;
    assert_eq!(desk.listed().await, [job.as_str()]);
    assert_eq!(other.listed().await, [""; 0]);
    let (mut client, request) = other.call(ShowBatchRequest { job: job.clone() });
    assert_eq!(client.show_batch(request).await.unwrap_err().code(), Code::NotFound);
    let (mut client, request) = other.call(ShowBatchRequest { job: job.clone() });
    assert_eq!(client.watch(request).await.unwrap_err().code(), Code::NotFound);
    let (mut client, request) = other.call(BatchResultsRequest { job: job.clone(), from_row: 0 });
    assert_eq!(client.results(request).await.unwrap_err().code(), Code::NotFound);
    let (mut client, request) = other.call(ShowBatchRequest { job: job.clone() });
    assert_eq!(client.remove(request).await.unwrap_err().code(), Code::NotFound);
    // The same name is another job to another system.
    assert_ne!(other.submit().await, job);
    let shown = place.json("housing", &["batch", "show", &job]).await;
    assert_eq!((&shown["done"], &shown["matched"]), (&1.into(), &1.into()), "{shown}");
    let (mut client, request) = desk.call(BatchResultsRequest { job: job.clone(), from_row: 0 });
    let results = client.results(request).await.unwrap().into_inner().results;
    assert_eq!(results[0].verdicts[0].verdict(), proto::exchange::v1::Verdict::Match, "{results:?}");
    let (mut client, request) = desk.call(ShowBatchRequest { job: job.clone() });
    client.remove(request).await.unwrap();
    assert_eq!(desk.listed().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_for_each_second_slows_a_job_down_and_refuses_nothing() {
    let quota = Quota { per_second: 20, ..Quota::default() };
    let place = Place::start(|plan, dir| {
        let scope = housings_scope().at_most(quota);
        plan.department("civil-affairs").service(MARRIAGE, dir.join("marriage.csv")).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            scope,
        )
    })
    .await;
    let (file, map) = files(place.dir(), &people(70), STATUS);
    let results = place.dir().join("results.csv");
    let told = place.json("housing", &arguments(&file, &map, &results)).await;
    assert_eq!((&told["job"]["answered"], &told["job"]["refused"]), (&70.into(), &0.into()), "{told}");
    let (batches, asked) = received(&place, "civil-affairs").await;
    assert!(batches >= 4, "70 rows at 20 in a second: {batches}");
    assert_eq!(asked.len(), 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_from_postgresql_and_sqlite_as_single_questions_are() {
    let Some(scratch) = postgres_server::scratch("a_batch_is_answered_from_postgresql_and_sqlite").await else {
        return;
    };
    let old = format!("{}{}", &MARRIED[..6], &MARRIED[8..17]);
    scratch.sql(&format!(
        "CREATE TABLE marriages (number char(18) NOT NULL, state smallint, registered text);
         INSERT INTO marriages VALUES ('{old}', 20, '2018-05-20'), ('{}', 40, '2021-11-03');
         CREATE INDEX ON marriages (number); ANALYZE marriages",
        *WIDOWED
    ));
    let place = town(100).await;
    let node = place.town.node("civil-affairs");
    node.stop().await.unwrap();
    let sources = |kind: &str| {
        format!(
            "[sources.civil]\n{kind}timeout_ms = 20000\n\n[services.marriage-registration]\nsource = \"civil\"\n\
             query = '''SELECT state, registered FROM marriages WHERE number IN (:subject, :subject_15) -- one of both'''\n\
             [services.marriage-registration.columns.marital_status]\nfrom = \"state\"\n\
             codes = {{ \"10\" = \"single\", \"20\" = \"married\", \"40\" = \"widowed\" }}\n\
             [services.marriage-registration.columns.registered_on]\nfrom = \"registered\"\n"
        )
    };
    let postgres = format!(
        "kind = \"postgres\"\nhost = \"{}\"\ndatabase = \"{}\"\nuser = \"{}\"\n",
        scratch.server().socket().display(),
        scratch.database(),
        postgres_server::USER
    );
    fs::write(node.dir().join("sources.toml"), sources(&postgres)).unwrap();
    node.start().await.unwrap();
    let mut rows = people(150);
    rows.insert(3, (MARRIED.clone(), "married".into()));
    rows.insert(120, (WIDOWED.clone(), "married".into()));
    let (file, map) = files(place.dir(), &rows, STATUS);
    let results = place.dir().join("results.csv");
    let told = place.json("housing", &arguments(&file, &map, &results)).await;
    let job = &told["job"];
    assert_eq!(
        (&job["matched"], &job["mismatched"], &job["unavailable"]),
        (&151.into(), &1.into(), &0.into()),
        "{told}"
    );
    assert_eq!(read(&results)[WIDOWED.as_str()]["verdict: marital_status equals"], "mismatch");

    // While the database is away, a row is unavailable, and nothing else.
    scratch.sql("DROP TABLE marriages");
    let (file, map) = files(place.dir(), &rows[..5], STATUS);
    let told = place.json("housing", &arguments(&file, &map, &results)).await;
    assert_eq!(told["job"]["unavailable"], 5, "{told}");

    // The same from a file of SQLite: more than fit into one statement.
    node.stop().await.unwrap();
    sqlite(
        &node.dir().join("marriages.db"),
        &format!(
            "CREATE TABLE marriages (number TEXT PRIMARY KEY, state INTEGER, registered TEXT);
             INSERT INTO marriages VALUES ('{old}', 20, '2018-05-20'), ('{}', 40, '2021-11-03')",
            *WIDOWED
        ),
    );
    fs::write(node.dir().join("sources.toml"), sources("kind = \"sqlite\"\npath = \"marriages.db\"\n")).unwrap();
    node.start().await.unwrap();
    let (file, map) = files(place.dir(), &rows[..130], STATUS);
    let told = place.json("housing", &arguments(&file, &map, &results)).await;
    let job = &told["job"];
    assert_eq!(
        (&job["matched"], &job["mismatched"], &job["unavailable"]),
        (&129.into(), &1.into(), &0.into()),
        "{told}"
    );
}
