//! README's quick start, run as it stands there: only the ports are changed, so that it can run beside other towns, and
//! each program that is put into the background is waited for.

use std::{env, fs, net::TcpListener, os::unix::process::CommandExt, process::Command};

use rustix::process::{Pid, Signal, kill_process_group};
use town::harness::Programs;

use crate::support::{root, said};

#[test]
fn the_quick_start_of_the_readme_works_as_it_stands() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, after) = readme.split_once("<!-- tested: quick-start -->\n```bash\n").expect("the quick start's block");
    let (block, _) = after.split_once("\n```").expect("the block's end");
    let dir = tempfile::Builder::new().prefix("errand-").tempdir().unwrap();
    fs::create_dir(dir.path().join("examples")).unwrap();
    std::os::unix::fs::symlink(root().join("examples/quick-start"), dir.path().join("examples/quick-start")).unwrap();

    // Every port that the page names or the programs take by themselves, for one that is free.
    let mut script = String::from("set -euo pipefail\n");
    let mut ports = free_ports().into_iter();
    let mut registry_ports = String::new();
    for default in ["7400", "7401"] {
        registry_ports += &format!("sed -i 's/:{default}\"/:{}\"/' registry/registry.toml\n", ports.next().unwrap());
    }
    let mut block = block.to_owned();
    for named in named_ports(&block) {
        block = block.replace(&format!("127.0.0.1:{named}"), &format!("127.0.0.1:{}", ports.next().unwrap()));
    }
    for line in block.lines() {
        script += line;
        script += "\n";
        if line.starts_with("registry init") {
            script += &registry_ports;
        }
        if let Some(config) =
            line.strip_suffix(" &").and_then(|line| line.split_once("--config ")).map(|(_, path)| path)
        {
            let folder = config.rsplit_once('/').expect("a folder").0;
            script += &format!("for _ in $(seq 600); do [ -s {folder}/ready.json ] && break; sleep 0.05; done\n");
            script += &format!("[ -s {folder}/ready.json ] || {{ echo '{folder} is not ready' >&2; exit 1; }}\n");
        }
    }
    fs::write(dir.path().join("quick-start.sh"), &script).unwrap();

    let programs = Programs::find().unwrap();
    let path = format!("{}:{}", programs.dir().display(), env::var("PATH").unwrap_or_default());
    // A process group of its own, so that what it left running ends with it.
    let child = Command::new("bash")
        .arg("quick-start.sh")
        .current_dir(dir.path())
        .env("PATH", path)
        .env_remove("EXCHANGE_DIR")
        .env_remove("REGISTRY_DIR")
        .process_group(0)
        .stdin(std::process::Stdio::null())
        // Files: a pipe would stay open for as long as the programs in the background run.
        .stdout(fs::File::create(dir.path().join("output")).unwrap())
        .stderr(fs::File::create(dir.path().join("errors")).unwrap())
        .spawn()
        .unwrap();
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let mut child = Group { child, group };
    let status = child.child.wait().unwrap();
    let told = fs::read_to_string(dir.path().join("output")).unwrap();
    let errors = fs::read_to_string(dir.path().join("errors")).unwrap();
    assert!(status.success(), "{script}\n== output\n{told}\n== errors\n{errors}");
    assert!(told.contains("MATCH") && told.contains("The evidence is sound."), "{told}");
    let answer: serde_json::Value = serde_json::from_slice(&fs::read(dir.path().join("answer.json")).unwrap()).unwrap();
    assert_eq!((answer["verdicts"][0]["verdict"].as_str(), answer["outcome"].as_str()), (Some("MATCH"), Some("match")));
}

/// Ends everything that was started, however the test ends.
struct Group {
    child: std::process::Child,
    group: Pid,
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn named_ports(block: &str) -> Vec<String> {
    let mut named: Vec<String> =
        block.split("127.0.0.1:").skip(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect()).collect();
    named.sort();
    named.dedup();
    named
}

/// Ports that nobody listens on at the moment.
fn free_ports() -> Vec<u16> {
    let listeners: Vec<_> = (0..12).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Every command that the page shows is one that the programs know.
#[test]
fn the_readmes_commands_are_known() {
    let programs = Programs::find().unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut checked = 0;
    for line in readme.lines().filter(|line| line.starts_with("exchange-node ") || line.starts_with("registry ")) {
        let mut words = line.split_whitespace();
        let program = if words.next() == Some("registry") { programs.registry() } else { programs.exchange_node() };
        let plain = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
        let groups = ["department", "service", "records", "access", "evidence", "office-key", "keys"];
        let mut command: Vec<&str> = words.by_ref().take(1).filter(plain).collect();
        if command.first().is_some_and(|first| groups.contains(first)) {
            command.extend(words.next().filter(plain));
        }
        let help = Command::new(&program).args(&command).arg("--help").output().unwrap();
        assert!(help.status.success(), "{line}: {}", said(&help));
        assert!(said(&help).contains("Example"), "{line}: its help has no example");
        checked += 1;
    }
    assert!(checked >= 10, "{checked}");
}
