//! Nodes watch over the registry for each other: they cosign what they verified, the registry serves it, and where the
//! authority's profile requires witnesses their time is the view's age. A registry that tells two stories gets its
//! witnesses for one of them.

use std::{fs, sync::Arc, time::Duration};

use serde_json::Value;
use town::harness::eventually;
use trust::{directory::Directory, log::note::SignedNote, witness};

use crate::{
    interop::{get, open_note},
    support::{
        MARRIED, Place, exit, marital_status,
        peer::{directory_entries, now_ms},
        said,
        stand_in::{Saying, StandIn, StolenKeys, follow, root_of},
        verdict,
    },
};

const LIMIT: Duration = Duration::from_secs(60);

async fn show(place: &Place, department: &str) -> Value {
    place.json(department, &["directory", "show"]).await
}

fn departments(shown: &Value) -> Vec<String> {
    let witnesses = shown["witnesses"].as_array().unwrap_or_else(|| panic!("{shown}"));
    let mut named: Vec<String> =
        witnesses.iter().filter_map(|witness| witness["department"].as_str()).map(str::to_owned).collect();
    named.sort();
    named
}

async fn served(place: &Place) -> Value {
    let output = place.town.registry_cli(&["directory", "witnesses", "--json"]).await.unwrap();
    assert_eq!(exit(&output), 0, "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

/// Has the authority require so many witnesses.
async fn require(place: &Place, witnesses: u32) {
    let shown = place.town.registry_cli(&["profile", "show"]).await.unwrap();
    assert_eq!(exit(&shown), 0, "{}", said(&shown));
    let text = String::from_utf8(shown.stdout).unwrap();
    let changed: String = text
        .lines()
        .map(|line| match line.split_once('=') {
            Some((name, _)) if name.trim() == "witnesses_required" => format!("witnesses_required = {witnesses}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(text.trim(), changed.trim(), "{text}");
    let file = place.dir().join("profile.toml");
    fs::write(&file, changed).unwrap();
    let officer = ["--officer", "0007", "--document", "宁数〔2026〕12号"];
    let set = [&["profile", "set", file.to_str().unwrap()][..], &officer].concat();
    let set = place.town.registry_cli(&set).await.unwrap();
    assert_eq!(exit(&set), 0, "{}", said(&set));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_cosign_the_directory_and_the_registry_serves_it() {
    let place = Place::start(|plan, _| plan.department("civil-affairs").department("housing")).await;
    let both = async || departments(&served(&place).await) == ["civil-affairs", "housing"];
    assert!(eventually(LIMIT, both).await, "{}", served(&place).await);
    assert_eq!(served(&place).await["required"], 0);

    // On the tile port, for every tool: the log's own lines as ever, and below them the witnesses'.
    let address = place.town.registry().tile_address();
    let entries = directory_entries(&place.town).await;
    let mut directory = Directory::new("ninghe".parse().unwrap(), place.town.authority_key().parse().unwrap());
    entries.iter().for_each(|entry| directory.apply(entry).unwrap());
    let cosigned = async || {
        let note = String::from_utf8(get(&address, "checkpoint").await).unwrap();
        assert!(open_note(&note, &StolenKeys::of(&place.town).vkey()).is_some(), "{note}");
        let note = SignedNote::parse(note.as_bytes()).unwrap();
        witness::cosignatures(&directory, &note, u64::MAX).len() == 2
    };
    assert!(eventually(LIMIT, cosigned).await, "both stand below the checkpoint");
    // And in every node's view.
    for department in ["civil-affairs", "housing"] {
        let known = async || departments(&show(&place, department).await) == ["civil-affairs", "housing"];
        assert!(eventually(LIMIT, known).await, "{department}: {}", show(&place, department).await);
    }

    // The registry keeps them: nobody is there to say it again.
    let before = served(&place).await;
    for node in place.town.nodes() {
        node.stop().await.unwrap();
    }
    place.town.registry().stop().await.unwrap();
    place.town.registry().start().await.unwrap();
    let after = served(&place).await;
    assert_eq!(departments(&after), departments(&before), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_two_witnesses_are_required_their_time_is_the_views_age() {
    let place = Place::civil_affairs_and_housing().await;
    require(&place, 2).await;
    for department in ["civil-affairs", "housing"] {
        let required = async || {
            let shown = show(&place, department).await;
            shown["witnesses_required"] == 2 && shown["state"] == "fresh" && departments(&shown).len() == 2
        };
        assert!(eventually(LIMIT, required).await, "{department}: {}", show(&place, department).await);
        let shown = show(&place, department).await;
        let mut times: Vec<u64> =
            shown["witnesses"].as_array().unwrap().iter().filter_map(|one| one["cosigned_ms"].as_u64()).collect();
        times.sort_unstable();
        assert_eq!(shown["vouched_ms"].as_u64(), Some(times[0]), "the second newest of two: {shown}");
    }
    // The registry is away, and both start again: what the witnesses said is known still.
    place.town.registry().stop().await.unwrap();
    for node in place.town.nodes() {
        node.stop().await.unwrap();
        node.start().await.unwrap();
    }
    assert_eq!(show(&place, "housing").await["state"], "fresh");
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&answer).verdict(), proto::exchange::v1::Verdict::Match);
    // One witness falls silent: the log goes on vouching, the age stands still.
    place.town.registry().start().await.unwrap();
    place.town.node("civil-affairs").stop().await.unwrap();
    let stands = show(&place, "housing").await;
    let newer = async || {
        let shown = show(&place, "housing").await;
        shown["log_vouched_ms"].as_u64() > stands["log_vouched_ms"].as_u64()
            && shown["witnesses"][0]["cosigned_ms"].as_u64() > stands["witnesses"][0]["cosigned_ms"].as_u64()
    };
    assert!(eventually(LIMIT, newer).await, "{stands}");
    let alone = show(&place, "housing").await;
    let silent = alone["witnesses"].as_array().unwrap().iter().find(|one| one["department"] == "civil-affairs");
    assert_eq!(alone["vouched_ms"], silent.unwrap()["cosigned_ms"], "{alone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_exchange_that_requires_witnesses_does_not_lock_itself_out() {
    // There is nobody yet who could cosign; the first two departments come all the same.
    let place = Place::start(|plan, _| plan.department("housing")).await;
    require(&place, 2).await;
    let alone = async || {
        let shown = show(&place, "housing").await;
        shown["witnesses_required"] == 2 && shown["state"] == "never_read"
    };
    assert!(eventually(LIMIT, alone).await, "one is not two: {}", show(&place, "housing").await);
    let doctor = place.cli("housing", &["doctor"]).await;
    assert!(said(&doctor).contains("fewer than 2 departments"), "{}", said(&doctor));

    let token = place.dir().join("health.token");
    let token = token.to_str().unwrap();
    let admit = ["department", "admit", "health", "--name", "卫生健康委员会", "--uscc", "118900000000010112"];
    let admitted = place.town.registry_cli(&[&admit[..], &["-o", token]].concat()).await.unwrap();
    assert_eq!(exit(&admitted), 0, "{}", said(&admitted));
    let dir = place.dir().join("town/health");
    let init = ["init", "--token-file", token, "--address", "127.0.0.1:0", "--office-address", "127.0.0.1:0"];
    let dir_text = dir.to_str().unwrap();
    let made = place.cli("housing", &[&init[..], &["--dir", dir_text]].concat()).await;
    assert_eq!(exit(&made), 0, "{}", said(&made));
    let mut node = tokio::process::Command::new(place.town.programs().exchange_node())
        .args(["serve", "--config"])
        .arg(dir.join("node.toml"))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let together = async || {
        let shown = show(&place, "housing").await;
        shown["state"] == "fresh" && departments(&shown) == ["health", "housing"]
    };
    assert!(eventually(LIMIT, together).await, "{}", show(&place, "housing").await);
    node.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_forks_gets_its_witnesses_for_one_story_only() {
    let place =
        Place::start(|plan, _| plan.department("civil-affairs").department("health").department("housing")).await;
    require(&place, 2).await;
    let entries = directory_entries(&place.town).await;
    let keys = StolenKeys::of(&place.town);
    place.town.registry().stop().await.unwrap();

    // Civil affairs and health hear one story, housing another; each story is signed, and true in every statement. All
    // begin anew, so that nobody remembers what was cosigned before.
    let mut liars = Vec::new();
    for (admitted, hearing) in [("taxation", &["civil-affairs", "health"][..]), ("justice", &["housing"])] {
        let mut told = entries.clone();
        told.push(keys.admission(admitted));
        let (size, root, signing) = (told.len() as u64, root_of(&told), StolenKeys::of(&place.town));
        let checkpoint = Arc::new(move || signing.sign(size, root, now_ms()));
        let saying = Saying { entries: told, skips: 0, checkpoint, cosigned: true, witnessed: Vec::new() };
        let liar = StandIn::stand_at("127.0.0.1:0", &keys, saying).await;
        for department in hearing {
            let node = place.town.node(department);
            node.stop().await.unwrap();
            fs::rename(node.dir().join("directory"), node.dir().join("directory.before")).unwrap();
            follow(node, &liar.address());
            node.start().await.unwrap();
        }
        liars.push(liar);
    }
    for department in ["civil-affairs", "health"] {
        let fresh = async || show(&place, department).await["state"] == "fresh";
        assert!(eventually(LIMIT, fresh).await, "{department}: {}", show(&place, department).await);
    }
    // The thief shows housing what the others have cosigned: it is of another history, and counts for nothing there.
    let theirs = liars[0].notes();
    assert!(theirs.len() >= 2);
    liars[1].say(|saying| saying.witnessed = theirs);
    let alone = async || departments(&show(&place, "housing").await) == ["housing"];
    assert!(eventually(LIMIT, alone).await, "{}", show(&place, "housing").await);
    let shown = show(&place, "housing").await;
    assert_eq!(shown["size"], entries.len() + 1, "it has verified its story: {shown}");
    assert_eq!(shown["state"], "never_read", "and nobody else vouches for it: {shown}");
    let usable = place.json("housing", &["status"]).await;
    assert_eq!(usable["directory_state"], "never_read", "{usable}");
    for liar in liars {
        liar.leave().await;
    }
}
