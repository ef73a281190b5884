//! The department's public service items as an office sees them: what its own directory view says now. Out of scope: making
//! and checking items, and cases about them.

use proto::registry::v1::ItemPublished;
use serde::Serialize;
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
    /// The service that answers it, `<department>/<service>`; empty where paper is still asked for.
    pub answered_by: String,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether a commitment may stand in for it.
    pub commitment_allowed: bool,
}

/// A public service item.
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
    /// The proofs that it asks for.
    pub proofs: Vec<Proof>,
    /// The fees and their basis.
    pub fees: String,
    /// The time limit in working days.
    pub time_limit_working_days: u32,
    /// Whom to ask.
    pub contact: String,
}

/// The department's items.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Items {
    /// Those that this office system may use.
    pub items: Vec<Item>,
}

impl Office {
    /// The department's items that this caller may use.
    pub fn items(&self, caller: &Caller) -> Vec<Item> {
        let seen = self.view.seen();
        let allowed =
            |item: &str| caller.limits.items.as_ref().is_none_or(|items| items.iter().any(|known| known == item));
        let now_ms = self.clock.now_ms();
        let own = seen
            .directory()
            .items()
            .filter(|((department, item), _)| department == self.me.department() && allowed(item));
        let in_force = own.filter_map(|((department, item), _)| seen.directory().item_at(department, item, now_ms));
        in_force.map(|version| item_seen(&version.published)).collect()
    }
}

fn item_seen(item: &ItemPublished) -> Item {
    let name = item.name.clone().unwrap_or_default();
    let basis = |basis: &proto::exchange::v1::LegalBasis| LegalBasis {
        instrument: basis.instrument.clone(),
        article: basis.article.clone(),
    };
    let proofs = item.proofs.iter().map(|proof| Proof {
        proof: proof.proof.clone(),
        about: proof.about.clone(),
        answered_by: proof.answered_by.clone(),
        optional: proof.optional,
        commitment_allowed: proof.commitment_allowed,
    });
    Item {
        item: item.item.clone(),
        version: item.version,
        code: item.code.clone(),
        name_zh: name.zh,
        name_en: name.en,
        effective_from: timestamp(item.effective_from_ms),
        accepting_unit: item.accepting_unit.clone(),
        legal_bases: item.legal_bases.iter().map(basis).collect(),
        proofs: proofs.collect(),
        fees: item.fees.clone(),
        time_limit_working_days: item.time_limit_working_days.unwrap_or_default(),
        contact: item.contact.clone(),
    }
}
