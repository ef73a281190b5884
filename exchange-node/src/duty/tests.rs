//! The due-list: nothing is lost across a restart, an order is kept, and what fails is tried again.

use std::collections::HashMap;

use host::{
    clock::{MockClock, SystemClock},
    random::SeededRandom,
};

use super::*;

/// An empty list in a folder, by a clock.
pub(crate) fn duties(dir: &Path, clock: Arc<dyn Clock>) -> Arc<Duties> {
    Arc::new(Duties::open(dir, clock, Arc::new(SeededRandom::new(7)), |_| ()).unwrap())
}

fn duty(id: &str, order: &str, at_ms: u64) -> Duty {
    Duty { id: id.into(), order: order.into(), at_ms, what: What::Overdue { question: 1 } }
}

/// Fails each duty as often as told, and keeps what was done.
#[derive(Default)]
struct Recorder {
    fail: Mutex<HashMap<String, u32>>,
    done: Mutex<Vec<String>>,
}

impl Actor for Recorder {
    fn act<'a>(&'a self, duty: &'a Duty) -> BoxFuture<'a, Acted> {
        Box::pin(async move {
            if let Some(left) = self.fail.lock().unwrap().get_mut(&duty.id).filter(|left| **left > 0) {
                *left -= 1;
                return Acted::Later(None);
            }
            self.done.lock().unwrap().push(duty.id.clone());
            Acted::Done(vec![Change::row("done", duty.id.clone(), &duty.id)])
        })
    }
}

/// Runs the list until it is empty.
async fn run_down(duties: &Arc<Duties>, actor: &Arc<Recorder>) {
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(duties).run(Arc::clone(actor) as _, stop.clone()));
    let emptied = async {
        while duties.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), emptied).await.expect("everything is done");
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_and_nothing_of_its_order_overtakes_it() {
    let dir = tempfile::tempdir().unwrap();
    let list = duties(dir.path(), Arc::new(SystemClock));
    let put = ["b", "a", "c"].map(|id| Change::Put(duty(id, "one", 0)));
    list.commit(put.into_iter().chain([Change::Put(duty("other", "two", 0))]).collect()).await.unwrap();
    let actor = Arc::new(Recorder::default());
    actor.fail.lock().unwrap().insert("a".into(), 3);
    run_down(&list, &actor).await;
    let done = actor.done.lock().unwrap().clone();
    assert_eq!(done.iter().filter(|id| *id != "other").collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(done[0], "other", "another order does not wait for it");
    assert_eq!(list.rows::<String>("done").unwrap(), ["a", "b", "c", "other"]);
}

#[tokio::test]
async fn a_list_is_there_again_after_a_restart_and_knows_how_far_it_covers_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(MockClock::at(1000));
    let list = duties(dir.path(), Arc::clone(&clock));
    list.commit(vec![Change::Put(duty("late", "one", 5000)), Change::Put(duty("soon", "two", 1000))]).await.unwrap();
    list.commit(vec![Change::Put(duty("soon", "two", 900))]).await.unwrap();
    assert_eq!(list.count(), 2, "the same duty stands there once");
    let under_way = list.announce(7);
    list.cover(12).await.unwrap();
    assert_eq!(list.covered(), 7, "what is under way is not here yet");
    drop(under_way);
    list.cover(12).await.unwrap();
    drop(list);
    let list = duties(dir.path(), clock);
    assert_eq!((list.count(), list.covered()), (2, 12));
    assert_eq!(list.locked().take(1000).map(|duty| duty.id).as_deref(), Some("soon"));
    assert!(list.locked().take(1000).is_none(), "not before its time");
    assert_eq!(list.locked().take(5000).map(|duty| duty.id).as_deref(), Some("late"));
}

#[tokio::test]
async fn what_is_too_long_changes_nothing_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let list = duties(dir.path(), Arc::new(MockClock::at(0)));
    let long = Change::row("book", "key", &"x".repeat(5000));
    assert!(matches!(list.commit(vec![Change::Put(duty("a", "a", 0)), long]).await, Err(Error::TooLong { .. })));
    assert_eq!(list.count(), 0);
    list.commit(vec![Change::Put(duty("a", "a", 0))]).await.unwrap();
    assert_eq!(list.count(), 1);
}

#[tokio::test]
async fn a_webhook_that_never_answers_holds_up_neither_another_one_nor_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let list = duties(dir.path(), Arc::new(MockClock::at(0)));
    let told = |webhook: &str, case: u64| Duty {
        id: format!("{webhook}/{case:02}"),
        order: format!("{webhook}/{case:02}"),
        at_ms: case,
        what: What::Webhook { webhook: webhook.into(), event: case },
    };
    let deaf = (1..=40).map(|case| told("deaf", case));
    let others = ["a", "b", "c", "d"].map(|webhook| told(webhook, 50));
    let all = deaf.chain(others).chain([duty("check", "check", 60)]);
    list.commit(all.map(Change::Put).collect()).await.unwrap();
    let take = || list.locked().take(100).map(|duty| duty.id);
    assert_eq!(take().as_deref(), Some("deaf/01"));
    // One thing at a time to each of them, four of them at once, and whatever else there is.
    for expected in ["a/50", "b/50", "c/50", "check"] {
        assert_eq!(take().as_deref(), Some(expected));
    }
    assert_eq!((take(), list.locked().next_at()), (None, None), "there is no place for what is left");
    list.commit(vec![Change::Done("a/50".into())]).await.unwrap();
    assert_eq!(take().as_deref(), Some("d/50"), "the deaf one has its place already");
    // Where it was told in vain, it is another one's turn; its next is due as before.
    list.locked().again("deaf/01", 1000);
    assert_eq!(list.locked().next_at(), Some(2));
    assert_eq!((take().as_deref(), take()), (Some("deaf/02"), None));
    assert_eq!(list.count(), 44);
}

#[tokio::test]
async fn what_was_tried_in_vain_is_due_at_once_when_what_it_waited_for_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let list = duties(dir.path(), Arc::new(MockClock::at(5000)));
    let put = [("failed", 0), ("running", 0), ("later", 9_000_000)].map(|(id, at_ms)| Change::Put(duty(id, id, at_ms)));
    list.commit(put.into()).await.unwrap();
    let take = || list.locked().take(5000).map(|duty| duty.id);
    assert_eq!((take().as_deref(), take().as_deref()), (Some("failed"), Some("running")));
    list.locked().failed("failed");
    list.locked().again("failed", 9_000_000);
    assert_eq!(take(), None);
    list.hasten(&["failed", "running", "later", "none"].map(str::to_owned));
    assert_eq!(
        (take().as_deref(), take()),
        (Some("failed"), None),
        "neither what is being done, nor what nobody has tried"
    );
}

#[test]
fn a_check_of_a_commitment_is_tried_more_and_more_seldom() {
    let random = SeededRandom::new(1);
    assert!(CHECK_BACK_OFF.wait(1, &random) <= Duration::from_millis(250));
    assert!(BACK_OFF.wait(30, &random) <= Duration::from_secs(300));
    assert!(CHECK_BACK_OFF.wait(30, &random) >= Duration::from_secs(1800));
}
