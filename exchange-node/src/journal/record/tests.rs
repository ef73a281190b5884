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
        prop::option::of(any::<[u8; 16]>()),
        (prop::option::of(any::<[u8; 16]>()), any::<bool>(), prop::option::of(any::<u32>())),
    )
        .prop_map(|(at_ms, entries, about, request, idempotency, grant, (officer, duty, uses))| Commit {
            at_ms,
            entries,
            about,
            request,
            idempotency,
            grant,
            officer,
            duty,
            uses,
        })
}

proptest! {
    #[test]
    fn a_record_reads_back(commit in commits(), seed: u64) {
        let key = key();
        let sealed = seal(&commit, &key, &SeededRandom::new(seed)).unwrap();
        prop_assert!(sealed.head().len() <= LONGEST_HEAD);
        let record = Head::read(sealed.head()).unwrap();
        prop_assert_eq!(record.at_ms, commit.at_ms);
        prop_assert_eq!(record.key_id, key.id());
        prop_assert_eq!(record.entries.as_slice(), sealed.entries.as_slice());
        let head = record.to_record_head(9);
        prop_assert_eq!(head.first_index, 9);
        prop_assert_eq!((head.about, head.request, head.idempotency), (commit.about, commit.request, commit.idempotency));
        prop_assert_eq!((head.grant, head.officer), (commit.grant, commit.officer));
        prop_assert_eq!((head.duty, head.uses), (commit.duty, commit.uses));
        prop_assert_eq!(head.duty, commit.duty);
        prop_assert_eq!(head.kinds, commit.entries.iter().map(|entry| entry.kind).collect::<Vec<_>>());
        prop_assert_eq!(head.digests, commit.entries.iter().map(|entry| entry.digest).collect::<Vec<_>>());
        let messages: Vec<_> = commit.entries.iter().map(|entry| entry.message.clone()).collect();
        prop_assert_eq!(record.messages(sealed.payload(), &key), Some(messages));
    }

    #[test]
    fn a_changed_bit_anywhere_is_noticed(commit in commits(), place: prop::sample::Index, bit in 0..8_u8) {
        let key = key();
        let mut sealed = seal(&commit, &key, &SeededRandom::new(1)).unwrap();
        let place = place.index(sealed.bytes.len());
        sealed.bytes[place] ^= 1_u8 << bit;
        let is_noticed = Head::read(sealed.head()).map_or(true, |head| head.messages(sealed.payload(), &key).is_none());
        prop_assert!(is_noticed, "bit {} of byte {}", bit, place);
    }

    #[test]
    fn a_payload_opens_under_its_own_head_alone(commit in commits()) {
        let (key, random) = (key(), SeededRandom::new(1));
        let [one, other] = [(); 2].map(|()| seal(&commit, &key, &random).unwrap());
        prop_assert!(Head::read(one.head()).unwrap().messages(other.payload(), &key).is_none());
    }

    #[test]
    fn any_bytes_are_a_head_or_are_not(mut bytes in prop::collection::vec(any::<u8>(), 0..400), count in 1..5_u8) {
        let key = key();
        let read = |bytes: &[u8]| Head::read(bytes).is_ok_and(|head| head.messages(bytes, &key).is_some());
        prop_assert!(!read(&bytes));
        // With a good beginning the rest is reached too.
        if bytes.len() > 3 + usize::from(count) {
            let fields = bytes[1] & 15;
            bytes[..3].copy_from_slice(&[FORMAT, fields, count]);
            bytes[3..3 + usize::from(count)].fill(1);
            prop_assert!(!read(&bytes));
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
    let mut salts: Vec<_> =
        records.iter().flat_map(|record| record.entries.as_slice()).map(|entry| entry.salt).collect();
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), 4);
    let [one, two] = records.each_ref().map(|record| record.payload().split_at(NONCE_BYTES));
    assert_ne!(one.0, two.0);
    assert_ne!(one.1, two.1);
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
