//! The evidence bundle, checked offline: with the authority's public key and nothing else. Every check has a name and a
//! sentence, so that whoever holds a bundle sees what is proved, what is wrong, and what the bundle cannot show.

pub mod access;
mod anchor;
mod state;

pub use self::state::is_the_logs_own;

use std::rc::Rc;

use prost::Message;
use proto::exchange::v1::{self as wire, EntryKind, answer::Outcome};

use crate::{
    answer,
    decision::decide,
    directory::{
        self, Directory,
        chain::{self, RootKeys},
    },
    envelope::{self, EnvelopeError},
    evidence::{Entry, LogOf},
    ids::{Digest, ExchangeId, Party},
    key::{PublicKey, Role},
    log::{
        checkpoint::{self, LogKey, VerifiedCheckpoint},
        hash::{Hash, leaf_hash},
        proof::verify_inclusion,
    },
    question::{self, Question},
};

/// The bundle format's version.
pub const VERSION: u32 = 1;

/// The largest bundle in bytes.
pub const LARGEST_BUNDLE: usize = 16 * 1024 * 1024;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It holds; what it shows.
    Holds(String),
    /// The bundle cannot show it, and says nothing against it.
    NotShown(String),
    /// It is wrong.
    Wrong(String),
}

/// A check by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, for example `answer signature`.
    pub name: String,
    /// How it ended.
    pub finding: Finding,
}

/// What a bundle shows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The checks, in the order made. The first that is wrong ends them.
    pub checks: Vec<Check>,
    /// The question, once its signature held.
    pub request: Option<wire::Request>,
    /// The answers, once their signatures held, in their order.
    pub answers: Vec<wire::Answer>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        !self.checks.is_empty() && self.wrong().is_none()
    }

    /// The check that is wrong.
    pub fn wrong(&self) -> Option<&Check> {
        self.checks.iter().find(|check| matches!(check.finding, Finding::Wrong(_)))
    }

    fn holds(&mut self, name: impl Into<String>, shown: impl Into<String>) {
        self.checks.push(Check { name: name.into(), finding: Finding::Holds(shown.into()) });
    }

    fn not_shown(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.checks.push(Check { name: name.into(), finding: Finding::NotShown(why.into()) });
    }
}

/// A check that is wrong ends the verification.
struct Wrong {
    name: String,
    why: String,
}

fn wrong(name: impl Into<String>, why: impl ToString) -> Wrong {
    Wrong { name: name.into(), why: why.to_string() }
}

/// Checks a bundle. `authority_key` is all that is believed.
pub fn verify(bytes: &[u8], authority_key: &PublicKey) -> Report {
    let mut report = Report::default();
    if let Err(Wrong { name, why }) = verify_into(bytes, authority_key, &mut report) {
        report.checks.push(Check { name, finding: Finding::Wrong(why) });
    }
    report
}

fn verify_into(bytes: &[u8], authority_key: &PublicKey, report: &mut Report) -> Result<(), Wrong> {
    let bundle = read(bytes)?;
    report.holds("bundle", format!("{} bytes, version {VERSION}", bytes.len()));
    let exchange: ExchangeId = bundle.exchange_id.parse().map_err(|error| wrong("bundle exchange", error))?;

    let relied = Relied::read(&bundle, &exchange, authority_key, report)?;
    let entries = read_logs(&bundle, &relied, report)?;

    let (question, request_digest) = check_request(&entries, &relied, report)?;
    let answers = check_answers(&entries, &question, &request_digest, report)?;
    check_outcomes(&entries, &question, &request_digest, report)?;
    report.request = Some(question.wire.clone());
    for answer in &answers {
        check_decision(&question, answer, &relied, report)?;
    }
    state::check(&bundle, &relied.now, &question, &answers, report)?;
    report.answers = answers;
    Ok(())
}

fn read(bytes: &[u8]) -> Result<wire::EvidenceBundle, Wrong> {
    if bytes.len() > LARGEST_BUNDLE {
        return Err(wrong("bundle", format!("{} bytes; {LARGEST_BUNDLE} are allowed", bytes.len())));
    }
    let bundle = wire::EvidenceBundle::decode(bytes).map_err(|_| wrong("bundle", "the file is no evidence bundle"))?;
    // Otherwise bytes that nobody checks could hide in the file.
    if bundle.encode_to_vec() != bytes {
        return Err(wrong("bundle", "the file holds bytes that are no part of an evidence bundle"));
    }
    read_bundle(&bundle)?;
    Ok(bundle)
}

fn read_bundle(bundle: &wire::EvidenceBundle) -> Result<(), Wrong> {
    if bundle.version != VERSION {
        return Err(wrong("bundle version", format!("version {} is not known; update this program", bundle.version)));
    }
    Ok(())
}

/// The directory as far as the bundle shows it.
struct Relied<'a> {
    bundle: &'a wire::EvidenceBundle,
    now: Rc<Directory>,
    /// The same before its first statement.
    empty: Directory,
}

impl<'a> Relied<'a> {
    fn read(
        bundle: &'a wire::EvidenceBundle,
        exchange: &ExchangeId,
        authority_key: &'a PublicKey,
        report: &mut Report,
    ) -> Result<Self, Wrong> {
        let founding = bundle.directory.first().ok_or_else(|| wrong("founding", "the bundle has no statements"))?;
        if founding.index != 0 {
            return Err(wrong("founding", "the first statement is not the founding"));
        }
        let entries = || bundle.directory.iter().map(|statement| statement.entry.as_slice());
        // Where nothing leads to another key, it must be the one that was given: the founding then does not open.
        let first = chain::first_authority_key(exchange, authority_key, entries());
        let empty = Directory::excerpt(exchange.clone(), authority_key.clone());
        let empty = empty.founded_by(first.unwrap_or_else(|| authority_key.clone()));
        let mut directory = empty.clone();
        directory.apply_excerpt(0, &founding.entry).map_err(|error| wrong("founding", error))?;
        let mut keys = RootKeys::of(&directory).ok_or_else(|| wrong("founding", "it names no log key"))?;
        for entry in entries().skip(1) {
            keys.follow(entry).map_err(|error| wrong("change of key", error))?;
        }
        report.holds(
            "founding",
            match directory.current_authority_key() == Some(authority_key) {
                true => "signed by the authority's key that was given",
                false => "signed by an earlier key of the authority, for which the one that was given vouches",
            },
        );

        let origin = directory::origin(exchange);
        // Every statement must be in the checkpoint, so it is signed by the key that the last change of key brought.
        let checkpoint = open_checkpoint("directory checkpoint", &bundle.directory_checkpoint, &origin, keys.log())?;
        let (size, root) = (checkpoint.checkpoint().size(), checkpoint.checkpoint().root());
        report.holds(
            "directory checkpoint",
            format!("{size} statements, vouched for at {} (Unix seconds)", checkpoint.time_seconds()),
        );

        let mut previous = None;
        for statement in &bundle.directory {
            let name = format!("statement {}", statement.index);
            if previous.is_some_and(|previous| statement.index <= previous) {
                return Err(wrong(name, "the statements are not in order"));
            }
            previous = Some(statement.index);
            let path = hashes(&name, &statement.inclusion)?;
            verify_inclusion(&leaf_hash(&statement.entry), statement.index, size, &path, &root)
                .map_err(|error| wrong(format!("{name} inclusion"), error))?;
            if statement.index > 0 {
                directory
                    .apply_excerpt(statement.index, &statement.entry)
                    .map_err(|error| wrong(name.clone(), error))?;
            }
        }
        report.holds(
            "statements",
            format!("{} statements signed by who may make them, and in the directory", bundle.directory.len()),
        );
        Ok(Self { bundle, now: Rc::new(directory), empty })
    }

    /// The directory as it was before the statement `end`.
    fn before(&self, end: u64, name: &str) -> Result<Directory, Wrong> {
        let mut seen = self.empty.clone();
        for statement in self.bundle.directory.iter().filter(|statement| statement.index < end) {
            seen.apply_excerpt(statement.index, &statement.entry).map_err(|error| wrong(name, error))?;
        }
        Ok(seen)
    }
}

/// An envelope of the bundle with what its log says about it.
struct Item<'a> {
    kind: EntryKind,
    message: &'a wire::Signed,
    /// The directory that its signatures are held against: what was anchored before a key's revocation stays good.
    directory: Rc<Directory>,
}

fn read_logs<'a>(
    bundle: &'a wire::EvidenceBundle,
    relied: &Relied<'_>,
    report: &mut Report,
) -> Result<Vec<Item<'a>>, Wrong> {
    let mut items = Vec::new();
    if bundle.logs.is_empty() {
        return Err(wrong("evidence", "the bundle has no evidence log"));
    }
    for log in &bundle.logs {
        let name = format!("evidence log {}", log.origin);
        let directory = anchor::check(log, relied, report)?;
        let key = evidence_key(log, &directory, &name)?;
        let checkpoint = open_checkpoint(&format!("{name} checkpoint"), &log.checkpoint, &log.origin, &key)?;
        let (size, root) = (checkpoint.checkpoint().size(), checkpoint.checkpoint().root());
        check_standing(log, &directory, size, &root, report)?;
        for item in &log.items {
            let entry_name = format!("{name} entry {}", item.index);
            let message = item.message.as_ref().ok_or_else(|| wrong(&entry_name, "has no message"))?;
            let salt = item.salt.as_slice().try_into().map_err(|_| wrong(&entry_name, "its salt is not 32 bytes"))?;
            let path = hashes(&entry_name, &item.inclusion)?;
            let logged = envelope::logged_digests(message).map_err(|error| wrong(&entry_name, error))?;
            let logged = logged.into_iter().map(|envelope| {
                let entry = Entry { kind: item.kind(), salt, envelope };
                verify_inclusion(&entry.leaf(), item.index, size, &path, &root)
            });
            // The last one's word, where none is in the log: a message of many is logged by its root.
            logged
                .reduce(Result::or)
                .unwrap_or(Ok(()))
                .map_err(|error| wrong(&entry_name, format!("the message is not the one that was logged: {error}")))?;
            if let Some(size) = attested_with(message) {
                let shown = format!("one of {size} that were signed together; nothing of the others is in this bundle");
                report.holds(format!("{entry_name} attestation"), shown);
            }
            items.push(Item { kind: item.kind(), message, directory: Rc::clone(&directory) });
        }
        report.holds(
            name,
            format!(
                "{} of {size} entries, vouched for at {} (Unix seconds)",
                log.items.len(),
                checkpoint.time_seconds()
            ),
        );
    }
    Ok(items)
}

/// How many messages share the signature of this one, as its root says; its path is checked where it is opened.
fn attested_with(message: &wire::Signed) -> Option<u64> {
    let Some(wire::signed::Form::Attestation(attestation)) = &message.form else { return None };
    let root = attestation.root.as_ref()?;
    Some(wire::AttestationRoot::decode(root.payload.as_slice()).ok()?.size)
}

/// That the log is one of the node's, and, where it was closed because entries had been lost, that what is shown lies within
/// what it kept.
fn check_standing(
    log: &wire::EvidenceLogPart,
    directory: &Directory,
    size: u64,
    root: &Hash,
    report: &mut Report,
) -> Result<(), Wrong> {
    let name = format!("evidence log {}", log.origin);
    let of: LogOf = log.origin.parse().map_err(|error| wrong(&name, error))?;
    if of.number > directory.evidence_log(of.party.department(), &of.node) {
        return Err(wrong(name, "the node has no such log: the one before it was not closed"));
    }
    let Some(closed) = crate::anchor::closed(directory, &of) else { return Ok(()) };
    if size == closed.size && *root != closed.root {
        return Err(wrong(name, "it is not the log as it was closed"));
    }
    if let Some(item) = log.items.iter().find(|item| item.index >= closed.size) {
        let found = format!(
            "entry {} lies beyond the {} entries that the log kept when it was closed",
            item.index, closed.size
        );
        return Err(wrong(name, found));
    }
    let lost = closed.highest_seen.saturating_sub(closed.size);
    report.holds(
        format!("end of {}", log.origin),
        format!(
            "it was closed with {} entries, at least {lost} were lost ({}); these are among those it kept",
            closed.size, closed.reason
        ),
    );
    Ok(())
}

/// The key of the node that keeps an evidence log.
fn evidence_key(log: &wire::EvidenceLogPart, directory: &Directory, name: &str) -> Result<PublicKey, Wrong> {
    let of: LogOf = log.origin.parse().map_err(|error| wrong(format!("{name} checkpoint"), error))?;
    if of.party.exchange() != directory.exchange() {
        return Err(wrong(format!("{name} checkpoint"), "it is of another exchange"));
    }
    let candidates = directory.keys().filter(|(_, key)| {
        key.described.role == Role::Node
            && key.department.as_ref() == Some(of.party.department())
            && key.node.as_ref() == Some(&of.node)
    });
    let mut revoked = false;
    for (_, key) in candidates {
        let origin = parse_origin(&log.origin, name)?;
        let signed_by_it = LogKey::new(origin, key.described.key.as_bytes())
            .is_ok_and(|log_key| checkpoint::open(log.checkpoint.as_bytes(), &log_key).is_ok());
        // What a revoked key signed counts only if it was anchored before; then it is not revoked in this directory.
        if signed_by_it && key.revoked.is_none() {
            return Ok(key.described.key.clone());
        }
        revoked |= signed_by_it;
    }
    let why = if revoked { "the node's key was revoked" } else { "it is signed by no key of that node" };
    Err(wrong(format!("{name} checkpoint"), why))
}

/// What the first of several equal messages opens to; where none does, what is wrong with the first.
fn first_that_opens<'a, T, E>(items: &[&Item<'a>], open: impl Fn(&Item<'a>) -> Result<T, E>) -> Result<T, E> {
    let mut failed = None;
    for item in items {
        match open(item) {
            Ok(opened) => return Ok(opened),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    // Unwrap safety: there is at least one item, and none opened.
    Err(failed.expect("one of them failed"))
}

fn check_request(items: &[Item<'_>], relied: &Relied<'_>, report: &mut Report) -> Result<(Question, Digest), Wrong> {
    let name = "request signature";
    let requests: Vec<_> = items
        .iter()
        .filter(|item| matches!(item.kind, EntryKind::QuestionSent | EntryKind::QuestionReceived))
        .collect();
    let request = requests.first().ok_or_else(|| wrong("request", "the bundle has no question"))?.message;
    let digest = envelope::digest_of(request).map_err(|error| wrong(name, error))?;
    for other in &requests {
        if envelope::digest_of(other.message).ok() != Some(digest) {
            return Err(wrong("request", "the two sides logged different questions"));
        }
    }
    let claimed: wire::Request =
        envelope::peek(request, question::LARGEST_REQUEST).map_err(|error| wrong(name, error))?;
    let sender: Party = claimed.sender.parse().map_err(|error| wrong("request sender", error))?;
    // Both sides may have logged it, and one of them anchored it before a revocation.
    let opened = first_that_opens(&requests, |item| {
        question::open_by_node_of(&item.directory, item.message, &sender, claimed.issued_at_ms)
    })
    .map_err(|refusal| wrong(name, refusal))?;
    let question = Question::read(opened.message).map_err(|refusal| wrong("request", refusal))?;
    report.holds(name, format!("by a node of {}", question.sender));
    report.holds("parties", parties(&relied.now, &question));
    Ok((question, opened.digest))
}

/// Who asked whom, by the names they bore then: a later name says nothing about an earlier question.
fn parties(directory: &Directory, question: &Question) -> String {
    let named = |party: &Party| {
        let known = directory.department(party.department());
        let name = known.map(|known| known.name_at(question.issued_at_ms).zh).unwrap_or_default();
        format!("{name} ({party})")
    };
    format!("{} asked {}", named(&question.sender), named(&question.recipient))
}

fn check_answers(
    items: &[Item<'_>],
    question: &Question,
    request_digest: &Digest,
    report: &mut Report,
) -> Result<Vec<wire::Answer>, Wrong> {
    let mut answers: Vec<answer::Answer> = Vec::new();
    let given: Vec<_> =
        items.iter().filter(|item| matches!(item.kind, EntryKind::AnswerGiven | EntryKind::AnswerReceived)).collect();
    for item in &given {
        let made_ms = envelope::peek::<wire::Answer>(item.message, answer::LARGEST_ANSWER)
            .map_err(|error| wrong("answer signature", error))?
            .answered_at_ms;
        let same: Vec<_> = given
            .iter()
            .filter(|other| envelope::digest_of(other.message).ok() == envelope::digest_of(item.message).ok())
            .copied()
            .collect();
        let answer = first_that_opens(&same, |item| {
            answer::open_by_recipient(&item.directory, item.message, question, request_digest, made_ms)
        })
        .map_err(|error| wrong(error.to_string().split(": ").next().unwrap_or("answer").to_owned(), error))?;
        if !answers.iter().any(|other| other.digest == answer.digest) {
            answers.push(answer);
        }
    }
    answers.sort_by_key(|answer| answer.wire.number);
    for (index, answer) in answers.iter().enumerate() {
        let in_place = match index.checked_sub(1) {
            None => answer.wire.number == 1,
            Some(before) => answer::follows(question, answer, &answers[before]),
        };
        if !in_place {
            return Err(wrong("answer number", "the answers do not follow one another"));
        }
        report.holds("answer signature", format!("by a node of {}", question.recipient));
    }
    Ok(answers.into_iter().map(|answer| answer.wire).collect())
}

fn check_outcomes(
    items: &[Item<'_>],
    question: &Question,
    request_digest: &Digest,
    report: &mut Report,
) -> Result<(), Wrong> {
    for item in items.iter().filter(|item| item.kind == EntryKind::Outcome) {
        let name = "outcome signature";
        let opened = envelope::open_signed::<wire::Outcome>(item.message, answer::LARGEST_ANSWER, |key_id| {
            let key = item.directory.node_key(question.sender.department(), key_id, question.issued_at_ms).ok()?;
            Some(key.key.clone())
        })
        .map_err(|error: EnvelopeError| wrong(name, error))?;
        if opened.message.request_digest != request_digest.as_bytes() {
            return Err(wrong("outcome request_digest", "it is about another question"));
        }
        let said = match opened.message.what {
            Some(wire::outcome::What::Unsubscribed(_)) => "it wanted no more notices",
            _ => "no valid answer came",
        };
        report.holds(name, format!("by a node of {}: {said}", question.sender));
    }
    Ok(())
}

/// Decides again, with the directory as the answerer saw it: an answer that was given must have been permitted.
fn check_decision(
    question: &Question,
    answer: &wire::Answer,
    relied: &Relied<'_>,
    report: &mut Report,
) -> Result<(), Wrong> {
    if !matches!(answer.outcome, Some(Outcome::Verdicts(_) | Outcome::Deferral(_))) {
        return Ok(());
    }
    let name = "decision";
    let seen = relied.before(answer.directory_size, name)?;
    let permit = decide(&seen, question, answer.answered_at_ms).map_err(|refusal| wrong(name, refusal))?;
    if permit.grant.as_bytes() != answer.grant.as_slice() {
        return Err(wrong(name, "the answer names another grant than the one that permits it"));
    }
    report.holds(name, format!("the question was permitted by statement {}", permit.grant));
    Ok(())
}

fn open_checkpoint(name: &str, text: &str, origin: &str, key: &PublicKey) -> Result<VerifiedCheckpoint, Wrong> {
    let log_key = LogKey::new(parse_origin(origin, name)?, key.as_bytes()).map_err(|error| wrong(name, error))?;
    let opened = checkpoint::open(text.as_bytes(), &log_key).map_err(|error| wrong(name, error))?;
    if opened.checkpoint().origin() != origin {
        return Err(wrong(name, "it is of another log"));
    }
    Ok(opened)
}

fn parse_origin(origin: &str, name: &str) -> Result<crate::log::note::key::KeyName, Wrong> {
    origin.parse().map_err(|_| wrong(name, "its origin is not a log's name"))
}

fn hashes(name: &str, path: &[Vec<u8>]) -> Result<Vec<Hash>, Wrong> {
    path.iter()
        .map(|hash| <[u8; 32]>::try_from(hash.as_slice()).map(Hash::from_bytes))
        .collect::<Result<_, _>>()
        .map_err(|_| wrong(name, "a hash of its path is not 32 bytes"))
}

#[cfg(test)]
mod tests;
