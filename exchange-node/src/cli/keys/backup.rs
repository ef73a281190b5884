//! The sealed backup of keys, for two officers: `backup`, `restore`, `rehearse`. None of them needs a running node.

use std::{
    fs,
    path::{Path, PathBuf},
};

use host::{
    files, officers,
    random::SystemRandom,
    two_officers::{self, Cost, Officer},
};
use serde_json::json;

use super::super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};
use crate::{
    config::{self, Config},
    keys::backup::{self, Error as BackupError},
};

pub(super) fn seal(
    folder: &Folder,
    output: Output,
    file: &Path,
    officers: &[String],
    secret_files: &[PathBuf],
    now_ms: u64,
) -> Result<Exit, Error> {
    let [first, second] = officers else {
        return Err(Error::Usage("--officer: a backup is for two officers; give the option twice".to_owned()));
    };
    if file.exists() {
        return Err(Error::Usage(format!("{} exists already: nothing was changed", file.display())));
    }
    let dir = folder.path()?;
    let secrets = officers::secrets([first, second], secret_files, true).map_err(unreadable)?;
    let sealed = backup::keys(&dir).seal(
        &label(&dir),
        [Officer { name: first, secret: &secrets[0] }, Officer { name: second, secret: &secrets[1] }],
        Cost::default(),
        now_ms,
        &SystemRandom,
    );
    let (text, names) = sealed.map_err(wrong)?;
    files::write_private_file(file, text.as_bytes()).map_err(|error| Error::FileWrong(error.to_string()))?;
    let machine = json!({ "file": file.display().to_string(), "keys": names, "officers": [first, second] });
    output.show(&machine, || {
        format!(
            "{} holds {}. Officers {first} and {second} open it together.\nKeep it in two places away from this machine, and try it now: exchange-node keys rehearse {}",
            file.display(),
            names.join(", "),
            file.display()
        )
    });
    Ok(Exit::Done)
}

pub(super) fn restore(folder: &Folder, output: Output, file: &Path, secret_files: &[PathBuf]) -> Result<Exit, Error> {
    let dir = folder.path()?;
    let (text, secrets) = open(file, secret_files)?;
    let written = backup::restore(&dir, &text, [&secrets[0], &secrets[1]]).map_err(wrong)?;
    output.show(&json!({ "restored": written }), || match written.as_slice() {
        [] => "The keys of the backup are in the folder already; nothing was changed.".to_owned(),
        written => format!(
            "Restored into {}: {}. Where node.toml is missing too, run `exchange-node init` with the enrolment token again: it goes on with these keys.",
            dir.join("keys").display(),
            written.join(", ")
        ),
    });
    Ok(Exit::Done)
}

pub(super) fn rehearse(
    folder: &Folder,
    output: Output,
    file: &Path,
    secret_files: &[PathBuf],
    now_ms: u64,
) -> Result<Exit, Error> {
    let (text, secrets) = open(file, secret_files)?;
    let rehearsal = backup::keys(&folder.path()?).rehearse(&text, [&secrets[0], &secrets[1]], now_ms).map_err(wrong)?;
    let keys: Vec<&String> = rehearsal.keys.keys().collect();
    output.show(&json!({ "rehearsed_ms": rehearsal.at_ms, "keys": keys }), || {
        format!(
            "The backup opens, and would bring back the keys that this node uses. Recorded for `doctor`: {}.",
            output::moment(rehearsal.at_ms)
        )
    });
    Ok(Exit::Done)
}

/// What the backup says it is: the node, where its configuration can be read.
fn label(dir: &Path) -> String {
    match Config::load(&dir.join(config::FILE_NAME)) {
        Ok(config) => format!("keys of {}, node {}", config.party(), config.node),
        Err(_) => "keys of an exchange node".to_owned(),
    }
}

fn open(file: &Path, secret_files: &[PathBuf]) -> Result<(String, [officers::Secret; 2]), Error> {
    let text = fs::read_to_string(file).map_err(|source| Error::FileUnusable {
        doing: "read",
        path: file.to_owned(),
        source,
    })?;
    let label = two_officers::label(&text).map_err(|error| Error::FileWrong(format!("{}: {error}", file.display())))?;
    let [first, second] = &label.officers;
    let secrets = officers::secrets([first, second], secret_files, false).map_err(unreadable)?;
    Ok((text, secrets))
}

fn wrong(error: BackupError) -> Error {
    Error::FileWrong(error.to_string())
}

fn unreadable(error: officers::Error) -> Error {
    match error {
        officers::Error::File(error) => Error::FileWrong(error.to_string()),
        error => Error::Usage(error.to_string()),
    }
}
