//! `init --join`: a further node of a department that is admitted. Its machine makes its own keys and an offer, which a
//! running node of the department takes in. Out of scope: signing anything for the department, whose key is not here.

use std::{net::SocketAddr, path::PathBuf};

use host::{files, random::Random};
use proto::admin::v1::NodeOffer;
use trust::{ids::NodeId, key::Signer};

use super::{Error, Place, check_folder};
use crate::{
    config::{self, NewConfig},
    join::{Invitation, OfferFile},
    keys::JoiningKeys,
};

/// What `init --join` is asked for.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// The invitation file.
    pub invitation: PathBuf,
    /// Where other nodes reach this one, `host:port`; the first is listened on. Empty for a node that can only dial out.
    pub addresses: Vec<String>,
    /// Relays at which it can be called, `host:port`.
    pub relays: Vec<String>,
    /// Where office systems reach it.
    pub office_address: SocketAddr,
    /// The folder.
    pub dir: PathBuf,
    /// Where to write the offer; named after the department and the node otherwise.
    pub offer: Option<PathBuf>,
}

/// What `init --join` did.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The department, `<exchange>/<department>`.
    pub department: String,
    /// The node.
    pub node: NodeId,
    /// The written configuration.
    pub config: PathBuf,
    /// The written offer.
    pub offer: PathBuf,
}

/// Makes a further node's keys, configuration and offer. Run again it makes the offer anew with the same keys.
pub fn join(options: &JoinOptions, random: &dyn Random) -> Result<Joined, Error> {
    let invitation = Invitation::read(&options.invitation)?;
    let place = Place::read(&options.addresses, &options.relays)?;
    // The department's node signs where this one is reached, before it runs.
    let published = place
        .published()
        .ok_or_else(|| Error::AddressMalformed { address: options.addresses.first().cloned().unwrap_or_default() })?;
    let party = format!("{}/{}", invitation.exchange, invitation.department);
    let config_file = options.dir.join(config::FILE_NAME);
    check_folder(&config_file, &party)?;
    let made = JoiningKeys::read_or_make(&options.dir, &[&place.host_name()], random)?;
    let text = NewConfig {
        exchange: &invitation.exchange,
        department: &invitation.department,
        node: &invitation.node,
        authority_key: &invitation.authority_key,
        registry: &invitation.registry,
        registry_tls_key: invitation.registry_tls_key,
        peer_listen: place.listen,
        advertise: &place.advertise,
        relays: &place.relays,
        dial_out_only: place.dial_out_only(),
        office_listen: options.office_address,
    }
    .to_text();
    match files::create_file(&config_file, text.as_bytes(), files::PUBLIC_MODE) {
        Ok(()) | Err(files::Error::Exists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let offer = NodeOffer {
        exchange_id: invitation.exchange.to_string(),
        department: invitation.department.to_string(),
        node: invitation.node.to_string(),
        node_key: made.node.public_key().as_bytes().to_vec(),
        tls_key: made.tls.key_digest().as_bytes().to_vec(),
        addresses: published.addresses,
        relays: published.relays,
    };
    let named = || PathBuf::from(format!("{}-{}.offer", invitation.department, invitation.node));
    let offer_file = options.offer.clone().unwrap_or_else(named);
    let text = OfferFile::new(&offer, &invitation.secret).to_text(&party, &invitation.node);
    files::replace_file(&offer_file, text.as_bytes(), files::PUBLIC_MODE)?;
    Ok(Joined { department: party, node: invitation.node, config: config_file, offer: offer_file })
}
