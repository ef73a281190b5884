//! A data service as its department published it, checked once and then known to be whole: every attribute can be
//! compared, every rule for rows can be followed, and there is a law it rests on. Who may ask it is in `decision`.

pub mod catalogue;
pub mod compatibility;
pub mod words;

use std::collections::BTreeMap;

use proto::registry::v1 as wire;
use serde::{Deserialize, Serialize};

use crate::{
    claim::AttributeRule,
    ids::{DepartmentId, Digest, IdError, ServiceId},
    subject::Scheme,
    value::{AttributeType, Type},
};

/// How many different values a department may try for one subject and attribute in a day, where a description says nothing.
pub const USUAL_GUESSES_PER_DAY: u32 = 3;

/// How many in a year, of an attribute whose values have an order.
pub const USUAL_GUESSES_PER_YEAR: u32 = 6;

/// Why a service description cannot be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ServiceError {
    /// The field at fault, for example `attributes.marital_status.operators`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How a service may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// 有条件共享: needs a grant.
    Conditional,
    /// 不予共享.
    NotShared,
    /// 无条件共享: the service's own statement is the standing grant.
    Unconditional,
}

/// Whether a service answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceState {
    /// It answers.
    Answering,
    /// It does not answer for now; askers get to read the notice.
    Suspended {
        /// The provider's notice.
        notice: String,
    },
    /// It ends, or has ended.
    Withdrawn {
        /// Why.
        reason: String,
        /// From when, Unix milliseconds. Until then it answers, unless it is suspended.
        from_ms: u64,
        /// The provider's notice, where it is suspended meanwhile.
        suspended: Option<String>,
    },
}

/// What the authority has said about a service, where its profile asks for reviews.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Review {
    /// It may answer.
    Approved {
        /// When the authority said so, Unix milliseconds.
        at_ms: u64,
    },
    /// It was published while the profile asked for none.
    NotRequired,
    /// It goes back to its provider, with everything that is missing.
    Returned {
        /// When, Unix milliseconds.
        at_ms: u64,
        /// Everything that is missing.
        missing: Vec<String>,
    },
    /// Nothing yet.
    Waiting {
        /// Since when, Unix milliseconds.
        since_ms: u64,
    },
}

impl Review {
    /// Whether the service may answer.
    pub fn permits(&self) -> bool {
        matches!(self, Self::Approved { .. } | Self::NotRequired)
    }
}

/// A change that the authority has yet to approve: until then the service answers as it did before.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The description as it is to become.
    pub published: wire::ServicePublished,
    /// Digest of the statement that proposed it.
    pub statement: Digest,
    /// What the authority has said; never that it may answer.
    pub review: Review,
}

/// A value that selects rows.
#[derive(Clone, Debug)]
pub struct InputRule {
    /// Its name, also the column it selects by.
    pub name: String,
    /// Its type.
    pub ty: AttributeType,
    /// Whether a question must give it.
    pub required: bool,
}

/// A published data service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// The description as published.
    pub published: wire::ServicePublished,
    /// Its attributes by name.
    pub attributes: BTreeMap<String, AttributeRule>,
    /// Its inputs.
    pub inputs: Vec<InputRule>,
    /// Whom it may be asked about.
    pub schemes: Vec<Scheme>,
    /// How it may be shared.
    pub sharing: Sharing,
    /// Whether it answers.
    pub state: ServiceState,
    /// Digest of the statement that published it in this form; the standing grant of an unconditional service, and of the
    /// department's own for itself.
    pub statement: Digest,
    /// What the authority has said about it.
    pub review: Review,
    /// A change of it that the authority has yet to approve.
    pub proposed: Option<Proposal>,
}

impl Service {
    /// Whether this department asks it by the service's own statement, without a grant: everybody, where it is shared
    /// unconditionally; and the department whose it is, which decided so when it signed and published it. What a law keeps
    /// from being shared is not asked by this way at all.
    pub fn needs_no_grant_for(&self, asker: &DepartmentId) -> bool {
        match self.sharing {
            Sharing::Unconditional => true,
            Sharing::Conditional => self.id.department == *asker,
            Sharing::NotShared => false,
        }
    }

    /// Checks a description.
    pub fn check(published: &wire::ServicePublished, statement: Digest) -> Result<Self, ServiceError> {
        let wrong = |field: &str, reason: &str| ServiceError { field: field.to_owned(), reason: reason.to_owned() };
        let id_error = |field: &str| {
            let field = field.to_owned();
            move |error: IdError| ServiceError { field, reason: error.to_string() }
        };
        if published.major_version == 0 {
            return Err(wrong("version", "versions are counted from 1.0"));
        }
        let id = ServiceId {
            department: published.department.parse().map_err(id_error("department"))?,
            service: published.service.parse().map_err(id_error("service"))?,
            major: published.major_version,
        };
        if published.name.as_ref().is_none_or(|name| name.zh.trim().is_empty()) {
            return Err(wrong("name.zh", "the service needs a name"));
        }
        if !has_basis(&published.legal_bases) {
            return Err(wrong("legal_basis", "no legal basis, no publishing: state instrument and article"));
        }
        let sharing = match published.sharing() {
            wire::SharingClass::Unconditional => Sharing::Unconditional,
            wire::SharingClass::Conditional => Sharing::Conditional,
            wire::SharingClass::NotShared => Sharing::NotShared,
            wire::SharingClass::Unspecified => {
                return Err(wrong("sharing", "say unconditional, conditional or not_shared"));
            }
        };
        if sharing == Sharing::NotShared && !published.forbidden_by.iter().any(|law| !law.instrument.trim().is_empty())
        {
            return Err(wrong("forbidden_by", "a service that is not shared cites the law that forbids it"));
        }
        if published.subject_schemes.is_empty() {
            return Err(wrong("subject", "name at least one subject scheme"));
        }
        let schemes = published
            .subject_schemes
            .iter()
            .map(|scheme| Scheme::parse(scheme).map_err(|error| wrong("subject", &error.to_string())))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            id,
            attributes: check_attributes(published)?,
            inputs: check_inputs(published)?,
            schemes,
            sharing,
            state: ServiceState::Answering,
            statement,
            review: Review::NotRequired,
            proposed: None,
            published: published.clone(),
        })
    }

    /// What the authority has yet to approve: the description, the statement it stands in, and what was said so far.
    pub fn unapproved(&self) -> Option<(&wire::ServicePublished, &Digest, &Review)> {
        match &self.proposed {
            Some(proposal) => Some((&proposal.published, &proposal.statement, &proposal.review)),
            None if self.review.permits() => None,
            None => Some((&self.published, &self.statement, &self.review)),
        }
    }

    /// The newest description, approved or not.
    pub fn newest(&self) -> &wire::ServicePublished {
        self.proposed.as_ref().map_or(&self.published, |proposal| &proposal.published)
    }

    /// When it ends and why, where that was stated.
    pub fn ends(&self) -> Option<(u64, &str)> {
        match &self.state {
            ServiceState::Withdrawn { reason, from_ms, .. } => Some((*from_ms, reason)),
            ServiceState::Answering | ServiceState::Suspended { .. } => None,
        }
    }

    /// The notice that askers get to read, where it is suspended.
    pub fn notice(&self) -> Option<&str> {
        match &self.state {
            ServiceState::Suspended { notice } => Some(notice),
            ServiceState::Withdrawn { suspended, .. } => suspended.as_deref(),
            ServiceState::Answering => None,
        }
    }

    /// Whether it answers at that time: approved, not suspended, not ended.
    pub fn answers_at(&self, now_ms: u64) -> bool {
        self.review.permits() && self.notice().is_none() && self.ends().is_none_or(|(from_ms, _)| now_ms < from_ms)
    }

    /// Whether anybody may ask it whether a name belongs to a resident's number, with nothing else to be given.
    pub fn tells_names(&self) -> bool {
        self.sharing == Sharing::Unconditional && self.knows_names()
    }

    /// Whether it can say if a name belongs to a resident's number, and nothing more has to be known for that.
    pub fn knows_names(&self) -> bool {
        let equals = |rule: &AttributeRule| rule.operators().iter().any(|operator| operator.as_str() == "equals");
        self.published.subject_schemes.iter().any(|scheme| scheme == "resident_id")
            && self.inputs.iter().all(|input| !input.required)
            && self.attributes.get("name").is_some_and(equals)
    }

    /// How many different values a department may try for one subject and attribute in a day.
    pub fn guesses_per_day(&self) -> u32 {
        match self.published.guesses_per_day {
            0 => USUAL_GUESSES_PER_DAY,
            guesses => guesses,
        }
    }

    /// How many in a year, of an attribute whose values have an order.
    pub fn guesses_per_year(&self) -> u32 {
        match self.published.guesses_per_year {
            0 => USUAL_GUESSES_PER_YEAR,
            guesses => guesses,
        }
    }

    /// The description's legal bases, or the one that the service needs the subject's authorisation by.
    pub fn needs_authorisation(&self) -> bool {
        self.published.needs_authorisation.is_some()
    }
}

/// Whether at least one legal basis names an instrument.
pub(crate) fn has_basis(bases: &[proto::exchange::v1::LegalBasis]) -> bool {
    !bases.is_empty() && bases.iter().all(|basis| !basis.instrument.trim().is_empty())
}

fn check_attributes(published: &wire::ServicePublished) -> Result<BTreeMap<String, AttributeRule>, ServiceError> {
    let wrong = |field: String, reason: String| ServiceError { field, reason };
    if published.attributes.is_empty() {
        return Err(wrong("attributes".into(), "a service needs at least one attribute".into()));
    }
    let mut attributes = BTreeMap::new();
    for attribute in &published.attributes {
        let field = format!("attributes.{}", attribute.name);
        check_column(&attribute.name).map_err(|reason| wrong(field.clone(), reason))?;
        let rule = AttributeRule::from_proto(attribute).map_err(|error| wrong(field.clone(), error.to_string()))?;
        if rule.absence().is_some() && published.completeness.is_none() {
            let reason = "absence means something only in a register declared complete (`complete`)";
            return Err(wrong(format!("{field}.absence"), reason.into()));
        }
        if attributes.insert(attribute.name.clone(), rule).is_some() {
            return Err(wrong(field, "the attribute stands twice".into()));
        }
    }
    Ok(attributes)
}

fn check_inputs(published: &wire::ServicePublished) -> Result<Vec<InputRule>, ServiceError> {
    let mut inputs: Vec<InputRule> = Vec::new();
    for input in &published.inputs {
        let wrong = |reason: String| ServiceError { field: format!("inputs.{}", input.name), reason };
        check_column(&input.name).map_err(wrong)?;
        let ty = Type::parse(&input.r#type)
            .ok()
            .filter(|ty| !matches!(ty, Type::List | Type::Enum))
            .ok_or_else(|| wrong(format!("{:?} is no type of an input", input.r#type)))?;
        if inputs.iter().any(|other| other.name == input.name) {
            return Err(wrong("the input stands twice".into()));
        }
        let ty = AttributeType::new(ty, Vec::new()).map_err(|error| wrong(error.to_string()))?;
        inputs.push(InputRule { name: input.name.clone(), ty, required: input.required });
    }
    Ok(inputs)
}

/// Attribute and input names are column names of somebody's database one day: keep them plain.
fn check_column(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) || !name.as_bytes()[0].is_ascii_lowercase() {
        return Err("a name is 1 to 63 lower-case letters, digits and underscores, beginning with a letter".into());
    }
    Ok(())
}
