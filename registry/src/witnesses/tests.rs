//! Cosignatures are taken only from nodes of the directory, for what the log said lately, and are there after a restart.

use trust::{
    key::Signer,
    log::{checkpoint, cosignature::cosign},
};

use super::*;
use crate::fixture::{NOW_MS, Rooms, exchange, key, key_added, log_key, rooms};

const NOW_SECONDS: u64 = NOW_MS / 1000;

/// Two departments, each with a node key: 3 and 4.
async fn town() -> (Rooms, Witnesses) {
    let rooms = rooms().await;
    rooms.admit("housing").await;
    rooms.sequencer.submit(key_added("housing", 3, NOW_MS)).await.unwrap().unwrap();
    let witnesses = open(&rooms).await;
    (rooms, witnesses)
}

async fn open(rooms: &Rooms) -> Witnesses {
    let (ledger, clock) = (Arc::new(rooms.ledger.clone()), Arc::new(rooms.clock.clone()));
    Witnesses::open(rooms.sequencer.clone(), ledger, clock).await.unwrap()
}

fn cosigned(text: &str, department: &str, signer: u8, time_seconds: u64) -> String {
    let signer = key(signer);
    let key = witness::note_key(&exchange(), &department.parse().unwrap(), &"1".parse().unwrap(), signer.public_key());
    let mut note = SignedNote::new(text.to_owned()).unwrap();
    let line = cosign(text, &key.unwrap(), time_seconds, |message| signer.sign(message)).unwrap();
    note.add_signature(line).unwrap();
    note.to_string()
}

fn text(head: &Head) -> String {
    SignedNote::parse(head.checkpoint.as_bytes()).unwrap().text().to_owned()
}

fn lines(note: &str) -> usize {
    SignedNote::parse(note.as_bytes()).unwrap().signatures().len()
}

#[tokio::test]
async fn a_nodes_cosignature_stands_under_the_checkpoint_it_was_made_of() {
    let (rooms, witnesses) = town().await;
    let head = rooms.sequencer.head();
    assert_eq!(lines(&witnesses.serve(&head).checkpoint), 2, "the log's own");
    let note = cosigned(&text(&head), "housing", 3, NOW_SECONDS);
    assert_eq!(witnesses.take(&note), Ok(10));
    let served = witnesses.serve(&head);
    assert_eq!((lines(&served.checkpoint), served.earlier.len()), (3, 0));
    let log = LogKey::new("ninghe/directory".parse().unwrap(), log_key().public_key().as_bytes()).unwrap();
    assert!(checkpoint::open(served.checkpoint.as_bytes(), &log).is_ok());
    let note = SignedNote::parse(served.checkpoint.as_bytes()).unwrap();
    let found = witness::cosignatures(&rooms.sequencer.directory(), &note, NOW_SECONDS);
    assert_eq!((found.len(), found[0].time_seconds), (1, NOW_SECONDS));

    // Something is said: until the witness has cosigned that too, its last word is served beside the new checkpoint.
    rooms.admit_second("health").await;
    let newer = rooms.sequencer.head();
    let served = witnesses.serve(&newer);
    assert_eq!((lines(&served.checkpoint), served.earlier.len()), (2, 1));
    assert_eq!(lines(&served.earlier[0]), 3);
    witnesses.take(&cosigned(&text(&newer), "housing", 3, NOW_SECONDS + 1)).unwrap();
    let served = witnesses.serve(&newer);
    assert_eq!((lines(&served.checkpoint), served.earlier.len()), (3, 0));
    // What came late from before changes nothing.
    witnesses.take(&cosigned(&text(&head), "housing", 3, NOW_SECONDS + 2)).unwrap();
    assert_eq!(lines(&witnesses.serve(&newer).checkpoint), 3);
}

#[tokio::test]
async fn what_is_no_cosignature_of_the_directory_is_refused() {
    let (rooms, witnesses) = town().await;
    let head = rooms.sequencer.head();
    let text = text(&head);
    let refused = |note: &str| witnesses.take(note).unwrap_err().code;
    assert_eq!(refused("no note"), Code::MessageMalformed);
    assert_eq!(refused(&"x".repeat(9000)), Code::MessageTooLarge);
    assert_eq!(refused(&head.checkpoint), Code::KeyUnknown, "the log is no witness of its own");
    assert_eq!(refused(&cosigned(&text, "housing", 1, NOW_SECONDS)), Code::KeyUnknown, "a department's key");
    assert_eq!(refused(&cosigned(&text, "health", 3, NOW_SECONDS)), Code::KeyUnknown, "another's name");
    assert_eq!(refused(&cosigned(&text, "housing", 3, NOW_SECONDS + 61)), Code::KeyUnknown, "from the future");
    let other = text.replacen("ninghe/directory", "other/directory", 1);
    assert_eq!(refused(&cosigned(&other, "housing", 3, NOW_SECONDS)), Code::ExchangeWrong);
    let size = head.size.to_string();
    let unknown = text.replacen(&format!("\n{size}\n"), "\n9999\n", 1);
    assert_eq!(refused(&cosigned(&unknown, "housing", 3, NOW_SECONDS)), Code::CheckpointOutdated);
    let root = text.lines().nth(2).unwrap().to_owned();
    let forked = text.replacen(&root, &Hash::from_bytes([7; 32]).to_base64(), 1);
    assert_eq!(refused(&cosigned(&forked, "housing", 3, NOW_SECONDS)), Code::DirectoryDiverges);
    assert_eq!(lines(&witnesses.serve(&head).checkpoint), 2, "none of them is served");
}

#[tokio::test]
async fn cosignatures_survive_a_restart() {
    let (rooms, witnesses) = town().await;
    let head = rooms.sequencer.head();
    witnesses.take(&cosigned(&text(&head), "housing", 3, NOW_SECONDS)).unwrap();
    witnesses.keep().await.unwrap();
    let again = open(&rooms).await;
    assert_eq!(again.latest().len(), 1);
    assert_eq!(lines(&again.serve(&rooms.sequencer.head()).checkpoint), 3);
    assert_eq!(again.latest()[0].size, head.size);
    // What is kept is believed only under our own log's signatures.
    let forged = cosigned(&text(&head).replacen("ninghe/directory", "other/directory", 1), "housing", 3, NOW_SECONDS);
    rooms.ledger.keep_cosignatures(vec![("ninghe/housing/1".into(), forged)]).await.unwrap();
    assert!(open(&rooms).await.latest().is_empty());
}

/// Two registries over one database: a load balancer leads a witness now to the one, now to the other.
#[tokio::test]
async fn an_older_cosignature_never_takes_the_place_of_a_newer_one() {
    let (rooms, one) = town().await;
    let other = open(&rooms).await;
    let older = rooms.sequencer.head();
    one.take(&cosigned(&text(&older), "housing", 3, NOW_SECONDS)).unwrap();
    rooms.admit_second("health").await;
    let newer = rooms.sequencer.head();
    other.take(&cosigned(&text(&newer), "housing", 3, NOW_SECONDS + 1)).unwrap();
    other.keep().await.unwrap();
    one.keep().await.unwrap();
    let kept = open(&rooms).await.latest();
    assert_eq!((kept.len(), kept[0].size), (1, newer.size));
    assert_eq!(one.latest()[0].size, newer.size);
}

#[tokio::test]
async fn many_witnesses_are_asked_to_come_less_often_and_few_are_served() {
    let (rooms, witnesses) = town().await;
    let head = rooms.sequencer.head();
    witnesses.take(&cosigned(&text(&head), "housing", 3, NOW_SECONDS)).unwrap();
    let sample = witnesses.latest()[0].clone();
    let mut book = witnesses.book();
    for number in 0..100 {
        let mut kept = sample.clone();
        kept.cosigned.department = format!("department-{number}").parse().unwrap();
        book.keep(kept);
    }
    assert_eq!(book.again_in_seconds(NOW_SECONDS), 40);
    assert_eq!(book.newest_of_departments().len(), MOST_COSIGNATURES);
    assert_eq!(book.again_in_seconds(NOW_SECONDS + SILENT_SECONDS + 1), 10);
    drop(book);
}
