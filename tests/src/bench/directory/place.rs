//! The exchange whose directory is measured: a registry, and three departments with nodes, set up by the programs' own
//! commands, and then so many statements of other departments. It is made once and kept in `target/bench`; each
//! measurement adds a few hundred statements to it. Out of scope: what is measured.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use exchange_node::{keys::NodeKeys, view::RegistryLink};
use host::{
    clock::{Clock, SystemClock},
    terminal,
};
use prost::Message;
use proto::registry::v1::{
    Accepted, SubmitRequest, directory_client::DirectoryClient, statement::Body, submit_response::Outcome,
};
use registry::ledger::{Append, ReadLimit};
use serde::Deserialize;
use tonic::transport::Channel;
use town::harness::{Programs, Scope, town};
use trust::{
    directory::{Directory, Object, statement},
    envelope,
    ids::{Digest, ExchangeId},
    key::Signer,
};

use super::generate::Maker;

/// The departments with nodes.
pub const DEPARTMENTS: [&str; 3] = ["civil-affairs", "housing", "taxation"];

/// Says that the exchange is whole, and how many statements it was made with.
const MADE: &str = "made";

/// An exchange with a large directory.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    programs: Programs,
}

/// Where a registry listens, as its ready file says.
#[derive(Debug, Deserialize)]
pub struct RegistryReady {
    /// gRPC.
    pub address: String,
    /// Tiles.
    pub tiles: String,
}

impl Place {
    /// The exchange of so many statements below `folder`; made where it is not there.
    pub async fn of(folder: &Path, statements: u64) -> anyhow::Result<Self> {
        let dir = std::path::absolute(folder.join(format!("directory-{statements}")))?;
        let place = Self { dir, programs: Programs::find()? };
        if place.dir.join(MADE).exists() {
            return Ok(place);
        }
        if place.dir.exists() {
            std::fs::remove_dir_all(&place.dir)?;
        }
        place.set_up().await.context("the exchange is set up")?;
        place.fill(statements).await.context("the statements are made")?;
        std::fs::write(place.dir.join(MADE), statements.to_string())?;
        Ok(place)
    }

    async fn set_up(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let csv = self.dir.join("marriage.csv");
        std::fs::write(&csv, "resident_id,marital_status,registered_on\n890101199003070011,married,2015-06-01\n")?;
        let yaml = include_str!("../../../../examples/quick-start/marriage-registration.yaml");
        let plan = town(&self.dir).department(DEPARTMENTS[0]).service(yaml, &csv);
        let scope = Scope::of("marital_status", &["equals"]);
        let plan = plan.department(DEPARTMENTS[1]).department(DEPARTMENTS[2]);
        let plan = plan.granting("civil-affairs/marriage-registration", DEPARTMENTS[1], scope);
        Ok(plan.start().await?.stop().await?)
    }

    async fn fill(&self, statements: u64) -> anyhow::Result<()> {
        fill(&self.registry(), statements).await
    }

    /// The registry's folder.
    pub fn registry(&self) -> PathBuf {
        self.dir.join("registry")
    }

    /// The folder of a department's node.
    pub fn node(&self, department: &str) -> PathBuf {
        self.dir.join(department)
    }

    /// How many statements it was made with.
    pub fn statements(&self) -> anyhow::Result<u64> {
        Ok(std::fs::read_to_string(self.dir.join(MADE))?.trim().parse()?)
    }

    /// The programs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The exchange's id.
    pub fn exchange(&self) -> anyhow::Result<ExchangeId> {
        Ok("ninghe".parse()?)
    }

    /// Takes away everything that a node knows of the directory: as if it were new.
    pub fn forget(&self, department: &str) -> anyhow::Result<()> {
        let dir = self.node(department);
        for kept in ["directory", "directory.view"].map(|name| dir.join(name)) {
            if kept.is_dir() {
                std::fs::remove_dir_all(kept)?;
            } else if kept.exists() {
                std::fs::remove_file(kept)?;
            }
        }
        Ok(())
    }

    /// The registry's port.
    pub fn link(&self, ready: &RegistryReady) -> anyhow::Result<RegistryLink> {
        let keys = registry::keys::Keys::read(&self.registry())?;
        Ok(RegistryLink::new(vec![ready.address.clone()], keys.tls.key_digest()))
    }

    /// The keys of a department's node.
    pub fn keys(&self, department: &str) -> anyhow::Result<NodeKeys> {
        Ok(NodeKeys::read(&self.node(department))?)
    }
}

/// Writes statements of made-up departments into the ledger of a registry that is stopped, until it has so many.
pub async fn fill(folder: &Path, statements: u64) -> anyhow::Result<()> {
    let keys = registry::keys::Keys::read(folder)?;
    let authority = keys.authority.context("the authority's key is here")?;
    let (config, _) = registry::config::Config::load(&folder.join(registry::config::FILE_NAME))?;
    let ledger = config.store.open(folder, |error| eprintln!("{error}")).await?;
    let shared = ledger.shared();
    let mut directory = Directory::new(config.exchange, config.authority_key);
    for entry in shared.read(0, ReadLimit::entries(1000)).await? {
        directory.apply(&entry)?;
    }
    let (started, mut size) = (Instant::now(), directory.size());
    let mut maker = Maker::new(directory, &authority, &keys.log, SystemClock.now_ms(), statements);
    let bar = terminal::progress("making statements", statements, "statements");
    loop {
        let entries = maker.more()?;
        if entries.is_empty() {
            break;
        }
        for chunk in entries.chunks(512) {
            match shared.append(size, chunk.to_vec()).await? {
                Append::Appended { size: now, .. } => size = now,
                Append::Moved { size } => anyhow::bail!("somebody else writes: {size}"),
            }
            bar.set_position(size);
        }
    }
    bar.finish_and_clear();
    let (departments, seconds) = (maker.departments(), started.elapsed().as_secs_f64());
    println!("made {size} statements of {departments} departments in {seconds:.0} s; they are kept for next time");
    Ok(ledger.close().await?)
}

/// A department that submits statements of its own to the registry.
pub struct Submitter<'a> {
    /// The exchange.
    pub exchange: ExchangeId,
    /// Its key.
    pub signer: &'a dyn Signer,
    /// The registry.
    pub client: DirectoryClient<Channel>,
}

impl Submitter<'_> {
    /// Submits a statement about an object; where it is in the log, and its identity.
    pub async fn say(
        &mut self,
        object: &Object,
        predecessor: Option<&Digest>,
        body: Body,
    ) -> anyhow::Result<(Accepted, Digest)> {
        let statement = statement(&self.exchange, object, predecessor, SystemClock.now_ms(), body);
        let (envelope, digest) = envelope::seal(&statement, self.signer);
        let request = SubmitRequest { envelope: envelope.encode_to_vec() };
        match self.client.submit(request).await?.into_inner().outcome {
            Some(Outcome::Accepted(accepted)) => Ok((accepted, digest)),
            other => anyhow::bail!("{object}: {other:?}"),
        }
    }
}
