//! `records`: hands a file of records to the running node and shows how the import goes. Out of scope: what a row must
//! look like (`crate::records`).

mod apply;
mod check;
mod sending;
mod show;

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use proto::admin::v1::{BadRow, ImportRecordsHeader, ImportRecordsProgress};
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;

use crate::records::encoding::{self, EncodingError};

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};

/// The commands about records.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replaces the records of an own service by those of a file, whole or not at all.
    #[command(
        after_help = "The first line of a CSV file names the columns; the subject's column bears the name of its scheme.\n\n\
                      Examples:\n  exchange-node records import marriage-registration people.csv\n  \
                      exchange-node records import marriage-registration people.jsonl --quarantine"
    )]
    Import(ImportArgs),
    /// Looks one subject up as a question would, and shows every step: query, rows, mapping, verdicts.
    #[command(after_help = "Nothing of it is logged; the subject is read from standard input.\n\nExample:\n  \
                      exchange-node records check marriage-registration --subject-stdin --claim marital_status=single")]
    Check(check::CheckArgs),
    /// Changes the records of an own service: rows of a file are put in or taken out, all of them or none.
    #[command(after_help = apply::HELP)]
    Apply(apply::ApplyArgs),
    /// Replaces the department's table of former numbers, by which a subject is found under every number it has had.
    #[command(after_help = apply::ALIASES_HELP)]
    Aliases(apply::AliasesArgs),
    /// Shows what is in use for an own service, and what became of the files of its folder.
    #[command(after_help = show::HELP)]
    Show(show::ShowArgs),
}

/// What `records import` needs.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The own service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The file; `-` reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Sets bad rows aside, so that the rest is imported; their subjects then answer UNAVAILABLE.
    #[arg(long)]
    quarantine: bool,
    /// How the file is written; without it the file's ending tells.
    #[arg(long, value_name = "FORMAT")]
    format: Option<FileFormat>,
    /// The service's major version; without it the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    major: u32,
}

/// How a file of records is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FileFormat {
    /// Comma-separated values with a header row, in UTF-8 or GB18030.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// The first visible sheet of a workbook.
    Xlsx,
}

impl FileFormat {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Xlsx => "xlsx",
        }
    }

    fn of(file: &Path) -> Result<Self, Error> {
        match file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("xlsx") => Ok(Self::Xlsx),
            _ => Err(Error::Usage(format!(
                "how is {} written? Say --format csv, --format jsonl or --format xlsx",
                file.display()
            ))),
        }
    }
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let args = match command {
        Command::Check(args) => return check::run(args, folder, output).await,
        Command::Import(args) => args,
        Command::Apply(args) => return apply::apply(args, folder, output).await,
        Command::Aliases(args) => return apply::aliases(args, folder, output).await,
        Command::Show(args) => return show::run(args, folder, output).await,
    };
    let header = ImportRecordsHeader {
        service: args.service.clone(),
        major_version: args.major,
        quarantine: args.quarantine,
        ..ImportRecordsHeader::default()
    };
    let last = hand_over(&args.file, args.format, header, folder, output).await?;
    report(output, &args, &last)
}

/// Hands a file to the node, and says how it ended.
async fn hand_over(
    file: &Path,
    format: Option<FileFormat>,
    header: ImportRecordsHeader,
    folder: &Folder,
    output: Output,
) -> Result<ImportRecordsProgress, Error> {
    let format = format.map_or_else(|| FileFormat::of(file), Ok)?;
    let (source, size): (Box<dyn Read + Send>, u64) = open(file, format)?;
    let mut node = folder.admin().await?;
    let header = ImportRecordsHeader { format: format.as_str().to_owned(), size, ..header };
    let (chunks, mut fault) = sending::send(source, header, file.to_owned());
    let bar = progress_bar(output, size);
    let answered = node.import_records(ReceiverStream::new(chunks)).await;
    let outcome = match answered {
        Ok(answer) => follow(answer.into_inner(), &bar).await,
        Err(status) => Err(status.into()),
    };
    bar.finish_and_clear();
    // That the file broke off explains better than that the node then missed the rest.
    if let Ok(error) = fault.try_recv() {
        return Err(error);
    }
    outcome
}

fn open(file: &Path, format: FileFormat) -> Result<(Box<dyn Read + Send>, u64), Error> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin()), 0));
    }
    let unusable = |source| Error::FileUnusable { doing: "read", path: file.to_owned(), source };
    let opened = File::open(file).map_err(unusable)?;
    let metadata = opened.metadata().map_err(unusable)?;
    if metadata.is_dir() {
        return Err(unusable(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    // A pipe can be read once, and what it is in shows only at its end.
    if format != FileFormat::Csv || !metadata.is_file() {
        return Ok((Box::new(opened), metadata.len()));
    }
    match encoding::open(file) {
        Ok(text) => Ok((text, metadata.len())),
        Err(EncodingError::Io(source)) => Err(unusable(source)),
        Err(error) => Err(Error::FileWrong(format!("{}: {error}", file.display()))),
    }
}

async fn follow(
    mut stream: tonic::Streaming<ImportRecordsProgress>,
    bar: &ProgressBar,
) -> Result<ImportRecordsProgress, Error> {
    let mut last = None;
    while let Some(progress) = stream.message().await? {
        bar.set_position(progress.bytes);
        bar.set_message(format!("{}, {} rows", progress.stage, progress.rows));
        last = Some(progress);
    }
    match last {
        Some(last) if matches!(last.stage.as_str(), SWITCHED | REFUSED) => Ok(last),
        _ => Err(Error::Status(tonic::Status::internal("the node ended the import without saying how; see its log"))),
    }
}

const SWITCHED: &str = "switched";
const REFUSED: &str = "refused";

fn progress_bar(output: Output, size: u64) -> ProgressBar {
    if output.is_json() || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        0 => (ProgressBar::no_length(), "{spinner} {bytes} {msg}"),
        size => (ProgressBar::new(size), "{wide_bar} {bytes}/{total_bytes} {msg}"),
    };
    // A template that cannot be read would only cost the bar its looks.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn report(output: Output, args: &ImportArgs, last: &ImportRecordsProgress) -> Result<Exit, Error> {
    let refused = tell_bad_rows(&args.file, last);
    output.show(&report_json(args, last), || match refused {
        true => format!("Nothing was imported: {}", last.refused),
        false => {
            let aside = match (last.bad_row_count, last.quarantined) {
                (0, _) => String::new(),
                (rows, subjects) => format!(
                    "; {rows} bad rows were set aside, and {subjects} subjects answer UNAVAILABLE until they are put right"
                ),
            };
            format!("{} rows are in use for {}{aside}.", last.rows, args.service)
        }
    });
    Ok(if refused { Exit::Refused } else { Exit::Done })
}

/// Says what is wrong with the rows of a file; and whether it was refused.
fn tell_bad_rows(file: &Path, last: &ImportRecordsProgress) -> bool {
    let file = file.display().to_string();
    for row in &last.bad_rows {
        output::complain(&bad_row(&file, row));
    }
    let shown = u64::try_from(last.bad_rows.len()).unwrap_or(u64::MAX);
    if last.bad_row_count > shown {
        output::complain(&format!("{file}: and {} bad rows more", last.bad_row_count - shown));
    }
    last.stage == REFUSED
}

fn bad_rows_json(last: &ImportRecordsProgress) -> Vec<Value> {
    last.bad_rows.iter().map(|row| json!({ "line": row.line, "field": row.field, "reason": row.reason })).collect()
}

fn report_json(args: &ImportArgs, last: &ImportRecordsProgress) -> Value {
    let bad_rows = bad_rows_json(last);
    json!({
        "service": args.service,
        "imported": last.stage == SWITCHED,
        "rows": last.rows,
        "bytes": last.bytes,
        "bad_rows": bad_rows,
        "bad_row_count": last.bad_row_count,
        "quarantined_subjects": last.quarantined,
        "refused": last.refused,
    })
}

/// One bad row as editors understand it: `file:line: field: reason`.
fn bad_row(file: &str, row: &BadRow) -> String {
    match row.field.as_str() {
        "" => format!("{file}:{}: {}", row.line, row.reason),
        field => format!("{file}:{}: {field}: {}", row.line, row.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(file: &str) -> ImportArgs {
        ImportArgs { service: "s".into(), file: file.into(), quarantine: false, format: None, major: 0 }
    }

    #[test]
    fn the_ending_tells_the_format() {
        let format = |file: &str| FileFormat::of(Path::new(file)).ok();
        assert_eq!(format("people.CSV"), Some(FileFormat::Csv));
        assert_eq!(format("people.jsonl"), Some(FileFormat::Jsonl));
        assert_eq!(format("people.ndjson"), Some(FileFormat::Jsonl));
        assert_eq!(format("people.xlsx"), Some(FileFormat::Xlsx));
        assert_eq!(format("people.xls"), None);
        assert_eq!(format("-"), None);
    }

    #[test]
    fn a_bad_row_names_file_line_field_and_reason() {
        let row = BadRow { line: 7, field: "resident_id".into(), reason: "the check digit is wrong".into() };
        assert_eq!(bad_row("people.csv", &row), "people.csv:7: resident_id: the check digit is wrong");
        let whole = BadRow { line: 8, field: String::new(), reason: "too few cells".into() };
        assert_eq!(bad_row("people.csv", &whole), "people.csv:8: too few cells");
    }

    #[test]
    fn a_refused_import_ends_with_its_own_code() {
        let last = ImportRecordsProgress {
            stage: REFUSED.into(),
            refused: "1 bad rows".into(),
            bad_rows: vec![BadRow { line: 7, field: "f".into(), reason: "r".into() }],
            bad_row_count: 1,
            ..Default::default()
        };
        let machine = report_json(&args("people.csv"), &last);
        assert_eq!(machine["imported"], false);
        assert_eq!(machine["bad_rows"][0]["line"], 7);
        assert_eq!(report(Output::new(true), &args("people.csv"), &last).unwrap(), Exit::Refused);
        let done = ImportRecordsProgress { stage: SWITCHED.into(), rows: 3, ..Default::default() };
        assert_eq!(report(Output::new(true), &args("people.csv"), &done).unwrap(), Exit::Done);
    }
}
