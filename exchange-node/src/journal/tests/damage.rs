//! What a harmed store says of itself: when it is opened, and when it is read again.

use super::*;
use crate::journal::month_store::{group_end_key, heads_key, payload_key, tile_key};

type Harm<'a> = &'a dyn Fn(&sled::Db);

/// A journal of 600 entries in November and some in December; then `harm` is done to November's store.
async fn harmed(harm: impl FnOnce(&sled::Db), without_key: bool) -> String {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for number in 0..300 {
        journal.commit(answered(NOVEMBER, &number.to_string())).await.unwrap();
    }
    journal.commit(answered(DECEMBER, "december")).await.unwrap();
    journal.verify().unwrap();
    close(journal).await;
    let month = month_store(dir.path(), "2026-11");
    harm(month.store().db());
    month.store().persist().unwrap();
    drop(month);
    if without_key {
        fs::remove_file(dir.path().join("keys/months/2026-11.key")).unwrap();
    }
    let journal = open_at(dir.path(), DECEMBER).unwrap();
    let found = journal.verify().unwrap_err().to_string();
    assert!(found.starts_with("the evidence of 2026-11 is damaged: "), "{found}");
    assert!(
        found.ends_with("; keep the folder as it is for inquiry and restore the journal from its backup"),
        "{found}"
    );
    found["the evidence of 2026-11 is damaged: ".len()..].split(';').next().unwrap().to_owned()
}

fn flip(db: &sled::Db, key: &[u8], place: usize) {
    let mut value = db.get(key).unwrap().unwrap().to_vec();
    value[place] ^= 1;
    db.insert(key, value).unwrap();
}

#[tokio::test]
async fn verification_names_the_first_wrong_entry() {
    let payload = |db: &sled::Db| flip(db, &payload_key(42, 0), 50);
    assert_eq!(harmed(payload, false).await, "entry 42: what is stored of it was changed");
    let payload = |db: &sled::Db| drop(db.remove(payload_key(42, 0)).unwrap());
    assert_eq!(harmed(payload, false).await, "the messages of entry 42 are missing");
    let salt = |db: &sled::Db| flip(db, &heads_key(42), FIRST_SALT);
    assert_eq!(harmed(salt, false).await, "entry 42: what is stored of it was changed");
    // With nobody left to decrypt: the finished tile still has the leaf that was logged.
    assert_eq!(harmed(salt, true).await, "entry 42 is not the one that was logged");
    // No tile has entry 598 yet; its group does.
    let salt = |db: &sled::Db| flip(db, &heads_key(598), FIRST_SALT);
    assert_eq!(harmed(salt, true).await, "one of the entries 598 to 599 is not the one that was logged");
    let missing = |db: &sled::Db| drop(db.remove(heads_key(42)).unwrap());
    assert_eq!(harmed(missing, false).await, "entry 42 is missing");
    let malformed = |db: &sled::Db| flip(db, &heads_key(42), 2);
    assert_eq!(harmed(malformed, false).await, "entry 42: what is stored of it is malformed");
    let cut = |db: &sled::Db| {
        let last: Vec<_> = db.range(heads_key(590)..heads_key(u64::MAX)).keys().collect();
        last.into_iter().for_each(|key| drop(db.remove(key.unwrap()).unwrap()));
    };
    assert_eq!(harmed(cut, false).await, "entry 590 is missing");
    let tile = |db: &sled::Db| flip(db, &tile_key(0, 1, 2), 32);
    assert_eq!(harmed(tile, false).await, "entry 385 is not the one that was logged");
    let beginning = |db: &sled::Db| flip(db, b"b\0", 4);
    assert_eq!(harmed(beginning, false).await, "its beginning cannot be read");
}

/// In a value of heads, for a record of two entries with a request: its length, and the head up to the salt.
const FIRST_SALT: usize = 2 + 3 + 2 + 8 + 8 + 48;

#[tokio::test]
async fn a_message_under_the_wrong_digest_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.commit(answered(NOVEMBER, "right")).await.unwrap();
    let mut commit = answered(NOVEMBER, "wrong");
    commit.entries[1].digest = Digest::new([0; 32]);
    journal.commit(commit).await.unwrap();
    let found = journal.verify().unwrap_err().to_string();
    assert!(found.contains("entry 3: its message is not the one that was logged"), "{found}");
}

#[tokio::test]
async fn a_harmed_end_is_found_when_the_journal_is_opened() {
    let opens = async |harm: &dyn Fn(&sled::Db)| {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        for number in 0..150 {
            journal.commit(answered(NOVEMBER, &number.to_string())).await.unwrap();
        }
        close(journal).await;
        let month = month_store(dir.path(), "2026-11");
        harm(month.store().db());
        month.store().persist().unwrap();
        drop(month);
        open_at(dir.path(), NOVEMBER).map(|journal| journal.size()).map_err(|error| error.to_string())
    };
    assert_eq!(opens(&|_| ()).await, Ok(300));
    let harms: [(Harm<'_>, &str); 5] = [
        (&|db| flip(db, &heads_key(298), FIRST_SALT), "its records and tiles do not lead to its root"),
        (&|db| flip(db, &group_end_key(299), 20), "its records and tiles do not lead to its root"),
        (&|db| flip(db, &group_end_key(299), 7), "size and root after entry 299 cannot be read"),
        (&|db| drop(db.remove(group_end_key(299)).unwrap()), "what follows entry 298 is missing"),
        (&|db| drop(db.remove(b"b\0").unwrap()), "its beginning is missing"),
    ];
    for (harm, reason) in harms {
        let error = opens(harm).await.unwrap_err();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}
