//! A log has one history, on real processes: a registry that was restored from an older copy, with or without a mark, signs
//! nothing until it holds what its log had signed; its nodes bring it back, and nobody takes it for a lie. Backups that are
//! no good are refused by name. Out of scope: registries that lie (`lying_registry`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use host::clock::{Clock, SystemClock};
use proto::{
    admin::v1::ChangeDepartmentRequest,
    registry::v1::{SubmitRequest, TellRequest, WatchRequest, submit_response::Outcome},
};
use serde_json::Value;
use town::harness::eventually;
use trust::log::{archive, checkpoint};

use crate::{
    postgres_server,
    support::{
        Place, exit,
        peer::{directory_entries, registry_directory},
        replicas::{LIMIT, Replicas, assert_nothing_is_lost_or_doubled, registry as registry_in, served, verified},
        said,
        stand_in::StolenKeys,
    },
};

/// Two departments with a node each, and a third without one, which is suspended and resumed to make statements.
async fn two_departments() -> Place {
    let place = Place::start(|plan, _| plan.department("civil-affairs").department("housing")).await;
    let keys = StolenKeys::of(&place.town);
    let request = SubmitRequest { envelope: keys.admission("taxation") };
    let outcome = registry_directory(&place.town).submit(request).await.unwrap().into_inner().outcome;
    assert!(matches!(outcome, Some(Outcome::Accepted(_))), "{outcome:?}");
    place
}

/// Says one more thing; the index of the statement.
async fn say(place: &Place, number: usize) -> Result<u64, tonic::Status> {
    let mut admin = place.town.registry().admin().await.expect("it runs");
    let action = if number.is_multiple_of(2) { "suspend" } else { "resume" };
    let request = ChangeDepartmentRequest {
        department: "taxation".to_owned(),
        action: action.to_owned(),
        reason: format!("exercise {number}"),
    };
    Ok(admin.change_department(request).await?.into_inner().index)
}

async fn registry(place: &Place, arguments: &[&str]) -> Output {
    let arguments: Vec<&str> = [&["--json"][..], arguments].concat();
    place.town.registry_cli(&arguments).await.expect("the command runs")
}

fn json(output: &Output) -> Value {
    assert_eq!(exit(output), 0, "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

async fn status(place: &Place) -> Value {
    json(&registry(place, &["status"]).await)
}

/// Whether the registry signs, and every node that runs has all of its directory.
async fn goes_on(place: &Place, size: u64) -> bool {
    let output = registry(place, &["status"]).await;
    // It starts again by itself, and is away for a moment.
    if exit(&output) != 0 {
        return false;
    }
    let status = json(&output);
    status["catching_up"].is_null() && status["directory_size"].as_u64() >= Some(size)
}

async fn assert_no_findings(place: &Place) {
    for node in place.town.nodes().filter(|node| node.id().is_some()) {
        let listed = place.json(node.department(), &["directory", "findings"]).await;
        assert_eq!(listed["findings"], serde_json::json!([]), "{}", node.department());
    }
}

/// Secrets of two officers, as files.
fn secrets(dir: &Path) -> [String; 2] {
    ["one officer's secret", "the other one's secret"].map(|secret| {
        let path = dir.join(secret.split_once('\'').unwrap().0.replace(' ', "-"));
        host::files::write_private_file(&path, secret.as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}

fn events(history: &Value) -> Vec<&str> {
    history["events"].as_array().unwrap().iter().map(|event| event["what"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_restored_from_an_older_backup_gets_back_what_its_nodes_hold_and_goes_on() {
    let place = Arc::new(two_departments().await);
    let dir = place.town.registry().dir().to_owned();
    let [one, other] = secrets(place.dir());
    let (keys, backup) = (place.dir().join("registry.keys"), place.dir().join("registry.backup"));
    let officers = ["--officer", "0007", "--officer", "0008", "--secret-file", &one, "--secret-file", &other];
    let sealing = [&["keys", "backup", "-o", keys.to_str().unwrap()][..], &officers[..]].concat();
    json(&registry(&place, &sealing).await);

    // While statements are made: a backup in the middle, and more after it.
    let (said_so_far, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let writing = tokio::spawn({
        let (place, said_so_far, stop) = (Arc::clone(&place), Arc::clone(&said_so_far), Arc::clone(&stop));
        async move {
            let mut indexes = Vec::new();
            while !stop.load(Ordering::Relaxed) || indexes.len() % 2 == 1 {
                indexes.push(say(&place, indexes.len()).await.expect("acknowledged"));
                said_so_far.store(indexes.len(), Ordering::Relaxed);
            }
            indexes
        }
    });
    let more = async |by: usize| {
        let until = said_so_far.load(Ordering::Relaxed) + by;
        assert!(eventually(LIMIT, async || said_so_far.load(Ordering::Relaxed) >= until).await);
    };
    more(6).await;
    let made = json(&registry(&place, &["backup", "-o", backup.to_str().unwrap()]).await);
    more(6).await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writing.await.unwrap();
    place.town.settled().await.unwrap();
    let before = directory_entries(&place.town).await;
    let (size, backed_up) = (before.len() as u64, made["statements"].as_u64().unwrap());
    assert!(
        backed_up < size && acknowledged.iter().any(|index| *index >= backed_up),
        "some of it is not in the backup"
    );
    assert!(acknowledged.iter().all(|index| *index < size));

    // The machine is lost, and its registry comes back on another, in an empty folder.
    for node in place.town.nodes() {
        node.stop().await.unwrap();
    }
    place.town.registry().kill();
    fs::rename(&dir, place.dir().join("lost")).unwrap();
    let restored = json(&registry(&place, &["restore", backup.to_str().unwrap()]).await);
    assert_eq!(restored["statements"], made["statements"]);
    assert!(restored["marked"] == true && restored["has_keys"] == false, "{restored}");
    let opening = ["keys", "restore", keys.to_str().unwrap(), "--secret-file", &one, "--secret-file", &other];
    json(&registry(&place, &opening).await);
    let config = dir.join("registry.toml");
    let text = fs::read_to_string(&config).unwrap().replace("interval_seconds = 10", "interval_seconds = 1");
    fs::write(&config, text).unwrap();
    place.town.registry().start().await.unwrap();

    // It answers, and signs nothing: not even what it had signed with a newer time.
    let held = status(&place).await;
    assert_eq!(held["catching_up"]["cause"], "restored", "{held}");
    let mut watched = registry_directory(&place.town).watch(WatchRequest { start: 0 }).await.unwrap().into_inner();
    let mut checkpoints = Vec::new();
    for _ in 0..3 {
        let message = watched.message().await.unwrap().expect("it says that it is there");
        assert_eq!(message.catching_up.as_ref().map(|behind| behind.cause.as_str()), Some("restored"));
        checkpoints.push(message.checkpoint);
    }
    assert!(checkpoints.iter().all(|checkpoint| *checkpoint == checkpoints[0]), "{checkpoints:?}");
    assert_eq!(checkpoint::peek(checkpoints[0].as_bytes()).unwrap().size(), backed_up);
    let refused = registry(&place, &["department", "suspend", "housing", "--reason", "now"]).await;
    assert_eq!(exit(&refused), 7, "{}", said(&refused));
    assert!(said(&refused).contains("REGISTRY_CATCHING_UP"), "{}", said(&refused));
    let request = SubmitRequest { envelope: StolenKeys::of(&place.town).admission("justice") };
    let outcome = registry_directory(&place.town).submit(request).await.unwrap().into_inner().outcome;
    let Some(Outcome::Refused(refusal)) = outcome else { panic!("{outcome:?}") };
    assert!(refusal.retry_at_ms > SystemClock.now_ms(), "{refusal:?}");

    // One of two departments brings back all that it lacks; that alone is not more than half of them.
    place.town.node("civil-affairs").start().await.unwrap();
    let whole = async || status(&place).await["directory_size"] == size;
    assert!(eventually(LIMIT, whole).await, "{}", status(&place).await);
    let told = async || json(&registry(&place, &["history"]).await)["told"].as_array().unwrap().len() == 1;
    assert!(eventually(LIMIT, told).await);
    let held = status(&place).await;
    assert_eq!(held["catching_up"]["cause"], "restored", "{held}");
    let shown = place.json("civil-affairs", &["directory", "show"]).await;
    assert_eq!(shown["registry_catching_up"]["cause"], "restored", "{shown}");
    let doctor = place.cli("civil-affairs", &["doctor"]).await;
    assert!(said(&doctor).contains("restored from an older copy"), "{}", said(&doctor));

    // With the other it goes on, with the same roots and nobody's finding.
    place.town.node("housing").start().await.unwrap();
    assert!(
        eventually(LIMIT, async || goes_on(&place, size).await).await,
        "{}",
        said(&registry(&place, &["history"]).await)
    );
    let next = say(&place, 0).await.unwrap();
    place.town.settled().await.unwrap();
    let after = directory_entries(&place.town).await;
    assert_eq!(after[..before.len()], before[..], "the same log goes on");
    assert!(next >= size);
    assert_no_findings(&place).await;
    let history = json(&registry(&place, &["history"]).await);
    assert_eq!(events(&history), ["restored", "imported", "resumed_by_nodes"], "{history}");
    for node in place.town.nodes() {
        let seen =
            async || place.json(node.department(), &["directory", "show"]).await["registry_catching_up"].is_null();
        assert!(eventually(LIMIT, seen).await, "{} still waits", node.department());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_put_back_without_a_mark_is_found_out_before_it_signs() {
    let place = two_departments().await;
    let dir = place.town.registry().dir().to_owned();
    let snapshot = place.dir().join("snapshot");
    place.town.registry().stop().await.unwrap();
    copy(&dir, &snapshot);
    place.town.registry().start().await.unwrap();
    for number in 0..4 {
        say(&place, number).await.unwrap();
    }
    place.town.settled().await.unwrap();
    let before = directory_entries(&place.town).await;
    place.town.registry().kill();
    fs::rename(&dir, place.dir().join("lost")).unwrap();
    copy(&snapshot, &dir);
    // However long the nodes take on a busy machine to look for it.
    let config = dir.join("registry.toml");
    let text = fs::read_to_string(&config).unwrap().replace("listen_first_seconds = 5", "listen_first_seconds = 120");
    fs::write(&config, text).unwrap();
    place.town.registry().start().await.unwrap();

    let size = before.len() as u64;
    assert!(
        eventually(LIMIT, async || goes_on(&place, size).await).await,
        "{}",
        said(&registry(&place, &["history"]).await)
    );
    say(&place, 0).await.unwrap();
    place.town.settled().await.unwrap();
    let after = directory_entries(&place.town).await;
    assert_eq!(after[..before.len()], before[..], "the same log goes on");
    assert_no_findings(&place).await;
    let history = json(&registry(&place, &["history"]).await);
    assert_eq!(events(&history), ["behind", "imported", "resumed_by_nodes"], "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_lost_nothing_asks_its_nodes_and_signs_at_once() {
    let place = two_departments().await;
    place.town.registry().stop().await.unwrap();
    let config = place.town.registry().dir().join("registry.toml");
    let text = fs::read_to_string(&config).unwrap().replace("listen_first_seconds = 5", "listen_first_seconds = 600");
    fs::write(&config, text).unwrap();
    place.town.registry().start().await.unwrap();
    // Long before the ten minutes are over: both nodes have told what they saw.
    let accepted = tokio::time::timeout(LIMIT, say(&place, 0)).await;
    assert!(accepted.is_ok_and(|accepted| accepted.is_ok()));
    assert_no_findings(&place).await;
    let history = json(&registry(&place, &["history"]).await);
    assert_eq!(events(&history), Vec::<&str>::new(), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_no_good_is_refused_by_name_and_leaves_nothing() {
    let mut replicas = Replicas::start_over("sled", 1).await;
    let mut writer = replicas.department(0).await;
    for number in 0..4 {
        writer.add_key(number).await;
    }
    let backup = replicas.dir.path().join("backup");
    replicas.replicas[0].command(&["backup", "-o", backup.to_str().unwrap()]).await;
    let again = registry_in(replicas.replicas[0].dir(), &["backup", "-o", backup.to_str().unwrap()]).await;
    assert_eq!(exit(&again), 2, "no backup is overwritten: {}", said(&again));
    replicas.replicas[0].kill();
    let bytes = fs::read(&backup).unwrap();
    let dir = replicas.dir.path().to_owned();
    let (file, target) = (dir.join("bad"), dir.join("restored"));
    let refused = async |bytes: &[u8], more: &[&str], code: i32, text: &str| {
        fs::write(&file, bytes).unwrap();
        let output = registry_in(&target, &[&["restore", file.to_str().unwrap()][..], more].concat()).await;
        assert_eq!(exit(&output), code, "{text}: {}", said(&output));
        assert!(said(&output).contains(text), "{text}: {}", said(&output));
        assert!(!target.exists(), "{text}: something is left");
    };
    let at =
        |needle: &[u8]| bytes.windows(needle.len()).position(|window| window == needle).expect("it is in the backup");
    // A byte of a statement, of the configuration, of the checkpoint.
    for (inside, name) in [
        (at(b"department-0"), "directory/000000000000"),
        (at(b"checkpoint_interval_seconds"), "registry.toml"),
        (at(b"ninghe/directory\n"), "directory/checkpoint"),
    ] {
        let mut damaged = bytes.clone();
        damaged[inside] ^= 1;
        refused(&damaged, &[], 8, name).await;
    }
    refused(&bytes[..bytes.len() / 2], &[], 8, "damaged").await;
    refused(b"something else", &[], 2, "is no backup of a registry").await;
    let made = registry_in(&dir.join("other"), &["init", "--listen", "127.0.0.1:0", "--tiles", "127.0.0.1:0"]).await;
    assert_eq!(exit(&made), 0, "{}", said(&made));
    let stranger = dir.join("other/authority.pub");
    refused(&bytes, &["--authority", stranger.to_str().unwrap()], 2, "of another exchange").await;

    // Keys of another exchange, and a folder that is in use.
    let keys_of_another = dir.join("another");
    host::files::private_folder(&keys_of_another).unwrap();
    copy(&dir.join("other/keys"), &keys_of_another.join("keys"));
    let output = registry_in(&keys_of_another, &["restore", backup.to_str().unwrap()]).await;
    assert!(exit(&output) == 2 && said(&output).contains("of another exchange"), "{}", said(&output));
    let left: Vec<PathBuf> = fs::read_dir(&keys_of_another).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [keys_of_another.join("keys")]);
    let output = registry_in(&dir.join("other"), &["restore", backup.to_str().unwrap()]).await;
    assert!(exit(&output) == 2 && said(&output).contains("is not empty"), "{}", said(&output));
}

/// The log's checkpoint for more than a restored registry holds, then a file that brings it back, then an officer.
async fn restored_by_hand(store: &str, lose: impl AsyncFnOnce()) {
    let mut replicas = Replicas::start_over(store, 1).await;
    let mut writer = replicas.department(0).await;
    for number in 0..4 {
        writer.add_key(number).await;
    }
    let backup = replicas.dir.path().join("backup");
    let made = replicas.replicas[0].command(&["backup", "-o", backup.to_str().unwrap()]).await;
    for number in 4..9 {
        writer.add_key(number).await;
    }
    let (entries, note) = served(&replicas, 0).await;
    let size = checkpoint::peek(note.as_bytes()).unwrap().size();
    assert!(made["statements"].as_u64().unwrap() < size);
    replicas.replicas[0].kill();
    lose().await;
    let (first, second) = (replicas.replicas[0].dir().to_owned(), replicas.dir.path().join("restored"));
    host::files::private_folder(&second).unwrap();
    copy(&first.join("keys"), &second.join("keys"));
    let output = registry_in(&second, &["restore", backup.to_str().unwrap()]).await;
    assert_eq!(json(&output)["has_keys"], true);
    replicas.replicas[0].move_to(second.clone());
    replicas.replicas[0].start().await;
    replicas.rebalance();

    // Somebody holds the log's word for more: no officer can decide that it was not said.
    let mut client = replicas.history(replicas.replicas[0].address());
    let told = client.tell(TellRequest { note: note.clone() }).await.unwrap().into_inner();
    assert!(told.refused.is_none() && told.lacks, "{told:?}");
    let decision = ["resume", "--officer", "0007", "--reason", "the others are gone"];
    let refused = registry_in(&second, &decision).await;
    assert_eq!(exit(&refused), 7, "{}", said(&refused));
    assert!(said(&refused).contains(&format!("signed for {size} statements")), "{}", said(&refused));

    // Files that do not lead to what the log signed are not taken; the right one is.
    let write = |name: &str, note: &str, entries: &[Vec<u8>]| {
        let path = replicas.dir.path().join(name);
        let mut archive = archive::Writer::begin(fs::File::create(&path).unwrap(), note, 0).unwrap();
        entries.iter().for_each(|entry| archive.entry(entry.clone()).unwrap());
        archive.finish().unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut swapped = entries.clone();
    let last = swapped.len() - 1;
    swapped.swap(last, last - 1);
    for (file, code) in [
        (write("short.directory", &note, &entries[..last]), "MESSAGE_MALFORMED"),
        (write("swapped.directory", &note, &swapped), "DIRECTORY_DIVERGES"),
        (
            write("unsigned.directory", &note.replace("ninghe/directory\n", "ninghe/elsewhere\n"), &entries),
            "SIGNATURE_WRONG",
        ),
    ] {
        let output = registry_in(&second, &["directory", "import", &file]).await;
        assert_eq!(exit(&output), 7, "{file}: {}", said(&output));
        assert!(said(&output).contains(code), "{file}: {}", said(&output));
    }
    let whole = write("whole.directory", &note, &entries);
    let imported = json(&registry_in(&second, &["directory", "import", &whole]).await);
    assert_eq!(imported["statements"], size, "{imported}");

    // No department here has a node: only an officer can decide, and the decision is kept.
    let held = replicas.replicas[0].command(&["status"]).await;
    assert_eq!(held["catching_up"]["cause"], "restored", "{held}");
    json(&registry_in(&second, &decision).await);
    let signs = async || {
        let status = registry_in(&second, &["status"]).await;
        // It starts again by itself, at another port: its ready file comes last.
        let is_ready = second.join(host::ready_file::FILE_NAME).exists();
        exit(&status) == 0 && json(&status)["catching_up"].is_null() && is_ready
    };
    assert!(eventually(LIMIT, signs).await);
    replicas.rebalance();
    writer.add_key(9).await;
    let (after, note) = served(&replicas, 0).await;
    assert_eq!(after[..entries.len()], entries[..], "the same log goes on");
    assert_nothing_is_lost_or_doubled(&after, &writer.said);
    assert_eq!(verified(&replicas, &after, &note).await, after.len() as u64);
    let history = replicas.replicas[0].command(&["history"]).await;
    assert_eq!(events(&history), ["restored", "imported", "resumed_by_officer"], "{history}");
    assert_eq!(history["events"][2]["officer"], "0007", "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lacking_comes_by_hand_and_an_officer_decides_where_no_node_can_tell() {
    restored_by_hand("sled", async || ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_over_postgres_comes_back_from_its_backup_into_an_empty_database() {
    let test = "registry_history::a_registry_over_postgres_comes_back_from_its_backup_into_an_empty_database";
    let Some(scratch) = postgres_server::scratch(test).await else { return };
    restored_by_hand(&scratch.url(), async || {
        scratch.sql("DROP SCHEMA errand_registry CASCADE");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_signed_two_histories_signs_no_third() {
    let mut replicas = Replicas::start_over("sled", 1).await;
    let mut writer = replicas.department(0).await;
    let dir = replicas.replicas[0].dir().to_owned();
    let snapshot = replicas.dir.path().join("snapshot");
    replicas.replicas[0].kill();
    copy(&dir, &snapshot);
    replicas.replicas[0].start().await;
    replicas.rebalance();
    writer.add_key(0).await;
    let (_, first) = served(&replicas, 0).await;
    replicas.replicas[0].kill();
    // Put back, and nobody told it in time: it says something else in the place of what it had said.
    replicas.replicas[0].move_to(snapshot.clone());
    replicas.replicas[0].start().await;
    replicas.rebalance();
    writer.add_key(1).await;
    let mut client = replicas.history(replicas.replicas[0].address());
    let told = client.tell(TellRequest { note: first }).await.unwrap().into_inner();
    assert_eq!(told.refused.map(|refused| refused.code), Some("DIRECTORY_DIVERGES".to_owned()));
    assert_eq!(told.catching_up.map(|held| held.cause), Some("contradicted".to_owned()));
    let refused = registry_in(&snapshot, &["resume", "--officer", "0007", "--reason", "go on"]).await;
    assert!(exit(&refused) == 7 && said(&refused).contains("two histories"), "{}", said(&refused));
    // After a start, too.
    replicas.replicas[0].kill();
    replicas.replicas[0].start().await;
    let status = replicas.replicas[0].command(&["status"]).await;
    assert_eq!(status["catching_up"]["cause"], "contradicted", "{status}");
}
