//! A registry that says of itself that it was restored from an older copy, and signs nothing until it holds all of its log
//! again. What it serves meanwhile is old, and no lie: it is not kept as a finding. The last good view stays.
//!
//! **Invariant:** only what it signed before it said so is excused. A checkpoint that it signed later, or one of another
//! history, is a finding as ever: a registry that lies gains nothing by saying that it was restored.

use std::sync::PoisonError;

use proto::registry::v1::CatchingUp;
use trust::log::checkpoint::VerifiedCheckpoint;

use super::{Error, View, age};

impl View {
    /// What the registry says of itself while it signs nothing; `None` where it says nothing of the kind.
    pub fn registry_behind(&self) -> Option<CatchingUp> {
        self.behind.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what the registry says of itself now.
    pub fn set_registry_behind(&self, said: Option<CatchingUp>) {
        let mut behind = self.behind.write().unwrap_or_else(PoisonError::into_inner);
        match (&*behind, &said) {
            (None, Some(said)) if said.cause != LISTENING => {
                tracing::warn!(
                    statements = said.size,
                    cause = said.cause,
                    "the registry holds back: it does not have all of its log"
                );
            }
            (Some(before), None) if before.cause != LISTENING => tracing::info!("the registry signs again"),
            _ => {}
        }
        *behind = said;
    }

    /// An older word of a registry that says that it is behind: true to what was seen, and signed before it said so.
    pub(super) fn excuse(&self, verified: &VerifiedCheckpoint, here: u64) -> Result<(), Error> {
        let Some(behind) = self.registry_behind() else { return Ok(()) };
        let told = verified.checkpoint().size();
        let (told_ms, here_ms) = (verified.time_seconds().saturating_mul(1000), self.log_vouched_ms());
        let seen = self.seen();
        let skew_ms = age::profile(seen.directory()).map_or(0, |profile| profile.clock_skew_ms);
        let is_older = told < here || (told == here && told_ms < here_ms);
        let signed_before = told_ms <= behind.since_ms.saturating_add(skew_ms);
        let is_same_history = self.root_at(told).is_none_or(|root| root == verified.checkpoint().root());
        if is_older && signed_before && is_same_history {
            return Err(Error::Behind { told, here });
        }
        Ok(())
    }
}

/// What a registry that signs nothing says of itself.
pub fn in_words(behind: &CatchingUp) -> String {
    match behind.cause.as_str() {
        LISTENING => "it has just started, and listens to what nodes saw".to_owned(),
        "contradicted" => "its log's key has signed another history".to_owned(),
        _ => format!("it was restored from an older copy, with {} statements", behind.size),
    }
}

/// The cause of a registry that has just started.
const LISTENING: &str = "listening";

#[cfg(test)]
mod tests {
    use trust::fixture::{Fixture, NOW_MS};

    use super::*;
    use crate::view::tests::{bring, empty_view, vouch};

    fn restored(since_ms: u64) -> Option<CatchingUp> {
        Some(CatchingUp { since_ms, cause: "restored".to_owned(), size: 3, wanted: 0 })
    }

    #[tokio::test]
    async fn an_older_word_of_a_restored_registry_is_no_finding_and_a_lie_is_one_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let view = empty_view(dir.path()).unwrap();
        let mut fixture = Fixture::founded();
        fixture.admit("housing");
        let old = vouch(&fixture, NOW_MS);
        fixture.admit("taxation");
        let later = NOW_MS + 3_600_000;
        bring(&view, &fixture, later).await.unwrap();

        // As yesterday: the registry says that it was restored just now, and shows what it had signed before.
        view.set_registry_behind(restored(later));
        let outcome = view.accept(2, Vec::new(), &old, later).await;
        assert!(matches!(outcome, Err(Error::Behind { .. })), "{outcome:?}");
        assert!(view.findings().list().is_empty());

        // It signs for less after it has said that it signs nothing: that is going back.
        let renewed = {
            let mut shorter = Fixture::founded();
            shorter.admit("housing");
            vouch(&shorter, later + 3_600_000)
        };
        let outcome = view.accept(2, Vec::new(), &renewed, later).await;
        assert!(matches!(outcome, Err(Error::RolledBack { .. })), "{outcome:?}");

        // Another history is one whatever it says of itself.
        let forked = {
            let mut other = Fixture::founded();
            other.admit("justice");
            vouch(&other, NOW_MS)
        };
        let outcome = view.accept(2, Vec::new(), &forked, later).await;
        assert!(matches!(outcome, Err(Error::Forked { .. })), "{outcome:?}");
        assert_eq!(view.findings().list().len(), 2);

        // And without a word the old checkpoint is what it always was.
        view.set_registry_behind(None);
        let outcome = view.accept(2, Vec::new(), &old, later).await;
        assert!(matches!(outcome, Err(Error::Stale { .. })), "{outcome:?}");
    }
}
