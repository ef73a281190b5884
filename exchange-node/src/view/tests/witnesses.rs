//! What other departments' witnesses do for the view: where the profile requires them, their time is its age.

use trust::{
    key::DescribedKey,
    log::{cosignature::cosign, note::SignedNote},
    witness,
};

use super::*;

const DAY_MS: u64 = 86_400_000;

/// A town of three departments whose founding requires so many witnesses.
fn town(required: u32) -> Fixture {
    let mut profile = trust::directory::model::Profile::usual();
    profile.witnesses_required = required;
    let mut fixture = Fixture::founded_with(profile);
    for department in ["civil-affairs", "health", "housing"] {
        fixture.admit(department);
        fixture.add_node(department, "1");
    }
    fixture
}

/// The note with cosignatures of these departments' nodes, each at its time.
fn cosigned(note: &str, by: &[(&str, u64)]) -> String {
    let mut note = SignedNote::parse(note.as_bytes()).unwrap();
    for (department, time_ms) in by {
        let signer = key(&format!("{department} node 1"));
        let id = fixture::department(department);
        let witness = witness::note_key(&fixture::exchange_id(), &id, &"1".parse().unwrap(), signer.public_key());
        let line = cosign(note.text(), &witness.unwrap(), time_ms / 1000, |message| signer.sign(message)).unwrap();
        note.add_signature(line).unwrap();
    }
    note.to_string()
}

async fn told(view: &View, fixture: &Fixture, time_ms: u64, by: &[(&str, u64)]) {
    let start = view.next_index().await;
    let entries = fixture.entries[usize::try_from(start).unwrap()..].to_vec();
    view.accept(start, entries, &cosigned(&vouch(fixture, time_ms), by), time_ms).await.unwrap();
}

#[tokio::test]
async fn the_age_is_the_second_newest_witness_where_two_are_required() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = town(2);
    let view = empty_view(dir.path()).unwrap();
    told(&view, &fixture, NOW_MS, &[("housing", NOW_MS)]).await;
    let refusal = view.check_usable(NOW_MS).unwrap_err();
    assert_eq!(refusal.code, Code::DirectoryExpired);
    assert!(refusal.detail.contains("witnesses of 2 departments"), "{}", refusal.detail);
    assert!(view.is_followed(NOW_MS), "it can say where it answers, and become a witness itself");

    told(&view, &fixture, NOW_MS + 1000, &[("housing", NOW_MS), ("health", NOW_MS - 5000)]).await;
    assert!(view.check_usable(NOW_MS).is_ok());
    assert_eq!(view.verified_ms(), NOW_MS - 5000);
    // The log goes on vouching, and one witness with it: the view grows old all the same.
    let later = NOW_MS + 11 * DAY_MS;
    told(&view, &fixture, later, &[("housing", later)]).await;
    assert_eq!(view.check_usable(later).unwrap_err().code, Code::DirectoryExpired);
    assert_eq!(view.age(later).log_vouched_ms, later);
    // The same checkpoint again, with one more below it: that is enough.
    told(&view, &fixture, later, &[("housing", later), ("civil-affairs", later)]).await;
    assert!(view.check_usable(later).is_ok());
    assert_eq!(view.verified_ms(), later);
    drop(view);
    let view = empty_view(dir.path()).unwrap();
    assert_eq!(view.verified_ms(), later, "it is known after a restart too");
    assert_eq!(view.witnesses().len(), 3);
}

#[tokio::test]
async fn none_required_and_the_logs_word_counts() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = town(0);
    let view = empty_view(dir.path()).unwrap();
    told(&view, &fixture, NOW_MS, &[]).await;
    assert!(view.check_usable(NOW_MS).is_ok());
    assert_eq!(view.verified_ms(), NOW_MS);
}

#[tokio::test]
async fn cosignatures_of_another_story_do_not_make_a_view_younger() {
    let dir = tempfile::tempdir().unwrap();
    let (mut here, mut there) = (town(2), town(2));
    here.admit("taxation");
    there.admit("justice");
    let view = empty_view(dir.path()).unwrap();
    told(&view, &here, NOW_MS, &[("housing", NOW_MS)]).await;
    // What the others cosigned is of another history of the same size: it is passed on to us in vain.
    let other = cosigned(&vouch(&there, NOW_MS), &[("health", NOW_MS), ("civil-affairs", NOW_MS)]);
    view.take_witnessed(&[other, "no note".to_owned()], NOW_MS).await.unwrap();
    assert_eq!(view.witnesses().len(), 1);
    assert_eq!(view.check_usable(NOW_MS).unwrap_err().code, Code::DirectoryExpired);
    // Before the stories parted they had cosigned the same: that counts, as of then.
    let before = town(2);
    let earlier = cosigned(&vouch(&before, NOW_MS - DAY_MS), &[("health", NOW_MS - DAY_MS)]);
    view.take_witnessed(&[earlier], NOW_MS).await.unwrap();
    assert_eq!(view.verified_ms(), NOW_MS - DAY_MS);
}

#[tokio::test]
async fn a_witness_from_the_future_or_with_a_revoked_key_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = town(2);
    let view = empty_view(dir.path()).unwrap();
    told(&view, &fixture, NOW_MS, &[("housing", NOW_MS), ("health", NOW_MS + 120_000)]).await;
    assert_eq!(view.witnesses().len(), 1, "a clock that is ahead by more than the skew dates nothing");
    told(&view, &fixture, NOW_MS + 1000, &[("health", NOW_MS)]).await;
    assert!(view.check_usable(NOW_MS).is_ok());
    let (revoked, _) = revocation(&fixture, "health", "health node 1");
    view.apply_revocation(&revoked).await.unwrap();
    assert_eq!(view.check_usable(NOW_MS).unwrap_err().code, Code::DirectoryExpired);
}

#[test]
fn a_witness_is_a_node_key() {
    let described: DescribedKey = fixture::described(trust::key::Role::Node, &key("housing node 1"));
    let found = witness::note_key(
        &fixture::exchange_id(),
        &fixture::department("housing"),
        &"1".parse().unwrap(),
        &described.key,
    );
    assert_eq!(found.unwrap().name().as_str(), "ninghe/housing/1");
}
