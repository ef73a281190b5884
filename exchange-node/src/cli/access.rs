//! `access`: applies for access to another department's service, decides on what others applied for, and proves who
//! agreed to what. Out of scope: what a grant then permits (`trust::decision`).

mod arguments;
mod proof;
mod scope;
mod show;
mod usage;

use clap::Subcommand;
use proto::{
    admin::v1::{
        AccessResponse, AccessState, ApplyForAccessRequest, ConfirmDecisionRequest, DecideAccessRequest,
        ListAccessRequest, ListAccessResponse, RejectDecisionRequest, ServiceNotice,
    },
    registry::v1::{AccessApplied, OfficialDecision, Quota},
};
use serde_json::json;

use self::arguments::{
    ApplyArgs, ApproveArgs, ConfirmArgs, ExtendArgs, ListArgs, Official, ReasonArgs, RefuseArgs, RejectArgs,
    ResumeArgs, ReturnArgs, ShowArgs,
};
use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    service, text,
};

/// The commands about access.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Applies for access to another department's service.
    #[command(
        after_help = "Examples:\n  exchange-node access apply civil-affairs/marriage-registration --item 公租房申请 \
                      --attributes marital_status --operators equals --basis \"公共租赁住房管理办法 7\" --until 2027-12-31\n  \
                      exchange-node access apply civil-affairs/marriage-registration --item 公租房申请 --attributes marital_status,registered_on \
                      --operators marital_status=equals,one_of --operators registered_on=before --disclose=registered_on --basis \"公共租赁住房管理办法 7\"\n  \
                      exchange-node access apply civil-affairs/marriage-registration --again 0011223344556677 --item 公租房申请 \
                      --attributes marital_status --operators equals --basis \"公共租赁住房管理办法 7\""
    )]
    Apply(Box<ApplyArgs>),
    /// Lists what waits for this department's reply, the most urgent first.
    #[command(after_help = "Example:\n  exchange-node access inbox")]
    Inbox,
    /// Lists applications and grants, own and received, with their clocks.
    #[command(after_help = "Example:\n  exchange-node access list --state granted")]
    List(ListArgs),
    /// Shows one application and what became of it.
    #[command(after_help = "Example:\n  exchange-node access show 0011223344556677 --proof")]
    Show(ShowArgs),
    /// Approves an application: whole, or narrowed.
    #[command(
        after_help = "Example:\n  exchange-node access approve 0011223344556677 --per-second 50 --per-day 10000 --officer 2001 --document 民函〔2026〕9号"
    )]
    Approve(ApproveArgs),
    /// Refuses an application.
    #[command(
        after_help = "Example:\n  exchange-node access refuse 0011223344556677 --code BASIS_INSUFFICIENT --reason \"the basis does not cover the purpose\""
    )]
    Refuse(RefuseArgs),
    /// Returns an incomplete application to the applicant, with everything that is missing in one notice (一次性告知).
    #[command(
        after_help = "Example:\n  exchange-node access return 0011223344556677 --missing \"the article of the legal basis\" --missing \"the expected volume\""
    )]
    Return(ReturnArgs),
    /// Takes longer to reply, once, with notice to the applicant.
    #[command(
        after_help = "Example:\n  exchange-node access extend 0011223344556677 --days 5 --notice \"the archive is consulted\""
    )]
    Extend(ExtendArgs),
    /// Suspends a grant until it is resumed.
    #[command(
        after_help = "Example:\n  exchange-node access suspend 0011223344556677 --reason \"questions without a case\""
    )]
    Suspend(ReasonArgs),
    /// Lets a suspended grant count again.
    #[command(after_help = "Example:\n  exchange-node access resume 0011223344556677")]
    Resume(ResumeArgs),
    /// Ends a grant for good.
    #[command(
        after_help = "Example:\n  exchange-node access revoke 0011223344556677 --reason \"the project has ended\""
    )]
    Revoke(ReasonArgs),
    /// The second officer confirms a decision that takes four eyes.
    #[command(after_help = "Example:\n  exchange-node access confirm 0011223344556677 --officer 2002")]
    Confirm(ConfirmArgs),
    /// Sets a decision aside that waits for the second officer.
    #[command(
        after_help = "Example:\n  exchange-node access reject 0011223344556677 --officer 2002 --reason \"the quota is too high\""
    )]
    Reject(RejectArgs),
    /// Shows what is used of every quota and grant, by this node's own evidence.
    #[command(after_help = "Example:\n  exchange-node access usage")]
    Usage {
        /// Only this application.
        #[arg(value_name = "ID")]
        id: Option<String>,
    },
    /// Writes the proof of who agreed to what into a file that anybody can check offline.
    #[command(after_help = "Example:\n  exchange-node access export 0011223344556677 -o housing.access")]
    Export(proof::ExportArgs),
    /// Checks a proof with the authority's public key alone. Needs no node and no network.
    #[command(after_help = "Example:\n  exchange-node access verify housing.access --authority authority.pub")]
    Verify(proof::VerifyArgs),
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output, now_ms: u64) -> Result<Exit, Error> {
    let until = match &command {
        Command::Apply(args) => args.until,
        Command::Approve(args) => args.until,
        _ => None,
    };
    text::check_not_over("--until", until, now_ms).map_err(Error::Usage)?;
    let (request, done) = match command {
        Command::Apply(args) => return apply(*args, folder, output).await,
        Command::Inbox => return inbox(folder, output).await,
        Command::List(args) => return list(&args, folder, output).await,
        Command::Show(args) => return show_one(&args, folder, output).await,
        Command::Usage { id } => return usage::run(id.as_deref(), folder, output).await,
        Command::Export(args) => return proof::export(&args, folder, output).await,
        Command::Verify(args) => return proof::verify(&args, output),
        Command::Confirm(args) => return confirm(args, folder, output).await,
        Command::Reject(args) => return reject(args, folder, output).await,
        Command::Approve(args) => (approval(args, folder).await?, "The application is approved"),
        Command::Refuse(args) => {
            let request = DecideAccessRequest {
                reason_code: args.code,
                ..decision(args.id, "refuse", args.reason, args.official)
            };
            (request, "The application is refused")
        }
        Command::Return(args) => {
            let request = DecideAccessRequest {
                missing: args.missing,
                ..decision(args.id, "return", String::new(), args.official)
            };
            (request, "The application is returned")
        }
        Command::Extend(args) => {
            let request = DecideAccessRequest {
                working_days: args.days,
                ..decision(args.id, "extend", args.notice, args.official)
            };
            (request, "The time to reply is extended")
        }
        Command::Suspend(args) => (decision(args.id, "suspend", args.reason, args.official), "The grant is suspended"),
        Command::Resume(args) => {
            (decision(args.id, "resume", args.reason.unwrap_or_default(), args.official), "The grant counts again")
        }
        Command::Revoke(args) => (decision(args.id, "revoke", args.reason, args.official), "The grant is revoked"),
    };
    decided(output, folder.access().await?.decide(request).await?.into_inner(), done)
}

fn decision(id: String, action: &str, reason: String, official: Official) -> DecideAccessRequest {
    DecideAccessRequest {
        id,
        action: action.to_owned(),
        reason,
        decision: official.into_decision(),
        ..DecideAccessRequest::default()
    }
}

/// Shows what became of a decision, and fails where it was refused.
fn decided(output: Output, response: AccessResponse, done: &str) -> Result<Exit, Error> {
    if let Some(refusal) = response.refused {
        return Err(Error::Refused(refusal));
    }
    let machine = json!({
        "object": response.object,
        "index": response.index,
        "digest": response.digest,
        "id": response.id,
        "pending": response.pending.as_ref().map(show::pending_json),
    });
    output.show(&machine, || match &response.pending {
        Some(pending) => format!(
            "The decision ({}) waits for a second officer: access confirm {} --officer NUMBER",
            pending.action, response.id
        ),
        None => format!("{done} (statement {} of the directory, about {}).", response.index, response.object),
    });
    Ok(Exit::Done)
}

async fn apply(args: ApplyArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let found = service::find(folder, &args.service, args.major).await?;
    let service = found.service.unwrap_or_default();
    let application = AccessApplied {
        provider: args.service.0,
        service: args.service.1,
        // The node fills in who applies, and an id where none is given.
        id: args.again.unwrap_or_default(),
        major_version: service.major_version,
        scope: scope::asked(&service.attributes, &args.attributes, &args.operators, args.disclose.as_deref())
            .map_err(Error::Usage)?,
        item: args.item.unwrap_or_default(),
        scenario: args.scenario.unwrap_or_default(),
        legal_bases: args.basis,
        valid_until_ms: args.until.unwrap_or(0),
        expected_per_day: args.expected_per_day,
        system: args.system,
        subscribe: args.subscribe,
        ..AccessApplied::default()
    };
    let request = ApplyForAccessRequest { application: Some(application), decision: args.official.into_decision() };
    let response = folder.access().await?.apply(request).await?.into_inner();
    let done = format!("The application {} is in the directory, and the provider decides", response.id);
    decided(output, response, &done)
}

async fn approval(args: ApproveArgs, folder: &Folder) -> Result<DecideAccessRequest, Error> {
    let narrows = !args.attributes.is_empty() || !args.operators.is_empty() || args.verdicts_only.is_some();
    let scope = if narrows {
        let applied = find(folder, &args.id).await?.applied.unwrap_or_default().scope;
        let verdicts_only = args.verdicts_only.as_deref();
        scope::narrowed(applied, &args.attributes, &args.operators, verdicts_only).map_err(Error::Usage)?
    } else {
        Vec::new()
    };
    let quota = Quota { per_second: args.per_second, per_day: args.per_day, total: args.total };
    Ok(DecideAccessRequest {
        scope,
        valid_until_ms: args.until.unwrap_or(0),
        embargo_until_ms: args.embargo_until.unwrap_or(0),
        quota: (quota != Quota::default()).then_some(quota),
        system: args.system,
        without_notices: args.without_notices,
        ..decision(args.id, "approve", String::new(), args.official)
    })
}

async fn confirm(args: ConfirmArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let request = ConfirmDecisionRequest { id: args.id, officer: args.officer };
    let response = folder.access().await?.confirm(request).await?.into_inner();
    decided(output, response, "The decision is confirmed and published")
}

async fn reject(args: RejectArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let request = RejectDecisionRequest { id: args.id, officer: args.officer, reason: args.reason };
    let set_aside = folder.access().await?.reject(request).await?.into_inner();
    output.show(&json!({ "set_aside": show::pending_json(&set_aside) }), || {
        format!(
            "The decision ({}) of officer {} is set aside; nothing was stated.",
            set_aside.action, set_aside.officer
        )
    });
    Ok(Exit::Done)
}

async fn all(folder: &Folder) -> Result<ListAccessResponse, Error> {
    Ok(folder.access().await?.list(ListAccessRequest {}).await?.into_inner())
}

/// The application that `ID` or `OTHER DEPARTMENT/ID` means.
async fn find(folder: &Folder, id: &str) -> Result<AccessState, Error> {
    let found: Vec<AccessState> =
        all(folder).await?.access.into_iter().filter(|state| show::is_meant(state, id)).collect();
    match <[AccessState; 1]>::try_from(found) {
        Ok([state]) => Ok(state),
        Err(several) if several.is_empty() => Err(Error::Usage(format!(
            "there is no application {id} from or to this department: `access list` shows them"
        ))),
        Err(_) => Err(Error::Usage(format!("several have the id {id}: write CONSUMER/{id}"))),
    }
}

async fn show_one(args: &ShowArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    if args.proof {
        return proof::show(&args.id, folder, output).await;
    }
    let state = find(folder, &args.id).await?;
    output.show(&show::state_json(&state), || show::details(&state));
    Ok(Exit::Done)
}

async fn inbox(folder: &Folder, output: Output) -> Result<Exit, Error> {
    let me = folder.department().await?;
    let mut waiting: Vec<AccessState> = all(folder).await?.access;
    waiting.retain(|state| {
        let received = state.applied.as_ref().is_some_and(|applied| applied.provider == me);
        received && (state.state == "applied" || state.pending.is_some())
    });
    waiting.sort_by_key(|state| state.clock.as_ref().map_or(u64::MAX, |clock| clock.ends_ms));
    listed(output, &waiting, &[], "Nothing waits for a reply.");
    Ok(Exit::Done)
}

async fn list(args: &ListArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let mut access = all(folder).await?.access;
    if let Some(wanted) = &args.state {
        access.retain(|state| state.state == *wanted);
    }
    // A grant is worth what its service is: those that end or are suspended stand below.
    let notices = service::notices(folder).await?;
    listed(output, &access, &notices, "No applications, own or received.");
    Ok(Exit::Done)
}

fn listed(output: Output, access: &[AccessState], notices: &[ServiceNotice], none: &str) {
    let mut machine = json!({ "access": access.iter().map(show::state_json).collect::<Vec<_>>() });
    machine["notices"] = service::notices_json(notices);
    output.show(&machine, || {
        if access.is_empty() {
            return none.to_owned();
        }
        let table = output::table(
            ["id", "service", "consumer", "item", "attributes", "until", "state", "clock"],
            access.iter().map(show::row),
        );
        if notices.is_empty() {
            return table;
        }
        let rows = notices.iter().map(service::notice_row);
        format!("{table}\n{}", output::table(["service asked", "grant", "state", "why", "instead"], rows))
    });
}

impl Official {
    fn into_decision(self) -> Option<OfficialDecision> {
        let Self { officer, document } = self;
        (!officer.is_empty() || !document.is_empty()).then(|| OfficialDecision {
            officer,
            document,
            second_officer: String::new(),
        })
    }
}
