//! The registry's own keys, on real processes: the log's and the authority's change, and everybody follows; the
//! authority's may stay on a machine without a network, and what it signs is carried by hand. Out of scope: departments'
//! keys (`key_life`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use host::tls::{ConnectorOptions, PeerConnector, TlsKeyDigest};
use serde_json::Value;
use tokio::process::Command;
use town::harness::eventually;
use trust::{
    directory::Directory,
    log::checkpoint::{self, LogKey},
};

use crate::support::{
    MARRIAGE, MARRIED, Place, exit, marital_status,
    peer::{EXCHANGE, directory_entries},
    said, verdict,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a `registry` command that must end well, and reads its JSON.
async fn registry(place: &Place, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = [&["--json"][..], arguments].concat();
    let output = place.town.registry_cli(&arguments).await.expect("the command runs");
    assert_eq!(exit(&output), 0, "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said(&output)))
}

/// The checkpoint that the registry serves over HTTP, as any tool would fetch it.
async fn served_checkpoint(place: &Place) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(place.town.registry().tile_address()).await.unwrap();
    stream.write_all(b"GET /checkpoint HTTP/1.1\r\nhost: registry\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

fn opens(checkpoint: &str, public_key: &str) -> bool {
    let bytes: [u8; 32] = data_encoding::HEXLOWER.decode(public_key.as_bytes()).unwrap().try_into().unwrap();
    let key = LogKey::new(format!("{EXCHANGE}/directory").parse().unwrap(), &bytes).unwrap();
    // By a crate that nobody here wrote, too.
    let verifier = signed_note::StandardVerifier::new(&key.plain().to_string()).unwrap();
    let list = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let note = signed_note::Note::from_bytes(checkpoint.as_bytes()).unwrap();
    let by_another = note.verify(&list).is_ok();
    assert_eq!(by_another, checkpoint::open(checkpoint.as_bytes(), &key).is_ok());
    by_another
}

/// The keys of a role, the one in force last.
async fn public_keys(place: &Place, role: &str) -> Vec<String> {
    let listed = registry(place, &["keys", "list"]).await;
    let keys = listed["keys"].as_array().unwrap().iter().filter(|key| key["role"] == role);
    keys.map(|key| key["public_key"].as_str().unwrap().to_owned()).collect()
}

async fn export(place: &Place, receipt: &str, name: &str) -> PathBuf {
    let file = place.dir().join(name);
    place.json("housing", &["evidence", "export", receipt, "-o", file.to_str().unwrap()]).await;
    file
}

async fn is_sound(place: &Place, bundle: &Path, authority: &str) -> bool {
    let arguments = ["evidence", "verify", bundle.to_str().unwrap(), "--authority", authority, "--json"];
    let output = place.cli("housing", &arguments).await;
    let told: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    told["sound"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_key_rotates_and_nodes_bundles_and_other_tools_follow() {
    let place = Place::civil_affairs_and_housing().await;
    let before = place.ask(marital_status(&MARRIED, "married")).await;
    let old_bundle = export(&place, &before.receipt, "before.evidence").await;
    // One node is away while the key changes.
    place.town.node("civil-affairs").stop().await.unwrap();
    registry(&place, &["keys", "rotate-log", "--reason", "yearly change"]).await;
    registry(&place, &["keys", "rotate-log", "--reason", "and once more"]).await;
    let [first, second, third]: [String; 3] = public_keys(&place, "log").await.try_into().unwrap();
    let checkpoint = served_checkpoint(&place).await;
    assert!(opens(&checkpoint, &third) && opens(&checkpoint, &second), "the key in force, and the one before it");
    assert!(!opens(&checkpoint, &first));

    place.town.node("civil-affairs").start().await.unwrap();
    place.town.settled().await.unwrap();
    let after = place.ask(marital_status(&MARRIED, "married")).await;
    verdict(&after);
    let new_bundle = export(&place, &after.receipt, "after.evidence").await;
    for bundle in [&old_bundle, &new_bundle] {
        assert!(is_sound(&place, bundle, place.town.authority_key()).await, "{}", bundle.display());
    }
    // The registry and the nodes start again with what they keep.
    place.town.registry().stop().await.unwrap();
    place.town.registry().start().await.unwrap();
    for node in place.town.nodes() {
        node.stop().await.unwrap();
        node.start().await.unwrap();
    }
    registry(&place, &["state", "commit"]).await;
    place.town.settled().await.unwrap();
    verdict(&place.ask(marital_status(&MARRIED, "married")).await);
    for node in place.town.nodes() {
        let told = place.cli(node.department(), &["doctor", "--json"]).await;
        assert!(!said(&told).contains("directory log"), "{}", said(&told));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authoritys_key_rotates_and_whoever_has_either_key_follows() {
    let place = Place::civil_affairs_and_housing().await;
    let old = place.town.authority_key().to_owned();
    let before = place.ask(marital_status(&MARRIED, "married")).await;
    let old_bundle = export(&place, &before.receipt, "before.evidence").await;
    registry(&place, &["authority", "rotate", "--reason", "yearly change"]).await;
    place.town.settled().await.unwrap();
    let [first, new]: [String; 2] = public_keys(&place, "authority").await.try_into().unwrap();
    assert_eq!(first, old);
    let published = fs::read_to_string(place.town.registry().dir().join("authority.pub")).unwrap();
    assert_eq!(published.trim(), new);
    assert_eq!(registry(&place, &["status"]).await["authority_key"], new.as_str());

    let after = place.ask(marital_status(&MARRIED, "married")).await;
    let new_bundle = export(&place, &after.receipt, "after.evidence").await;
    for key in [&old, &new] {
        assert!(is_sound(&place, &new_bundle, key).await, "{key}");
    }
    assert!(is_sound(&place, &old_bundle, &old).await);
    let stranger = "aa".repeat(32);
    let refused = ["evidence", "verify", new_bundle.to_str().unwrap(), "--authority", &stranger];
    assert_ne!(exit(&place.cli("housing", &refused).await), 0);

    // What the authority says from now on is signed with the new key, also after a restart.
    registry(&place, &["department", "suspend", "housing", "--reason", "inquiry"]).await;
    place.town.registry().stop().await.unwrap();
    place.town.registry().start().await.unwrap();
    registry(&place, &["department", "resume", "housing", "--reason", "over"]).await;
    place.town.settled().await.unwrap();
    verdict(&place.ask(marital_status(&MARRIED, "married")).await);

    // A department that comes now is told of the new key alone, and reads the directory back to its founding.
    let token = place.dir().join("health.token");
    let admit = ["department", "admit", "health", "--name", "卫生健康局", "--uscc", "118900000000010112"];
    registry(&place, &[&admit[..], &["-o", token.to_str().unwrap()]].concat()).await;
    assert!(fs::read_to_string(&token).unwrap().contains(&new));
    let dir = place.dir().join("health");
    let joined = init(&place, &token, &dir).await;
    assert_eq!(exit(&joined), 0, "{}", said(&joined));
    assert!(fs::read_to_string(dir.join("node.toml")).unwrap().contains(&new));
}

/// `exchange-node init` for another department.
async fn init(place: &Place, token: &Path, dir: &Path) -> Output {
    let mut init = Command::new(place.town.programs().exchange_node());
    init.arg("init").arg("--token-file").arg(token).args(["--address", "127.0.0.1:0"]).arg("--dir").arg(dir);
    init.output().await.expect("init runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_the_authoritys_key_admits_suspends_and_revokes_by_a_file_carried_by_hand() {
    let place = Place::civil_affairs_and_housing().await;
    let safe = place.dir().join("authority.key");
    // While the key is here: a service that will wait for its review.
    let profile = place.dir().join("profile.toml");
    fs::write(&profile, "[services]\nreview_new = true\n").unwrap();
    registry(&place, &["profile", "set", profile.to_str().unwrap()]).await;
    place.town.settled().await.unwrap();
    let second = place.dir().join("second.yaml");
    fs::write(&second, MARRIAGE.replace("version: \"1.0\"", "version: \"2\"")).unwrap();
    place.json("civil-affairs", &["service", "publish", second.to_str().unwrap()]).await;
    place.town.registry().stop().await.unwrap();
    fs::rename(place.town.registry().dir().join("keys/authority.key"), &safe).unwrap();
    place.town.registry().start().await.unwrap();
    let path = |name: &str| place.dir().join(name).to_str().unwrap().to_owned();

    let token = path("health.token");
    let admit = ["department", "admit", "health", "--name", "卫生健康局", "--uscc", "118900000000010112", "-o", &token];
    registry(&place, &admit).await;
    let dir = place.dir().join("health");
    for _ in 0..2 {
        let waiting = init(&place, Path::new(&token), &dir).await;
        assert_ne!(exit(&waiting), 0);
        assert!(said(&waiting).contains("the authority signs the admission on its own machine"), "{}", said(&waiting));
    }
    let suspended = registry(&place, &["department", "suspend", "housing", "--reason", "inquiry"]).await;
    assert!(suspended["waiting"].is_string(), "{suspended}");
    let waiting = registry(&place, &["authority", "waiting"]).await;
    assert_eq!(waiting["statements"].as_array().unwrap().len(), 2, "asking twice makes no second one: {waiting}");
    what_waits_is_never_called_done(&place).await;
    // Until it is signed, it is not so.
    verdict(&place.ask(marital_status(&MARRIED, "married")).await);

    let (request, signed) = (path("request.json"), path("signed.json"));
    registry(&place, &["authority", "export-request", "-o", &request]).await;
    // The machine of the authority's key has the program, the key and the file.
    let shown = place.town.registry_cli(&["authority", "show", &request]).await.unwrap();
    let words = said(&shown);
    assert!(words.contains("ADMITS the department health (卫生健康局"), "{words}");
    assert!(words.contains("SUSPENDS the department housing") && words.contains("inquiry"), "{words}");
    let wrong_key = path("wrong.key");
    registry(&place, &["authority", "new-key", &wrong_key]).await;
    let wrong = place.town.registry_cli(&["authority", "sign", &request, "--key", &wrong_key, "--yes"]).await.unwrap();
    assert_eq!(exit(&wrong), 2, "{}", said(&wrong));
    // Whoever is asked and says anything but yes has signed nothing.
    let safe = safe.to_str().unwrap();
    let asked = place.town.registry_cli(&["authority", "sign", &request, "--key", safe, "-o", &signed]).await.unwrap();
    assert!(said(&asked).contains("Nothing was signed"), "{}", said(&asked));
    assert!(!Path::new(&signed).exists());
    registry(&place, &["authority", "sign", &request, "--key", safe, "-o", &signed, "--yes"]).await;

    // What was carried cannot be altered on its way: a signature fits its statement alone.
    let text = fs::read_to_string(&signed).unwrap();
    let mut swapped: Value = serde_json::from_str(&text).unwrap();
    let statements = swapped["statements"].as_array_mut().unwrap();
    let (one, other) = (statements[0]["signatures"].clone(), statements[1]["signatures"].clone());
    (statements[0]["signatures"], statements[1]["signatures"]) = (other, one);
    let altered = path("altered.json");
    fs::write(&altered, swapped.to_string()).unwrap();
    let refused = place.town.registry_cli(&["authority", "submit", &altered]).await.unwrap();
    assert_eq!(exit(&refused), 7, "{}", said(&refused));

    let submitted = registry(&place, &["authority", "submit", &signed]).await;
    assert_eq!(submitted["outcomes"].as_array().unwrap().len(), 2, "{submitted}");
    assert_eq!(registry(&place, &["authority", "waiting"]).await["statements"].as_array().unwrap().len(), 0);
    let joined = init(&place, Path::new(&token), &dir).await;
    assert_eq!(exit(&joined), 0, "{}", said(&joined));
    place.town.settled().await.unwrap();
    let refused = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(refused.refusal.unwrap().code, "DEPARTMENT_SUSPENDED");
    // Brought in once more, it is where it was.
    registry(&place, &["authority", "submit", &signed]).await;

    // The keys themselves change this way too.
    let new_key = path("authority-new.key");
    let made = registry(&place, &["authority", "new-key", &new_key]).await;
    let rotate =
        ["authority", "rotate", "--reason", "yearly change", "--new-key", made["public_key"].as_str().unwrap()];
    assert!(registry(&place, &rotate).await["waiting"].is_string());
    assert!(registry(&place, &["keys", "rotate-log", "--reason", "yearly change"]).await["waiting"].is_string());
    let (request, signed) = (path("request-2.json"), path("signed-2.json"));
    registry(&place, &["authority", "export-request", "-o", &request]).await;
    let sign = ["authority", "sign", &request, "--key", safe, "--key", &new_key, "-o", &signed, "--yes"];
    registry(&place, &sign).await;
    // The log's change was signed by both authority keys, and comes after the authority's: the new one counts there.
    registry(&place, &["authority", "submit", &signed]).await;
    place.town.settled().await.unwrap();
    assert_eq!(public_keys(&place, "authority").await.len(), 2);
    assert_eq!(public_keys(&place, "log").await.len(), 2);
    let mut directory = Directory::new(EXCHANGE.parse().unwrap(), place.town.authority_key().parse().unwrap());
    for entry in directory_entries(&place.town).await {
        directory.apply(&entry).unwrap();
    }
    let log_key = directory.log_key().unwrap().to_string();
    assert!(opens(&served_checkpoint(&place).await, &log_key));
}

/// An operator who reads "approved" or "has ended" carries nothing to the authority's key.
async fn what_waits_is_never_called_done(place: &Place) {
    let profile = place.dir().join("profile.toml");
    fs::write(&profile, "[services]\nreview_new = false\n").unwrap();
    // A day that is named, so that the same said twice is the same statement.
    let day = ["--from", "2027-01-01"];
    let commands = [
        vec!["review", "approve", "civil-affairs/marriage-registration"],
        vec!["review", "return", "civil-affairs/marriage-registration", "--missing", "the article"],
        vec!["profile", "set", profile.to_str().unwrap()],
        [&["department", "rename", "housing", "--name", "住房和城乡建设局"][..], &day].concat(),
        [&["department", "close", "housing", "--reason", "机构改革方案"][..], &day].concat(),
    ];
    for command in commands {
        let waiting = registry(place, &command).await;
        let id = waiting["waiting"].as_str().unwrap_or_else(|| panic!("{command:?}: {waiting}"));
        assert!(waiting["statement"].is_null(), "{command:?}: {waiting}");
        let told = said(&place.town.registry_cli(&command).await.unwrap());
        for part in [id, "authority's signature", "registry authority export-request"] {
            assert!(told.contains(part), "{command:?}: {told}");
        }
        for wrong in ["statement 0", "hold from now on", "has ended"] {
            assert!(!told.contains(wrong), "{command:?}: {told}");
        }
        registry(place, &["authority", "drop", id]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registrys_tls_key_renews_and_nodes_follow() {
    let place = Place::civil_affairs_and_housing().await;
    let shown = async || registry(&place, &["keys", "list"]).await["tls_key"].as_str().unwrap().to_owned();
    let before = shown().await;
    registry(&place, &["keys", "renew-tls", "--lead-hours", "0"]).await;
    assert!(eventually(PATIENCE, async || shown().await != before).await);
    let digest: TlsKeyDigest = shown().await.parse().unwrap();
    let connector =
        PeerConnector::new([place.town.registry().address()], [digest], None, ConnectorOptions::default()).unwrap();
    connector.connect().await.expect("new connections meet the new key");
    // Nodes that start with the old key in their configuration find it by the directory.
    for node in place.town.nodes() {
        node.stop().await.unwrap();
        node.start().await.unwrap();
    }
    let reachable =
        eventually(PATIENCE, async || place.json("housing", &["status"]).await["registry_reachable"] == true).await;
    assert!(reachable);
    // And the registry starts with the new one.
    place.town.registry().stop().await.unwrap();
    place.town.registry().start().await.unwrap();
    assert_eq!(shown().await, digest.to_string());
}

/// The rules know the case of a log key that nobody has any more: the authority and a new key sign, and every node goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_key_lost_without_a_copy_is_replaced_and_every_node_follows() {
    let place = Place::civil_affairs_and_housing().await;
    let before = place.ask(marital_status(&MARRIED, "married")).await;
    let old_bundle = export(&place, &before.receipt, "before.evidence").await;
    let replace = ["keys", "replace-log", "--lost", "the disk broke, and its copy with it"];
    let running = place.town.registry_cli(&replace).await.unwrap();
    assert_ne!(exit(&running), 0, "a registry that runs has its key: {}", said(&running));
    place.town.registry().stop().await.unwrap();
    let there = place.town.registry_cli(&replace).await.unwrap();
    assert!(said(&there).contains("rotate-log"), "{}", said(&there));
    fs::remove_file(place.town.registry().dir().join("keys/log.key")).unwrap();
    registry(&place, &replace).await;
    place.town.registry().start().await.unwrap();

    let replaced = eventually(PATIENCE, async || {
        // While it listens it may be asked for nothing.
        let listed = place.town.registry_cli(&["--json", "keys", "list"]).await.unwrap();
        exit(&listed) == 0 && said(&listed).matches("\"role\": \"log\"").count() == 2
    })
    .await;
    assert!(replaced, "said once the nodes were heard");
    let [first, second]: [String; 2] = public_keys(&place, "log").await.try_into().unwrap();
    let checkpoint = served_checkpoint(&place).await;
    assert!(opens(&checkpoint, &second) && !opens(&checkpoint, &first));
    place.town.settled().await.unwrap();
    let after = place.ask(marital_status(&MARRIED, "married")).await;
    verdict(&after);
    let new_bundle = export(&place, &after.receipt, "after.evidence").await;
    for bundle in [&old_bundle, &new_bundle] {
        assert!(is_sound(&place, bundle, place.town.authority_key()).await, "{}", bundle.display());
    }
    for node in place.town.nodes() {
        let told = place.json(node.department(), &["status"]).await;
        assert_eq!(told["registry_reachable"], true, "{told}");
    }
}
