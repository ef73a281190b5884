//! The connection to the registry: its addresses and TLS key as configured and as the directory announces them, and
//! nobody else's. Out of scope: what it says, which is never believed without its signature.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use host::{
    edge::ChannelLimits,
    tls::{ConnectError, ConnectorOptions, PeerConnector, SetupError, TlsIdentity, TlsKeyDigest},
};
use proto::registry::v1::{
    alerts_client::AlertsClient, anchors_client::AnchorsClient, catalogue_client::CatalogueClient,
    directory_client::DirectoryClient, enrolment_client::EnrolmentClient, history_client::HistoryClient,
    witnesses_client::WitnessesClient,
};
use tonic::transport::Channel;

use super::View;

/// The largest message that a registry sends: its own limit is 3 MiB of entries.
const LARGEST_MESSAGE: usize = 8 * 1024 * 1024;

/// Where a registry is, and by which TLS key it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    addresses: Vec<String>,
    keys: Vec<TlsKeyDigest>,
}

/// The connection to the registry; made when it is needed, and anew when the directory announces another place.
#[derive(Debug)]
pub struct RegistryLink {
    configured: Place,
    current: Mutex<Option<(Place, PeerConnector, Channel)>>,
}

impl RegistryLink {
    /// A link to the registry of the configuration or the enrolment token.
    pub fn new(addresses: Vec<String>, tls_key: TlsKeyDigest) -> Self {
        Self { configured: Place { addresses, keys: vec![tls_key] }, current: Mutex::new(None) }
    }

    /// The directory's service.
    pub fn directory(&self, view: Option<&View>) -> Result<DirectoryClient<Channel>, SetupError> {
        Ok(DirectoryClient::new(self.channel(view)?.1).max_decoding_message_size(LARGEST_MESSAGE))
    }

    /// The second log's service.
    pub fn anchors(&self, view: Option<&View>) -> Result<AnchorsClient<Channel>, SetupError> {
        Ok(AnchorsClient::new(self.channel(view)?.1))
    }

    /// What the directory means to a reader.
    pub fn catalogue(&self, view: Option<&View>) -> Result<CatalogueClient<Channel>, SetupError> {
        Ok(CatalogueClient::new(self.channel(view)?.1))
    }

    /// A tile port of the registry, as a member who shows `identity`: held to the registry's TLS key.
    pub fn tiles(
        &self,
        view: Option<&View>,
        address: &str,
        identity: &TlsIdentity,
    ) -> Result<PeerConnector, SetupError> {
        let options = ConnectorOptions { attempt_timeout: Duration::from_secs(3) };
        PeerConnector::new([address.to_owned()], self.place(view).keys, Some(identity), options)
    }

    /// The enrolment service.
    pub fn enrolment(&self) -> Result<EnrolmentClient<Channel>, SetupError> {
        Ok(EnrolmentClient::new(self.channel(None)?.1))
    }

    /// The service that is told of events.
    pub fn alerts(&self, view: Option<&View>) -> Result<AlertsClient<Channel>, SetupError> {
        Ok(AlertsClient::new(self.channel(view)?.1))
    }

    /// The service that takes cosignatures.
    pub fn witnesses(&self, view: Option<&View>) -> Result<WitnessesClient<Channel>, SetupError> {
        Ok(WitnessesClient::new(self.channel(view)?.1))
    }

    /// The service that takes what nodes saw.
    pub fn history(&self, view: Option<&View>) -> Result<HistoryClient<Channel>, SetupError> {
        Ok(HistoryClient::new(self.channel(view)?.1))
    }

    /// Connects once, for the reason where it does not work: tonic hides it.
    pub async fn probe(&self, view: Option<&View>) -> Result<(), ConnectError> {
        let connector = match self.channel(view) {
            Ok((connector, _)) => connector,
            Err(_) => return Err(ConnectError::NoAddress),
        };
        connector.connect().await.map(drop)
    }

    fn channel(&self, view: Option<&View>) -> Result<(PeerConnector, Channel), SetupError> {
        let place = self.place(view);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, connector, channel)) = &*current
            && *known == place
        {
            return Ok((connector.clone(), channel.clone()));
        }
        let options = ConnectorOptions { attempt_timeout: Duration::from_secs(3) };
        let connector = PeerConnector::new(place.addresses.iter().cloned(), place.keys.iter().copied(), None, options)?;
        let channel = connector.channel(&ChannelLimits::default());
        *current = Some((place, connector.clone(), channel.clone()));
        Ok((connector, channel))
    }

    /// What the directory announces comes first; what was configured stays, for a registry that moved while this node
    /// was away and moved back.
    fn place(&self, view: Option<&View>) -> Place {
        let mut place = Place { addresses: Vec::new(), keys: Vec::new() };
        let seen = view.map(View::seen);
        if let Some(announced) = seen.as_ref().and_then(|seen: &Arc<super::Seen>| seen.directory().registry())
            && let Ok(key) = <[u8; 32]>::try_from(announced.tls_key.as_slice())
        {
            place.addresses.extend(announced.addresses.iter().cloned());
            place.keys.push(TlsKeyDigest::from_bytes(key));
            // While the registry renews its key.
            let next = <[u8; 32]>::try_from(announced.next_tls_key.as_slice());
            place.keys.extend(next.map(TlsKeyDigest::from_bytes));
        }
        place.addresses.extend(self.configured.addresses.iter().cloned());
        place.keys.extend(self.configured.keys.iter().copied());
        let mut known = std::collections::HashSet::new();
        place.addresses.retain(|address| known.insert(address.clone()));
        place.keys.dedup();
        place
    }
}
