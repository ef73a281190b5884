//! The guides: what they show is run, or is at least understood by the programs; both languages show the same; and what
//! the security model says is shown by a test is shown by one that exists.

use std::{collections::BTreeSet, fs};

use clap::Parser;

use crate::support::{
    Place,
    document::{self, Document},
    exit, root, said, shell,
};

/// The guides that are there in two languages.
const TWO_LANGUAGES: [(&str, &str); 5] = [
    ("docs/operators.md", "docs/operators.zh.md"),
    ("docs/authority.md", "docs/authority.zh.md"),
    ("docs/corrections.md", "docs/corrections.zh.md"),
    ("docs/bulk.md", "docs/bulk.zh.md"),
    ("docs/items.md", "docs/items.zh.md"),
];

/// What the operators' guide does on the way to the first answered question.
const FIRST_ANSWER: &str = "first-answer";

#[test]
fn a_newcomer_gets_a_first_answer_in_fewer_than_12_commands() {
    let guide = Document::read("docs/operators.md");
    let commands = &guide.tested(FIRST_ANSWER).text;
    let count = shell::count(commands);
    println!("{count} commands from an empty folder to the first answer, as docs/operators.md shows them:\n{commands}");
    assert!(count < 12, "{count}");
    let ran = guide.run(&[FIRST_ANSWER], |dir| assert!(fs::read_dir(dir).unwrap().next().is_none(), "an empty folder"));
    assert!(ran.output.contains("MATCH"), "{}", ran.output);
}

#[test]
fn the_operators_guide_works_as_it_stands() {
    let guide = Document::read("docs/operators.md");
    let names = guide.tested_names();
    assert!(names.len() >= 3 && names[0] == FIRST_ANSWER, "{names:?}");
    let ran = guide.run(&names, |_| ());
    assert!(
        ran.output.contains("The evidence is sound.") && ran.output.contains("The log is sound."),
        "{}",
        ran.output
    );
}

#[test]
fn the_authoritys_guide_works_as_it_stands() {
    let guide = Document::read("docs/authority.md");
    let ran = guide.run(&guide.tested_names(), |_| ());
    assert!(ran.output.contains("The log is sound."), "{}", ran.output);
}

#[test]
fn the_guide_to_items_and_cases_works_as_it_stands() {
    let guide = Document::read("docs/items.md");
    let ran = guide.run(&guide.tested_names(), |_| ());
    for what in ["NOT_REQUIRED", "MAY_COMMIT", "COMMITTED", "办件回执", "graph LR", "something is left to do"] {
        assert!(ran.output.contains(what), "{what}: {}", ran.output);
    }
}

#[test]
fn both_languages_of_a_guide_show_the_same_commands() {
    for (english, chinese) in TWO_LANGUAGES {
        let [english, chinese] = [english, chinese].map(Document::read);
        let blocks = |document: &Document| -> Vec<(String, Vec<String>)> {
            let shown = document.blocks.iter().map(|block| (block.mark.clone(), shell::bare(&block.text)));
            shown.collect()
        };
        assert_eq!(blocks(&english), blocks(&chinese), "{} and {}", english.name, chinese.name);
    }
}

/// Every shell block of README and docs is run by a test, or its commands are at least understood by the real parsers.
#[test]
fn every_command_in_the_documents_is_understood() {
    let mut checked = 0;
    for document in document::all() {
        for block in &document.blocks {
            let is_unit = block.language == "ini";
            if !is_unit && !["", "bash", "sh", "shell", "console"].contains(&block.language.as_str()) {
                continue;
            }
            let script = if is_unit { commands_of_unit(&block.text) } else { with_examples(&block.text) };
            for words in shell::commands_of(&script, &["registry", "exchange-node"]) {
                let place = format!("{}:{}: {}", document.name, block.line, words.join(" "));
                understand(&words).unwrap_or_else(|error| panic!("{place}:\n{error}"));
                checked += 1;
            }
        }
    }
    assert!(checked >= 40, "{checked}");
}

fn understand(words: &[String]) -> Result<(), String> {
    let parsed = if words[0] == "registry" {
        registry::cli::Cli::try_parse_from(words).map(drop)
    } else {
        exchange_node::cli::Cli::try_parse_from(words).map(drop)
    };
    match parsed {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Variables that a script sets on the way stand for values of these forms.
fn with_examples(script: &str) -> String {
    let digits = "5f".repeat(32);
    let examples = [
        ("RECEIPT", "12-0011223344556677"),
        ("ID", "0011223344556677"),
        ("KEY_ID", &digits),
        ("KEY", &digits),
        ("INDEX", "12"),
    ];
    let mut script = script.to_owned();
    for (name, value) in examples {
        for written in [format!("\"${name}\""), format!("${{{name}}}"), format!("${name}\n"), format!("${name} ")] {
            let end = written.chars().last().filter(|end| end.is_whitespace()).map(String::from).unwrap_or_default();
            script = script.replace(&written, &format!("{value}{end}"));
        }
    }
    script
}

/// The commands of a systemd unit.
fn commands_of_unit(unit: &str) -> String {
    let command = |line: &str| line.strip_prefix("Exec").and_then(|line| Some(line.split_once('=')?.1.to_owned()));
    unit.lines().filter_map(command).collect::<Vec<_>>().join("\n")
}

/// Whatever `doctor` checks, the guide says what to do about it.
#[tokio::test(flavor = "multi_thread")]
async fn the_guide_says_what_to_do_about_every_check_of_the_doctor() {
    let place = Place::civil_affairs_and_housing().await;
    let mut checks = BTreeSet::new();
    for department in ["civil-affairs", "housing"] {
        let output = place.cli(department, &["doctor", "--json"]).await;
        let told: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
        let found = told["findings"].as_array().unwrap().iter();
        // The check of one service's records is named after it.
        checks.extend(found.map(|finding| finding["check"].as_str().unwrap().split(" of ").next().unwrap().to_owned()));
    }
    assert!(checks.len() > 8, "{checks:?}");
    for (english, chinese) in TWO_LANGUAGES.iter().take(1) {
        for name in [english, chinese] {
            let guide = Document::read(name).text;
            for check in &checks {
                assert!(guide.contains(&format!("| `{check}` |")), "{name} does not say what to do about `{check}`");
            }
        }
    }
    let output = place.cli("housing", &["doctor"]).await;
    assert_eq!(exit(&output), 0, "{}", said(&output));
}

/// Each line of the security model that says which test shows it names one that exists.
#[test]
fn every_test_that_the_security_model_names_exists() {
    let page = fs::read_to_string(root().join("docs/security-model.md")).unwrap();
    let names: BTreeSet<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            word.matches('_').count() >= 3
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        })
        .collect();
    assert!(names.len() >= 20, "{}", names.len());
    let output = std::process::Command::new("git")
        .args(["grep", "-hoE", "fn [a-z0-9_]{12,}", "--", "*.rs"])
        .current_dir(root())
        .output()
        .unwrap();
    let functions = String::from_utf8(output.stdout).unwrap();
    let functions: BTreeSet<&str> = functions.lines().map(|line| line.trim_start_matches("fn ")).collect();
    let missing: Vec<&&str> = names.iter().filter(|name| !functions.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/security-model.md names tests that do not exist: {missing:?}");
    // Every row of its tables names one.
    let lines: Vec<&str> = page.lines().collect();
    let rows = lines.windows(2).filter(|pair| pair[0].starts_with("| ") && !pair[1].starts_with("|---"));
    let without: Vec<&str> =
        rows.map(|pair| pair[0]).filter(|line| !names.iter().any(|name| line.contains(&format!("`{name}`")))).collect();
    assert!(without.is_empty(), "rows that name no test:\n{}", without.join("\n"));
}
