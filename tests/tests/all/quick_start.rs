//! README's quick start, run as it stands there; and every command that the page shows is one that the programs know.

use std::{fs, process::Command};

use town::harness::Programs;

use crate::support::{document::Document, root, said};

#[test]
fn the_quick_start_of_the_readme_works_as_it_stands() {
    let ran = Document::read("README.md").run(&["quick-start"], |dir| {
        fs::create_dir(dir.join("examples")).unwrap();
        std::os::unix::fs::symlink(root().join("examples/quick-start"), dir.join("examples/quick-start")).unwrap();
    });
    assert!(ran.output.contains("MATCH") && ran.output.contains("The evidence is sound."), "{}", ran.output);
    let answer: serde_json::Value =
        serde_json::from_slice(&fs::read(ran.dir.path().join("answer.json")).unwrap()).unwrap();
    assert_eq!((answer["verdicts"][0]["verdict"].as_str(), answer["outcome"].as_str()), (Some("MATCH"), Some("match")));
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
