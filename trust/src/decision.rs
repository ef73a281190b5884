//! The decision on a question: `decide(directory, question, now)` gives a permit or a refusal with its reason. Deny by
//! default; an empty list covers nothing. It is the same function on the asking side, which learns at once that it need
//! not ask, on the answering side, which counts, and in an audit years later.

use proto::{exchange::v1 as wire, registry::v1 as statement};

use crate::{
    claim::{AttributeRule, Claim},
    clerk::AnsweredBy,
    directory::{
        AccessKey, Directory,
        model::{Access, AccessState},
    },
    ids::Digest,
    question::{MOST_CLAIMS, MOST_FORMER_SUBJECTS, MOST_INPUTS, Question},
    refusal::{Code, Refusal},
    service::{Service, Sharing, has_basis},
    subject::{Scheme, Subject, added::Schemes},
    subscription,
    value::Value,
};

/// How many other people a question may be about.
pub const MOST_OTHERS: usize = 8;

/// What a permitted question may have answered.
#[derive(Debug)]
pub struct Permit<'a> {
    /// The service.
    pub service: &'a Service,
    /// The grant's statement, or the service's own where it is shared unconditionally or the asker's own.
    pub grant: Digest,
    /// The grant's quota.
    pub quota: Option<&'a statement::Quota>,
    /// The subject, canonical.
    pub subject: Subject,
    /// Other numbers that the asker says the same subject has, or has had, under schemes that the service takes.
    pub former_subjects: Vec<Subject>,
    /// Other people whose records are added to the subject's.
    pub also_about: Vec<Subject>,
    /// Values that select rows, each with its name.
    pub inputs: Vec<(String, Value)>,
    /// The claims; each one's `disclose` is set only where service and grant allow it.
    pub claims: Vec<Claim>,
}

/// Decides on a question. Nothing is looked up, so a refusal can tell nothing about a record.
pub fn decide<'a>(directory: &'a Directory, question: &Question, now_ms: u64) -> Result<Permit<'a>, Refusal> {
    check_departments(directory, question, now_ms)?;
    let service = answering_service(directory, question, now_ms)?;
    let request = &question.wire;
    check_count(&request.claims)?;
    // Before the reasons are looked at: who has no grant should hear that, and not that a field is empty.
    let (grant, quota) = standing(directory, service, question, now_ms)?;
    check_why(request)?;
    check_authorisation(service, request, now_ms)?;
    subscription::check(service, request, now_ms)?;
    if AnsweredBy::of(&service.published) == AnsweredBy::Clerk && !request.accepts_deferral {
        return Err(Refusal::new(Code::DeferralNotAccepted).at("accepts_deferral"));
    }
    let claims = read_claims(service, &request.claims)?;
    let inputs = read_inputs(service, &request.inputs)?;
    let schemes = &directory.profile().schemes;
    let subject = read_subject(schemes, service, request.subject.as_ref())?;
    let former_subjects = read_former(schemes, service, &subject, &request.former_subjects)?;
    let also_about = read_others(schemes, service, &subject, &claims, &request.also_about)?;
    Ok(Permit { service, grant, quota, subject, former_subjects, also_about, inputs, claims })
}

fn check_departments(directory: &Directory, question: &Question, now_ms: u64) -> Result<(), Refusal> {
    for (field, party) in [("sender", &question.sender), ("recipient", &question.recipient)] {
        let department =
            directory.department(party.department()).ok_or_else(|| Refusal::new(Code::DepartmentUnknown).at(field))?;
        if let Some(reason) = &department.suspended {
            return Err(Refusal::new(Code::DepartmentSuspended).at(field).because(reason));
        }
        if let Some(closed) = department.closed_at(now_ms) {
            let detail = match closed.successors.as_slice() {
                [] => closed.reason.clone(),
                successors => format!("{}; succeeded by {}", closed.reason, successors.join(", ")),
            };
            return Err(Refusal::new(Code::DepartmentClosed).at(field).because(detail));
        }
    }
    Ok(())
}

fn answering_service<'a>(directory: &'a Directory, question: &Question, now_ms: u64) -> Result<&'a Service, Refusal> {
    let service =
        directory.service(&question.service).ok_or_else(|| Refusal::new(Code::ServiceUnknown).at("service"))?;
    check_service_succession(directory, question, now_ms)?;
    if let Some((_, reason)) = service.ends().filter(|(from_ms, _)| *from_ms <= now_ms) {
        return Err(Refusal::new(Code::ServiceWithdrawn).at("service").because(reason));
    }
    if let Some(notice) = service.notice() {
        return Err(Refusal::new(Code::ServiceSuspended).at("service").because(notice));
    }
    if !service.review.permits() {
        return Err(Refusal::new(Code::ServiceNotReviewed).at("service"));
    }
    if service.sharing == Sharing::NotShared {
        let law = service.published.forbidden_by.as_ref().map_or("", |law| &law.instrument);
        return Err(Refusal::new(Code::ServiceNotShared).at("service").because(law));
    }
    Ok(service)
}

/// A service that went over to a successor is the successor's from that time on, and not before.
fn check_service_succession(directory: &Directory, question: &Question, now_ms: u64) -> Result<(), Refusal> {
    if let Some(to) = directory.service_handed_to(&question.service).filter(|to| to.from_ms <= now_ms) {
        return Err(Refusal::new(Code::ServiceHandedOver).at("service").because(format!("to {}", to.successor)));
    }
    match directory.service_carried_from(&question.service) {
        Some(carried) if carried.from_ms > now_ms => {
            let detail = format!("it is {}'s until then", carried.origin.department);
            Err(Refusal::new(Code::ServiceUnknown).at("service").because(detail).retry_at(carried.from_ms))
        }
        _ => Ok(()),
    }
}

/// The same of a grant; with how far it came.
fn check_grant_succession(directory: &Directory, key: &AccessKey, now_ms: u64) -> Result<(), (u8, Refusal)> {
    if let Some((to, _)) = directory.access_handed_to(key).filter(|(_, from_ms)| *from_ms <= now_ms) {
        let detail = format!("{} may ask {} under it", to.consumer, to.provider);
        return Err((1, Refusal::new(Code::GrantHandedOver).at("grant").because(detail)));
    }
    match directory.access_carried_from(key) {
        Some(carried) if carried.from_ms > now_ms => {
            Err((2, Refusal::new(Code::GrantNotYetValid).at("grant").retry_at(carried.from_ms)))
        }
        _ => Ok(()),
    }
}

/// Every question names its purpose, its case and its officer, for conditional and unconditional services alike.
fn check_why(request: &wire::Request) -> Result<(), Refusal> {
    let purpose = request.purpose.as_ref().ok_or_else(|| Refusal::new(Code::MessageMalformed).at("purpose"))?;
    if !has_basis(&purpose.legal_bases) {
        return Err(Refusal::new(Code::LegalBasisMissing).at("purpose.legal_bases"));
    }
    if purpose.item.trim().is_empty() && purpose.scenario.trim().is_empty() {
        return Err(Refusal::new(Code::PurposeNotCovered).at("purpose.item").because("no item and no scenario"));
    }
    if request.case_number.trim().is_empty() {
        return Err(Refusal::new(Code::CaseMissing).at("case_number"));
    }
    if request.officer.trim().is_empty() {
        return Err(Refusal::new(Code::OfficerMissing).at("officer"));
    }
    Ok(())
}

fn check_count(claims: &[wire::Claim]) -> Result<(), Refusal> {
    if claims.is_empty() || claims.len() > MOST_CLAIMS {
        return Err(Refusal::new(Code::TooManyClaims).at("claims"));
    }
    Ok(())
}

type Standing<'a> = (Digest, Option<&'a statement::Quota>);

fn standing<'a>(
    directory: &'a Directory,
    service: &'a Service,
    question: &Question,
    now_ms: u64,
) -> Result<Standing<'a>, Refusal> {
    // A department's own service is its own word on what it may ask itself; purpose, basis and scope count as for everybody.
    if service.needs_no_grant_for(question.sender.department()) {
        if question.wire.subscription.is_some() {
            // Nobody has granted it; deny by default.
            return Err(Refusal::new(Code::SubscriptionNotGranted).at("subscription"));
        }
        check_disclosure(service, &question.wire, |_| true)?;
        return Ok((service.statement, None));
    }
    let request = &question.wire;
    let candidates = directory
        .access_between(&service.id.department, question.sender.department())
        .filter(|(_, access)| access.applied.service == service.id.service.as_str())
        .filter(|(_, access)| access.applied.major_version == service.id.major);
    // Where none covers the question, the one that came furthest says best what is missing.
    let mut best: Option<(u8, Refusal)> = None;
    for (key, access) in candidates {
        let going_on = check_grant_succession(directory, key, now_ms);
        match going_on.and_then(|()| covers(access, service, request, now_ms)) {
            Ok(standing) => return Ok(standing),
            Err((rank, refusal)) => {
                if best.as_ref().is_none_or(|(best_rank, _)| rank > *best_rank) {
                    best = Some((rank, refusal));
                }
            }
        }
    }
    Err(best.map_or_else(|| Refusal::new(Code::GrantMissing).at("service"), |(_, refusal)| refusal))
}

/// Whether a grant covers a request; if not, how many of its checks it passed, and what the next one said.
fn covers<'a>(
    access: &'a Access,
    service: &Service,
    request: &wire::Request,
    now_ms: u64,
) -> Result<Standing<'a>, (u8, Refusal)> {
    let (Some(granted), Some(statement)) = (&access.granted, access.grant_statement) else {
        let state = match &access.state {
            AccessState::Refused { reason, .. } => format!("the application was refused: {reason}"),
            AccessState::Returned { missing } => format!("the application was returned: {}", missing.join("; ")),
            _ => "the application is not decided yet".to_owned(),
        };
        return Err((0, Refusal::new(Code::GrantMissing).at("service").because(state)));
    };
    match &access.state {
        AccessState::Granted => {}
        AccessState::Suspended { reason } => {
            return Err((1, Refusal::new(Code::GrantSuspended).at("grant").because(reason)));
        }
        AccessState::Revoked { reason } => {
            return Err((1, Refusal::new(Code::GrantRevoked).at("grant").because(reason)));
        }
        AccessState::Applied | AccessState::Refused { .. } | AccessState::Returned { .. } => {
            return Err((0, Refusal::new(Code::GrantMissing).at("service")));
        }
    }
    if now_ms < granted.valid_from_ms {
        return Err((2, Refusal::new(Code::GrantNotYetValid).at("grant").retry_at(granted.valid_from_ms)));
    }
    if granted.valid_until_ms != 0 && now_ms >= granted.valid_until_ms {
        return Err((2, Refusal::new(Code::GrantExpired).at("grant")));
    }
    let purpose = request.purpose.as_ref();
    let same_item = purpose.is_some_and(|purpose| purpose.item == granted.item && purpose.scenario == granted.scenario);
    if !same_item {
        return Err((3, Refusal::new(Code::PurposeNotCovered).at("purpose.item").because(&granted.item)));
    }
    if !granted.system.is_empty() && granted.system != request.system {
        return Err((4, Refusal::new(Code::SystemNotCovered).at("system")));
    }
    for (index, claim) in request.claims.iter().enumerate() {
        if !service.attributes.contains_key(&claim.attribute) {
            let refusal = Refusal::new(Code::AttributeUnknown).at(format!("claims[{index}].attribute"));
            return Err((5, refusal.because(plain(&claim.attribute))));
        }
        let Some(scope) = granted.scope.iter().find(|scope| scope.attribute == claim.attribute) else {
            let refusal = Refusal::new(Code::AttributeNotCovered).at(format!("claims[{index}].attribute"));
            return Err((5, refusal.because(&claim.attribute)));
        };
        if !scope.operators.contains(&claim.operator) {
            let refusal = Refusal::new(Code::OperatorNotCovered).at(format!("claims[{index}].operator"));
            return Err((6, refusal.because(plain(&claim.operator))));
        }
    }
    let disclosed = |attribute: &str| granted.scope.iter().any(|scope| scope.attribute == attribute && scope.disclose);
    check_disclosure(service, request, disclosed).map_err(|refusal| (7, refusal))?;
    if request.subscription.is_some() && !granted.subscribe {
        return Err((8, Refusal::new(Code::SubscriptionNotGranted).at("subscription")));
    }
    Ok((statement, granted.quota.as_ref()))
}

fn check_disclosure(service: &Service, request: &wire::Request, granted: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    for (index, claim) in request.claims.iter().enumerate().filter(|(_, claim)| claim.disclose) {
        let by_service = service.attributes.get(&claim.attribute).is_some_and(|rule| rule.discloses());
        if !by_service || !granted(&claim.attribute) {
            return Err(Refusal::new(Code::DisclosureNotCovered).at(format!("claims[{index}].disclose")));
        }
    }
    Ok(())
}

fn check_authorisation(service: &Service, request: &wire::Request, now_ms: u64) -> Result<(), Refusal> {
    if !service.needs_authorisation() {
        return Ok(());
    }
    let form = request.authorisation.as_ref().ok_or_else(|| {
        let law = service.published.needs_authorisation.as_ref().map_or("", |law| &law.instrument);
        Refusal::new(Code::AuthorisationMissing).at("authorisation").because(law)
    })?;
    if form.form_digest.len() != 32 {
        return Err(Refusal::new(Code::AuthorisationMissing)
            .at("authorisation.form_digest")
            .because("must be 32 bytes"));
    }
    if !["subject", "guardian", "agent"].contains(&form.signed_by.as_str()) {
        let reason = "must be subject, guardian or agent";
        return Err(Refusal::new(Code::AuthorisationMissing).at("authorisation.signed_by").because(reason));
    }
    if form.scope.trim().is_empty() {
        let reason = "must say what the form covers";
        return Err(Refusal::new(Code::AuthorisationMissing).at("authorisation.scope").because(reason));
    }
    if form.valid_until_ms <= now_ms {
        return Err(Refusal::new(Code::AuthorisationExpired).at("authorisation.valid_until_ms"));
    }
    if !is_authorised(service, request, &form.scope) {
        return Err(Refusal::new(Code::AuthorisationNotCovering).at("authorisation.scope"));
    }
    Ok(())
}

/// Whether the scope of a form, which lists what it covers, names the service, the item or scenario that the question is
/// for, or every data item that is asked for: each by its id or by a name that is published.
fn is_authorised(service: &Service, request: &wire::Request, scope: &str) -> bool {
    let parts: Vec<&str> = scope.split([',', ';', '，', '；', '、']).map(str::trim).collect();
    let names = |name: &str| !name.is_empty() && parts.contains(&name);
    let local = |name: Option<&statement::LocalName>| name.is_some_and(|name| names(&name.zh) || names(&name.en));
    let by_id =
        names(service.id.service.as_str()) || names(&format!("{}/{}", service.id.department, service.id.service));
    let purpose = request.purpose.as_ref();
    if by_id
        || local(service.published.name.as_ref())
        || purpose.is_some_and(|purpose| names(&purpose.item) || names(&purpose.scenario))
    {
        return true;
    }
    let described = &service.published.attributes;
    request.claims.iter().all(|claim| {
        let attribute = described.iter().find(|attribute| attribute.name == claim.attribute);
        attribute.is_some_and(|attribute| names(&attribute.name) || local(attribute.label.as_ref()))
    })
}

fn read_claims(service: &Service, claims: &[wire::Claim]) -> Result<Vec<Claim>, Refusal> {
    claims
        .iter()
        .enumerate()
        .map(|(index, claim)| {
            let field = |name: &str| format!("claims[{index}].{name}");
            let rule = service.attributes.get(&claim.attribute).ok_or_else(|| {
                Refusal::new(Code::AttributeUnknown).at(field("attribute")).because(plain(&claim.attribute))
            })?;
            if !rule.operators().iter().any(|operator| operator.as_str() == claim.operator) {
                let refusal = Refusal::new(Code::OperatorUnknown).at(field("operator"));
                return Err(refusal.because(plain(&claim.operator)));
            }
            Claim::from_proto_strict(claim, rule.ty())
                .map_err(|error| Refusal::new(Code::ClaimMalformed).at(field(error.field())).because(error.fault()))
        })
        .collect()
}

fn read_inputs(service: &Service, inputs: &[wire::Input]) -> Result<Vec<(String, Value)>, Refusal> {
    if inputs.len() > MOST_INPUTS {
        return Err(Refusal::new(Code::InputUnknown).at("inputs").because(format!("at most {MOST_INPUTS}")));
    }
    let mut read: Vec<(String, Value)> = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        let field = format!("inputs[{index}]");
        let rule = service
            .inputs
            .iter()
            .find(|rule| rule.name == input.name)
            .ok_or_else(|| Refusal::new(Code::InputUnknown).at(&field).because(plain(&input.name)))?;
        if read.iter().any(|(name, _)| *name == rule.name) {
            return Err(Refusal::new(Code::InputMalformed).at(&field).because("the input stands twice"));
        }
        let value = input.value.as_ref().ok_or_else(|| Refusal::new(Code::InputMalformed).at(&field))?;
        let value = Value::from_proto_strict(value, &rule.ty)
            .map_err(|error| Refusal::new(Code::InputMalformed).at(&field).because(error))?;
        read.push((rule.name.clone(), value));
    }
    for rule in service.inputs.iter().filter(|rule| rule.required) {
        if !read.iter().any(|(name, _)| *name == rule.name) {
            return Err(Refusal::new(Code::InputMissing).at("inputs").because(&rule.name));
        }
    }
    Ok(read)
}

fn read_subject(schemes: &Schemes, service: &Service, subject: Option<&wire::Subject>) -> Result<Subject, Refusal> {
    let subject = subject.ok_or_else(|| Refusal::new(Code::SubjectMalformed).at("subject"))?;
    let scheme = Scheme::parse(&subject.scheme)
        .ok()
        .filter(|scheme| service.schemes.contains(scheme) && schemes.knows(*scheme))
        .ok_or_else(|| Refusal::new(Code::SubjectSchemeUnsupported).at("subject.scheme"))?;
    schemes
        .parse_as(scheme, &subject.value)
        .map_err(|error| Refusal::new(Code::SubjectMalformed).at("subject.value").because(error))
}

/// The other numbers. One under a scheme that the service does not take finds nothing there, and is passed over.
fn read_former(
    schemes: &Schemes,
    service: &Service,
    subject: &Subject,
    former: &[wire::Subject],
) -> Result<Vec<Subject>, Refusal> {
    if former.len() > MOST_FORMER_SUBJECTS {
        let most = format!("at most {MOST_FORMER_SUBJECTS}");
        return Err(Refusal::new(Code::SubjectMalformed).at("former_subjects").because(most));
    }
    let mut read = Vec::with_capacity(former.len());
    for (index, other) in former.iter().enumerate() {
        let other = schemes.parse(&other.scheme, &other.value).map_err(|error| {
            Refusal::new(Code::SubjectMalformed).at(format!("former_subjects[{index}]")).because(error)
        })?;
        if service.schemes.contains(&other.scheme()) && other != *subject && !read.contains(&other) {
            read.push(other);
        }
    }
    Ok(read)
}

/// Other people. What their records come to together can only be said where rows are added up.
fn read_others(
    schemes: &Schemes,
    service: &Service,
    subject: &Subject,
    claims: &[Claim],
    others: &[wire::Subject],
) -> Result<Vec<Subject>, Refusal> {
    if others.len() > MOST_OTHERS {
        return Err(Refusal::new(Code::SubjectMalformed).at("also_about").because(format!("at most {MOST_OTHERS}")));
    }
    let mut read = Vec::with_capacity(others.len());
    for (index, other) in others.iter().enumerate() {
        let field = format!("also_about[{index}]");
        let other = schemes
            .parse(&other.scheme, &other.value)
            .map_err(|error| Refusal::new(Code::SubjectMalformed).at(&field).because(error))?;
        if !service.schemes.contains(&other.scheme()) {
            return Err(Refusal::new(Code::SubjectSchemeUnsupported).at(&field));
        }
        if other == *subject || read.contains(&other) {
            return Err(Refusal::new(Code::SubjectMalformed).at(&field).because("the same person stands twice"));
        }
        read.push(other);
    }
    let adds_up = |claim: &Claim| service.attributes.get(claim.attribute()).is_some_and(AttributeRule::adds_up);
    match claims.iter().position(|claim| !adds_up(claim)).filter(|_| !read.is_empty()) {
        Some(index) => Err(Refusal::new(Code::ClaimMalformed)
            .at(format!("claims[{index}].attribute"))
            .because("only what is summed or counted can be asked about several people")),
        None => Ok(read),
    }
}

/// A name that came from outside, fit to be said back: a value that was put in a name's place is not repeated.
fn plain(name: &str) -> &str {
    let ok = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if name.len() <= 63 && name.bytes().all(ok) { name } else { "not a name" }
}

#[cfg(test)]
mod tests;
