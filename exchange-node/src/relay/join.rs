//! Joins two connections: what comes from one goes to the other, byte for byte, through a buffer of fixed size, until
//! either is done, both are idle for too long, or the relay stops. Out of scope: what the bytes mean, which nobody here can
//! know.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use host::edge::PeerStream;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    time::{Instant, timeout},
};

/// How many bytes of one direction are on their way at most. What is not taken is not read.
const IN_FLIGHT: usize = 16 * 1024;

/// What was passed on.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) to_node: AtomicU64,
    pub(super) to_caller: AtomicU64,
}

/// Joins a caller to a node.
pub(super) async fn join(caller: PeerStream, node: PeerStream, idle: Duration, passed: &Passed) {
    let start = Instant::now();
    let last = AtomicU64::new(0);
    let heard = || last.store(start.elapsed().as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    let (mut from_caller, mut to_caller) = split(caller);
    let (mut from_node, mut to_node) = split(node);
    let both = async {
        // One direction may end while the other still has something to say.
        let (up, down) = tokio::join!(
            pass(&mut from_caller, &mut to_node, &passed.to_node, &heard),
            pass(&mut from_node, &mut to_caller, &passed.to_caller, &heard),
        );
        tracing::debug!(?up, ?down, "a call has ended");
    };
    tokio::pin!(both);
    while timeout(idle, &mut both).await.is_err() {
        let silent_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX) - last.load(Ordering::Relaxed);
        if u128::from(silent_ms) >= idle.as_millis() {
            tracing::debug!("a call was idle for too long and is cut off");
            return;
        }
    }
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    passed: &AtomicU64,
    heard: &(impl Fn() + Sync),
) -> io::Result<()> {
    let mut buffer = vec![0; IN_FLIGHT];
    let outcome = loop {
        match from.read(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(length) => {
                heard();
                if let Err(error) = to.write_all(&buffer[..length]).await {
                    break Err(error);
                }
                to.flush().await?;
                passed.fetch_add(length as u64, Ordering::Relaxed);
            }
            Err(error) => break Err(error),
        }
    };
    // The other side learns that nothing more comes; where it is gone there is nobody to tell.
    let _ = to.shutdown().await;
    outcome
}
