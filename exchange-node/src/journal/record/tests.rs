//! Records in bytes: what was written reads back, and nothing else reads at all.

use super::*;
use crate::journal::{NewEntry, month_key::MonthKeys};
use host::random::SeededRandom;
use proptest::prelude::*;

fn key() -> MonthKey {
    let folder = tempfile::tempdir().unwrap();
    let keys = MonthKeys::open(folder.path().join("months")).unwrap();
    keys.load_or_make("2026-11".parse().unwrap(), &SeededRandom::new(3)).unwrap()
}

fn commits() -> impl Strategy<Value = Commit> {
    let kinds = prop::sample::select(vec![
        EntryKind::QuestionSent,
        EntryKind::QuestionReceived,
        EntryKind::AnswerGiven,
        EntryKind::AnswerReceived,
        EntryKind::Outcome,
    ]);
    let entry = (kinds, any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(kind, digest, message)| NewEntry { kind, digest: Digest::new(digest), message });
    let request = any::<([u8; 16], [u8; 32])>();
    let request = request.prop_map(|(key, digest)| RequestMark { key, digest: Digest::new(digest) });
    (
        any::<u64>(),
        prop::collection::vec(entry, 1..=MOST_ENTRIES),
        prop::option::of(any::<u64>()),
        prop::option::of(request),
        prop::option::of(any::<[u8; 16]>()),
    )
        .prop_map(|(at_ms, entries, about, request, idempotency)| Commit { at_ms, entries, about, request, idempotency })
}

proptest! {
    #[test]
    fn a_record_reads_back(commit in commits(), seed: u64) {
        let key = key();
        let sealed = seal(&commit, &key, &SeededRandom::new(seed)).unwrap();
        let record = Record::read(&sealed.bytes).unwrap();
        prop_assert_eq!(record.at_ms, commit.at_ms);
        prop_assert_eq!(record.key_id, key.id());
        prop_assert_eq!(record.entries.as_slice(), sealed.entries.as_slice());
        let head = record.to_head(9);
        prop_assert_eq!(head.first_index, 9);
        prop_assert_eq!((head.about, head.request, head.idempotency), (commit.about, commit.request, commit.idempotency));
        prop_assert_eq!(head.kinds, commit.entries.iter().map(|entry| entry.kind).collect::<Vec<_>>());
        prop_assert_eq!(head.digests, commit.entries.iter().map(|entry| entry.digest).collect::<Vec<_>>());
        let messages: Vec<_> = commit.entries.iter().map(|entry| entry.message.clone()).collect();
        prop_assert_eq!(record.messages(&key), Some(messages));
    }

    #[test]
    fn a_changed_bit_anywhere_is_noticed(commit in commits(), place: prop::sample::Index, bit in 0..8) {
        let key = key();
        let mut bytes = seal(&commit, &key, &SeededRandom::new(1)).unwrap().bytes;
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let is_noticed = Record::read(&bytes).map_or(true, |record| record.messages(&key).is_none());
        prop_assert!(is_noticed, "bit {} of byte {}", bit, place);
    }

    #[test]
    fn any_bytes_are_a_record_or_are_not(mut bytes in prop::collection::vec(any::<u8>(), 0..600), count in 1..5_u8) {
        let _ = Record::read(&bytes);
        // With a good beginning the lengths are reached too.
        if bytes.len() > 3 + usize::from(count) {
            bytes[..3].copy_from_slice(&[FORMAT, bytes[1] & 7, count]);
            bytes[3..3 + usize::from(count)].fill(1);
            let _ = Record::read(&bytes);
        }
    }
}

#[test]
fn salts_and_nonces_differ_from_entry_to_entry_and_from_record_to_record() {
    let key = key();
    let random = SeededRandom::new(5);
    let entry = NewEntry { kind: EntryKind::Outcome, digest: Digest::new([1; 32]), message: vec![2; 40] };
    let commit = Commit { entries: vec![entry.clone(), entry], ..Commit::default() };
    let records = [seal(&commit, &key, &random).unwrap(), seal(&commit, &key, &random).unwrap()];
    let mut salts: Vec<_> = records.iter().flat_map(|record| record.entries.as_slice()).map(|entry| entry.salt).collect();
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), 4);
    let [one, two] = records.each_ref().map(|record| Record::read(&record.bytes).unwrap());
    assert_ne!(one.nonce, two.nonce);
    assert_ne!(one.messages, two.messages);
}

#[test]
fn a_commit_has_one_to_four_entries_and_messages_that_fit() {
    let key = key();
    let entry = |length| NewEntry { kind: EntryKind::Outcome, digest: Digest::new([1; 32]), message: vec![0; length] };
    let seal = |entries| seal(&Commit { entries, ..Commit::default() }, &key, &SeededRandom::new(1));
    assert!(matches!(seal(vec![]), Err(JournalError::EntryCount { entries: 0 })));
    assert!(matches!(seal(vec![entry(1); 5]), Err(JournalError::EntryCount { entries: 5 })));
    assert!(seal(vec![entry(MOST_MESSAGE_BYTES / 4); 4]).is_ok());
    assert!(matches!(seal(vec![entry(MOST_MESSAGE_BYTES), entry(1)]), Err(JournalError::MessagesTooLong { .. })));
}
