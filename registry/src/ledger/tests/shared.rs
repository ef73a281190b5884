//! Two ledgers over one database: one log, whoever appends.

use std::sync::Arc;

use super::*;

async fn two(scratch: &postgres_server::Scratch) -> [PostgresLedger; 2] {
    let database = database(scratch);
    [PostgresLedger::open(&database).await.unwrap(), PostgresLedger::open(&database).await.unwrap()]
}

#[tokio::test]
async fn who_comes_second_appends_nothing_and_sees_what_the_first_did() {
    let Some(scratch) = postgres_server::scratch("ledger::shared::who_comes_second").await else { return };
    let [one, other] = two(&scratch).await;
    fill(&one, &[b"first".to_vec()]).await;
    assert_eq!(other.append(0, vec![b"other".to_vec()]).await.unwrap(), Append::Moved { size: 1 });
    assert_eq!(other.read(0, ReadLimit::entries(9)).await.unwrap(), [b"first"]);
    assert_eq!(other.position().await.unwrap(), one.position().await.unwrap());
    assert!(matches!(other.append(1, vec![b"second".to_vec()]).await.unwrap(), Append::Appended { size: 2, .. }));
    assert_eq!(one.position().await.unwrap().root, tree(&[b"first".to_vec(), b"second".to_vec()]).root());
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_checkpoint_only_goes_forward() {
    let Some(scratch) = postgres_server::scratch("ledger::shared::a_checkpoint_only_goes_forward").await else {
        return;
    };
    let [one, other] = two(&scratch).await;
    fill(&one, &[b"first".to_vec(), b"second".to_vec()]).await;
    assert_eq!(one.keep_checkpoint(head("of two", 2, 100)).await.unwrap(), Keep::Kept);
    for (size, time) in [(1, 200), (2, 99), (1, 99)] {
        assert_eq!(other.keep_checkpoint(head("behind", size, time)).await.unwrap(), Keep::Superseded, "{size} {time}");
    }
    assert_eq!(other.checkpoint().await.unwrap().as_deref(), Some("of two"));
    assert_eq!(other.keep_checkpoint(head("of two, later", 2, 101)).await.unwrap(), Keep::Kept);
    // More entries than there are: somebody signed for what is not in the log.
    let error = other.keep_checkpoint(head("of three", 3, 102)).await.unwrap_err();
    assert!(error.to_string().contains("has lost statements"), "{error}");
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_turn_ends_with_whoever_has_it() {
    let Some(scratch) = postgres_server::scratch("ledger::shared::a_turn_ends").await else { return };
    let [one, other] = two(&scratch).await;
    let turn = one.turn().await.unwrap();
    let waiting = tokio::spawn({
        let other = other.clone();
        async move { other.turn().await.map(drop) }
    });
    let waits = || scratch.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == "1";
    while !waits() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!waiting.is_finished());
    drop(turn);
    waiting.await.unwrap().unwrap();
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn what_one_says_the_other_hears_at_once() {
    let Some(scratch) = postgres_server::scratch("ledger::shared::what_one_says").await else { return };
    let [one, other] = two(&scratch).await;
    let listens = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    while scratch.sql(listens) != "2" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut told = other.told();
    told.borrow_and_update();
    fill(&one, &[b"first".to_vec()]).await;
    told.changed().await.unwrap();
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn eight_writers_on_two_ledgers_make_one_log() {
    let Some(scratch) = postgres_server::scratch("ledger::shared::eight_writers").await else { return };
    let ledgers = two(&scratch).await.map(Arc::new);
    let writers = (0..8_u8).map(|writer| {
        let ledger = Arc::clone(&ledgers[usize::from(writer % 2)]);
        tokio::spawn(async move {
            for number in 0..12_u8 {
                let _turn = ledger.turn().await.unwrap();
                loop {
                    let at_size = ledger.position().await.unwrap().size;
                    match ledger.append(at_size, vec![vec![writer, number]]).await.unwrap() {
                        Append::Appended { .. } => break,
                        Append::Moved { .. } => {}
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let entries = ledgers[0].read(0, ReadLimit::entries(1000)).await.unwrap();
    assert_eq!(entries.len(), 96);
    for writer in 0..8 {
        let own: Vec<u8> = entries.iter().filter(|entry| entry[0] == writer).map(|entry| entry[1]).collect();
        assert_eq!(own, (0..12).collect::<Vec<_>>(), "each once, in its order");
    }
    for ledger in &ledgers {
        assert_eq!(ledger.position().await.unwrap().root, tree(&entries).root());
        ledger.close().await;
    }
}
