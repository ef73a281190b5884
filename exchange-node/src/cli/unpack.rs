//! Takes an evidence bundle apart into files that tools nobody here wrote can check: envelopes in DSSE's JSON with their
//! signers' keys, checkpoints as C2SP signed notes with the logs' keys, inclusion proofs as JSON and as C2SP `tlog-proof`.
//!
//! Nothing is verified here, so that a bundle that is not sound can be taken apart too. Keys are those that the bundle
//! itself names: whoever checks compares them with the directory, as `trust::bundle` does.

use std::{collections::BTreeMap, path::Path};

use data_encoding::{BASE64, HEXLOWER};
use host::files;
use prost::Message;
use proto::{
    exchange::v1::{EntryKind, Envelope, EvidenceBundle, EvidenceLogPart, Signed, signed::Form},
    registry::v1::{Key, Statement, statement::Body},
};
use serde_json::json;
use trust::{
    directory, envelope,
    evidence::Entry,
    key::DescribedKey,
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        hash::{Hash, leaf_hash},
        note::SignedNote,
        tlog_proof::TlogProof,
    },
};

use super::{Error, evidence::unwritable};

/// Writes the parts of a bundle into a folder, and gives the names of the files.
pub(super) fn unpack(bytes: &[u8], directory: &Path) -> Result<Vec<String>, Error> {
    let bundle =
        EvidenceBundle::decode(bytes).map_err(|_| Error::FileWrong("the file is no evidence bundle".to_owned()))?;
    let parts = parts(&bundle);
    files::private_folder(directory).map_err(unwritable)?;
    for (name, content) in &parts {
        files::create_file(&directory.join(name), content, files::PRIVATE_MODE).map_err(unwritable)?;
    }
    Ok(parts.into_keys().collect())
}

type Parts = BTreeMap<String, Vec<u8>>;

fn parts(bundle: &EvidenceBundle) -> Parts {
    let mut parts = Parts::new();
    let keys = keys(bundle);
    for (position, log) in bundle.logs.iter().enumerate() {
        let prefix = if position == 0 { "evidence".to_owned() } else { format!("evidence-{}", position + 1) };
        add_log(&mut parts, &prefix, log, &keys);
    }
    add_directory(&mut parts, bundle, &keys);
    let listed: Vec<_> = keys
        .iter()
        .map(|(id, key)| json!({ "keyid": id, "role": format!("{:?}", key.role).to_lowercase(), "public_key": key.key.to_string() }))
        .collect();
    parts.insert("keys.json".to_owned(), text(&json!(listed)));
    parts
}

/// The keys that the bundle's statements name, by their ids.
fn keys(bundle: &EvidenceBundle) -> BTreeMap<String, DescribedKey> {
    let mut keys = BTreeMap::new();
    let mut learn = |key: Option<Key>| {
        if let Some(key) = key.and_then(|key| DescribedKey::from_wire(&key).ok()) {
            keys.insert(key.key.id().to_string(), key);
        }
    };
    for proof in &bundle.directory {
        let statement = Envelope::decode(proof.entry.as_slice())
            .ok()
            .and_then(|envelope| Statement::decode(envelope.payload.as_slice()).ok());
        match statement.and_then(|statement| statement.body) {
            Some(Body::ExchangeFounded(body)) => {
                learn(body.authority_key);
                learn(body.log_key);
            }
            Some(Body::DepartmentAdmitted(body)) => {
                learn(body.first_key);
                learn(body.recovery_key);
            }
            Some(Body::KeyAdded(body)) => learn(body.key),
            _ => {}
        }
    }
    keys
}

fn add_log(parts: &mut Parts, prefix: &str, log: &EvidenceLogPart, keys: &BTreeMap<String, DescribedKey>) {
    parts.insert(format!("{prefix}.checkpoint"), log.checkpoint.clone().into_bytes());
    let log_key = keys.values().find_map(|key| signer_of(&log.origin, &log.checkpoint, key));
    if let Some(log_key) = log_key {
        parts.insert(format!("{prefix}.vkey"), vkeys(&log_key));
    }
    for item in &log.items {
        let Some(message) = &item.message else { continue };
        add_message(parts, &message_name(parts, item.kind()), message, keys);
        let (Ok(salt), Ok(digest)) = (<[u8; 32]>::try_from(item.salt.as_slice()), envelope::digest_of(message)) else {
            continue;
        };
        let entry = Entry { kind: item.kind(), salt, envelope: digest };
        let about = json!({
            "kind": item.kind().as_str_name(),
            "salt_hex": HEXLOWER.encode(&salt),
            "envelope_digest_hex": digest.to_string(),
        });
        add_proof(
            parts,
            &format!("{prefix}-entry-{}", item.index),
            &log.checkpoint,
            &entry.bytes(),
            item.index,
            &item.inclusion,
            about,
        );
    }
}

/// The log's key, where this is the one that signed the checkpoint.
fn signer_of(origin: &str, note: &str, key: &DescribedKey) -> Option<LogKey> {
    let log_key = LogKey::new(origin.parse().ok()?, key.key.as_bytes()).ok()?;
    checkpoint::open(note.as_bytes(), &log_key).ok().map(|_| log_key)
}

/// The log's key as other tools take it, `name+id+base64`: first the plain signature's, then the cosignature's.
fn vkeys(key: &LogKey) -> Vec<u8> {
    format!("{}\n{}\n", key.plain(), key.cosigning()).into_bytes()
}

/// `request`, `answer`, `outcome`; from the second on with a number.
fn message_name(parts: &Parts, kind: EntryKind) -> String {
    let name = match kind {
        EntryKind::QuestionSent | EntryKind::QuestionReceived => "request",
        EntryKind::AnswerGiven | EntryKind::AnswerReceived => "answer",
        EntryKind::Outcome => "outcome",
        EntryKind::CorrectionSent | EntryKind::CorrectionReceived => "correction",
        EntryKind::CorrectionReplyGiven | EntryKind::CorrectionReplyReceived => "correction-reply",
        EntryKind::Unspecified => "message",
    };
    let mut free = name.to_owned();
    let mut number = 1;
    while parts.contains_key(&format!("{free}.dsse.json")) {
        number += 1;
        free = format!("{name}-{number}");
    }
    free
}

fn add_message(parts: &mut Parts, name: &str, message: &Signed, keys: &BTreeMap<String, DescribedKey>) {
    let envelope = match &message.form {
        Some(Form::Envelope(envelope)) => envelope,
        // One signature serves many messages: the message is proved by its path to the signed root.
        Some(Form::Attestation(attestation)) => {
            parts.insert(format!("{name}.attestation.bin"), attestation.encode_to_vec());
            match &attestation.root {
                Some(root) => root,
                None => return,
            }
        }
        // A bundle holds single messages.
        Some(Form::Batch(_)) | None => return,
    };
    parts.insert(format!("{name}.dsse.json"), (envelope::to_json(envelope) + "\n").into_bytes());
    let signer = envelope.signatures.iter().find_map(|signature| keys.get(&signature.keyid));
    if let Some(signer) = signer {
        parts.insert(format!("{name}.public-key.hex"), format!("{}\n", signer.key).into_bytes());
    }
}

fn add_directory(parts: &mut Parts, bundle: &EvidenceBundle, keys: &BTreeMap<String, DescribedKey>) {
    let note = &bundle.directory_checkpoint;
    parts.insert("directory.checkpoint".to_owned(), note.clone().into_bytes());
    let origin = bundle.exchange_id.parse().map(|exchange| directory::origin(&exchange)).unwrap_or_default();
    if let Some(log_key) = keys.values().find_map(|key| signer_of(&origin, note, key)) {
        parts.insert("directory.vkey".to_owned(), vkeys(&log_key));
    }
    for proof in &bundle.directory {
        let name = format!("directory-entry-{}", proof.index);
        parts.insert(format!("{name}.bin"), proof.entry.clone());
        if let Ok(envelope) = Envelope::decode(proof.entry.as_slice()) {
            parts.insert(format!("{name}.dsse.json"), (envelope::to_json(&envelope) + "\n").into_bytes());
        }
        add_proof(parts, &name, note, &proof.entry, proof.index, &proof.inclusion, json!({}));
    }
}

/// The place of an entry: as JSON, and as C2SP `tlog-proof`, which holds the checkpoint too.
fn add_proof(
    parts: &mut Parts,
    name: &str,
    note: &str,
    entry: &[u8],
    index: u64,
    inclusion: &[Vec<u8>],
    mut about: serde_json::Value,
) {
    let signed = SignedNote::parse(note.as_bytes()).ok();
    let checkpoint = signed.as_ref().and_then(|signed| Checkpoint::parse(signed.text()).ok());
    about["index"] = json!(index);
    about["size"] = json!(checkpoint.as_ref().map(Checkpoint::size));
    about["root_base64"] = json!(checkpoint.as_ref().map(|checkpoint| checkpoint.root().to_base64()));
    about["leaf_hash_base64"] = json!(leaf_hash(entry).to_base64());
    about["inclusion_base64"] = json!(inclusion.iter().map(|hash| BASE64.encode(hash)).collect::<Vec<_>>());
    // Directory entries stand in files of their own; an evidence entry is 32 bytes.
    if entry.len() == 32 {
        about["leaf_hex"] = json!(HEXLOWER.encode(entry));
    }
    parts.insert(format!("{name}.json"), text(&about));
    let hashes: Result<Vec<Hash>, _> = inclusion.iter().map(|hash| Hash::try_from(hash.as_slice())).collect();
    if let (Some(signed), Ok(hashes)) = (signed, hashes) {
        let proof = TlogProof::new(index, hashes, signed).to_string();
        parts.insert(format!("{name}.tlog-proof"), proof.into_bytes());
    }
}

fn text(value: &serde_json::Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use trust::key::Signer;

    use super::*;
    use crate::export::tests::exported;

    #[test]
    fn each_part_stands_in_a_file_that_other_tools_read() {
        let bundle = exported();
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("parts");
        let names = unpack(&bundle.encode_to_vec(), &folder).unwrap();
        for name in [
            "answer.dsse.json",
            "answer.public-key.hex",
            "directory-entry-0.bin",
            "directory-entry-0.json",
            "directory-entry-0.tlog-proof",
            "directory.checkpoint",
            "directory.vkey",
            "evidence.checkpoint",
            "evidence.vkey",
            "keys.json",
            "request.dsse.json",
            "request.public-key.hex",
        ] {
            assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
            assert!(folder.join(name).is_file(), "{name}");
        }
        let key = std::fs::read_to_string(folder.join("request.public-key.hex")).unwrap();
        assert_eq!(key.trim(), trust::fixture::key("housing node 1").public_key().to_string());
        let vkey = std::fs::read_to_string(folder.join("directory.vkey")).unwrap();
        assert!(vkey.starts_with("ninghe/directory+"), "{vkey}");
        // A second time nothing is overwritten.
        assert!(unpack(&bundle.encode_to_vec(), &folder).is_err());
    }

    /// What was written proves what it says, with nothing but the key beside it.
    #[test]
    fn the_proofs_lead_to_the_checkpoints() {
        let bundle = exported();
        let parts = parts(&bundle);
        let index = bundle.logs[0].items[0].index;
        let about: serde_json::Value = serde_json::from_slice(&parts[&format!("evidence-entry-{index}.json")]).unwrap();
        let leaf = HEXLOWER.decode(about["leaf_hex"].as_str().unwrap().as_bytes()).unwrap();
        let proof = TlogProof::parse(&parts[&format!("evidence-entry-{index}.tlog-proof")]).unwrap();
        let vkey = String::from_utf8(parts["evidence.vkey"].clone()).unwrap();
        assert!(vkey.starts_with(&format!("{}+", bundle.logs[0].origin)), "{vkey}");
        let key = LogKey::new(
            bundle.logs[0].origin.parse().unwrap(),
            trust::fixture::key("housing node 1").public_key().as_bytes(),
        );
        proof.verify(&leaf_hash(&leaf), &key.unwrap()).unwrap();
    }

    #[test]
    fn a_file_that_is_no_bundle_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("parts");
        assert!(matches!(unpack(b"not a bundle", &folder), Err(Error::FileWrong(_))));
        assert!(!folder.exists());
    }
}
