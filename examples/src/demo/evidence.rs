//! What a court would do: take the exported bundles, check them with the authority's key alone, and see that a copy with
//! one changed byte is found out. The check is the node's own command, which needs no running program.

use std::{fs, path::Path};

use anyhow::Context;
use prost::Message;
use proto::exchange::v1::{EntryKind, EvidenceBundle, signed::Form};

use super::handling::Case;
use crate::harness::Town;

/// What came of checking the evidence.
#[derive(Clone, Debug, Default)]
pub struct EvidenceChecked {
    /// How many bundles were exported.
    pub bundles: usize,
    /// The size of the first bundle in bytes.
    pub size: usize,
    /// Every bundle is sound.
    pub is_verified: bool,
    /// What the command said of the first bundle, or of the one that is not sound.
    pub report: String,
    /// The altered copy was found out.
    pub is_tampering_detected: bool,
    /// Which byte of the copy was changed, counted from 0.
    pub changed_byte: usize,
    /// What the command said of the altered copy.
    pub complaint: String,
}

/// Exports the evidence of each fact of a case into `folder`, checks every bundle, then an altered copy of the first.
///
/// # Errors
/// The evidence cannot be exported, or the command cannot be run.
pub async fn check(town: &Town, department: &str, case: &Case, folder: &Path) -> anyhow::Result<EvidenceChecked> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let office = town.office(department).await?;
    let mut checked = EvidenceChecked { is_verified: true, ..EvidenceChecked::default() };
    for (place, fact) in case.facts.iter().enumerate() {
        let bundle = office.evidence(&fact.receipt).await?;
        let file = folder.join(format!("{}.bundle", fact.proof.service));
        write(&file, &bundle)?;
        let (exit, report) = verify(town, department, &file).await?;
        checked.bundles += 1;
        checked.is_verified &= exit == Some(SOUND);
        if place == 0 || exit != Some(SOUND) {
            checked.report = report;
        }
        if place == 0 {
            checked.size = bundle.len();
            checked.changed_byte = byte_to_change(&bundle);
            let file = folder.join(format!("{}-altered.bundle", fact.proof.service));
            write(&file, &changed(&bundle, checked.changed_byte))?;
            let (exit, complaint) = verify(town, department, &file).await?;
            // Any other failure would prove nothing: the command has to say that the evidence is not sound.
            checked.is_tampering_detected = exit == Some(NOT_SOUND);
            checked.complaint = wrong_lines(&complaint);
        }
    }
    Ok(checked)
}

/// The lines that name what is wrong; all of them where none does.
fn wrong_lines(said: &str) -> String {
    let wrong: Vec<&str> = said.lines().filter(|line| line.starts_with("WRONG")).collect();
    if wrong.is_empty() { said.to_owned() } else { wrong.join("\n") }
}

/// A byte in the middle of the signed answer: what somebody would change who wants another verdict.
fn byte_to_change(bundle: &[u8]) -> usize {
    let answer = || {
        let read = EvidenceBundle::decode(bundle).ok()?;
        let items = read.logs.into_iter().flat_map(|log| log.items);
        let message = items.filter(|item| item.kind() == EntryKind::AnswerReceived).find_map(|item| item.message)?;
        match message.form? {
            Form::Envelope(envelope) => Some(envelope.payload),
            Form::Attestation(attestation) => Some(attestation.payload),
            // A bundle never holds one.
            Form::Batch(_) => None,
        }
    };
    let place = answer().filter(|payload| !payload.is_empty()).and_then(|payload| {
        let begin = bundle.windows(payload.len()).position(|bytes| bytes == payload)?;
        Some(begin + payload.len() / 2)
    });
    place.unwrap_or(bundle.len() / 2)
}

fn changed(bundle: &[u8], place: usize) -> Vec<u8> {
    let mut copy = bundle.to_vec();
    if let Some(byte) = copy.get_mut(place) {
        *byte ^= 1;
    }
    copy
}

/// Runs `evidence verify`; returns the exit code and what it said.
async fn verify(town: &Town, department: &str, file: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let file = file.display().to_string();
    let arguments = ["evidence", "verify", &file, "--authority", town.authority_key()];
    let output = town.cli(department, &arguments).await?;
    let mut said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !complaint.trim().is_empty() {
        said = format!("{said}\n{}", complaint.trim_end()).trim_start().to_owned();
    }
    Ok((output.status.code(), said))
}

fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// The exit codes of `evidence verify`.
const SOUND: i32 = 0;
const NOT_SOUND: i32 = 8;

#[cfg(test)]
mod tests {
    use proto::exchange::v1::{Envelope, EvidenceItem, EvidenceLogPart, Signed};

    use super::*;

    #[test]
    fn the_changed_byte_lies_in_the_answer() {
        let item = |kind: EntryKind, payload: &[u8]| {
            let envelope = Envelope { payload: payload.to_vec(), ..Envelope::default() };
            let message = Some(Signed { form: Some(Form::Envelope(envelope)) });
            EvidenceItem { kind: kind.into(), message, ..EvidenceItem::default() }
        };
        let items = vec![item(EntryKind::QuestionSent, b"question"), item(EntryKind::AnswerReceived, b"the answer")];
        let bundle = EvidenceBundle {
            logs: vec![EvidenceLogPart { items, ..EvidenceLogPart::default() }],
            ..Default::default()
        };
        let bytes = bundle.encode_to_vec();
        let copy = changed(&bytes, byte_to_change(&bytes));
        assert_eq!(copy.iter().zip(&bytes).filter(|(one, other)| one != other).count(), 1);
        let copy = EvidenceBundle::decode(copy.as_slice()).unwrap();
        assert_eq!(copy.logs[0].items[0], bundle.logs[0].items[0]);
        assert_ne!(copy.logs[0].items[1], bundle.logs[0].items[1]);
    }

    #[test]
    fn the_complaint_is_what_is_wrong() {
        assert_eq!(wrong_lines("ok  bundle\nWRONG  entry 8: no\nnot sound"), "WRONG  entry 8: no");
        assert_eq!(wrong_lines("not sound: x"), "not sound: x");
    }

    #[test]
    fn what_is_no_bundle_is_changed_too() {
        assert_eq!(changed(b"abc", byte_to_change(b"abc")), b"acc");
        assert!(changed(b"", byte_to_change(b"")).is_empty());
    }
}
