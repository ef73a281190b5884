//! What an audit shows, for people and for machines.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Trusted;
use crate::{
    directory::{Directory, model::AccessState},
    log::checkpoint::{LogKey, VerifiedCheckpoint},
    reading::{Fact, moment},
};

/// A log that was found sound. Its keys are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Always true: a log that is not sound has no report.
    pub sound: bool,
    /// The exchange.
    pub exchange: String,
    /// Number of statements verified.
    pub size: u64,
    /// Root over them, base64 as in the checkpoint.
    pub root: String,
    /// When the log signed the checkpoint, Unix milliseconds.
    pub checkpoint_ms: u64,
    /// The public key that the authority signs with now.
    pub authority_key: String,
    /// Whether the authority's key was given, or only taken from the log.
    pub authority_key_given: bool,
    /// The log's verifier key, for other C2SP tools.
    pub log_key: String,
    /// Number of tiles and bundles compared.
    pub tiles: u64,
    /// Number of statements of each kind.
    pub statements: BTreeMap<&'static str, u64>,
    /// Number of departments.
    pub departments: usize,
    /// Number of keys that are not revoked.
    pub keys: usize,
    /// Number of revoked keys.
    pub revoked_keys: usize,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of services.
    pub services: usize,
    /// Number of grants that hold.
    pub grants: usize,
    /// What the log was compared with, each in words.
    pub compared: Vec<String>,
}

impl Report {
    pub(super) fn of(
        directory: &Directory,
        verified: &VerifiedCheckpoint,
        log_key: &LogKey,
        statements: BTreeMap<&'static str, u64>,
        tiles: u64,
        compared: Vec<String>,
        trusted: &Trusted,
    ) -> Self {
        let revoked_keys = directory.keys().filter(|(_, key)| key.revoked.is_some()).count();
        Self {
            sound: true,
            exchange: directory.exchange().to_string(),
            size: directory.size(),
            root: directory.root().to_base64(),
            checkpoint_ms: verified.time_seconds().saturating_mul(1000),
            authority_key: directory.current_authority_key().unwrap_or(directory.authority_key()).to_string(),
            authority_key_given: matches!(trusted, Trusted::Authority(_)),
            log_key: log_key.plain().to_string(),
            tiles,
            statements,
            departments: directory.departments().count(),
            keys: directory.keys().count() - revoked_keys,
            revoked_keys,
            nodes: directory.nodes().count(),
            services: directory.services().count(),
            grants: directory.all_access().filter(|(_, access)| access.state == AccessState::Granted).count(),
            compared,
        }
    }

    /// What was found, for people.
    pub fn facts(&self) -> Vec<Fact> {
        let authority =
            if self.authority_key_given { "" } else { "\nas the log names it: compare it with the authority" };
        let kinds = self.statements.iter().map(|(kind, count)| format!("{count} {}", kind.replace('_', " ")));
        vec![
            ("exchange", self.exchange.clone()),
            ("statements", format!("{}, each verified by its signature and the rules", self.size)),
            ("root", self.root.clone()),
            ("checkpoint", format!("both signatures of the log, {}", moment(self.checkpoint_ms))),
            ("tiles", format!("{} compared", self.tiles)),
            ("authority key", format!("{}{authority}", self.authority_key)),
            ("log key", self.log_key.clone()),
            ("kinds", kinds.collect::<Vec<_>>().join("\n")),
            ("departments", self.departments.to_string()),
            ("keys", format!("{}, and {} revoked", self.keys, self.revoked_keys)),
            ("nodes", self.nodes.to_string()),
            ("services", self.services.to_string()),
            ("grants that hold", self.grants.to_string()),
            ("compared", self.compared.join("\n")),
        ]
    }
}
