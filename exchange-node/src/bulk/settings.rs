//! What an operator can set about jobs of many questions, `[bulk]` in node.toml. Out of scope: what a batch may have at most
//! (`trust::batch`).

use serde::Deserialize;
use trust::batch::MOST_ITEMS;

/// How jobs are carried out and kept.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BulkSettings {
    /// How many rows go into one batch, 1 to 10,000.
    pub rows_per_batch: u32,
    /// How many days the rows and results of a job are kept after it has ended. They hold personal data.
    pub keep_days: u32,
}

impl BulkSettings {
    /// How many rows go into one batch.
    pub fn rows(&self) -> usize {
        usize::try_from(self.rows_per_batch).unwrap_or(MOST_ITEMS).clamp(1, MOST_ITEMS)
    }
}

impl Default for BulkSettings {
    fn default() -> Self {
        Self { rows_per_batch: 10_000, keep_days: 7 }
    }
}
