//! How long it takes to publish at this size: the operator's command, from its start to its end, and a submission alone,
//! until the registry has acknowledged it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use host::random::{self, SystemRandom};
use proto::registry::v1::{KeyAdded, statement::Body};
use serde_json::{Map, Value};
use tokio::process::Command;
use trust::{
    directory::Object,
    key::{DescribedKey, Role, Signer, SigningKey},
};

use super::{
    median_ms,
    place::{Place, RegistryReady, Submitter},
    rounded,
};

/// Measures both, one after the other, each so often.
pub async fn measure(place: &Place, ready: &RegistryReady, often: usize) -> anyhow::Result<Map<String, Value>> {
    let submitted = submit(place, ready, often).await?;
    let published = publish(place, often).await?;
    let slowest = published.iter().max().copied().unwrap_or_default().as_secs_f64() * 1000.0;
    let figures = [
        ("publish_p50_ms", rounded(median_ms(published), 1)),
        ("publish_slowest_ms", rounded(slowest, 1)),
        ("submit_p50_ms", rounded(median_ms(submitted), 1)),
    ];
    Ok(figures.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
}

/// `service publish`, each time of another service.
async fn publish(place: &Place, often: usize) -> anyhow::Result<Vec<Duration>> {
    let dir = place.node("civil-affairs");
    let name = format!("bench-{:08x}", random::below(&SystemRandom, u64::from(u32::MAX)));
    let sample = include_str!("../../../../examples/quick-start/marriage-registration.yaml");
    let file = dir.join("bench.yaml");
    let (mut took, mut last) = (Vec::new(), None);
    for number in 0..often {
        std::fs::write(&file, sample.replace("service: marriage-registration", &format!("service: {name}-{number}")))?;
        let mut command = Command::new(place.programs().exchange_node());
        command.env("EXCHANGE_DIR", &dir).args(["--json", "service", "publish"]).arg(&file);
        let started = Instant::now();
        let output = command.output().await?;
        took.push(started.elapsed());
        if !output.status.success() {
            bail!("service publish: {}", String::from_utf8_lossy(&output.stderr));
        }
        // What is published already costs next to nothing, and is not what is measured.
        let said: Value = serde_json::from_slice(&output.stdout).context("service publish answers in JSON")?;
        let index = said["index"].as_u64();
        ensure!(index > last, "nothing was published: {said}");
        last = index;
    }
    Ok(took)
}

/// A statement of housing that is made and signed here.
async fn submit(place: &Place, ready: &RegistryReady, often: usize) -> anyhow::Result<Vec<Duration>> {
    let keys = place.keys("housing")?;
    let signer = keys.department_signer().context("housing's key is here")?;
    let client = place.link(ready)?.directory(None)?;
    let mut submitter = Submitter { exchange: place.exchange()?, signer, client };
    let mut took = Vec::new();
    for _ in 0..often {
        let added = SigningKey::from_seed(&random::array(&SystemRandom));
        let key = added.public_key().clone();
        let described = DescribedKey { role: Role::Node, key, valid_from_ms: 0, valid_until_ms: None };
        let body = Body::KeyAdded(KeyAdded {
            department: "housing".into(),
            key: Some(described.to_wire()),
            node: "bench".into(),
        });
        let started = Instant::now();
        submitter.say(&Object::Key(*added.public_key().id()), None, body).await?;
        took.push(started.elapsed());
    }
    Ok(took)
}
