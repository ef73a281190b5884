//! `corrections`: opened by this department (`open`, `list`, `show`), and opened here by others (`inbox`, `decide`, `confirm`).
//! Out of scope: what becomes of one (`crate::correction`).

use clap::{Args, Subcommand};
use proto::{
    admin::v1::{
        ConfirmCorrectionRequest, DecideCorrectionRequest, InboxCorrection, ListInboxRequest, ShowInboxRequest,
        ShowInboxResponse, correction_inbox_client::CorrectionInboxClient,
    },
    office::v1::{
        ListCorrectionsRequest, OpenCorrectionRequest, OpenedCorrection, ShowCorrectionRequest,
        corrections_client::CorrectionsClient,
    },
};
use serde_json::{Value, json};

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    verify,
};

/// The commands about corrections.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Doubts an answer that this department was given. The provider's clerk looks at the record again; meanwhile the
    /// applicant's paper is accepted.
    #[command(
        after_help = "Example:\n  exchange-node corrections open 123-9f3a2c1e4b5d6a70 --reason PAPER_SAYS_OTHERWISE --text \"marriage certificate of 2018\" --officer 1024"
    )]
    Open(OpenArgs),
    /// Lists the corrections that this department opened, the newest first.
    #[command(after_help = "Examples:\n  exchange-node corrections list\n  exchange-node corrections list --all")]
    List {
        /// Also those that are over.
        #[arg(long)]
        all: bool,
    },
    /// Shows one that this department opened, by its id or by the receipt of the answer.
    #[command(after_help = "Example:\n  exchange-node corrections show 9f3a2c1e4b5d6a70")]
    Show {
        /// Its id, or the receipt of the answer.
        id: String,
    },
    /// Lists the corrections that other departments opened here, the one due first before the others; with an id shows that
    /// one with the question and what was said, which is personal data.
    #[command(
        after_help = "Examples:\n  exchange-node corrections inbox\n  exchange-node corrections inbox --all\n  exchange-node corrections inbox 9f3a2c1e4b5d6a70"
    )]
    Inbox {
        /// One of them.
        id: Option<String>,
        /// Also those that were decided.
        #[arg(long)]
        all: bool,
    },
    /// Decides one: the record was wrong and has been mended, or it is right. Where it was wrong everyone who relied on it is
    /// told by itself.
    #[command(
        after_help = "Examples:\n  exchange-node corrections decide 9f3a2c1e4b5d6a70 --record-was-wrong ENTRY_MENDED --officer 2001\n  exchange-node corrections decide 9f3a2c1e4b5d6a70 --record-is-right RECORD_CONFIRMED --officer 2001"
    )]
    Decide(DecideArgs),
    /// Confirms as the second officer what the first one decided; then it is signed and leaves.
    #[command(after_help = "Example:\n  exchange-node corrections confirm 9f3a2c1e4b5d6a70 --officer 2002")]
    Confirm {
        /// Its id.
        id: String,
        /// The second officer.
        #[arg(long, value_name = "NUMBER")]
        officer: String,
    },
}

/// A correction to be opened.
#[derive(Args, Debug)]
pub struct OpenArgs {
    /// The receipt of the doubted answer.
    pub receipt: String,
    /// Why it is doubted.
    #[arg(long, value_name = "REASON", value_parser = trust::correction::REASONS.map(|(code, _)| code))]
    pub reason: String,
    /// What was seen, in words, for the provider's clerk.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub text: String,
    /// The officer who doubts it.
    #[arg(long, value_name = "NUMBER")]
    pub officer: String,
}

/// A decision.
#[derive(Args, Debug)]
pub struct DecideArgs {
    /// The correction's id.
    pub id: String,
    /// The record was wrong, and has been mended.
    #[arg(long, value_name = "REASON", required_unless_present = "record_is_right", conflicts_with = "record_is_right",
        value_parser = trust::correction::WRONG_REASONS.map(|(code, _)| code))]
    pub record_was_wrong: Option<String>,
    /// The record is right.
    #[arg(long, value_name = "REASON", value_parser = trust::correction::RIGHT_REASONS.map(|(code, _)| code))]
    pub record_is_right: Option<String>,
    /// It was wrong although the question gets the same answer as before.
    #[arg(long, requires = "record_was_wrong")]
    pub although_unchanged: bool,
    /// The officer who decides.
    #[arg(long, value_name = "NUMBER")]
    pub officer: String,
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let channel = folder.channel().await?;
    let mut own = CorrectionsClient::new(channel.clone());
    let mut inbox = CorrectionInboxClient::new(channel);
    let decided = match command {
        Command::Open(OpenArgs { receipt, reason, text, officer }) => {
            let opened = own.open(OpenCorrectionRequest { receipt, reason, text, officer }).await?.into_inner();
            if let Some(refusal) = opened.refused {
                return Err(Error::Refused(refusal));
            }
            let correction = opened.correction.unwrap_or_default();
            output.show(&opened_json(&correction), || {
                format!(
                    "Opened as {}. It is delivered by itself; until it is decided the applicant's paper is accepted.",
                    correction.id
                )
            });
            return Ok(Exit::Done);
        }
        Command::List { all } => {
            let listed = own.list(ListCorrectionsRequest { all, ..Default::default() }).await?.into_inner().corrections;
            let machine: Vec<Value> = listed.iter().map(opened_json).collect();
            output.show(&json!({ "corrections": machine }), || opened_table(&listed));
            return Ok(Exit::Done);
        }
        Command::Show { id } => {
            let shown = own.show(ShowCorrectionRequest { id }).await?.into_inner();
            output.show(&opened_json(&shown), || opened_text(&shown));
            return Ok(Exit::Done);
        }
        Command::Inbox { id: Some(id), .. } => {
            let shown = inbox.show_inbox(ShowInboxRequest { id }).await?.into_inner();
            output.show(&shown_json(&shown), || shown_text(&shown));
            return Ok(Exit::Done);
        }
        Command::Inbox { id: None, all } => {
            let listed = inbox.list_inbox(ListInboxRequest { all }).await?.into_inner().corrections;
            let machine: Vec<Value> = listed.iter().map(inbox_json).collect();
            output.show(&json!({ "corrections": machine }), || inbox_table(&listed));
            return Ok(Exit::Done);
        }
        Command::Decide(args) => {
            let record_was_wrong = args.record_was_wrong.is_some();
            let reason = args.record_was_wrong.or(args.record_is_right).unwrap_or_default();
            let request = DecideCorrectionRequest {
                id: args.id,
                record_was_wrong,
                reason,
                officer: args.officer,
                although_unchanged: args.although_unchanged,
            };
            inbox.decide_correction(request).await?
        }
        Command::Confirm { id, officer } => inbox.confirm_correction(ConfirmCorrectionRequest { id, officer }).await?,
    };
    let response = decided.into_inner();
    if let Some(refusal) = response.refused {
        return Err(Error::Refused(refusal));
    }
    let correction = response.correction.unwrap_or_default();
    output.show(&inbox_json(&correction), || match correction.state.as_str() {
        "proposed" => format!(
            "Noted. A second officer confirms it: exchange-node corrections confirm {} --officer NUMBER",
            correction.id
        ),
        "record_was_wrong" => {
            "Decided and signed. The opener and everyone who relied on the record are told by itself.".to_owned()
        }
        _ => "Decided and signed; the opener is told by itself.".to_owned(),
    });
    Ok(Exit::Done)
}

fn opened_json(correction: &OpenedCorrection) -> Value {
    json!({
        "id": correction.id,
        "state": correction.state,
        "receipt": correction.receipt,
        "provider": correction.provider,
        "service": correction.service,
        "major_version": correction.major_version,
        "case_number": correction.case_number,
        "reason": correction.reason,
        "officer": correction.officer,
        "opened_at_ms": correction.opened_at_ms,
        "due_at_ms": correction.due_at_ms,
        "overdue": correction.overdue,
        "paper_accepted": correction.paper_accepted,
        "decision_reason": correction.decision_reason,
        "decided_at_ms": correction.decided_at_ms,
        "corrected_receipt": correction.corrected_receipt,
        "refusal": correction.refusal.as_ref().map(output::refusal_json),
    })
}

fn opened_text(correction: &OpenedCorrection) -> String {
    let found = trust::correction::WRONG_REASONS.iter().chain(&trust::correction::RIGHT_REASONS);
    let meaning = found.clone().find(|(code, _)| *code == correction.decision_reason).map_or("", |(_, text)| text);
    let refusal = correction.refusal.as_ref();
    output::pairs([
        ("id", correction.id.clone()),
        ("state", if correction.overdue { format!("{}, OVERDUE", correction.state) } else { correction.state.clone() }),
        ("answer", correction.receipt.clone()),
        ("provider", correction.provider.clone()),
        ("service", format!("{} v{}", correction.service, correction.major_version)),
        ("case", correction.case_number.clone()),
        ("reason", correction.reason.clone()),
        ("opened", format!("{} (officer {})", output::moment(correction.opened_at_ms), correction.officer)),
        ("due", output::moment(correction.due_at_ms)),
        ("found", format!("{} {meaning}", correction.decision_reason).trim().to_owned()),
        ("new answer", correction.corrected_receipt.clone()),
        ("refused", refusal.map(|refusal| format!("{}: {}", refusal.code, refusal.message)).unwrap_or_default()),
        (
            "meanwhile",
            if correction.paper_accepted { "the applicant's paper is accepted".to_owned() } else { String::new() },
        ),
    ])
}

fn opened_table(corrections: &[OpenedCorrection]) -> String {
    if corrections.is_empty() {
        return "No correction is open.".to_owned();
    }
    let header = ["id", "state", "provider", "service", "case", "opened", "due", "answer"];
    let rows = corrections.iter().map(|correction| {
        [
            correction.id.clone(),
            if correction.overdue { format!("{}, OVERDUE", correction.state) } else { correction.state.clone() },
            correction.provider.clone(),
            format!("{} v{}", correction.service, correction.major_version),
            correction.case_number.clone(),
            output::moment(correction.opened_at_ms),
            output::moment(correction.due_at_ms),
            correction.receipt.clone(),
        ]
    });
    output::table(header, rows)
}

fn inbox_json(correction: &InboxCorrection) -> Value {
    json!({
        "id": correction.id,
        "state": correction.state,
        "consumer": correction.consumer,
        "service": correction.service,
        "major_version": correction.major_version,
        "case_number": correction.case_number,
        "reason": correction.reason,
        "since_ms": correction.since_ms,
        "due_at_ms": correction.due_at_ms,
        "clock": correction.clock,
        "overdue_recorded": correction.overdue_recorded,
        "officer": correction.officer,
        "delivered": correction.delivered,
        "answers_affected": correction.answers_affected,
        "answers_told": correction.answers_told,
        "decision_reason": correction.decision_reason,
    })
}

fn inbox_table(corrections: &[InboxCorrection]) -> String {
    if corrections.is_empty() {
        return "No correction waits.".to_owned();
    }
    let header = ["id", "state", "clock", "due", "opened by", "service", "case", "reason", "told"];
    let rows = corrections.iter().map(|correction| {
        let told = match correction.answers_affected {
            0 => String::new(),
            affected => format!("{} of {affected}", correction.answers_told),
        };
        let recorded = if correction.overdue_recorded { " (recorded)" } else { "" };
        [
            correction.id.clone(),
            correction.state.clone(),
            format!("{}{recorded}", correction.clock),
            output::moment(correction.due_at_ms),
            correction.consumer.clone(),
            format!("{} v{}", correction.service, correction.major_version),
            correction.case_number.clone(),
            correction.reason.clone(),
            told,
        ]
    });
    output::table(header, rows)
}

fn shown_json(shown: &ShowInboxResponse) -> Value {
    let mut machine = inbox_json(&shown.correction.clone().unwrap_or_default());
    let (signed, request) = (shown.signed.clone().unwrap_or_default(), shown.request.clone().unwrap_or_default());
    let subject = request.subject.unwrap_or_default();
    machine["text"] = json!(signed.text);
    machine["asking_officer"] = json!(signed.officer);
    machine["subject"] = json!({ "scheme": subject.scheme, "value": subject.value });
    machine["claims"] = request.claims.iter().map(super::tasks::claim_text).collect();
    machine["verdicts"] = shown.answer.iter().flat_map(|answer| &answer.verdicts).map(verify::verdict_json).collect();
    machine
}

fn shown_text(shown: &ShowInboxResponse) -> String {
    let correction = shown.correction.clone().unwrap_or_default();
    let (signed, request) = (shown.signed.clone().unwrap_or_default(), shown.request.clone().unwrap_or_default());
    let subject = request.subject.unwrap_or_default();
    let mut text = output::pairs([
        ("id", correction.id.clone()),
        ("state", format!("{} ({})", correction.state, correction.clock)),
        ("opened by", format!("{} (officer {}, case {})", correction.consumer, signed.officer, correction.case_number)),
        ("due", output::moment(correction.due_at_ms)),
        ("service", format!("{} v{}", correction.service, correction.major_version)),
        ("subject", format!("{} ({})", subject.value, subject.scheme)),
        ("reason", correction.reason.clone()),
        ("seen", signed.text.clone()),
    ]);
    text.push('\n');
    for (number, claim) in (1..).zip(&request.claims) {
        text += &format!("claim {number}: {}\n", super::tasks::claim_text(claim));
    }
    if let Some(answer) = &shown.answer {
        text += &verify::verdicts_table(&answer.verdicts);
    }
    text
}
