//! A department as a reader is shown it.

use data_encoding::HEXLOWER;
use proto::registry::v1::{DepartmentEntry, Key, KeyRole};
use serde::Serialize;

use super::{Fact, both_names, moment};

/// A department for machines. Its keys are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DepartmentWords {
    /// Its id.
    pub department: String,
    /// Its name in Chinese.
    pub name_zh: String,
    /// Its name in English.
    pub name_en: String,
    /// Its unified social credit code.
    pub uscc: String,
    /// Its division code.
    pub division: String,
    /// Its earlier names in Chinese.
    pub former_names: Vec<String>,
    /// For one that has ended, or will: who succeeds it.
    pub successors: Vec<String>,
    /// "admitted", "suspended" or "closed".
    pub state: String,
    /// Why it is in this state, where that was said.
    pub reason: String,
    /// Its keys.
    pub keys: Vec<KeyWords>,
    /// Its nodes.
    pub nodes: Vec<NodeWords>,
    /// Its services, `<service>/<major version>`.
    pub services: Vec<String>,
    /// How many grants it has given that hold.
    pub grants_given: u32,
    /// How many grants it has that hold.
    pub grants_held: u32,
    /// Index of the last statement about the department itself.
    pub last_statement: u64,
}

/// A key for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyWords {
    /// Its id.
    pub key_id: String,
    /// Its role.
    pub role: &'static str,
    /// For a node key, its node.
    pub node: String,
    /// From when it counts, Unix milliseconds.
    pub valid_from_ms: u64,
    /// Until when it counts, Unix milliseconds; 0 without end.
    pub valid_until_ms: u64,
    /// When it was revoked, Unix milliseconds; 0 where it was not.
    pub revoked_ms: u64,
    /// Why it was revoked.
    pub reason: String,
}

/// A node for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeWords {
    /// Its id.
    pub node: String,
    /// Where it answers.
    pub addresses: Vec<String>,
    /// Relays at which it can be called.
    pub relays: Vec<String>,
    /// It takes no new questions.
    pub draining: bool,
    /// SHA-256 of its TLS key, 64 hex digits.
    pub tls_key: String,
}

impl DepartmentWords {
    /// The header of [`Self::row`].
    pub const HEADER: [&'static str; 7] = ["department", "name", "state", "nodes", "services", "gives", "holds"];

    /// The header of [`Self::key_rows`].
    pub const KEY_HEADER: [&'static str; 5] = ["key", "role", "node", "valid", "revoked"];

    /// From the catalogue's entry.
    pub fn of(entry: &DepartmentEntry) -> Self {
        let admitted = entry.admitted.clone().unwrap_or_default();
        let name = entry.name.clone().unwrap_or_default();
        let keys = entry.keys.iter().map(|key| {
            let Key { valid_from_ms, valid_until_ms, .. } = key.key.clone().unwrap_or_default();
            KeyWords {
                key_id: key.key_id.clone(),
                role: key.key.as_ref().map_or("", role),
                node: key.node.clone(),
                valid_from_ms,
                valid_until_ms,
                revoked_ms: key.revoked_ms,
                reason: key.reason.clone(),
            }
        });
        let nodes = entry.nodes.iter().map(|node| NodeWords {
            node: node.node.clone(),
            addresses: node.addresses.clone(),
            relays: node.relays.clone(),
            draining: node.draining,
            tls_key: HEXLOWER.encode(&node.tls_key),
        });
        Self {
            department: admitted.department,
            name_zh: name.zh,
            name_en: name.en,
            former_names: entry.former_names.clone(),
            successors: entry.successors.clone(),
            uscc: entry.uscc.clone(),
            division: admitted.division,
            state: entry.state.clone(),
            reason: entry.reason.clone(),
            keys: keys.collect(),
            nodes: nodes.collect(),
            services: entry.services.clone(),
            grants_given: entry.grants_given,
            grants_held: entry.grants_held,
            last_statement: entry.last_statement,
        }
    }

    /// One line of a list.
    pub fn row(&self) -> [String; 7] {
        [
            self.department.clone(),
            self.name_zh.clone(),
            self.state_text(),
            self.nodes.len().to_string(),
            self.services.len().to_string(),
            self.grants_given.to_string(),
            self.grants_held.to_string(),
        ]
    }

    fn state_text(&self) -> String {
        if self.reason.is_empty() { self.state.clone() } else { format!("{}: {}", self.state, self.reason) }
    }

    /// Everything about the department but its keys, for people.
    pub fn facts(entry: &DepartmentEntry) -> Vec<Fact> {
        let words = Self::of(entry);
        let nodes = words.nodes.iter().map(|node| {
            let relays = node.relays.iter().map(|relay| format!("relay {relay}"));
            let places = node.addresses.iter().cloned().chain(relays).collect::<Vec<_>>().join(", ");
            format!("{}: {places}{}", node.node, if node.draining { ", takes no new questions" } else { "" })
        });
        vec![
            ("department", words.department.clone()),
            ("name", both_names(entry.name.as_ref())),
            ("once called", words.former_names.join(", ")),
            ("state", words.state_text()),
            ("succeeded by", words.successors.join(", ")),
            ("credit code", words.uscc.clone()),
            ("division", words.division.clone()),
            ("nodes", nodes.collect::<Vec<_>>().join("\n")),
            ("services", words.services.join("\n")),
            ("grants given", words.grants_given.to_string()),
            ("grants held", words.grants_held.to_string()),
            ("last statement", words.last_statement.to_string()),
        ]
    }

    /// Its keys, for people.
    pub fn key_rows(&self) -> Vec<[String; 5]> {
        let row = |key: &KeyWords| {
            let until = if key.valid_until_ms == 0 { "without end".to_owned() } else { moment(key.valid_until_ms) };
            let revoked = match key.revoked_ms {
                0 => String::new(),
                at_ms => format!("{}: {}", moment(at_ms), key.reason),
            };
            let valid = format!("{} to {until}", moment(key.valid_from_ms));
            [key.key_id.clone(), key.role.to_owned(), key.node.clone(), valid, revoked]
        };
        self.keys.iter().map(row).collect()
    }
}

/// A key's role in a word.
pub(super) fn role(key: &Key) -> &'static str {
    match key.role() {
        KeyRole::Authority => "authority",
        KeyRole::Log => "log",
        KeyRole::Department => "department",
        KeyRole::Recovery => "recovery",
        KeyRole::Node => "node",
        KeyRole::Unspecified => "",
    }
}
