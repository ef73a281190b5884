//! `access`: applies for access to another department's service, and decides on what others applied for. Out of scope:
//! what a grant then permits (`trust::decision`).

use clap::{Args, Subcommand};
use proto::{
    admin::v1::{AccessState, ApplyForAccessRequest, DecideAccessRequest, ListAccessRequest},
    exchange::v1::LegalBasis,
    registry::v1::{AccessApplied, Attribute, AttributeScope, Quota},
};
use serde_json::{Value, json};
use trust::claim::Operator;

use super::{
    Error, Exit,
    node::{self, Folder},
    output::{self, Output},
    service, text,
};

/// The commands about access.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Applies for access to another department's service.
    #[command(
        after_help = "Example:\n  exchange-node access apply civil-affairs/marriage-registration --item 公租房申请 \
                      --attributes marital_status --operators equals --basis \"公共租赁住房管理办法 7\" --until 2027-12-31"
    )]
    Apply(ApplyArgs),
    /// Lists applications and grants, own and received.
    #[command(after_help = "Example:\n  exchange-node access list")]
    List,
    /// Shows one application and what became of it.
    #[command(after_help = "Example:\n  exchange-node access show 0011223344556677")]
    Show {
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Approves an application: whole, or narrowed.
    #[command(after_help = "Example:\n  exchange-node access approve 0011223344556677 --per-second 50 --per-day 10000")]
    Approve(ApproveArgs),
    /// Refuses an application.
    #[command(
        after_help = "Example:\n  exchange-node access refuse 0011223344556677 --reason \"the basis does not cover the purpose\""
    )]
    Refuse(ReasonArgs),
    /// Suspends a grant until it is resumed.
    #[command(
        after_help = "Example:\n  exchange-node access suspend 0011223344556677 --reason \"questions without a case\""
    )]
    Suspend(ReasonArgs),
    /// Lets a suspended grant count again.
    #[command(after_help = "Example:\n  exchange-node access resume 0011223344556677")]
    Resume {
        /// The application's id.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Ends a grant for good.
    #[command(
        after_help = "Example:\n  exchange-node access revoke 0011223344556677 --reason \"the project has ended\""
    )]
    Revoke(ReasonArgs),
}

/// What `access apply` needs.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The service, DEPARTMENT/SERVICE.
    #[arg(value_name = "SERVICE", value_parser = text::service)]
    service: (String, String),
    /// The public service item (公共服务事项) that it is for.
    #[arg(long, value_name = "ITEM", required_unless_present = "scenario")]
    item: Option<String>,
    /// The use scenario (使用场景), where it is for no item.
    #[arg(long, value_name = "TEXT")]
    scenario: Option<String>,
    /// What is to be asked, with commas between.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    attributes: Vec<String>,
    /// How it is to be asked; each attribute gets those that it allows.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    operators: Vec<String>,
    /// Applies for the values too, not for verdicts alone.
    #[arg(long)]
    disclose: bool,
    /// The legal basis, "INSTRUMENT ARTICLE"; may be given several times.
    #[arg(long, value_name = "BASIS", value_parser = text::legal_basis, required = true)]
    basis: Vec<LegalBasis>,
    /// The last day of the access; without it there is no end.
    #[arg(long, value_name = "DATE", value_parser = text::end_of_day)]
    until: Option<u64>,
    /// How many questions a day are expected.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    expected_per_day: u32,
    /// The one office system that will ask; without it any.
    #[arg(long, value_name = "SYSTEM", default_value = "", hide_default_value = true)]
    system: String,
    /// The service's major version; without it the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    major: u32,
}

/// What `access approve` needs.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    id: String,
    /// Approves only these attributes of those applied for.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    attributes: Vec<String>,
    /// The last day; without it what was applied for.
    #[arg(long, value_name = "DATE", value_parser = text::end_of_day)]
    until: Option<u64>,
    /// The most questions in a second.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    per_second: u32,
    /// The most questions in a day.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    per_day: u32,
    /// The most questions in all.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    total: u64,
}

/// A decision that needs a reason.
#[derive(Debug, Args)]
pub struct ReasonArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    id: String,
    /// Why; the other department gets to read it.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let decision = |id: String, action: &str, reason: String| DecideAccessRequest {
        id,
        action: action.to_owned(),
        reason,
        ..Default::default()
    };
    let (request, done) = match command {
        Command::Apply(args) => return apply(args, folder, output).await,
        Command::List => return list(folder, output).await,
        Command::Show { id } => {
            let state = find(folder, &id).await?;
            output.show(&state_json(&state), || details(&state));
            return Ok(Exit::Done);
        }
        Command::Approve(args) => (approval(args, folder).await?, "The application is approved"),
        Command::Refuse(ReasonArgs { id, reason }) => (decision(id, "refuse", reason), "The application is refused"),
        Command::Suspend(ReasonArgs { id, reason }) => (decision(id, "suspend", reason), "The grant is suspended"),
        Command::Resume { id } => (decision(id, "resume", String::new()), "The grant counts again"),
        Command::Revoke(ReasonArgs { id, reason }) => (decision(id, "revoke", reason), "The grant is revoked"),
    };
    let response = folder.admin().await?.decide_access(request).await?.into_inner();
    node::stated(output, response, done)
}

async fn apply(args: ApplyArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let found = service::find(folder, &args.service, args.major).await?;
    let service = found.service.unwrap_or_default();
    let application = AccessApplied {
        provider: args.service.0,
        service: args.service.1,
        major_version: service.major_version,
        scope: scope(&service.attributes, &args.attributes, &args.operators, args.disclose).map_err(Error::Usage)?,
        item: args.item.unwrap_or_default(),
        scenario: args.scenario.unwrap_or_default(),
        legal_bases: args.basis,
        valid_until_ms: args.until.unwrap_or(0),
        expected_per_day: args.expected_per_day,
        system: args.system,
        // The node fills in who applies, and the id.
        ..Default::default()
    };
    let request = ApplyForAccessRequest { application: Some(application) };
    let response = folder.admin().await?.apply_for_access(request).await?.into_inner();
    node::stated(output, response, "The application is in the directory; the provider decides")
}

/// What is applied for: each attribute with those of the operators that it allows. Every attribute gets at least one, and
/// every operator is of use somewhere; otherwise something was mistyped.
fn scope(
    offered: &[Attribute],
    attributes: &[String],
    operators: &[String],
    disclose: bool,
) -> Result<Vec<AttributeScope>, String> {
    for operator in operators {
        Operator::parse(operator).map_err(|_| format!("there is no operator {operator:?}"))?;
    }
    let mut scope = Vec::new();
    for name in attributes {
        let attribute = offered.iter().find(|attribute| attribute.name == *name).ok_or_else(|| {
            let names: Vec<&str> = offered.iter().map(|attribute| attribute.name.as_str()).collect();
            format!("the service has no attribute {name:?}; it has {}", names.join(", "))
        })?;
        let allowed: Vec<String> =
            operators.iter().filter(|operator| attribute.operators.contains(operator)).cloned().collect();
        if allowed.is_empty() {
            return Err(format!("{name} allows none of these operators; it allows {}", attribute.operators.join(", ")));
        }
        if disclose && !attribute.discloses {
            return Err(format!("the service does not disclose the value of {name}: leave --disclose out"));
        }
        scope.push(AttributeScope { attribute: name.clone(), operators: allowed, disclose });
    }
    if let Some(useless) =
        operators.iter().find(|operator| !scope.iter().any(|asked| asked.operators.contains(operator)))
    {
        return Err(format!("none of these attributes allows the operator {useless}"));
    }
    Ok(scope)
}

async fn approval(args: ApproveArgs, folder: &Folder) -> Result<DecideAccessRequest, Error> {
    let scope = match args.attributes.as_slice() {
        [] => Vec::new(),
        wanted => {
            let state = find(folder, &args.id).await?;
            let applied = state.applied.unwrap_or_default().scope;
            if let Some(unknown) = wanted.iter().find(|name| !applied.iter().any(|asked| asked.attribute == **name)) {
                return Err(Error::Usage(format!("{unknown} is not applied for")));
            }
            applied.into_iter().filter(|asked| wanted.contains(&asked.attribute)).collect()
        }
    };
    let quota = Quota { per_second: args.per_second, per_day: args.per_day, total: args.total };
    Ok(DecideAccessRequest {
        id: args.id,
        action: "approve".to_owned(),
        reason: String::new(),
        scope,
        valid_until_ms: args.until.unwrap_or(0),
        quota: (quota != Quota::default()).then_some(quota),
    })
}

async fn all(folder: &Folder) -> Result<Vec<AccessState>, Error> {
    Ok(folder.admin().await?.list_access(ListAccessRequest {}).await?.into_inner().access)
}

async fn find(folder: &Folder, id: &str) -> Result<AccessState, Error> {
    let same = |state: &AccessState| state.applied.as_ref().is_some_and(|applied| applied.id == id);
    all(folder).await?.into_iter().find(same).ok_or_else(|| {
        Error::Usage(format!("there is no application {id} from or to this department: `access list` shows them"))
    })
}

async fn list(folder: &Folder, output: Output) -> Result<Exit, Error> {
    let access = all(folder).await?;
    let machine = json!({ "access": access.iter().map(state_json).collect::<Vec<_>>() });
    output.show(&machine, || {
        if access.is_empty() {
            return "No applications, own or received.".to_owned();
        }
        output::table(["id", "service", "consumer", "item", "attributes", "until", "state"], access.iter().map(row))
    });
    Ok(Exit::Done)
}

fn row(state: &AccessState) -> [String; 7] {
    let applied = state.applied.clone().unwrap_or_default();
    [
        applied.id.clone(),
        format!("{}/{} v{}", applied.provider, applied.service, applied.major_version),
        applied.consumer.clone(),
        purpose(&applied),
        scope_text(&scope_now(state)),
        output::moment(until(state)),
        state_text(state),
    ]
}

fn purpose(applied: &AccessApplied) -> String {
    if applied.item.is_empty() { applied.scenario.clone() } else { applied.item.clone() }
}

fn state_text(state: &AccessState) -> String {
    if state.reason.is_empty() { state.state.clone() } else { format!("{}: {}", state.state, state.reason) }
}

/// What is granted, or else what is applied for.
fn scope_now(state: &AccessState) -> Vec<AttributeScope> {
    match (&state.granted, &state.applied) {
        (Some(granted), _) => granted.scope.clone(),
        (None, Some(applied)) => applied.scope.clone(),
        (None, None) => Vec::new(),
    }
}

fn until(state: &AccessState) -> u64 {
    state.granted.as_ref().map_or_else(
        || state.applied.as_ref().map_or(0, |applied| applied.valid_until_ms),
        |granted| granted.valid_until_ms,
    )
}

fn scope_text(scope: &[AttributeScope]) -> String {
    let lines = scope.iter().map(|asked| {
        let disclose = if asked.disclose { ", value" } else { "" };
        format!("{} ({}{disclose})", asked.attribute, asked.operators.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn details(state: &AccessState) -> String {
    let applied = state.applied.clone().unwrap_or_default();
    let quota = state.granted.as_ref().and_then(|granted| granted.quota).unwrap_or_default();
    let limit = |count: u64, of: &str| if count == 0 { String::new() } else { format!("{count} {of}") };
    let quota = [
        limit(quota.per_second.into(), "a second"),
        limit(quota.per_day.into(), "a day"),
        limit(quota.total, "in all"),
    ];
    output::pairs([
        ("id", applied.id.clone()),
        ("state", state_text(state)),
        ("service", format!("{}/{} v{}", applied.provider, applied.service, applied.major_version)),
        ("consumer", applied.consumer.clone()),
        ("item", purpose(&applied)),
        ("legal bases", service::bases(&applied.legal_bases)),
        ("applied for", scope_text(&applied.scope)),
        ("granted", state.granted.as_ref().map(|granted| scope_text(&granted.scope)).unwrap_or_default()),
        ("until", output::moment(until(state))),
        ("quota", quota.into_iter().filter(|limit| !limit.is_empty()).collect::<Vec<_>>().join(", ")),
        ("system", applied.system),
        ("expected", limit(applied.expected_per_day.into(), "questions a day")),
    ])
}

fn state_json(state: &AccessState) -> Value {
    let applied = state.applied.clone().unwrap_or_default();
    let scope = |scope: &[AttributeScope]| {
        let entries = scope.iter().map(
            |asked| json!({ "attribute": asked.attribute, "operators": asked.operators, "disclose": asked.disclose }),
        );
        Value::from(entries.collect::<Vec<_>>())
    };
    let granted = state.granted.as_ref().map(|granted| {
        let quota = granted.quota.unwrap_or_default();
        json!({
            "scope": scope(&granted.scope),
            "valid_from_ms": granted.valid_from_ms,
            "valid_until_ms": granted.valid_until_ms,
            "quota": { "per_second": quota.per_second, "per_day": quota.per_day, "total": quota.total },
        })
    });
    json!({
        "id": applied.id,
        "provider": applied.provider,
        "consumer": applied.consumer,
        "service": applied.service,
        "major_version": applied.major_version,
        "item": applied.item,
        "scenario": applied.scenario,
        "scope": scope(&applied.scope),
        "legal_bases": applied.legal_bases.iter()
            .map(|basis| json!({ "instrument": basis.instrument, "article": basis.article })).collect::<Vec<_>>(),
        "valid_until_ms": applied.valid_until_ms,
        "granted": granted,
        "state": state.state,
        "reason": state.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn asked(attributes: &[&str], operators: &[&str], disclose: bool) -> Result<Vec<AttributeScope>, String> {
        scope(&trust::fixture::marriage_registration().attributes, &words(attributes), &words(operators), disclose)
    }

    #[test]
    fn each_attribute_gets_the_operators_that_it_allows() {
        let scope = asked(&["marital_status", "registered_on"], &["equals", "before"], false).unwrap();
        assert_eq!(scope[0].operators, ["equals"]);
        assert_eq!(scope[1].operators, ["equals", "before"]);
    }

    #[test]
    fn what_was_mistyped_is_found_before_anything_is_signed() {
        for (attributes, operators, disclose, reason) in [
            (
                &["status"][..],
                &["equals"][..],
                false,
                "has no attribute \"status\"; it has marital_status, registered_on",
            ),
            (&["marital_status"], &["is"], false, "there is no operator \"is\""),
            (&["marital_status"], &["before"], false, "allows none of these operators; it allows equals, one_of"),
            (&["marital_status"], &["equals", "before"], false, "none of these attributes allows the operator before"),
            (&["marital_status"], &["equals"], true, "does not disclose"),
        ] {
            let error = asked(attributes, operators, disclose).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn an_application_is_shown_with_what_became_of_it() {
        let mut state = AccessState {
            applied: Some(trust::fixture::application("0011223344556677")),
            state: "applied".into(),
            ..Default::default()
        };
        assert!(state_json(&state)["granted"].is_null());
        let mut granted = trust::fixture::granted("0011223344556677");
        granted.quota = Some(Quota { per_second: 5, per_day: 0, total: 0 });
        state.granted = Some(granted);
        state.state = "suspended".into();
        state.reason = "no case".into();
        let machine = state_json(&state);
        assert_eq!(machine["granted"]["quota"]["per_second"], 5);
        assert_eq!(machine["scope"][0]["operators"], json!(["equals"]));
        let text = details(&state);
        assert!(text.contains("suspended: no case") && text.contains("5 a second"), "{text}");
        assert_eq!(row(&state)[4], "marital_status (equals)");
    }
}
