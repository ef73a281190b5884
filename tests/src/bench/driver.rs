//! The asking side of the measurement: signs each question and strictly verifies each answer, with the signature code of
//! the node, whatever server it asks.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use exchange_node::keys::NodeKeys;
use host::{
    clock::{Clock, SystemClock},
    edge::ChannelLimits,
    random::{self, SystemRandom},
    tls::{ConnectorOptions, PeerConnector, TlsKeyDigest},
};
use prost::Message;
use proto::exchange::v1::{
    self as wire, Answer, HelloRequest, Request, Signed, VerifyRequest, answer::Outcome,
    exchange_client::ExchangeClient, signed::Form,
};
use tonic::transport::Channel;
use trust::{
    envelope::{Payload, pre_authentication_encoding, seal, signed},
    key::{PublicKey, Signer},
};

use super::load::Ask;

/// As many connections as a node keeps to a peer.
const CONNECTIONS: usize = 4;

/// Asks a server in a department's name.
pub struct Driver {
    keys: NodeKeys,
    clients: Vec<ExchangeClient<Channel>>,
    answerer: PublicKey,
    template: Request,
    subjects: Arc<Vec<String>>,
}

impl Driver {
    /// A driver with the keys of the node in `asker`, for a server that holds the keys of the node in `provider`.
    pub fn new(
        asker: &Path,
        provider: &Path,
        address: &str,
        template: Request,
        subjects: Arc<Vec<String>>,
    ) -> anyhow::Result<Self> {
        let keys = NodeKeys::read(asker)?;
        let theirs = NodeKeys::read(provider)?;
        let tls_key = TlsKeyDigest::from_bytes(*theirs.tls.key_digest().as_bytes());
        let clients = (0..CONNECTIONS)
            .map(|_| {
                let connector = PeerConnector::new(
                    [address.to_owned()],
                    [tls_key],
                    Some(&*keys.tls),
                    ConnectorOptions { attempt_timeout: Duration::from_secs(5) },
                )?;
                Ok(ExchangeClient::new(connector.channel(&ChannelLimits::default())))
            })
            .collect::<anyhow::Result<_>>()?;
        let answerer = theirs.node.public_key().clone();
        Ok(Self { keys, clients, answerer, template, subjects })
    }

    /// The key that the questions are signed with.
    pub fn public_key(&self) -> PublicKey {
        self.keys.node.public_key().clone()
    }

    /// Fills in the directory that the server sees, as a node's own view would.
    pub async fn learn_directory(&mut self) -> anyhow::Result<()> {
        let hello = HelloRequest { oldest_wire_version: 1, newest_wire_version: 1 };
        let seen = self.clients[0].hello(hello).await.context("hello")?.into_inner();
        self.template.directory_size = seen.directory_size;
        self.template.directory_root = seen.directory_root;
        Ok(())
    }

    /// Asks one question and verifies the answer's signature.
    pub async fn ask(&self, number: u64) -> Result<Signed, String> {
        let at = usize::try_from(number).unwrap_or(0);
        let now_ms = SystemClock.now_ms();
        let mut request = self.template.clone();
        request.request_id = random::array::<32>(&SystemRandom).to_vec();
        request.issued_at_ms = now_ms;
        request.expires_at_ms = now_ms + 60_000;
        if let Some(subject) = &mut request.subject {
            // A step that shares no factor with round numbers of records visits them all, in no order.
            subject.value.clone_from(&self.subjects[at.wrapping_mul(7919) % self.subjects.len()]);
        }
        let (envelope, _) = seal(&request, self.keys.node.as_ref());
        let mut client = self.clients[at % CONNECTIONS].clone();
        let answer = client
            .verify(VerifyRequest { request: Some(signed(envelope)) })
            .await
            .map_err(|status| format!("{status}"))?
            .into_inner()
            .answer
            .ok_or("no answer")?;
        let Some(Form::Envelope(envelope)) = &answer.form else { return Err("no envelope".into()) };
        let encoded = pre_authentication_encoding(Answer::TYPE, &envelope.payload);
        if !self.answerer.verifies(&encoded, &envelope.signatures[0].sig) {
            return Err("the answer's signature does not fit".into());
        }
        Ok(answer)
    }

    /// As a load; every answer must be verdicts, for a refusal costs less than an answer.
    pub fn load(self: &Arc<Self>) -> Ask {
        let driver = Arc::clone(self);
        Arc::new(move |number| {
            let driver = Arc::clone(&driver);
            Box::pin(async move {
                let answer = driver.ask(number).await?;
                let Some(Form::Envelope(envelope)) = &answer.form else { return Err("no envelope".into()) };
                let answer = Answer::decode(envelope.payload.as_slice()).map_err(|error| error.to_string())?;
                match answer.outcome {
                    Some(Outcome::Verdicts(verdicts)) if all_told(&verdicts) => Ok(()),
                    Some(Outcome::Refusal(refusal)) => Err(format!("refused: {} {}", refusal.code, refusal.message)),
                    other => Err(format!("no verdict: {other:?}")),
                }
            })
        })
    }
}

fn all_told(verdicts: &wire::Verdicts) -> bool {
    use wire::Verdict::{Match, Mismatch};
    verdicts.verdicts.iter().all(|verdict| matches!(verdict.verdict(), Match | Mismatch))
}
