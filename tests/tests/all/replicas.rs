//! Three registries over one database accept statements at once and keep one log; one of them may die, the database may
//! go away for a while, a department may come in through any of them.

use std::time::Duration;

use exchange_node::view::View;
use trust::key::Signer;

use town::harness::eventually;

use crate::{
    postgres_server,
    support::{
        MARRIED, WIDOWED, marital_status,
        replicas::{LIMIT, Replicas, assert_nothing_is_lost_or_doubled, http, is_serving, registry, served, verified},
    },
};

/// How many departments write at each registry.
const WRITERS: usize = 8;

/// How many statements each makes: 25, or as many as ERRAND_REPLICA_STATEMENTS says.
fn statements() -> usize {
    std::env::var("ERRAND_REPLICA_STATEMENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(25)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_registries_accept_at_once_and_keep_one_log_though_one_is_killed() {
    let test = "replicas::three_registries_accept_at_once_and_keep_one_log_though_one_is_killed";
    let Some(scratch) = postgres_server::scratch(test).await else { return };
    let mut replicas = Replicas::start(&scratch, 3).await;
    let statements = statements();
    let mut writers = Vec::new();
    for number in 0..3 * WRITERS {
        writers.push(replicas.department(number).await);
    }
    let (progress, mut so_far) = tokio::sync::watch::channel(0_usize);
    let writing: Vec<_> = writers
        .into_iter()
        .map(|mut writer| {
            let progress = progress.clone();
            tokio::spawn(async move {
                for number in 0..statements {
                    writer.add_key(number).await;
                    progress.send_modify(|count| *count += 1);
                }
                writer.said
            })
        })
        .collect();
    // In the middle of it, counted in statements and not in time.
    so_far.wait_for(|count| *count >= 3 * WRITERS * statements / 2).await.unwrap();
    replicas.replicas[1].kill();
    let mut said = Vec::new();
    for writer in writing {
        said.extend(writer.await.unwrap());
    }
    assert_eq!(said.len(), 3 * WRITERS * (statements + 1));

    // It comes back, and has what was said while it was dead.
    replicas.replicas[1].start().await;
    replicas.rebalance();
    let (entries, checkpoint) = served(&replicas, 0).await;
    assert_nothing_is_lost_or_doubled(&entries, &said);
    assert_eq!(verified(&replicas, &entries, &checkpoint).await, entries.len() as u64);
    for number in [1, 2] {
        // The one that came back may announce itself meanwhile.
        let same = async || {
            let (ours, _) = served(&replicas, 0).await;
            ours.starts_with(&entries) && served(&replicas, number).await.0 == ours
        };
        assert!(eventually(LIMIT, same).await, "registry {number} serves another log");
    }
    let announced = {
        let dir = tempfile::tempdir().unwrap();
        let authority = replicas.authority().public_key();
        let view = View::open(dir.path(), &"ninghe".parse().unwrap(), authority, |reason| panic!("{reason}")).unwrap();
        view.accept(0, entries.clone(), &checkpoint, 0).await.unwrap();
        let seen = view.seen();
        seen.directory().registry().unwrap().addresses.clone()
    };
    for replica in [0, 2] {
        let address = replicas.replicas[replica].address().to_string();
        assert!(announced.contains(&address), "{address} is not announced: {announced:?}");
    }
    println!("{} statements by {} writers, {} entries", said.len(), 3 * WRITERS, entries.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn three_registries_take_anchors_at_once_and_keep_one_second_log() {
    let test = "replicas::three_registries_take_anchors_at_once_and_keep_one_second_log";
    let Some(scratch) = postgres_server::scratch(test).await else { return };
    let mut replicas = Replicas::start(&scratch, 3).await;
    const LOGS: usize = 6;
    const ANCHORS: usize = 12;
    let mut writers = Vec::new();
    for number in 0..LOGS {
        let mut writer = replicas.department(number).await;
        writer.add_key(0).await;
        writers.push(writer);
    }
    let anchoring: Vec<_> = writers
        .into_iter()
        .enumerate()
        .map(|(number, mut writer)| {
            // Each goes from registry to registry, so that every one has to know what the others took.
            let mut clients: Vec<_> = (0..3).map(|replica| replicas.anchors((number + replica) % 3)).collect();
            tokio::spawn(async move {
                let mut indexes = Vec::new();
                for turn in 0..ANCHORS {
                    indexes.push(writer.anchor(0, &mut clients[turn % 3]).await);
                }
                indexes
            })
        })
        .collect();
    let mut indexes = Vec::new();
    for anchored in anchoring {
        indexes.extend(anchored.await.unwrap());
    }
    indexes.sort_unstable();
    let all = LOGS * ANCHORS;
    assert_eq!(indexes, (0..all as u64).collect::<Vec<_>>(), "one log, without gap or double");

    // One has the directory take it; all serve what was taken, one that was away meanwhile too.
    replicas.replicas[2].kill();
    let taken = replicas.replicas[1].command(&["anchors", "take"]).await;
    assert_eq!(taken["taken"], all, "{taken}");
    replicas.replicas[2].start().await;
    let checkpoint = http(replicas.replicas[1].tiles(), "/anchors/checkpoint").await;
    assert_eq!(checkpoint.status, 200);
    for number in 0..3 {
        let same = async || {
            let tiles = replicas.replicas[number].tiles();
            http(tiles, "/anchors/checkpoint").await.body == checkpoint.body
                && http(tiles, &format!("/anchors/tile/0/000.p/{all}")).await.status == 200
        };
        assert!(eventually(LIMIT, same).await, "registry {number} does not show what was taken");
        let verified = replicas.replicas[number].command(&["anchors", "verify"]).await;
        assert_eq!((&verified["entries"], &verified["logs"]), (&all.into(), &LOGS.into()), "{verified}");
        let listed = replicas.replicas[number].command(&["anchors", "list"]).await;
        let listed = listed["anchors"].as_array().unwrap();
        assert!(listed.len() == LOGS && listed.iter().all(|log| log["size"] == ANCHORS), "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_key_changes_once_every_registry_holds_the_next_one() {
    let test = "replicas::the_logs_key_changes_once_every_registry_holds_the_next_one";
    let Some(scratch) = postgres_server::scratch(test).await else { return };
    let mut replicas = Replicas::start(&scratch, 2).await;
    let dirs = [0, 1].map(|number: usize| replicas.replicas[number].dir().join("keys"));
    let in_force = async |number: usize| {
        let listed = replicas.replicas[number].command(&["keys", "list"]).await;
        let mut keys = listed["keys"].as_array().unwrap().clone();
        keys.retain(|key| key["role"] == "log" && key["in_force"] == true);
        (keys[0]["key_id"].as_str().unwrap().to_owned(), keys[0]["here"] == true)
    };
    let rotate = ["keys", "rotate-log", "--reason", "yearly change"];
    let before = in_force(0).await;
    let output = registry(&dirs[0].join(".."), &rotate).await;
    let refused = crate::support::said(&output);
    assert!(!output.status.success(), "{refused}");
    let other = replicas.replicas[1].address().to_string();
    assert!(refused.contains(&other) && refused.contains("log.next.key"), "{refused}");
    assert_eq!((in_force(0).await, in_force(1).await), (before.clone(), before.clone()));

    let copied = std::process::Command::new("cp").arg("-p").arg(dirs[0].join("log.next.key")).arg(&dirs[1]).status();
    assert!(copied.unwrap().success());
    let rotated = eventually(LIMIT, async || registry(&dirs[0].join(".."), &rotate).await.status.success());
    assert!(rotated.await, "the other registry takes the key up");
    let after = in_force(0).await;
    assert!(after.0 != before.0 && after.1);
    let followed = eventually(LIMIT, async || in_force(1).await == after && !dirs[1].join("log.next.key").exists());
    assert!(followed.await, "the other registry goes on with it");
    assert!(dirs[1].join("log.old.key").exists());

    // Both sign on, with either key, and after a restart too.
    let mut writer = replicas.department(0).await;
    for number in 0..6 {
        writer.add_key(number).await;
    }
    replicas.replicas[1].kill();
    replicas.replicas[1].start().await;
    replicas.rebalance();
    for number in 6..12 {
        writer.add_key(number).await;
    }
    for number in [0, 1] {
        let all = async || served(&replicas, number).await.0.len() >= writer.said.len();
        assert!(eventually(LIMIT, all).await);
        let (entries, checkpoint) = served(&replicas, number).await;
        assert_nothing_is_lost_or_doubled(&entries, &writer.said);
        assert_eq!(verified(&replicas, &entries, &checkpoint).await, entries.len() as u64);
    }
    Box::pin(the_tls_key_is_renewed_once_every_registry_holds_the_next_one(&mut replicas)).await;
}

/// Behind one address nodes would meet a key that they accept only now and then.
async fn the_tls_key_is_renewed_once_every_registry_holds_the_next_one(replicas: &mut Replicas) {
    let folders = [0, 1].map(|number: usize| replicas.replicas[number].dir().to_owned());
    let file = |number: usize, name: &str| folders[number].join("keys").join(name);
    let before = std::fs::read(file(1, "tls.pem")).unwrap();
    let renew = ["keys", "renew-tls", "--lead-hours", "0"];
    let output = registry(&folders[0], &renew).await;
    let refused = crate::support::said(&output);
    let other = replicas.replicas[1].address().to_string();
    assert!(!output.status.success(), "{refused}");
    assert!(refused.contains(&other) && refused.contains("tls.next.pem"), "{refused}");
    let copied =
        std::process::Command::new("cp").arg("-p").arg(file(0, "tls.next.pem")).arg(folders[1].join("keys")).status();
    assert!(copied.unwrap().success());
    assert!(eventually(LIMIT, async || registry(&folders[0], &renew).await.status.success()).await);
    let taken_up = async || {
        let [one, two] = [0, 1].map(|number| std::fs::read(file(number, "tls.pem")).unwrap());
        one == two && one != before && !file(1, "tls.next.pem").exists()
    };
    assert!(eventually(LIMIT, taken_up).await, "both answer with the new key");

    // One that was away meanwhile does not announce its old key in the new one's place: it says what to copy.
    replicas.replicas[1].kill();
    std::fs::write(file(1, "tls.pem"), &before).unwrap();
    let started = tokio::time::timeout(LIMIT, registry(&folders[1], &["serve"])).await;
    let told = crate::support::said(&started.expect("it does not start"));
    assert!(told.contains("copy keys/tls.pem"), "{told}");
    std::fs::copy(file(0, "tls.pem"), file(1, "tls.pem")).unwrap();
    replicas.replicas[1].start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_department_comes_in_through_any_registry_with_a_token_of_another() {
    let test = "replicas::a_department_comes_in_through_any_registry_with_a_token_of_another";
    let Some(scratch) = postgres_server::scratch(test).await else { return };
    let mut replicas = Replicas::start(&scratch, 2).await;
    let token = replicas.dir.path().join("civil-affairs.token");
    let admit = ["department", "admit", "civil-affairs", "--name", "民政局", "--uscc", "118900000000010112", "-o"];
    let path = token.display().to_string();
    replicas.replicas[0].command(&[&admit[..], &[path.as_str()]].concat()).await;
    // Every registry knows of it, and the one that made it is not needed any more.
    let listed = replicas.replicas[1].command(&["department", "list"]).await;
    assert_eq!(listed["departments"][0]["state"], "awaiting enrolment");
    replicas.replicas[0].kill();
    let node = replicas.dir.path().join("node");
    let program = town::harness::Programs::find().unwrap().exchange_node();
    let mut init = tokio::process::Command::new(program);
    init.arg("init").arg("--token-file").arg(&token).args(["--address", "127.0.0.1:7443", "--dir"]).arg(&node);
    let output = init.output().await.unwrap();
    assert!(output.status.success(), "{}", crate::support::said(&output));
    let listed = replicas.replicas[1].command(&["department", "list"]).await;
    assert_eq!(listed["departments"][0]["state"], "admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_registry_says_so_and_loses_nothing() {
    let test = "replicas::while_the_database_is_away_the_registry_says_so_and_loses_nothing";
    let Some(mut scratch) = postgres_server::own(test).await else { return };
    let replicas = Replicas::start(&scratch, 2).await;
    let mut writer = replicas.department(0).await;
    for number in 0..5 {
        writer.add_key(number).await;
    }
    let tiles = replicas.replicas[0].tiles();
    let get = async |path: &str| http(tiles, path).await;
    let checkpoint = String::from_utf8(get("/checkpoint").await.body).unwrap();
    let size: u64 = checkpoint.lines().nth(1).unwrap().parse().unwrap();
    let bundle = format!("/tile/entries/000.p/{size}");
    let served_before = get(&bundle).await;
    assert_eq!(served_before.status, 200);

    scratch.own_server().stop();
    // The statement waits for the database, and its writer insists.
    let waiting = tokio::spawn(async move {
        writer.add_key(5).await;
        writer
    });
    let unmet = async || !is_serving(replicas.replicas[0].address(), replicas.tls_key()).await;
    assert!(eventually(LIMIT, unmet).await, "the registry does not say that it is not ready");
    let (checkpoint, again) = (get("/checkpoint").await, get(&bundle).await);
    assert_eq!(
        (checkpoint.status, again.status, again.body),
        (200, 200, served_before.body),
        "what it holds is served"
    );
    assert_eq!(
        get(&format!("/tile/entries/000.p/{}", size - 1)).await.status,
        503,
        "what it does not hold comes later"
    );
    let status = replicas.replicas[0].command(&["status"]).await;
    assert_eq!(status["directory_size"], size);

    scratch.own_server().run(&[]);
    let mut writer = waiting.await.unwrap();
    writer.add_key(6).await;
    let ready = async || !unmet().await;
    assert!(eventually(LIMIT, ready).await, "the registry does not become ready again");
    let (entries, checkpoint) = served(&replicas, 0).await;
    assert_nothing_is_lost_or_doubled(&entries, &writer.said);
    assert_eq!(verified(&replicas, &entries, &checkpoint).await, entries.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_registry_moves_to_postgres_and_back_and_goes_on_with_the_same_root() {
    let test = "replicas::a_stopped_registry_moves_to_postgres_and_back_and_goes_on_with_the_same_root";
    let Some(scratch) = postgres_server::scratch(test).await else { return };
    let place = crate::support::Place::civil_affairs_and_housing().await;
    let town = &place.town;
    let dir = town.registry().dir().to_owned();
    let token = dir.join("waiting.token").display().to_string();
    let admit = ["department", "admit", "health", "--name", "卫健委", "--uscc", "118900000000030113", "--lenient-uscc"];
    let admitted = town.registry_cli(&[&admit[..], &["-o", &token]].concat()).await.unwrap();
    assert!(admitted.status.success(), "{}", crate::support::said(&admitted));
    let status = async || {
        let output = town.registry_cli(&["--json", "status"]).await.unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let checkpoint = status["checkpoint"].as_str().unwrap().to_owned();
        (status["directory_size"].as_u64().unwrap(), checkpoint.lines().nth(2).unwrap().to_owned())
    };
    let before = status().await;
    let root = |said: &serde_json::Value| {
        let bytes = data_encoding::HEXLOWER.decode(said["root"].as_str().unwrap().as_bytes()).unwrap();
        data_encoding::BASE64.encode(&bytes)
    };
    let url = scratch.url();
    let copy = async |from: &str, to: &str| registry(&dir, &["store", "copy", "--from", from, "--to", to]).await;

    // Something is in the second log too.
    place.ask(marital_status(&MARRIED, "married")).await;
    place.json("housing", &["evidence", "anchors", "now"]).await;
    let anchors_taken = async || {
        let output = town.registry_cli(&["--json", "anchors", "take"]).await.unwrap();
        let taken: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        taken["taken"].as_u64().unwrap()
    };
    assert_eq!(anchors_taken().await, 1);
    let before = (before.0.max(status().await.0), status().await.1);

    let running = copy("sled", &url).await;
    assert!(!running.status.success() && crate::support::said(&running).contains("stop the other one first"));
    town.registry().stop().await.unwrap();
    let copied = copy("sled", &url).await;
    assert!(copied.status.success(), "{}", crate::support::said(&copied));
    let said: serde_json::Value = serde_json::from_slice(&copied.stdout).unwrap();
    assert_eq!((said["statements"].as_u64(), said["pending_enrolments"].as_u64()), (Some(before.0), Some(1)));
    assert_eq!(root(&said), before.1);
    let second = said["second_logs"].clone();
    assert_eq!((second[0]["log"].as_u64(), second[0]["entries"].as_u64()), (Some(1), Some(1)), "{said}");
    let again = copy("sled", &url).await;
    assert_eq!(again.status.code(), Some(2), "nothing is copied onto something: {}", crate::support::said(&again));

    let config = dir.join("registry.toml");
    let written = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, written.replace("store = \"sled\"", &format!("store = \"{url}\""))).unwrap();
    town.registry().start().await.unwrap();
    assert!(status().await.0 >= before.0, "the same log goes on");
    let listed = town.registry_cli(&["department", "list"]).await.unwrap();
    assert!(crate::support::said(&listed).contains("awaiting enrolment"));
    // The nodes follow on as if nothing had happened.
    let followed = async || town.settled().await.is_ok();
    assert!(eventually(LIMIT, followed).await);
    // So does the second log: the same one, not a successor.
    place.ask(marital_status(&WIDOWED, "widowed")).await;
    place.json("housing", &["evidence", "anchors", "now"]).await;
    // A registry that starts again listens to its nodes before it signs anything.
    assert!(eventually(LIMIT, async || anchors_taken().await == 2).await);
    let before = status().await;

    let busy = copy(&url, "sled").await;
    assert!(crate::support::said(&busy).contains("stop them all first"), "{}", crate::support::said(&busy));
    town.registry().stop().await.unwrap();
    std::fs::rename(dir.join("directory"), dir.join("directory.old")).unwrap();
    // The connections of the registry that has just stopped may still be counted.
    let kept = async || crate::support::said(&copy(&url, "sled").await).contains("the target holds 1 entries already");
    assert!(eventually(LIMIT, kept).await, "the second log that is there is not written over");
    std::fs::remove_dir_all(dir.join("directory")).unwrap();
    std::fs::rename(dir.join("anchors"), dir.join("anchors.old")).unwrap();
    let copied = tokio::time::timeout(LIMIT, async {
        loop {
            let copied = copy(&url, "sled").await;
            if copied.status.success() {
                break copied;
            }
            // The connections of the registry that has just stopped may still be counted.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let said: serde_json::Value = serde_json::from_slice(&copied.await.unwrap().stdout).unwrap();
    assert_eq!((said["statements"].as_u64(), root(&said)), (Some(before.0), before.1.clone()));
    assert_eq!(said["second_logs"][0]["entries"], 2, "{said}");
    std::fs::write(&config, written).unwrap();
    town.registry().start().await.unwrap();
    assert!(status().await.0 >= before.0);
    assert!(eventually(LIMIT, followed).await);
}
