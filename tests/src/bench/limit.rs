//! The limit: a bare tonic server over the exchange's own TLS, whose handler verifies one signature over the request's
//! bytes and signs an answer of the usual size, with the signature code of the node, and does nothing else.

use std::{net::SocketAddr, path::Path, sync::Arc};

use exchange_node::keys::NodeKeys;
use host::{
    edge::{EdgeLimits, Listener, ListenerLimits, Security, tuned_server},
    tls::{AnyKey, ClientAuthentication, ServerTls},
};
use prost::Message;
use proto::exchange::v1::{
    Answer, CompareRequest, CompareResponse, DeliverRequest, DeliverResponse, HelloRequest, HelloResponse, Signed,
    TellRequest, TellResponse, VerifyRequest, VerifyResponse,
    exchange_server::{Exchange, ExchangeServer},
    signed::Form,
};
use tonic::{Request, Response, Status};
use trust::{
    envelope::{Payload, pre_authentication_encoding},
    key::{PublicKey, Signer},
};

struct Limit {
    asker: PublicKey,
    signer: Arc<dyn Signer>,
    /// An answer as a node gives it, so that the bytes on the wire are as many.
    answer: Signed,
}

#[tonic::async_trait]
impl Exchange for Limit {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let Some(Form::Envelope(envelope)) = request.into_inner().request.and_then(|signed| signed.form) else {
            return Err(Status::invalid_argument("no envelope"));
        };
        let encoded = pre_authentication_encoding(&envelope.payload_type, &envelope.payload);
        let signature = envelope.signatures.first().ok_or_else(|| Status::invalid_argument("no signature"))?;
        if !self.asker.verifies(&encoded, &signature.sig) {
            return Err(Status::unauthenticated("the signature does not fit"));
        }
        let mut answer = self.answer.clone();
        if let Some(Form::Envelope(envelope)) = &mut answer.form {
            let encoded = pre_authentication_encoding(Answer::TYPE, &envelope.payload);
            envelope.signatures[0].sig = self.signer.sign(&encoded).to_vec();
        }
        Ok(Response::new(VerifyResponse { answer: Some(answer), later: Vec::new() }))
    }

    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        Err(Status::unimplemented("the limit only verifies and signs"))
    }

    async fn compare(&self, _: Request<CompareRequest>) -> Result<Response<CompareResponse>, Status> {
        Err(Status::unimplemented("the limit only verifies and signs"))
    }

    async fn deliver(&self, _: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        Err(Status::unimplemented("the limit only verifies and signs"))
    }

    async fn tell(&self, _: Request<TellRequest>) -> Result<Response<TellResponse>, Status> {
        Err(Status::unimplemented("the limit only verifies and signs"))
    }
}

/// Serves until the process is ended. `provider` is a node's folder, whose keys are borrowed; `answer` a signed answer as
/// that node gives it; the bound address is written to `ready`.
pub async fn serve(provider: &Path, asker: PublicKey, answer: &Path, ready: &Path) -> anyhow::Result<()> {
    let keys = NodeKeys::read(provider)?;
    let answer = Signed::decode(std::fs::read(answer)?.as_slice())?;
    let tls = ServerTls::new(&keys.tls, ClientAuthentication::Required(Arc::new(AnyKey)))?;
    let address: SocketAddr = "127.0.0.1:0".parse()?;
    let listener = Listener::bind(address, Security::Tls(tls), ListenerLimits::default()).await?;
    std::fs::write(ready.with_extension("new"), listener.local_address().to_string())?;
    std::fs::rename(ready.with_extension("new"), ready)?;
    let service = ExchangeServer::new(Limit { asker, signer: keys.node, answer });
    tuned_server(&EdgeLimits::default()).add_service(service).serve_with_incoming(listener.incoming()).await?;
    Ok(())
}
