//! Who asked about a subject, as JSON for a citizens' portal. Out of scope: who is shown what (`subject_log`).

use proto::office::v1 as wire;
use serde::{Deserialize, Serialize};
use trust::claim::Verdict;
use utoipa::ToSchema;

use super::{LegalBasis, Subject, VerdictWord, timestamp};

/// Whom a portal asks for. In a body, because a number stands in no address.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectLook {
    /// The citizen, by the number that the portal has authenticated.
    pub subject: Subject,
    /// How many at most; 100 where it is left out.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

impl From<SubjectLook> for wire::ListAskedRequest {
    fn from(look: SubjectLook) -> Self {
        Self {
            subject: Some(look.subject.into_wire()),
            most: look.limit.unwrap_or(0),
            cursor: look.cursor.unwrap_or_default(),
        }
    }
}

/// One question about the subject. Never what was claimed or recorded, and never the officer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AskedAbout {
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    pub asked_at: String,
    /// The department that asked, by its id.
    pub department: String,
    /// Its name in Chinese, as it was then.
    pub department_name_zh: String,
    /// Its name in English.
    pub department_name_en: String,
    /// The service that was asked.
    pub service: String,
    /// Its major version.
    pub service_version: u32,
    /// The public service item that it was for.
    pub item: String,
    /// The use scenario, where it was for no item.
    pub scenario: String,
    /// The legal bases of the use.
    pub legal_bases: Vec<LegalBasis>,
    /// The case number of the department that asked.
    pub case_number: String,
    /// What was asked, attribute by attribute, with what came out.
    pub attributes: Vec<AskedAttribute>,
    /// `answered`, `deferred` (a person has yet to answer) or `refused`.
    pub outcome: String,
    /// For a refusal, its code; otherwise empty.
    pub refusal_code: String,
    /// Whether the answer took the place of an earlier one, because a record was wrong.
    pub corrected: bool,
    /// The node whose evidence it stands in, where that is a predecessor's, `<department>/<node>`; otherwise empty.
    pub evidence_of: String,
}

/// One attribute that was asked about.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AskedAttribute {
    /// The attribute.
    pub attribute: String,
    /// The verdict; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictWord>,
    /// Whether the value was told.
    pub disclosed: bool,
}

impl From<wire::AskedAbout> for AskedAbout {
    fn from(asked: wire::AskedAbout) -> Self {
        let attribute = |asked: wire::AskedAttribute| AskedAttribute {
            verdict: Verdict::from_proto(asked.verdict).map(VerdictWord::from),
            attribute: asked.attribute,
            disclosed: asked.disclosed,
        };
        let bases = asked.legal_bases.into_iter();
        Self {
            asked_at: timestamp(asked.asked_at_ms),
            department: asked.department,
            department_name_zh: asked.department_name_zh,
            department_name_en: asked.department_name_en,
            service: asked.service,
            service_version: asked.major_version,
            item: asked.item,
            scenario: asked.scenario,
            legal_bases: bases
                .map(|basis| LegalBasis { instrument: basis.instrument, article: basis.article })
                .collect(),
            case_number: asked.case_number,
            attributes: asked.attributes.into_iter().map(attribute).collect(),
            outcome: asked.outcome,
            refusal_code: asked.refusal_code,
            corrected: asked.corrected,
            evidence_of: asked.evidence_of,
        }
    }
}

/// A page of questions about a subject.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AskedAboutPage {
    /// The questions, the newest first.
    pub entries: Vec<AskedAbout>,
    /// Gets the next page as `cursor`; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// How many older questions can be told no more, because their month's messages were destroyed when retention ended.
    pub erased: u32,
}

impl From<wire::ListAskedResponse> for AskedAboutPage {
    fn from(listed: wire::ListAskedResponse) -> Self {
        Self {
            entries: listed.entries.into_iter().map(AskedAbout::from).collect(),
            next_cursor: Some(listed.next_cursor).filter(|cursor| !cursor.is_empty()),
            erased: listed.erased,
        }
    }
}
