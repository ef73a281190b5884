//! What an operator can set about guesses beside what each service's description says, `[guesses]` in node.toml. Out of scope:
//! how many values of an attribute may be tried (`trust::service`).

use serde::Deserialize;

/// How many different values a department may try that are no operands of claims. Each holds for one subject.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct GuessSettings {
    /// Different values of one input in any 24 hours; 0 is without limit.
    pub input_values_per_day: u32,
    /// Different values of one input in any 365 days; 0 is without limit.
    pub input_values_per_year: u32,
    /// Different claims about one attribute that published items fix, in any 365 days; they cost nothing else. With 0, what an
    /// item fixes is charged as anything else.
    pub fixed_claims_per_year: u32,
}

impl Default for GuessSettings {
    fn default() -> Self {
        // Twelve months of three years on one day, and no certificate's number by trying.
        Self { input_values_per_day: 40, input_values_per_year: 240, fixed_claims_per_year: 6 }
    }
}
