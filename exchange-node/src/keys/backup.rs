//! Which of a node's keys are in the sealed backup that two officers open together: the department's, the recovery, the
//! node's and the TLS key, as far as they are in the folder. Not in it: the months' keys of the evidence, because
//! destroying such a key must erase its month for good.
//!
//! Out of scope: sealing, restoring and rehearsing (`host::key_backup`).

use std::path::Path;

use host::{files, key_backup::KeySet};

pub use host::key_backup::{Error, Rehearsal};

use super::{DEPARTMENT, NODE, RECOVERY, TLS, folder};

/// The keys of the node in the folder `dir`.
pub fn keys(dir: &Path) -> KeySet {
    KeySet {
        folder: folder(dir),
        names: &[DEPARTMENT, RECOVERY, NODE, TLS],
        watched: &[DEPARTMENT, NODE],
        // It is renewed by itself, and a lost one is made anew.
        renewed: &[TLS],
    }
}

/// Brings the keys of a backup into the folder `dir`, which may be empty; the names of what was written.
pub fn restore(dir: &Path, backup: &str, secrets: [&[u8]; 2]) -> Result<Vec<String>, Error> {
    let written = keys(dir).restore(backup, secrets)?;
    files::private_folder(&folder(dir).join("months"))?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use host::{
        random::SeededRandom,
        two_officers::{Cost, Officer},
    };
    use trust::key::Signer;

    use super::*;
    use crate::keys::{NewKeys, NodeKeys};

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    const SECRETS: [&[u8]; 2] = [b"correct horse battery", b"staple tower of ice"];

    #[test]
    fn a_lost_folder_comes_back_from_its_backup() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, other) = (folder.path().join("node"), folder.path().join("other"));
        let made = NewKeys::read_or_make(&dir, &["node.example"], &SeededRandom::new(1)).unwrap();
        let [one, two] = SECRETS;
        let officers = [Officer { name: "1024", secret: one }, Officer { name: "1025", secret: two }];
        let (text, _) = keys(&dir).seal("ninghe/housing/1", officers, CHEAP, 7, &SeededRandom::new(2)).unwrap();
        let written = restore(&other, &text, SECRETS).unwrap();
        assert_eq!(written, ["department.key", "node.key", "recovery.key", "tls.key"]);
        let read = NodeKeys::read(&other).unwrap();
        assert_eq!(read.tls.key_digest(), made.tls.key_digest());
        assert_eq!(read.node.public_key(), made.node.public_key());

        // The recovery key goes into the safe, as it should.
        keys(&dir).rehearse(&text, SECRETS, 8).unwrap();
        fs::remove_file(dir.join("keys/recovery.key")).unwrap();
        keys(&dir).rehearse(&text, SECRETS, 9).unwrap();
        let key = dir.join("keys/node.key");
        files::replace_file(&key, "07".repeat(32).as_bytes(), files::PRIVATE_MODE).unwrap();
        assert_eq!(keys(&dir).last_rehearsal().unwrap().1, ["node.key"]);
    }
}
