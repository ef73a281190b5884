//! The commands as a whole: each has help with an example, and what README shows is understood.

use clap::CommandFactory;

use super::*;

/// Every command, with the words that lead to it.
fn every_command() -> Vec<(Vec<String>, clap::Command)> {
    fn walk(command: &clap::Command, path: &[String], found: &mut Vec<(Vec<String>, clap::Command)>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let mut path = path.to_vec();
            path.push(sub.get_name().to_owned());
            walk(sub, &path, found);
            found.push((path, sub.clone()));
        }
    }
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    walk(&root, &[], &mut found);
    found
}

/// The words of the examples in a command's help, as a shell would split them.
fn examples(command: &clap::Command) -> Vec<Vec<String>> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let Some((_, examples)) = help.split_once("Example:\n").or_else(|| help.split_once("Examples:\n")) else {
        return Vec::new();
    };
    examples
        .lines()
        .filter_map(|line| line.trim().strip_prefix("exchange-node "))
        .map(|line| split_words(line.split(" <").next().unwrap_or(line)))
        .collect()
}

/// Splits words as a shell does, as far as the examples need it.
fn split_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, ' ') => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_has_help_with_an_example_that_is_understood() {
    let commands = every_command();
    assert!(commands.len() > 20, "{}", commands.len());
    for (path, command) in commands {
        let examples = examples(&command);
        assert!(!examples.is_empty(), "{path:?} has no example");
        assert!(command.get_about().is_some(), "{path:?} does not say what it does");
        for example in examples {
            let words = std::iter::once("exchange-node".to_owned()).chain(example.clone());
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{path:?}: {example:?}: {error}");
            }
            if !command.has_subcommands() {
                assert_eq!(example[..path.len()], path[..], "the example of {path:?} is of another command");
            }
        }
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path:?}: {} is not explained", argument.get_id());
        }
    }
}

#[test]
fn the_quick_start_is_understood() {
    for line in [
        "init --token-file civil-affairs.token --address 127.0.0.1:7443 --dir DIR",
        "serve --config DIR/node.toml",
        "service publish marriage-registration.yaml",
        "records import marriage-registration people.csv",
        "records import marriage-registration people.csv --quarantine",
        "access apply civil-affairs/marriage-registration --item 公租房申请 --attributes marital_status --operators equals --basis \"公共租赁住房管理办法 7\"",
        "access approve 0011223344556677",
        "verify civil-affairs/marriage-registration --claim marital_status=single --item 公租房申请 --case GZF-2026-0001 --officer 1024",
        "evidence show 12-0011223344556677",
        "evidence export 12-0011223344556677 -o FILE",
        "evidence verify FILE --authority KEY",
        "doctor --json",
    ] {
        let words = std::iter::once("exchange-node".to_owned()).chain(split_words(line));
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{line}: {error}");
        }
    }
}

/// A subject on the command line would stay in the shell's history and in the list of processes.
#[test]
fn no_command_takes_a_subject_as_an_argument() {
    for (path, command) in every_command() {
        for argument in command.get_arguments() {
            // A flag that says where it is read from holds none.
            let holds_one = argument.get_action().takes_values() && argument.get_id().as_str().contains("subject");
            assert!(!holds_one, "{path:?}: {}", argument.get_id());
        }
    }
}

#[test]
fn failures_end_with_their_codes() {
    let dir = PathBuf::from("d");
    assert_eq!(Error::Admin(AdminError::NotRunning { dir: dir.clone(), start: "s".into() }).exit(), Exit::Unreachable);
    assert_eq!(Error::Admin(AdminError::OtherUser { dir }).exit(), Exit::Failure);
    assert_eq!(Error::Status(tonic::Status::unavailable("registry")).exit(), Exit::Unreachable);
    assert_eq!(Error::Status(tonic::Status::internal("x")).exit(), Exit::Failure);
    assert_eq!(Error::Status(tonic::Status::not_found("x")).exit(), Exit::Usage);
    assert_eq!(Error::NoFolder.exit(), Exit::Usage);
    assert_eq!(Error::EvidenceNotSound("x".into()).exit(), Exit::NotSound);
    let refusal = trust::refusal::Refusal::new(trust::refusal::Code::GrantMissing).at("service").to_wire();
    let error = Error::Refused(refusal);
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.to_string().starts_with("refused (GRANT_MISSING at service): "), "{error}");
    assert!(error.to_string().contains("Next: apply for access"), "{error}");
}
