//! How one source is asked without hurting it or us: so many questions at once, each for so long, and after several
//! failures in a row none at all for a while, so that a source that is down costs nobody's patience and one that comes
//! back is not run over. Out of scope: what is asked.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use host::clock::Clock;
use tokio::{sync::Semaphore, time::Instant};

use super::{raw::Trouble, settings::Bounds};

/// What stands before one source.
pub struct Guard {
    bounds: Bounds,
    permits: Arc<Semaphore>,
    breaker: Mutex<Breaker>,
    clock: Arc<dyn Clock>,
}

/// Whether a source may be asked. A state machine of its own, so that it can be tested without a source.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    paused_until_ms: Option<u64>,
    /// One question is on its way to find out whether the source is back.
    trying: bool,
    last: String,
}

impl Breaker {
    /// Whether to ask now.
    fn admit(&mut self, now_ms: u64) -> Result<(), Trouble> {
        match self.paused_until_ms {
            Some(until_ms) if now_ms < until_ms || self.trying => Err(Trouble::Down(format!(
                "it is left alone for a while after {} failures in a row; the last: {}",
                self.failures, self.last
            ))),
            Some(_) => {
                self.trying = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn record(&mut self, failure: Option<&str>, bounds: &Bounds, now_ms: u64) {
        self.trying = false;
        let Some(reason) = failure else {
            *self = Self::default();
            return;
        };
        self.failures = self.failures.saturating_add(1);
        reason.clone_into(&mut self.last);
        if self.failures >= bounds.failures {
            let pause_ms = u64::try_from(bounds.pause.as_millis()).unwrap_or(u64::MAX);
            self.paused_until_ms = Some(now_ms.saturating_add(pause_ms));
        }
    }
}

impl Guard {
    /// A guard within `bounds`.
    pub fn new(bounds: Bounds, clock: Arc<dyn Clock>) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(bounds.at_once));
        Arc::new(Self { bounds, permits, breaker: Mutex::default(), clock })
    }

    /// Asks the source by `question`, if it may be asked. The question goes on where nobody waits for it any more, so that
    /// its outcome is known and its connection is left clean; it ends with the source's own time limit.
    ///
    /// # Errors
    /// The source's trouble, or that it is slow, full or left alone.
    pub async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl Future<Output = Result<T, Trouble>> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.put(None, question).await
    }

    /// The same of a source that stops looking once it is no longer asked: the question ends with whoever waits for it. Only
    /// where that is later than the service promises to answer (`promise`) has the source failed: an asker in a hurry shuts
    /// nobody's door.
    ///
    /// # Errors
    /// As [`Guard::ask`].
    pub async fn ask_while_awaited<T: Send + 'static>(
        self: &Arc<Self>,
        promise: Duration,
        question: impl Future<Output = Result<T, Trouble>> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.put(Some(promise), question).await
    }

    async fn put<T: Send + 'static>(
        self: &Arc<Self>,
        promise: Option<Duration>,
        question: impl Future<Output = Result<T, Trouble>> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.breaker().admit(self.clock.now_ms())?;
        let mut attempt = Attempt { guard: Arc::clone(self), told: false };
        let (limit, permits) = (self.bounds.timeout, Arc::clone(&self.permits));
        // Goes with whoever waits.
        let (waiting, gone) = tokio::sync::oneshot::channel::<()>();
        let asking = tokio::spawn(async move {
            let begun = Instant::now();
            let outcome = tokio::time::timeout(limit, async move {
                let permit = permits.acquire_owned().await;
                let _permit = permit.map_err(|_| Trouble::Down("the node is stopping".to_owned()))?;
                question.await
            });
            let given_up = async move {
                match promise {
                    Some(promise) => {
                        let _ = gone.await;
                        promise
                    }
                    None => std::future::pending().await,
                }
            };
            let outcome = tokio::select! {
                outcome = outcome => outcome.unwrap_or_else(|_| Err(Trouble::Down(slow(limit)))),
                promise = given_up => {
                    // Whoever waits has counted from a moment before.
                    match begun.elapsed() >= promise * 9 / 10 {
                        true => attempt.tell(Some(&slow(promise))),
                        false => attempt.leave(),
                    }
                    return Err(Trouble::Down("nobody waits for it any more".to_owned()));
                }
            };
            attempt.tell(match &outcome {
                Err(Trouble::Down(reason)) => Some(reason),
                Ok(_) | Err(Trouble::Wrong(_)) => None,
            });
            outcome
        });
        let outcome = asking.await;
        drop(waiting);
        outcome.unwrap_or_else(|error| Err(Trouble::Down(format!("asking it ended: {error}"))))
    }

    /// The last failure, while there was no success since.
    pub fn trouble(&self) -> Option<String> {
        let breaker = self.breaker();
        (breaker.failures > 0).then(|| breaker.last.clone())
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question under way. One that ends without a word, by a panic, has failed: otherwise the source would be "tried" for
/// ever, and never asked again.
struct Attempt {
    guard: Arc<Guard>,
    told: bool,
}

impl Attempt {
    fn tell(&mut self, failure: Option<&str>) {
        self.told = true;
        self.guard.breaker().record(failure, &self.guard.bounds, self.guard.clock.now_ms());
    }

    /// It says nothing of the source: it was given up too early.
    fn leave(&mut self) {
        self.told = true;
        self.guard.breaker().trying = false;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.told {
            self.tell(Some("asking it ended without an answer"));
        }
    }
}

/// What is said of a source that takes too long.
pub fn slow(limit: std::time::Duration) -> String {
    format!("it took longer than {} ms", limit.as_millis())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use host::clock::MockClock;

    use super::*;

    fn bounds() -> Bounds {
        Bounds { at_once: 2, timeout: Duration::from_secs(1), failures: 3, pause: Duration::from_secs(5) }
    }

    fn down() -> Result<(), Trouble> {
        Err(Trouble::Down("no route".to_owned()))
    }

    #[tokio::test]
    async fn a_source_that_fails_is_left_alone_then_tried_once_then_asked_again() {
        let clock = Arc::new(MockClock::at(1_000_000));
        let guard = Guard::new(bounds(), Arc::clone(&clock) as _);
        for _ in 0..3 {
            assert_eq!(guard.ask(async { down() }).await, down());
        }
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = |outcome: Result<(), Trouble>| {
            let (guard, asked) = (Arc::clone(&guard), Arc::clone(&asked));
            async move {
                guard
                    .ask(async move {
                        asked.fetch_add(1, Ordering::SeqCst);
                        outcome
                    })
                    .await
            }
        };
        let alone = ask(Ok(())).await.unwrap_err().to_string();
        assert!(alone.contains("3 failures in a row") && alone.contains("no route"), "{alone}");
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        clock.advance(Duration::from_secs(5));
        // The trial fails: left alone again.
        assert_eq!(ask(down()).await, down());
        assert!(ask(Ok(())).await.is_err());
        clock.advance(Duration::from_secs(5));
        // Tried by one alone, while the others wait for what comes of it.
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let trial = {
            let guard = Arc::clone(&guard);
            tokio::spawn(async move {
                guard.ask(async move { receiver.await.map_err(|_| Trouble::Down(String::new())) }).await
            })
        };
        while !guard.breaker().trying {
            tokio::task::yield_now().await;
        }
        assert!(ask(Ok(())).await.is_err());
        sender.send(()).unwrap();
        trial.await.unwrap().unwrap();
        assert_eq!(ask(Ok(())).await, Ok(()));
        assert_eq!(guard.trouble(), None);
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_question_does_not_shut_the_source() {
        let guard = Guard::new(bounds(), Arc::new(MockClock::at(1)));
        for _ in 0..10 {
            let wrong = guard.ask(async { Err::<(), _>(Trouble::Wrong("no such column".to_owned())) }).await;
            assert_eq!(wrong, Err(Trouble::Wrong("no such column".to_owned())));
        }
        assert_eq!(guard.ask(async { Ok(7) }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_source_fails_in_its_time_also_where_nobody_waits() {
        let guard = Guard::new(bounds(), Arc::new(MockClock::at(1)));
        let slow = guard.ask(std::future::pending::<Result<(), Trouble>>()).await.unwrap_err();
        assert_eq!(slow, Trouble::Down("it took longer than 1000 ms".to_owned()));
        let asked = guard.ask(std::future::pending::<Result<(), Trouble>>());
        assert!(tokio::time::timeout(Duration::from_millis(10), asked).await.is_err());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(guard.breaker().failures, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_ends_and_is_a_failure_only_past_what_was_promised() {
        let guard = Guard::new(bounds(), Arc::new(MockClock::at(1)));
        let promise = Duration::from_millis(500);
        for (waited_ms, failures) in [(100, 0), (600, 1)] {
            let (held, mut gone) = tokio::sync::oneshot::channel::<()>();
            let question = async move {
                let _held = held;
                std::future::pending::<Result<(), Trouble>>().await
            };
            let asked = guard.ask_while_awaited(promise, question);
            assert!(tokio::time::timeout(Duration::from_millis(waited_ms), asked).await.is_err());
            // Far sooner than the source's own limit.
            let ended = tokio::time::timeout(Duration::from_millis(10), &mut gone).await;
            assert!(ended.is_ok_and(|held| held.is_err()), "it is put down");
            assert_eq!((guard.permits.available_permits(), guard.breaker().failures), (2, failures));
        }
        // What is waited for is answered as ever.
        assert_eq!(guard.ask_while_awaited(promise, async { Ok(7) }).await, Ok(7));
        assert_eq!(guard.breaker().failures, 0);
    }

    #[tokio::test]
    async fn only_so_many_are_asked_at_once() {
        let guard = Guard::new(bounds(), Arc::new(MockClock::at(1)));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..20).map(|_| {
            let (guard, now, most) = (Arc::clone(&guard), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let question = async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                guard.ask(question).await.unwrap();
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_question_that_panics_counts_as_a_failure() {
        let guard = Guard::new(bounds(), Arc::new(MockClock::at(1)));
        let outcome = guard.ask::<()>(async { panic!("in a driver") }).await;
        assert!(matches!(outcome, Err(Trouble::Down(_))));
        assert_eq!(guard.breaker().failures, 1);
    }
}
