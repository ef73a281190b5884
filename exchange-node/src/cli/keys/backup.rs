//! The sealed backup of keys, for two officers: `backup`, `restore`, `rehearse`. None of them needs a running node.

use std::{
    fs,
    path::{Path, PathBuf},
};

use host::{
    files,
    random::SystemRandom,
    two_officers::{self, Cost, Officer},
};
use serde_json::json;
use zeroize::Zeroizing;

use super::super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};
use crate::{
    config::{self, Config},
    keys::backup::{self, Error as BackupError},
};

type Secret = Zeroizing<Vec<u8>>;

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
    let secrets = secrets([first, second], secret_files, true)?;
    let sealed = backup::seal(
        &dir,
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
    let rehearsal = backup::rehearse(&folder.path()?, &text, [&secrets[0], &secrets[1]], now_ms).map_err(wrong)?;
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

fn open(file: &Path, secret_files: &[PathBuf]) -> Result<(String, [Secret; 2]), Error> {
    let text = fs::read_to_string(file).map_err(|source| Error::FileUnusable {
        doing: "read",
        path: file.to_owned(),
        source,
    })?;
    let label = two_officers::label(&text).map_err(|error| Error::FileWrong(format!("{}: {error}", file.display())))?;
    let [first, second] = &label.officers;
    let secrets = secrets([first, second], secret_files, false)?;
    Ok((text, secrets))
}

/// The officers' secrets: from files, or typed, each without the other looking.
fn secrets(officers: [&String; 2], secret_files: &[PathBuf], twice: bool) -> Result<[Secret; 2], Error> {
    match secret_files {
        [] => Ok([typed(officers[0], twice)?, typed(officers[1], twice)?]),
        [first, second] => Ok([from_file(first)?, from_file(second)?]),
        _ => Err(Error::Usage("--secret-file: one for each officer; give the option twice, or not at all".to_owned())),
    }
}

fn from_file(path: &Path) -> Result<Secret, Error> {
    let bytes = files::read_private_file(path).map_err(|error| Error::FileWrong(error.to_string()))?;
    // An editor ends a file with a newline that nobody typed.
    Ok(Zeroizing::new(bytes.trim_ascii_end().to_vec()))
}

fn typed(officer: &str, twice: bool) -> Result<Secret, Error> {
    let ask = |question: String| {
        rpassword::prompt_password(question)
            .map(|text| Zeroizing::new(text.into_bytes()))
            .map_err(|error| Error::Usage(format!("no passphrase can be read here: {error}; use --secret-file")))
    };
    let first = ask(format!("Passphrase of officer {officer} (not shown): "))?;
    if twice && ask(format!("Once more, officer {officer}: "))? != first {
        return Err(Error::Usage("the two are not the same: nothing was done".to_owned()));
    }
    Ok(first)
}

fn wrong(error: BackupError) -> Error {
    Error::FileWrong(error.to_string())
}
