//! `subscriptions` and `notices`: questions that go on, and what has changed since. The subjects never stand on the command
//! line. Out of scope: what is told (`crate::answer`), in the other department's node.

use std::io::{self, BufRead};

use clap::{Args, Subcommand};
use proto::{
    admin::v1::{GivenSubscription, ListGivenRequest, subscriptions_client::SubscriptionsClient},
    exchange::v1::{Claim, Input, LegalBasis, Purpose, Subject},
    office::v1::{
        AcknowledgeRequest, EndOwnSubscriptionRequest, ListNoticesRequest, ListSubscriptionsRequest, Notice,
        ShowSubscriptionRequest, ShowSubscriptionResponse, State, SubscribeRequest, SubscribeResponse, Subscription,
        VerifyRequest, notices_client::NoticesClient,
    },
};
use serde_json::{Value, json};
use tonic::transport::Channel;
use zeroize::Zeroizing;

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    text, verify,
};
use crate::subscriptions::office_edge::verdict_name;

/// A long list of notices is larger than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

/// How many subjects one command takes.
const MOST_SUBJECTS: usize = 10_000;

/// The commands about subscriptions.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Subscribes to a claim about each subject that stands on standard input, one a line: the verdict now, and a notice
    /// whenever it changes.
    #[command(
        after_help = "The grant must cover notices: access apply --subscribe. A subscription ends with its grant.\n\nExample:\n  exchange-node subscriptions add civil-affairs/life-status --claim alive=true --item 养老金发放 --case YL-2026-0001 --officer 1024 < subjects.txt"
    )]
    Add(Box<AddArgs>),
    /// Lists what this department subscribed to, or what others subscribed to of its records.
    #[command(
        after_help = "Examples:\n  exchange-node subscriptions list\n  exchange-node subscriptions list --given --all"
    )]
    List {
        /// Lists those of other departments to this one's records.
        #[arg(long)]
        given: bool,
        /// Also those that are over.
        #[arg(long)]
        all: bool,
    },
    /// Shows one with whom it is about and all its notices.
    #[command(after_help = "Example:\n  exchange-node subscriptions show 9f3a2c1e4b5d6a70")]
    Show {
        /// Its ticket.
        ticket: String,
    },
    /// Ends subscriptions; the other department is told by itself.
    #[command(after_help = "Example:\n  exchange-node subscriptions remove 9f3a2c1e4b5d6a70")]
    Remove {
        /// Their tickets.
        #[arg(required = true, value_name = "TICKET")]
        tickets: Vec<String>,
    },
}

/// The commands about notices of changes.
#[derive(Debug, Subcommand)]
pub enum NoticesCommand {
    /// Lists the notices that nobody has seen to, the oldest first.
    #[command(after_help = "Example:\n  exchange-node notices list")]
    List,
    /// Acknowledges notices that somebody has seen to: they are listed no more.
    #[command(
        after_help = "Examples:\n  exchange-node notices ack 123-9f3a2c1e4b5d6a70\n  exchange-node notices ack --all"
    )]
    Ack {
        /// Their receipts; with each, those before it of the same subscription.
        #[arg(value_name = "RECEIPT", required_unless_present = "all")]
        receipts: Vec<String>,
        /// All that `notices list` shows.
        #[arg(long, conflicts_with = "receipts")]
        all: bool,
    },
}

/// What `subscriptions add` needs.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// The service, DEPARTMENT/SERVICE.
    #[arg(value_name = "SERVICE", value_parser = text::service)]
    service: (String, String),
    /// The claim whose verdict is told.
    #[arg(long, value_name = "CLAIM", value_parser = text::claim)]
    claim: Claim,
    /// A value that selects rows, NAME=VALUE; may be given several times.
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = text::input)]
    inputs: Vec<Input>,
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
    /// The last day; without it a year.
    #[arg(long, value_name = "DATE", value_parser = text::end_of_day)]
    until: Option<u64>,
    /// How the subjects are identified; without it the service's first way.
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<String>,
    /// The service's major version; without it the newest that answers.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    major: u32,
}

async fn client(folder: &Folder) -> Result<NoticesClient<Channel>, Error> {
    Ok(NoticesClient::new(folder.channel().await?).max_decoding_message_size(LARGEST_ANSWER))
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output, now_ms: u64) -> Result<Exit, Error> {
    match command {
        Command::Add(args) => add(*args, folder, output, now_ms).await,
        Command::List { given: true, all } => {
            let mut admin = SubscriptionsClient::new(folder.channel().await?).max_decoding_message_size(LARGEST_ANSWER);
            let listed = admin.list_given(ListGivenRequest { all }).await?.into_inner().subscriptions;
            let machine = json!({ "subscriptions": listed.iter().map(given_json).collect::<Vec<_>>() });
            output.show(&machine, || given_table(&listed));
            Ok(Exit::Done)
        }
        Command::List { given: false, all } => {
            let request = ListSubscriptionsRequest { all };
            let listed = client(folder).await?.list_subscriptions(request).await?.into_inner().subscriptions;
            let machine = json!({ "subscriptions": listed.iter().map(subscription_json).collect::<Vec<_>>() });
            output.show(&machine, || table(&listed));
            Ok(Exit::Done)
        }
        Command::Show { ticket } => {
            let request = ShowSubscriptionRequest { ticket };
            let shown = client(folder).await?.show_subscription(request).await?.into_inner();
            output.show(&shown_json(&shown), || shown_text(&shown));
            Ok(Exit::Done)
        }
        Command::Remove { tickets } => {
            let mut client = client(folder).await?;
            let mut ended = Vec::new();
            for ticket in tickets {
                let request = EndOwnSubscriptionRequest { ticket };
                ended.extend(client.end_subscription(request).await?.into_inner().subscription);
            }
            let machine = json!({ "subscriptions": ended.iter().map(subscription_json).collect::<Vec<_>>() });
            output.show(&machine, || format!("{} ended; the provider is told by itself.", ended.len()));
            Ok(Exit::Done)
        }
    }
}

pub(super) async fn notices(command: NoticesCommand, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut client = client(folder).await?;
    match command {
        NoticesCommand::List => {
            let listed = client.list_notices(ListNoticesRequest::default()).await?.into_inner();
            let notices: Vec<Value> = listed.notices.iter().map(notice_json).collect();
            output.show(&json!({ "notices": notices, "more": listed.more }), || {
                let more = if listed.more { "\nThere are more: acknowledge these first." } else { "" };
                format!("{}{more}", notices_table(&listed.notices))
            });
            Ok(Exit::Done)
        }
        NoticesCommand::Ack { receipts, all } => {
            let mut acknowledged = 0;
            if all {
                loop {
                    let listed = client.list_notices(ListNoticesRequest::default()).await?.into_inner();
                    let receipts: Vec<String> = listed.notices.into_iter().map(|notice| notice.receipt).collect();
                    if receipts.is_empty() {
                        break;
                    }
                    acknowledged +=
                        client.acknowledge(AcknowledgeRequest { receipts }).await?.into_inner().acknowledged;
                }
            } else {
                acknowledged = client.acknowledge(AcknowledgeRequest { receipts }).await?.into_inner().acknowledged;
            }
            output.show(&json!({ "acknowledged": acknowledged }), || format!("{acknowledged} acknowledged."));
            Ok(Exit::Done)
        }
    }
}

async fn add(args: AddArgs, folder: &Folder, output: Output, now_ms: u64) -> Result<Exit, Error> {
    text::check_not_over("--until", args.until, now_ms).map_err(Error::Usage)?;
    let scheme = match &args.scheme {
        Some(scheme) => scheme.clone(),
        None => verify::first_scheme(folder, &args.service, args.major).await?,
    };
    let subjects = read_subjects(io::stdin().lock()).map_err(Error::Usage)?;
    let mut client = client(folder).await?;
    let mut told: Vec<SubscribeResponse> = Vec::with_capacity(subjects.len());
    for subject in &subjects {
        let question = VerifyRequest {
            provider: args.service.0.clone(),
            service: args.service.1.clone(),
            service_version: args.major,
            subject: Some(Subject { scheme: scheme.clone(), value: subject.to_string() }),
            inputs: args.inputs.clone(),
            claims: vec![args.claim.clone()],
            purpose: Some(Purpose {
                item: args.item.clone().unwrap_or_default(),
                item_statement: Vec::new(),
                legal_bases: args.basis.clone(),
                scenario: args.scenario.clone().unwrap_or_default(),
            }),
            case_number: args.case.clone(),
            officer: args.officer.clone(),
            ..VerifyRequest::default()
        };
        let request = SubscribeRequest { question: Some(question), until_ms: args.until.unwrap_or(0) };
        told.push(client.subscribe(request).await?.into_inner());
    }
    let rows: Vec<Value> = (1..).zip(&told).map(|(line, told): (u32, _)| added_json(line, told)).collect();
    let standing = told.iter().filter(|told| !told.ticket.is_empty()).count();
    output.show(&json!({ "subscribed": rows, "standing": standing }), || added_text(&told));
    // What did not come about is told with its reason; the exit code is that of the first.
    let failed = told.into_iter().find(|told| told.ticket.is_empty()).and_then(|told| told.first);
    Ok(match failed.map(|first| first.state()) {
        None => Exit::Done,
        Some(State::Refused) => Exit::Refused,
        Some(_) => Exit::Unavailable,
    })
}

/// One subject a line; empty lines are passed over.
fn read_subjects(input: impl BufRead) -> Result<Vec<Zeroizing<String>>, String> {
    let mut subjects = Vec::new();
    for line in input.lines() {
        let line = Zeroizing::new(line.map_err(|error| format!("the subjects cannot be read: {error}"))?);
        if line.trim().is_empty() {
            continue;
        }
        if subjects.len() == MOST_SUBJECTS {
            return Err(format!("at most {MOST_SUBJECTS} subjects at once: give the others to another command"));
        }
        subjects.push(Zeroizing::new(line.trim().to_owned()));
    }
    match subjects.is_empty() {
        true => Err("no subjects: give them on standard input, one a line".to_owned()),
        false => Ok(subjects),
    }
}

fn added_json(line: u32, told: &SubscribeResponse) -> Value {
    let first = told.first.clone().unwrap_or_default();
    json!({
        "line": line,
        "ticket": told.ticket,
        "receipt": first.receipt,
        "verdict": first.verdicts.first().map(verify::verdict_json),
        "refusal": first.refusal.as_ref().map(output::refusal_json),
        "unanswered": first.unanswered,
    })
}

fn added_text(told: &[SubscribeResponse]) -> String {
    let rows = (1..).zip(told).map(|(line, told): (u32, _)| {
        let first = told.first.clone().unwrap_or_default();
        let became = match first.state() {
            State::Answered => {
                first.verdicts.first().map(|claim| verdict_name(claim.verdict)).unwrap_or_default().to_owned()
            }
            State::Refused => {
                let refusal = first.refusal.unwrap_or_default();
                format!("{}: {}; {}", refusal.code, refusal.message, refusal.next_step)
            }
            _ => first.unanswered,
        };
        [line.to_string(), told.ticket.clone(), became, first.receipt]
    });
    output::table(["line", "ticket", "now", "receipt"], rows)
}

fn subscription_json(row: &Subscription) -> Value {
    json!({
        "ticket": row.ticket,
        "state": row.state,
        "reason": row.reason,
        "provider": row.provider,
        "service": row.service,
        "major_version": row.service_version,
        "since_ms": row.since_ms,
        "until_ms": row.until_ms,
        "verdict": verdict_name(row.verdict),
        "notices": row.notices,
        "unacknowledged": row.unacknowledged,
        "system": row.system,
        "case_number": row.case_number,
    })
}

fn given_json(row: &GivenSubscription) -> Value {
    json!({
        "ticket": row.ticket,
        "state": row.state,
        "reason": row.reason,
        "consumer": row.consumer,
        "service": row.service,
        "major_version": row.service_version,
        "since_ms": row.since_ms,
        "until_ms": row.until_ms,
        "verdict": verdict_name(row.verdict),
        "notices": row.notices,
        "undelivered": row.undelivered,
    })
}

fn state(state: &str, reason: &str) -> String {
    if reason.is_empty() { state.to_owned() } else { format!("{state}: {reason}") }
}

fn table(rows: &[Subscription]) -> String {
    if rows.is_empty() {
        return "Nothing is subscribed to.".to_owned();
    }
    let header = ["ticket", "service", "of", "case", "until", "state", "verdict", "notices", "unseen"];
    let rows = rows.iter().map(|row| {
        [
            row.ticket.clone(),
            format!("{} v{}", row.service, row.service_version),
            row.provider.clone(),
            row.case_number.clone(),
            output::moment(row.until_ms),
            state(&row.state, &row.reason),
            verdict_name(row.verdict).to_owned(),
            row.notices.to_string(),
            row.unacknowledged.to_string(),
        ]
    });
    output::table(header, rows)
}

fn given_table(rows: &[GivenSubscription]) -> String {
    if rows.is_empty() {
        return "Nobody subscribed to anything.".to_owned();
    }
    let header = ["ticket", "service", "subscribed by", "since", "until", "state", "notices", "on their way"];
    let rows = rows.iter().map(|row| {
        [
            row.ticket.clone(),
            format!("{} v{}", row.service, row.service_version),
            row.consumer.clone(),
            output::moment(row.since_ms),
            output::moment(row.until_ms),
            state(&row.state, &row.reason),
            row.notices.to_string(),
            row.undelivered.to_string(),
        ]
    });
    output::table(header, rows)
}

fn notice_json(notice: &Notice) -> Value {
    let subject = notice.subject.clone().unwrap_or_default();
    json!({
        "receipt": notice.receipt,
        "ticket": notice.ticket,
        "number": notice.number,
        "made_ms": notice.made_ms,
        "came_ms": notice.came_ms,
        "verdict": notice.verdict.as_ref().map(verify::verdict_json),
        "ended": notice.ended.as_ref().map(output::refusal_json),
        "case_number": notice.case_number,
        "subject": { "scheme": subject.scheme, "value": subject.value },
        "acknowledged": notice.acknowledged,
        "record_as_of": notice.record_as_of,
    })
}

fn notices_table(notices: &[Notice]) -> String {
    if notices.is_empty() {
        return "Nothing new.".to_owned();
    }
    let header = ["receipt", "subscription", "case", "claim", "now", "made"];
    let rows = notices.iter().map(|notice| {
        let claim = notice.verdict.as_ref().map(|claim| format!("{} {}", claim.attribute, claim.operator));
        let now = match (&notice.verdict, &notice.ended) {
            (Some(claim), _) => verdict_name(claim.verdict).to_owned(),
            (None, Some(ended)) => format!("over: {}", ended.code),
            (None, None) => String::new(),
        };
        [
            notice.receipt.clone(),
            notice.ticket.clone(),
            notice.case_number.clone(),
            claim.unwrap_or_default(),
            now,
            output::moment(notice.made_ms),
        ]
    });
    output::table(header, rows)
}

fn shown_json(shown: &ShowSubscriptionResponse) -> Value {
    let mut machine = subscription_json(&shown.subscription.clone().unwrap_or_default());
    let subject = shown.subject.clone().unwrap_or_default();
    machine["subject"] = json!({ "scheme": subject.scheme, "value": subject.value });
    machine["claim"] = json!(claim_text(shown));
    machine["receipt"] = json!(shown.receipt);
    machine["told"] = shown.notices.iter().map(notice_json).collect();
    machine
}

fn claim_text(shown: &ShowSubscriptionResponse) -> String {
    let claim = shown.claim.clone().unwrap_or_default();
    let operands: Vec<String> = claim.operands.iter().map(verify::value_text).collect();
    format!("{} {} {}", claim.attribute, claim.operator, operands.join(", ")).trim_end().to_owned()
}

fn shown_text(shown: &ShowSubscriptionResponse) -> String {
    let row = shown.subscription.clone().unwrap_or_default();
    let subject = shown.subject.clone().unwrap_or_default();
    let pairs = output::pairs([
        ("ticket", row.ticket.clone()),
        ("state", state(&row.state, &row.reason)),
        ("service", format!("{}/{} v{}", row.provider, row.service, row.service_version)),
        ("subject", format!("{} ({})", subject.value, subject.scheme)),
        ("claim", claim_text(shown)),
        ("verdict", verdict_name(row.verdict).to_owned()),
        ("case", row.case_number.clone()),
        ("since", output::moment(row.since_ms)),
        ("until", output::moment(row.until_ms)),
        ("receipt", shown.receipt.clone()),
    ]);
    format!("{pairs}\n{}", notices_table(&shown.notices))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_stand_one_a_line() {
        let read = |text: &str| {
            read_subjects(text.as_bytes()).map(|all| all.iter().map(|one| one.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(
            read("890101199003070011\r\n\n 890101199111250028 \n").unwrap(),
            ["890101199003070011", "890101199111250028"]
        );
        assert!(read("\n").is_err());
    }
}
