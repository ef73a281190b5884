//! The committer under many writers and under faults.

use super::*;
use crate::store::SMALL_CACHE_BYTES;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers its jobs; each job is a writer's id and that writer's own count.
struct Numbering {
    next: u64,
    prepared: Arc<AtomicU64>,
    published: Arc<AtomicU64>,
}

impl Numbering {
    fn new() -> Self {
        Self { next: 0, prepared: Arc::default(), published: Arc::default() }
    }
}

impl Sequencer for Numbering {
    type Job = (u32, u32);
    type Done = u64;

    fn prepare(&mut self, jobs: Vec<Self::Job>, writes: &mut Writes) -> Result<Vec<u64>, SequencerFault> {
        let mut done = Vec::with_capacity(jobs.len());
        for (writer, count) in jobs {
            if writer == u32::MAX {
                return Err("this writer may not write".into());
            }
            writes.insert(&self.next.to_be_bytes(), [writer.to_be_bytes(), count.to_be_bytes()].concat());
            done.push(self.next);
            self.next += 1;
        }
        self.prepared.store(self.next, Ordering::SeqCst);
        Ok(done)
    }

    fn committed(&mut self) {
        self.published.store(self.next, Ordering::SeqCst);
    }
}

fn open(path: &Path) -> Store {
    Store::open(path, SMALL_CACHE_BYTES).unwrap()
}

fn start(path: &Path, faults: Option<Faults>) -> (Committer<Numbering>, Arc<Mutex<Vec<String>>>) {
    let fatal = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&fatal);
    let options = CommitterOptions { faults, ..CommitterOptions::default() };
    let committer = Committer::start(open(path), Numbering::new(), options, move |error| {
        seen.lock().unwrap().push(error.to_string());
    });
    (committer.unwrap(), fatal)
}

fn entries(path: &Path) -> Vec<(u64, u32, u32)> {
    let store = open(path);
    let entries = store.db().iter().map(|entry| {
        let (key, value) = entry.unwrap();
        (
            u64::from_be_bytes(key.as_ref().try_into().unwrap()),
            u32::from_be_bytes(value[..4].try_into().unwrap()),
            u32::from_be_bytes(value[4..].try_into().unwrap()),
        )
    });
    entries.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_get_an_order_without_gaps_and_a_reopened_store_has_it_all() {
    const WRITERS: u32 = 16;
    const EACH: u32 = 200;
    let folder = tempfile::tempdir().unwrap();
    let (committer, fatal) = start(folder.path(), None);
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let committer = committer.clone();
        tasks.push(tokio::spawn(async move {
            let mut numbers = Vec::new();
            for count in 0..EACH {
                numbers.push((committer.submit((writer, count)).await.unwrap(), writer, count));
            }
            numbers
        }));
    }
    let mut acknowledged = Vec::new();
    for task in tasks {
        let numbers = task.await.unwrap();
        assert!(numbers.windows(2).all(|pair| pair[0].0 < pair[1].0), "a writer's own order must hold");
        acknowledged.extend(numbers);
    }
    acknowledged.sort_unstable();
    let numbers: Vec<u64> = acknowledged.iter().map(|entry| entry.0).collect();
    assert_eq!(numbers, (0..u64::from(WRITERS * EACH)).collect::<Vec<_>>());

    committer.close().await.unwrap();
    assert!(fatal.lock().unwrap().is_empty());
    assert_eq!(entries(folder.path()), acknowledged);
}

#[tokio::test]
async fn closing_commits_what_was_submitted_and_refuses_what_comes_after() {
    let folder = tempfile::tempdir().unwrap();
    let (committer, _) = start(folder.path(), None);
    let mut pending = Vec::new();
    for count in 0..100 {
        pending.push(committer.enqueue((1, count)).await.unwrap());
    }
    committer.close().await.unwrap();
    for (number, pending) in (0..).zip(pending) {
        assert_eq!(pending.wait().await.unwrap(), number);
    }
    let refused = committer.submit((1, 100)).await.unwrap_err();
    assert_eq!(refused.to_string(), "the writer has stopped: it was closed");
    // A second close is no error.
    committer.close().await.unwrap();
    assert_eq!(entries(folder.path()).len(), 100);
}

async fn fails_at(point: CommitPoint) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut groups = 0;
    let faults: Faults = Box::new(move |at| {
        groups += usize::from(at == CommitPoint::BeforeApply);
        // The first groups pass, so that there is something to keep.
        at == point && groups > 3
    });
    let (committer, fatal) = start(folder.path(), Some(faults));
    let mut acknowledged = Vec::new();
    let reason = loop {
        match committer.submit((1, u32::try_from(acknowledged.len()).unwrap())).await {
            Ok(number) => acknowledged.push(number),
            Err(stopped) => break stopped.to_string(),
        }
    };
    assert!(reason.contains("a fault was injected"), "{reason}");
    assert!(committer.submit((2, 0)).await.is_err(), "nothing is acknowledged after a fault");
    assert!(committer.close().await.is_err());
    assert_eq!(fatal.lock().unwrap().len(), 1, "the program must be told, once");
    let kept = entries(folder.path());
    for number in &acknowledged {
        assert!(kept.iter().any(|entry| entry.0 == *number), "acknowledged {number} is gone");
    }
    (acknowledged.len(), kept.len())
}

#[tokio::test]
async fn a_fault_before_applying_leaves_nothing_of_the_group() {
    assert_eq!(fails_at(CommitPoint::BeforeApply).await, (3, 3));
}

#[tokio::test]
async fn a_fault_after_applying_acknowledges_nothing() {
    let (acknowledged, kept) = fails_at(CommitPoint::AfterApply).await;
    assert_eq!(acknowledged, 3);
    assert!(kept == 3 || kept == 4, "{kept}");
}

#[tokio::test]
async fn a_fault_after_persisting_keeps_the_group_and_tells_nobody() {
    assert_eq!(fails_at(CommitPoint::AfterPersist).await, (3, 4));
}

#[tokio::test]
async fn a_sequencers_fault_and_its_panic_stop_the_writer() {
    struct Panicking;
    impl Sequencer for Panicking {
        type Job = ();
        type Done = ();
        fn prepare(&mut self, _: Vec<()>, _: &mut Writes) -> Result<Vec<()>, SequencerFault> {
            panic!("the head is missing")
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (committer, _) = start(&folder.path().join("a"), None);
    let stopped = committer.submit((u32::MAX, 0)).await.unwrap_err();
    assert!(stopped.to_string().ends_with("this writer may not write"), "{stopped}");

    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let store = open(&folder.path().join("b"));
    let committer = Committer::start(store, Panicking, CommitterOptions::default(), move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    })
    .unwrap();
    let stopped = committer.submit(()).await.unwrap_err();
    assert!(stopped.to_string().ends_with("the writer panicked: the head is missing"), "{stopped}");
    assert!(committer.close().await.is_err());
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_value_that_the_store_would_not_sync_is_never_written() {
    struct Long(usize);
    impl Sequencer for Long {
        type Job = ();
        type Done = ();
        fn prepare(&mut self, jobs: Vec<()>, writes: &mut Writes) -> Result<Vec<()>, SequencerFault> {
            writes.insert("key", vec![0; self.0]);
            self.0 += 1;
            Ok(jobs)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let committer =
        Committer::start(open(folder.path()), Long(MAX_VALUE_BYTES), CommitterOptions::default(), |_| ()).unwrap();
    committer.submit(()).await.unwrap();
    let stopped = committer.submit(()).await.unwrap_err();
    assert!(stopped.to_string().contains("4097 bytes"), "{stopped}");
}

#[tokio::test]
async fn readers_hear_of_a_group_only_once_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let sequencer = Numbering::new();
    let (prepared, published) = (Arc::clone(&sequencer.prepared), Arc::clone(&sequencer.published));
    let (at_fault, watched) = (Arc::clone(&published), Arc::new(AtomicU64::new(u64::MAX)));
    let seen = Arc::clone(&watched);
    let faults: Faults = Box::new(move |point| {
        if point == CommitPoint::AfterPersist {
            seen.store(at_fault.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        false
    });
    let options = CommitterOptions { faults: Some(faults), ..CommitterOptions::default() };
    let committer = Committer::start(open(folder.path()), sequencer, options, |_| ()).unwrap();
    committer.submit((1, 0)).await.unwrap();
    assert_eq!(watched.load(Ordering::SeqCst), 0, "not yet published when it had just become durable");
    assert_eq!((prepared.load(Ordering::SeqCst), published.load(Ordering::SeqCst)), (1, 1));
}

/// What stands in the files at the moment of acknowledgement: all that a killed process would leave behind.
#[tokio::test]
async fn what_is_acknowledged_is_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let (committer, _) = start(&path, None);
    for count in 0..5_u32 {
        committer.submit((1, count)).await.unwrap();
        let copy = folder.path().join(format!("copy-{count}"));
        std::fs::create_dir(&copy).unwrap();
        for file in ["conf", "db"] {
            std::fs::copy(path.join(file), copy.join(file)).unwrap();
        }
        assert_eq!(entries(&copy).len(), count as usize + 1);
    }
    committer.close().await.unwrap();
}

#[test]
fn a_thread_outside_the_runtime_can_submit() {
    let folder = tempfile::tempdir().unwrap();
    let (committer, _) = start(folder.path(), None);
    assert_eq!(committer.submit_blocking((1, 0)).unwrap(), 0);
    assert_eq!(committer.submit_blocking((1, 1)).unwrap(), 1);
}

#[test]
fn only_a_writer_with_several_callers_takes_a_breath() {
    let took = Duration::from_micros(200);
    assert_eq!(breath(1, took), Duration::ZERO);
    assert_eq!(breath(2, took), took * 3);
    assert_eq!(breath(2, Duration::from_secs(1)), LONGEST_BREATH);
}
