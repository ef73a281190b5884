//! That no connection can write, whatever is asked over it, shown on SQLite, which needs no server; PostgreSQL and MariaDB
//! are among the scenarios. And that a file which another program replaces or locks is trouble, never an empty register.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use trust::subject::resident_number::ResidentNumber;

use super::*;
use crate::sources::raw::Raw;

async fn writer(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

fn service() -> Arc<Service> {
    let published = trust::fixture::marriage_registration();
    Arc::new(Service::check(&published, trust::ids::Digest::new([7; 32])).unwrap())
}

fn asked() -> Asked {
    let subject = Subject::parse_as(Scheme::ResidentId, "11010519491231002X").unwrap();
    Asked { service: service(), subject, inputs: Vec::new() }
}

fn database(path: &Path) -> Database {
    let bounds = Bounds { timeout: Duration::from_secs(20), ..Bounds::default() };
    Database::sqlite(path, bounds).unwrap()
}

#[tokio::test]
async fn nothing_that_is_asked_of_sqlite_can_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let mut writer = writer(&path).await;
    writer
        .execute("CREATE TABLE t (id TEXT, state TEXT); INSERT INTO t VALUES ('11010519491231002X', '20')")
        .await
        .unwrap();
    let database = database(&path);
    let reads = database.asked_by(Query::parse("SELECT state FROM t WHERE id = :subject").unwrap());
    assert_eq!(reads.fetch(asked()).await.unwrap().rows, [[Raw::Text("20".to_owned())]]);
    for text in [
        "DELETE FROM t WHERE id = :subject RETURNING state",
        "UPDATE t SET state = '10' WHERE id = :subject RETURNING state",
        "INSERT INTO t VALUES (:subject, '30') RETURNING state",
        "CREATE TABLE u AS SELECT :subject AS id",
    ] {
        // Past the check of its words.
        let refused = database.asked_by(Query::unchecked(text)).fetch(asked()).await.unwrap_err();
        assert!(
            refused.to_string().contains("readonly") || refused.to_string().contains("read-only"),
            "{text}: {refused}"
        );
    }
    // Nor after a query that takes the session's own lock off: the file itself was opened for reading.
    let unlock = database.asked_by(Query::unchecked("PRAGMA query_only = OFF")).fetch(Asked { ..asked() }).await;
    assert!(unlock.is_ok(), "{unlock:?}");
    let delete = database.asked_by(Query::unchecked("DELETE FROM t WHERE id = :subject RETURNING state"));
    for _ in 0..20 {
        assert!(delete.fetch(asked()).await.is_err());
    }
    assert_eq!(reads.fetch(asked()).await.unwrap().rows, [[Raw::Text("20".to_owned())]]);
}

/// The one connection there may be is closed, and another one made, only once its thread has ended what it was at.
#[tokio::test]
async fn what_nobody_waits_for_ends_in_sqlite_and_its_thread_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    writer(&path).await.execute("CREATE TABLE t (id TEXT PRIMARY KEY)").await.unwrap();
    let bounds = Bounds { at_once: 1, timeout: Duration::from_secs(60), ..Bounds::default() };
    let database = Database::sqlite(&path, bounds).unwrap();
    let quick = database.asked_by(Query::unchecked("SELECT 1 AS n WHERE :subject IS NOT NULL"));
    assert_eq!(quick.fetch(asked()).await.unwrap().rows, [[Raw::Integer(1)]]);
    // It counts without an end, and gives no row meanwhile.
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS n FROM c \
                   WHERE :subject IS NOT NULL";
    let endless = database.asked_by(Query::unchecked(endless));
    for _ in 0..2 {
        assert!(tokio::time::timeout(Duration::from_millis(300), endless.fetch(asked())).await.is_err());
        assert_eq!(quick.fetch(asked()).await.unwrap().rows, [[Raw::Integer(1)]]);
    }
    // Nor does what was over, or gave no row, leave anything behind.
    let none = database.asked_by(Query::unchecked("SELECT id AS n FROM t WHERE id = :subject"));
    let fetched = none.fetch(asked()).await.unwrap();
    assert_eq!((fetched.columns, fetched.rows.len()), (vec!["n".to_owned()], 0));
}

#[tokio::test]
async fn more_rows_than_a_subject_may_have_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let mut writer = writer(&path).await;
    writer.execute("CREATE TABLE t (id TEXT, state TEXT)").await.unwrap();
    let database = database(&path);
    let of = |count: u32| {
        let numbers = format!("WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {count})");
        database.asked_by(Query::unchecked(&format!("{numbers} SELECT :subject AS state FROM n")))
    };
    let many = of(300_000);
    let Err(Trouble::Wrong(reason)) = many.fetch(asked()).await else { panic!("it was read") };
    assert!(reason.ends_with("there are more than 10000 rows for one subject"), "{reason}");
    let Err(Trouble::Wrong(reason)) = many.fetch_many(&[asked(), asked()]).unwrap().await else {
        panic!("it was read")
    };
    assert!(reason.ends_with("there are more than 100000 rows for the subjects of one pass"), "{reason}");
    // As many as one may have are all there.
    assert_eq!(of(10_000).fetch(asked()).await.unwrap().rows.len(), 10_000);
}

#[tokio::test]
async fn every_kind_of_cell_of_sqlite_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    writer(&path).await.execute("CREATE TABLE t (id TEXT PRIMARY KEY)").await.unwrap();
    let query = "SELECT 'a' AS a, 7 AS b, 1.5 AS c, NULL AS d, x'00' AS e WHERE :subject IS NOT NULL";
    let fetched = database(&path).asked_by(Query::parse(query).unwrap()).fetch(asked()).await.unwrap();
    assert_eq!(fetched.columns, ["a", "b", "c", "d", "e"]);
    let expected =
        [Raw::Text("a".to_owned()), Raw::Integer(7), Raw::Inexact, Raw::Null, Raw::Foreign("BLOB".to_owned())];
    assert_eq!(fetched.rows, [expected]);
}

#[tokio::test]
async fn a_missing_index_and_a_missing_column_are_found_before_anybody_asks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let mut writer = writer(&path).await;
    writer.execute("CREATE TABLE t (id TEXT, marital_status TEXT)").await.unwrap();
    let source = database(&path).asked_by(Query::parse("SELECT marital_status FROM t WHERE id = :subject").unwrap());
    let examined = source.examine(service()).await.unwrap();
    assert!(examined.remarks.iter().any(|remark| remark.contains("no index helps")), "{examined:?}");
    writer.execute("CREATE INDEX t_id ON t (id)").await.unwrap();
    let examined = source.examine(service()).await.unwrap();
    assert_eq!(examined.remarks, [""; 0]);
    let fit = crate::sources::mapping::Mapping::default().fit(&service(), &|_| false, &examined.columns);
    let nullable = "column marital_status may be null: a claim on it is UNAVAILABLE then";
    assert_eq!(fit, [nullable, "there is no column registered_on: what needs it is UNAVAILABLE"]);
    writer.execute("CREATE TABLE u (id TEXT PRIMARY KEY, marital_status TEXT NOT NULL)").await.unwrap();
    let strict = "SELECT id, marital_status, marital_status || 'x' AS made FROM u WHERE id = :subject";
    let strict = database(&path).asked_by(Query::parse(strict).unwrap()).examine(service()).await.unwrap();
    let nullable: Vec<_> = strict.columns.iter().map(|column| column.nullable).collect();
    assert_eq!(nullable, [Some(false), Some(false), None]);
    let unknown = database(&path).asked_by(Query::parse("SELECT a FROM t WHERE id = :subject AND :colour").unwrap());
    let wrong = unknown.fetch(asked()).await.unwrap_err();
    assert!(matches!(&wrong, Trouble::Wrong(reason) if reason.contains(":colour")), "{wrong}");
}

#[tokio::test]
async fn a_query_that_knows_one_form_of_a_number_is_told_of_the_others() {
    let path = Path::new("there is no such file");
    let hint = |query: &str| {
        let bounds = Bounds::default();
        let database = Database::sqlite(path, bounds).unwrap();
        database.asked_by(Query::parse(query).unwrap()).hint(&service())
    };
    let told = hint("SELECT a FROM t WHERE id = :subject").unwrap();
    assert!(told.contains(":subject_15") && told.contains(":subject_lower"), "{told}");
    assert_eq!(hint("SELECT a FROM t WHERE id IN (:subject, :subject_15)"), None);
    assert_eq!(hint("SELECT a FROM t WHERE id IN (:subject, :subject_lower)"), None);
}

/// Somebody who does not exist.
fn somebody(sequence: u16) -> Subject {
    let number = ResidentNumber::compose("890102", jiff::civil::date(1958, 2, 14), sequence).unwrap().into_string();
    Subject::parse_as(Scheme::ResidentId, &number).unwrap()
}

#[tokio::test]
async fn many_are_found_in_one_pass_over_sqlite_as_each_is_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let mut writer = writer(&path).await;
    let people: Vec<Subject> = (1..=250).map(somebody).collect();
    let mut text = "BEGIN; CREATE TABLE t (id TEXT, state INTEGER, day TEXT); CREATE INDEX t_id ON t (id);".to_owned();
    for (number, person) in people.iter().enumerate() {
        let (lower, old) = (person.value().to_ascii_lowercase(), fifteen_digits(person).unwrap());
        // In each form that a table may hold, twice, and not at all.
        let stored: &[&str] = match number % 5 {
            0 => &[person.value()],
            1 => &[old.as_str()],
            2 => &[lower.as_str()],
            3 => &[person.value(), old.as_str()],
            _ => &[],
        };
        for (row, id) in stored.iter().enumerate() {
            text.push_str(&format!("INSERT INTO t VALUES ('{id}', {number}, '2018-05-{:02}');", row + 20));
        }
    }
    writer.execute(AssertSqlSafe(format!("{text} COMMIT"))).await.unwrap();
    let asked: Vec<Asked> = people.iter().map(|subject| Asked { subject: subject.clone(), ..asked() }).collect();
    for query in [
        "SELECT state, day FROM t WHERE id IN (:subject, :subject_15, :subject_lower) -- in each form",
        "SELECT count(*) AS state, :subject_15 AS day FROM t WHERE id = :subject",
        "SELECT state, day FROM t WHERE id IN (:subject, :subject_15) ORDER BY day DESC LIMIT 1",
        "WITH mine AS (SELECT * FROM t WHERE id = :subject) SELECT state FROM mine \
         UNION SELECT 77 WHERE NOT EXISTS (SELECT 1 FROM mine)",
        "SELECT state, state, day AS \"a day\" FROM t WHERE id = :subject_lower",
    ] {
        let source = database(&path).asked_by(Query::parse(query).unwrap());
        let together = source.fetch_many(&asked).expect("it can").await.unwrap();
        assert_eq!(together.len(), asked.len());
        let rows = |fetched: &Fetched| {
            let shown = fetched.rows.iter().map(|row| row.iter().map(Raw::shown).collect::<Vec<_>>());
            let mut shown: Vec<_> = shown.collect();
            shown.sort();
            shown
        };
        let mut found = 0;
        for (number, asked) in asked.iter().enumerate() {
            let alone = source.fetch(asked.clone()).await.unwrap();
            assert_eq!(rows(&together[number]), rows(&alone), "{query}: {number}");
            assert_eq!(together[number].columns.len(), alone.columns.len(), "{query}");
            found += alone.rows.len();
        }
        assert!(found >= 50, "{query}: {found}");
    }
    let wrong = database(&path).asked_by(Query::parse("SELECT nothing FROM t WHERE id = :subject").unwrap());
    let refused = wrong.fetch_many(&asked).expect("it can").await.unwrap_err();
    assert!(matches!(refused, Trouble::Wrong(_)), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_gone_or_no_database_is_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let query = || Query::parse("SELECT state FROM t WHERE id = :subject").unwrap();
    let gone = database(&path).asked_by(query()).fetch(asked()).await;
    assert!(gone.is_err() && !path.exists(), "{gone:?}");
    fs::write(&path, "nothing like a database, and long enough to be looked at as one").unwrap();
    assert!(database(&path).asked_by(query()).fetch(asked()).await.is_err());
}

#[test]
fn a_password_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "geheim\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let password = Password::File("password".into());
    let refused = password.read(folder.path()).unwrap_err();
    assert!(refused.contains("others can read it") && !refused.contains("geheim"), "{refused}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(password.read(folder.path()).unwrap().unwrap().as_str(), "geheim");
    assert!(!format!("{password:?}").contains("geheim"));
}

#[test]
fn what_is_bound_is_the_subject_in_its_forms_and_the_inputs() {
    let query = Query::parse("SELECT 1 WHERE :subject = :subject_15 OR :subject_lower = ''").unwrap();
    let bound = parameters(&query, &asked()).unwrap();
    let texts = bound.iter().map(|parameter| parameter.text().unwrap()).collect::<Vec<_>>();
    assert_eq!(texts, ["11010519491231002X", "110105491231002", "11010519491231002x"]);
    assert!(!format!("{bound:?}").contains("4912"));
}

#[test]
fn the_old_form_of_a_number_is_known_for_the_last_century_alone() {
    let subject = |text| Subject::parse_as(Scheme::ResidentId, text).unwrap();
    assert_eq!(fifteen_digits(&subject("11010519491231002X")).as_deref(), Some("110105491231002"));
    // The old form reads as the same number again.
    assert_eq!(subject("110105491231002"), subject("11010519491231002X"));
    assert_eq!(fifteen_digits(&subject("440524188001010014")), None);
}

#[test]
fn a_server_elsewhere_must_show_who_it_is() {
    assert!(["/run/postgresql", "localhost", "127.0.0.1", "::1"].into_iter().all(is_near));
    assert!(!["db.example", "10.0.0.5", ""].into_iter().any(is_near));
}
