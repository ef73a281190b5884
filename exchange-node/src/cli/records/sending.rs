//! Reads a file and hands it to the node in pieces, a few ahead of it and no more.
//!
//! **Invariant:** where the file breaks off, what was sent does not end like a whole file.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use proto::admin::v1::{ImportRecordsHeader, ImportRecordsRequest};
use tokio::sync::mpsc;

use super::super::Error;

/// How much of the file travels in one message.
const CHUNK_BYTES: usize = 64 * 1024;

/// Reads the file on a thread of its own, a few chunks ahead of the node and no more.
pub(super) fn send(
    mut source: Box<dyn Read + Send>,
    header: ImportRecordsHeader,
    path: PathBuf,
) -> (mpsc::Receiver<ImportRecordsRequest>, mpsc::Receiver<Error>) {
    let (chunks, receiver) = mpsc::channel(4);
    let (faults, fault) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let mut first = Some(header);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let length = match source.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    let _ = faults.blocking_send(Error::FileUnusable { doing: "read", path, source });
                    // Nothing may be imported of half a file: a message that the node must refuse, instead of an end.
                    let _ = chunks.blocking_send(ImportRecordsRequest { header: Some(aborting()), chunk: Vec::new() });
                    return;
                }
            };
            let request = ImportRecordsRequest { header: first.take(), chunk: buffer[..length].to_vec() };
            let is_first = request.header.is_some();
            // The node hangs up when it has seen enough.
            if (length > 0 || is_first) && chunks.blocking_send(request).is_err() || length == 0 {
                return;
            }
        }
    });
    (receiver, fault)
}

/// A second header where a piece of the file should be: the node gives the import up.
fn aborting() -> ImportRecordsHeader {
    ImportRecordsHeader::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(usize);

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the disk is gone"));
            }
            self.0 -= 1;
            buffer[0] = b'x';
            Ok(1)
        }
    }

    /// The end of what is sent must not look like the end of the file where the file broke off.
    #[tokio::test]
    async fn a_file_that_breaks_off_is_not_sent_as_whole() {
        let header = ImportRecordsHeader { service: "s".into(), ..Default::default() };
        let (mut chunks, mut fault) = send(Box::new(Broken(2)), header, "people.csv".into());
        let mut sent = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            sent.push(chunk);
        }
        assert_eq!(sent.len(), 3);
        assert!(sent[0].header.is_some() && sent[1].header.is_none());
        assert!(sent[2].header.is_some(), "the last one makes the node give up");
        assert!(matches!(fault.recv().await, Some(Error::FileUnusable { .. })));
    }

    #[tokio::test]
    async fn an_empty_file_is_sent_as_a_header_alone() {
        let header = ImportRecordsHeader { service: "s".into(), ..Default::default() };
        let (mut chunks, _fault) = send(Box::new(io::empty()), header, "people.csv".into());
        assert!(chunks.recv().await.unwrap().header.is_some());
        assert!(chunks.recv().await.is_none());
    }
}
