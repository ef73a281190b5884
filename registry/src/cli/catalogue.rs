//! `registry catalogue`: the directory's data services as entries of a data catalogue, for other platforms, and another
//! catalogue held against them. The authority cannot publish for a department, so what differs goes to the departments.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use comfy_table::{LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use host::table::{self, Format};
use proto::admin::v1 as wire;
use serde_json::{Value, json};
use trust::service::catalogue::{COLUMNS, Entry};

use super::{
    Cli,
    operate::{Failure, Shown},
    review,
};

/// `registry catalogue …`.
#[derive(Debug, Subcommand)]
pub enum CatalogueCommand {
    /// Write the directory's data services as entries of a data catalogue: CSV or JSON, as the file's name says.
    #[command(after_help = "Example:\n  registry catalogue export catalogue.csv")]
    Export {
        /// The file to write; its name ends with .csv or .json.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only this department's.
        #[arg(long, value_name = "DEPARTMENT", default_value = "", hide_default_value = true)]
        provider: String,
    },
    /// Hold another catalogue's entries against the directory: what differs, which codes are missing, what only one of the
    /// two has. Each department takes over what is its own with `exchange-node catalogue import`.
    #[command(after_help = "Example:\n  registry catalogue import national.csv --split departments")]
    Import {
        /// The file to read; its name ends with .csv or .json.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Also writes each department's entries into a file of its own in this folder, to be handed to it.
        #[arg(long, value_name = "DIR")]
        split: Option<PathBuf>,
    },
}

pub(super) async fn run(cli: &Cli, command: &CatalogueCommand) -> Result<Shown, Failure> {
    match command {
        CatalogueCommand::Export { file, provider } => {
            let format = format_of(file)?;
            let entries: Vec<Entry> = review::catalogue(cli, provider).await?.iter().map(entry).collect();
            write(file, format, &entries)?;
            let json = json!({ "file": file.display().to_string(), "entries": entries.len() });
            Ok(Shown { json, text: format!("{} entries are in {}.", entries.len(), file.display()) })
        }
        CatalogueCommand::Import { file, split } => {
            let format = format_of(file)?;
            let bytes =
                fs::read(file).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
            let theirs =
                read(format, &bytes).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
            let ours: Vec<Entry> = review::catalogue(cli, "").await?.iter().map(entry).collect();
            let compared = compare(&ours, &theirs);
            let files = match split {
                Some(folder) => write_split(folder, format, &ours, &theirs)?,
                None => Vec::new(),
            };
            Ok(shown(&compared, &files))
        }
    }
}

fn format_of(file: &Path) -> Result<Format, Failure> {
    Format::of(file).map_err(|error| Failure::Usage(error.to_string()))
}

fn entry(service: &wire::CatalogueService) -> Entry {
    Entry {
        provider: service.provider_name.clone(),
        state: service.state.clone(),
        ..Entry::of_description(&service.service.clone().unwrap_or_default())
    }
}

fn write(file: &Path, format: Format, entries: &[Entry]) -> Result<(), Failure> {
    let columns: Vec<table::Column<'_>> = COLUMNS
        .iter()
        .map(|column| table::Column { key: column.key, heading: column.heading, is_list: column.is_list })
        .collect();
    let cells = |entry: &Entry| match format {
        Format::Csv => entry.cells_for_people(),
        Format::Json => entry.cells(),
    };
    let bytes =
        table::write(format, &columns, &entries.iter().map(cells).collect::<Vec<_>>()).map_err(Failure::failed)?;
    fs::write(file, bytes).map_err(|error| Failure::Usage(format!("cannot write {}: {error}", file.display())))
}

fn read(format: Format, bytes: &[u8]) -> Result<Vec<Entry>, table::Error> {
    let entry = |row: table::Row| Entry::from_cells(row.iter().map(|(name, cell)| (name.as_str(), cell.as_slice())));
    Ok(table::read(format, bytes)?.into_iter().map(entry).collect())
}

/// The directory's entry that another catalogue's entry stands for: of the same code, or else of the same department and
/// service or name.
fn matching<'a>(ours: &'a [Entry], theirs: &Entry) -> Option<&'a Entry> {
    let same = |one: &str, other: &str| !one.is_empty() && one == other;
    let by_code = ours.iter().find(|entry| same(&entry.catalogue_code, &theirs.catalogue_code));
    by_code.or_else(|| {
        ours.iter().rev().find(|entry| {
            let provider = same(&entry.provider_id, &theirs.provider_id) || same(&entry.provider, &theirs.provider);
            provider && (same(&entry.service, &theirs.service) || same(&entry.name, &theirs.name))
        })
    })
}

/// Name and provider, ours, and what differs: field, ours, theirs.
type ComparedEntry = (String, String, Option<String>, Vec<(String, String, String)>);

struct Compared {
    /// Each of the other catalogue's entries: its name and provider, ours, and what differs.
    entries: Vec<ComparedEntry>,
    /// Services that the other catalogue does not have.
    absent: Vec<String>,
}

fn compare(ours: &[Entry], theirs: &[Entry]) -> Compared {
    let path = |entry: &Entry| format!("{}/{} {}", entry.provider_id, entry.service, entry.version);
    let entries = theirs.iter().map(|entry| {
        let found = matching(ours, entry);
        let differences = found.map(|own| own.differences(entry)).unwrap_or_default();
        let differences = differences.into_iter().map(|(column, here, there)| (column.key.to_owned(), here, there));
        let provider = if entry.provider.is_empty() { &entry.provider_id } else { &entry.provider };
        (entry.name.clone(), provider.clone(), found.map(path), differences.collect())
    });
    let is_absent = |own: &&Entry| {
        own.state != "withdrawn" && !theirs.iter().any(|entry| matching(std::slice::from_ref(*own), entry).is_some())
    };
    Compared { entries: entries.collect(), absent: ours.iter().filter(is_absent).map(path).collect() }
}

/// Each department's part of the other catalogue, in a file of its own.
fn write_split(folder: &Path, format: Format, ours: &[Entry], theirs: &[Entry]) -> Result<Vec<String>, Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::Usage(format!("cannot make {}: {error}", folder.display())))?;
    let mut parts: std::collections::BTreeMap<String, Vec<Entry>> = std::collections::BTreeMap::new();
    for entry in theirs {
        let by_name = ours.iter().find(|own| !entry.provider.is_empty() && own.provider == entry.provider);
        let department =
            match (entry.provider_id.parse::<trust::ids::DepartmentId>(), matching(ours, entry).or(by_name)) {
                (Ok(id), _) => id.to_string(),
                (Err(_), Some(own)) => own.provider_id.clone(),
                (Err(_), None) => "unknown".to_owned(),
            };
        parts.entry(department).or_default().push(entry.clone());
    }
    let ending = if format == Format::Csv { "csv" } else { "json" };
    let mut files = Vec::new();
    for (department, entries) in parts {
        let file = folder.join(format!("{department}.{ending}"));
        write(&file, format, &entries)?;
        files.push(file.display().to_string());
    }
    Ok(files)
}

fn shown(compared: &Compared, files: &[String]) -> Shown {
    let entries: Vec<Value> = compared
        .entries
        .iter()
        .map(|(name, provider, own, differences)| {
            let differences = differences
                .iter()
                .map(|(field, here, there)| json!({ "field": field, "directory": here, "catalogue": there }));
            json!({
                "entry": name,
                "provider": provider,
                "service": own,
                "result": result(own, differences.len()),
                "differences": differences.collect::<Vec<_>>(),
            })
        })
        .collect();
    let json = json!({ "entries": entries, "not_in_the_catalogue": compared.absent, "files": files });
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["entry", "of", "service", "result", "differences"]);
    for (name, provider, own, differences) in &compared.entries {
        let told = differences.iter().map(|(field, here, there)| {
            let here = if here.is_empty() { "nothing" } else { here };
            format!("{field}: {here} here, {there} there")
        });
        table.add_row([
            name.clone(),
            provider.clone(),
            own.clone().unwrap_or_default(),
            result(own, differences.len()).to_owned(),
            told.collect::<Vec<_>>().join("\n"),
        ]);
    }
    let mut text = table.trim_fmt();
    if !compared.absent.is_empty() {
        text += &format!("\nServices that the catalogue does not have: {}.", compared.absent.join(", "));
    }
    if !files.is_empty() {
        text += &format!("\nFor the departments: {}.", files.join(", "));
    }
    Shown { json, text }
}

fn result(own: &Option<String>, differences: usize) -> &'static str {
    match (own, differences) {
        (None, _) => "new",
        (Some(_), 0) => "same",
        (Some(_), _) => "differs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Vec<Entry> {
        let service = wire::CatalogueService {
            service: Some(trust::fixture::marriage_registration()),
            provider_name: "民政局".into(),
            state: "answering".into(),
        };
        vec![entry(&service)]
    }

    #[test]
    fn another_catalogue_is_held_against_the_directory() {
        let known = Entry {
            catalogue_code: "890000-1".into(),
            name: "婚姻登记核验".into(),
            provider: "民政局".into(),
            ..Entry::default()
        };
        let new = Entry { name: "火化信息核验".into(), provider: "民政局".into(), ..Entry::default() };
        let compared = compare(&ours(), &[known.clone(), new.clone()]);
        assert_eq!(compared.entries[0].3[0].0, "catalogue_code");
        assert!(compared.entries[1].2.is_none() && compared.absent.is_empty());
        let other = Entry { provider: "税务局".into(), ..known.clone() };
        let compared = compare(&ours(), &[other]);
        assert!(compared.entries[0].2.is_none(), "another department's service of the same name is another");
        assert_eq!(compared.absent, ["civil-affairs/marriage-registration 1.0"]);

        let dir = tempfile::tempdir().unwrap();
        let files = write_split(dir.path(), Format::Json, &ours(), &[known, new]).unwrap();
        assert_eq!(files.len(), 1);
        assert!(files[0].ends_with("civil-affairs.json"), "{files:?}");
        assert_eq!(read(Format::Json, &fs::read(&files[0]).unwrap()).unwrap().len(), 2);
    }
}
