//! A file that travels in pieces between async code and code that reads or writes it on a blocking thread, each side
//! holding the other back. Out of scope: what carries the pieces.

use std::io::{self, Read, Write};

use tokio::sync::mpsc;

/// How large the pieces are that a [`ChunkWriter`] sends, in bytes.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Writes, on a blocking thread, what somebody else sends on piece by piece.
#[derive(Debug)]
pub struct ChunkWriter {
    pieces: mpsc::Sender<Vec<u8>>,
    waiting: Vec<u8>,
}

impl ChunkWriter {
    /// A writer whose pieces come out at the other end of the channel. Call [`Write::flush`] at the end.
    pub fn new(pieces: mpsc::Sender<Vec<u8>>) -> Self {
        Self { pieces, waiting: Vec::with_capacity(CHUNK_BYTES) }
    }

    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.waiting, Vec::with_capacity(CHUNK_BYTES));
        self.pieces.blocking_send(piece).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads any more"))
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..taken]);
        if self.waiting.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() { Ok(()) } else { self.send() }
    }
}

/// Passes the pieces of a gRPC stream on to a [`ChunkReader`], with the end.
pub async fn forward<Piece>(
    mut pieces: tonic::Streaming<Piece>,
    bytes_of: impl Fn(Piece) -> Vec<u8> + Send,
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
) {
    loop {
        let piece = match pieces.message().await {
            Ok(Some(piece)) => match bytes_of(piece) {
                bytes if bytes.is_empty() => continue,
                bytes => Ok(bytes),
            },
            // The end; without it the file would look as if it had broken off.
            Ok(None) => Ok(Vec::new()),
            Err(status) => Err(io::Error::other(format!("the connection ended: {}", status.message()))),
        };
        let is_last = !piece.as_ref().is_ok_and(|bytes| !bytes.is_empty());
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

/// Reads, on a blocking thread, pieces as one file. The sender ends the file with an empty piece; a channel that closes
/// before, or a piece that is an error, is an error of reading: what broke off is never taken for the whole.
#[derive(Debug)]
pub struct ChunkReader {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    position: usize,
    ended: bool,
}

impl ChunkReader {
    /// A reader of the pieces that come through the channel.
    pub fn new(pieces: mpsc::Receiver<io::Result<Vec<u8>>>) -> Self {
        Self { pieces, piece: Vec::new(), position: 0, ended: false }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.piece.len() && !self.ended {
            let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "the file broke off");
            self.piece = self.pieces.blocking_recv().ok_or_else(broken)??;
            self.position = 0;
            self.ended = self.piece.is_empty();
        }
        let length = buffer.len().min(self.piece.len() - self.position);
        buffer[..length].copy_from_slice(&self.piece[self.position..self.position + length]);
        self.position += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_pieces_is_read_as_one() {
        let (sender, mut pieces) = mpsc::channel(2);
        let whole: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
        let written = whole.clone();
        let writing = std::thread::spawn(move || {
            let mut writer = ChunkWriter::new(sender);
            writer.write_all(&written).unwrap();
            writer.flush().unwrap();
        });
        let (forward, received) = mpsc::channel(2);
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            ChunkReader::new(received).read_to_end(&mut read).map(|_| read)
        });
        while let Some(piece) = pieces.blocking_recv() {
            assert!(piece.len() <= CHUNK_BYTES);
            forward.blocking_send(Ok(piece)).unwrap();
        }
        forward.blocking_send(Ok(Vec::new())).unwrap();
        writing.join().unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), whole);
    }

    #[test]
    fn what_broke_off_is_an_error() {
        let (sender, received) = mpsc::channel(2);
        sender.blocking_send(Ok(vec![1, 2])).unwrap();
        drop(sender);
        let mut read = Vec::new();
        assert!(ChunkReader::new(received).read_to_end(&mut read).is_err());
        let (sender, received) = mpsc::channel(2);
        sender.blocking_send(Err(io::Error::other("gone"))).unwrap();
        assert!(ChunkReader::new(received).read_to_end(&mut read).is_err());
    }
}
