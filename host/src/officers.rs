//! The secrets of two officers, who open a box together (`two_officers`): each typed without the other looking, or from a
//! file. Out of scope: what is sealed with them.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::files;

/// A secret.
pub type Secret = Zeroizing<Vec<u8>>;

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was typed twice is not the same.
    #[error("the two are not the same: nothing was done")]
    Differs,
    /// A file cannot be read, or others can read it.
    #[error(transparent)]
    File(#[from] files::Error),
    /// Neither two files nor none.
    #[error("--secret-file: one for each officer; give the option twice, or not at all")]
    NotTwo,
    /// There is no terminal.
    #[error("no passphrase can be read here: {0}; use --secret-file")]
    Terminal(std::io::Error),
}

/// The officers' secrets, in their order: from two files, or typed; `twice` where a box is made, so that a slip is noticed.
///
/// # Errors
///
/// [`Error`].
pub fn secrets(officers: [&str; 2], secret_files: &[PathBuf], twice: bool) -> Result<[Secret; 2], Error> {
    match secret_files {
        [] => Ok([typed(officers[0], twice)?, typed(officers[1], twice)?]),
        [first, second] => Ok([from_file(first)?, from_file(second)?]),
        _ => Err(Error::NotTwo),
    }
}

fn from_file(path: &std::path::Path) -> Result<Secret, Error> {
    let bytes = files::read_private_file(path)?;
    // An editor ends a file with a newline that nobody typed.
    Ok(Zeroizing::new(bytes.trim_ascii_end().to_vec()))
}

fn typed(officer: &str, twice: bool) -> Result<Secret, Error> {
    let ask = |question: String| {
        rpassword::prompt_password(question).map(|text| Zeroizing::new(text.into_bytes())).map_err(Error::Terminal)
    };
    let first = ask(format!("Passphrase of officer {officer} (not shown): "))?;
    if twice && ask(format!("Once more, officer {officer}: "))? != first {
        return Err(Error::Differs);
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_two_files_without_the_editors_newline() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = ["a", "b"].iter().map(|name| folder.path().join(name)).collect();
        for (path, text) in files.iter().zip(["one secret\n", "another"]) {
            files::write_private_file(path, text.as_bytes()).unwrap();
        }
        let [first, second] = secrets(["1", "2"], &files, true).unwrap();
        assert_eq!((first.as_slice(), second.as_slice()), (b"one secret".as_slice(), b"another".as_slice()));
        assert!(matches!(secrets(["1", "2"], &files[..1], true), Err(Error::NotTwo)));
        files[0].exists().then(|| std::fs::remove_file(&files[0]).unwrap());
        assert!(matches!(secrets(["1", "2"], &files, true), Err(Error::File(_))));
    }
}
