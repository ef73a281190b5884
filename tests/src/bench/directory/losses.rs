//! Whether a registry loses what it acknowledged: departments write to it, it is killed in the middle, again and again,
//! and what it said that it has is looked for in what it serves. Small: the directory's size is of no account here.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use host::{
    clock::{Clock, SystemClock},
    random::{self, SystemRandom, below},
};
use prost::Message;
use proto::{
    exchange::v1::Envelope,
    registry::v1::{KeyAdded, ReadRequest, SubmitRequest, statement::Body, submit_response::Outcome},
};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use town::harness::town;
use trust::{
    directory::{Object, statement},
    envelope,
    ids::Digest,
    key::{DescribedKey, Role, Signer, SigningKey},
};

/// How often it is killed.
const KILLS: usize = 20;

/// How long a writer waits before it tries again.
const PAUSE: Duration = Duration::from_millis(20);

/// How many write at once.
const WRITERS: usize = 8;

/// Kills, and counts what is missing.
pub async fn measure() -> anyhow::Result<Map<String, Value>> {
    println!("killing a registry {KILLS} times under load");
    let dir = tempfile::Builder::new().prefix("bench").tempdir()?;
    let town = town(dir.path().join("t")).department("housing").start().await?;
    let keys = exchange_node::keys::NodeKeys::read(town.node("housing").dir())?;
    town.node("housing").stop().await?;
    let tls = registry::keys::Keys::read(town.registry().dir())?.tls.key_digest();
    let signer = Arc::new(keys.department.context("housing's key is here")?);
    let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut writing = Vec::new();
    for _ in 0..WRITERS {
        let link = exchange_node::view::RegistryLink::new(vec![town.registry().address()], tls);
        let (signer, stop, accepted) = (Arc::clone(&signer), Arc::clone(&stop), Arc::clone(&accepted));
        writing.push(tokio::spawn(async move {
            let mut client = link.directory(None)?;
            let mut said: Vec<(u64, Digest)> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let (request, digest) = next(signer.as_ref())?;
                // Only what is acknowledged counts; what the kill cut off nobody was promised.
                match client.submit(request).await.map(|response| response.into_inner().outcome) {
                    Ok(Some(Outcome::Accepted(at))) => {
                        said.push((at.index, digest));
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(Some(Outcome::Refused(refusal))) => bail!("a statement was refused: {refusal:?}"),
                    // It is being killed: whoever asks without a pause would keep it from coming up.
                    _ => tokio::time::sleep(PAUSE).await,
                }
            }
            anyhow::Ok(said)
        }));
    }
    for _ in 0..KILLS {
        let goal = accepted.load(Ordering::Relaxed) + 50 + usize::try_from(below(&SystemRandom, 100))?;
        while accepted.load(Ordering::Relaxed) < goal {
            ensure!(!writing.iter().any(JoinHandle::is_finished), "a writer has given up");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        town.registry().kill();
        town.registry().start().await?;
    }
    stop.store(true, Ordering::Relaxed);
    let mut said = Vec::new();
    for writer in writing {
        said.extend(writer.await??);
    }
    let link = exchange_node::view::RegistryLink::new(vec![town.registry().address()], tls);
    let mut client = link.directory(None)?;
    let mut places = HashMap::new();
    loop {
        let start = places.len() as u64;
        let read = client.read(ReadRequest { start, limit: 0 }).await?.into_inner();
        if read.entries.is_empty() {
            break;
        }
        for (index, entry) in (start..).zip(read.entries) {
            let envelope = Envelope::decode(entry.as_slice())?;
            places.insert(index, envelope::digest(&envelope.payload_type, &envelope.payload));
        }
    }
    let lost = said.iter().filter(|(index, digest)| places.get(index) != Some(digest)).count();
    println!("{} statements were acknowledged over {KILLS} kills; {lost} of them are not there", said.len());
    town.stop().await?;
    let figures = [("lost_statements", json!(lost)), ("acknowledged_statements", json!(said.len()))];
    Ok(figures.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
}

fn next(signer: &dyn Signer) -> anyhow::Result<(SubmitRequest, Digest)> {
    let added = SigningKey::from_seed(&random::array(&SystemRandom));
    let key = added.public_key().clone();
    let described = DescribedKey { role: Role::Node, key, valid_from_ms: 0, valid_until_ms: None };
    let body =
        Body::KeyAdded(KeyAdded { department: "housing".into(), key: Some(described.to_wire()), node: "bench".into() });
    let object = Object::Key(*added.public_key().id());
    let statement = statement(&"ninghe".parse()?, &object, None, SystemClock.now_ms(), body);
    let (envelope, digest) = envelope::seal(&statement, signer);
    Ok((SubmitRequest { envelope: envelope.encode_to_vec() }, digest))
}
