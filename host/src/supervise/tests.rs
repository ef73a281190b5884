//! The supervisor's promises, without waiting for real seconds where a paused clock will do.

use super::*;
use crate::random::SeededRandom;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

fn supervisor() -> Supervisor {
    Supervisor::new(Arc::new(SeededRandom::new(1)))
}

#[tokio::test]
async fn the_end_of_something_essential_ends_the_program() {
    let supervisor = supervisor();
    supervisor.essential("journal", async { Err("disk full".into()) });
    let error = supervisor.run_until(DEFAULT_DRAIN, std::future::pending).await.unwrap_err();
    assert_eq!(error.to_string(), "journal has failed: disk full");
}

#[tokio::test]
async fn a_return_and_a_panic_are_ends_too() {
    let supervised = supervisor();
    supervised.essential("edge", async { Ok(()) });
    let error = supervised.run_until(DEFAULT_DRAIN, std::future::pending).await.unwrap_err();
    assert_eq!(error.to_string(), "edge has failed: it ended although nothing asked it to");

    let supervised = supervisor();
    supervised.essential("edge", async { panic!("no port") });
    let error = supervised.run_until(DEFAULT_DRAIN, std::future::pending).await.unwrap_err();
    assert_eq!(error.to_string(), "edge has failed: it panicked: no port");
}

#[tokio::test]
async fn a_thread_can_end_the_program() {
    let supervisor = supervisor();
    let fatal = supervisor.fatal();
    std::thread::spawn(move || fatal.report("the writer", "no space left"));
    let error = supervisor.run_until(DEFAULT_DRAIN, std::future::pending).await.unwrap_err();
    assert_eq!(error.to_string(), "the writer has failed: no space left");
}

#[tokio::test]
async fn a_signal_lets_tasks_finish() {
    let supervisor = supervisor();
    let finished = Arc::new(AtomicBool::new(false));
    let (stop, flag) = (supervisor.stop_token(), Arc::clone(&finished));
    supervisor.essential("edge", async move {
        stop.cancelled().await;
        tokio::task::yield_now().await;
        flag.store(true, Ordering::SeqCst);
        Ok(())
    });
    let mut signals = 0;
    let once = async || {
        signals += 1;
        if signals > 1 {
            std::future::pending::<()>().await;
        }
    };
    supervisor.run_until(DEFAULT_DRAIN, once).await.unwrap();
    assert!(finished.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_cut_off_after_the_drain() {
    let supervisor = supervisor();
    supervisor.essential("deaf", std::future::pending());
    supervisor.restarted("deaf too", Restart::default(), std::future::pending);
    let started = tokio::time::Instant::now();
    supervisor.stop_token().cancel();
    supervisor.run_until(Duration::from_secs(10), std::future::pending).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_cuts_at_once() {
    let supervisor = supervisor();
    supervisor.essential("deaf", std::future::pending());
    let started = tokio::time::Instant::now();
    supervisor.run_until(Duration::from_secs(10), async || ()).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_task_comes_back_with_growing_waits() {
    let supervisor = supervisor();
    let runs = Arc::new(AtomicU32::new(0));
    let (count, stop) = (Arc::clone(&runs), supervisor.stop_token());
    let started = tokio::time::Instant::now();
    supervisor.restarted("follower", Restart::default(), move || {
        let (count, stop) = (Arc::clone(&count), stop.clone());
        async move {
            match count.fetch_add(1, Ordering::SeqCst) {
                4 => {
                    stop.cancel();
                    Ok(())
                }
                1 => panic!("even this"),
                2 => Ok(()),
                _ => Err("unreachable".into()),
            }
        }
    });
    supervisor.run_until(DEFAULT_DRAIN, std::future::pending).await.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 5);
    // 200, 400, 800 and 1600 ms, each between half and whole.
    let elapsed = started.elapsed().as_millis();
    assert!((1_500..=3_000 + 10).contains(&elapsed), "{elapsed}");
}

#[test]
fn waits_double_to_a_limit_and_are_jittered() {
    let (restart, random) = (Restart::default(), SeededRandom::new(3));
    for (failures, whole) in [(1, 200), (2, 400), (5, 3_200), (9, 30_000), (u32::MAX, 30_000)] {
        let waits: Vec<u128> = (0..20).map(|_| restart.wait(failures, &random).as_millis()).collect();
        assert!(waits.iter().all(|wait| (whole / 2..=whole).contains(wait)), "{failures}: {waits:?}");
        assert!(waits.iter().any(|wait| wait != &waits[0]), "{waits:?}");
    }
}

#[tokio::test]
async fn a_real_sigterm_ends_the_program_in_order() {
    let supervisor = supervisor();
    let stop = supervisor.stop_token();
    supervisor.essential("edge", async move {
        stop.cancelled().await;
        Ok(())
    });
    let running = tokio::spawn(supervisor.run(DEFAULT_DRAIN));
    // Once our listener stands the default action (death) is gone for the whole process.
    let _listening = signal(SignalKind::terminate()).unwrap();
    while !running.is_finished() {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.await.unwrap().unwrap();
}
