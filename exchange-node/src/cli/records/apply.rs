//! `records apply` and `records aliases`: changes of an own service's records, and the table of former numbers. Out of
//! scope: what a row must look like (`crate::records`).

use std::path::PathBuf;

use clap::Args;
use proto::admin::v1::{ImportRecordsHeader, RecordChanges};
use serde_json::json;

use super::super::{Error, Exit, node::Folder, output::Output};
use super::{FileFormat, SWITCHED, bad_rows_json, hand_over, tell_bad_rows};

pub(super) const HELP: &str = "Without --upsert or --delete a column of the file says for each row what it does: upsert or delete. Without --key a\n\
    subject has one row; where it can have several, --key names the columns that tell them apart.\n\n\
    Examples:\n  exchange-node records apply marriage-registration tonight.csv\n  \
    exchange-node records apply property-ownership sold.csv --delete --key certificate_no\n  \
    exchange-node records apply property-ownership new.xlsx --upsert --key certificate_no --all-changes";

pub(super) const ALIASES_HELP: &str = "A CSV file with the columns number and former_number, each with its scheme before it (scheme, former_scheme) where\n\
    that is not resident_id. Fifteen-digit resident numbers become eighteen everywhere and need no line.\n\n\
    Examples:\n  exchange-node records aliases former-numbers.csv";

/// What `records apply` needs.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The own service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The file with the changes; `-` reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Every row is put in, or takes the place of the one with its key.
    #[arg(long, conflicts_with_all = ["delete", "operation"])]
    upsert: bool,
    /// Every row is taken out; only the columns of the key are needed.
    #[arg(long, conflicts_with = "operation")]
    delete: bool,
    /// The column that says what each row does.
    #[arg(long, value_name = "COLUMN", default_value = "operation")]
    operation: String,
    /// The columns that, with the subject, tell one row from another.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    key: Vec<String>,
    /// The file holds every change since the last import or change, so that what it does not name is as fresh.
    #[arg(long)]
    all_changes: bool,
    /// How the file is written; without it the file's ending tells.
    #[arg(long, value_name = "FORMAT")]
    format: Option<FileFormat>,
    /// The service's major version; without it the newest.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    major: u32,
}

/// What `records aliases` needs.
#[derive(Debug, Args)]
pub struct AliasesArgs {
    /// The table, CSV; `-` reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) async fn apply(args: ApplyArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let (operation, operation_column) = match (args.upsert, args.delete) {
        (true, _) => ("upsert", String::new()),
        (_, true) => ("delete", String::new()),
        _ => ("", args.operation),
    };
    let changes =
        RecordChanges { operation: operation.to_owned(), operation_column, key: args.key, complete: args.all_changes };
    let header = ImportRecordsHeader {
        service: args.service.clone(),
        major_version: args.major,
        changes: Some(changes),
        ..ImportRecordsHeader::default()
    };
    let last = hand_over(&args.file, args.format, header, folder, output).await?;
    let refused = tell_bad_rows(&args.file, &last);
    let machine = json!({
        "service": args.service,
        "applied": last.stage == SWITCHED,
        "rows": last.rows,
        "upserted": last.upserted,
        "deleted": last.deleted,
        "missed": last.missed,
        "bad_rows": bad_rows_json(&last),
        "bad_row_count": last.bad_row_count,
        "quarantined_subjects": last.quarantined,
        "refused": last.refused,
    });
    output.show(&machine, || match refused {
        true => format!("Nothing was changed: {}", last.refused),
        false => {
            let missed = match last.missed {
                0 => String::new(),
                missed => format!(" ({missed} to take out were not there)"),
            };
            let (service, rows, upserted, deleted) = (&args.service, last.rows, last.upserted, last.deleted);
            format!("{upserted} rows put in and {deleted} taken out{missed}: {rows} rows are in use for {service}.")
        }
    });
    Ok(if refused { Exit::Refused } else { Exit::Done })
}

pub(super) async fn aliases(args: AliasesArgs, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let header = ImportRecordsHeader { aliases: true, ..ImportRecordsHeader::default() };
    let last = hand_over(&args.file, Some(FileFormat::Csv), header, folder, output).await?;
    let refused = tell_bad_rows(&args.file, &last);
    let machine = json!({
        "imported": last.stage == SWITCHED,
        "former_numbers": last.rows,
        "bad_rows": bad_rows_json(&last),
        "bad_row_count": last.bad_row_count,
        "refused": last.refused,
    });
    output.show(&machine, || match refused {
        true => format!("Nothing was imported: {}", last.refused),
        false => format!("{} former numbers are known.", last.rows),
    });
    Ok(if refused { Exit::Refused } else { Exit::Done })
}
