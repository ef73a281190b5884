//! This node as a witness: it cosigns each checkpoint of the directory that it has verified, with its node key, and hands
//! the cosignature to the registry (C2SP `tlog-cosignature`). It does so whether the profile requires witnesses or not,
//! and before it has enough of them itself: else there could never be enough.
//!
//! **Invariant:** only the view's own checkpoint is cosigned, which never goes back and is on the disk before: two
//! cosignatures of one node are always of one history.
//!
//! Out of scope: what others' cosignatures mean for the view (`view`).

use std::{sync::Arc, time::Duration};

use host::{
    random::{self, Random},
    supervise::TaskError,
};
use proto::registry::v1::CosignRequest;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use trust::{
    ids::{DepartmentId, ExchangeId, NodeId},
    key::Signer,
    log::{
        cosignature::cosign,
        note::{Signature, SignedNote},
    },
    refusal, witness,
};

use crate::{keys::with_key, me::Me, view::State};

/// The same size is cosigned again at most so often, in seconds; the registry may ask for more patience, up to
/// [`LONGEST_AGAIN_SECONDS`].
const AGAIN_SECONDS: u64 = 10;

/// The longest wait that the registry can ask for, in seconds: a witness that is silent for longer helps nobody.
const LONGEST_AGAIN_SECONDS: u64 = 600;

/// How long the registry may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// After a fault, and while there is nothing to cosign.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A registry of an earlier version takes no cosignatures.
const UNKNOWN_THERE: Duration = Duration::from_secs(600);

/// The task that cosigns.
pub struct Cosigner {
    /// The node in whose name.
    pub me: Me,
    /// For the jitter: a thousand nodes do not cosign in step.
    pub random: Arc<dyn Random>,
}

/// What became of one try.
enum Tried {
    /// Cosigned this size; come again with the same size after so many seconds.
    Cosigned(u64, u64),
    /// There is nothing to cosign now.
    Nothing,
    /// The registry takes no cosignatures.
    UnknownThere,
}

impl Cosigner {
    /// Cosigns until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), TaskError> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            outcome = self.go_on() => outcome,
        }
    }

    async fn go_on(&self) -> Result<(), TaskError> {
        let mut sizes = self.me.view.sizes();
        loop {
            match self.cosign_once().await? {
                Tried::Cosigned(size, again) => {
                    // Something new is cosigned soon, and many statements at once only once.
                    let soon = Duration::from_secs((again / AGAIN_SECONDS).max(1));
                    let again = Duration::from_secs(again);
                    tokio::time::sleep(self.jittered(soon)).await;
                    let grown = sizes.wait_for(|seen| *seen > size);
                    let _ = timeout(self.jittered(again.saturating_sub(soon)), grown).await;
                }
                Tried::Nothing => tokio::time::sleep(self.jittered(LOOK_AGAIN)).await,
                Tried::UnknownThere => tokio::time::sleep(self.jittered(UNKNOWN_THERE)).await,
            }
        }
    }

    /// Cosigns the view's checkpoint as of now, and hands it in.
    async fn cosign_once(&self) -> Result<Tried, TaskError> {
        let Some((size, note)) = self.note() else { return Ok(Tried::Nothing) };
        let mut client = self.me.link.witnesses(Some(&self.me.view))?;
        let answer = match timeout(PATIENCE, client.cosign(CosignRequest { note })).await? {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(Tried::UnknownThere),
            Err(status) => return Err(status.into()),
        };
        match answer.refused {
            None => {
                tracing::debug!(size, "cosigned the directory");
                let again = u64::from(answer.again_in_seconds).clamp(AGAIN_SECONDS, LONGEST_AGAIN_SECONDS);
                Ok(Tried::Cosigned(size, again))
            }
            // It has gone on meanwhile: so will the view.
            Some(refused) if refused.code == refusal::Code::CheckpointOutdated.as_str() => Ok(Tried::Nothing),
            Some(refused) => Err(format!("{}: {}", refused.code, refused.message).into()),
        }
    }

    /// The view's checkpoint with this node's cosignature alone; `None` where this node is no witness now.
    fn note(&self) -> Option<(u64, String)> {
        with_key(self.me.signer.as_ref(), |signer| self.note_by(signer))
    }

    fn note_by(&self, signer: &dyn Signer) -> Option<(u64, String)> {
        let now_ms = self.me.clock.now_ms();
        let seen = self.me.view.seen();
        let key = signer.public_key();
        // While the registry signs nothing, a new word on its last checkpoint would make it look fresher than it is.
        let is_witness = self.me.view.is_registry_reachable()
            && self.me.view.registry_behind().is_none()
            && self.me.view.stuck().is_none()
            && self.me.view.age(now_ms).state != State::ClockBackwards
            && seen.directory().node_key(&self.me.department, key.id(), now_ms).is_ok();
        if !is_witness {
            return None;
        }
        let checkpoint = self.me.view.checkpoint();
        let signed = SignedNote::parse(checkpoint.as_bytes()).ok()?;
        let size = trust::log::checkpoint::Checkpoint::parse(signed.text()).ok()?.size();
        let name = (&self.me.exchange, &self.me.department, &self.me.node);
        let line = line(name, signed.text(), signer, now_ms)?;
        let mut note = SignedNote::new(signed.text().to_owned()).ok()?;
        note.add_signature(line).ok()?;
        Some((size, note.to_string()))
    }

    /// Between the whole and a quarter more.
    fn jittered(&self, whole: Duration) -> Duration {
        let span = u64::try_from((whole / 4).as_micros()).unwrap_or(u64::MAX);
        whole + Duration::from_micros(random::below(self.random.as_ref(), span.saturating_add(1)))
    }
}

/// A node's cosignature of a checkpoint's text, as of `now_ms`.
pub(crate) fn line(
    (exchange, department, node): (&ExchangeId, &DepartmentId, &NodeId),
    text: &str,
    signer: &dyn Signer,
    now_ms: u64,
) -> Option<Signature> {
    let note_key = witness::note_key(exchange, department, node, signer.public_key()).ok()?;
    cosign(text, &note_key, now_ms / 1000, |message| signer.sign(message)).ok()
}

impl std::fmt::Debug for Cosigner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cosigner").field("me", &self.me).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use host::{clock::MockClock, random::SeededRandom, tls::TlsKeyDigest};
    use trust::fixture::{self, Fixture, NOW_MS, key};

    use super::*;
    use crate::view::{
        RegistryLink, View,
        tests::{bring, empty_view},
    };

    fn cosigner(view: Arc<View>, clock: &MockClock) -> Cosigner {
        let me = Me {
            exchange: fixture::exchange_id(),
            department: fixture::department("housing"),
            node: "1".parse().unwrap(),
            signer: Arc::new(key("housing node 1")),
            view,
            link: Arc::new(RegistryLink::new(vec!["127.0.0.1:9".into()], TlsKeyDigest::from_bytes([0; 32]))),
            clock: Arc::new(clock.clone()),
        };
        Cosigner { me, random: Arc::new(SeededRandom::new(1)) }
    }

    #[tokio::test]
    async fn only_what_was_verified_lately_is_cosigned_and_only_by_a_known_node() {
        let dir = tempfile::tempdir().unwrap();
        let clock = MockClock::at(NOW_MS);
        let view = Arc::new(empty_view(dir.path()).unwrap());
        let cosigner = cosigner(Arc::clone(&view), &clock);
        view.set_reachable(true);
        assert!(cosigner.note().is_none(), "nothing was read yet");

        // Admitted, and its node's key is not in the directory yet.
        let mut fixture = Fixture::founded();
        fixture.admit("housing");
        bring(&view, &fixture, NOW_MS).await.unwrap();
        assert!(cosigner.note().is_none(), "nobody knows it as a witness");
        fixture.add_node("housing", "1");
        bring(&view, &fixture, NOW_MS + 1).await.unwrap();

        let (size, note) = cosigner.note().unwrap();
        assert_eq!(size, fixture.directory.size());
        let note = SignedNote::parse(note.as_bytes()).unwrap();
        assert_eq!(note.signatures().len(), 1, "the registry has its own lines");
        let found = witness::cosignatures(&fixture.directory, &note, NOW_MS / 1000);
        assert_eq!((found.len(), found[0].department.as_str()), (1, "housing"));

        clock.set(NOW_MS - 61_000);
        assert!(cosigner.note().is_none(), "a clock that is behind dates nothing");
        clock.set(NOW_MS);
        view.set_reachable(false);
        assert!(cosigner.note().is_none(), "as of now it has seen nothing");
    }

    #[test]
    fn waits_are_bounded_and_jittered() {
        let dir = tempfile::tempdir().unwrap();
        let view = Arc::new(empty_view(dir.path()).unwrap());
        let cosigner = cosigner(view, &MockClock::at(NOW_MS));
        let waits: Vec<Duration> = (0..50).map(|_| cosigner.jittered(Duration::from_secs(10))).collect();
        assert!(waits.iter().all(|wait| (10_000..=12_500).contains(&wait.as_millis())), "{waits:?}");
        assert!(waits.windows(2).any(|pair| pair[0] != pair[1]), "not all in step");
    }
}
