//! `verify`: asks another department one question. The subject never stands on the command line: it would stay in the
//! shell's history and show in the list of processes. Out of scope: asking (`crate::ask`), in the running node.

mod result;

use std::{
    fs,
    io::{self, BufRead, IsTerminal},
};

use clap::Args;
use proto::{
    exchange::v1::{Authorisation, Claim, Input, LegalBasis, Purpose, Subject},
    office::v1::{FetchRequest, VerifyRequest},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub(super) use self::result::{show, value_text, verdict_json, verdicts_table};
use super::{Error, Exit, node::Folder, output::Output, service, text};

/// Shown below the help of `verify`.
pub(super) const EXAMPLES: &str = "The subject is asked for without echo, or read as one line from standard input.
A claim is attribute=value, !=, >=, <=, < (before), > (after), or by name: 'status in a,b', 'area between 10,20', 'house exists'.
The exit code tells the worst verdict: 0 match, 4 mismatch, 6 unavailable, 5 no record; 7 is a refusal.

Example:
  exchange-node verify civil-affairs/marriage-registration --claim marital_status=single --item 公租房申请 --case GZF-2026-0001 --officer 1024
  exchange-node verify --ticket 9f3a2c1e4b5d6a70";

/// What `verify` needs.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The service, DEPARTMENT/SERVICE.
    #[arg(value_name = "SERVICE", value_parser = text::service, required_unless_present = "ticket")]
    service: Option<(String, String)>,
    /// What is to be compared with the record; may be given several times.
    #[arg(long = "claim", value_name = "CLAIM", value_parser = text::claim, required_unless_present = "ticket")]
    claims: Vec<Claim>,
    /// Fetches an answer that was deferred instead: by its ticket, or by the receipt of the deferral.
    #[arg(long, value_name = "TICKET", conflicts_with_all = ["service", "claims", "item", "scenario", "case", "officer"])]
    ticket: Option<String>,
    /// Accepts that a person answers, and that the answer comes later.
    #[arg(long)]
    accept_deferral: bool,
    /// A value that selects rows, NAME=VALUE; may be given several times.
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = text::input)]
    inputs: Vec<Input>,
    /// Asks for the value of this attribute too, where the service and the grant allow it.
    #[arg(long, value_name = "ATTRIBUTE")]
    disclose: Vec<String>,
    /// The public service item that it is for.
    #[arg(long, value_name = "ITEM", required_unless_present_any = ["scenario", "ticket"])]
    item: Option<String>,
    /// The use scenario, where it is for no item.
    #[arg(long, value_name = "TEXT")]
    scenario: Option<String>,
    /// The legal basis, "INSTRUMENT ARTICLE"; without it that of the grant.
    #[arg(long, value_name = "BASIS", value_parser = text::legal_basis)]
    basis: Vec<LegalBasis>,
    /// The case number (办件编号).
    #[arg(long, value_name = "NUMBER", required_unless_present = "ticket")]
    case: Option<String>,
    /// The officer who asks.
    #[arg(long, value_name = "NUMBER", required_unless_present = "ticket")]
    officer: Option<String>,
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

pub(super) async fn run(args: VerifyArgs, folder: &Folder, output: Output, now_ms: u64) -> Result<Exit, Error> {
    if let Some(ticket) = args.ticket {
        let response = folder.office().await?.fetch(FetchRequest { ticket }).await?.into_inner();
        return Ok(show(output, &response));
    }
    let service = args.service.clone().unwrap_or_default();
    text::check_not_over("--authorisation-until", args.authorisation_until, now_ms).map_err(Error::Usage)?;
    let claims = with_disclosure(args.claims.clone(), &args.disclose).map_err(Error::Usage)?;
    let authorisation = authorisation(&args)?;
    let scheme = match &args.scheme {
        Some(scheme) => scheme.clone(),
        None => first_scheme(folder, &service, args.major).await?,
    };
    let subject = read_subject(&scheme)?;
    let request = VerifyRequest {
        provider: service.0,
        service: service.1,
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
        case_number: args.case.unwrap_or_default(),
        officer: args.officer.unwrap_or_default(),
        authorisation,
        idempotency_key: args.idempotency_key,
        max_record_age_seconds: u64::from(args.max_record_age) * 86_400,
        timeout_ms: args.timeout_ms,
        accepts_deferral: args.accept_deferral,
    };
    let response = folder.office().await?.verify(request).await?.into_inner();
    Ok(show(output, &response))
}

pub(super) async fn first_scheme(folder: &Folder, service: &(String, String), major: u32) -> Result<String, Error> {
    let found = service::find(folder, service, major).await?;
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

pub(super) fn read_subject(scheme: &str) -> Result<Zeroizing<String>, Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
