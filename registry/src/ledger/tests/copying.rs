//! From one store to the other and back: the same log.

use super::{
    super::copy::{CopyError, copy},
    *,
};

async fn copied(from: &Place, to: &Place) -> Result<copy::Copied, CopyError> {
    let (from, to) = (from.open().await.unwrap(), to.open().await.unwrap());
    let mut heard = Vec::new();
    let outcome =
        copy(from.shared().as_ref(), to.shared().as_ref(), |what, done, all| heard.push((what, done, all))).await;
    if let Ok(copied) = &outcome {
        assert_eq!(heard.last(), Some(&("compared", copied.size, copied.size)));
        assert!(heard.contains(&("copied", copied.size, copied.size)));
    }
    from.close().await.unwrap();
    to.close().await.unwrap();
    outcome
}

fn note(size: u64, root: Hash) -> String {
    use trust::{
        key::Signer,
        log::checkpoint::{self, Checkpoint, LogKey},
    };
    let key = crate::fixture::log_key();
    let log_key = LogKey::new("ninghe/directory".parse().unwrap(), key.public_key().as_bytes()).unwrap();
    let checkpoint = Checkpoint::new(log_key.origin(), size, root).unwrap();
    checkpoint::sign(&checkpoint, &log_key, 1_795_000_000, |message| key.sign(message)).unwrap()
}

#[tokio::test]
async fn a_ledger_moves_to_postgres_and_back_with_the_same_root_and_checkpoint() {
    let Some(database) = Place::postgres("ledger::copying::a_ledger_moves").await else { return };
    let (first, last) = (Place::sled().unwrap(), Place::sled().unwrap());
    let entries: Vec<_> = (0..1100).map(entry).collect();
    let opened = first.open().await.unwrap();
    fill(opened.shared().as_ref(), &entries).await;
    let position = opened.shared().position().await.unwrap();
    let kept = SignedHead::read(note(position.size, position.root)).unwrap();
    assert_eq!((kept.size, kept.time_seconds), (1100, 1_795_000_000));
    opened.shared().keep_checkpoint(kept.clone()).await.unwrap();
    opened.close().await.unwrap();
    drop(opened);

    for (from, to) in [(&first, &database), (&database, &last)] {
        let copied = copied(from, to).await.unwrap();
        assert_eq!((copied.size, copied.root), (position.size, position.root));
    }
    let opened = last.open().await.unwrap();
    assert_eq!(opened.shared().read(0, ReadLimit::entries(2000)).await.unwrap(), entries);
    assert_eq!(opened.shared().checkpoint().await.unwrap(), Some(kept.note));
    opened.close().await.unwrap();
}

#[tokio::test]
async fn nothing_is_copied_onto_something_or_from_nothing() {
    let Some(database) = Place::postgres("ledger::copying::nothing_is_copied").await else { return };
    let folder = Place::sled().unwrap();
    assert!(matches!(copied(&folder, &database).await, Err(CopyError::Nothing)));
    for place in [&folder, &database] {
        let opened = place.open().await.unwrap();
        fill(opened.shared().as_ref(), &[b"first".to_vec()]).await;
        opened.close().await.unwrap();
    }
    for (from, to) in [(&folder, &database), (&database, &folder)] {
        assert!(matches!(copied(from, to).await, Err(CopyError::InUse { size: 1 })));
    }
}
