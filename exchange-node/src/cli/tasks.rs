//! `tasks`: the questions that a person answers. Out of scope: what an answer means (`trust::clerk`).

use clap::{Args, Subcommand};
use proto::{
    admin::v1::{
        AnswerTaskRequest, ClerkVerdict, ConfirmTaskRequest, DecideTaskResponse, ListTasksRequest, RejectTaskRequest,
        ShowTaskRequest, ShowTaskResponse, Task, tasks_client::TasksClient,
    },
    exchange::v1::{Claim, Verdict},
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    verify,
};

/// The commands for clerks.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists the questions that wait for a person, the one due first before the others.
    #[command(after_help = "Examples:\n  exchange-node tasks list\n  exchange-node tasks list --all")]
    List {
        /// Also those that were answered.
        #[arg(long)]
        all: bool,
    },
    /// Shows one with the question, which holds personal data.
    #[command(after_help = "Example:\n  exchange-node tasks show 9f3a2c1e4b5d6a70")]
    Show {
        /// Its ticket.
        ticket: String,
    },
    /// Answers one: a verdict for each claim, and never a word of one's own about the record.
    #[command(
        after_help = "Examples:\n  exchange-node tasks answer 9f3a2c1e4b5d6a70 --verdict marital_status=match --record-as-of 2026-11-20 --officer 2001\n  exchange-node tasks answer 9f3a2c1e4b5d6a70 --verdict 1=match --verdict 2=no_record --value 1=2018-05-20 --officer 2001"
    )]
    Answer(AnswerArgs),
    /// Declines to answer one, for a reason out of a list that the asker gets to read.
    #[command(
        after_help = "Example:\n  exchange-node tasks reject 9f3a2c1e4b5d6a70 --reason NOT_OUR_RECORD --officer 2001"
    )]
    Reject {
        /// Its ticket.
        ticket: String,
        /// The reason.
        #[arg(long, value_name = "REASON", value_parser = trust::clerk::DECLINE_REASONS.map(|(code, _)| code))]
        reason: String,
        /// The officer.
        #[arg(long, value_name = "NUMBER")]
        officer: String,
    },
    /// Confirms as the second officer what the first one answered; then it is signed and leaves.
    #[command(after_help = "Example:\n  exchange-node tasks confirm 9f3a2c1e4b5d6a70 --officer 2002")]
    Confirm {
        /// Its ticket.
        ticket: String,
        /// The second officer.
        #[arg(long, value_name = "NUMBER")]
        officer: String,
    },
    /// Sets aside what the first officer answered, so that the question waits as before.
    #[command(after_help = "Example:\n  exchange-node tasks reopen 9f3a2c1e4b5d6a70")]
    Reopen {
        /// Its ticket.
        ticket: String,
    },
}

/// An answer.
#[derive(Args, Debug)]
pub struct AnswerArgs {
    /// The ticket.
    pub ticket: String,
    /// A claim's verdict, CLAIM=VERDICT: the claim's number, or its attribute where one claim alone is about it; match,
    /// mismatch, no_record or unavailable. Once for each claim.
    #[arg(long = "verdict", value_name = "CLAIM=VERDICT", value_parser = pair, required = true)]
    pub verdicts: Vec<(String, String)>,
    /// A value that the question asks for and that may be disclosed, CLAIM=VALUE.
    #[arg(long = "value", value_name = "CLAIM=VALUE", value_parser = pair)]
    pub values: Vec<(String, String)>,
    /// The day of the record that was looked at.
    #[arg(long, value_name = "DATE", default_value = "", hide_default_value = true)]
    pub record_as_of: String,
    /// The officer who answers.
    #[arg(long, value_name = "NUMBER")]
    pub officer: String,
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut tasks = TasksClient::new(folder.channel().await?);
    let decided = match command {
        Command::List { all } => {
            let listed = tasks.list_tasks(ListTasksRequest { all }).await?.into_inner().tasks;
            output.show(&json!({ "tasks": listed.iter().map(task_json).collect::<Vec<_>>() }), || table(&listed));
            return Ok(Exit::Done);
        }
        Command::Show { ticket } => {
            let shown = tasks.show_task(ShowTaskRequest { ticket }).await?.into_inner();
            output.show(&shown_json(&shown), || shown_text(&shown));
            return Ok(Exit::Done);
        }
        Command::Answer(args) => {
            let request = answer(&mut tasks, args).await?;
            tasks.answer_task(request).await?
        }
        Command::Reject { ticket, reason, officer } => {
            tasks.reject_task(RejectTaskRequest { ticket, reason, officer }).await?
        }
        Command::Confirm { ticket, officer } => tasks.confirm_task(ConfirmTaskRequest { ticket, officer }).await?,
        Command::Reopen { ticket } => tasks.reopen_task(ConfirmTaskRequest { ticket, officer: String::new() }).await?,
    };
    show_decided(output, decided.into_inner())
}

/// Which claims are meant needs the question.
async fn answer(tasks: &mut TasksClient<Channel>, args: AnswerArgs) -> Result<AnswerTaskRequest, Error> {
    let shown = tasks.show_task(ShowTaskRequest { ticket: args.ticket.clone() }).await?.into_inner();
    let claims = shown.request.unwrap_or_default().claims;
    let mut verdicts: Vec<ClerkVerdict> = Vec::new();
    for (claim, verdict) in &args.verdicts {
        let number = number_of(&claims, claim).map_err(Error::Usage)?;
        let verdict = verdict_of(verdict).map_err(Error::Usage)?;
        verdicts.push(ClerkVerdict { claim: number, verdict: verdict.into(), disclosed: String::new() });
    }
    for (claim, value) in args.values {
        let number = number_of(&claims, &claim).map_err(Error::Usage)?;
        let of_it = verdicts.iter_mut().find(|said| said.claim == number);
        let of_it = of_it.ok_or_else(|| Error::Usage(format!("--value {claim}: give its --verdict too")))?;
        of_it.disclosed = value;
    }
    let AnswerArgs { ticket, record_as_of, officer, .. } = args;
    Ok(AnswerTaskRequest { ticket, verdicts, record_as_of, officer })
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((claim, said)) if !claim.trim().is_empty() && !said.trim().is_empty() => {
            Ok((claim.trim().to_owned(), said.trim().to_owned()))
        }
        _ => Err("write CLAIM=…, for example marital_status=match or 1=match".to_owned()),
    }
}

fn number_of(claims: &[Claim], text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse::<u32>() {
        let in_range = usize::try_from(number).is_ok_and(|number| (1..=claims.len()).contains(&number));
        return if in_range { Ok(number) } else { Err(format!("the question has no claim {number}")) };
    }
    let mut of_it = (1..).zip(claims).filter(|(_, claim)| claim.attribute == text);
    match (of_it.next(), of_it.next()) {
        (Some((number, _)), None) => Ok(number),
        (Some(_), Some(_)) => Err(format!("{text}: several claims are about it; give the claim's number")),
        (None, _) => Err(format!("{text}: no claim is about it")),
    }
}

fn verdict_of(text: &str) -> Result<Verdict, String> {
    match text {
        "match" => Ok(Verdict::Match),
        "mismatch" => Ok(Verdict::Mismatch),
        "no_record" => Ok(Verdict::NoRecord),
        "unavailable" => Ok(Verdict::Unavailable),
        _ => Err(format!("{text}: a verdict is match, mismatch, no_record or unavailable")),
    }
}

fn show_decided(output: Output, response: DecideTaskResponse) -> Result<Exit, Error> {
    if let Some(refusal) = response.refused {
        return Err(Error::Refused(refusal));
    }
    let task = response.task.unwrap_or_default();
    output.show(&task_json(&task), || match task.state.as_str() {
        "proposed" => {
            format!("Noted. A second officer confirms it: exchange-node tasks confirm {} --officer NUMBER", task.ticket)
        }
        "open" => format!("{} waits as before.", task.ticket),
        _ => format!("Answered and signed (receipt {}); it is delivered by itself.", task.receipt),
    });
    Ok(Exit::Done)
}

fn task_json(task: &Task) -> Value {
    json!({
        "ticket": task.ticket,
        "state": task.state,
        "consumer": task.consumer,
        "service": task.service,
        "major_version": task.major_version,
        "case_number": task.case_number,
        "since_ms": task.since_ms,
        "due_at_ms": task.due_at_ms,
        "overdue": task.overdue,
        "overdue_recorded": task.overdue_recorded,
        "officer": task.officer,
        "receipt": task.receipt,
        "reason": task.reason,
    })
}

fn shown_json(shown: &ShowTaskResponse) -> Value {
    let task = shown.task.clone().unwrap_or_default();
    let request = shown.request.clone().unwrap_or_default();
    let subject = request.subject.unwrap_or_default();
    let purpose = request.purpose.unwrap_or_default();
    let mut machine = task_json(&task);
    machine["subject"] = json!({ "scheme": subject.scheme, "value": subject.value });
    machine["inputs"] = request.inputs.iter().map(input_text).collect();
    machine["claims"] = request
        .claims
        .iter()
        .zip(shown.may_disclose.iter().chain(std::iter::repeat(&false)))
        .map(|(claim, disclose)| json!({ "claim": claim_text(claim), "attribute": claim.attribute, "disclose": disclose }))
        .collect();
    machine["item"] = json!(purpose.item);
    machine["asking_officer"] = json!(request.officer);
    machine["answer"] = shown.answer.as_ref().map_or(Value::Null, |answer| {
        json!({
            "verdicts": answer.verdicts.iter().map(verify::verdict_json).collect::<Vec<_>>(),
            "refusal": answer.refusal.as_ref().map(output::refusal_json),
            "record_as_of": answer.record_as_of,
        })
    });
    machine
}

fn shown_text(shown: &ShowTaskResponse) -> String {
    let task = shown.task.clone().unwrap_or_default();
    let request = shown.request.clone().unwrap_or_default();
    let subject = request.subject.clone().unwrap_or_default();
    let purpose = request.purpose.clone().unwrap_or_default();
    let bases: Vec<String> = purpose
        .legal_bases
        .iter()
        .map(|basis| format!("{} {}", basis.instrument, basis.article).trim().to_owned())
        .collect();
    let mut text = output::pairs([
        ("ticket", task.ticket.clone()),
        ("state", state_text(&task)),
        ("asked by", format!("{} (officer {}, case {})", task.consumer, request.officer, request.case_number)),
        ("for", [purpose.item.as_str(), &purpose.scenario].join(" ").trim().to_owned()),
        ("legal basis", bases.join("; ")),
        ("service", format!("{} v{}", task.service, task.major_version)),
        ("due", output::moment(task.due_at_ms)),
        ("subject", format!("{} ({})", subject.value, subject.scheme)),
        ("inputs", request.inputs.iter().map(input_text).collect::<Vec<_>>().join("\n")),
    ]);
    text.push('\n');
    for ((number, claim), disclose) in (1..).zip(&request.claims).zip(&shown.may_disclose) {
        let value = if *disclose { "  (asks for the value)" } else { "" };
        text += &format!("claim {number}: {}{value}\n", claim_text(claim));
    }
    if let Some(answer) = &shown.answer {
        text += &verify::verdicts_table(&answer.verdicts);
        if let Some(refusal) = &answer.refusal {
            text += &format!("\n{}: {}", refusal.code, refusal.message);
        }
    }
    text
}

pub(super) fn claim_text(claim: &Claim) -> String {
    let operands: Vec<String> = claim.operands.iter().map(verify::value_text).collect();
    format!("{} {} {}", claim.attribute, claim.operator, operands.join(", ")).trim_end().to_owned()
}

fn input_text(input: &proto::exchange::v1::Input) -> String {
    format!("{}={}", input.name, input.value.as_ref().map(verify::value_text).unwrap_or_default())
}

fn state_text(task: &Task) -> String {
    match (task.overdue, task.overdue_recorded) {
        (true, true) => format!("{}, OVERDUE (the registry has recorded it)", task.state),
        (true, false) => format!("{}, OVERDUE", task.state),
        (false, _) => task.state.clone(),
    }
}

fn table(tasks: &[Task]) -> String {
    if tasks.is_empty() {
        return "Nothing waits.".to_owned();
    }
    let header = ["ticket", "service", "asked by", "case", "since", "due", "state", "officer"];
    let rows = tasks.iter().map(|task| {
        [
            task.ticket.clone(),
            format!("{} v{}", task.service, task.major_version),
            task.consumer.clone(),
            task.case_number.clone(),
            output::moment(task.since_ms),
            output::moment(task.due_at_ms),
            state_text(task),
            task.officer.clone(),
        ]
    });
    output::table(header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text;

    #[test]
    fn a_claim_is_named_by_its_number_or_by_its_attribute_where_that_is_one() {
        let claims: Vec<Claim> =
            ["marital_status=single", "area>=60", "area<=90"].map(|claim| text::claim(claim).unwrap()).to_vec();
        assert_eq!(number_of(&claims, "marital_status"), Ok(1));
        assert_eq!(number_of(&claims, "3"), Ok(3));
        for wrong in ["area", "income", "0", "4"] {
            assert!(number_of(&claims, wrong).is_err(), "{wrong}");
        }
        assert_eq!(pair("1=match"), Ok(("1".into(), "match".into())));
        assert!(pair("match").is_err() && verdict_of("yes").is_err());
        assert_eq!(claim_text(&claims[1]), "area at_least 60");
    }
}
