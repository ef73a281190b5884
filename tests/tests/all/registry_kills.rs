//! A registry is killed again and again while departments write to it: every statement that it acknowledged is in the log
//! once, where it was said to be, and a node verifies the log whole. Over the embedded store and over PostgreSQL.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use host::random::{SeededRandom, below};
use town::harness::eventually;

use crate::{
    postgres_server,
    support::replicas::{LIMIT, Replicas, assert_nothing_is_lost_or_doubled, served, verified},
};

/// How many departments write at once.
const WRITERS: usize = 8;

/// How often the registry is killed: 6 times, or as often as ERRAND_REGISTRY_KILLS says.
fn rounds() -> usize {
    std::env::var("ERRAND_REGISTRY_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

async fn kill_and_compare(store: &str) {
    let mut replicas = Replicas::start_over(store, 1).await;
    let (rounds, random) = (rounds(), SeededRandom::new(20_261_129));
    let (accepted, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut writing = Vec::new();
    for number in 0..WRITERS {
        let mut writer = replicas.department(number).await;
        let (accepted, stop) = (Arc::clone(&accepted), Arc::clone(&stop));
        writing.push(tokio::spawn(async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                writer.add_key(number).await;
                accepted.fetch_add(1, Ordering::Relaxed);
            }
            writer.said
        }));
    }
    for _ in 0..rounds {
        // Counted in statements, so that a slow machine is not killed before it has done anything.
        let until = accepted.load(Ordering::Relaxed) + 8 + usize::try_from(below(&random, 40)).unwrap();
        let reached = eventually(LIMIT, async || accepted.load(Ordering::Relaxed) >= until).await;
        assert!(reached, "statements are accepted again");
        tokio::time::sleep(Duration::from_micros(below(&random, 5_000))).await;
        replicas.replicas[0].kill();
        replicas.replicas[0].start().await;
        replicas.rebalance();
    }
    stop.store(true, Ordering::Relaxed);
    let mut said = Vec::new();
    for writer in writing {
        said.extend(writer.await.unwrap());
    }
    let (entries, checkpoint) = served(&replicas, 0).await;
    assert_nothing_is_lost_or_doubled(&entries, &said);
    assert_eq!(verified(&replicas, &entries, &checkpoint).await, entries.len() as u64);
    println!("{rounds} kills, {} statements acknowledged, {} entries", said.len(), entries.len());
    // The comparison sees what is missing: without the last entries something acknowledged is not there.
    let shorter = entries[..entries.len() - WRITERS].to_vec();
    let compared = std::panic::catch_unwind(|| assert_nothing_is_lost_or_doubled(&shorter, &said));
    assert!(compared.is_err(), "the comparison sees nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_killed_again_and_again_loses_no_acknowledged_statement() {
    kill_and_compare("sled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_over_postgres() {
    let test = "registry_kills::nor_does_one_over_postgres";
    let Some(scratch) = postgres_server::scratch(test).await else { return };
    kill_and_compare(&scratch.url()).await;
}
