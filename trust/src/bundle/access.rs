//! The proof of who agreed to what, checked offline with the authority's public key alone: the consumer's application and
//! the provider's decisions, each signed by the department that may say it, each at its place in the directory. Both
//! signatures together are the grant; with this either side can show it to anybody.
//!
//! Out of scope: what the grant permits (`decision`), and what was asked under it (the evidence bundle).

use prost::Message;
use proto::{
    exchange::v1::{self as wire, Envelope},
    registry::v1::{OfficialDecision, Statement, statement::Body},
};

use super::{Check, Finding, LARGEST_BUNDLE, Relied, Report, Wrong, read_bundle, state, wrong};
use crate::{
    directory::{AccessKey, Directory, model::Access},
    envelope,
    ids::{DepartmentId, Digest, ExchangeId},
    key::{KeyId, PublicKey},
};

/// The format's version.
pub const VERSION: u32 = 1;

/// One statement about the application.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Its place in the directory.
    pub index: u64,
    /// Its identity.
    pub digest: Digest,
    /// What it says: "applied", "granted", "refused", "returned", "extended", "suspended", "resumed" or "revoked".
    pub what: &'static str,
    /// The department whose key signed it.
    pub by: DepartmentId,
    /// That key.
    pub key: KeyId,
    /// When it was made, by its own words, Unix milliseconds.
    pub stated_at_ms: u64,
    /// Who decided it, and on what document, where that was said.
    pub decision: Option<OfficialDecision>,
}

/// What a proof shows.
#[derive(Clone, Debug, Default)]
pub struct AccessReport {
    /// The checks, in the order made. The first that is wrong ends them.
    pub checks: Vec<Check>,
    /// Whom it is about.
    pub key: Option<AccessKey>,
    /// Everything that was said about it, in order.
    pub said: Vec<Said>,
    /// As application and grant stand at the proof's checkpoint.
    pub access: Option<Access>,
}

impl AccessReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        !self.checks.is_empty() && self.wrong().is_none()
    }

    /// The check that is wrong.
    pub fn wrong(&self) -> Option<&Check> {
        self.checks.iter().find(|check| matches!(check.finding, Finding::Wrong(_)))
    }
}

/// Checks a proof. `authority_key` is all that is believed.
pub fn verify(bytes: &[u8], authority_key: &PublicKey) -> AccessReport {
    let mut shown = AccessReport::default();
    let mut report = Report::default();
    if let Err(Wrong { name, why }) = verify_into(bytes, authority_key, &mut report, &mut shown) {
        report.checks.push(Check { name, finding: Finding::Wrong(why) });
    }
    shown.checks = report.checks;
    shown
}

fn verify_into(
    bytes: &[u8],
    authority_key: &PublicKey,
    report: &mut Report,
    shown: &mut AccessReport,
) -> Result<(), Wrong> {
    if bytes.len() > LARGEST_BUNDLE {
        return Err(wrong("proof", format!("{} bytes; {LARGEST_BUNDLE} are allowed", bytes.len())));
    }
    let proof = wire::AccessProof::decode(bytes).map_err(|_| wrong("proof", "the file is no proof of access"))?;
    // Otherwise bytes that nobody checks could hide in the file.
    if proof.encode_to_vec() != bytes {
        return Err(wrong("proof", "the file holds bytes that are no part of a proof of access"));
    }
    if proof.version != VERSION {
        return Err(wrong("proof version", format!("version {} is not known; update this program", proof.version)));
    }
    let key: AccessKey = proof.object.parse().map_err(|error| wrong("proof object", error))?;
    let bundle = proof.directory.unwrap_or_default();
    read_bundle(&bundle)?;
    if !bundle.logs.is_empty() {
        return Err(wrong("proof", "it holds evidence, which belongs into an evidence bundle"));
    }
    report.holds("proof", format!("{} bytes, version {VERSION}, about {}", bytes.len(), proof.object));
    let exchange: ExchangeId = bundle.exchange_id.parse().map_err(|error| wrong("proof exchange", error))?;
    let relied = Relied::read(&bundle, &exchange, authority_key, report)?;
    let said = read_said(&bundle, &proof.object, &relied.now)?;
    let access = relied.now.access(&key).ok_or_else(|| wrong("application", "the proof holds no application"))?;
    for said in &said {
        let name = said.what.to_owned();
        let officers = said.decision.as_ref().map(officers).unwrap_or_default();
        report.holds(
            name,
            format!("statement {} by the department {}{officers}, signed with key {}", said.index, said.by, said.key),
        );
    }
    state::check_held_back(&bundle, &relied.now, report)?;
    shown.key = Some(key);
    shown.access = Some(access.clone());
    shown.said = said;
    Ok(())
}

/// The statements about the application. Their signatures were checked when they were read into the directory; here it is
/// told whose they are.
fn read_said(bundle: &wire::EvidenceBundle, object: &str, directory: &Directory) -> Result<Vec<Said>, Wrong> {
    let mut said = Vec::new();
    for proved in &bundle.directory {
        let name = format!("statement {}", proved.index);
        let envelope = Envelope::decode(proved.entry.as_slice()).map_err(|_| wrong(&name, "is no envelope"))?;
        let statement = Statement::decode(envelope.payload.as_slice()).map_err(|_| wrong(&name, "is no statement"))?;
        if statement.object != object {
            continue;
        }
        let signer = envelope.signatures.iter().find_map(|signature| {
            let key: KeyId = signature.keyid.parse().ok()?;
            let department = directory.key(&key)?.department.clone()?;
            Some((key, department))
        });
        let (key, by) = signer.ok_or_else(|| wrong(&name, "is signed by no department"))?;
        said.push(Said {
            index: proved.index,
            digest: envelope::digest(&envelope.payload_type, &envelope.payload),
            what: what(statement.body.as_ref()),
            by,
            key,
            stated_at_ms: statement.stated_at_ms,
            decision: statement.decision,
        });
    }
    Ok(said)
}

fn what(body: Option<&Body>) -> &'static str {
    match body {
        Some(Body::AccessApplied(_)) => "applied",
        Some(Body::AccessExtended(_)) => "extended",
        Some(Body::AccessGranted(_)) => "granted",
        Some(Body::AccessRefused(_)) => "refused",
        Some(Body::AccessResumed(_)) => "resumed",
        Some(Body::AccessReturned(_)) => "returned",
        Some(Body::AccessRevoked(_)) => "revoked",
        Some(Body::AccessSuspended(_)) => "suspended",
        _ => "said",
    }
}

fn officers(decision: &OfficialDecision) -> String {
    let mut text = String::new();
    for (what, name) in [
        (", officer ", &decision.officer),
        (" and officer ", &decision.second_officer),
        (", document ", &decision.document),
    ] {
        if !name.is_empty() {
            text.push_str(what);
            text.push_str(name);
        }
    }
    text
}

#[cfg(test)]
mod tests;
