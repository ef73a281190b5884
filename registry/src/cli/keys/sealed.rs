//! The sealed backup of the registry's keys, for two officers: `backup`, `restore`, `rehearse`. None of them needs a running
//! registry. Out of scope: sealing itself (`host::key_backup`).

use std::path::{Path, PathBuf};

use host::{
    clock::{Clock, SystemClock},
    files,
    key_backup::Error as BackupError,
    officers::{self, Secret},
    random::SystemRandom,
    two_officers::{self, Cost, Officer},
};
use serde_json::json;

use super::{
    super::{
        Cli, Failure,
        operate::{Shown, folder, moment},
    },
    OpenArguments,
};
use crate::{config, config::Config, keys};

pub(super) fn seal(cli: &Cli, file: &Path, names: &[String], secret_files: &[PathBuf]) -> Result<Shown, Failure> {
    let [first, second] = names else {
        return Err(Failure::Usage("--officer: a backup is for two officers; give the option twice".to_owned()));
    };
    if file.exists() {
        return Err(Failure::Usage(format!("{} exists already: nothing was changed", file.display())));
    }
    let dir = folder(cli)?;
    let secrets = officers::secrets([first, second], secret_files, true).map_err(unreadable)?;
    let label = match Config::load(&dir.join(config::FILE_NAME)) {
        Ok((config, _)) => format!("keys of the registry of {}", config.exchange),
        Err(_) => "keys of a registry".to_owned(),
    };
    let officers = [Officer { name: first, secret: &secrets[0] }, Officer { name: second, secret: &secrets[1] }];
    let sealed = keys::backed_up(&dir).seal(&label, officers, Cost::default(), SystemClock.now_ms(), &SystemRandom);
    let (text, kept) = sealed.map_err(wrong)?;
    files::write_private_file(file, text.as_bytes()).map_err(Failure::failed)?;
    let shown = file.display().to_string();
    let json = json!({ "file": shown, "keys": kept, "officers": [first, second] });
    let facts = [
        ("file", shown.clone()),
        ("keys", kept.join(", ")),
        ("opened by", format!("{first} and {second} together")),
        ("next", format!("keep it in two places away from this machine, and try it: registry keys rehearse {shown}")),
    ];
    Ok(Shown::facts(&facts, json))
}

pub(super) fn restore(cli: &Cli, arguments: &OpenArguments) -> Result<Shown, Failure> {
    let dir = folder(cli)?;
    let (text, secrets) = open(arguments)?;
    let written = keys::backed_up(&dir).restore(&text, [&secrets[0], &secrets[1]]).map_err(wrong)?;
    let json = json!({ "restored": written });
    let restored = match written.as_slice() {
        [] => "nothing: the keys are in the folder already".to_owned(),
        written => written.join(", "),
    };
    Ok(Shown::facts(&[("folder", dir.join(keys::FOLDER).display().to_string()), ("restored", restored)], json))
}

pub(super) fn rehearse(cli: &Cli, arguments: &OpenArguments) -> Result<Shown, Failure> {
    let (text, secrets) = open(arguments)?;
    let set = keys::backed_up(&folder(cli)?);
    let rehearsal = set.rehearse(&text, [&secrets[0], &secrets[1]], SystemClock.now_ms()).map_err(wrong)?;
    let kept: Vec<&String> = rehearsal.keys.keys().collect();
    let json = json!({ "rehearsed_ms": rehearsal.at_ms, "keys": kept });
    let facts = [
        ("rehearsed", moment(rehearsal.at_ms)),
        ("result", "the backup opens, and would bring back the keys that this registry uses".to_owned()),
    ];
    Ok(Shown::facts(&facts, json))
}

/// What is known of the last rehearsal, for people and machines.
pub(in crate::cli) fn last_rehearsal(dir: &Path) -> (String, Option<u64>) {
    match keys::backed_up(dir).last_rehearsal() {
        None => ("never rehearsed: registry keys backup, then registry keys rehearse".to_owned(), None),
        Some((rehearsal, changed)) if changed.is_empty() => {
            (format!("rehearsed {}", moment(rehearsal.at_ms)), Some(rehearsal.at_ms))
        }
        Some((rehearsal, changed)) => {
            let changed = changed.join(" and ");
            (format!("{changed} changed since the rehearsal of {}: make a new one", moment(rehearsal.at_ms)), None)
        }
    }
}

fn open(arguments: &OpenArguments) -> Result<(String, [Secret; 2]), Failure> {
    let file = arguments.file.display();
    let text = std::fs::read_to_string(&arguments.file).map_err(|error| Failure::Usage(format!("{file}: {error}")))?;
    let label = two_officers::label(&text).map_err(|error| Failure::Usage(format!("{file}: {error}")))?;
    let [first, second] = &label.officers;
    let secrets = officers::secrets([first, second], &arguments.secret_files, false).map_err(unreadable)?;
    Ok((text, secrets))
}

fn unreadable(error: officers::Error) -> Failure {
    Failure::Usage(error.to_string())
}

fn wrong(error: BackupError) -> Failure {
    Failure::failed(error)
}
