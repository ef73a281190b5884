//! `registry profile` and `registry board`: the settings that every node follows, and what is overdue. Out of scope: the
//! file's form (`profile_file`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use comfy_table::{LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use proto::{
    admin::v1::{self as wire, supervision_client::SupervisionClient},
    registry::v1::{OfficialDecision, Profile},
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    Cli, events,
    operate::{Failure, Shown, channel, moment, said_json, waits},
};
use crate::profile_file;

/// `registry profile …`.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// Show the settings as they are now, as a profile file.
    #[command(after_help = "Example:\n  registry profile show > profile.toml")]
    Show,
    /// Check a profile file, then sign and publish its settings. Every node follows them at once.
    #[command(after_help = "Example:\n  registry profile set profile.toml --officer 0007 --document 宁数〔2026〕12号")]
    Set(SetArguments),
    /// Check a profile file and its calendars, and say everything that is wrong. Needs no running registry.
    #[command(after_help = "Example:\n  registry profile check profile.toml")]
    Check {
        /// The profile, TOML.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Write a profile file with the usual settings, or the form for one year's holiday calendar, each line with a comment.
    #[command(
        after_help = "Example:\n  registry profile template > profile.toml\n  registry profile template --calendar 2027 > holidays-2027.toml"
    )]
    Template {
        /// Write the form for this year's holiday calendar instead.
        #[arg(long, value_name = "YEAR", value_parser = clap::value_parser!(i16).range(2000..=2999))]
        calendar: Option<i16>,
    },
}

/// `registry profile set`.
#[derive(Args, Debug)]
pub struct SetArguments {
    /// The profile, TOML.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The officer who decided it, by the authority's own officer number.
    #[arg(long, default_value = "")]
    pub officer: String,
    /// The document it rests on.
    #[arg(long, default_value = "")]
    pub document: String,
}

/// `registry board`.
#[derive(Args, Debug)]
pub struct BoardArguments {
    /// Also what is not overdue yet.
    #[arg(long)]
    pub all: bool,
}

pub(super) async fn profile(cli: &Cli, command: &ProfileCommand) -> Result<Shown, Failure> {
    match command {
        ProfileCommand::Show => {
            let shown = client(cli).await?.show_profile(wire::ShowProfileRequest {}).await?.into_inner();
            let profile = shown.profile.unwrap_or_default();
            let json = json!({ "profile": to_json(&profile), "statement": shown.index, "notes": shown.notes });
            let notes: String = shown.notes.iter().map(|note| format!("# Note: {note}.\n")).collect();
            Ok(Shown { json, text: format!("{notes}{}", profile_file::render(&profile).trim_end()) })
        }
        ProfileCommand::Check { file } => {
            let profile = read(file)?;
            let json = json!({ "profile": to_json(&profile) });
            Ok(Shown { json, text: format!("{} is a profile; nothing was published.", file.display()) })
        }
        ProfileCommand::Template { calendar } => {
            let text = match calendar {
                Some(year) => profile_file::calendar_template(*year),
                None => profile_file::template(),
            };
            Ok(Shown { json: json!({ "text": text }), text: text.trim_end().to_owned() })
        }
        ProfileCommand::Set(SetArguments { file, officer, document }) => {
            let profile = read(file)?;
            let decision = (!officer.is_empty() || !document.is_empty()).then(|| OfficialDecision {
                officer: officer.clone(),
                document: document.clone(),
                second_officer: String::new(),
            });
            let request = wire::SetProfileRequest { profile: Some(profile), decision };
            let set = client(cli).await?.set_profile(request).await?.into_inner();
            let json = json!({ "unchanged": set.unchanged, "notes": set.notes });
            let done = match set.waiting.as_str() {
                "" if set.unchanged => {
                    format!("The settings are so already (statement {} of the directory).", set.index)
                }
                "" => format!("The settings hold from now on (statement {} of the directory).", set.index),
                id => waits("The change of the settings", id),
            };
            let notes: String = set.notes.iter().map(|note| format!("\nNote: {note}.")).collect();
            Ok(Shown { json: said_json(json, set.index, &set.waiting), text: done + &notes })
        }
    }
}

pub(super) async fn board(cli: &Cli, arguments: &BoardArguments) -> Result<Shown, Failure> {
    let board = client(cli).await?.board(wire::BoardRequest { all: arguments.all }).await?.into_inner();
    let json: Vec<Value> = board
        .due
        .iter()
        .map(|due| {
            let clock = due.clock.clone().unwrap_or_default();
            json!({
                "kind": due.kind,
                "object": due.object,
                "owner": due.owner,
                "waiting": due.waiting,
                "about": due.about,
                "since_ms": due.since_ms,
                "clock": {
                    "what": clock.what,
                    "ends_ms": clock.ends_ms,
                    "last_day": clock.last_day,
                    "days_left": clock.days_left,
                    "colour": clock.colour,
                },
            })
        })
        .collect();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["owes a reply", "to", "about", "what", "since", "until", "clock"]);
    for due in &board.due {
        let clock = due.clock.clone().unwrap_or_default();
        let (owner, waiting) = (due.owner.clone(), due.waiting.clone());
        let stands = clock_text(&clock);
        table.add_row([
            owner,
            waiting,
            due.about.clone(),
            due.kind.clone(),
            moment(due.since_ms),
            clock.last_day,
            stands,
        ]);
    }
    let answers: Vec<Value> = board
        .overdue_answers
        .iter()
        .map(|late| json!({ "department": late.department, "count": late.count, "last_due_ms": late.last_due_ms }))
        .collect();
    let late: String = board
        .overdue_answers
        .iter()
        .map(|late| {
            format!(
                "\n{} did not answer {} deferred question(s) in time, the last due at {}.",
                late.department,
                late.count,
                moment(late.last_due_ms)
            )
        })
        .collect();
    let (told, note) = events::note(cli).await?;
    let text = match board.due.is_empty() {
        true if arguments.all => "Nobody owes a reply.".to_owned(),
        true if !late.is_empty() => "No reply is overdue.".to_owned(),
        true => "Nothing is overdue.".to_owned(),
        false => format!("{}\n{} overdue.", table.trim_fmt(), board.overdue),
    };
    let json = json!({ "due": json, "overdue": board.overdue, "overdue_answers": answers, "told_events": told });
    Ok(Shown { json, text: format!("{text}{late}{note}") })
}

/// A clock for people: its colour, and how many working days are left or have passed.
pub(super) fn clock_text(clock: &wire::Clock) -> String {
    let days = |count: i64| if count == 1 { "1 working day".to_owned() } else { format!("{count} working days") };
    match clock.days_left {
        late if clock.colour == "red" => format!("RED, {} late", days(-late)),
        left if clock.colour == "amber" => format!("AMBER, {} left", days(left)),
        left => format!("{} left", days(left)),
    }
}

fn to_json(profile: &Profile) -> Value {
    // Read back from the file's own form, so that nothing is left out of one of the two.
    let text = profile_file::render(profile);
    toml::from_str::<Value>(&text).unwrap_or(Value::String(text))
}

fn read(file: &Path) -> Result<Profile, Failure> {
    let unreadable = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("cannot read {path}: {error}")
    };
    let text = fs::read_to_string(file).map_err(unreadable(file)).map_err(Failure::Usage)?;
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    let open = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(unreadable(&path))
    };
    profile_file::parse(&text, &file.display().to_string(), &open).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::Usage(lines.join("\n"))
    })
}

async fn client(cli: &Cli) -> Result<SupervisionClient<Channel>, Failure> {
    Ok(SupervisionClient::new(channel(cli).await?))
}
