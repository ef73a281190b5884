//! Databases that are not to be used, and what the registry says of them.

use super::*;

async fn refusal(url: &str) -> String {
    match PostgresLedger::open(&Database::parse(url).unwrap()).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

/// For this test's database alone: the server is shared.
fn set_for_the_database(setting: &str, value: &str) -> String {
    format!("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting} = {value}', current_database()); END $$")
}

#[tokio::test]
async fn a_database_that_is_not_to_be_used_is_named_with_the_reason() {
    let Some(scratch) = postgres_server::scratch("ledger::database::a_database_that_is_not_to_be_used").await else {
        return;
    };
    let latin = scratch.server().url_of_database_in("LATIN1");
    assert!(refusal(&latin).await.contains("createdb --encoding=UTF8"));
    assert!(refusal(&scratch.url_of("stranger")).await.contains("role \"stranger\" does not exist"));
    let nowhere = scratch.url().replace("/t", "/nothing-t");
    assert!(refusal(&nowhere).await.contains("does not exist"));

    scratch.sql(&set_for_the_database("default_transaction_read_only", "on"));
    let read_only = refusal(&scratch.url()).await;
    let again = set_for_the_database("default_transaction_read_only", "off");
    scratch.sql(&format!("BEGIN READ WRITE; {again}; COMMIT"));
    assert!(read_only.contains("takes no writes") && read_only.contains("primary"), "{read_only}");

    let ledger = PostgresLedger::open(&database(&scratch)).await.unwrap();
    ledger.close().await;
    scratch.sql("UPDATE errand_registry.version SET version = 99");
    let newer = refusal(&scratch.url()).await;
    assert!(newer.contains("version 99") && newer.contains("run the newer program"), "{newer}");
}

#[tokio::test]
async fn tables_are_made_once_by_whoever_comes_first() {
    let Some(scratch) = postgres_server::scratch("ledger::database::tables_are_made_once").await else { return };
    let opening = (0..6).map(|_| {
        let database = database(&scratch);
        tokio::spawn(async move { PostgresLedger::open(&database).await })
    });
    for opened in opening.collect::<Vec<_>>() {
        opened.await.unwrap().unwrap().close().await;
    }
    assert_eq!(scratch.sql("SELECT version FROM errand_registry.version"), "3");
}

#[tokio::test]
async fn what_is_acknowledged_waits_for_the_disk() {
    let Some(scratch) = postgres_server::scratch("ledger::database::what_is_acknowledged").await else { return };
    scratch.sql(&set_for_the_database("synchronous_commit", "off"));
    let ledger = PostgresLedger::open(&database(&scratch)).await.unwrap();
    let setting: String =
        sqlx::query_scalar("SELECT current_setting('synchronous_commit')").fetch_one(ledger.pool()).await.unwrap();
    assert_eq!(setting, "on");
    ledger.close().await;
}

#[tokio::test]
async fn a_database_that_does_not_fit_together_is_not_opened() {
    for (damage, reason) in [
        ("DELETE FROM errand_registry.entries WHERE index = 280", "entry 280 is missing"),
        ("DELETE FROM errand_registry.entries WHERE index = 299", "has 43 hashes"),
        ("UPDATE errand_registry.entries SET entry = 'altered' WHERE index = 299", "do not lead to its root"),
        ("DELETE FROM errand_registry.tiles", "tile 0 of level 0 is missing"),
    ] {
        let Some(scratch) = postgres_server::scratch("ledger::database::a_database_that_does_not_fit").await else {
            return;
        };
        let ledger = PostgresLedger::open(&database(&scratch)).await.unwrap();
        fill(&ledger, &(0..300).map(entry).collect::<Vec<_>>()).await;
        ledger.close().await;
        scratch.sql(damage);
        let said = refusal(&scratch.url()).await;
        assert!(said.contains(reason), "{damage}: {said}");
    }
}

#[tokio::test]
async fn a_database_that_has_lost_statements_is_found_out() {
    let Some(scratch) = postgres_server::scratch("ledger::database::a_database_that_has_lost").await else { return };
    let ledger = PostgresLedger::open(&database(&scratch)).await.unwrap();
    fill(&ledger, &[b"first".to_vec()]).await;
    let first = ledger.position().await.unwrap();
    fill(&ledger, &[b"second".to_vec()]).await;
    // As after a failover to a standby that had not heard of it.
    let root = first.root.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    scratch.sql(&format!(
        "DELETE FROM errand_registry.entries WHERE index = 1; UPDATE errand_registry.head SET size = 1, root = '\\x{root}'"
    ));
    for error in [ledger.position().await.unwrap_err(), ledger.append(2, vec![b"third".to_vec()]).await.unwrap_err()] {
        assert!(error.to_string().contains("it now has 1, and 2 were there"), "{error}");
    }
    ledger.close().await;
}
