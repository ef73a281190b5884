//! Somebody on the wire: passes connections on to another address, hears every byte, and may change them. Out of scope:
//! what the bytes are.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What is done to each piece that passes.
pub(crate) type Change = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Listens at an address and passes everything on to another.
pub(crate) struct Wire {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    serving: JoinHandle<()>,
}

impl Wire {
    /// Passes on as it comes.
    pub(crate) async fn to(target: &str, at: &str) -> Self {
        Self::changing(target, at, Arc::new(|_| {})).await
    }

    /// Passes on what `change` makes of it.
    pub(crate) async fn changing(target: &str, at: &str, change: Change) -> Self {
        let listener = TcpListener::bind(at).await.expect("the address is free");
        let address = listener.local_addr().expect("its address");
        let (target, heard) = (target.to_owned(), Arc::new(Mutex::new(Vec::new())));
        let hearing = Arc::clone(&heard);
        let serving = tokio::spawn(async move {
            while let Ok((incoming, _)) = listener.accept().await {
                let (target, heard, change) = (target.clone(), Arc::clone(&hearing), Arc::clone(&change));
                tokio::spawn(async move {
                    if let Ok(outgoing) = TcpStream::connect(&target).await {
                        pass_both(incoming, outgoing, &heard, &change).await;
                    }
                });
            }
        });
        Self { address, heard, serving }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Every byte that has passed, in both directions.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.heard.lock().expect("what was heard").clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Joins two connections, and hears what passes.
pub(crate) async fn pass_both(one: TcpStream, other: TcpStream, heard: &Mutex<Vec<u8>>, change: &Change) {
    let (mut one_reads, mut one_writes) = one.into_split();
    let (mut other_reads, mut other_writes) = other.into_split();
    tokio::join!(
        pass(&mut one_reads, &mut other_writes, heard, change),
        pass(&mut other_reads, &mut one_writes, heard, change)
    );
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    heard: &Mutex<Vec<u8>>,
    change: &Change,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        heard.lock().expect("what was heard").extend_from_slice(&buffer[..length]);
        change(&mut buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
