//! What lies between a node and its sources: connections that are encrypted to a server that shows the right certificate, and
//! answers that are kept for a while for one department alone. Out of scope: what is read (`sources`).

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use proto::{exchange::v1::Verdict, office::v1::VerifyResponse};
use town::harness::eventually;

use crate::{
    mariadb_server, postgres_server,
    support::{MARRIAGE, MARRIED, Place, housings_scope, marital_status, said, skip, verdict},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Civil affairs, whose marriage register is not imported, and two who may ask.
async fn town() -> Place {
    Place::start(|plan, _| {
        let service = "civil-affairs/marriage-registration";
        plan.department("civil-affairs")
            .service_without_records(MARRIAGE)
            .department("housing")
            .department("social-security")
            .granting(service, "housing", housings_scope())
            .granting(service, "social-security", housings_scope())
    })
    .await
}

async fn configure(place: &Place, sources: &str) {
    let node = place.town.node("civil-affairs");
    node.stop().await.unwrap();
    fs::write(node.dir().join("sources.toml"), sources).unwrap();
    node.start().await.unwrap();
}

fn is(answer: &VerifyResponse, expected: Verdict) -> bool {
    answer.verdicts.first().is_some_and(|claim| claim.verdict() == expected)
}

async fn comes_to(place: &Place, expected: Verdict) {
    let came = eventually(PATIENCE, async || is(&place.ask(marital_status(&MARRIED, "married")).await, expected));
    assert!(came.await, "{expected:?} never comes");
}

/// A loopback address of this test's own, so that a server may listen at its usual port.
fn own_address(number: u8) -> String {
    let id = std::process::id();
    format!("127.{}.{}.{}", 64 + id % 128, id / 128 % 250, number)
}

/// An authority, and the certificate that it gave a server at `address`; `None` without OpenSSL.
fn certificates(folder: &Path, name: &str, address: &str) -> Option<()> {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().ok()?;
        assert!(output.status.success(), "{arguments}: {}", said(&output));
        Some(())
    };
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -nodes -keyout {name}-ca.key -out {name}-ca.pem -subj /CN={name} -days 30"
    ))?;
    openssl(&format!(
        "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN=database -addext subjectAltName=IP:{address}"
    ))?;
    openssl(&format!(
        "x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -copy_extensions copy -days 30 -out {name}.pem"
    ))
}

/// Hands a key to the user that the servers run as.
fn give(folder: &Path, name: &str) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let key = folder.join(format!("{name}.key"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&key, Some(65_534), Some(65_534)).unwrap();
    }
}

const QUERY: &str = "SELECT marital_status, registered_on FROM marriages WHERE number = :subject";

/// The source with the certificates that are believed.
fn sources(kind: &str, address: &str, login: &str, ca: &Path) -> String {
    format!(
        "[sources.civil]\nkind = \"{kind}\"\nhost = \"{address}\"\n{login}tls = \"verify\"\nca_file = \"{}\"\ntimeout_ms = 3000\npause = \"1s\"\n\n\
         [services.marriage-registration]\nsource = \"civil\"\nquery = \"{QUERY}\"\n",
        ca.display()
    )
}

/// That the right certificate is believed, and neither another authority's is, nor the right one at another address of the
/// same server.
async fn only_the_right_certificate(place: &Place, kind: &str, addresses: [&str; 2], login: &str, folder: &Path) {
    let [address, elsewhere] = addresses;
    configure(place, &sources(kind, address, login, &folder.join("right-ca.pem"))).await;
    comes_to(place, Verdict::Match).await;
    let mut read = fs::read_to_string(place.town.node("civil-affairs").log()).unwrap().len();
    for (address, ca, why) in
        [(address, "other-ca.pem", "certificate"), (elsewhere, "right-ca.pem", "not valid for name")]
    {
        configure(place, &sources(kind, address, login, &folder.join(ca))).await;
        for _ in 0..3 {
            let answer = place.ask(marital_status(&MARRIED, "married")).await;
            assert_eq!(verdict(&answer).verdict(), Verdict::Unavailable, "{answer:?}");
        }
        let log = fs::read_to_string(place.town.node("civil-affairs").log()).unwrap();
        let news = log.get(read..).unwrap_or(&log);
        assert!(news.contains(why), "the operator reads why ({why}): {news}");
        read = log.len();
    }
    // Back with the right one, it is not for another reason.
    configure(place, &sources(kind, address, login, &folder.join("right-ca.pem"))).await;
    comes_to(place, Verdict::Match).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_believed_by_its_certificate_alone() {
    let test = "postgresql_is_believed_by_its_certificate_alone";
    let Some(mut scratch) = postgres_server::own(test).await else { return };
    let (folder, address, elsewhere) = (tempfile::tempdir().unwrap(), own_address(1), own_address(3));
    let (Some(()), Some(())) =
        (certificates(folder.path(), "right", &address), certificates(folder.path(), "other", &address))
    else {
        return skip(test, "OpenSSL is not installed on this machine");
    };
    give(folder.path(), "right");
    scratch.sql(&format!(
        "CREATE TABLE marriages (number char(18) PRIMARY KEY, marital_status text, registered_on date);
         INSERT INTO marriages VALUES ('{}', 'married', '2018-05-20')",
        *MARRIED
    ));
    tokio::task::block_in_place(|| {
        let server = scratch.own_server();
        server.stop();
        let at = |name: &str| folder.path().join(name).display().to_string();
        server.run(&[
            &format!("listen_addresses={address},{elsewhere}"),
            "ssl=on",
            &format!("ssl_cert_file={}", at("right.pem")),
            &format!("ssl_key_file={}", at("right.key")),
        ]);
    });
    let place = town().await;
    let login = format!("database = \"{}\"\nuser = \"{}\"\n", scratch.database(), postgres_server::USER);
    only_the_right_certificate(&place, "postgres", [&address, &elsewhere], &login, folder.path()).await;
    assert_eq!(
        scratch.sql(
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL"
        ),
        "t"
    );
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_believed_by_its_certificate_alone() {
    let test = "mariadb_is_believed_by_its_certificate_alone";
    let Some(mut server) = mariadb_server::own().await else {
        return skip(test, "MariaDB is not installed on this machine");
    };
    let (folder, address, elsewhere) = (tempfile::tempdir().unwrap(), own_address(2), own_address(4));
    let (Some(()), Some(())) =
        (certificates(folder.path(), "right", &address), certificates(folder.path(), "other", &address))
    else {
        return skip(test, "OpenSSL is not installed on this machine");
    };
    give(folder.path(), "right");
    // Written through: the server is killed next, and what it has not written would be undone.
    server.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    server.sql(&format!(
        "CREATE TABLE marriages (number CHAR(18) PRIMARY KEY, marital_status VARCHAR(20), registered_on DATE);
         INSERT INTO marriages VALUES ('{}', 'married', '2018-05-20');
         CREATE USER {reader}@'%' IDENTIFIED BY '{password}' REQUIRE SSL; GRANT SELECT ON {database}.* TO {reader}@'%'",
        *MARRIED,
        reader = mariadb_server::READER,
        password = mariadb_server::PASSWORD,
        database = mariadb_server::DATABASE,
    ));
    server.sql("FLUSH TABLES; FLUSH ENGINE LOGS");
    tokio::task::block_in_place(|| {
        server.kill();
        let at = |name: &str| folder.path().join(name).display().to_string();
        server.run_with(&[
            "--skip-networking=0".to_owned(),
            "--skip-name-resolve".to_owned(),
            format!("--bind-address={address},{elsewhere}"),
            "--port=3306".to_owned(),
            format!("--ssl-cert={}", at("right.pem")),
            format!("--ssl-key={}", at("right.key")),
        ]);
    });
    let place = town().await;
    let password = place.town.node("civil-affairs").dir().join("keys/civil.password");
    fs::write(&password, mariadb_server::PASSWORD).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let (database, user) = (mariadb_server::DATABASE, mariadb_server::READER);
    let login = format!("database = \"{database}\"\nuser = \"{user}\"\npassword_file = \"keys/civil.password\"\n");
    only_the_right_certificate(&place, "mysql", [&address, &elsewhere], &login, folder.path()).await;
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_for_one_department_alone_and_says_its_day() {
    let place = town().await;
    let node = place.town.node("civil-affairs");
    let file = node.dir().join("marriages.db");
    let run = |sql: &str| {
        let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.commit()";
        let output = Command::new("python3").args(["-c", script]).arg(&file).arg(sql).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    };
    run(&format!(
        "CREATE TABLE marriages (number TEXT PRIMARY KEY, marital_status TEXT, registered_on TEXT);
         INSERT INTO marriages VALUES ('{}', 'married', '2018-05-20')",
        *MARRIED
    ));
    let sources = format!(
        "[sources.civil]\nkind = \"sqlite\"\npath = \"marriages.db\"\n\n\
         [services.marriage-registration]\nsource = \"civil\"\ncache = \"1h\"\nquery = \"{QUERY}\"\n"
    );
    configure(&place, &sources).await;
    comes_to(&place, Verdict::Match).await;
    run("UPDATE marriages SET marital_status = 'divorced'");
    let kept = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&kept).verdict(), Verdict::Match, "what was kept");
    let days = |answer: &VerifyResponse| {
        let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(8))).date();
        today.since(answer.record_as_of.parse::<jiff::civil::Date>().unwrap()).unwrap().get_days()
    };
    assert!((0..=1).contains(&days(&kept)), "the day on which it was fetched: {}", kept.record_as_of);
    // Whoever asks for the first time gets what is there now, and shares nothing with the others.
    let office = place.town.office("social-security").await.unwrap();
    let fresh = office.verify(marital_status(&MARRIED, "married")).await.unwrap();
    assert_eq!(verdict(&fresh).verdict(), Verdict::Mismatch, "{fresh:?}");
    let kept = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&kept).verdict(), Verdict::Match, "still what was kept");
    // Nothing of it outlives the node.
    configure(&place, &sources).await;
    comes_to(&place, Verdict::Mismatch).await;
    place.town.stop().await.unwrap();
}
