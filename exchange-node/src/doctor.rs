//! Checks everything that an operator can put right, and says in a sentence what to do about what is wrong. On a running
//! node all of it; on one that is not running, what lies in its folder.
//!
//! Out of scope: putting anything right.

mod directory;
mod events;
mod evidence;
mod running;
mod sources;

use std::path::Path;

use host::disk;
use proto::admin::v1::Finding;

pub use self::running::examine;
use crate::{
    config::{self, Config},
    keys::{self, NodeKeys},
};

/// All is well.
pub const OK: &str = "ok";

/// Something will be wrong soon, or costs answers.
pub const WARNING: &str = "warning";

/// Something is wrong.
pub const WRONG: &str = "wrong";

/// Below so much free disk there is a warning, in bytes.
const LITTLE_DISK: u64 = 1024 * 1024 * 1024;

fn finding(check: &str, level: &str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check: check.to_owned(), level: level.to_owned(), found: found.into(), advice: advice.into() }
}

fn ok(check: &str, found: impl Into<String>) -> Finding {
    finding(check, OK, found, "")
}

fn warning(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    finding(check, WARNING, found, advice)
}

fn wrong(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    finding(check, WRONG, found, advice)
}

/// What can be said of a node that is not running, from the files in its folder.
pub fn offline(dir: &Path) -> Vec<Finding> {
    let file = dir.join(config::FILE_NAME);
    let start = format!("start it: exchange-node serve --config {}", file.display());
    let mut findings = vec![wrong("process", "the node is not running", start)];
    let floor_mib = match Config::load(&file) {
        Ok(config) => {
            findings.push(ok("configuration", format!("{} can be read", file.display())));
            config.limits.free_disk_mib
        }
        Err(error) => {
            findings.push(wrong("configuration", error.to_string(), "correct the file, or run `exchange-node init`"));
            config::Limits::default().free_disk_mib
        }
    };
    findings.extend(sources::offline(dir));
    findings.extend(key_files(dir));
    findings.push(backup(dir, None));
    findings.push(match NodeKeys::read(dir) {
        Ok(_) => ok("keys", "the node's keys can be read"),
        Err(error) => {
            wrong("keys", error.to_string(), "restore the key from its backup; without one, add a new node key")
        }
    });
    findings.push(free_disk(dir, floor_mib));
    findings
}

/// Key files that others can read, and the recovery key that should not be here.
fn key_files(dir: &Path) -> Vec<Finding> {
    let open = keys::open_to_others(dir);
    let mut findings: Vec<Finding> = open
        .into_iter()
        .map(|error| wrong("key files", error, "do so; where others may have read the key, revoke it (`keys revoke`)"))
        .collect();
    if findings.is_empty() {
        findings.push(ok("key files", "only their owner can read them"));
    }
    let recovery = keys::recovery_file(dir);
    if recovery.exists() {
        findings.push(warning(
            "recovery key",
            format!("{} is still on this machine", recovery.display()),
            "move it into the department's safe: who steals this machine would have it too",
        ));
    }
    findings
}

/// A rehearsal of the restore is asked for once a year.
const REHEARSED_FOR_MS: u64 = 366 * 86_400_000;

/// Whether a sealed backup of the keys was opened and compared. `now_ms` is none where nobody asks for the time.
fn backup(dir: &Path, now_ms: Option<u64>) -> Finding {
    const CHECK: &str = "key backup";
    const ADVICE: &str =
        "two officers make a backup (`keys backup`), keep it away from this machine, and try it (`keys rehearse`)";
    match keys::backup::keys(dir).last_rehearsal() {
        None => warning(CHECK, "no restore of this node's keys was ever rehearsed", ADVICE),
        Some((_, changed)) if !changed.is_empty() => {
            warning(CHECK, format!("{} changed since the restore was rehearsed", changed.join(" and ")), ADVICE)
        }
        Some((rehearsal, _)) => match now_ms.map(|now_ms| now_ms.saturating_sub(rehearsal.at_ms)) {
            Some(age_ms) if age_ms > REHEARSED_FOR_MS => {
                warning(CHECK, format!("the restore was rehearsed {} ago", span(age_ms)), ADVICE)
            }
            Some(age_ms) => ok(CHECK, format!("the restore was rehearsed {} ago", span(age_ms))),
            None => ok(CHECK, "the restore was rehearsed, and no key has changed since"),
        },
    }
}

fn free_disk(dir: &Path, floor_mib: u64) -> Finding {
    const CHECK: &str = "disk";
    match disk::free_bytes(dir) {
        Ok(free) => {
            let mib = free / (1024 * 1024);
            let found = format!("{mib} MiB are free; below {floor_mib} MiB the node neither asks nor answers");
            if mib < floor_mib {
                wrong(CHECK, found, "free some disk: evidence must be durable before anything leaves")
            } else if free < LITTLE_DISK {
                warning(CHECK, found, "free some disk, or move the node's folder to a larger one while it is stopped")
            } else {
                ok(CHECK, found)
            }
        }
        Err(error) => {
            wrong(CHECK, format!("free disk cannot be told: {error}"), "look at the folder and its file system")
        }
    }
}

/// A span of time for people.
fn span(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use host::random::SeededRandom;

    use super::*;
    use crate::keys::NewKeys;

    fn level<'a>(findings: &'a [Finding], check: &str) -> &'a str {
        &findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("no {check}")).level
    }

    #[test]
    fn a_stopped_node_is_examined_as_far_as_its_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("node");
        NewKeys::read_or_make(&dir, &["node.example"], &SeededRandom::new(1)).unwrap();
        let findings = offline(&dir);
        assert_eq!(level(&findings, "process"), WRONG);
        assert_eq!(level(&findings, "configuration"), WRONG);
        assert_eq!(level(&findings, "keys"), OK);
        assert_eq!(level(&findings, "key files"), OK);
        assert_eq!(level(&findings, "recovery key"), WARNING);
        assert_eq!(level(&findings, "key backup"), WARNING);
        // Whatever is not well says what to do.
        for finding in &findings {
            assert_eq!(finding.level == OK, finding.advice.is_empty(), "{finding:?}");
        }

        let key = dir.join("keys/node.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        fs::remove_file(keys::recovery_file(&dir)).unwrap();
        let findings = offline(&dir);
        assert_eq!(level(&findings, "key files"), WRONG);
        assert_eq!(level(&findings, "keys"), WRONG);
        assert!(!findings.iter().any(|finding| finding.check == "recovery key"));
    }

    #[test]
    fn too_little_disk_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(free_disk(dir.path(), u64::MAX).level, WRONG);
        assert_ne!(free_disk(dir.path(), 0).level, WRONG);
        assert_eq!(free_disk(&dir.path().join("missing"), 0).level, WRONG);
    }

    #[test]
    fn spans_are_told_in_their_unit() {
        assert_eq!(
            [0, 119_000, 120_000, 7_200_000, 864_000_000].map(span),
            ["0 s", "119 s", "2 min", "2 h", "10 days"]
        );
    }
}
