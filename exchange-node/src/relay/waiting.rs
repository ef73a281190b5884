//! The node's side: it waits at each of its relays on a connection of its own, picks calls up, and hands them to its peer
//! port as if they had come there. Out of scope: the port's limits and TLS, which are the same for them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use host::{edge::Entrance, supervise::TaskError, tls::Address};
use proto::exchange::v1::{RelayPickUp, RelayPong, RelayRegistration, RelayWait, relay_message::Body};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;
use trust::{
    envelope,
    ids::{NodeId, Party},
    key::Signer,
};

use super::{Error, SILENCE, receive, send, way::printable};

/// How long the relay may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many calls are being picked up at once.
const PICK_UPS: usize = 64;

/// Whether the node waits at each of its relays, for `doctor`.
#[derive(Clone, Debug, Default)]
pub struct Relays {
    states: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Relays {
    /// Each relay with why the node does not wait there; `None` where it does.
    pub fn states(&self) -> BTreeMap<String, Option<String>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, relay: &str, trouble: Option<String>) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).insert(relay.to_owned(), trouble);
    }
}

/// A node that waits at a relay.
#[derive(Clone)]
pub struct Waiter {
    /// The relay, `host:port`.
    pub relay: String,
    /// The department.
    pub me: Party,
    /// The node.
    pub node: NodeId,
    /// Signs the relay's challenge: the node's key.
    pub signer: Arc<dyn Signer>,
    /// The TLS key by which it is called.
    pub tls_key: [u8; 32],
    /// Where calls are brought.
    pub entrance: Entrance,
    /// What is told to `doctor`.
    pub relays: Relays,
}

impl Waiter {
    /// Waits until the connection ends or `stop` is cancelled. The supervisor starts it again, after a pause that grows and
    /// has jitter.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let outcome = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            outcome = self.wait(&stop) => outcome,
        };
        self.relays.set(&self.relay, Some(outcome.as_ref().err().map_or_else(String::new, ToString::to_string)));
        outcome
    }

    async fn wait(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        if !self.relays.states().contains_key(&self.relay) {
            self.relays.set(&self.relay, Some("connecting".to_owned()));
        }
        let mut stream = timeout(PATIENCE, Address::dial(&self.relay)).await??;
        let silence = timeout(PATIENCE, self.register(&mut stream)).await??;
        self.relays.set(&self.relay, None);
        tracing::info!(relay = self.relay, "waiting for calls at a relay");
        let pick_ups = Arc::new(tokio::sync::Semaphore::new(PICK_UPS));
        loop {
            match timeout(silence, receive(&mut stream)).await.map_err(|_| Error::Silent)?? {
                Body::Ping(_) => send(&mut stream, Body::Pong(RelayPong {})).await?,
                Body::Incoming(incoming) => {
                    // Beyond these the relay gives up by itself.
                    let Ok(permit) = Arc::clone(&pick_ups).try_acquire_owned() else { continue };
                    let (waiter, stop) = (self.clone(), stop.clone());
                    tokio::spawn(async move {
                        let picked = stop.run_until_cancelled(waiter.pick_up(incoming.token)).await;
                        if let Some(Err(error)) = picked {
                            tracing::debug!(relay = waiter.relay, %error, "a call was not picked up");
                        }
                        drop(permit);
                    });
                }
                Body::Refused(refused) => return Err(Error::Refused(printable(&refused.reason)).into()),
                _ => return Err(Error::Malformed.into()),
            }
        }
    }

    /// Shows the relay who this is; returns how long it may be silent.
    async fn register(&self, stream: &mut TcpStream) -> Result<Duration, Error> {
        send(stream, Body::Wait(RelayWait {})).await?;
        let nonce = match receive(stream).await? {
            Body::Challenge(challenge) => challenge.nonce,
            Body::Refused(refused) => return Err(Error::Refused(printable(&refused.reason))),
            _ => return Err(Error::Malformed),
        };
        let registration = RelayRegistration {
            exchange_id: self.me.exchange().to_string(),
            department: self.me.department().to_string(),
            node: self.node.to_string(),
            tls_key: self.tls_key.to_vec(),
            relay: self.relay.clone(),
            nonce,
        };
        send(stream, Body::Registration(envelope::seal(&registration, self.signer.as_ref()).0)).await?;
        match receive(stream).await? {
            Body::Waiting(waiting) => {
                let told = Duration::from_secs(waiting.silence_seconds.into());
                Ok(told.clamp(Duration::from_secs(5), SILENCE * 2))
            }
            Body::Refused(refused) => Err(Error::Refused(printable(&refused.reason))),
            _ => Err(Error::Malformed),
        }
    }

    async fn pick_up(&self, token: Vec<u8>) -> Result<(), TaskError> {
        let joining = async {
            let mut stream = Address::dial(&self.relay).await?;
            send(&mut stream, Body::PickUp(RelayPickUp { token })).await?;
            match receive(&mut stream).await? {
                Body::Joined(_) => Ok::<_, TaskError>(stream),
                Body::Refused(refused) => Err(Error::Refused(printable(&refused.reason)).into()),
                _ => Err(Error::Malformed.into()),
            }
        };
        let stream = timeout(PATIENCE, joining).await??;
        // Where the call came from is the relay's word; its own address is known.
        let remote = stream.peer_addr()?;
        self.entrance.bring(stream, remote).await;
        Ok(())
    }
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Waiter").field("relay", &self.relay).finish_non_exhaustive()
    }
}
