//! What anchoring costs: thousands of nodes anchor their evidence in the registry's second log, and the directory takes
//! that log once an hour. Measured: how fast anchors are taken in, and what an hour of them adds to the directory.

use std::time::Instant;

use anyhow::{Context, bail};
use host::clock::{Clock, SystemClock};
use proto::{
    admin::v1::{TakeAnchorsRequest, registry_evidence_client::RegistryEvidenceClient},
    registry::v1::{
        AnchorRequest, LastAnchorRequest, ReadRequest, anchor_response::Outcome, anchors_client::AnchorsClient,
    },
};
use serde_json::{Map, Value, json};
use tonic::transport::Channel;
use trust::{
    evidence::LogOf,
    ids::Party,
    key::Signer,
    log::{
        checkpoint::{self, Checkpoint, LogKey},
        frontier::Frontier,
        hash::{Hash, leaf_hash},
        note::key::KeyName,
        proof::consistency_proof,
        tile::TileSource,
    },
};

use super::{
    generate::{Which, id, keeps_its_node_key, key},
    place::{Place, RegistryReady},
    rounded,
};

/// So many nodes anchor.
const NODES: usize = 3000;

/// So many at once.
const LANES: usize = 16;

/// Once an hour.
const TIMES_A_DAY: u64 = 24;

/// Anchors once for every node, and has the directory take it.
pub async fn measure(place: &Place, ready: &RegistryReady) -> anyhow::Result<Map<String, Value>> {
    let link = place.link(ready)?;
    let exchange = place.exchange()?;
    // A department admitted last may not have a node yet.
    let known = usize::try_from(place.statements()? / 10)?.saturating_sub(1000);
    let nodes: Vec<usize> = (0..known).filter(|number| keeps_its_node_key(*number)).take(NODES).collect();
    let started = Instant::now();
    let mut lanes = Vec::new();
    for lane in nodes.chunks(nodes.len().div_ceil(LANES).max(1)) {
        let (lane, exchange, mut client) = (lane.to_vec(), exchange.clone(), link.anchors(None)?);
        lanes.push(tokio::spawn(async move {
            for number in lane {
                anchor(&mut client, Party::new(exchange.clone(), id(number).parse()?), number).await?;
            }
            anyhow::Ok(())
        }));
    }
    for lane in lanes {
        lane.await??;
    }
    let per_second = nodes.len() as f64 / started.elapsed().as_secs_f64();

    let before = size(place, ready).await?;
    let channel = host::admin_socket::connect(&place.registry(), "registry serve").await?;
    RegistryEvidenceClient::new(channel).take_anchors(TakeAnchorsRequest {}).await?;
    let mut directory = link.directory(None)?;
    let added = directory.read(ReadRequest { start: before, limit: 0 }).await?.into_inner().entries;
    let bytes: usize = added.iter().map(Vec::len).sum();
    println!("{} nodes anchored at {per_second:.0}/s; the directory grew by {} statements", nodes.len(), added.len());
    Ok([
        ("anchoring_nodes", json!(nodes.len())),
        ("anchors_per_second", rounded(per_second, 0)),
        ("anchoring_directory_statements_a_day", json!(added.len() as u64 * TIMES_A_DAY)),
        ("anchoring_directory_bytes_a_day", json!(bytes as u64 * TIMES_A_DAY)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect())
}

async fn size(place: &Place, ready: &RegistryReady) -> anyhow::Result<u64> {
    let mut directory = place.link(ready)?.directory(None)?;
    let head = directory.read(ReadRequest { start: 0, limit: 1 }).await?.into_inner();
    Ok(checkpoint::peek(head.checkpoint.as_bytes())?.size())
}

/// The node's evidence has grown by an entry, and it anchors that.
async fn anchor(client: &mut AnchorsClient<Channel>, party: Party, number: usize) -> anyhow::Result<()> {
    let log = LogOf { party, node: "1".parse()?, number: 1 };
    let last = client.last(LastAnchorRequest { origin: log.to_string() }).await?.into_inner().last;
    let before =
        last.map(|last| checkpoint::peek(last.checkpoint.as_bytes())).transpose()?.map_or(0, |last| last.size());
    let leaves = Leaves((0..=before).map(|entry| leaf_hash(format!("{log} {entry}").as_bytes())).collect());
    let mut frontier = Frontier::new();
    leaves.0.iter().for_each(|leaf| drop(frontier.append(*leaf)));
    let signer = key(number, Which::Node);
    let name: KeyName = log.to_string().parse()?;
    let log_key = LogKey::new(name.clone(), signer.public_key().as_bytes())?;
    let told = Checkpoint::new(&name, before + 1, frontier.root())?;
    let seconds = SystemClock.now_ms() / 1000;
    let note = checkpoint::sign(&told, &log_key, seconds, |message| signer.sign(message))?;
    let proof = consistency_proof(&leaves, before, before + 1).ok().context("a proof of consistency")?;
    let consistency = proof.iter().map(|hash| hash.as_bytes().to_vec()).collect();
    let request = AnchorRequest { checkpoint: note.to_string(), consistency };
    match client.anchor(request).await?.into_inner().outcome {
        Some(Outcome::Anchored(_)) => Ok(()),
        other => bail!("{log}: {other:?}"),
    }
}

/// A log of fewer than 256 entries.
struct Leaves(Vec<Hash>);

impl TileSource for Leaves {
    type Error = std::convert::Infallible;

    fn tile(&self, _level: u8, _index: u64, width: u16) -> Result<Vec<Hash>, Self::Error> {
        Ok(self.0[..usize::from(width)].to_vec())
    }
}
