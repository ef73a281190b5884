//! What becomes of a backup's file that is not as it was written.

use std::{fs, path::Path};

use super::{
    format::{FrameReader, FrameWriter, Kind, pairs, put_pair},
    write::{FILES, folder_memories},
    *,
};

/// Files that rooms keep and that are left out of a backup on purpose.
const LEFT_OUT: [&str; 3] = [
    // A relay's, which is no node.
    "relay.toml",
    // Says that a folder was restored; `restore` writes it anew.
    "restored.json",
    // Holds secrets, as docs/back-office.md says.
    "webhooks.toml",
];

fn manifest() -> Manifest {
    Manifest {
        made_ms: 7,
        exchange: "ninghe".into(),
        department: "housing".into(),
        node: "1".into(),
        authority_key: trust::key::Signer::public_key(&trust::fixture::key("authority")).to_string(),
        log: 1,
        records: false,
        version: "0".into(),
    }
}

fn backup(names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::begin(&mut bytes).unwrap();
    writer.frame(Kind::Manifest, &serde_json::to_vec(&manifest()).unwrap()).unwrap();
    for name in names {
        writer.frame(Kind::File, name.as_bytes()).unwrap();
        writer.frame(Kind::Data, b"exchange = \"ninghe\"\n").unwrap();
    }
    writer.finish().unwrap();
    bytes
}

async fn restored(bytes: &[u8], dir: &Path, wanted: Option<&str>) -> Result<Restored, Error> {
    let file = dir.with_extension("backup");
    fs::write(&file, bytes).unwrap();
    restore(&file, dir, wanted, 9).await
}

#[tokio::test]
async fn each_failure_has_a_name_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let good = backup(&["node.toml"]);
    for place in 0..good.len() {
        let mut changed = good.clone();
        changed[place] ^= 1;
        let error = restored(&changed, &dir, None).await.unwrap_err();
        assert!(matches!(error, Error::Damaged { .. } | Error::NoBackup { .. }), "byte {place}: {error}");
        let cut = restored(&good[..place], &dir, None).await.unwrap_err();
        assert!(matches!(cut, Error::Damaged { .. } | Error::NoBackup { .. }), "cut at {place}: {cut}");
    }
    let longer = [good.as_slice(), b"x"].concat();
    assert!(matches!(restored(&longer, &dir, None).await, Err(Error::Damaged { .. })));
    let other = restored(&good, &dir, Some("civil-affairs")).await.unwrap_err();
    assert_eq!(other.to_string(), "the backup is of ninghe/housing/1, not of civil-affairs: nothing was restored");
    assert!(!dir.exists(), "nothing was written");

    // Keys that were brought back before may be there.
    fs::create_dir_all(dir.join("keys")).unwrap();
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    restored(&good, &dir, Some("housing")).await.unwrap();
    assert_eq!(fs::read(dir.join("node.toml")).unwrap(), b"exchange = \"ninghe\"\n");
    let full = restored(&good, &dir, None).await.unwrap_err();
    assert!(matches!(full, Error::FolderNotEmpty { .. }), "{full}");
}

#[tokio::test]
async fn a_forged_backup_writes_nothing_elsewhere_and_no_keys() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["../outside", "/etc/outside", "keys/node.key", "", "a/../../b"] {
        let dir = folder.path().join("node");
        let error = restored(&backup(&[name]), &dir, None).await.unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{name}: {error}");
        assert!(!dir.exists(), "{name}");
    }
}

#[test]
fn pairs_read_back_and_a_cut_frame_is_noticed() {
    let mut frame = Vec::new();
    put_pair(&mut frame, b"key", b"value");
    put_pair(&mut frame, b"", &[7; 5000]);
    assert_eq!(pairs(&frame).unwrap(), [(b"key".as_slice(), b"value".as_slice()), (b"", &[7; 5000])]);
    assert!(pairs(&frame[..frame.len() - 1]).is_err());
    let bytes = backup(&[]);
    let mut reader = FrameReader::begin(bytes.as_slice()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().0, Kind::Manifest);
    assert!(reader.next().unwrap().is_none());
}

/// The names in all `FILE_NAME` constants under a folder of sources.
fn file_names(folder: &Path, found: &mut Vec<(String, String)>) {
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            file_names(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let named =
                text.lines().filter_map(|line| line.split_once("const FILE_NAME: &str = \"")?.1.split_once('"'));
            found.extend(named.map(|(name, _)| (name.to_owned(), path.display().to_string())));
        }
    }
}

#[test]
fn every_file_that_a_room_keeps_is_in_the_backup_or_left_out_by_name() {
    let mut found = Vec::new();
    file_names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 9, "the constants are named otherwise now: {found:?}");
    for (name, path) in found {
        let (is_in, is_out) = (FILES.contains(&name.as_str()), LEFT_OUT.contains(&name.as_str()));
        assert!(
            is_in != is_out,
            "{name} of {path}: name it in FILES of backup/write.rs, or in LEFT_OUT with the reason"
        );
    }
}

#[test]
fn what_was_taken_from_watched_folders_is_found_for_the_backup() {
    let folder = tempfile::tempdir().unwrap();
    assert!(folder_memories(folder.path()).unwrap().is_empty());
    let records = folder.path().join("records");
    fs::create_dir_all(records.join("tax-paid.1")).unwrap();
    for name in ["tax-paid.folder.json", "tax-paid-2.folder.json", "aliases.json"] {
        fs::write(records.join(name), "{}").unwrap();
    }
    let mut memories = folder_memories(folder.path()).unwrap();
    memories.sort();
    assert_eq!(memories, ["records/tax-paid-2.folder.json", "records/tax-paid.folder.json"].map(PathBuf::from));
}
