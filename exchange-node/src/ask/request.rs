//! From what an office posts to what is signed: the canonical subject, values of their attributes' types, the legal
//! bases of the grant where the office states none. What cannot be made canonical is left as it came: the decision says
//! what is wrong with it. Out of scope: the decision.

use std::time::Duration;

use host::random;
use prost::Message;
use proto::exchange::v1 as wire;
use trust::{
    claim::Claim,
    decision::decide,
    directory::{Directory, model::AccessState},
    ids::{DepartmentId, Party, ServiceId, ServiceName},
    question::{MOST_FORMER_SUBJECTS, Question},
    refusal::{Code, Refusal},
    service::Service,
    subject::{Scheme, Subject, added::Schemes},
    value::Value,
};

use super::Asker;
use crate::peers::Patience;

/// The shortest time that a question waits for its answer, where the office does not say otherwise.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);

/// The longest time that a question waits for its answer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How much longer than the wait a question is valid, so that one under way is still answered.
const VALID_BEYOND_WAIT: Duration = Duration::from_secs(30);

/// A question as an office posts it. No `Debug`: it holds personal data.
#[derive(Clone, Default)]
pub struct OfficeQuestion {
    /// The department to ask, by its id.
    pub provider: String,
    /// Its data service.
    pub service: String,
    /// The service's major version; 0 for the newest that answers and that this department may ask.
    pub service_version: u32,
    /// Whom it is about.
    pub subject: Option<wire::Subject>,
    /// Other people whose records are added to the subject's.
    pub also_about: Vec<wire::Subject>,
    /// Values that select rows.
    pub inputs: Vec<wire::Input>,
    /// What is to be compared with the record.
    pub claims: Vec<wire::Claim>,
    /// What for.
    pub purpose: Option<wire::Purpose>,
    /// The case number.
    pub case_number: String,
    /// The officer who asks.
    pub officer: String,
    /// The office system that asks, as its API key says; empty for an operator.
    pub system: String,
    /// The subject's authorisation.
    pub authorisation: Option<wire::Authorisation>,
    /// The same key with the same question gets the same answer; empty for none.
    pub idempotency_key: String,
    /// How old a record may be at most, in seconds; 0 accepts any age.
    pub max_record_age_seconds: u64,
    /// Gives up waiting after so many milliseconds; 0 for the service's own time to answer.
    pub timeout_ms: u32,
    /// Gives up sooner, after so many milliseconds, where no node of the department can be reached; 0 for not sooner.
    pub unreached_ms: u32,
    /// Whether an answer may come later: a person looks it up.
    pub accepts_deferral: bool,
    /// Asks to be told changes until then, Unix milliseconds; `None` asks once.
    pub subscribe_until_ms: Option<u64>,
    /// Asked by the node itself, later: it takes nothing of what the officer may ask.
    pub uncharged: bool,
    /// Correlates logs; `None` lets the node choose.
    pub trace: Option<String>,
}

impl OfficeQuestion {
    /// The public service item it is for.
    pub fn item(&self) -> &str {
        self.purpose.as_ref().map_or("", |purpose| &purpose.item)
    }

    /// Has it wait no longer than its caller does; a twentieth less, so that the caller hears what became of it.
    pub fn shorten(&mut self, deadline: Option<Duration>) {
        let Some(deadline) = deadline else { return };
        let wait_ms = u32::try_from((deadline - deadline / 20).as_millis()).unwrap_or(u32::MAX).max(1);
        self.timeout_ms = if self.timeout_ms == 0 { wait_ms } else { self.timeout_ms.min(wait_ms) };
    }

    /// The service that is meant: the version asked for, or the newest that answers.
    pub(super) fn target(&self, directory: &Directory, me: &Party, now_ms: u64) -> Result<ServiceId, Refusal> {
        let malformed = |field| move |error| Refusal::new(Code::MessageMalformed).at(field).because(error);
        let department: DepartmentId = self.provider.parse().map_err(malformed("provider"))?;
        let service: ServiceName = self.service.parse().map_err(malformed("service"))?;
        if directory.department(&department).is_none() {
            return Err(Refusal::new(Code::DepartmentUnknown).at("provider"));
        }
        let major = match self.service_version {
            0 => newest(directory, me.department(), &department, &service, now_ms)
                .ok_or_else(|| Refusal::new(Code::ServiceUnknown).at("service"))?,
            major => major,
        };
        // An office that still names a predecessor is understood: its successor is asked.
        Ok(directory.service_now(&ServiceId { department, service, major }, now_ms))
    }

    /// What the office says, as it stands in a request.
    pub(super) fn body(&self) -> wire::Request {
        wire::Request {
            subject: self.subject.clone(),
            also_about: self.also_about.clone(),
            inputs: self.inputs.clone(),
            claims: self.claims.clone(),
            purpose: self.purpose.clone(),
            case_number: self.case_number.clone(),
            officer: self.officer.clone(),
            system: self.system.clone(),
            authorisation: self.authorisation.clone(),
            max_record_age_seconds: self.max_record_age_seconds,
            accepts_deferral: self.accepts_deferral,
            subscription: self.subscribe_until_ms.map(|until_ms| wire::Subscription { until_ms }),
            ..wire::Request::default()
        }
    }
}

impl Asker {
    /// Builds the request and decides on it with the same function that the other side will use.
    pub(super) fn prepare(&self, office: &OfficeQuestion) -> Result<(Question, Patience), Refusal> {
        let now_ms = self.clock.now_ms();
        self.view.check_usable(now_ms)?;
        let seen = self.view.seen();
        let directory = seen.directory();
        let target = office.target(directory, &self.me, now_ms)?;
        // Signed with a key that nobody would accept, it would only come back.
        directory
            .node_key(self.me.department(), &self.signer.key_id(), now_ms)
            .map_err(|code| Refusal::new(code).at("sender_node").because("the key of this node"))?;
        let recipient = Party::new(self.me.exchange().clone(), target.department.clone());
        let service = directory.service(&target);
        let wait = match (office.timeout_ms, service.map_or(0, |service| service.published.time_to_answer_ms)) {
            (0, usual_ms) => Duration::from_millis(usual_ms.into()).max(SHORTEST_WAIT),
            (wished_ms, _) => Duration::from_millis(wished_ms.into()),
        }
        .min(LONGEST_WAIT);
        let longest_ms = directory.profile().request_validity_ms;
        let valid_ms = u64::try_from((wait + VALID_BEYOND_WAIT).as_millis()).unwrap_or(u64::MAX).min(longest_ms);
        let mut request = wire::Request {
            wire_version: trust::directory::WIRE_VERSION,
            exchange_id: self.me.exchange().to_string(),
            request_id: random::array::<32>(self.random.as_ref()).to_vec(),
            sender: self.me.to_string(),
            sender_node: self.node.to_string(),
            recipient: recipient.to_string(),
            service: target.service.to_string(),
            service_version: target.major,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(valid_ms),
            directory_size: seen.size(),
            directory_root: seen.root().as_bytes().to_vec(),
            trace: match &office.trace {
                Some(trace) => trace.clone(),
                None => data_encoding::HEXLOWER.encode(&random::array::<8>(self.random.as_ref())),
            },
            ..office.body()
        };
        request.wire_version = trust::question::wire_version_of(&request);
        make_canonical(&mut request, service, &directory.profile().schemes);
        self.name_former(&mut request, service);
        fill_purpose(&mut request, directory, &self.me, service);
        let mut question = Question::read(request)?;
        let permit = decide(directory, &question, now_ms)?;
        question.wire.grant = permit.grant.as_bytes().to_vec();
        if question.wire.encoded_len() > trust::question::LARGEST_REQUEST {
            return Err(Refusal::new(Code::MessageTooLarge));
        }
        if directory.nodes_of(&target.department).next().is_none() {
            return Err(Refusal::new(Code::ProviderUnreachable).at("provider"));
        }
        let unreached = match office.unreached_ms {
            0 => wait,
            sooner_ms => wait.min(Duration::from_millis(sooner_ms.into())),
        };
        Ok((question, Patience { whole: wait, unreached }))
    }
}

impl Asker {
    /// Asks by the number in use, and names the former ones, as this department's table of former numbers has them. Where
    /// the service does not take the scheme of the one in use, by the first of them that it takes.
    pub(super) fn name_former(&self, request: &mut wire::Request, service: Option<&Service>) {
        let (Some(subject), Some(service)) = (&request.subject, service) else { return };
        let Ok(scheme) = Scheme::parse(&subject.scheme) else { return };
        // What is not canonical is left as it came; the decision says what is wrong with it.
        let Ok(subject) = Subject::stored(scheme, &subject.value) else { return };
        let mut numbers = match self.aliases.numbers(&subject, &[]) {
            Ok(numbers) => numbers,
            Err(error) => {
                // The answering side has a table of its own; without this one less is found, and nothing wrong.
                tracing::error!(%error, "asking without former numbers");
                return;
            }
        };
        let Some(first) = numbers.iter().position(|number| service.schemes.contains(&number.scheme())) else { return };
        let to_wire =
            |number: &Subject| wire::Subject { scheme: number.scheme().to_string(), value: number.value().to_owned() };
        request.subject = Some(to_wire(&numbers.remove(first)));
        request.former_subjects = numbers.iter().take(MOST_FORMER_SUBJECTS).map(to_wire).collect();
    }
}

/// The newest version that answers and that this department may ask. Where there is none, the newest that answers, and
/// else the newest of all: what it is refused then says why. Whoever asks without naming a version must not be cut off on
/// the day that a new major version is published, for which nobody has a grant yet.
fn newest(
    directory: &Directory,
    me: &DepartmentId,
    department: &DepartmentId,
    service: &ServiceName,
    now_ms: u64,
) -> Option<u32> {
    let may_ask = |known: &Service| {
        let granted = |major: u32| {
            directory.access_between(department, me).any(|(_, access)| {
                access.state == AccessState::Granted
                    && (access.applied.service.as_str(), access.applied.major_version) == (service.as_str(), major)
            })
        };
        known.needs_no_grant_for(me) || granted(known.id.major)
    };
    directory
        .services_of(department)
        .filter(|known| known.id.service == *service)
        .max_by_key(|known| {
            let answers = known.answers_at(now_ms);
            (answers && may_ask(known), answers, known.id.major)
        })
        .map(|known| known.id.major)
}

/// Brings subject, claims and inputs into the one spelling in which they are signed.
pub(super) fn make_canonical(request: &mut wire::Request, service: Option<&Service>, known: &Schemes) {
    for subject in request.subject.iter_mut().chain(&mut request.also_about) {
        if let Ok(canonical) = known.parse(&subject.scheme, &subject.value) {
            subject.value = canonical.value().to_owned();
        }
    }
    let Some(service) = service else { return };
    for claim in &mut request.claims {
        if let Some(rule) = service.attributes.get(&claim.attribute)
            && let Ok(read) = Claim::from_proto(claim, rule.ty())
        {
            *claim = read.to_proto();
        }
    }
    for input in &mut request.inputs {
        if let Some(rule) = service.inputs.iter().find(|rule| rule.name == input.name)
            && let Some(Ok(value)) = input.value.as_ref().map(|value| Value::from_proto(value, &rule.ty))
        {
            input.value = Some(value.to_proto());
        }
    }
}

/// Fills in the legal bases of the grant that the purpose stands on, and the item's statement where it is published.
pub(super) fn fill_purpose(request: &mut wire::Request, directory: &Directory, me: &Party, service: Option<&Service>) {
    let Some(purpose) = &mut request.purpose else { return };
    let in_force = directory.item_at(me.department(), &purpose.item, request.issued_at_ms);
    // A case names the version that it was filed under.
    if let Some(version) = in_force.filter(|_| purpose.item_statement.is_empty()) {
        purpose.item_statement = version.statement.as_bytes().to_vec();
    }
    let Some(service) = service.filter(|_| purpose.legal_bases.is_empty()) else { return };
    let bases = match service.needs_no_grant_for(me.department()) {
        // What the service rests on is not what its use rests on: that is for the asker to state, here or in its item.
        true => in_force.map(|version| &version.published.legal_bases),
        false => directory
            .access_between(&service.id.department, me.department())
            .filter(|(_, access)| access.state == AccessState::Granted)
            .filter_map(|(_, access)| access.granted.as_ref())
            .find(|granted| {
                granted.service == service.id.service.as_str()
                    && granted.major_version == service.id.major
                    && granted.item == purpose.item
                    && granted.scenario == purpose.scenario
            })
            .map(|granted| &granted.legal_bases),
    };
    if let Some(bases) = bases {
        purpose.legal_bases = bases.clone();
    }
}

/// A name that came from outside, fit to be said back: cut, and without what could confuse a terminal.
pub(super) fn name(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(130).collect()
}
