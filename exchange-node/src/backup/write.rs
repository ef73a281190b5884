//! Writing a backup of the running node. Blocks for as long as reading all of it takes; nothing waits for it. Out of scope: the
//! file's form (`backup`), and bringing it back.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    Error, Manifest,
    format::{FrameWriter, Kind, PIECE, put_pair},
};
use crate::{
    bulk, config, custody, events, findings,
    journal::{Dump, JournalError, PairSink},
    logs::{self, Logs, RECOVERED},
    office_keys,
    parts::Parts,
    pending,
    records::aliases,
    sources::folder::MEMORY_ENDING,
    subject_log,
};

/// The files of the folder that are in a backup as they are, where they exist. The table of former numbers is among them
/// also where the records are not: without it a subject's record is not found, and absence would be told.
pub(super) const FILES: [&str; 11] = [
    config::FILE_NAME,
    events::FILE_NAME,
    office_keys::FILE_NAME,
    pending::FILE_NAME,
    aliases::FILE_NAME,
    subject_log::FILE_NAME,
    "anchors.jsonl",
    "decisions.jsonl",
    "reconciled.json",
    "sources.toml",
    "usage.json",
];

/// The folders that are in a backup with all their files.
const FOLDERS: [&str; 2] = [findings::FOLDER, "invitations"];

/// The archive of the directory within a backup.
pub(super) const DIRECTORY: &str = "directory.archive";

/// Writes a backup of the node with these parts.
///
/// # Errors
///
/// Something cannot be read, or the target takes no more.
pub fn write(parts: &Parts, with_records: bool, target: impl Write) -> Result<(), Error> {
    let config = &parts.config;
    let manifest = Manifest {
        made_ms: parts.clock.now_ms(),
        exchange: config.exchange.to_string(),
        department: config.department.to_string(),
        node: config.node.to_string(),
        authority_key: config.authority_key.to_string(),
        log: parts.logs.of.number,
        records: with_records,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut writer = FrameWriter::begin(target)?;
    let text = serde_json::to_vec(&manifest).map_err(io::Error::from)?;
    writer.frame(Kind::Manifest, &text)?;
    // Before the evidence: a decision or an anchor that is newer than the log would say more than it holds.
    for name in FILES {
        file(&mut writer, &config.dir, Path::new(name))?;
    }
    for folder in FOLDERS {
        files_under(&mut writer, &config.dir, Path::new(folder))?;
    }
    // Before the evidence too: a batch that was sent must be in it. Its files are encrypted under the months' keys.
    for name in bulk::files_of_all(&config.dir)? {
        file(&mut writer, &config.dir, &name)?;
    }
    budget(&mut writer, parts)?;
    // Before the evidence too: what a later duty would point to must be in it.
    store(&mut writer, parts.duties.pairs())?;
    directory(&mut writer, parts)?;
    evidence(&mut writer, &parts.logs)?;
    for kept in parts.custody.list()? {
        for name in [custody::NOTE, custody::CHECKPOINT] {
            file(&mut writer, &config.dir, &kept.place.join(name))?;
        }
        let folder = kept.place.join("journal");
        log(&mut writer, &folder.to_string_lossy(), kept.number, |sink| kept.journal.dump(sink))?;
    }
    if with_records {
        // Before the records: a file that counts as handled must be in them. And never without them: nobody would take it
        // in again.
        for name in folder_memories(&config.dir)? {
            file(&mut writer, &config.dir, &name)?;
        }
        for held in parts.records.held() {
            for name in &held.files {
                file(&mut writer, &config.dir, name)?;
            }
            let mut sink = StoreSink::new(&mut writer, held.store.clone());
            sink.begin("");
            for pair in held.pairs() {
                let (key, value) = pair.map_err(|error| Error::Write(io::Error::other(error)))?;
                sink.pair(&key, &value);
            }
            sink.finish()?;
        }
    }
    Ok(writer.finish()?)
}

/// What was guessed so far, with the key under which subjects are known in it.
fn budget<W: Write>(writer: &mut FrameWriter<W>, parts: &Parts) -> Result<(), Error> {
    store(writer, parts.budget.log())?;
    for (name, source) in parts.budget.files()? {
        copy(writer, &name, source)?;
    }
    Ok(())
}

fn store<W: Write>(writer: &mut FrameWriter<W>, (folder, pairs): (PathBuf, sled::Iter)) -> Result<(), Error> {
    let mut sink = StoreSink::new(writer, folder);
    sink.begin("");
    for pair in pairs {
        let (key, value) = pair.map_err(|error| Error::Write(io::Error::other(error)))?;
        sink.pair(&key, &value);
    }
    sink.finish()
}

/// Every evidence log of the node, and what came back from others.
fn evidence<W: Write>(writer: &mut FrameWriter<W>, logs: &Logs) -> Result<(), Error> {
    for earlier in &logs.earlier {
        log(writer, &logs::folder_of(earlier.of.number), earlier.of.number, |sink| earlier.journal.dump(sink))?;
    }
    if let Some(recovered) = logs.recovered() {
        log(writer, RECOVERED, 0, |sink| recovered.dump(sink))?;
    }
    let number = logs.of.number;
    log(writer, &logs::folder_of(number), number, |sink| logs.current.dump(sink))
}

fn log<W: Write>(
    writer: &mut FrameWriter<W>,
    folder: &str,
    number: u32,
    dump: impl FnOnce(&mut dyn PairSink) -> Result<Dump, JournalError>,
) -> Result<(), Error> {
    let mut sink = StoreSink::new(writer, PathBuf::from(folder));
    let dumped = dump(&mut sink)?;
    sink.finish()?;
    let whole = json!({ "log": number, "folder": folder, "size": dumped.size, "root": dumped.root.to_string() });
    Ok(writer.frame(Kind::Log, whole.to_string().as_bytes())?)
}

/// The view, as a file that anybody may verify; nothing where none was read yet.
fn directory<W: Write>(writer: &mut FrameWriter<W>, parts: &Parts) -> Result<(), Error> {
    if parts.view.seen().size() == 0 {
        return Ok(());
    }
    writer.frame(Kind::File, DIRECTORY.as_bytes())?;
    let pieces = Pieces { writer, gathered: Vec::with_capacity(PIECE) };
    parts.view.export(0, pieces).map_err(|error| Error::Write(io::Error::other(error)))
}

fn files_under<W: Write>(writer: &mut FrameWriter<W>, dir: &Path, folder: &Path) -> Result<(), Error> {
    let items = match fs::read_dir(dir.join(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        items => items?,
    };
    for item in items {
        let item = item?;
        let path = folder.join(item.file_name());
        match item.file_type()? {
            kind if kind.is_dir() => files_under(writer, dir, &path)?,
            kind if kind.is_file() => file(writer, dir, &path)?,
            _ => {}
        }
    }
    Ok(())
}

/// What is remembered of the files that were taken from watched folders.
pub(super) fn folder_memories(dir: &Path) -> io::Result<Vec<PathBuf>> {
    const RECORDS: &str = "records";
    let items = match fs::read_dir(dir.join(RECORDS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        items => items?,
    };
    let mut found = Vec::new();
    for item in items {
        let name = item?.file_name();
        if name.to_string_lossy().ends_with(MEMORY_ENDING) {
            found.push(Path::new(RECORDS).join(name));
        }
    }
    Ok(found)
}

fn file<W: Write>(writer: &mut FrameWriter<W>, dir: &Path, name: &Path) -> Result<(), Error> {
    match File::open(dir.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        source => copy(writer, name, source?),
    }
}

fn copy<W: Write>(writer: &mut FrameWriter<W>, name: &Path, mut source: File) -> Result<(), Error> {
    writer.frame(Kind::File, name.to_string_lossy().as_bytes())?;
    let mut piece = vec![0; PIECE];
    loop {
        match source.read(&mut piece)? {
            0 => return Ok(()),
            length => writer.frame(Kind::Data, &piece[..length])?,
        }
    }
}

/// Gathers what is written into frames.
struct Pieces<'a, W: Write> {
    writer: &'a mut FrameWriter<W>,
    gathered: Vec<u8>,
}

impl<W: Write> Write for Pieces<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        for piece in self.gathered.chunks(PIECE) {
            self.writer.frame(Kind::Data, piece)?;
        }
        self.gathered.clear();
        Ok(())
    }
}

/// Gathers the pairs of databases into frames.
struct StoreSink<'a, W: Write> {
    writer: &'a mut FrameWriter<W>,
    folder: PathBuf,
    gathered: Vec<u8>,
    fault: Option<io::Error>,
}

impl<'a, W: Write> StoreSink<'a, W> {
    fn new(writer: &'a mut FrameWriter<W>, folder: PathBuf) -> Self {
        Self { writer, folder, gathered: Vec::new(), fault: None }
    }

    fn finish(mut self) -> Result<(), Error> {
        self.flush();
        self.fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn flush(&mut self) {
        if !self.gathered.is_empty() {
            let written = self.writer.frame(Kind::Pairs, &self.gathered);
            self.keep(written);
            self.gathered.clear();
        }
    }

    fn keep(&mut self, outcome: io::Result<()>) {
        self.fault = self.fault.take().or(outcome.err());
    }
}

impl<W: Write> PairSink for StoreSink<'_, W> {
    fn begin(&mut self, month: &str) -> bool {
        self.flush();
        let path = if month.is_empty() { self.folder.clone() } else { self.folder.join(month) };
        let begun = self.writer.frame(Kind::Store, path.to_string_lossy().as_bytes());
        self.keep(begun);
        self.fault.is_none()
    }

    fn pair(&mut self, key: &[u8], value: &[u8]) -> bool {
        put_pair(&mut self.gathered, key, value);
        if self.gathered.len() >= PIECE {
            self.flush();
        }
        self.fault.is_none()
    }
}
