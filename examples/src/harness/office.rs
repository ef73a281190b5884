//! An office system: what a department's back-office software does to ask a question. Out of scope: retries and
//! anything else that such software would add.

use std::fmt;

use proto::office::v1::{
    ExportEvidenceRequest, ShowRequest, VerifyRequest, VerifyResponse, verifications_client::VerificationsClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::Error;

/// The client that an [`Office`] calls with.
pub type Verifications = VerificationsClient<InterceptedService<Channel, ApiKey>>;

/// An office system at its node's office port.
#[derive(Clone)]
pub struct Office {
    address: String,
    api_key: String,
    client: Verifications,
}

impl Office {
    /// An office system that presents `api_key` at `address` (`address:port`). It connects with its first question, and
    /// again whenever the node has been away.
    ///
    /// # Errors
    /// [`Error::Malformed`] where address or key cannot be one.
    pub fn new(address: &str, api_key: &str) -> Result<Self, Error> {
        let malformed = |what: &str, reason: String| Error::Malformed { what: what.to_owned(), reason };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| malformed("the office port's address", error.to_string()))?
            .tcp_nodelay(true);
        let mut bearer: MetadataValue<Ascii> =
            format!("Bearer {api_key}").parse().map_err(|_| malformed("the API key", "it is no header".to_owned()))?;
        bearer.set_sensitive(true);
        let client = VerificationsClient::with_interceptor(endpoint.connect_lazy(), ApiKey(bearer));
        Ok(Self { address: address.to_owned(), api_key: api_key.to_owned(), client })
    }

    /// Where it asks, `address:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its API key.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The client itself, for calls that have no method here.
    #[must_use]
    pub fn client(&self) -> Verifications {
        self.client.clone()
    }

    /// Asks one question.
    ///
    /// # Errors
    /// The node's gRPC status where there is not even a result.
    pub async fn verify(&self, request: VerifyRequest) -> Result<VerifyResponse, Status> {
        Ok(self.client().verify(request).await?.into_inner())
    }

    /// Looks an earlier question up.
    ///
    /// # Errors
    /// The node's gRPC status, for example where there is no such receipt.
    pub async fn show(&self, receipt: &str) -> Result<VerifyResponse, Status> {
        Ok(self.client().show(ShowRequest { receipt: receipt.to_owned() }).await?.into_inner())
    }

    /// Exports the evidence bundle of an earlier question.
    ///
    /// # Errors
    /// The node's gRPC status, for example where there is no such receipt.
    pub async fn evidence(&self, receipt: &str) -> Result<Vec<u8>, Status> {
        let request = ExportEvidenceRequest { receipt: receipt.to_owned() };
        Ok(self.client().export_evidence(request).await?.into_inner().bundle)
    }
}

impl fmt::Debug for Office {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Office").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Puts the API key beside every call.
#[derive(Clone)]
pub struct ApiKey(MetadataValue<Ascii>);

impl Interceptor for ApiKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(…)")
    }
}
