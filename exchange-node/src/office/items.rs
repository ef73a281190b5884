//! The department's public service items as an office sees them, with the whole guide: what its own directory view says now.
//! Out of scope: making and checking items, and cases about them.

use data_encoding::HEXLOWER;
use proto::{exchange::v1 as exchange, registry::v1::ItemPublished};
use serde::Serialize;
use trust::item::about;
use utoipa::ToSchema;

use super::{
    Office,
    json::{LegalBasis, timestamp},
};
use crate::office_keys::Caller;

/// A proof that an item asks for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Proof {
    /// The paper's name.
    pub proof: String,
    /// About whom: `applicant`, `spouse`, `child`, `household`, …
    pub about: String,
    /// The law by which it is asked for.
    pub legal_bases: Vec<LegalBasis>,
    /// The unit that issues the paper (开具单位).
    pub issuing_unit: String,
    /// The service that answers it, `<department>/<service>`; empty where paper is still asked for.
    pub answered_by: String,
    /// That service's major version; 0 where none answers it.
    pub major_version: u32,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether a commitment may stand in for it.
    pub commitment_allowed: bool,
}

/// A step of a guide.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GuideStep {
    /// What is done.
    pub step: String,
    /// Who does it.
    pub actor: String,
    /// Within how many working days.
    pub working_days: u32,
}

/// A file that shows applicants how it is done, or how it is not.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SampleFile {
    /// `sample` (示范文本) or `mistake` (常见错误示例).
    pub kind: String,
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes, 64 hex digits.
    pub sha256: String,
}

/// A public service item with its guide.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Item {
    /// Its id.
    pub item: String,
    /// Its version.
    pub version: u32,
    /// Its code (GB/T 39554.1); may be empty.
    pub code: String,
    /// Its name in Chinese.
    pub name_zh: String,
    /// Its name in English; may be empty.
    pub name_en: String,
    /// From when it holds, RFC 3339.
    #[schema(format = DateTime)]
    pub effective_from: String,
    /// The accepting unit.
    pub accepting_unit: String,
    /// Its legal bases.
    pub legal_bases: Vec<LegalBasis>,
    /// The steps (基本流程).
    pub steps: Vec<GuideStep>,
    /// The proofs that it asks for.
    pub proofs: Vec<Proof>,
    /// Sample texts and common mistakes (示范文本及常见错误示例), by their titles or places.
    pub samples: Vec<String>,
    /// Those that are files, by their digests.
    pub sample_files: Vec<SampleFile>,
    /// The fees and their basis.
    pub fees: String,
    /// The time limit in working days.
    pub time_limit_working_days: u32,
    /// Whom to ask.
    pub contact: String,
    /// Papers that it issues, by their names.
    pub issues: Vec<String>,
    /// Why no commitment may stand in for any of its proofs; empty where one may.
    pub commitments_excluded: String,
}

/// The department's items.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Items {
    /// Those that this office system may use.
    pub items: Vec<Item>,
}

impl Office {
    /// The department's items that this caller may use, each as it is in force.
    pub fn items(&self, caller: &Caller) -> Vec<ItemPublished> {
        let seen = self.view.seen();
        let allowed =
            |item: &str| caller.limits.items.as_ref().is_none_or(|items| items.iter().any(|known| known == item));
        let now_ms = self.clock.now_ms();
        let own = seen
            .directory()
            .items()
            .filter(|((department, item), _)| department == self.me.department() && allowed(item));
        let in_force = own.filter_map(|((department, item), _)| seen.directory().item_at(department, item, now_ms));
        in_force.map(|version| version.published.read()).collect()
    }
}

impl From<ItemPublished> for Item {
    fn from(item: ItemPublished) -> Self {
        let name = item.name.unwrap_or_default();
        let proofs = item.proofs.into_iter().map(|proof| Proof {
            about: about(&proof).to_owned(),
            proof: proof.proof,
            legal_bases: bases(proof.legal_bases),
            issuing_unit: proof.issuing_unit,
            answered_by: proof.answered_by,
            major_version: proof.major_version,
            optional: proof.optional,
            commitment_allowed: proof.commitment_allowed,
        });
        let steps = item.steps.into_iter().map(|step| GuideStep {
            step: step.step,
            actor: step.actor,
            working_days: step.working_days,
        });
        let sample_files = item.sample_files.into_iter().map(|sample| SampleFile {
            kind: sample.kind,
            name: sample.name,
            sha256: HEXLOWER.encode(&sample.sha256),
        });
        Self {
            item: item.item,
            version: item.version,
            code: item.code,
            name_zh: name.zh,
            name_en: name.en,
            effective_from: timestamp(item.effective_from_ms),
            accepting_unit: item.accepting_unit,
            legal_bases: bases(item.legal_bases),
            steps: steps.collect(),
            proofs: proofs.collect(),
            samples: item.samples,
            sample_files: sample_files.collect(),
            fees: item.fees,
            time_limit_working_days: item.time_limit_working_days.unwrap_or_default(),
            contact: item.contact,
            issues: item.issues,
            commitments_excluded: item.commitments_excluded,
        }
    }
}

fn bases(bases: Vec<exchange::LegalBasis>) -> Vec<LegalBasis> {
    let basis = |basis: exchange::LegalBasis| LegalBasis { instrument: basis.instrument, article: basis.article };
    bases.into_iter().map(basis).collect()
}
