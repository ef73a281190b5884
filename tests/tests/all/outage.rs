//! When the registry is away: nodes go on with the view they hold until its lifetime ends, say so from half of it on,
//! refuse then, and recover by themselves when it returns, or with a file that somebody carries to them.

use std::{fs, sync::Arc, time::Duration};

use proto::office::v1::State;
use town::harness::eventually;

use crate::{
    interop::open_note,
    support::{
        MARRIED, Place, exit, marital_status,
        peer::{directory_entries, now_ms},
        said,
        stand_in::{Saying, StandIn, StolenKeys, root_of},
        verdict,
    },
};

const LIMIT: Duration = Duration::from_secs(60);
const LIFETIME_MS: u64 = 240 * 3_600_000;
/// How long the views in this test are still good after the last word.
const LEFT_MS: u64 = 12_000;

async fn state(place: &Place, department: &str) -> String {
    place.json(department, &["status"]).await["directory_state"].as_str().unwrap_or_default().to_owned()
}

async fn is_answered(place: &Place) -> bool {
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    answer.state() == State::Answered && verdict(&answer).verdict() == proto::exchange::v1::Verdict::Match
}

/// The code of the refusal, or empty.
async fn refused(place: &Place) -> String {
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    answer.refusal.map(|refusal| refusal.code).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_grows_old_expires_and_is_revived_by_hand_and_by_the_registrys_return() {
    let place = Place::civil_affairs_and_housing().await;
    let keys = Arc::new(StolenKeys::of(&place.town));
    let entries = directory_entries(&place.town).await;
    // Somebody who can still reach the registry exports the directory, for later.
    let file = place.dir().join("ninghe.directory");
    let exported = place.town.registry_cli(&["directory", "export", "-o", file.to_str().unwrap()]).await.unwrap();
    assert_eq!(exit(&exported), 0, "{}", said(&exported));

    // Both nodes begin anew with a view that was vouched for almost a lifetime ago: as if the registry had been away.
    place.town.registry().stop().await.unwrap();
    for node in place.town.nodes() {
        node.stop().await.unwrap();
        fs::rename(node.dir().join("directory"), node.dir().join("directory.before")).unwrap();
    }
    let (size, root, signing) = (entries.len() as u64, root_of(&entries), Arc::clone(&keys));
    let saying = Saying {
        entries: entries.clone(),
        skips: 0,
        checkpoint: Arc::new(move || signing.sign(size, root, now_ms() - LIFETIME_MS + LEFT_MS)),
        cosigned: false,
        witnessed: Vec::new(),
    };
    let last_word = StandIn::stand_at(&place.town.registry().address(), &keys, saying).await;
    for node in place.town.nodes() {
        node.start().await.unwrap();
    }
    // Old as it is: everything works, and everybody says that it is old.
    assert!(eventually(LIMIT, async || is_answered(&place).await).await, "an old view is good until it expires");
    for department in ["civil-affairs", "housing"] {
        assert!(eventually(LIMIT, async || state(&place, department).await == "ageing").await, "{department}");
    }
    let status = place.cli("housing", &["status"]).await;
    assert!(said(&status).contains("older than half its lifetime"), "{}", said(&status));
    let doctor = place.json("housing", &["doctor"]).await;
    let is_told = |finding: &serde_json::Value| finding["check"] == "directory" && finding["level"] == "warning";
    assert!(doctor["findings"].as_array().unwrap().iter().any(is_told), "{doctor}");
    let log = place.town.node("housing").log();
    let warned = async || fs::read_to_string(&log).unwrap().contains("older than half its lifetime");
    assert!(eventually(LIMIT, warned).await, "it stands in the log");

    // Silence, until the lifetime ends.
    last_word.leave().await;
    assert!(eventually(LIMIT, async || refused(&place).await == "DIRECTORY_EXPIRED").await, "it expires");
    for department in ["civil-affairs", "housing"] {
        assert!(eventually(LIMIT, async || state(&place, department).await == "expired").await, "{department}");
    }
    let doctor = place.cli("housing", &["doctor"]).await;
    assert_ne!(exit(&doctor), 0);
    assert!(said(&doctor).contains("nothing is asked or answered"), "{}", said(&doctor));

    // Housing is brought the file: its view is fresh, and as old as the file's checkpoint.
    let imported = place.json("housing", &["directory", "import", file.to_str().unwrap()]).await;
    assert_eq!((imported["added"].as_u64(), &imported["state"]), (Some(0), &"fresh".into()), "{imported}");
    assert!(imported["younger_ms"].as_u64().unwrap() > LIFETIME_MS / 2, "{imported}");
    let shown = place.json("housing", &["directory", "show"]).await;
    assert_eq!((&shown["state"], &shown["registry_reachable"]), (&"fresh".into(), &false.into()), "{shown}");
    // Civil affairs is not: it refuses, signed, and says why.
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!((answer.state(), answer.refused_by.as_str()), (State::Refused, "ninghe/civil-affairs"), "{answer:?}");
    assert_eq!(answer.refusal.unwrap().code, "DIRECTORY_EXPIRED");

    // The registry returns, and nobody has to do anything.
    place.town.registry().start().await.unwrap();
    let back = std::time::Instant::now();
    assert!(eventually(LIMIT, async || is_answered(&place).await).await, "it recovers by itself");
    println!("recovered {} ms after the registry was back", back.elapsed().as_millis());
    assert_eq!(state(&place, "civil-affairs").await, "fresh");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_goes_from_node_to_node_as_a_file_and_a_file_that_was_altered_is_refused() {
    let place = Place::start(|plan, _| plan.department("civil-affairs").department("housing")).await;
    // Housing is cut off; then something is said that it does not hear.
    place.town.node("housing").stop().await.unwrap();
    place.town.registry_cli(&["department", "suspend", "civil-affairs", "--reason", "r"]).await.unwrap();
    let heard = async || {
        let shown = place.json("civil-affairs", &["directory", "show"]).await;
        shown["size"].as_u64() == Some(directory_entries(&place.town).await.len() as u64)
    };
    assert!(eventually(LIMIT, heard).await);
    place.town.registry().stop().await.unwrap();
    place.town.node("housing").start().await.unwrap();
    let before = place.json("housing", &["directory", "show"]).await;

    let size = before["size"].as_u64().unwrap().to_string();
    let file = place.dir().join("view");
    let path = file.to_str().unwrap();
    place.json("civil-affairs", &["directory", "export", "-o", path, "--from", &size]).await;
    let again = place.cli("civil-affairs", &["directory", "export", "-o", path]).await;
    assert_eq!(exit(&again), 2, "a file is never overwritten: {}", said(&again));

    // Every file in it is what a C2SP log serves: a program that nobody here wrote reads the checkpoint.
    let bytes = fs::read(&file).unwrap();
    let checkpoint = String::from_utf8_lossy(&bytes[512..]).split('\0').next().unwrap().to_owned();
    assert!(open_note(&checkpoint, &StolenKeys::of(&place.town).vkey()).is_some(), "{checkpoint}");

    let altered = place.dir().join("altered");
    let mut wrong = bytes.clone();
    let place_of = wrong.windows(13).rposition(|window| window == b"civil-affairs").expect("an entry names it");
    wrong[place_of] ^= 1;
    fs::write(&altered, wrong).unwrap();
    let refused = place.cli("housing", &["directory", "import", altered.to_str().unwrap()]).await;
    assert_eq!(exit(&refused), 7, "{}", said(&refused));
    assert!(said(&refused).contains("DIRECTORY_DIVERGES"), "{}", said(&refused));
    fs::write(&altered, b"no directory at all").unwrap();
    let refused = place.cli("housing", &["directory", "import", altered.to_str().unwrap()]).await;
    assert_eq!(exit(&refused), 7, "{}", said(&refused));
    let after = place.json("housing", &["directory", "show"]).await;
    assert_eq!((&after["size"], &after["root"]), (&before["size"], &before["root"]));
    assert_eq!(after["findings"], 1, "the altered one is kept: {after}");

    let imported = place.json("housing", &["directory", "import", path]).await;
    assert_eq!(imported["added"], 1, "{imported}");
    let listed = place.json("housing", &["directory", "show"]).await;
    assert_eq!(listed["size"], imported["size"]);
    let again = place.json("housing", &["directory", "import", path]).await;
    assert_eq!((&again["added"], &again["younger_ms"]), (&0.into(), &0.into()), "{again}");
}
