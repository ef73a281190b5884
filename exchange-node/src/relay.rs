//! Reaching a node that can only dial out. Such a node waits at a **relay** on a connection of its own; a caller asks the
//! relay for it by its TLS key, the node picks the call up on another connection, and the relay joins the two. What flows
//! is mutual TLS 1.3 between the two nodes, each held to the key of the other's node statement.
//!
//! **Invariant:** the relay needs no trust. It sees bytes and sizes, times and addresses, and can refuse, delay and cut off;
//! whoever it joins with somebody else finds another key and says nothing.
//!
//! `serve` is the relay itself, `waiting` the node that waits, `way` the caller. Out of scope: who may wait, which is
//! settled by the directory (`trust::relay`).

pub mod config;
mod join;
pub mod serve;
pub mod waiting;
pub mod way;

use std::{io, time::Duration};

use prost::Message;
use proto::exchange::v1::{RelayMessage, RelayRefused, relay_message::Body};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest message to or from a relay, in bytes.
pub const LARGEST_MESSAGE: usize = 1024;

/// How long a relay may be silent towards a node that waits.
pub const SILENCE: Duration = Duration::from_secs(45);

/// Why a conversation with a relay ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed.
    #[error("the connection to the relay failed: {0}")]
    Io(#[from] io::Error),
    /// It said something that does not belong here, or what is no message.
    #[error("the other side does not speak as a relay does")]
    Malformed,
    /// It does not do it.
    #[error("the relay refuses: {0}")]
    Refused(String),
    /// It was silent for too long.
    #[error("nothing was heard from the relay for too long")]
    Silent,
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), body: Body) -> Result<(), Error> {
    let message = RelayMessage { body: Some(body) }.encode_to_vec();
    let length = u16::try_from(message.len()).ok().filter(|length| usize::from(*length) <= LARGEST_MESSAGE);
    let length = length.ok_or(Error::Malformed)?;
    // In one write: with what follows it would otherwise travel in two packets.
    let framed = [&length.to_be_bytes()[..], &message].concat();
    stream.write_all(&framed).await?;
    Ok(stream.flush().await?)
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Body, Error> {
    let length = usize::from(stream.read_u16().await?);
    if length > LARGEST_MESSAGE {
        return Err(Error::Malformed);
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    RelayMessage::decode(bytes.as_slice()).ok().and_then(|message| message.body).ok_or(Error::Malformed)
}

/// A refusal with its stable reason.
fn refused(reason: &str) -> Body {
    Body::Refused(RelayRefused { reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use proto::exchange::v1::{RelayCall, RelayPing};

    use super::*;

    #[tokio::test]
    async fn what_is_sent_is_received_and_nothing_else_is_taken() {
        let (mut one, mut other) = tokio::io::duplex(4096);
        let call = Body::Call(RelayCall { tls_key: vec![7; 32] });
        send(&mut one, call.clone()).await.unwrap();
        send(&mut one, Body::Ping(RelayPing {})).await.unwrap();
        one.write_all(b"after").await.unwrap();
        assert_eq!(receive(&mut other).await.unwrap(), call);
        assert_eq!(receive(&mut other).await.unwrap(), Body::Ping(RelayPing {}));
        let mut rest = [0; 5];
        other.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"after", "not a byte too many is read");
        one.write_all(&2000_u16.to_be_bytes()).await.unwrap();
        assert!(matches!(receive(&mut other).await, Err(Error::Malformed)));
        one.write_all(&[0, 3, 0xff, 0xff, 0xff]).await.unwrap();
        assert!(matches!(receive(&mut other).await, Err(Error::Malformed)));
        assert!(matches!(send(&mut one, refused(&"x".repeat(2000))).await, Err(Error::Malformed)));
        drop(one);
        assert!(matches!(receive(&mut other).await, Err(Error::Io(_))));
    }
}
