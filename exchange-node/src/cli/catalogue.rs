//! `catalogue`: exchanges the entries of the data catalogue with whoever keeps one, as CSV for spreadsheet programs and as
//! JSON, so that the exchange is no parallel catalogue. Out of scope: what an entry is (`trust::service::catalogue`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use host::table::{self, Format};
use proto::{
    admin::v1::{DescribeAction, ServiceState},
    registry::v1::ServicePublished,
};
use serde_json::{Value, json};
use trust::service::catalogue::{self, COLUMNS, DataItem, Entry};

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    service,
};
use crate::service_file::{Starting, StartingAttribute};

/// The commands about the data catalogue.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes the directory's data services as entries of a data catalogue: CSV or JSON, as the file's name says.
    #[command(
        after_help = "Examples:\n  exchange-node catalogue export catalogue.csv\n  exchange-node catalogue export catalogue.json --provider civil-affairs"
    )]
    Export {
        /// The file to write; its name ends with .csv or .json.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only this department's.
        #[arg(long, value_name = "DEPARTMENT")]
        provider: Option<String>,
    },
    /// Reads another catalogue's entries of this department: says what differs, fills in catalogue codes, and writes a
    /// service description to begin with for each entry that is no service yet.
    #[command(
        after_help = "Examples:\n  exchange-node catalogue import national.csv --out services\n  exchange-node catalogue import national.csv --out services --fill-codes"
    )]
    Import {
        /// The file to read; its name ends with .csv or .json.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The folder for new service descriptions; it is made where it does not exist. Without it none are written.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Publishes the codes of services that have none yet; each is a compatible change.
        #[arg(long)]
        fill_codes: bool,
    },
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output, now_ms: u64) -> Result<Exit, Error> {
    match command {
        Command::Export { file, provider } => export(&file, provider.unwrap_or_default(), folder, output).await,
        Command::Import { file, out, fill_codes } => {
            import(&file, out.as_deref(), fill_codes, folder, output, now_ms).await
        }
    }
}

async fn export(file: &Path, provider: String, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let format = Format::of(file).map_err(|error| Error::Usage(error.to_string()))?;
    let entries: Vec<Entry> = service::all(folder, provider).await?.iter().map(entry).collect();
    let bytes = to_bytes(format, &entries).map_err(|error| Error::Usage(error.to_string()))?;
    fs::write(file, bytes).map_err(|source| Error::FileUnusable { doing: "write", path: file.to_owned(), source })?;
    let machine = json!({ "file": file.display().to_string(), "entries": entries.len() });
    output.show(&machine, || format!("{} entries are in {}.", entries.len(), file.display()));
    Ok(Exit::Done)
}

/// The catalogue's entry of a service of the directory.
fn entry(state: &ServiceState) -> Entry {
    Entry {
        provider: state.provider_name.clone(),
        state: state.state.clone(),
        ..Entry::of_description(&state.service.clone().unwrap_or_default())
    }
}

fn to_bytes(format: Format, entries: &[Entry]) -> Result<Vec<u8>, table::Error> {
    let columns: Vec<table::Column<'_>> = COLUMNS
        .iter()
        .map(|column| table::Column { key: column.key, heading: column.heading, is_list: column.is_list })
        .collect();
    let cells = |entry: &Entry| match format {
        Format::Csv => entry.cells_for_people(),
        Format::Json => entry.cells(),
    };
    table::write(format, &columns, &entries.iter().map(cells).collect::<Vec<_>>())
}

fn from_bytes(format: Format, bytes: &[u8]) -> Result<Vec<Entry>, table::Error> {
    let entry = |row: table::Row| Entry::from_cells(row.iter().map(|(name, cell)| (name.as_str(), cell.as_slice())));
    Ok(table::read(format, bytes)?.into_iter().map(entry).collect())
}

/// What became of one entry.
#[derive(Debug, Default)]
struct Outcome {
    /// The entry, for people.
    entry: String,
    /// The service it stands for; empty where there is none yet.
    service: String,
    /// `same`, `differs`, `code_filled`, `new`, `written`, `of_others`, or `failed`.
    result: &'static str,
    /// Why it failed.
    trouble: String,
    /// Field, what the directory says, what the catalogue says.
    differences: Vec<(String, String, String)>,
    /// The service description that was written.
    file: String,
    /// What has still to be filled in there.
    missing: Vec<String>,
}

async fn import(
    file: &Path,
    out: Option<&Path>,
    fill_codes: bool,
    folder: &Folder,
    output: Output,
    now_ms: u64,
) -> Result<Exit, Error> {
    let format = Format::of(file).map_err(|error| Error::Usage(error.to_string()))?;
    let bytes =
        fs::read(file).map_err(|source| Error::FileUnusable { doing: "read", path: file.to_owned(), source })?;
    let entries =
        from_bytes(format, &bytes).map_err(|error| Error::FileWrong(format!("{}: {error}", file.display())))?;
    let status = folder.admin().await?.status(proto::admin::v1::StatusRequest {}).await?.into_inner();
    let own = service::all(folder, status.department.clone()).await?;
    let own: Vec<ServiceState> = own.into_iter().filter(|state| state.ends_ms == 0 || now_ms < state.ends_ms).collect();
    let my_name = own.first().map(|state| state.provider_name.clone()).unwrap_or_default();
    if let Some(out) = out {
        fs::create_dir_all(out).map_err(|source| Error::FileUnusable {
            doing: "write",
            path: out.to_owned(),
            source,
        })?;
    }

    let mut outcomes = Vec::new();
    // The first failure says how the command ends; the entries after it are done all the same.
    let mut exit = Exit::Done;
    for (index, theirs) in entries.iter().enumerate() {
        let label = if theirs.name.is_empty() { format!("entry {}", index + 1) } else { theirs.name.clone() };
        let mut outcome = Outcome { entry: label, ..Outcome::default() };
        if !is_mine(theirs, &status.department, &my_name) {
            outcome.result = "of_others";
        } else if let Some(state) = matching(&own, theirs) {
            let newest = newest(state);
            outcome.service = format!("{} v{}", newest.service, newest.major_version);
            compare(&mut outcome, &entry(state), theirs);
            if fill_codes && fills_code(&newest, theirs) {
                let filled = fill(newest, theirs, folder).await;
                if keep(&mut outcome, &mut exit, filled).is_some() {
                    outcome.result = "code_filled";
                }
            }
        } else {
            outcome.result = "new";
            if let Some(out) = out {
                let starting = starting(theirs, index);
                let path = out.join(format!("{}.yaml", starting.service));
                outcome.service.clone_from(&starting.service);
                let written = service::write_new(&starting, &path);
                if let Some(missing) = keep(&mut outcome, &mut exit, written) {
                    outcome.missing = missing;
                    outcome.file = path.display().to_string();
                    outcome.result = "written";
                }
            }
        }
        outcomes.push(outcome);
    }
    let absent: Vec<String> = own
        .iter()
        .filter(|state| !entries.iter().any(|theirs| matching(std::slice::from_ref(state), theirs).is_some()))
        .filter_map(|state| state.service.as_ref())
        .map(|service| format!("{} v{}", service.service, service.major_version))
        .collect();
    output.show(&to_json(&outcomes, &absent), || to_text(&outcomes, &absent));
    Ok(exit)
}

/// What was done for an entry; where it failed, the entry says why, and the others go on.
fn keep<T>(outcome: &mut Outcome, exit: &mut Exit, done: Result<T, Error>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(error) => {
            outcome.result = "failed";
            outcome.trouble = error.to_string();
            if *exit == Exit::Done {
                *exit = error.exit();
            }
            None
        }
    }
}

/// The description that a change begins with: the one that waits for the authority's review, where there is one. What is
/// published anew takes its place, and must not lose what it says.
fn newest(state: &ServiceState) -> ServicePublished {
    state.change.as_ref().or(state.service.as_ref()).cloned().unwrap_or_default()
}

/// An entry that names no department is taken for one's own: departments' own catalogues have no such column.
fn is_mine(entry: &Entry, me: &str, my_name: &str) -> bool {
    match (entry.provider_id.as_str(), entry.provider.as_str()) {
        ("", "") => true,
        ("", name) => my_name.is_empty() || name == my_name,
        (id, _) => id == me,
    }
}

/// The own service that an entry stands for: of the same code, or else of the same id, or else of the same name; the
/// newest major version.
fn matching<'a>(own: &'a [ServiceState], entry: &Entry) -> Option<&'a ServiceState> {
    let of = |fits: &dyn Fn(&ServicePublished) -> bool| {
        let found = own.iter().filter(|state| state.service.as_ref().is_some_and(fits));
        found.max_by_key(|state| state.service.as_ref().map(|service| service.major_version))
    };
    let same = |one: &str, other: &str| !one.is_empty() && one == other;
    of(&|service| same(&service.catalogue_code, &entry.catalogue_code))
        .or_else(|| of(&|service| same(&service.service, &entry.service)))
        .or_else(|| of(&|service| service.name.as_ref().is_some_and(|name| same(&name.zh, &entry.name))))
}

fn compare(outcome: &mut Outcome, ours: &Entry, theirs: &Entry) {
    let differences = ours.differences(theirs);
    outcome.result = if differences.is_empty() { "same" } else { "differs" };
    outcome.differences =
        differences.into_iter().map(|(column, here, there)| (column.key.to_owned(), here, there)).collect();
}

fn fills_code(published: &ServicePublished, theirs: &Entry) -> bool {
    published.catalogue_code.is_empty() && !theirs.catalogue_code.is_empty()
}

async fn fill(mut published: ServicePublished, theirs: &Entry, folder: &Folder) -> Result<(), Error> {
    published.catalogue_code.clone_from(&theirs.catalogue_code);
    let response = service::describe(published, DescribeAction::Change, folder).await?;
    match response.statement.and_then(|statement| statement.refused) {
        Some(refusal) => Err(Error::Refused(refusal)),
        None => Ok(()),
    }
}

/// What an entry tells of a new service. An id that the catalogue does not have is made up from its place.
fn starting(entry: &Entry, index: usize) -> Starting {
    let fitting = |text: &str| text.parse::<trust::ids::ServiceName>().is_ok();
    let service = match entry.service.as_str() {
        known if fitting(known) => known.to_owned(),
        _ => format!("service-{}", index + 1),
    };
    let types = ["string", "boolean", "integer", "decimal", "date", "list"];
    let attribute = |(index, item): (usize, &DataItem)| StartingAttribute {
        name: if item.name.is_empty() { format!("item_{}", index + 1) } else { item.name.clone() },
        label: item.label.clone(),
        // The members of an enumeration are not in a catalogue.
        ty: if types.contains(&item.ty.as_str()) { item.ty.clone() } else { String::new() },
        members: Vec::new(),
    };
    let known =
        |key: &str, word: &str| if catalogue::word_for_people(key, word) == word { "" } else { word }.to_owned();
    Starting {
        service,
        name: entry.name.clone(),
        name_en: entry.name_en.clone(),
        catalogue_code: entry.catalogue_code.clone(),
        subjects: Vec::new(),
        legal_bases: entry.legal_bases.clone(),
        sharing: known("sharing", &entry.sharing),
        forbidden_by: entry.forbidden_by.clone(),
        conditions: entry.conditions.clone(),
        classification: entry.classification.clone(),
        update_cycle: known("update_cycle", &entry.update_cycle),
        contact: entry.contact.clone(),
        replaces_proofs: entry.replaces_proofs.clone(),
        attributes: entry.data_items.iter().enumerate().map(attribute).collect(),
    }
}

fn to_json(outcomes: &[Outcome], absent: &[String]) -> Value {
    let entries = outcomes.iter().map(|outcome| {
        let differences = outcome
            .differences
            .iter()
            .map(|(field, here, there)| json!({ "field": field, "directory": here, "catalogue": there }));
        json!({
            "entry": outcome.entry,
            "service": outcome.service,
            "result": outcome.result,
            "differences": differences.collect::<Vec<_>>(),
            "file": outcome.file,
            "missing": outcome.missing,
            "error": outcome.trouble,
        })
    });
    let failed = outcomes.iter().filter(|outcome| outcome.result == "failed").count();
    json!({ "entries": entries.collect::<Vec<_>>(), "failed": failed, "not_in_the_catalogue": absent })
}

fn to_text(outcomes: &[Outcome], absent: &[String]) -> String {
    let row = |outcome: &Outcome| {
        let told = match outcome.result {
            "same" => "says the same".to_owned(),
            "code_filled" => "its code is published".to_owned(),
            "differs" => "differs".to_owned(),
            "failed" => format!("FAILED: {}", outcome.trouble),
            "new" => "no service yet: --out DIR writes a description".to_owned(),
            "written" => format!("{}: {} things to fill in", outcome.file, outcome.missing.len()),
            _ => "another department's".to_owned(),
        };
        let differences = outcome.differences.iter().map(|(field, here, there)| {
            let here = if here.is_empty() { "nothing" } else { here };
            format!("{field}: {here} here, {there} there")
        });
        [outcome.entry.clone(), outcome.service.clone(), told, differences.collect::<Vec<_>>().join("\n")]
    };
    let table = output::table(["entry", "service", "result", "differences"], outcomes.iter().map(row));
    let absent = match absent {
        [] => String::new(),
        absent => format!("\nServices that the catalogue does not have: {}.", absent.join(", ")),
    };
    let failed = match outcomes.iter().filter(|outcome| outcome.result == "failed").count() {
        0 => String::new(),
        count => format!("\n{count} of {} entries failed; the others are done.", outcomes.len()),
    };
    format!("{table}{absent}{failed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service_file;

    fn state() -> ServiceState {
        ServiceState {
            service: Some(trust::fixture::marriage_registration()),
            state: "answering".into(),
            provider_name: "民政局".into(),
            ..ServiceState::default()
        }
    }

    #[test]
    fn entries_come_back_from_both_formats() {
        let entries = [entry(&state())];
        for format in [Format::Csv, Format::Json] {
            assert_eq!(from_bytes(format, &to_bytes(format, &entries).unwrap()).unwrap(), entries, "{format:?}");
        }
        let text = String::from_utf8(to_bytes(Format::Csv, &entries).unwrap()).unwrap();
        assert!(text.contains("目录代码,名称") && text.contains("有条件共享"), "{text}");
    }

    #[test]
    fn an_entry_stands_for_the_service_of_its_code_id_or_name() {
        let own = [state()];
        let by = |entry: Entry| matching(&own, &entry).is_some();
        assert!(by(Entry { service: "marriage-registration".into(), ..Entry::default() }));
        assert!(by(Entry { name: "婚姻登记核验".into(), ..Entry::default() }));
        assert!(!by(Entry { name: "火化信息核验".into(), ..Entry::default() }));
        assert!(!by(Entry::default()));
        let mine = |id: &str, name: &str| {
            is_mine(
                &Entry { provider_id: id.into(), provider: name.into(), ..Entry::default() },
                "civil-affairs",
                "民政局",
            )
        };
        assert!(mine("", "") && mine("", "民政局") && mine("civil-affairs", "改了名") && !mine("", "税务局"));
        assert!(!mine("taxation", "民政局"));
    }

    /// Publishing a code would else put the service as it answers now in the place of what waits for its review.
    #[test]
    fn a_code_is_filled_into_the_change_that_waits() {
        let change = ServicePublished { contact: "0890".into(), ..trust::fixture::marriage_registration() };
        let waiting = ServiceState { change: Some(change), ..state() };
        assert_eq!(newest(&waiting).contact, "0890");
        assert_eq!(newest(&state()), trust::fixture::marriage_registration());
        let theirs = Entry { catalogue_code: "890000-1".into(), ..Entry::default() };
        let filled = ServicePublished { catalogue_code: "890000-1".into(), ..trust::fixture::marriage_registration() };
        assert!(fills_code(&newest(&waiting), &theirs));
        // A code that waits already is not filled in once more.
        assert!(!fills_code(&newest(&ServiceState { change: Some(filled), ..state() }), &theirs));
    }

    #[test]
    fn one_entry_that_fails_is_named_and_ends_the_command_with_its_code() {
        let (mut outcome, mut exit) = (Outcome { entry: "火化信息核验".into(), ..Outcome::default() }, Exit::Done);
        assert_eq!(keep(&mut outcome, &mut exit, Ok(7)), Some(7));
        assert_eq!((exit, outcome.result), (Exit::Done, ""));
        assert_eq!(keep::<()>(&mut outcome, &mut exit, Err(Error::Usage("f.yaml exists already".into()))), None);
        assert_eq!((exit, outcome.result), (Exit::Usage, "failed"));
        let outcomes = [outcome, Outcome { result: "same", ..Outcome::default() }];
        let text = to_text(&outcomes, &[]);
        assert!(text.contains("FAILED: f.yaml exists already") && text.contains("1 of 2 entries failed"), "{text}");
        assert_eq!(to_json(&outcomes, &[])["failed"], 1);
    }

    #[test]
    fn an_entry_becomes_a_description_that_says_what_it_lacks() {
        let entry = Entry {
            catalogue_code: "890000-0007".into(),
            name: "火化信息核验".into(),
            legal_bases: vec!["殡葬管理条例 6".into()],
            sharing: "conditional".into(),
            update_cycle: "每周不定".into(),
            data_items: ["是否火化", "火化日期 (cremated_on, date)"].map(DataItem::from_text).to_vec(),
            ..Entry::default()
        };
        let starting = starting(&entry, 2);
        assert_eq!((starting.service.as_str(), starting.update_cycle.as_str()), ("service-3", ""));
        let text = service_file::template(&starting, "f.yaml");
        let published = service_file::parse(&text, "f.yaml").unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
        assert_eq!(published.catalogue_code, "890000-0007");
        let names: Vec<&str> = published.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
        assert_eq!(names, ["item_1", "cremated_on"]);
    }
}
