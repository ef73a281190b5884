//! `case`: one public service item for one applicant. People's data stand in a file or come from standard input, never among
//! the arguments: those stay in the shell's history. Out of scope: handling the case (`crate::case`), in the running node.

mod show;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use proto::office::v1::{
    AddToCaseRequest, CommitRequest, ListCasesRequest, ListCommitmentsRequest, PauseCaseRequest,
    RepairCommitmentRequest, ShowCaseRequest, cases_client::CasesClient,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tonic::transport::Channel;
use zeroize::Zeroizing;

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};
use crate::item_file::application::{self, Application};

/// Cases.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Opens a case from an application and asks all departments at once.
    #[command(after_help = FILE_HELP)]
    Open(FileArgs),
    /// Adds people, values, an authorisation or papers to a case, and asks what is missing.
    #[command(
        after_help = "Examples:\n  exchange-node case add GZF-2026-0001 --officer 1024 --file spouse.yaml\n  exchange-node case add GZF-2026-0001 --officer 1024 --paper 无房证明 --about spouse"
    )]
    Add(AddArgs),
    /// Shows a case, proof by proof.
    #[command(after_help = "Example:\n  exchange-node case show GZF-2026-0001")]
    Show(NumberArgs),
    /// Lists cases, the newest first. Names nobody.
    #[command(after_help = "Example:\n  exchange-node case list --limit 20")]
    List {
        /// At most so many.
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: u32,
        /// Goes on after this case.
        #[arg(long, value_name = "CASE", default_value = "", hide_default_value = true)]
        after: String,
    },
    /// Prints the slip for the applicant, in Chinese and English.
    #[command(after_help = "Example:\n  exchange-node case slip GZF-2026-0001")]
    Slip(NumberArgs),
    /// Takes the applicant's signed commitment in place of a proof (告知承诺); it is checked later.
    #[command(
        after_help = "Example:\n  exchange-node case commit GZF-2026-0001 无房证明 --form commitment.pdf --officer 1024"
    )]
    Commit(CommitArgs),
    /// Lists commitments and what became of them.
    #[command(after_help = "Example:\n  exchange-node case commitments --state broken")]
    Commitments {
        /// Only those in this state.
        #[arg(long, value_name = "STATE", default_value = "", hide_default_value = true, value_parser = ["", "open", "fulfilled", "broken", "unconfirmed", "repaired"])]
        state: String,
        /// Only those of this case.
        #[arg(long, value_name = "CASE", default_value = "", hide_default_value = true)]
        case: String,
    },
    /// Says that a broken commitment was put right: its applicant may commit again.
    #[command(
        after_help = "Example:\n  exchange-node case repair 1767225600000-0a1b2c3d --officer 1024 --how \"已补交证明\""
    )]
    Repair {
        /// The commitment's id.
        #[arg(value_name = "COMMITMENT")]
        commitment: String,
        /// The officer.
        #[arg(long, value_name = "NUMBER")]
        officer: String,
        /// How it was put right, without anybody's data.
        #[arg(long, value_name = "TEXT")]
        how: String,
    },
    /// Stops the clock of a case for a reason, or lets it run again.
    #[command(
        after_help = "Examples:\n  exchange-node case pause GZF-2026-0001 --reason \"现场勘查\" --officer 1024\n  exchange-node case pause GZF-2026-0001 --end --officer 1024"
    )]
    Pause {
        /// The case number.
        #[arg(value_name = "CASE")]
        case: String,
        /// Why it stands still.
        #[arg(long, value_name = "TEXT", required_unless_present = "end")]
        reason: Option<String>,
        /// Lets it run again.
        #[arg(long, conflicts_with = "reason")]
        end: bool,
        /// The officer.
        #[arg(long, value_name = "NUMBER")]
        officer: String,
    },
}

const FILE_HELP: &str = "The application, as YAML or JSON:
  case: GZF-2026-0001
  item: 公租房申请
  officer: \"1024\"
  people:
    - {role: applicant, resident_id: …, name: …, marital_status: married}
    - {role: spouse, resident_id: …, authorisation: {form_digest: …, scope: …, signed_by: subject, until: 2026-12-31}}

The exit code is 0 where nothing is missing, 4 where something does not match, and otherwise 6.

Example:
  exchange-node case open application.yaml";

/// What `case open` needs.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The application; - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// For all questions together, in milliseconds; without it the node's setting.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0, hide_default_value = true)]
    deadline_ms: u32,
}

/// What `case add` needs.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The case number.
    #[arg(value_name = "CASE")]
    case: String,
    /// The officer.
    #[arg(long, value_name = "NUMBER")]
    officer: String,
    /// A file with people, values or an authorisation; - for standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A proof for which the paper was taken in; may be given several times.
    #[arg(long, value_name = "PROOF")]
    paper: Vec<String>,
    /// About whom the papers are, where the item asks for one of that name about several people.
    #[arg(long, value_name = "ROLE", requires = "paper")]
    about: Option<String>,
    /// For all questions together, in milliseconds; without it the node's setting.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0, hide_default_value = true)]
    deadline_ms: u32,
}

/// A case by its number.
#[derive(Debug, Args)]
pub struct NumberArgs {
    /// The case number.
    #[arg(value_name = "CASE")]
    case: String,
}

/// What `case commit` needs.
#[derive(Debug, Args)]
pub struct CommitArgs {
    /// The case number.
    #[arg(value_name = "CASE")]
    case: String,
    /// The proof that it stands in for.
    #[arg(value_name = "PROOF")]
    proof: String,
    /// The signed form: the file, or its SHA-256 in 64 hex digits.
    #[arg(long, value_name = "FILE|HEX")]
    form: String,
    /// The officer.
    #[arg(long, value_name = "NUMBER")]
    officer: String,
    /// About whom, where several proofs have that name.
    #[arg(long, value_name = "ROLE", default_value = "", hide_default_value = true)]
    about: String,
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    match command {
        Command::Open(FileArgs { file, deadline_ms }) => {
            let wrong = |reason| Error::FileWrong(format!("{}: {reason}", file.display()));
            let request = read(&file)?.open(deadline_ms).map_err(wrong)?;
            let case = client(folder).await?.open(request).await?.into_inner();
            show::outcome(output, case)
        }
        Command::Add(args) => add(args, folder, output).await,
        Command::Show(NumberArgs { case: case_number }) => {
            let case = client(folder).await?.show(ShowCaseRequest { case_number }).await?.into_inner();
            output.show(&show::to_json(&case), || show::to_text(&case));
            Ok(Exit::Done)
        }
        Command::List { limit, after } => {
            let request = ListCasesRequest { limit, after };
            let cases = client(folder).await?.list(request).await?.into_inner().cases;
            output.show(&json!({ "cases": cases.iter().map(show::summary_json).collect::<Vec<_>>() }), || {
                if cases.is_empty() {
                    return "There are no cases.".to_owned();
                }
                let header = ["case", "item", "opened", "state", "open commitments", ""];
                output::table(header, cases.iter().map(show::summary_row))
            });
            Ok(Exit::Done)
        }
        Command::Slip(NumberArgs { case: case_number }) => {
            let text = client(folder).await?.slip(ShowCaseRequest { case_number }).await?.into_inner().text;
            output.show(&json!({ "slip": text }), || text.clone());
            Ok(Exit::Done)
        }
        Command::Commit(args) => {
            let form_digest = digest_of(&args.form)?;
            let CommitArgs { case: case_number, proof, officer, about, .. } = args;
            let request = CommitRequest { case_number, proof, about, form_digest, officer };
            let case = client(folder).await?.commit(request).await?.into_inner();
            if let Some(refusal) = case.refusal {
                return Err(Error::Refused(refusal));
            }
            output.show(&show::to_json(&case), || show::to_text(&case));
            Ok(Exit::Done)
        }
        Command::Commitments { state, case: case_number } => {
            let request = ListCommitmentsRequest { state, case_number, ..Default::default() };
            let rows = client(folder).await?.list_commitments(request).await?.into_inner().commitments;
            output.show(&json!({ "commitments": rows.iter().map(show::commitment_json).collect::<Vec<_>>() }), || {
                if rows.is_empty() {
                    return "There are no such commitments.".to_owned();
                }
                let header = ["commitment", "case", "proof", "state", "made", "checked", "last tried"];
                output::table(header, rows.iter().map(show::commitment_row))
            });
            Ok(Exit::Done)
        }
        Command::Repair { commitment: id, officer, how } => {
            let request = RepairCommitmentRequest { id, officer, how };
            let row = client(folder).await?.repair(request).await?.into_inner();
            if let Some(refusal) = row.refusal {
                return Err(Error::Refused(refusal));
            }
            output.show(&show::commitment_json(&row), || format!("The commitment {} is put right.", row.id));
            Ok(Exit::Done)
        }
        Command::Pause { case: case_number, reason, officer, .. } => {
            let request = PauseCaseRequest { case_number, reason: reason.unwrap_or_default(), officer };
            let case = client(folder).await?.pause(request).await?.into_inner();
            if let Some(refusal) = case.refusal {
                return Err(Error::Refused(refusal));
            }
            output.show(&show::to_json(&case), || show::to_text(&case));
            Ok(Exit::Done)
        }
    }
}

async fn client(folder: &Folder) -> Result<CasesClient<Channel>, Error> {
    Ok(CasesClient::new(folder.channel().await?).max_decoding_message_size(32 * 1024 * 1024))
}

async fn add(args: AddArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let application = match &args.file {
        Some(file) => read(file)?,
        None => Application::default(),
    };
    let mut request: AddToCaseRequest = application.addition(args.deadline_ms);
    request.case_number = args.case;
    request.officer = args.officer;
    request.papers.extend(args.paper);
    request.papers_about = args.about.unwrap_or(request.papers_about);
    let case = client(folder).await?.add(request).await?.into_inner();
    show::outcome(output, case)
}

fn read(file: &Path) -> Result<Application, Error> {
    let unusable = |source| Error::FileUnusable { doing: "read", path: file.to_owned(), source };
    let mut text = Zeroizing::new(String::new());
    if file == Path::new("-") {
        io::stdin().lock().read_to_string(&mut text).map_err(unusable)?;
    } else {
        text = Zeroizing::new(fs::read_to_string(file).map_err(unusable)?);
    }
    application::parse(&text, &file.display().to_string()).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::FileWrong(lines.join("\n"))
    })
}

fn digest_of(form: &str) -> Result<Vec<u8>, Error> {
    match data_encoding::HEXLOWER_PERMISSIVE.decode(form.as_bytes()) {
        Ok(digest) if digest.len() == 32 => Ok(digest),
        _ => {
            let content =
                fs::read(form).map_err(|source| Error::FileUnusable { doing: "read", path: form.into(), source })?;
            Ok(Sha256::digest(content).to_vec())
        }
    }
}
