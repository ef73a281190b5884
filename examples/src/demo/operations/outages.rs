//! What happens when something is away, or cannot be dialled.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{Operations, expect};
use crate::harness::{eventually, free_address};

/// The registry stops; questions are answered all the same; it comes back, and the nodes are with it again.
pub(super) async fn registry_down(town: Operations<'_>) -> anyhow::Result<String> {
    town.town.registry().stop().await?;
    let asked = town.ask_and_match().await;
    town.town.registry().start().await?;
    asked?;
    let back = eventually(PATIENCE, async || {
        let status = town.node(town.office, &["status"]).await;
        status.is_ok_and(|status| status["registry_reachable"] == true)
    });
    expect("the node is with the registry again", &back.await, &true)?;
    Ok("the registry was stopped: questions were answered all the same; it came back, and nobody had to do anything"
        .to_owned())
}

/// Civil affairs' node can no longer be dialled: it waits at a relay, which passes bytes and reads none of them.
pub(super) async fn relay(town: Operations<'_>) -> anyhow::Result<String> {
    let node = town.town.node("civil-affairs");
    let folder = town.folder.join("relay");
    let config = node.dir().join("node.toml").display().to_string();
    let listen = free_address()?;
    let making = ["relay", "init", "--from", &config, "--listen", &listen, "--dir", &town.path("relay")];
    town.node("civil-affairs", &making).await?;
    let mut relay = start_relay(town, &folder).await?;
    let before = std::fs::read_to_string(node.dir().join("node.toml"))?;
    node.stop().await?;
    node.edit_config(|text| {
        text.replace("relays = []", &format!("relays = [\"{listen}\"]"))
            .replace("dial_out_only = false", "dial_out_only = true")
    })?;
    node.start().await?;
    let reached = reached_through(town, &listen).await;
    // As before, for whoever uses the town from here on.
    node.stop().await?;
    node.edit_config(|_| before)?;
    node.start().await?;
    let direct = eventually(PATIENCE, async || {
        let listed = town.node(town.office, &["departments", "show", "civil-affairs"]).await;
        listed.is_ok_and(|listed| listed["nodes"][0]["relays"].as_array().is_some_and(Vec::is_empty))
    });
    expect("the directory names the node's address again", &direct.await, &true)?;
    relay.start_kill().context("the relay is stopped")?;
    relay.wait().await?;
    reached?;
    Ok("civil affairs' node could only dial out: it was asked through a relay, which saw bytes and sizes, and no question".to_owned())
}

async fn reached_through(town: Operations<'_>, relay: &str) -> anyhow::Result<Value> {
    let known = eventually(PATIENCE, async || {
        let listed = town.node(town.office, &["departments", "show", "civil-affairs"]).await;
        listed.is_ok_and(|listed| {
            listed["nodes"][0]["relays"][0] == relay && listed["nodes"][0]["addresses"][0].is_null()
        })
    });
    expect("the directory names the relay and no address", &known.await, &true)?;
    let answered = eventually(PATIENCE, async || town.ask().await.is_ok_and(|told| told["outcome"] == "match"));
    expect("the question through the relay was answered", &answered.await, &true)?;
    town.ask_and_match().await
}

async fn start_relay(town: Operations<'_>, folder: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::create(town.folder.join("relay.log"))?;
    let relay = Command::new(town.town.programs().exchange_node())
        .args(["relay", "serve", "--config"])
        .arg(folder.join("relay.toml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("the relay starts")?;
    let ready = folder.join(host::ready_file::FILE_NAME);
    // One that ends by itself leaves no ready file: it is waited for in vain, and its log says why.
    let is_ready = eventually(PATIENCE, async || std::fs::metadata(&ready).is_ok_and(|file| file.len() > 0));
    if !is_ready.await {
        bail!("the relay is not ready: {}", std::fs::read_to_string(town.folder.join("relay.log")).unwrap_or_default());
    }
    Ok(relay)
}

const PATIENCE: Duration = Duration::from_secs(60);
