//! `access`: applies for access to another department's service, and decides on what others applied for. Out of scope:
//! what a grant then permits (`trust::decision`).

mod scope;
mod show;

use clap::{Args, Subcommand};
use proto::{
    admin::v1::{AccessState, ApplyForAccessRequest, DecideAccessRequest, ListAccessRequest},
    exchange::v1::LegalBasis,
    registry::v1::{AccessApplied, Quota},
};
use serde_json::json;

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

pub(super) async fn run(command: Command, folder: &Folder, output: Output, now_ms: u64) -> Result<Exit, Error> {
    if let Command::Apply(ApplyArgs { until, .. }) | Command::Approve(ApproveArgs { until, .. }) = &command {
        text::check_not_over("--until", *until, now_ms).map_err(Error::Usage)?;
    }
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
            output.show(&show::state_json(&state), || show::details(&state));
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
        scope: scope::asked(&service.attributes, &args.attributes, &args.operators, args.disclose)
            .map_err(Error::Usage)?,
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
    let done = format!("The application {} is in the directory, and the provider decides", response.id);
    node::stated(output, response, &done)
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
    let machine = json!({ "access": access.iter().map(show::state_json).collect::<Vec<_>>() });
    output.show(&machine, || {
        if access.is_empty() {
            return "No applications, own or received.".to_owned();
        }
        output::table(
            ["id", "service", "consumer", "item", "attributes", "until", "state"],
            access.iter().map(show::row),
        )
    });
    Ok(Exit::Done)
}
