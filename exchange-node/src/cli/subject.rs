//! `subject log`: who asked about a subject. The subject never stands on the command line: it would stay in the shell's history
//! and show in the list of processes. Out of scope: what may be shown (`crate::subject_log`).

use clap::{Args, Subcommand};
use proto::{
    admin::v1::{LookUpRequest, subject_lookups_client::SubjectLookupsClient},
    exchange::v1::{Subject, Verdict},
    office::v1::{AskedAbout, ListAskedResponse},
};
use serde_json::{Value, json};

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    verify,
};

/// The commands about a subject.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows who asked about a subject, when, for what, and what came out. The look-up is itself recorded.
    #[command(
        after_help = "The subject is asked for without echo, or read as one line from standard input.\n\nExamples:\n  exchange-node subject log --officer 2001\n  exchange-node subject log --scheme uscc --officer 2009 --auditor"
    )]
    Log(LogArgs),
}

/// Which subject, and who looks.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// How the subject is identified.
    #[arg(long, value_name = "SCHEME", default_value = "resident_id")]
    pub scheme: String,
    /// The officer who looks; node.toml, section [subject_log], names those who may.
    #[arg(long, value_name = "NUMBER")]
    pub officer: String,
    /// Looks as an auditor: with the officers who asked, and with what is under embargo.
    #[arg(long)]
    pub auditor: bool,
    /// How many at most, up to 500.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub most: u32,
    /// Goes on behind what was listed before.
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    pub cursor: String,
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let Command::Log(LogArgs { scheme, officer, auditor, most, cursor }) = command;
    let mut lookups = SubjectLookupsClient::new(folder.channel().await?);
    let value = verify::read_subject(&scheme)?.to_string();
    let subject = Some(Subject { scheme, value });
    let looked = lookups.look_up(LookUpRequest { subject, officer, auditor, most, cursor }).await?.into_inner();
    if let Some(refusal) = looked.refused {
        return Err(Error::Refused(refusal));
    }
    let asked = looked.asked.unwrap_or_default();
    let entries: Vec<Value> = asked.entries.iter().map(|entry| machine(entry, auditor)).collect();
    let shown = json!({ "entries": entries, "next_cursor": asked.next_cursor, "erased": asked.erased });
    output.show(&shown, || text(&asked, auditor));
    Ok(Exit::Done)
}

fn machine(entry: &AskedAbout, auditor: bool) -> Value {
    let attributes: Vec<Value> = entry
        .attributes
        .iter()
        .map(|asked| {
            json!({ "attribute": asked.attribute, "verdict": verdict(asked.verdict()), "disclosed": asked.disclosed })
        })
        .collect();
    let bases: Vec<String> = entry
        .legal_bases
        .iter()
        .map(|basis| format!("{} {}", basis.instrument, basis.article).trim().to_owned())
        .collect();
    let mut shown = json!({
        "asked_at_ms": entry.asked_at_ms,
        "department": entry.department,
        "department_name_zh": entry.department_name_zh,
        "department_name_en": entry.department_name_en,
        "service": entry.service,
        "major_version": entry.major_version,
        "item": entry.item,
        "scenario": entry.scenario,
        "legal_bases": bases,
        "case_number": entry.case_number,
        "attributes": attributes,
        "outcome": entry.outcome,
        "refusal_code": entry.refusal_code,
        "corrected": entry.corrected,
        "evidence_of": entry.evidence_of,
    });
    if auditor {
        shown["officer"] = json!(entry.officer);
        shown["embargo_until_ms"] = json!(entry.embargo_until_ms);
    }
    shown
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Match => "MATCH",
        Verdict::Mismatch => "MISMATCH",
        Verdict::NoRecord => "NO_RECORD",
        Verdict::Unavailable => "UNAVAILABLE",
        Verdict::Unspecified => "",
    }
}

fn text(asked: &ListAskedResponse, auditor: bool) -> String {
    let erased = match asked.erased {
        0 => String::new(),
        erased => format!("\n{erased} older questions can be told no more: their messages were destroyed in time."),
    };
    let more = match asked.next_cursor.as_str() {
        "" => String::new(),
        cursor => format!("\nThere are more: --cursor {cursor}"),
    };
    if asked.entries.is_empty() {
        return format!("Nobody has asked about this subject.{erased}");
    }
    let rows = asked.entries.iter().map(|entry| {
        let attributes: Vec<String> = entry
            .attributes
            .iter()
            .map(|asked| format!("{} {}", asked.attribute, verdict(asked.verdict())).trim().to_owned())
            .collect();
        let outcome = match (entry.refusal_code.as_str(), entry.corrected) {
            ("", false) => entry.outcome.clone(),
            ("", true) => format!("{}, corrected", entry.outcome),
            (code, _) => format!("{} ({code})", entry.outcome),
        };
        let officer = match (auditor, entry.embargo_until_ms) {
            (false, _) => String::new(),
            (true, 0) => entry.officer.clone(),
            (true, until_ms) => format!("{}, embargo until {}", entry.officer, output::moment(until_ms)),
        };
        [
            output::moment(entry.asked_at_ms),
            entry.department.clone(),
            [entry.item.as_str(), &entry.scenario].join(" ").trim().to_owned(),
            entry.case_number.clone(),
            format!("{} v{}", entry.service, entry.major_version),
            attributes.join("; "),
            outcome,
            officer,
        ]
    });
    let header =
        ["asked", "by", "for", "case", "service", "attributes", "outcome", if auditor { "officer" } else { "" }];
    format!("{}{more}{erased}", output::table(header, rows))
}
