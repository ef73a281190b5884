//! Two views that the registry told two stories: both prove it to themselves and to others.

use host::{clock::MockClock, random::SeededRandom, tls::TlsIdentity};
use trust::{
    fixture::{self, Fixture, NOW_MS},
    ids::Party,
};

use super::*;
use crate::{
    findings::Kind,
    view::tests::{bring, empty_view, view_of},
};

fn comparer(view: Arc<View>) -> (Comparer, MockClock) {
    let identity = TlsIdentity::generate(&SeededRandom::new(1), &["node"]).unwrap();
    let clock = MockClock::at(NOW_MS);
    (Comparer::new(view, Arc::new(Peers::new(Arc::new(identity))), Arc::new(clock.clone())), clock)
}

fn party(department: &str) -> Party {
    fixture::party(department)
}

fn forks(view: &View) -> Vec<crate::findings::Finding> {
    view.findings().list().into_iter().filter(|finding| finding.kind == Kind::Fork).collect()
}

#[tokio::test]
async fn whoever_answers_finds_out_and_whoever_asks_gets_the_proof() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut one, mut other) = (Fixture::town(), Fixture::town());
    one.admit("health");
    other.admit("taxation");
    other.admit("justice");
    let (here_view, there_view) = (view_of(here.path(), &one).await, view_of(there.path(), &other).await);
    let size = here_view.seen().size();
    let (asking, _) = comparer(Arc::clone(&here_view));
    let (answering, clock) = comparer(Arc::clone(&there_view));

    let strand = asking.strand(size).await.unwrap();
    let answer = answering.answer(&party("housing"), &to_wire(&strand)).await.unwrap();
    let found = forks(&there_view);
    assert_eq!((found.len(), found[0].source.as_str()), (1, "ninghe/housing"));
    let told = from_wire(&answer).unwrap();
    assert_eq!(told.old_size, size);
    assert!(asking.judge("ninghe/civil-affairs", &strand, &told).unwrap());
    let found = forks(&here_view);
    let folder = here_view.findings().folder_of(&found[0].id);
    for file in ["here.checkpoint", "here.consistency", "told.checkpoint", "told.consistency", "log.vkey", "roots.txt"]
    {
        assert!(folder.join(file).exists(), "{file}");
    }
    // Anybody can check it from the files, with the log's key alone.
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(text("told.consistency").starts_with(&format!("old {size}\n")));
    assert!(text("told.consistency").ends_with(&text("told.checkpoint")));

    // Not too often.
    assert!(matches!(answering.answer(&party("housing"), &to_wire(&strand)).await, Err(Error::TooOften)));
    clock.advance(Duration::from_secs(6));
    answering.answer(&party("housing"), &to_wire(&strand)).await.unwrap();
    assert_eq!(forks(&there_view).len(), 1, "the same lie is kept once");
}

#[tokio::test]
async fn one_history_at_two_sizes_is_no_lie_and_an_invented_one_proves_nothing() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut fixture = Fixture::town();
    let here_view = view_of(here.path(), &fixture).await;
    fixture.admit("health");
    let there_view = view_of(there.path(), &fixture).await;
    let (asking, _) = comparer(Arc::clone(&here_view));
    let (answering, clock) = comparer(Arc::clone(&there_view));
    let strand = asking.strand(u64::MAX).await.unwrap();
    let answer = answering.answer(&party("housing"), &to_wire(&strand)).await.unwrap();
    assert!(!asking.judge("x", &strand, &from_wire(&answer).unwrap()).unwrap());
    // The other way round: it has seen less than it is asked about, and says so.
    let larger = answering.strand(u64::MAX).await.unwrap();
    let answer = asking.answer(&party("civil-affairs"), &to_wire(&larger)).await.unwrap();
    assert_eq!(answer.size, here_view.seen().size());

    clock.advance(Duration::from_secs(6));
    let mut invented = to_wire(&strand);
    invented.root = vec![7; 32];
    let refused = answering.answer(&party("housing"), &invented).await;
    assert!(matches!(refused, Err(Error::Unproved(_))), "{refused:?}");
    clock.advance(Duration::from_secs(6));
    invented.root = vec![7; 3];
    assert!(matches!(answering.answer(&party("housing"), &invented).await, Err(Error::Malformed(_))));
    assert!(forks(&here_view).is_empty() && forks(&there_view).is_empty());
}

#[tokio::test]
async fn a_view_that_has_read_nothing_has_nothing_to_compare() {
    let dir = tempfile::tempdir().unwrap();
    let view = Arc::new(empty_view(dir.path()).unwrap());
    let (comparer, _) = comparer(Arc::clone(&view));
    let strand = comparer.strand(5).await.unwrap();
    assert_eq!((strand.old_size, strand.checkpoint.as_str()), (0, ""));
    let fixture = Fixture::town();
    bring(&view, &fixture, NOW_MS).await.unwrap();
    assert_eq!(comparer.strand(5).await.unwrap().old_size, 5);
}
