//! `verify`: asks another department one question. The subject never stands on the command line: it would stay in the
//! shell's history and show in the list of processes. Out of scope: asking (`crate::ask`), in the running node.

use std::{
    fs,
    io::{self, BufRead, IsTerminal},
};

use clap::Args;
use proto::{
    exchange::v1::{
        Authorisation, Claim, ClaimVerdict, Input, LegalBasis, Purpose, Subject, Value, Verdict, value::Kind,
    },
    office::v1::{State, VerifyRequest, VerifyResponse},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    service, text,
};

/// Shown below the help of `verify`.
pub(super) const EXAMPLES: &str = "The subject is asked for without echo, or read as one line from standard input.
A claim is attribute=value, !=, >=, <=, < (before), > (after), or by name: 'status in a,b', 'area between 10,20', 'house exists'.
The exit code tells the worst verdict: 0 match, 4 mismatch, 6 unavailable, 5 no record; 7 is a refusal.

Example:
  exchange-node verify civil-affairs/marriage-registration --claim marital_status=single --item 公租房申请 --case GZF-2026-0001 --officer 1024";

/// What `verify` needs.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The service, DEPARTMENT/SERVICE.
    #[arg(value_name = "SERVICE", value_parser = text::service)]
    service: (String, String),
    /// What is to be compared with the record; may be given several times.
    #[arg(long = "claim", value_name = "CLAIM", value_parser = text::claim, required = true)]
    claims: Vec<Claim>,
    /// A value that selects rows, NAME=VALUE; may be given several times.
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = text::input)]
    inputs: Vec<Input>,
    /// Asks for the value of this attribute too, where the service and the grant allow it.
    #[arg(long, value_name = "ATTRIBUTE")]
    disclose: Vec<String>,
    /// The public service item that it is for.
    #[arg(long, value_name = "ITEM", required_unless_present = "scenario")]
    item: Option<String>,
    /// The use scenario, where it is for no item.
    #[arg(long, value_name = "TEXT")]
    scenario: Option<String>,
    /// The legal basis, "INSTRUMENT ARTICLE"; without it that of the grant.
    #[arg(long, value_name = "BASIS", value_parser = text::legal_basis)]
    basis: Vec<LegalBasis>,
    /// The case number (办件编号).
    #[arg(long, value_name = "NUMBER")]
    case: String,
    /// The officer who asks.
    #[arg(long, value_name = "NUMBER")]
    officer: String,
    /// How the subject is identified; without it the service's first way.
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<String>,
    /// The form that the subject signed: the file, or its SHA-256 in 64 hex digits.
    #[arg(long, value_name = "FILE|HEX", requires_all = ["authorisation_scope", "authorisation_signed_by", "authorisation_until"])]
    authorisation_form: Option<String>,
    /// What the form covers, in words.
    #[arg(long, value_name = "TEXT", requires = "authorisation_form")]
    authorisation_scope: Option<String>,
    /// Who signed the form: subject, guardian or agent.
    #[arg(long, value_name = "WHO", requires = "authorisation_form", value_parser = ["subject", "guardian", "agent"])]
    authorisation_signed_by: Option<String>,
    /// The last day on which the form counts.
    #[arg(long, value_name = "DATE", requires = "authorisation_form", value_parser = text::end_of_day)]
    authorisation_until: Option<u64>,
    /// The same key with the same question gets the same answer.
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    idempotency_key: String,
    /// How old a record may be at most, in days.
    #[arg(long, value_name = "DAYS", default_value_t = 0, hide_default_value = true)]
    max_record_age: u32,
    /// Gives up waiting after so many milliseconds; without it after the service's own time to answer.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0, hide_default_value = true)]
    timeout_ms: u32,
    /// The service's major version; without it the newest that answers.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    major: u32,
}

pub(super) async fn run(args: VerifyArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let claims = with_disclosure(args.claims.clone(), &args.disclose).map_err(Error::Usage)?;
    let authorisation = authorisation(&args)?;
    let scheme = match &args.scheme {
        Some(scheme) => scheme.clone(),
        None => first_scheme(folder, &args).await?,
    };
    let subject = read_subject(&scheme)?;
    let request = VerifyRequest {
        provider: args.service.0,
        service: args.service.1,
        service_version: args.major,
        subject: Some(Subject { scheme, value: subject.to_string() }),
        inputs: args.inputs,
        claims,
        purpose: Some(Purpose {
            item: args.item.unwrap_or_default(),
            item_statement: Vec::new(),
            legal_bases: args.basis,
            scenario: args.scenario.unwrap_or_default(),
        }),
        case_number: args.case,
        officer: args.officer,
        authorisation,
        idempotency_key: args.idempotency_key,
        max_record_age_seconds: u64::from(args.max_record_age) * 86_400,
        timeout_ms: args.timeout_ms,
    };
    let response = folder.office().await?.verify(request).await?.into_inner();
    Ok(show(output, &response))
}

async fn first_scheme(folder: &Folder, args: &VerifyArgs) -> Result<String, Error> {
    let found = service::find(folder, &args.service, args.major).await?;
    let schemes = found.service.map(|service| service.subject_schemes).unwrap_or_default();
    schemes.into_iter().next().ok_or_else(|| Error::Usage("say how the subject is identified: --scheme".to_owned()))
}

fn with_disclosure(mut claims: Vec<Claim>, disclose: &[String]) -> Result<Vec<Claim>, String> {
    for attribute in disclose {
        let claim = claims.iter_mut().find(|claim| claim.attribute == *attribute).ok_or_else(|| {
            format!("--disclose {attribute}: there is no claim about it; '{attribute} exists' is enough of one")
        })?;
        claim.disclose = true;
    }
    Ok(claims)
}

fn authorisation(args: &VerifyArgs) -> Result<Option<Authorisation>, Error> {
    let Some(form) = &args.authorisation_form else { return Ok(None) };
    let form_digest = match data_encoding::HEXLOWER_PERMISSIVE.decode(form.as_bytes()) {
        Ok(digest) if digest.len() == 32 => digest,
        _ => {
            let content =
                fs::read(form).map_err(|source| Error::FileUnusable { doing: "read", path: form.into(), source })?;
            Sha256::digest(content).to_vec()
        }
    };
    Ok(Some(Authorisation {
        form_digest,
        scope: args.authorisation_scope.clone().unwrap_or_default(),
        signed_by: args.authorisation_signed_by.clone().unwrap_or_default(),
        valid_until_ms: args.authorisation_until.unwrap_or(0),
    }))
}

/// A subject is at most this long; whatever is longer is not one.
const LONGEST_SUBJECT: u64 = 1024;

fn read_subject(scheme: &str) -> Result<Zeroizing<String>, Error> {
    let unreadable = |error: io::Error| Error::Usage(format!("the subject cannot be read: {error}"));
    let line = if io::stdin().is_terminal() {
        Zeroizing::new(rpassword::prompt_password(format!("Subject ({scheme}; not shown): ")).map_err(unreadable)?)
    } else {
        subject_line(io::stdin().lock()).map_err(unreadable)?
    };
    if line.trim().is_empty() {
        return Err(Error::Usage(
            "no subject: type it when asked, or give it as one line on standard input".to_owned(),
        ));
    }
    Ok(line)
}

fn subject_line(input: impl BufRead) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    input.take(LONGEST_SUBJECT).read_line(&mut line)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Shows a result, and gives the exit code that it ends with.
pub(super) fn show(output: Output, response: &VerifyResponse) -> Exit {
    let exit = exit_of(response);
    output.show(&to_json(response, exit), || to_text(response));
    exit
}

fn exit_of(response: &VerifyResponse) -> Exit {
    match response.state() {
        State::Refused => Exit::Refused,
        State::Answered => Exit::of_verdicts(&response.verdicts),
        State::Unanswered | State::Deferred | State::Unspecified => Exit::Unavailable,
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Answered => "answered",
        State::Refused => "refused",
        State::Unanswered => "unanswered",
        State::Deferred => "deferred",
        State::Unspecified => "unknown",
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Match => "MATCH",
        Verdict::Mismatch => "MISMATCH",
        Verdict::NoRecord => "NO_RECORD",
        Verdict::Unavailable | Verdict::Unspecified => "UNAVAILABLE",
    }
}

fn to_json(response: &VerifyResponse, exit: Exit) -> serde_json::Value {
    let verdicts: Vec<serde_json::Value> = response.verdicts.iter().map(verdict_json).collect();
    json!({
        "outcome": if exit == Exit::Done { "match" } else { exit.as_str() },
        "state": state_name(response.state()),
        "verdicts": verdicts,
        "record_as_of": response.record_as_of,
        "refusal": response.refusal.as_ref().map(output::refusal_json),
        "refused_by": response.refused_by,
        "unanswered": response.unanswered,
        "receipt": response.receipt,
        "request_digest": response.request_digest,
        "provider": response.provider,
        "service": response.service,
        "elapsed_ms": response.elapsed_ms,
        "asked_at_ms": response.asked_at_ms,
        "case_number": response.case_number,
        "item": response.item,
        "officer": response.officer,
        "due_at_ms": response.deferral.as_ref().map(|deferral| deferral.due_at_ms),
    })
}

/// A verdict in JSON, for bundles too.
pub(super) fn verdict_json(claim: &ClaimVerdict) -> serde_json::Value {
    json!({
        "attribute": claim.attribute,
        "operator": claim.operator,
        "verdict": verdict_name(claim.verdict()),
        "by_absence": claim.by_absence,
        "reason": claim.reason,
        "disclosed": claim.disclosed.as_ref().map(value_text),
    })
}

/// A disclosed value in its usual form.
fn value_text(value: &Value) -> String {
    match &value.kind {
        Some(Kind::Text(text) | Kind::Decimal(text) | Kind::Date(text)) => text.clone(),
        Some(Kind::Boolean(boolean)) => boolean.to_string(),
        Some(Kind::Integer(integer)) => integer.to_string(),
        Some(Kind::List(list)) => list.values.iter().map(value_text).collect::<Vec<_>>().join("; "),
        None => String::new(),
    }
}

/// The verdicts as a table.
pub(super) fn verdicts_table(verdicts: &[ClaimVerdict]) -> String {
    let rows = verdicts.iter().map(|claim| {
        let note = match (claim.by_absence, claim.reason.as_str()) {
            (true, _) => "no row, and the register is declared complete",
            (false, reason) => reason,
        };
        let disclosed = claim.disclosed.as_ref().map(value_text).unwrap_or_default();
        [
            claim.attribute.clone(),
            claim.operator.clone(),
            verdict_name(claim.verdict()).to_owned(),
            note.to_owned(),
            disclosed,
        ]
    });
    output::table(["attribute", "operator", "verdict", "note", "value"], rows)
}

fn to_text(response: &VerifyResponse) -> String {
    let mut text = String::new();
    if let Some(refusal) = &response.refusal {
        let by = if response.refused_by.is_empty() { String::new() } else { format!(" by {}", response.refused_by) };
        text += &output::pairs([
            ("refused", format!("{}{by}", refusal.code)),
            ("field", refusal.field.clone()),
            ("why", refusal.message.clone()),
            ("next", refusal.next_step.clone()),
            ("again at", output::moment(refusal.retry_at_ms)),
        ]);
        text.push('\n');
    }
    if !response.verdicts.is_empty() {
        text += &verdicts_table(&response.verdicts);
        text.push('\n');
    }
    if !response.unanswered.is_empty() {
        text += &format!("No answer came ({}); this says nothing about the subject.\n", response.unanswered);
    }
    if let Some(deferral) = &response.deferral {
        text += &format!("The answer will follow by {} ({}).\n", output::moment(deferral.due_at_ms), deferral.reason);
    }
    text += &output::pairs([
        ("asked", format!("{}/{}", response.provider, response.service)),
        ("at", output::moment(response.asked_at_ms)),
        ("record of", response.record_as_of.clone()),
        ("case", [response.case_number.as_str(), &response.item].join(" ").trim().to_owned()),
        ("officer", response.officer.clone()),
        ("took", if response.elapsed_ms > 0.0 { format!("{:.1} ms", response.elapsed_ms) } else { String::new() }),
        ("receipt", response.receipt.clone()),
    ]);
    text
}

#[cfg(test)]
mod tests {
    use proto::exchange::v1::{Deferral, Refusal};

    use super::*;

    fn answered(verdict: Verdict) -> VerifyResponse {
        VerifyResponse {
            state: State::Answered.into(),
            verdicts: vec![ClaimVerdict {
                attribute: "marital_status".into(),
                operator: "equals".into(),
                verdict: verdict.into(),
                ..Default::default()
            }],
            receipt: "12-0011223344556677".into(),
            provider: "ninghe/civil-affairs".into(),
            service: "marriage-registration".into(),
            ..Default::default()
        }
    }

    #[test]
    fn how_a_question_ended_tells_the_exit_code() {
        assert_eq!(exit_of(&answered(Verdict::Match)), Exit::Done);
        assert_eq!(exit_of(&answered(Verdict::Mismatch)), Exit::Mismatch);
        let ended = |state: State| VerifyResponse { state: state.into(), ..answered(Verdict::Match) };
        assert_eq!(exit_of(&ended(State::Refused)), Exit::Refused);
        // Whatever stands beside it: without an answer nothing is a match.
        assert_eq!(exit_of(&ended(State::Unanswered)), Exit::Unavailable);
        assert_eq!(exit_of(&ended(State::Deferred)), Exit::Unavailable);
        assert_eq!(exit_of(&ended(State::Unspecified)), Exit::Unavailable);
    }

    #[test]
    fn the_result_has_stable_keys() {
        let machine = to_json(&answered(Verdict::Match), Exit::Done);
        let expected = json!({
            "outcome": "match", "state": "answered", "record_as_of": "", "refusal": null, "refused_by": "",
            "unanswered": "", "receipt": "12-0011223344556677", "request_digest": "",
            "provider": "ninghe/civil-affairs", "service": "marriage-registration", "elapsed_ms": 0.0, "asked_at_ms": 0,
            "case_number": "", "item": "", "officer": "", "due_at_ms": null,
            "verdicts": [{
                "attribute": "marital_status", "operator": "equals", "verdict": "MATCH", "by_absence": false,
                "reason": "", "disclosed": null,
            }],
        });
        assert_eq!(machine, expected);
    }

    #[test]
    fn people_read_verdict_refusal_and_receipt() {
        let mut response = answered(Verdict::NoRecord);
        let text = to_text(&response);
        assert!(text.contains("NO_RECORD") && text.contains("12-0011223344556677"), "{text}");
        response.verdicts[0].disclosed = Some(Value { kind: Some(Kind::Date("2020-01-01".into())) });
        assert!(to_text(&response).contains("2020-01-01"));
        response.refusal =
            Some(Refusal { code: "GRANT_MISSING".into(), next_step: "apply".into(), ..Default::default() });
        response.refused_by = "own node".into();
        response.deferral = Some(Deferral { reason: "clerk".into(), due_at_ms: 1_767_225_600_000 });
        let text = to_text(&response);
        for part in ["GRANT_MISSING by own node", "apply", "by 2026-01-01 08:00:00 (clerk)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn one_line_is_the_subject() {
        let read = |text: &str| subject_line(text.as_bytes()).unwrap().to_string();
        assert_eq!(read("890101199003070011\r\nmore\n"), "890101199003070011");
        assert_eq!(read("890101199003070011"), "890101199003070011");
        assert_eq!(read(""), "");
        assert_eq!(read(&"9".repeat(5000)).len(), 1024);
    }

    #[test]
    fn a_value_is_asked_for_only_beside_a_claim() {
        let claims = vec![text::claim("registered_on exists").unwrap(), text::claim("marital_status=single").unwrap()];
        let marked = with_disclosure(claims.clone(), &["registered_on".into()]).unwrap();
        assert_eq!(marked.iter().map(|claim| claim.disclose).collect::<Vec<_>>(), [true, false]);
        assert!(with_disclosure(claims, &["income".into()]).unwrap_err().contains("'income exists'"));
    }
}
