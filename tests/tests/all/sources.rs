//! Records where they are: services answered from real PostgreSQL, MariaDB and SQLite. What is mapped, that nothing can be
//! written, that trouble is never a verdict, and what an operator sees. Out of scope: imported records, folders, HTTP.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proto::{exchange::v1::Verdict, office::v1::VerifyResponse};
use town::harness::{Office, Scope, eventually};

use crate::{
    bulk::{STATUS, arguments, files, people},
    mariadb_server, postgres_server,
    support::{
        BASIS, ITEM, MARRIAGE, MARRIED, Place, SINGLE, WIDOWED, claim, document::Document, exit, housings_scope,
        marital_status, question, resident, said, skip, verdict,
    },
};

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the marriage register is asked in every database.
const COLUMNS: &str = "[services.marriage-registration.columns.marital_status]\nfrom = \"state\"\n\
    codes = { \"10\" = \"single\", \"20\" = \"married\", \"30\" = \"divorced\", \"40\" = \"widowed\" }\n\
    [services.marriage-registration.columns.registered_on]\nfrom = \"registered\"\n";

/// Civil affairs, whose marriage register is not imported, and housing.
async fn town() -> Place {
    Place::start(|plan, _| {
        plan.department("civil-affairs").service_without_records(MARRIAGE).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            housings_scope(),
        )
    })
    .await
}

/// Gives civil affairs this file, from a new start of its node on.
async fn configure(place: &Place, sources: &str) {
    let node = place.town.node("civil-affairs");
    node.stop().await.unwrap();
    fs::write(node.dir().join("sources.toml"), sources).unwrap();
    node.start().await.unwrap();
}

fn postgres(scratch: &postgres_server::Scratch, query: &str) -> String {
    format!(
        "[sources.civil]\nkind = \"postgres\"\nhost = \"{}\"\ndatabase = \"{}\"\nuser = \"{}\"\ntimeout_ms = 2000\npause = \"1s\"\n\n\
         [services.marriage-registration]\nsource = \"civil\"\nquery = '''{query}'''\n{COLUMNS}",
        scratch.server().socket().display(),
        scratch.database(),
        postgres_server::USER
    )
}

/// The same from MariaDB, with the password in a file of its own.
fn mysql(place: &Place, server: &mariadb_server::Server, query: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let file = place.town.node("civil-affairs").dir().join("keys/civil.password");
    fs::write(&file, format!("{}\n", mariadb_server::PASSWORD)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "[sources.civil]\nkind = \"mysql\"\nhost = \"{}\"\ndatabase = \"{}\"\nuser = \"{}\"\npassword_file = \"keys/civil.password\"\n\
         timeout_ms = 2000\npause = \"1s\"\n\n[services.marriage-registration]\nsource = \"civil\"\nquery = '''{query}'''\n{COLUMNS}",
        server.socket().display(),
        mariadb_server::DATABASE,
        mariadb_server::READER
    )
}

/// Makes or changes a file of SQLite.
pub(crate) fn sqlite(file: &std::path::Path, sql: &str) {
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.commit()";
    let output = Command::new("python3").args(["-c", script]).arg(file).arg(sql).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// Debian's driver for SQLite, where it lies on this kind of machine.
fn odbc_driver() -> String {
    let libraries = fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let driver = libraries.map(|folder| folder.join("odbc/libsqlite3odbc.so")).find(|driver| driver.exists());
    driver.expect("libsqliteodbc").display().to_string()
}

fn old_form(number: &str) -> String {
    format!("{}{}", &number[..6], &number[8..17])
}

fn outcome(answer: &VerifyResponse) -> (Verdict, String) {
    (verdict(answer).verdict(), verdict(answer).reason.clone())
}

/// That the same question gets this verdict before long: a source that was down comes back by itself.
async fn comes_to(place: &Place, subject: &str, status: &str, expected: Verdict) {
    let came = eventually(PATIENCE, || async {
        let answer = place.ask(marital_status(subject, status)).await;
        answer.verdicts.first().is_some_and(|claim| claim.verdict() == expected)
    });
    assert!(came.await, "{expected:?} never comes");
}

const QUERY: &str = "SELECT state, registered FROM marriages WHERE number IN (:subject, :subject_15, :subject_lower)";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_in_postgresql_answers_and_what_it_cannot_say_is_unavailable() {
    let Some(scratch) = postgres_server::scratch("a_table_in_postgresql_answers").await else { return };
    let (unmapped, without_date) = (resident(1971, 2, 3, 11), resident(1972, 2, 3, 11));
    scratch.sql(&format!(
        "CREATE TABLE marriages (number char(18) NOT NULL, state smallint, registered text);
         INSERT INTO marriages VALUES ('{}', 20, '２０１８年5月20日'), ('{}', 40, '20211103'), ('{unmapped}', 77, '2020/1/2'),
           ('{without_date}', 20, '05/20/2018'), ('{without_date}', 20, NULL);
         INSERT INTO marriages SELECT 'x' || n, 10, '20200101' FROM generate_series(1, 2000) n; ANALYZE marriages",
        old_form(&MARRIED),
        WIDOWED.to_lowercase(),
    ));
    let place = town().await;
    configure(&place, &postgres(&scratch, QUERY)).await;

    // Stored under the number of fifteen digits, as a code, with the date as people write it.
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;
    let answer = place.ask(question(&MARRIED, vec![claim("registered_on", "equals", "2018-05-20")])).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Match);
    let mismatch = place.ask(marital_status(&WIDOWED, "married")).await;
    assert_eq!(verdict(&mismatch).verdict(), Verdict::Mismatch);
    let absent = place.ask(marital_status(&SINGLE, "single")).await;
    assert_eq!((verdict(&absent).verdict(), verdict(&absent).by_absence), (Verdict::Match, true));
    let day = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(8))).date();
    let age = day.since(answer.record_as_of.parse::<jiff::civil::Date>().unwrap()).unwrap().get_days();
    assert!((0..=1).contains(&age), "as fresh as the question: {}", answer.record_as_of);

    // A code that nobody named is no guess, and no mismatch; neither is a date that could be another one.
    let answer = place.ask(marital_status(&unmapped, "married")).await;
    assert_eq!(outcome(&answer), (Verdict::Unavailable, "not_comparable".to_owned()));
    let answer = place.ask(question(&without_date, vec![claim("registered_on", "equals", "2018-05-20")])).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Unavailable);

    // The operator sees each step; nobody else does.
    let arguments =
        ["records", "check", "marriage-registration", "--subject-stdin", "--claim", "marital_status=married", "--json"];
    let checked = place.town.cli_with_input("civil-affairs", &arguments, &format!("{unmapped}\n")).await.unwrap();
    assert_eq!(exit(&checked), 0, "{}", said(&checked));
    let shown: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert!(shown["sources"][0]["asked"].as_str().unwrap().contains(":subject_15"), "{shown}");
    assert_eq!(shown["sources"][0]["rows"][0], serde_json::json!(["77", "2020/1/2"]), "{shown}");
    assert!(shown["sources"][0]["notes"][0].as_str().unwrap().contains("`codes` does not name"), "{shown}");
    assert_eq!(shown["rows"][0]["registered_on"], "2020-01-02", "{shown}");
    assert_eq!(shown["verdicts"][0]["verdict"], "UNAVAILABLE", "{shown}");
    let log = fs::read_to_string(place.town.node("civil-affairs").log()).unwrap();
    for private in [&unmapped, &*MARRIED, &old_form(&MARRIED)] {
        assert!(!log.contains(private), "the log holds {private}");
    }
    assert!(log.contains("column marital_status: "), "{log}");

    // Without an index the doctor says so, and with the plan; with one it does not.
    let found = doctor(&place).await;
    assert!(found.contains("no index helps") && found.contains("Seq Scan"), "{found}");
    assert!(found.contains("may be null"), "{found}");
    scratch.sql("CREATE INDEX ON marriages (number); ANALYZE marriages");
    let found = doctor(&place).await;
    assert!(!found.contains("no index helps"), "{found}");
    place.town.stop().await.unwrap();
}

/// What the doctor finds about civil affairs' records.
async fn doctor(place: &Place) -> String {
    let output = place.cli("civil-affairs", &["doctor", "--json"]).await;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap();
    let records = findings.iter().filter(|finding| finding["check"].as_str().unwrap().starts_with("records of"));
    records.map(|finding| finding["found"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_can_write_to_postgresql() {
    let Some(scratch) = postgres_server::scratch("no_query_can_write_to_postgresql").await else { return };
    scratch.sql(
        "CREATE TABLE visits (number text);
         CREATE FUNCTION visit(n text) RETURNS text LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO visits VALUES (n); RETURN '20'; END $$;
         CREATE FUNCTION reading(n text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN '20'; END $$",
    );
    let place = town().await;
    // The same query with a function that only reads shows that it is the writing that fails.
    let query = |function: &str| format!("SELECT {function}(:subject) AS state, '20180520' AS registered");
    configure(&place, &postgres(&scratch, &query("reading"))).await;
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;
    // Nor does a query that takes its session's own lock off, now or for the next question.
    let unlocked = "SELECT set_config('default_transaction_read_only', 'off', false) || set_config('transaction_read_only', \
                    'off', true) || visit(:subject) AS state, '20180520' AS registered";
    let sneaky = "SELECT CASE set_config('default_transaction_read_only', 'off', false) WHEN 'off' THEN visit(:subject) END AS \
                  state, '20180520' AS registered";
    for query in [query("visit").as_str(), unlocked, sneaky] {
        configure(&place, &postgres(&scratch, query)).await;
        for _ in 0..3 {
            let answer = place.ask(marital_status(&MARRIED, "married")).await;
            assert_eq!(outcome(&answer), (Verdict::Unavailable, "source_down".to_owned()), "{query}");
        }
    }
    let log = fs::read_to_string(place.town.node("civil-affairs").log()).unwrap();
    assert!(log.contains("read-only transaction"), "{log}");
    assert_eq!(scratch.sql("SELECT count(*) FROM visits"), "0");
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_answers_cannot_be_written_to_and_comes_back_by_itself() {
    let Some(mut server) = mariadb_server::own().await else {
        skip(
            "mariadb_answers_cannot_be_written_to_and_comes_back_by_itself",
            "MariaDB is not installed on this machine",
        );
        return;
    };
    server.sql(&format!(
        "CREATE TABLE marriages (number CHAR(18) PRIMARY KEY, state TINYINT UNSIGNED, registered DATE, paid DECIMAL(10,2));
         INSERT INTO marriages VALUES ('{}', 20, '2018-05-20', 9.90), ('{}', 40, '2021-11-03', 0);
         CREATE TABLE visits (number VARCHAR(40)); CREATE TABLE knob (seconds INT); INSERT INTO knob VALUES (0)",
        old_form(&MARRIED),
        *WIDOWED
    ));
    server.whole(
        "CREATE FUNCTION visit(n VARCHAR(40)) RETURNS VARCHAR(4) MODIFIES SQL DATA BEGIN INSERT INTO visits VALUES (n); \
         RETURN '20'; END",
    );
    let place = town().await;
    configure(&place, &mysql(&place, &server, "SELECT visit(:subject) AS state, DATE '2018-05-20' AS registered"))
        .await;
    for _ in 0..2 {
        let answer = place.ask(marital_status(&MARRIED, "married")).await;
        assert_eq!(outcome(&answer), (Verdict::Unavailable, "source_down".to_owned()));
    }
    assert_eq!(server.sql("SELECT COUNT(*) FROM visits"), "0");
    let log = fs::read_to_string(place.town.node("civil-affairs").log()).unwrap();
    assert!(log.contains("READ ONLY") && !log.contains(mariadb_server::PASSWORD), "{log}");

    let query = "SELECT state, registered FROM marriages WHERE number IN (:subject, :subject_15) \
                 AND SLEEP((SELECT seconds FROM knob)) = 0";
    configure(&place, &mysql(&place, &server, query)).await;
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;
    comes_to(&place, &WIDOWED, "married", Verdict::Mismatch).await;
    let found = doctor(&place).await;
    assert!(!found.contains("no index helps") && found.contains("column marital_status may be null"), "{found}");
    many_in_one_pass(&place, &server).await;

    let asking = Asking::begin(&place).await;
    server.sql("UPDATE knob SET seconds = 30");
    comes_to(&place, &MARRIED, "married", Verdict::Unavailable).await;
    server.sql("UPDATE knob SET seconds = 0");
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;
    tokio::task::block_in_place(|| server.kill());
    comes_to(&place, &MARRIED, "married", Verdict::Unavailable).await;
    tokio::task::block_in_place(|| server.run());
    // This server does not write each change through: what was said last may be undone by the kill.
    server.sql("UPDATE knob SET seconds = 0");
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;
    asking.end_without_a_wrong_verdict().await;
    a_query_ends_at_mariadb_once_nobody_waits(&place, &server).await;
    place.town.stop().await.unwrap();
}

/// The service promises a second, the source would have a minute, and the query takes hours of work, in which the server does
/// not look whether anybody is there. It is told, by a user who has no right over others.
async fn a_query_ends_at_mariadb_once_nobody_waits(place: &Place, server: &mariadb_server::Server) {
    let query = "SELECT state, registered FROM marriages WHERE number IN (:subject, :subject_15) \
                 AND BENCHMARK((SELECT seconds FROM knob) * 1000000000, SHA2(number, 512)) = 0";
    configure(place, &mysql(place, server, query).replace("timeout_ms = 2000", "timeout_ms = 60000")).await;
    comes_to(place, &MARRIED, "married", Verdict::Match).await;
    let asked = |sql: &str| tokio::task::block_in_place(|| server.sql(sql));
    let told = "SHOW GLOBAL STATUS LIKE 'Com_kill'";
    let before = asked(told);
    server.sql("UPDATE knob SET seconds = 30");
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Unavailable, "{answer:?}");
    let running = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}' AND command IN ('Execute', 'Query')",
        mariadb_server::READER
    );
    let has_ended = async || asked(told) != before && asked(&running) == "0";
    assert!(eventually(Duration::from_secs(25), has_ended).await, "the server goes on for nobody");
    server.sql("UPDATE knob SET seconds = 0");
    comes_to(place, &MARRIED, "married", Verdict::Match).await;
}

/// That the rows of a batch are found as each alone, in a few statements.
async fn many_in_one_pass(place: &Place, server: &mariadb_server::Server) {
    let mut rows = people(120);
    rows.insert(7, (MARRIED.clone(), "married".to_owned()));
    rows.push((WIDOWED.clone(), "married".to_owned()));
    let (file, map) = files(place.dir(), &rows, STATUS);
    let results = place.dir().join("results.csv");
    let executed = || {
        let counted = server.sql("SHOW GLOBAL STATUS LIKE 'Com_stmt_execute'");
        counted.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    let before = executed();
    let told = place.json("housing", &arguments(&file, &map, &results)).await;
    let job = &told["job"];
    assert_eq!(
        (&job["matched"], &job["mismatched"], &job["unavailable"]),
        (&121.into(), &1.into(), &0.into()),
        "{told}"
    );
    let statements = executed() - before;
    assert!((1..30).contains(&statements), "{statements} statements for {} rows", rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_that_is_slowed_killed_and_restarted_gives_no_wrong_verdict() {
    let Some(mut scratch) = postgres_server::own("postgresql_that_is_slowed_killed_and_restarted").await else {
        return;
    };
    scratch.sql(&format!(
        "CREATE TABLE marriages (number char(18) PRIMARY KEY, state smallint, registered date);
         INSERT INTO marriages VALUES ('{}', 20, '2018-05-20');
         CREATE TABLE knob (seconds float8); INSERT INTO knob VALUES (0);
         CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS
           $$ BEGIN PERFORM pg_sleep((SELECT seconds FROM knob)); RETURN true; END $$",
        *MARRIED
    ));
    let place = town().await;
    configure(
        &place,
        &postgres(&scratch, "SELECT state, registered FROM marriages WHERE number = :subject AND slow()"),
    )
    .await;
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;
    let asking = Asking::begin(&place).await;

    scratch.sql("UPDATE knob SET seconds = 30");
    comes_to(&place, &MARRIED, "married", Verdict::Unavailable).await;
    scratch.sql("UPDATE knob SET seconds = 0");
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;

    // Sessions that an administrator ends, all of them: nobody even notices, or is UNAVAILABLE for a moment.
    scratch.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'exchange-node'");
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;

    tokio::task::block_in_place(|| scratch.own_server().stop());
    comes_to(&place, &MARRIED, "married", Verdict::Unavailable).await;
    tokio::task::block_in_place(|| scratch.own_server().run(&[]));
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;
    asking.end_without_a_wrong_verdict().await;

    // A query ends at the server once nobody waits for it: the service promises a second, the source would have a minute, and
    // the query takes five.
    scratch.sql("UPDATE knob SET seconds = 300");
    let query = "SELECT state, registered FROM marriages WHERE number = :subject AND slow()";
    configure(&place, &postgres(&scratch, query).replace("timeout_ms = 2000", "timeout_ms = 60000")).await;
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), Verdict::Unavailable, "{answer:?}");
    let running = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'exchange-node' AND state = 'active'";
    let has_ended = async || tokio::task::block_in_place(|| scratch.sql(running)).trim() == "0";
    assert!(eventually(Duration::from_secs(25), has_ended).await, "the server goes on for nobody");
    scratch.sql("UPDATE knob SET seconds = 0");
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;

    // A node that starts while the database is down serves, and answers once it is back.
    let node = place.town.node("civil-affairs");
    node.stop().await.unwrap();
    tokio::task::block_in_place(|| scratch.own_server().stop());
    node.start().await.unwrap();
    comes_to(&place, &MARRIED, "married", Verdict::Unavailable).await;
    tokio::task::block_in_place(|| scratch.own_server().run(&[]));
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;
    place.town.stop().await.unwrap();
}

/// Somebody who goes on asking while things happen, and is to be told the truth or nothing.
struct Asking {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Vec<(String, Verdict, bool)>>>,
}

impl Asking {
    async fn begin(place: &Place) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        // One who is married, and one of whom the complete register has no row.
        for (subject, status) in
            [(&*MARRIED, "married"), (&*SINGLE, "single"), (&*MARRIED, "single"), (&*SINGLE, "married")]
        {
            let office: Office = place.town.office("housing").await.unwrap();
            let (stop, question) = (Arc::clone(&stop), marital_status(subject, status));
            let name = format!("{}{status}", if *subject == *MARRIED { "married? " } else { "single? " });
            tasks.push(tokio::spawn(async move {
                let mut told = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let answer = office.verify(question.clone()).await.unwrap();
                    for claim in answer.verdicts {
                        told.push((name.clone(), claim.verdict(), claim.by_absence));
                    }
                    // As people ask, not as fast as a machine can: a database that starts needs the processor too.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                told
            }));
        }
        Self { stop, tasks }
    }

    async fn end_without_a_wrong_verdict(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            let told = task.await.unwrap();
            assert!(!told.is_empty());
            for (name, verdict, by_absence) in told {
                let right = match name.as_str() {
                    "married? married" => (Verdict::Match, false),
                    "married? single" => (Verdict::Mismatch, false),
                    "single? single" => (Verdict::Match, true),
                    _ => (Verdict::Mismatch, true),
                };
                assert!(
                    verdict == Verdict::Unavailable || (verdict, by_absence) == right,
                    "{name}: {verdict:?}, {by_absence}"
                );
            }
        }
    }
}

/// The providers' guide, from the table to the answering service, in both languages.
#[tokio::test(flavor = "multi_thread")]
async fn the_providers_guide_leads_from_a_table_to_an_answering_service() {
    let Some(scratch) = postgres_server::scratch("the_providers_guide_leads").await else { return };
    let guide = Document::read("docs/providers.md");
    let chinese = Document::read("docs/providers.zh.md");
    let shown = |document: &Document| {
        document.blocks.iter().map(|block| (block.mark.clone(), block.text.clone())).collect::<Vec<_>>()
    };
    assert_eq!(shown(&guide), shown(&chinese));
    let file = |name: &str| {
        let mark = format!("file: {name}");
        guide.blocks.iter().find(|block| block.mark == mark).unwrap_or_else(|| panic!("{mark}")).text.clone()
    };
    scratch.sql(&file("table.sql"));
    let place = town().await;
    let node = place.town.node("civil-affairs");
    let sources = file("sources.toml")
        .replace("\"/run/postgresql\"", &format!("\"{}\"", scratch.server().socket().display()))
        .replace("\"civil\"\nuser", &format!("\"{}\"\nuser", scratch.database()));
    fs::write(node.dir().join("sources.toml"), &sources).unwrap();
    let run = |block: &str| {
        let path = format!("{}:{}", place.town.programs().dir().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &guide.tested(block).text]);
        let output = command.env("PATH", path).env("EXCHANGE_DIR", node.dir()).output().unwrap();
        assert!(output.status.success(), "{block}: {}", said(&output));
        said(&output)
    };
    assert!(run("check").contains("The configuration can be read."));
    configure(&place, &sources).await;
    let looked = run("look");
    assert!(looked.contains("they are in civil, and fit the service") && looked.contains("MATCH"), "{looked}");
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;
    place.town.stop().await.unwrap();
}

const PENSION: &str = "service: pension\nversion: \"1.0\"\nname: {zh: 养老金}\nsubject: [resident_id]\nsharing: conditional\n\
    legal_basis: [\"社会保险法 16\"]\nupdate_cycle: daily\nattributes:\n\
    \x20 amount: {type: decimal, operators: [equals, at_least], rows: sum}\n\
    \x20 months: {type: integer, operators: [equals, at_least], rows: count, absence: 0}\n\
    \x20 office: {type: string, operators: [equals], rows: latest paid_on}\n\
    \x20 kind: {type: string, operators: [equals], rows: any}\n\
    inputs:\n  year: {type: integer}\ncomplete: {territory: [\"890000\"], since: 2015-03-01}\n";

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_sqlite_are_summed_counted_and_selected_and_two_sources_must_agree() {
    let place = Place::start(|plan, _| {
        let scope = Scope::of("amount", &["equals", "at_least"])
            .and("months", &["equals"])
            .and("office", &["equals"])
            .and("kind", &["equals"])
            .for_item(ITEM)
            .on(&[BASIS]);
        plan.department("civil-affairs").service_without_records(PENSION).department("housing").granting(
            "civil-affairs/pension",
            "housing",
            scope,
        )
    })
    .await;
    let dir = place.town.node("civil-affairs").dir().to_owned();
    let rows = format!(
        "CREATE TABLE payments (id TEXT, year INTEGER, paid_on TEXT, amount TEXT, office TEXT, kind TEXT);
         CREATE INDEX payments_id ON payments (id);
         INSERT INTO payments VALUES ('{0}', 2024, '2024-12-05', '1200.10', '东区', 'urban'),
           ('{0}', 2025, '2025-01-05', '1300.20', '东区', 'urban'), ('{0}', 2025, '2025-02-05', '1300.30', '西区', 'rural'),
           ('{1}', 2025, '2025-01-05', '900', '东区', 'urban'), ('{1}', 2025, '2025-02-05', NULL, '东区', 'urban')",
        *MARRIED, *WIDOWED
    );
    sqlite(&dir.join("payments.db"), &rows);
    sqlite(&dir.join("second.db"), &rows);
    let sources = "[sources.fund]\nkind = \"sqlite\"\npath = \"payments.db\"\n[sources.bank]\nkind = \"sqlite\"\npath = \"second.db\"\n\
        [services.pension]\nsource = \"fund\"\nquery = \"SELECT amount, office, kind, paid_on, year FROM payments WHERE id = :subject \
        AND (:year IS NULL OR year = :year)\"\n";
    configure(&place, sources).await;
    let ask = async |subject: &str, year: Option<&str>, attribute: &str, operator: &str, value: &str| {
        let mut question = question(subject, vec![claim(attribute, operator, value)]);
        question.service = "pension".into();
        let text = |year: &str| proto::exchange::v1::Value {
            kind: Some(proto::exchange::v1::value::Kind::Text(year.to_owned())),
        };
        question
            .inputs
            .extend(year.map(|year| proto::exchange::v1::Input { name: "year".into(), value: Some(text(year)) }));
        outcome(&place.ask(question).await)
    };
    let matches = (Verdict::Match, String::new());
    assert_eq!(ask(&MARRIED, Some("2025"), "amount", "equals", "2600.50").await, matches);
    assert_eq!(ask(&MARRIED, None, "amount", "equals", "3800.60").await, matches);
    assert_eq!(ask(&MARRIED, Some("2025"), "months", "equals", "2").await, matches);
    assert_eq!(ask(&MARRIED, None, "months", "equals", "3").await, matches);
    assert_eq!(ask(&MARRIED, None, "office", "equals", "西区").await, matches);
    assert_eq!(ask(&MARRIED, Some("2024"), "office", "equals", "东区").await, matches);
    assert_eq!(ask(&MARRIED, Some("2025"), "kind", "equals", "urban").await, matches);
    assert_eq!(ask(&SINGLE, Some("2025"), "months", "equals", "0").await, matches);
    assert_eq!(ask(&SINGLE, Some("2025"), "amount", "equals", "0").await.0, Verdict::NoRecord);
    // One payment without its amount: no sum is right.
    let missing = ask(&WIDOWED, Some("2025"), "amount", "at_least", "1").await;
    assert_eq!(missing, (Verdict::Unavailable, "missing_value".to_owned()));
    assert_eq!(ask(&WIDOWED, Some("2025"), "months", "equals", "2").await, matches);

    let second = "must_agree_with = { source = \"bank\", query = \"SELECT * FROM payments WHERE id = :subject\" }\n";
    configure(&place, &format!("{sources}{second}")).await;
    assert_eq!(ask(&MARRIED, Some("2025"), "amount", "equals", "2600.50").await, matches);
    sqlite(&dir.join("second.db"), "UPDATE payments SET amount = '1300.31' WHERE paid_on = '2025-02-05'");
    let disagree = ask(&MARRIED, Some("2025"), "amount", "equals", "2600.50").await;
    assert_eq!(disagree, (Verdict::Unavailable, "source_down".to_owned()));
    assert_eq!(ask(&MARRIED, Some("2024"), "amount", "equals", "1200.1").await, matches);

    if std::env::var_os("ERRAND_ODBC").is_none_or(|set| set != "1") {
        skip("records by ODBC", "it needs the packages unixodbc-dev and libsqliteodbc, which ERRAND_ODBC=1 installs");
        return place.town.stop().await.unwrap();
    }
    // The same file by way of ODBC: what it says, and that its loss is no verdict.
    let driver = odbc_driver();
    let by_odbc = |file: &str| {
        let link = format!("kind = \"odbc\"\nconnection = \"Driver={driver};Database={}\"", dir.join(file).display());
        sources.replace("kind = \"sqlite\"\npath = \"payments.db\"", &link)
    };
    configure(&place, &by_odbc("payments.db")).await;
    assert_eq!(ask(&MARRIED, Some("2025"), "amount", "equals", "2600.50").await, matches);
    assert_eq!(ask(&MARRIED, None, "amount", "equals", "3800.60").await, matches);
    assert_eq!(ask(&MARRIED, None, "office", "equals", "西区").await, matches);
    assert_eq!(ask(&SINGLE, Some("2025"), "months", "equals", "0").await, matches);
    let missing = ask(&WIDOWED, Some("2025"), "amount", "at_least", "1").await;
    assert_eq!(missing, (Verdict::Unavailable, "missing_value".to_owned()));
    let doctored = place.cli("civil-affairs", &["doctor"]).await;
    assert!(said(&doctored).contains("cannot be seen by ODBC"), "{}", said(&doctored));
    configure(&place, &by_odbc("nowhere/payments.db")).await;
    let down = ask(&MARRIED, Some("2025"), "amount", "equals", "2600.50").await;
    assert_eq!(down, (Verdict::Unavailable, "source_down".to_owned()));
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_sources_toml_is_named_before_the_start_and_at_it() {
    let place = town().await;
    let node = place.town.node("civil-affairs");
    node.stop().await.unwrap();
    let file = node.dir().join("sources.toml");
    fs::write(
        &file,
        "[sources.a]\nkind = \"postgres\"\nhost = \"db.example\"\ntls = \"off\"\nuser = \"u\"\npasswort = \"p\"\n\
        [services.marriage-registration]\nsource = \"b\"\nquery = \"SELECT 1\"\n",
    )
    .unwrap();
    let checked = place.cli("civil-affairs", &["config", "check"]).await;
    assert_eq!(exit(&checked), 2, "{}", said(&checked));
    let told = said(&checked);
    for expected in [
        "line 4, field `sources.a.tls`: can be off only",
        "line 6, field `sources.a.passwort`: there is no such field",
        "line 1, field `sources.a.database`: is missing",
        "line 8, field `services.marriage-registration.source`: there is no right table",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let doctored = place.cli("civil-affairs", &["doctor"]).await;
    assert!(said(&doctored).contains("passwort"), "{}", said(&doctored));
    assert!(node.start().await.is_err(), "the node does not start on half of its configuration");
    fs::write(&file, "[sources.a]\nkind = \"sqlite\"\npath = \"nowhere.db\"\n").unwrap();
    let checked = place.cli("civil-affairs", &["config", "check", "--json"]).await;
    assert!(said(&checked).contains("there is no file"), "{}", said(&checked));
    fs::remove_file(&file).unwrap();
    let checked = place.cli("civil-affairs", &["config", "check"]).await;
    assert_eq!(exit(&checked), 0, "{}", said(&checked));
    node.start().await.unwrap();
    place.town.stop().await.unwrap();
}
