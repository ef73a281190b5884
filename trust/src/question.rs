//! A question between two nodes: opening it, and what must hold of it before anyone decides. Whether it may be asked is
//! in `decision`.

use proto::exchange::v1 as wire;

use crate::{
    directory::{Directory, NEWEST_WIRE_VERSION, OLDEST_WIRE_VERSION, WIRE_VERSION, model::Profile},
    envelope::{self, EnvelopeError, Opened},
    ids::{Digest, IdError, NodeId, Party, RequestId, ServiceId},
    refusal::{Code, Refusal},
};

/// The largest request in bytes.
pub const LARGEST_REQUEST: usize = 32 * 1024;

/// The most claims in a question.
pub const MOST_CLAIMS: usize = 32;

/// The most other numbers of the subject.
pub const MOST_FORMER_SUBJECTS: usize = 8;

/// The most inputs in a question.
pub const MOST_INPUTS: usize = 16;

/// The longest free text in a question (case number, officer, scope of an authorisation), in bytes.
pub const LONGEST_TEXT: usize = 500;

/// A question whose parts can be read.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its identity.
    pub id: RequestId,
    /// Who asks.
    pub sender: Party,
    /// The asking department's node.
    pub sender_node: NodeId,
    /// Who is asked.
    pub recipient: Party,
    /// The service asked.
    pub service: ServiceId,
    /// When it was made, Unix milliseconds.
    pub issued_at_ms: u64,
    /// When it stops being valid, Unix milliseconds.
    pub expires_at_ms: u64,
    /// The message as it was signed.
    pub wire: wire::Request,
}

impl Question {
    /// Reads a request that was opened.
    pub fn read(request: wire::Request) -> Result<Self, Refusal> {
        let malformed =
            |field: &'static str| move |error: IdError| Refusal::new(Code::MessageMalformed).at(field).because(error);
        if !(OLDEST_WIRE_VERSION..=NEWEST_WIRE_VERSION).contains(&request.wire_version) {
            let range = format!("{OLDEST_WIRE_VERSION} to {NEWEST_WIRE_VERSION} are spoken here");
            return Err(Refusal::new(Code::WireVersionUnsupported).at("wire_version").because(range));
        }
        let sender: Party = request.sender.parse().map_err(malformed("sender"))?;
        let recipient: Party = request.recipient.parse().map_err(malformed("recipient"))?;
        if sender.exchange().as_str() != request.exchange_id {
            return Err(Refusal::new(Code::ExchangeWrong).at("exchange_id"));
        }
        let service = ServiceId {
            department: recipient.department().clone(),
            service: request.service.parse().map_err(malformed("service"))?,
            major: request.service_version,
        };
        for (field, length) in [("directory_root", request.directory_root.len()), ("grant", request.grant.len())] {
            if length != 32 && !(field == "grant" && length == 0) {
                return Err(Refusal::new(Code::MessageMalformed).at(field).because("must be 32 bytes"));
            }
        }
        check_texts(&request)?;
        Ok(Self {
            id: RequestId::try_from(request.request_id.as_slice()).map_err(malformed("request_id"))?,
            sender_node: request.sender_node.parse().map_err(malformed("sender_node"))?,
            sender,
            recipient,
            service,
            issued_at_ms: request.issued_at_ms,
            expires_at_ms: request.expires_at_ms,
            wire: request,
        })
    }

    /// Whether the question is valid at `now_ms`: not too old, not from the future, and not valid for too long.
    pub fn check_time(&self, profile: &Profile, now_ms: u64) -> Result<(), Refusal> {
        if self.expires_at_ms < self.issued_at_ms {
            return Err(Refusal::new(Code::MessageMalformed).at("expires_at_ms").because("it ends before it begins"));
        }
        if self.expires_at_ms - self.issued_at_ms > profile.request_validity_ms {
            let limit = format!("{} s are allowed", profile.request_validity_ms / 1000);
            return Err(Refusal::new(Code::RequestValidityTooLong).at("expires_at_ms").because(limit));
        }
        if self.issued_at_ms > now_ms.saturating_add(profile.clock_skew_ms) {
            let clocks = format!("made at {}, and it is {now_ms} here (Unix milliseconds)", self.issued_at_ms);
            return Err(Refusal::new(Code::RequestFromFuture).at("issued_at_ms").because(clocks));
        }
        if self.expires_at_ms.saturating_add(profile.clock_skew_ms) <= now_ms {
            let clocks = format!("valid until {}, and it is {now_ms} here (Unix milliseconds)", self.expires_at_ms);
            return Err(Refusal::new(Code::RequestTooOld).at("expires_at_ms").because(clocks));
        }
        Ok(())
    }
}

/// The wire version that a question bears: the least under which nobody misreads it.
pub fn wire_version_of(request: &wire::Request) -> u32 {
    if request.also_about.is_empty() { WIRE_VERSION } else { NEWEST_WIRE_VERSION }
}

fn check_texts(request: &wire::Request) -> Result<(), Refusal> {
    let purpose = request.purpose.as_ref();
    let texts = [
        ("case_number", request.case_number.as_str()),
        ("officer", &request.officer),
        ("system", &request.system),
        ("purpose.item", purpose.map_or("", |purpose| &purpose.item)),
        ("purpose.scenario", purpose.map_or("", |purpose| &purpose.scenario)),
        ("authorisation.scope", request.authorisation.as_ref().map_or("", |form| &form.scope)),
        ("authorisation.signed_by", request.authorisation.as_ref().map_or("", |form| &form.signed_by)),
    ];
    for (field, text) in texts {
        if text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
            let reason = format!("at most {LONGEST_TEXT} bytes, without control characters");
            return Err(Refusal::new(Code::MessageMalformed).at(field).because(reason));
        }
    }
    let trace_ok = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if request.trace.len() > 64 || !request.trace.bytes().all(trace_ok) {
        return Err(Refusal::new(Code::MessageMalformed).at("trace").because("at most 64 of [0-9a-z-]"));
    }
    Ok(())
}

/// Opens a question that came over a connection of `peer`, for the department `me`: size, type, key, role, signature,
/// sender and recipient, in this order. What is wrong is a refusal that can be signed, because the connection says whom
/// it goes to.
pub fn open(
    directory: &Directory,
    signed: &wire::Signed,
    peer: &Party,
    me: &Party,
    now_ms: u64,
) -> Result<(Question, Digest), Refusal> {
    let claimed: wire::Request = envelope::peek(signed, LARGEST_REQUEST).map_err(|error| refuse_envelope(&error))?;
    let sender: Party =
        claimed.sender.parse().map_err(|error| Refusal::new(Code::MessageMalformed).at("sender").because(error))?;
    if directory.department(sender.department()).is_none() {
        return Err(Refusal::new(Code::DepartmentUnknown).at("sender"));
    }
    if sender != *peer {
        return Err(Refusal::new(Code::SenderWrong).at("sender"));
    }
    // The key must have counted when the question was made. Nobody gains by making that time up: what is not from now is
    // refused by its time, unless it was answered before, and then it gets that answer.
    let opened = match open_by_node_of(directory, signed, &sender, claimed.issued_at_ms.min(now_ms)) {
        // Dated before its key: if the key counts now, the time below says better what is wrong.
        Err(refusal) if refusal.code == Code::KeyNotYetValid => open_by_node_of(directory, signed, &sender, now_ms)?,
        opened => opened?,
    };
    if opened.message.exchange_id != me.exchange().as_str() {
        return Err(Refusal::new(Code::ExchangeWrong).at("exchange_id"));
    }
    if opened.message.recipient != me.to_string() {
        return Err(Refusal::new(Code::RecipientWrong).at("recipient"));
    }
    if opened.message.wire_version < wire_version_of(&opened.message) {
        let needed = format!("a question about several people bears {NEWEST_WIRE_VERSION}");
        return Err(Refusal::new(Code::WireVersionUnsupported).at("wire_version").because(needed));
    }
    Ok((Question::read(opened.message)?, opened.digest))
}

/// Opens a request signed by a node of the sender, whoever brings it.
pub fn open_by_node_of(
    directory: &Directory,
    signed: &wire::Signed,
    sender: &Party,
    at_ms: u64,
) -> Result<Opened<wire::Request>, Refusal> {
    // The first key that stands in the directory but does not count explains best why nothing opened.
    let not_valid = std::cell::Cell::new(None);
    let opened = envelope::open_signed::<wire::Request>(signed, LARGEST_REQUEST, |key_id| {
        match directory.node_key(sender.department(), key_id, at_ms) {
            Ok(key) => Some(key.key.clone()),
            Err(code) => {
                not_valid.set(not_valid.get().or(Some(code)));
                None
            }
        }
    });
    match (opened, not_valid.get()) {
        (Ok(opened), _) => Ok(opened),
        (Err(EnvelopeError::KeyUnknown), Some(code)) => Err(Refusal::new(code).at("signatures")),
        (Err(error), _) => Err(refuse_envelope(&error)),
    }
}

/// The refusal for an envelope that does not open.
pub fn refuse_envelope(error: &EnvelopeError) -> Refusal {
    match error {
        EnvelopeError::TooLarge { .. } => Refusal::new(Code::MessageTooLarge).because(error),
        EnvelopeError::WrongType { .. } => Refusal::new(Code::PayloadTypeWrong).at("payload_type").because(error),
        EnvelopeError::KeyUnknown => Refusal::new(Code::KeyUnknown).at("signatures"),
        EnvelopeError::SignatureWrong | EnvelopeError::PathWrong => {
            Refusal::new(Code::SignatureWrong).at("signatures").because(error)
        }
        EnvelopeError::Missing | EnvelopeError::SignatureCount | EnvelopeError::Malformed => {
            Refusal::new(Code::MessageMalformed).because(error)
        }
    }
}
