//! The program itself, as a process: its exit codes, and what a SIGKILL leaves behind.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use proto::registry::v1::{self as wire, directory_client::DirectoryClient, submit_response};
use registry::keys::Keys;
use serde_json::Value;
use trust::{
    directory::{Directory, Object},
    key::{Role, Signer, SigningKey},
};

use crate::harness;

fn registry(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_registry"))
        .args(arguments)
        .env("REGISTRY_DIR", folder)
        .current_dir(folder.parent().unwrap())
        .output();
    output.unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json(output: &Output) -> Value {
    assert_eq!(code(output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A process that is killed when the test ends, whatever its end.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn serve(folder: &Path) -> (Serving, Value) {
    let _ = std::fs::remove_file(folder.join("ready.json"));
    let config = folder.join("registry.toml");
    let child = Command::new(env!("CARGO_BIN_EXE_registry"))
        .args(["serve", "--config", config.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut serving = Serving(child);
    let ready = async {
        loop {
            if let Ok(text) = std::fs::read(folder.join("ready.json")) {
                return serde_json::from_slice(&text).unwrap();
            }
            assert_eq!(serving.0.try_wait().unwrap(), None, "the registry ended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ready = tokio::time::timeout(Duration::from_secs(60), ready).await.expect("the registry starts");
    (serving, ready)
}

fn made(folder: &Path) -> PathBuf {
    let registry_folder = folder.join("registry");
    let init = ["init", "--listen", "127.0.0.1:0", "--tiles", "127.0.0.1:0", "--json"];
    let founded = json(&registry(&registry_folder, &init));
    assert_eq!(founded["authority_key"].as_str().unwrap().len(), 64);
    registry_folder
}

#[tokio::test]
async fn commands_tell_by_their_exit_code_what_happened() {
    let parent = tempfile::tempdir().unwrap();
    let folder = made(parent.path());
    let run = |arguments: &[&str]| registry(&folder, arguments);
    assert_eq!(code(&run(&["init"])), 2, "a folder in use stays as it is");
    assert_eq!(code(&run(&["status"])), 3, "nobody is running there");
    assert_eq!(code(&run(&["serve", "--config", "missing.toml"])), 2, "a file that is missing or wrong");
    assert_eq!(code(&run(&["department", "admit", "civil-affairs"])), 2, "clap's own usage errors");

    let (mut serving, ready) = serve(&folder).await;
    assert_eq!(json(&run(&["status", "--json"]))["address"], ready["address"]);
    let token = parent.path().join("civil-affairs.token");
    let admit = ["department", "admit", "civil-affairs", "--name", "民政局", "--uscc", "118900000000010112"];
    assert_eq!(code(&run(&admit)), 0);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&token).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(code(&run(&admit)), 2, "a token file is not overwritten");
    let printed = run(&[&admit[..], &["-o", "-"]].concat());
    trust::token::EnrolmentToken::parse(std::str::from_utf8(&printed.stdout).unwrap()).unwrap();
    let wrong = ["department", "admit", "housing", "--name", "住房局", "--uscc", "118900000000010113", "--json"];
    let refused = run(&wrong);
    assert_eq!(code(&refused), 7);
    let told: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!((told["code"].as_str(), told["field"].as_str()), (Some("STATEMENT_REFUSED"), Some("uscc")));
    let listed = json(&run(&["department", "list", "--json"]));
    assert_eq!(listed["departments"][0]["state"], "awaiting enrolment");
    let suspended = run(&["department", "suspend", "civil-affairs", "--reason", "a test"]);
    assert_eq!(code(&suspended), 7, "it has not enrolled");

    // A second process over the same folder stays out and leaves the first alone.
    let config = folder.join("registry.toml");
    let second = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(code(&second), 1);
    assert!(String::from_utf8_lossy(&second.stderr).contains("already running"));
    assert_eq!(code(&run(&["status"])), 0);

    let terminated = Command::new("kill").args(["-TERM", &serving.0.id().to_string()]).status().unwrap();
    assert!(terminated.success());
    assert_eq!(serving.0.wait().unwrap().code(), Some(0), "SIGTERM is no failure");
    assert!(!folder.join("ready.json").exists() && !folder.join("admin.sock").exists());
}

#[tokio::test]
async fn a_sigkill_loses_no_acknowledged_statement() {
    let parent = tempfile::tempdir().unwrap();
    let folder = made(parent.path());
    let keys = Keys::read(&folder).unwrap();
    let authority_key = keys.authority.as_ref().unwrap().public_key().clone();
    let mut acknowledged: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut civil = None;
    for round in 0..4_u8 {
        let (mut serving, ready) = serve(&folder).await;
        let address = ready["address"].as_str().unwrap().parse().unwrap();
        let channel = harness::channel(address, keys.tls.key_digest());
        if civil.is_none() {
            let token = harness::admit(&mut harness::operator(&folder).await, "civil-affairs").await;
            civil = Some(harness::enrol(channel.clone(), &token).await);
        }
        let department = civil.as_ref().unwrap();
        let submissions = (0..200_u8).map(|number| {
            let mut seed = [round; 32];
            seed[0] = number;
            let key = SigningKey::from_seed(&seed);
            let object = Object::Key(*key.public_key().id());
            department.say(&object, None, harness::key_body("civil-affairs", &key, Role::Node)).0
        });
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        for envelope in submissions {
            let (mut client, sender) = (DirectoryClient::new(channel.clone()), sender.clone());
            tokio::spawn(async move {
                let submitted = client.submit(wire::SubmitRequest { envelope: envelope.clone() }).await;
                if let Ok(response) = submitted
                    && let Some(submit_response::Outcome::Accepted(accepted)) = response.into_inner().outcome
                {
                    let _ = sender.send((accepted.index, envelope));
                }
            });
        }
        drop(sender);
        // Killed in the middle: after some were acknowledged, while others are under way.
        for _ in 0..20 * usize::from(round + 1) {
            acknowledged.extend(receiver.recv().await);
        }
        serving.0.kill().unwrap();
        serving.0.wait().unwrap();
        while let Some(late) = receiver.recv().await {
            acknowledged.push(late);
        }
    }
    assert!(acknowledged.len() >= 200);

    let (_serving, ready) = serve(&folder).await;
    let address = ready["address"].as_str().unwrap().parse().unwrap();
    let mut client = DirectoryClient::new(harness::channel(address, keys.tls.key_digest()));
    let answer = client.read(wire::ReadRequest { start: 0, limit: 1000 }).await.unwrap().into_inner();
    for (index, envelope) in &acknowledged {
        assert_eq!(answer.entries.get(usize::try_from(*index).unwrap()), Some(envelope), "statement {index}");
    }
    let mut directory = Directory::new(harness::exchange(), authority_key);
    answer.entries.iter().for_each(|entry| directory.apply(entry).unwrap());
    assert!(answer.checkpoint.contains(&directory.root().to_base64()));
}
