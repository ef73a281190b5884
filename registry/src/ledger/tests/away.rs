//! A database that goes away and comes back.

use super::*;

fn is_away<T: std::fmt::Debug>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Away { .. }))
}

#[tokio::test]
async fn while_the_database_is_away_that_is_what_is_said() {
    let Some(mut scratch) = postgres_server::own("ledger::away::while_the_database_is_away").await else { return };
    let ledger = PostgresLedger::open(&database(&scratch)).await.unwrap();
    let entries: Vec<_> = (0..300).map(entry).collect();
    fill(&ledger, &entries).await;
    scratch.own_server().stop();
    assert!(is_away(ledger.append(300, vec![b"lost".to_vec()]).await));
    assert!(is_away(ledger.position().await));
    assert!(is_away(ledger.read(0, ReadLimit::entries(1)).await));
    assert!(is_away(ledger.turn().await.map(drop)));
    assert!(is_away(ledger.keep_checkpoint(head("note", 300, 1)).await));
    // The right edge is known by heart.
    let edge = ledger.tile(TileCoordinate::new(0, 1, 44).unwrap()).await.unwrap();
    assert_eq!(edge.unwrap().len(), 44);
    assert!(is_away(PostgresLedger::open(&database(&scratch)).await));

    scratch.own_server().run(&[]);
    let position = loop {
        match ledger.position().await {
            Err(Error::Away { .. }) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            outcome => break outcome.unwrap(),
        }
    };
    assert_eq!((position.size, position.root), (300, tree(&entries).root()));
    assert!(matches!(ledger.append(300, vec![b"next".to_vec()]).await.unwrap(), Append::Appended { size: 301, .. }));
    ledger.close().await;
}
