//! An import over the admin socket: pieces of a file come in, and how it goes comes back. The import itself reads on a
//! thread of its own and holds the sender back when it is slower.
//!
//! **Invariant:** what broke off is never taken for the whole file. A connection that ends, or a second header where a
//! piece should be, is an error of reading, and then nothing is imported.

use std::io::{self, Read};

use proto::admin::v1::{BadRow, ImportRecordsProgress, ImportRecordsRequest, RecordChanges};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;
use trust::service::Service;

use crate::{
    records::{
        self, ChangeOperation, ChangeReport, Changes, Columns, Format, ImportError, ImportReport, Phase, Progress,
    },
    sources::{Sources, mapping::Mapping},
};

/// How many pieces wait for the import, and how many reports for the operator.
const WAITING: usize = 8;

/// How a file is written.
pub(super) fn format(name: &str) -> Result<Format, Status> {
    match name {
        "csv" => Ok(Format::Csv),
        "jsonl" => Ok(Format::JsonLines),
        "xlsx" => Ok(Format::Xlsx),
        _ => Err(Status::invalid_argument("format: must be csv, jsonl or xlsx")),
    }
}

/// How the columns and values of a file for `service` are read.
pub(super) fn mapping(sources: &Sources, service: &Service) -> Result<Mapping, Status> {
    let mapping = sources.mapping_of_imports(service);
    // A service whose columns do not stand is refused by the import itself, by field.
    if let Ok(columns) = Columns::of(service)
        && let Some(stray) = mapping.stray(&columns)
    {
        let why = format!("sources.toml says how {stray} is read, and the service has no such column");
        return Err(Status::failed_precondition(why));
    }
    Ok(mapping)
}

/// How a file of changes is to be read.
pub(super) fn changes(told: RecordChanges) -> Result<Changes, Status> {
    let operation = match (told.operation.as_str(), told.operation_column.as_str()) {
        ("", "") => return Err(Status::invalid_argument("changes: say what the rows do, or which column says it")),
        ("", column) => ChangeOperation::Column(column.to_owned()),
        ("upsert", "") => ChangeOperation::Upsert,
        ("delete", "") => ChangeOperation::Delete,
        _ => return Err(Status::invalid_argument("changes.operation: must be upsert or delete, or in a column")),
    };
    Ok(Changes { operation, key: told.key, is_complete: told.complete })
}

/// What an import or a change did.
#[derive(Default)]
pub(super) struct Done {
    report: ImportReport,
    upserted: u64,
    deleted: u64,
    missed: u64,
}

impl From<ImportReport> for Done {
    fn from(report: ImportReport) -> Self {
        Self { report, ..Self::default() }
    }
}

impl From<ChangeReport> for Done {
    fn from(changed: ChangeReport) -> Self {
        let ChangeReport { rows, subjects, upserted, deleted, missed, quarantined_subjects } = changed;
        let report = ImportReport { rows, subjects, quarantined_subjects, ..ImportReport::default() };
        Self { report, upserted, deleted, missed }
    }
}

/// Runs an import of the pieces that come, beginning with `first`, and gives what is to be told.
pub(super) fn run<P, I>(first: Vec<u8>, pieces: P, import: I) -> mpsc::Receiver<Result<ImportRecordsProgress, Status>>
where
    P: Stream<Item = Result<ImportRecordsRequest, Status>> + Send + Unpin + 'static,
    I: FnOnce(PieceReader, &dyn Fn(Progress)) -> Result<Done, ImportError> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING);
    let (piece_sender, piece_receiver) = mpsc::channel(WAITING);
    tokio::spawn(forward(pieces, piece_sender));
    tokio::task::spawn_blocking(move || {
        let reader = PieceReader { pieces: piece_receiver, piece: first, position: 0, broken: false };
        let last = std::cell::Cell::new(0);
        let told = |progress: Progress| {
            last.set(progress.bytes_read.max(last.get()));
            // Progress that nobody waits for is dropped; the end is not.
            let _ = sender.try_send(Ok(under_way(progress, last.get())));
        };
        let outcome = import(reader, &told);
        let _ = sender.blocking_send(ended(outcome, last.get()));
    });
    receiver
}

async fn forward<P>(mut pieces: P, sender: mpsc::Sender<io::Result<Vec<u8>>>)
where
    P: Stream<Item = Result<ImportRecordsRequest, Status>> + Unpin,
{
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(ImportRecordsRequest { header: None, chunk }) => Ok(chunk),
            Ok(_) => Err(io::Error::other("who sent it gave up")),
            Err(status) => Err(io::Error::other(format!("the connection ended: {}", status.message()))),
        };
        let broken = piece.is_err();
        if sender.send(piece).await.is_err() || broken {
            return;
        }
    }
    // An empty piece is the end; without it the end would look like a task that was dropped.
    let _ = sender.send(Ok(Vec::new())).await;
}

/// Reads the pieces as one file.
pub(super) struct PieceReader {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    position: usize,
    broken: bool,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::Error::other("the file broke off"));
        }
        if self.position == self.piece.len() {
            let next = self.pieces.blocking_recv();
            self.piece = match next {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => {
                    self.broken = true;
                    return Err(error);
                }
                None => {
                    self.broken = true;
                    return Err(io::Error::other("the file broke off"));
                }
            };
            self.position = 0;
            if self.piece.is_empty() {
                // Whoever reads on after the end finds the end again.
                self.pieces = ended_pieces();
                return Ok(0);
            }
        }
        let length = buffer.len().min(self.piece.len() - self.position);
        buffer[..length].copy_from_slice(&self.piece[self.position..self.position + length]);
        self.position += length;
        Ok(length)
    }
}

/// Pieces of a file that has come to its end.
fn ended_pieces() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(1);
    let _ = sender.try_send(Ok(Vec::new()));
    receiver
}

fn under_way(progress: Progress, bytes: u64) -> ImportRecordsProgress {
    let stage = match progress.phase {
        Phase::Reading => "reading",
        Phase::Loading => "loading",
    };
    ImportRecordsProgress { bytes, rows: progress.rows, stage: stage.to_owned(), ..ImportRecordsProgress::default() }
}

fn ended(outcome: Result<Done, ImportError>, bytes: u64) -> Result<ImportRecordsProgress, Status> {
    let refused = |why: String| ImportRecordsProgress {
        bytes,
        stage: "refused".to_owned(),
        refused: why,
        ..ImportRecordsProgress::default()
    };
    match outcome {
        Ok(Done { report, upserted, deleted, missed }) => Ok(ImportRecordsProgress {
            bytes,
            rows: report.rows,
            stage: "switched".to_owned(),
            bad_rows: bad_rows(report.bad_rows),
            bad_row_count: report.quarantined_rows,
            quarantined: report.quarantined_subjects,
            refused: String::new(),
            upserted,
            deleted,
            missed,
        }),
        Err(error @ ImportError::Write(_)) => {
            tracing::error!(%error, "an import failed");
            Err(Status::internal(error.to_string()))
        }
        Err(error) => {
            let mut told = refused(error.to_string());
            match error {
                ImportError::BadRows { bad_rows: rows, rows: count } => {
                    told.refused = format!("{count} bad rows; the records from before stay in use");
                    told.bad_rows = bad_rows(rows);
                    told.bad_row_count = count;
                }
                ImportError::Columns { problems } => {
                    told.refused = "the columns do not fit the service; the records from before stay in use".to_owned();
                    told.bad_row_count = u64::try_from(problems.len()).unwrap_or(u64::MAX);
                    told.bad_rows = bad_rows(problems);
                }
                ImportError::File { line, reason } => {
                    told.refused = "the file cannot be read as rows; the records from before stay in use".to_owned();
                    told.bad_row_count = 1;
                    told.bad_rows = vec![BadRow { line, field: String::new(), reason }];
                }
                _ => {}
            }
            Ok(told)
        }
    }
}

fn bad_rows(rows: Vec<records::BadRow>) -> Vec<BadRow> {
    rows.into_iter().map(|row| BadRow { line: row.line, field: row.field, reason: row.reason }).collect()
}

#[cfg(test)]
mod tests {
    use proto::admin::v1::ImportRecordsHeader;

    use super::*;

    fn piece(chunk: &str) -> Result<ImportRecordsRequest, Status> {
        Ok(ImportRecordsRequest { header: None, chunk: chunk.into() })
    }

    /// Reads everything that comes, as an import would.
    async fn read(pieces: Vec<Result<ImportRecordsRequest, Status>>) -> (ImportRecordsProgress, String) {
        let (sender, text) = std::sync::mpsc::channel();
        let import = move |mut reader: PieceReader, progress: &dyn Fn(Progress)| {
            let mut read = String::new();
            let outcome = reader.read_to_string(&mut read);
            let _ = sender.send(read);
            outcome.map_err(ImportError::Read)?;
            progress(Progress { phase: Phase::Loading, bytes_read: 7, rows: 2, total_rows: Some(2) });
            Ok(Done::from(ImportReport { rows: 2, subjects: 2, ..ImportReport::default() }))
        };
        let mut told = run(b"a".to_vec(), tokio_stream::iter(pieces), import);
        let mut last = None;
        while let Some(progress) = told.recv().await {
            last = Some(progress.unwrap());
        }
        (last.unwrap(), text.recv().unwrap())
    }

    #[tokio::test]
    async fn the_pieces_are_one_file() {
        let (last, text) = read(vec![piece("bc"), piece("d")]).await;
        assert_eq!(text, "abcd");
        assert_eq!((last.stage.as_str(), last.rows, last.bytes), ("switched", 2, 7));
    }

    #[tokio::test]
    async fn what_broke_off_is_not_the_whole_file() {
        let gave_up = ImportRecordsRequest { header: Some(ImportRecordsHeader::default()), chunk: Vec::new() };
        for end in [Ok(gave_up), Err(Status::cancelled("gone"))] {
            let (last, _) = read(vec![piece("bc"), end]).await;
            assert_eq!(last.stage, "refused");
            assert!(last.refused.contains("could not be read to its end"), "{}", last.refused);
        }
    }

    #[test]
    fn what_is_wrong_with_the_file_is_told_by_line() {
        let bad = records::BadRow { line: 3, field: "income".into(), reason: "no number".into() };
        let told = ended(Err(ImportError::BadRows { bad_rows: vec![bad.clone()], rows: 9 }), 5).unwrap();
        assert_eq!((told.bad_row_count, told.bad_rows[0].line, told.bytes), (9, 3, 5));
        let told = ended(Err(ImportError::Columns { problems: vec![bad] }), 5).unwrap();
        assert_eq!(told.bad_rows[0].field, "income");
        let told = ended(Err(ImportError::File { line: 4, reason: "no UTF-8".into() }), 5).unwrap();
        assert_eq!((told.bad_rows[0].line, told.stage.as_str()), (4, "refused"));
        assert!(ended(Err(ImportError::Write("full".into())), 5).is_err(), "our own failure is no refusal");
    }

    #[test]
    fn formats_are_named() {
        assert!(format("csv").is_ok() && format("jsonl").is_ok() && format("xlsx").is_ok());
        assert_eq!(format("xls").unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
