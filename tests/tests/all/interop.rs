//! Programs that nobody here wrote accept what comes out of a running town, and reject altered copies: PyPI
//! `securesystemslib` and `pymerkle`, the crates `signed_note` and `tlog_tiles`, and a Python client made from the
//! `.proto` files alone.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use data_encoding::BASE64;
use serde_json::Value;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Checkpoint, Hash, HashReader, Tile, TileHashReader, TileReader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    BASIS, ITEM, MARRIAGE, MARRIED, Place, SINGLE, exit, housings_scope, marital_status, peer::directory_entries, root,
    said, skip,
};

/// The environment that `tests/interop/prepare.sh` has made, or the reason aloud.
fn python(test: &str) -> Option<PathBuf> {
    let folder = env::var_os("ERRAND_INTEROP").map_or_else(|| root().join("target/interop"), PathBuf::from);
    if folder.join("made-of").is_file() {
        return Some(folder.join("venv/bin/python"));
    }
    skip(test, "its Python packages are not installed (tests/interop/prepare.sh target/interop)");
    None
}

fn check(python: &Path, script: &str, arguments: &[&Path]) -> Output {
    let script = root().join("tests/interop").join(script);
    Command::new(python).arg("-B").arg(script).args(arguments).output().expect("python runs")
}

fn assert_accepted(output: &Output) {
    assert_eq!(exit(output), 0, "{}", said(output));
    assert!(said(output).starts_with("accepted: "), "{}", said(output));
}

/// Rejected, and not broken off for another reason.
fn assert_rejected(output: &Output, what: &str) {
    assert_eq!(exit(output), 1, "{what}: {}", said(output));
    assert!(said(output).starts_with("rejected: "), "{what}: {}", said(output));
}

/// A question's evidence, exported and taken apart. Some questions were asked before it and after.
async fn unpacked(place: &Place) -> PathBuf {
    for _ in 0..9 {
        place.ask(marital_status(&SINGLE, "married")).await;
    }
    let answer = place.ask(marital_status(&MARRIED, "married")).await;
    for _ in 0..5 {
        place.ask(marital_status(&SINGLE, "single")).await;
    }
    let bundle = place.dir().join("question.evidence");
    let parts = place.dir().join("parts");
    place.json("housing", &["evidence", "export", &answer.receipt, "-o", bundle.to_str().unwrap()]).await;
    place.json("housing", &["evidence", "unpack", bundle.to_str().unwrap(), "-d", parts.to_str().unwrap()]).await;
    parts
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_nobody_here_wrote_verify_what_a_town_exports() {
    let place = Place::civil_affairs_and_housing().await;
    let parts = unpacked(&place).await;
    Box::pin(securesystemslib_verifies_an_exported_envelope(&place, &parts)).await;
    Box::pin(pymerkle_verifies_inclusion_in_evidence_and_directory(&place, &parts)).await;
    Box::pin(signed_note_and_tlog_tiles_verify_checkpoints_and_inclusion(&parts)).await;
    Box::pin(a_python_client_asks_through_the_office_port(&place)).await;
}

async fn securesystemslib_verifies_an_exported_envelope(place: &Place, parts: &Path) {
    let Some(python) = python("securesystemslib") else { return };
    for name in ["request", "answer"] {
        let envelope = parts.join(format!("{name}.dsse.json"));
        let key = fs::read_to_string(parts.join(format!("{name}.public-key.hex"))).unwrap();
        check_envelope_and_copies(&python, key.trim(), &envelope, &place.dir().join("altered.json"));
    }
}

#[test]
fn securesystemslib_verifies_the_committed_vectors() {
    let Some(python) = python("securesystemslib, vectors") else { return };
    let vectors = root().join("trust/vectors");
    let keys = fs::read_to_string(vectors.join("keys.txt")).unwrap();
    let altered = tempfile::tempdir().unwrap();
    for (name, signer) in [("request", "housing node 1"), ("answer", "civil-affairs node 1")] {
        let key = keys.lines().find_map(|line| line.strip_prefix(signer)).expect("the signer's key").trim();
        let envelope = vectors.join(format!("{name}.dsse.json"));
        check_envelope_and_copies(&python, key, &envelope, &altered.path().join("altered.json"));
    }
}

fn check_envelope_and_copies(python: &Path, key: &str, file: &Path, altered: &Path) {
    let key = Path::new(key);
    assert_accepted(&check(python, "check_envelope.py", &[key, file]));
    let envelope: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let flip = |text: &Value| {
        let mut bytes = BASE64.decode(text.as_str().unwrap().as_bytes()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Value::from(BASE64.encode(&bytes))
    };
    let mut copies = vec![("payload", envelope.clone()), ("type", envelope.clone()), ("signature", envelope)];
    copies[0].1["payload"] = flip(&copies[0].1["payload"]);
    copies[1].1["payloadType"] = "application/vnd.errand.outcome.v1+protobuf".into();
    copies[2].1["signatures"][0]["sig"] = flip(&copies[2].1["signatures"][0]["sig"]);
    for (what, copy) in copies {
        fs::write(altered, copy.to_string()).unwrap();
        assert_rejected(&check(python, "check_envelope.py", &[key, altered]), what);
    }
    let other_key = Path::new("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    assert_rejected(&check(python, "check_envelope.py", &[other_key, file]), "key");
}

async fn pymerkle_verifies_inclusion_in_evidence_and_directory(place: &Place, parts: &Path) {
    let Some(python) = python("pymerkle") else { return };
    let mut proofs = 0;
    for (file, _) in proofs_in(parts) {
        assert_accepted(&check(&python, "check_inclusion.py", &[&file]));
        proofs += 1;
    }
    // Question and answer in the evidence, and the statements relied on.
    assert!(proofs > 6, "{proofs}");

    let altered = place.dir().join("altered.json");
    let (_, proof) = proofs_in(parts).into_iter().find(|(file, _)| name(file).starts_with("evidence-entry-")).unwrap();
    for what in ["index", "leaf_hash_base64", "root_base64", "inclusion_base64"] {
        let mut copy = proof.clone();
        copy[what] = match &copy[what] {
            Value::Number(index) => Value::from(index.as_u64().unwrap() ^ 1),
            Value::Array(path) => path.iter().rev().cloned().collect(),
            _ => Value::from(BASE64.encode(&[7; 32])),
        };
        fs::write(&altered, copy.to_string()).unwrap();
        assert_rejected(&check(&python, "check_inclusion.py", &[&altered]), what);
    }
}

fn proofs_in(parts: &Path) -> Vec<(PathBuf, Value)> {
    let entries = fs::read_dir(parts).unwrap().flatten().map(|entry| entry.path());
    let is_proof = |path: &PathBuf| {
        name(path).contains("-entry-") && name(path).ends_with(".json") && !name(path).contains(".dsse.")
    };
    entries
        .filter(is_proof)
        .map(|path| {
            let proof = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            (path, proof)
        })
        .collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

async fn signed_note_and_tlog_tiles_verify_checkpoints_and_inclusion(parts: &Path) {
    for log in ["evidence", "directory"] {
        let note = fs::read_to_string(parts.join(format!("{log}.checkpoint"))).unwrap();
        let vkeys = fs::read_to_string(parts.join(format!("{log}.vkey"))).unwrap();
        let vkey = vkeys.lines().next().unwrap();
        let checkpoint = open_note(&note, vkey).unwrap_or_else(|| panic!("{log}: the checkpoint is accepted"));
        assert!(open_note(&note.replacen('\n', "x\n", 1), vkey).is_none(), "{log}: another origin");
        let size = checkpoint.size();
        assert!(open_note(&note.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size + 1), 1), vkey).is_none());
        let other = if log == "evidence" { "directory" } else { "evidence" };
        let others = fs::read_to_string(parts.join(format!("{other}.vkey"))).unwrap();
        assert!(open_note(&note, others.lines().next().unwrap()).is_none(), "{log}: another log's key");

        let mut checked = 0;
        for (file, proof) in proofs_in(parts).iter().filter(|(file, _)| name(file).starts_with(log)) {
            let hash =
                |text: &Value| Hash(BASE64.decode(text.as_str().unwrap().as_bytes()).unwrap().try_into().unwrap());
            let path: Vec<Hash> = proof["inclusion_base64"].as_array().unwrap().iter().map(hash).collect();
            let (index, leaf) = (proof["index"].as_u64().unwrap(), hash(&proof["leaf_hash_base64"]));
            // Against the root that was signed, not the one the file names.
            tlog_tiles::check_record(&path, size, *checkpoint.hash(), index, leaf)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            tlog_tiles::check_record(&path, size, *checkpoint.hash(), index ^ 1, leaf).unwrap_err();
            tlog_tiles::check_record(&path, size, *checkpoint.hash(), index, Hash([7; 32])).unwrap_err();
            checked += 1;
        }
        assert!(checked > 1, "{log}");
    }
}

pub(crate) fn open_note(note: &str, vkey: &str) -> Option<Checkpoint> {
    let verifier = StandardVerifier::new(vkey).ok()?;
    let note = Note::from_bytes(note.as_bytes()).ok()?;
    let (verified, _) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).ok()?;
    assert_eq!(verified.len(), 1);
    Checkpoint::from_bytes(note.text()).ok()
}

/// The registry's tiles, fetched over HTTP before `tlog_tiles` asks for them.
struct Fetched(std::collections::HashMap<String, Vec<u8>>);

impl TileReader for Fetched {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // Their paths name the height too.
        Ok(tiles.iter().map(|tile| self.0[&tile.path().replacen("tile/8/", "tile/", 1)].clone()).collect())
    }

    fn save_tiles(&self, _tiles: &[Tile], _data: &[Vec<u8>]) {}
}

pub(crate) async fn get(address: &str, path: &str) -> Vec<u8> {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer[..end]));
    answer.split_off(end + 4)
}

#[tokio::test(flavor = "multi_thread")]
async fn tlog_tiles_reads_the_directory_from_the_registrys_tile_port() {
    let place = Place::start(|plan, _| {
        plan.department("civil-affairs").service_without_records(MARRIAGE).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            housings_scope().on(&[BASIS]),
        )
    })
    .await;
    let address = place.town.registry().tile_address();
    let note = String::from_utf8(get(&address, "checkpoint").await).unwrap();
    let log_key = place.town.registry().dir().join("keys");
    assert!(log_key.is_dir());
    let parts = unpacked_directory_vkey(&place).await;
    let checkpoint = open_note(&note, &parts).expect("the checkpoint is accepted");
    let (size, entries) = (checkpoint.size(), directory_entries(&place.town).await);
    assert!(size > 5 && entries.len() as u64 >= size, "{size}");

    let tile = format!("tile/0/000.p/{size}");
    let hashes = get(&address, &tile).await;
    for (index, entry) in entries.iter().enumerate().take(usize::try_from(size).unwrap()) {
        let fetched = Fetched([(tile.clone(), hashes.clone())].into());
        let reader = TileHashReader::new(size, *checkpoint.hash(), &fetched);
        let proof = tlog_tiles::prove_record(size, index as u64, &reader).unwrap();
        let leaf = tlog_tiles::record_hash(entry);
        tlog_tiles::check_record(&proof, size, *checkpoint.hash(), index as u64, leaf).unwrap();
        // One bit of the tile changed: noticed against the signed root.
        let mut altered = hashes.clone();
        altered[index * 32] ^= 1;
        let fetched = Fetched([(tile.clone(), altered)].into());
        let reader = TileHashReader::new(size, *checkpoint.hash(), &fetched);
        reader.read_hashes(&[tlog_tiles::stored_hash_index(0, index as u64)]).unwrap_err();
    }
}

/// The registry's tiles, fetched over HTTP when `tlog_tiles` asks for them, as any C2SP reader does.
struct OverHttp(String);

impl OverHttp {
    fn get(&self, path: &str) -> Vec<u8> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.0).unwrap();
        let request = format!("GET /{path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer[..end]));
        answer.split_off(end + 4)
    }
}

impl TileReader for OverHttp {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        Ok(tiles.iter().map(|tile| self.get(&tile.path().replacen("tile/8/", "tile/", 1))).collect())
    }

    fn save_tiles(&self, _tiles: &[Tile], _data: &[Vec<u8>]) {}
}

/// An auditor with two crates that nobody here wrote, the address of the tile port and the log's public key, of a log that
/// has full tiles: every entry is in the tree, and the tree is the one that the log signed.
#[tokio::test(flavor = "multi_thread")]
async fn a_c2sp_reader_audits_a_running_registrys_log_over_http_with_its_public_key_alone() {
    let place = Place::start(|plan, _| plan.department("housing")).await;
    crate::readers::grow(&place, "housing", 280).await;
    let report = place.town.registry_cli(&["log", "verify", "--json"]).await.unwrap();
    let report: Value =
        serde_json::from_slice(&report.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&report)));
    let vkey = report["log_key"].as_str().unwrap().to_owned();
    let address = place.town.registry().tile_address();
    let audited = tokio::task::spawn_blocking(move || {
        let log = OverHttp(address);
        let note = String::from_utf8(log.get("checkpoint")).unwrap();
        let checkpoint = open_note(&note, &vkey).expect("the checkpoint is accepted");
        let (size, root) = (checkpoint.size(), *checkpoint.hash());
        assert!(size >= 280, "{size}");
        let reader = TileHashReader::new(size, root, &log);
        assert_eq!(tlog_tiles::tree_hash(size, &reader).unwrap(), root);
        let mut index = 0;
        for bundle in 0..size.div_ceil(256) {
            let width = (size - bundle * 256).min(256);
            let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
            let bytes = log.get(&format!("tile/entries/{bundle:03}{partial}"));
            let mut rest = bytes.as_slice();
            let mut leaves = Vec::new();
            while let Some((length, after)) = rest.split_first_chunk::<2>() {
                let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
                leaves.push(tlog_tiles::record_hash(entry));
                rest = after;
            }
            let places: Vec<u64> = (index..).take(leaves.len()).collect();
            let stored: Vec<u64> = places.iter().map(|place| tlog_tiles::stored_hash_index(0, *place)).collect();
            assert_eq!(reader.read_hashes(&stored).unwrap(), leaves);
            for (place, leaf) in places.into_iter().zip(leaves).step_by(64) {
                let proof = tlog_tiles::prove_record(size, place, &reader).unwrap();
                tlog_tiles::check_record(&proof, size, root, place, leaf).unwrap();
            }
            index += size.min((bundle + 1) * 256) - bundle * 256;
        }
        assert_eq!(index, size);
        // The log of before is the beginning of the one now.
        let earlier = 256;
        let before = tlog_tiles::tree_hash(earlier, &reader).unwrap();
        let proof = tlog_tiles::prove_tree(size, earlier, &reader).unwrap();
        tlog_tiles::check_tree(&proof, size, root, earlier, before).unwrap();
    });
    audited.await.unwrap();
}

/// The directory's verifier key, as a bundle names it.
async fn unpacked_directory_vkey(place: &Place) -> String {
    let parts = unpacked(place).await;
    fs::read_to_string(parts.join("directory.vkey")).unwrap().lines().next().unwrap().to_owned()
}

async fn a_python_client_asks_through_the_office_port(place: &Place) {
    let Some(python) = python("Python client") else { return };
    let office = place.town.office("housing").await.unwrap();
    let evidence = place.dir().join("python.evidence");
    let ask = |key: &str, subject: &str, more: &[&str]| {
        let mut command = Command::new(&python);
        command.arg("-B").arg(root().join("examples/clients/python/ask.py"));
        command.args(["civil-affairs/marriage-registration", "--office", office.address(), "--item", ITEM]);
        command.args(["--case", "GZF-2026-0001", "--officer", "1024"]).args(more).env("OFFICE_KEY", key);
        let subject = format!("{subject}\n");
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), subject.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let married = ["--claim", "marital_status=married", "--evidence", evidence.to_str().unwrap()];
    let answer = ask(office.api_key(), &MARRIED, &married);
    assert_eq!(exit(&answer), 0, "{}", said(&answer));
    let told: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(told["verdicts"][0]["verdict"], "MATCH", "{told}");
    let authority = place.town.authority_key();
    let checked =
        place.json("housing", &["evidence", "verify", evidence.to_str().unwrap(), "--authority", authority]).await;
    assert_eq!(checked["sound"], true);

    assert_eq!(exit(&ask(office.api_key(), &SINGLE, &["--claim", "marital_status=married"])), 4);
    assert_eq!(exit(&ask(office.api_key(), &SINGLE, &["--claim", "registered_on>2000-01-01"])), 5);
    let refused = ask(office.api_key(), "890101199111250020", &["--claim", "marital_status=married"]);
    assert_eq!(exit(&refused), 7, "{}", said(&refused));
    assert!(said(&refused).contains("SUBJECT_MALFORMED"), "{}", said(&refused));
    let shut = ask("wrong", &MARRIED, &["--claim", "marital_status=married"]);
    assert_eq!(exit(&shut), 1, "{}", said(&shut));
    assert!(said(&shut).contains("UNAUTHENTICATED"), "{}", said(&shut));
}
