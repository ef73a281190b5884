//! Texts and files: a checkpoint, a file of records, a service description.

use std::sync::LazyLock;

use exchange_node::{
    records::{Format, Records},
    service_file,
};
use trust::{
    fixture::{NOW_MS, key, marriage_registration},
    key::Signer,
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        note::SignedNote,
    },
    service::Service,
};

use super::messages::TOWN;

/// A checkpoint as a signed note. What is read is written as it was; what opens was signed.
pub(super) fn checkpoint(input: &[u8]) {
    if let Ok(note) = SignedNote::parse(input) {
        assert_eq!(note.to_string().as_bytes(), input, "a note is written as it was read");
        if let Ok(read) = Checkpoint::parse(note.text()) {
            assert_eq!(read.to_text(), note.text(), "a checkpoint is written as it was read");
        }
    }
    if let Ok(opened) = checkpoint::open(input, &LOG) {
        let (read, signed) = (opened.checkpoint(), &TOWN.directory);
        assert_eq!((read.size(), read.root()), (signed.size(), signed.root()), "nobody signed this");
    }
}

/// A file of records. It is imported or refused with a line; bad rows set aside are never answered from.
pub(super) fn csv(input: &[u8]) {
    let dir = tempfile::Builder::new().tempdir_in(SCRATCH.as_path()).expect("a folder");
    let records = Records::open(dir.path()).expect("an empty store");
    let (format, input) = match input.split_first() {
        Some((b'{', _)) => (Format::JsonLines, input),
        _ => (Format::Csv, input),
    };
    for quarantine in [false, true] {
        match records.import(&SERVICE, format, quarantine, input, &|_| {}, NOW_MS) {
            Ok(report) => {
                assert!(quarantine || report.bad_rows.is_empty(), "bad rows were imported");
                let held: u64 = records.status().iter().map(|status| status.rows).sum();
                assert_eq!(held, report.rows, "what is held is what was reported");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A service description. What is read passes the checks of the directory, and is read as the same when written.
pub(super) fn service_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match service_file::parse(text, "service.yaml") {
        Ok(service) => {
            let written = service_file::render(&service);
            let again = service_file::parse(&written, "service.yaml");
            assert_eq!(again.expect("what is written is read"), service);
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            // A line ends as YAML says (5.4): with a line feed, a carriage return, or both.
            let ends = text.replace("\r\n", "\n").matches(['\n', '\r']).count();
            let lines = u64::try_from(ends).expect("a number") + 2;
            assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)), "{problems:?}");
        }
    }
}

/// In memory where the system has such a folder: a store is made for every input.
static SCRATCH: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
});

static LOG: LazyLock<LogKey> = LazyLock::new(|| {
    let origin = trust::directory::origin(&trust::fixture::exchange_id());
    LogKey::new(origin.parse().expect("a name"), key("log").public_key().as_bytes()).expect("the log's key")
});

static SERVICE: LazyLock<Service> = LazyLock::new(|| {
    let published = marriage_registration();
    Service::check(&published, trust::ids::Digest::new([0; 32])).expect("the fixture's service")
});
