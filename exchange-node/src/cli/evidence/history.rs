//! The one history of a node's evidence: its logs, closing one that lost entries, letting a restored one go on, and asking
//! others for what was lost. Out of scope: when which of them is needed (`crate::history`).

use clap::{ArgGroup, Args};
use proto::{
    admin::v1::{
        CloseLogRequest, ListLogsRequest, ListRecoveredRequest, ReconcileRequest, ResumeEvidenceRequest, StatusRequest,
        StatusResponse, node_history_client::NodeHistoryClient,
    },
    registry::v1::OfficialDecision,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};

/// What `evidence close` needs.
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Why; everybody gets to read it.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The officer who decided, by the department's own number.
    #[arg(long, value_name = "NUMBER")]
    pub officer: String,
    /// The document that the decision rests on.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub document: String,
    /// The officer who confirmed it.
    #[arg(long, value_name = "NUMBER", default_value = "")]
    pub second_officer: String,
}

/// What `evidence resume` needs.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Why it is known that nothing was lost.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The officer who decided, by the department's own number.
    #[arg(long, value_name = "NUMBER")]
    pub officer: String,
}

/// What `evidence reconcile` needs.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["departments", "all"])))]
pub struct ReconcileArgs {
    /// The departments to ask.
    #[arg(value_name = "DEPARTMENT")]
    pub departments: Vec<String>,
    /// Asks every department that this one exchanges messages with.
    #[arg(long)]
    pub all: bool,
}

async fn client(folder: &Folder) -> Result<NodeHistoryClient<Channel>, Error> {
    Ok(NodeHistoryClient::new(folder.channel().await?))
}

/// Whether the node does its work. One that has yet to begin anew says that it does not.
fn goes_on(status: &StatusResponse) -> bool {
    status.evidence_held.is_empty()
}

pub(super) async fn close(args: CloseArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let decision =
        OfficialDecision { officer: args.officer, document: args.document, second_officer: args.second_officer };
    let request = CloseLogRequest { reason: args.reason, decision: Some(decision) };
    let closed = client(folder).await?.close_log(request).await?.into_inner();
    let status = folder.back(|status| status.evidence_log == closed.successor && goes_on(status)).await?;
    let goes_on = status.evidence_log == closed.successor && goes_on(&status);
    let lost = closed.highest_seen.saturating_sub(closed.kept);
    let machine = json!({
        "closed": closed.closed,
        "kept": closed.kept,
        "highest_seen": closed.highest_seen,
        "lost": lost,
        "successor": closed.successor,
        "statement": closed.statement,
        "goes_on": goes_on,
    });
    output.show(&machine, || {
        format!(
            "{} is closed with {} entries; at least {lost} are lost (statement {} of the directory).\n{} goes on.\nNow ask the others what they hold of what was lost: exchange-node evidence reconcile --all",
            closed.closed, closed.kept, closed.statement, closed.successor
        )
    });
    Ok(if goes_on { Exit::Done } else { Exit::Unreachable })
}

pub(super) async fn resume(args: ResumeArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let request = ResumeEvidenceRequest { reason: args.reason, officer: args.officer };
    let resumed = client(folder).await?.resume_log(request).await?.into_inner();
    let status = folder.back(goes_on).await?;
    output.show(&json!({ "not_compared": resumed.not_compared, "goes_on": goes_on(&status) }), || {
        format!("The evidence log goes on. It was not compared with: {}.", resumed.not_compared.join(", "))
    });
    Ok(if goes_on(&status) { Exit::Done } else { Exit::Unreachable })
}

pub(super) async fn reconcile(args: ReconcileArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let before = folder.admin().await?.status(StatusRequest {}).await?.into_inner().started_ms;
    let request = ReconcileRequest { departments: args.departments };
    let done = client(folder).await?.reconcile(request).await?.into_inner();
    // It counts once the node has begun anew.
    folder.back(|status| status.started_ms != before).await?;
    let departments: Vec<Value> = done
        .departments
        .iter()
        .map(|of| {
            json!({
                "department": of.department,
                "questions": of.questions,
                "answers": of.answers,
                "invalid": of.invalid,
                "unreachable": of.unreachable,
            })
        })
        .collect();
    let missing = done.lost.saturating_sub(done.filled);
    let machine = json!({ "departments": departments, "lost": done.lost, "filled": done.filled, "missing": missing });
    output.show(&machine, || {
        let rows = done.departments.iter().map(|of| {
            let [questions, answers, invalid] = [of.questions, of.answers, of.invalid].map(|count| count.to_string());
            [of.department.clone(), questions, answers, invalid, of.unreachable.clone()]
        });
        let table = output::table(["department", "questions", "answers", "not valid, left aside", "not reached"], rows);
        format!(
            "{table}\nAt least {} entries were lost; {} came back from the other side so far (`evidence list --recovered` shows them).",
            done.lost, done.filled
        )
    });
    Ok(match done.departments.iter().all(|of| of.unreachable.is_empty()) {
        true => Exit::Done,
        false => Exit::Unreachable,
    })
}

pub(super) async fn list(recovered: bool, folder: &Folder, output: Output) -> Result<Exit, Error> {
    match recovered {
        true => list_recovered(folder, output).await,
        false => list_logs(folder, output).await,
    }
}

async fn list_logs(folder: &Folder, output: Output) -> Result<Exit, Error> {
    let listed = client(folder).await?.list_logs(ListLogsRequest {}).await?.into_inner();
    let logs: Vec<Value> = listed
        .logs
        .iter()
        .map(|log| {
            json!({
                "origin": log.origin,
                "entries": log.entries,
                "closed": log.closed,
                "lost": log.lost,
                "here": log.here,
            })
        })
        .collect();
    output.show(&json!({ "logs": logs, "held": listed.held, "recovered": listed.recovered }), || {
        let rows = listed.logs.iter().map(|log| {
            let lost = if log.lost == 0 { String::new() } else { format!("at least {}", log.lost) };
            let here = if log.here { "" } else { "not on this machine" };
            [log.origin.clone(), log.entries.to_string(), log.closed.clone(), lost, here.to_owned()]
        });
        let table = output::table(["evidence log", "entries", "closed", "lost", ""], rows);
        let recovered = match listed.recovered {
            0 => String::new(),
            count => format!("\n{count} messages came back from the other side: `evidence list --recovered`."),
        };
        let held = if listed.held.is_empty() { String::new() } else { format!("\nHELD: {}", listed.held) };
        format!("{table}{recovered}{held}")
    });
    Ok(Exit::Done)
}

async fn list_recovered(folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut stream = client(folder).await?.list_recovered(ListRecoveredRequest {}).await?.into_inner();
    let mut questions = Vec::new();
    while let Some(question) = stream.message().await? {
        questions.push(question);
    }
    let machine: Vec<Value> = questions
        .iter()
        .map(|question| {
            json!({
                "receipt": question.receipt,
                "from_the_other_side": question.other_side,
                "asked_by_us": question.asked_by_us,
                "service": question.service,
                "case_number": question.case_number,
                "asked_at_ms": question.asked_at_ms,
                "answered": question.answered,
                "questions": question.questions,
            })
        })
        .collect();
    output.show(&json!({ "recovered": machine }), || {
        let rows = questions.iter().map(|question| {
            let asked = if question.asked_by_us { "asked" } else { "answered" };
            let answer = if question.answered { "yes" } else { "no" };
            [
                question.receipt.clone(),
                question.other_side.clone(),
                asked.to_owned(),
                question.service.clone(),
                question.case_number.clone(),
                output::moment(question.asked_at_ms),
                question.questions.to_string(),
                answer.to_owned(),
            ]
        });
        let header = ["receipt", "from the other side", "we", "service", "case", "at", "questions", "with answer"];
        let table = output::table(header, rows);
        format!("{table}\nThese are the other side's evidence; none is an entry of this node's own log.")
    });
    Ok(Exit::Done)
}
