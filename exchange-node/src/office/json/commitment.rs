//! Commitments as JSON: what is taken in place of a proof, and what became of it. Out of scope: what a commitment is (`case`).

use data_encoding::HEXLOWER;
use proto::office::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{timestamp, timestamp_of};
use crate::{case, office::problem::Problem};

/// A signed commitment that is to stand in for a proof.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCommitment {
    /// The proof that it stands in for, by its name.
    #[schema(example = "婚姻状况证明")]
    pub proof: String,
    /// About whom, where several proofs have that name.
    #[serde(default)]
    pub about: String,
    /// SHA-256 of the form that the applicant signed, 64 hex digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub form_digest: String,
    /// The officer.
    #[schema(example = "1024")]
    pub officer: String,
}

impl NewCommitment {
    /// As the node takes it.
    ///
    /// # Errors
    /// The digest is none.
    pub fn into_case(self, number: String) -> Result<case::NewCommitment, Problem> {
        let digest = HEXLOWER.decode(self.form_digest.as_bytes()).ok().filter(|digest| digest.len() == 32);
        let form_digest =
            digest.ok_or_else(|| Problem::unusable("form_digest", "SHA-256 has 64 lower-case hex digits"))?;
        Ok(case::NewCommitment { number, proof: self.proof, about: self.about, form_digest, officer: self.officer })
    }
}

/// That a broken commitment was put right.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// The officer.
    #[schema(example = "1024")]
    pub officer: String,
    /// How, in words without personal data.
    pub how: String,
}

/// A commitment (告知承诺), without whom it is about.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Commitment {
    /// Its id.
    pub id: String,
    /// The case number.
    pub case_number: String,
    /// The item.
    pub item: String,
    /// The proof.
    pub proof: String,
    /// `open`, `fulfilled`, `broken`, `unconfirmed` (the record tells nothing) or `repaired`.
    pub state: String,
    /// When it was made, RFC 3339.
    #[schema(format = DateTime)]
    pub made_at: String,
    /// When it was checked, RFC 3339; left out where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub checked_at: Option<String>,
    /// The receipt of the check; empty where it was not checked.
    pub receipt: String,
    /// Why it could not be checked last, as a stable reason; empty where it was, or was not tried.
    pub last_reason: String,
    /// SHA-256 of the signed form, 64 hex digits.
    pub form_digest: String,
    /// How it was put right, for `repaired`.
    pub repair: String,
}

impl From<wire::Commitment> for Commitment {
    fn from(commitment: wire::Commitment) -> Self {
        Self {
            id: commitment.id,
            case_number: commitment.case_number,
            item: commitment.item,
            proof: commitment.proof,
            state: commitment.state,
            made_at: timestamp(commitment.made_at_ms),
            checked_at: timestamp_of(commitment.checked_at_ms),
            receipt: commitment.receipt,
            last_reason: commitment.last_reason,
            form_digest: commitment.form_digest,
            repair: commitment.repair,
        }
    }
}

/// A page of commitments.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CommitmentPage {
    /// The commitments, the oldest first.
    pub commitments: Vec<Commitment>,
    /// Gets the next page as `cursor`; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
