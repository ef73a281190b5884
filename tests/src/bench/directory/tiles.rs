//! How many tiles and checkpoints a registry with a large directory serves in a second, beside a bare server of the same
//! bytes over the same library on the same core. What asks is one process on the other core, over connections that stand.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use host::published::Reader;
use http_body_util::Full;
use hyper::{Response, body::Bytes, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use super::{
    NODE_CORE, REGISTRY_CORE,
    place::RegistryReady,
    rounded,
    running::{Ended, on_core},
};

/// How many connections ask.
const CONNECTIONS: usize = 32;

/// How long each is measured, seconds.
const SECONDS: f64 = 3.0;

/// How often a node polls.
const POLL_SECONDS: f64 = 10.0;

/// The most bytes of a tile.
const LARGEST: usize = 16 * 1024 * 1024;

/// Serves one file, in this process, until it is killed.
pub async fn serve(file: PathBuf, ready: PathBuf) -> anyhow::Result<()> {
    let content = Bytes::from(std::fs::read(file)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    std::fs::write(ready, listener.local_addr()?.to_string())?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let content = content.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                let known = request.headers().contains_key(header::IF_NONE_MATCH);
                let answer = Response::builder().status(if known { 304 } else { 200 }).header(header::ETAG, "\"0\"");
                let content = if known { Bytes::new() } else { content.clone() };
                std::future::ready(answer.body(Full::new(content)))
            });
            // Whoever asked has gone.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Asks for one file over and over, in this process; answers in a second. With `newer`, only for what is newer.
pub async fn ask(address: &str, name: &str, newer: bool) -> anyhow::Result<f64> {
    let until = Instant::now() + Duration::from_secs_f64(SECONDS);
    let started = Instant::now();
    let mut asking = Vec::new();
    for _ in 0..CONNECTIONS {
        let reader = Reader::new(format!("http://{address}").parse()?);
        let name = name.to_owned();
        asking.push(tokio::spawn(async move {
            let (mut answers, mut known) = (0_u64, None::<String>);
            while Instant::now() < until {
                let read = reader.read_newer(&name, LARGEST, known.as_deref().filter(|_| newer)).await?;
                known = read.and_then(|file| file.tag).or(known);
                answers += 1;
            }
            anyhow::Ok(answers)
        }));
    }
    let mut answers = 0;
    for task in asking {
        answers += task.await??;
    }
    Ok(answers as f64 / started.elapsed().as_secs_f64())
}

/// Measures tiles and polls, each beside the bare server.
pub async fn measure(ready: &RegistryReady) -> anyhow::Result<Map<String, Value>> {
    let dir = tempfile::tempdir()?;
    let mut figures = Map::new();
    let reader = Reader::new(format!("http://{}", ready.tiles).parse()?);
    for (what, name, newer) in
        [("bundle", "tile/entries/000", false), ("tile", "tile/0/000", false), ("poll", "checkpoint", true)]
    {
        let file = dir.path().join(what);
        std::fs::write(&file, reader.read(name, LARGEST).await?)?;
        let (_server, bare) = bare(&file, dir.path().join(format!("{what}.ready")), name).await?;
        let limit = asked(&bare, "file", newer)?;
        let served = asked(&ready.tiles, name, newer)?;
        println!("{what:<8} {served:>8.0}/s, bare {limit:>8.0}/s");
        figures.insert(format!("{what}s_per_second"), rounded(served, 0));
        figures.insert(format!("{what}s_over_bare_server"), rounded(served / limit, 2));
        if newer {
            figures.insert("polling_nodes_on_one_core".into(), rounded(served * POLL_SECONDS, 0));
        }
    }
    Ok(figures)
}

async fn bare(file: &std::path::Path, ready: PathBuf, name: &str) -> anyhow::Result<(Ended, String)> {
    let mut command = on_core(REGISTRY_CORE, &std::env::current_exe()?);
    let child = Ended(command.arg("http-limit").arg(file).arg(&ready).spawn()?);
    for _ in 0..1000 {
        if let Ok(address) = std::fs::read_to_string(&ready)
            && !address.is_empty()
        {
            return Ok((child, address));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("the bare server of {name} does not come up")
}

fn asked(address: &str, name: &str, newer: bool) -> anyhow::Result<f64> {
    let mut command = on_core(NODE_CORE, &std::env::current_exe()?);
    let output = command.args(["http-load", address, name, &newer.to_string()]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let said = String::from_utf8_lossy(&output.stderr);
    text.trim().parse().with_context(|| format!("asking {address} for {name}: {text:?} {said}"))
}
