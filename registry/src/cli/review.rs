//! `registry review`: the services that wait for the authority's word, and what it says of them.

use clap::{Args, Subcommand};
use comfy_table::{LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use proto::{
    admin::v1::{self as wire, reviews_client::ReviewsClient},
    registry::v1::{OfficialDecision, ServicePublished},
};
use serde_json::{Value, json};
use tonic::transport::Channel;
use trust::service::{catalogue::Entry, words};

use super::{
    Cli,
    operate::{Failure, Shown, channel, moment, said_json, waits},
    supervise::clock_text,
};

/// `registry review …`.
#[derive(Debug, Subcommand)]
pub enum ReviewCommand {
    /// List the services that wait for a review, with the days that are left.
    #[command(after_help = "Example:\n  registry review inbox")]
    Inbox,
    /// List all services that were reviewed too: returned and approved ones.
    #[command(after_help = "Example:\n  registry review list --json")]
    List,
    /// Show a service that waits: its whole description, what the registry finds missing, and what a change changes.
    #[command(after_help = "Example:\n  registry review show civil-affairs/marriage-registration")]
    Show {
        /// The service, DEPARTMENT/SERVICE.
        #[arg(value_name = "SERVICE", value_parser = service)]
        service: (String, String),
    },
    /// Let a service answer, as its department has described it.
    #[command(
        after_help = "Example:\n  registry review approve civil-affairs/marriage-registration --officer 0007 --document 宁数〔2026〕12号"
    )]
    Approve(ApproveArguments),
    /// Return a service to its department, with everything that is missing in one notice.
    #[command(
        after_help = "Example:\n  registry review return civil-affairs/marriage-registration --missing \"the law's article\" --missing \"whom to ask\"\n  registry review return civil-affairs/marriage-registration --found"
    )]
    Return(ReturnArguments),
}

/// `registry review approve`.
#[derive(Args, Debug)]
pub struct ApproveArguments {
    /// What is reviewed, and by whom.
    #[command(flatten)]
    reviewed: Reviewed,
}

/// `registry review return`.
#[derive(Args, Debug)]
pub struct ReturnArguments {
    /// What is reviewed, and by whom.
    #[command(flatten)]
    reviewed: Reviewed,
    /// One thing that is missing; given as often as needed. There is no second notice for the same description.
    #[arg(long, value_name = "TEXT", required_unless_present = "found")]
    missing: Vec<String>,
    /// Also all that the registry found missing by itself (`registry review show`).
    #[arg(long)]
    found: bool,
}

#[derive(Args, Debug)]
struct Reviewed {
    /// The service, DEPARTMENT/SERVICE.
    #[arg(value_name = "SERVICE", value_parser = service)]
    service: (String, String),
    /// Its major version. Left out: the one that waits.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    major: u32,
    /// The statement that was looked at, from `registry review show`. Left out: the one that waits now.
    #[arg(long, value_name = "DIGEST", default_value = "", hide_default_value = true)]
    statement: String,
    /// The officer who decided, by the authority's own officer number.
    #[arg(long, default_value = "", hide_default_value = true)]
    officer: String,
    /// The document the decision rests on.
    #[arg(long, default_value = "", hide_default_value = true)]
    document: String,
}

pub(super) async fn run(cli: &Cli, command: &ReviewCommand) -> Result<Shown, Failure> {
    match command {
        ReviewCommand::Inbox => {
            let mut reviews = all(cli, false).await?;
            reviews.retain(|review| review.state == "waiting");
            Ok(listed(&reviews, "Nothing waits for a review."))
        }
        ReviewCommand::List => Ok(listed(&all(cli, true).await?, "Nothing was reviewed, and nothing waits.")),
        ReviewCommand::Show { service } => {
            let reviews = all(cli, true).await?;
            let review = find(&reviews, service).ok_or_else(|| {
                Failure::Usage(format!("{}/{} was not reviewed and does not wait", service.0, service.1))
            })?;
            Ok(Shown { json: to_json(review), text: details(review) })
        }
        ReviewCommand::Approve(ApproveArguments { reviewed }) => decide(cli, reviewed, true, Vec::new()).await,
        ReviewCommand::Return(ReturnArguments { reviewed, missing, found }) => {
            let mut missing = missing.clone();
            if *found {
                let reviews = all(cli, false).await?;
                missing.extend(find(&reviews, &reviewed.service).into_iter().flat_map(|it| it.found_missing.clone()));
            }
            decide(cli, reviewed, false, missing).await
        }
    }
}

async fn decide(cli: &Cli, reviewed: &Reviewed, approved: bool, missing: Vec<String>) -> Result<Shown, Failure> {
    let Reviewed { service: (department, service), major, statement, officer, document } = reviewed;
    let decision = (!officer.is_empty() || !document.is_empty()).then(|| OfficialDecision {
        officer: officer.clone(),
        document: document.clone(),
        ..OfficialDecision::default()
    });
    let request = wire::DecideReviewRequest {
        department: department.clone(),
        service: service.clone(),
        major_version: *major,
        approved,
        missing: missing.clone(),
        statement: statement.clone(),
        decision,
    };
    let decided = client(cli).await?.decide(request).await?.into_inner();
    let version = format!("{}.{}", decided.major_version, decided.minor_version);
    let json = json!({
        "service": format!("{department}/{service}"),
        "version": version,
        "approved": approved,
        "missing": missing,
    });
    let json = said_json(json, decided.index, &decided.waiting);
    let done = if approved { "is approved, and answers" } else { "is returned to its department" };
    let list: String = missing.iter().map(|missing| format!("\n  - {missing}")).collect();
    let subject = format!("{department}/{service} {version}");
    let text = match decided.waiting.as_str() {
        "" => format!("{subject} {done} (statement {} of the directory).{list}", decided.index),
        id => waits(&format!("That {subject} {done}"), id) + &list,
    };
    Ok(Shown { json, text })
}

async fn all(cli: &Cli, all: bool) -> Result<Vec<wire::ReviewState>, Failure> {
    Ok(client(cli).await?.list(wire::ListReviewsRequest { all }).await?.into_inner().reviews)
}

/// The first of the service's reviews: what waits comes before what was said.
fn find<'a>(reviews: &'a [wire::ReviewState], wanted: &(String, String)) -> Option<&'a wire::ReviewState> {
    reviews.iter().find(|review| {
        let service = review.service.as_ref();
        service.is_some_and(|service| (&service.department, &service.service) == (&wanted.0, &wanted.1))
    })
}

fn listed(reviews: &[wire::ReviewState], nothing: &str) -> Shown {
    let json = json!({ "reviews": reviews.iter().map(to_json).collect::<Vec<_>>() });
    if reviews.is_empty() {
        return Shown { json, text: nothing.to_owned() };
    }
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["service", "version", "name", "of", "state", "since", "until", "clock", "missing"]);
    for review in reviews {
        let service = review.service.clone().unwrap_or_default();
        let state = if review.is_change { format!("{}, a change", review.state) } else { review.state.clone() };
        let (until, clock) = match &review.clock {
            Some(clock) => (clock.last_day.clone(), clock_text(clock)),
            None => (String::new(), String::new()),
        };
        let missing = if review.missing.is_empty() { &review.found_missing } else { &review.missing };
        table.add_row([
            format!("{}/{}", service.department, service.service),
            version(&service),
            service.name.unwrap_or_default().zh,
            review.provider_name.clone(),
            state,
            moment(review.since_ms),
            until,
            clock,
            missing.join("\n"),
        ]);
    }
    Shown { json, text: table.trim_fmt() }
}

fn version(service: &ServicePublished) -> String {
    format!("{}.{}", service.major_version, service.minor_version)
}

fn details(review: &wire::ReviewState) -> String {
    let service = review.service.clone().unwrap_or_default();
    let entry = Entry::of_description(&service);
    let attributes = service.attributes.iter().map(|attribute| {
        let discloses = if attribute.discloses { ", value disclosed" } else { "" };
        let absence = if attribute.absence.is_some() { ", having no row means something" } else { "" };
        let label = attribute.label.clone().unwrap_or_default().zh;
        let operators = attribute.operators.join(", ");
        format!(
            "{} {label} ({}; {operators}; {}{discloses}{absence})",
            attribute.name, attribute.r#type, attribute.sensitivity
        )
    });
    let differences = review.differences.iter().map(|difference| format!("{}: {}", difference.field, difference.what));
    let lines = |texts: &[String]| texts.join("\n");
    let facts = [
        ("service", format!("{}/{} {}", service.department, service.service, version(&service))),
        ("state", review.state.clone()),
        (
            "clock",
            review
                .clock
                .as_ref()
                .map(|clock| format!("{}, until {}", clock_text(clock), clock.last_day))
                .unwrap_or_default(),
        ),
        ("missing", lines(&review.missing)),
        ("found missing", lines(&review.found_missing)),
        ("changes", differences.collect::<Vec<_>>().join("\n")),
        ("name", format!("{} {}", entry.name, entry.name_en)),
        ("of", review.provider_name.clone()),
        ("sharing", words::sharing(service.sharing()).to_owned()),
        ("legal bases", lines(&entry.legal_bases)),
        ("forbidden by", entry.forbidden_by),
        ("conditions", entry.conditions),
        ("subjects", service.subject_schemes.join(", ")),
        ("data items", attributes.collect::<Vec<_>>().join("\n")),
        ("replaces", lines(&entry.replaces_proofs)),
        ("updated", entry.update_cycle),
        ("classification", entry.classification),
        ("contact", entry.contact),
        ("catalogue code", entry.catalogue_code),
        ("statement", review.statement.clone()),
    ];
    let facts: Vec<(&str, String)> = facts.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
    Shown::facts(&facts, Value::Null).text
}

fn to_json(review: &wire::ReviewState) -> Value {
    let service = review.service.clone().unwrap_or_default();
    let clock = review.clock.as_ref().map(|clock| {
        json!({
            "ends_ms": clock.ends_ms,
            "last_day": clock.last_day,
            "days_left": clock.days_left,
            "colour": clock.colour,
        })
    });
    let differences = review.differences.iter().map(|difference| {
        json!({ "field": difference.field, "what": difference.what, "incompatible": difference.incompatible })
    });
    json!({
        "provider": service.department,
        "provider_name": review.provider_name,
        "service": service.service,
        "version": version(&service),
        "name": service.name.clone().unwrap_or_default().zh,
        "sharing": words::sharing(service.sharing()),
        "statement": review.statement,
        "state": review.state,
        "since_ms": review.since_ms,
        "clock": clock,
        "missing": review.missing,
        "found_missing": review.found_missing,
        "is_change": review.is_change,
        "differences": differences.collect::<Vec<_>>(),
    })
}

fn service(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((department, service)) if !department.is_empty() && !service.is_empty() && !service.contains('/') => {
            Ok((department.to_owned(), service.to_owned()))
        }
        _ => Err("a service is written DEPARTMENT/SERVICE".to_owned()),
    }
}

async fn client(cli: &Cli) -> Result<ReviewsClient<Channel>, Failure> {
    Ok(ReviewsClient::new(channel(cli).await?).max_decoding_message_size(LARGEST_ANSWER))
}

/// The catalogue of a province is larger than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Every data service of the directory, or one department's.
pub(super) async fn catalogue(cli: &Cli, provider: &str) -> Result<Vec<wire::CatalogueService>, Failure> {
    let request = wire::CatalogueRequest { provider: provider.to_owned() };
    Ok(client(cli).await?.catalogue(request).await?.into_inner().services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_shown_with_what_the_officer_must_know() {
        let review = wire::ReviewState {
            service: Some(trust::fixture::marriage_registration()),
            provider_name: "民政局".into(),
            state: "waiting".into(),
            found_missing: vec!["contact: whom to ask about it (联系方式)".into()],
            clock: Some(wire::Clock { colour: "amber".into(), days_left: 1, ..wire::Clock::default() }),
            ..wire::ReviewState::default()
        };
        let text = details(&review);
        for part in ["AMBER, 1 working day left", "婚姻登记条例 4", "marital_status", "whom to ask", "民政局"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(to_json(&review)["clock"]["colour"], "amber");
        let shown = listed(std::slice::from_ref(&review), "");
        assert!(shown.text.contains("AMBER"), "{}", shown.text);
        assert_eq!(
            find(&[review], &("civil-affairs".into(), "marriage-registration".into())).unwrap().state,
            "waiting"
        );
        assert_eq!(listed(&[], "nothing").text, "nothing");
    }

    #[test]
    fn a_service_has_two_parts() {
        assert!(service("civil-affairs/marriage-registration").is_ok());
        for wrong in ["marriage-registration", "/a", "a/", "a/b/c"] {
            assert!(service(wrong).is_err(), "{wrong}");
        }
    }
}
