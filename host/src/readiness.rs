//! Whether the program can do its work now, and if not, why.
//!
//! A program is ready when every named condition is met ("directory", "journal", "records"). Conditions start unmet, and
//! each has one owner that says so when that changes. Out of scope: telling the world ([`crate::health`]).

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::watch;

/// All conditions of a program; clones share them.
#[derive(Debug, Clone)]
pub struct Readiness {
    conditions: watch::Sender<BTreeMap<String, Option<String>>>,
}

/// One condition, held by whoever knows about it.
#[derive(Debug, Clone)]
pub struct Condition {
    name: String,
    readiness: Readiness,
}

/// The state at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadinessState {
    /// Whether every condition is met.
    pub ready: bool,
    /// The conditions that are not met, with the reason of each.
    pub unmet: BTreeMap<String, String>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// No conditions yet, so: ready.
    pub fn new() -> Self {
        Self { conditions: watch::Sender::new(BTreeMap::new()) }
    }

    /// Adds a condition, unmet for the reason "starting".
    pub fn condition(&self, name: &str) -> Condition {
        let condition = Condition { name: name.to_owned(), readiness: self.clone() };
        condition.unmet("starting");
        condition
    }

    /// The state now.
    pub fn state(&self) -> ReadinessState {
        let unmet: BTreeMap<_, _> = self
            .conditions
            .borrow()
            .iter()
            .filter_map(|(name, reason)| Some((name.clone(), reason.clone()?)))
            .collect();
        ReadinessState { ready: unmet.is_empty(), unmet }
    }

    /// Whether every condition is met now.
    pub fn is_ready(&self) -> bool {
        self.conditions.borrow().values().all(Option::is_none)
    }

    /// Waits until every condition is met.
    pub async fn ready(&self) {
        let mut conditions = self.conditions.subscribe();
        // Never an error: `self` holds the sender.
        let _ = conditions.wait_for(|conditions| conditions.values().all(Option::is_none)).await;
    }

    /// Waits for a state other than `known`, and returns it.
    pub async fn changed_from(&self, known: &ReadinessState) -> ReadinessState {
        let mut conditions = self.conditions.subscribe();
        loop {
            conditions.borrow_and_update();
            let state = self.state();
            if state != *known {
                return state;
            }
            // Never an error: `self` holds the sender.
            let _ = conditions.changed().await;
        }
    }
}

impl Condition {
    /// The condition is met.
    pub fn met(&self) {
        self.set(None);
    }

    /// The condition is not met, for this reason.
    pub fn unmet(&self, reason: &str) {
        self.set(Some(reason.to_owned()));
    }

    fn set(&self, reason: Option<String>) {
        self.readiness.conditions.send_if_modified(|conditions| {
            if conditions.get(&self.name) == Some(&reason) {
                return false;
            }
            match &reason {
                None => tracing::info!(condition = self.name, "met"),
                Some(reason) => tracing::info!(condition = self.name, reason, "not met"),
            }
            conditions.insert(self.name.clone(), reason);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_every_condition_is_met_and_not_before() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let directory = readiness.condition("directory");
        let journal = readiness.condition("journal");
        journal.met();
        let state = readiness.state();
        assert!(!state.ready);
        assert_eq!(state.unmet, BTreeMap::from([("directory".to_owned(), "starting".to_owned())]));

        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        directory.met();
        waiting.await.unwrap();
        assert!(readiness.state().ready);

        journal.unmet("disk full");
        let state = readiness.changed_from(&ReadinessState { ready: true, unmet: BTreeMap::new() }).await;
        assert_eq!(state.unmet["journal"], "disk full");
    }
}
