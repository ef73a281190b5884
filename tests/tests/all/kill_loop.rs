//! Both nodes are killed at random moments under load, again and again: afterwards everything that was acknowledged is in
//! the evidence, on both sides, and both logs verify from the first entry to the last.

use futures_util::future::join_all;
use host::random::{SeededRandom, below};

use crate::support::{Place, evidence, load};

/// How often a node is killed.
const ROUNDS: u64 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_thirty_kills() {
    let place = Place::civil_affairs_and_housing().await;
    let random = SeededRandom::new(20_261_123);
    let load = load::Load::begin(&place.town.office("housing").await.unwrap(), 16);
    load.goes_on(50).await;
    for round in 0..ROUNDS {
        // Counted in answers, so that a slow machine is not killed before it has done anything.
        load.goes_on(below(&random, 60)).await;
        tokio::time::sleep(std::time::Duration::from_micros(below(&random, 20_000))).await;
        let victims: &[&str] = match round % 3 {
            0 => &["civil-affairs"],
            1 => &["housing"],
            _ => &["housing", "civil-affairs"],
        };
        for victim in victims {
            place.town.node(victim).kill();
        }
        for started in join_all(victims.iter().map(|victim| place.town.node(victim).start())).await {
            started.unwrap();
        }
    }
    load.goes_on(50).await;
    let told = load.end().await;
    for node in place.town.nodes() {
        node.stop().await.unwrap();
    }
    let asker = evidence::read(place.town.node("housing").dir());
    let answerer = evidence::read(place.town.node("civil-affairs").dir());
    println!(
        "{ROUNDS} rounds, {} results told, {} and {} entries of evidence",
        told.len(),
        asker.verified.entries,
        answerer.verified.entries
    );
    load::assert_nothing_is_lost(&told, &asker, answerer);
}
