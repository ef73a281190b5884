//! What the `access` commands take on the command line. Out of scope: what they do with it.

use clap::{Args, builder::PossibleValuesParser};
use proto::exchange::v1::LegalBasis;

use super::super::text;

/// Who decided, and on what document.
#[derive(Debug, Args)]
pub(super) struct Official {
    /// The officer who decides, by the department's own officer number.
    #[arg(long, value_name = "NUMBER", default_value = "", hide_default_value = true)]
    pub(super) officer: String,
    /// The document that the decision rests on.
    #[arg(long, value_name = "NUMBER", default_value = "", hide_default_value = true)]
    pub(super) document: String,
}

/// What `access apply` needs.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The service, DEPARTMENT/SERVICE.
    #[arg(value_name = "SERVICE", value_parser = text::service)]
    pub(super) service: (String, String),
    /// The public service item (公共服务事项) that it is for.
    #[arg(long, value_name = "ITEM", required_unless_present = "scenario")]
    pub(super) item: Option<String>,
    /// The use scenario (使用场景), where it is for no item.
    #[arg(long, value_name = "TEXT")]
    pub(super) scenario: Option<String>,
    /// What is to be asked, with commas between.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    pub(super) attributes: Vec<String>,
    /// How it is to be asked, with commas between; each attribute gets those that it allows. ATTRIBUTE=NAMES says it of one
    /// attribute alone; may be given several times.
    #[arg(long, value_name = "[ATTRIBUTE=]NAMES", required = true)]
    pub(super) operators: Vec<String>,
    /// Applies for the values too, not for verdicts alone: of these attributes, or without names of all that the service
    /// discloses.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 0..=1, require_equals = true)]
    pub(super) disclose: Option<Vec<String>>,
    /// Applies for notices too: to be told when a verdict changes (`subscriptions add`).
    #[arg(long)]
    pub(super) subscribe: bool,
    /// The legal basis, "INSTRUMENT ARTICLE"; may be given several times.
    #[arg(long, value_name = "BASIS", value_parser = text::legal_basis, required = true)]
    pub(super) basis: Vec<LegalBasis>,
    /// The last day of the access; without it there is no end.
    #[arg(long, value_name = "DATE", value_parser = text::end_of_day)]
    pub(super) until: Option<u64>,
    /// How many questions a day are expected.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(super) expected_per_day: u32,
    /// The one office system that will ask; without it any.
    #[arg(long, value_name = "SYSTEM", default_value = "", hide_default_value = true)]
    pub(super) system: String,
    /// The service's major version; without it the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(super) major: u32,
    /// Makes an application again that was returned, under its id.
    #[arg(long, value_name = "ID")]
    pub(super) again: Option<String>,
    #[command(flatten)]
    pub(super) official: Official,
}

/// What `access list` needs.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those in this state.
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(
        ["applied", "granted", "refused", "returned", "revoked", "suspended"]
    ))]
    pub(super) state: Option<String>,
}

/// What `access show` needs.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Shows who signed what, with its place in the directory.
    #[arg(long)]
    pub(super) proof: bool,
}

/// What `access approve` needs.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Approves only these attributes of those applied for.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) attributes: Vec<String>,
    /// Approves only these operators of those applied for; ATTRIBUTE=NAMES says it of one attribute alone.
    #[arg(long, value_name = "[ATTRIBUTE=]NAMES")]
    pub(super) operators: Vec<String>,
    /// Approves verdicts alone, where values were applied for: of these attributes, or without names of all.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 0..=1, require_equals = true)]
    pub(super) verdicts_only: Option<Vec<String>>,
    /// Approves no notices of changes, where they were applied for.
    #[arg(long)]
    pub(super) without_notices: bool,
    /// The last day; without it what was applied for.
    #[arg(long, value_name = "DATE", value_parser = text::end_of_day)]
    pub(super) until: Option<u64>,
    /// Until the end of this day questions under the grant are not shown to the subject they are about: a lawful embargo.
    #[arg(long, value_name = "DATE", value_parser = text::end_of_day)]
    pub(super) embargo_until: Option<u64>,
    /// The most questions in a second.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(super) per_second: u32,
    /// The most questions in a day.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(super) per_day: u32,
    /// The most questions in all.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(super) total: u64,
    /// The one office system of the department that may ask; without it what was applied for.
    #[arg(long, value_name = "SYSTEM", default_value = "", hide_default_value = true)]
    pub(super) system: String,
    #[command(flatten)]
    pub(super) official: Official,
}

/// What `access refuse` needs.
#[derive(Debug, Args)]
pub struct RefuseArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// The reason's stable code.
    #[arg(long, value_name = "CODE", default_value = "PROVIDER_DECISION", value_parser = PossibleValuesParser::new(
        trust::official::REFUSAL_REASONS.map(|(code, _)| code)
    ))]
    pub(super) code: String,
    /// Why, in words; the other department gets to read it.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
    #[command(flatten)]
    pub(super) official: Official,
}

/// What `access return` needs.
#[derive(Debug, Args)]
pub struct ReturnArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Something that is missing; give it once for each, and everything at once.
    #[arg(long, value_name = "TEXT", required = true)]
    pub(super) missing: Vec<String>,
    #[command(flatten)]
    pub(super) official: Official,
}

/// What `access extend` needs.
#[derive(Debug, Args)]
pub struct ExtendArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// By how many working days; without it as many as the authority allows.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(super) days: u32,
    /// Why; the other department gets to read it.
    #[arg(long, value_name = "TEXT")]
    pub(super) notice: String,
    #[command(flatten)]
    pub(super) official: Official,
}

/// A decision that needs a reason.
#[derive(Debug, Args)]
pub struct ReasonArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Why; the other department gets to read it.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
    #[command(flatten)]
    pub(super) official: Official,
}

/// What `access resume` needs.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Why; the other department gets to read it.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    #[command(flatten)]
    pub(super) official: Official,
}

/// What `access confirm` needs.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// The second officer; never the first.
    #[arg(long, value_name = "NUMBER")]
    pub(super) officer: String,
}

/// What `access reject` needs.
#[derive(Debug, Args)]
pub struct RejectArgs {
    /// The application's id.
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// The officer who sets the decision aside.
    #[arg(long, value_name = "NUMBER")]
    pub(super) officer: String,
    /// Why; it stands in this node's log.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}
