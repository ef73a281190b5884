//! Starts a town as real processes, each in its own folder, and speaks to it: for the demo, the tests and the
//! benchmarks. A town reads like a sentence:
//!
//! ```no_run
//! # async fn example() -> Result<(), town::harness::Error> {
//! use town::harness::{Scope, town};
//! let town = town("town")
//!     .department("civil-affairs")
//!     .service("service: marriage-registration\n…", "marriage-registration.csv")
//!     .department("housing")
//!     .granting("civil-affairs/marriage-registration", "housing", Scope::of("marital_status", &["equals"]))
//!     .start()
//!     .await?;
//! let housing = town.office("housing").await?;
//! town.node("civil-affairs").kill();
//! # drop(housing); Ok(()) }
//! ```
//!
//! In the town's folder each department has a folder of its id, beside `registry`, `tokens` and `services`; a process's
//! log is the file `log` in its folder. The programs are looked for by [`Programs::find`]. All ports are
//! given out by [`free_port`] and kept over restarts. Dropping a town ends its processes.
//!
//! Out of scope: building the programs, and what the town's people and services are ([`crate::population`],
//! [`crate::services`]).

mod error;
mod node;
mod office;
mod plan;
mod ports;
mod process;
mod programs;
mod setup;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use proto::admin::v1::node_client::NodeClient;
use tokio::{io::AsyncWriteExt, process::Command};
use tonic::transport::Channel;

pub use self::{
    error::Error,
    node::{NodeHandle, RegistryHandle},
    office::{ApiKey, Office, Verifications},
    plan::{Event, Plan, Scope, legal_basis},
    ports::{free_address, free_port},
    process::LOG,
    programs::{Programs, VARIABLE},
};

/// Begins a plan for a town in the folder `dir`, which is made where it does not exist.
///
/// Its path should be short: a Unix socket in a department's folder may have 107 bytes.
#[must_use]
pub fn town(dir: impl Into<PathBuf>) -> Plan {
    Plan::new(dir.into())
}

/// A running town.
#[derive(Debug)]
pub struct Town {
    dir: PathBuf,
    programs: Programs,
    // Before the registry: dropped first, so that no node complains of a registry that went away.
    nodes: BTreeMap<String, NodeHandle>,
    registry: RegistryHandle,
    authority_key: String,
}

impl Town {
    fn new(
        dir: PathBuf,
        programs: Programs,
        registry: RegistryHandle,
        nodes: Vec<NodeHandle>,
        authority_key: String,
    ) -> Self {
        let nodes = nodes.into_iter().map(|node| (node.department().to_owned(), node)).collect();
        Self { dir, programs, nodes, registry, authority_key }
    }

    /// The town's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The programs it runs.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The authority's public key, 64 hex digits: all that evidence is checked against.
    #[must_use]
    pub fn authority_key(&self) -> &str {
        &self.authority_key
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &RegistryHandle {
        &self.registry
    }

    /// The node of a department.
    ///
    /// # Panics
    /// Where the town has no such department: the author of the test or demo has misspelt it.
    #[must_use]
    pub fn node(&self, department: &str) -> &NodeHandle {
        let known = || self.nodes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.nodes.get(department).unwrap_or_else(|| panic!("there is no department `{department}`, only {}", known()))
    }

    /// All nodes, in the order of their departments' ids.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeHandle> {
        self.nodes.values()
    }

    /// An office system of a department at its node's office port, with an API key.
    ///
    /// # Errors
    /// The node does not run.
    pub async fn office(&self, department: &str) -> Result<Office, Error> {
        self.node(department).office().await
    }

    /// A client of a department's admin socket.
    ///
    /// # Errors
    /// The node does not run.
    pub async fn admin(&self, department: &str) -> Result<NodeClient<Channel>, Error> {
        self.node(department).admin().await
    }

    /// Runs an `exchange-node` command at a department; its exit code is the caller's to judge.
    ///
    /// # Errors
    /// The command could not be run at all.
    pub async fn cli(&self, department: &str, arguments: &[&str]) -> Result<Output, Error> {
        self.cli_with_input(department, arguments, "").await
    }

    /// Runs an `exchange-node` command at a department that reads `input` from its standard input.
    ///
    /// # Errors
    /// The command could not be run at all.
    pub async fn cli_with_input(&self, department: &str, arguments: &[&str], input: &str) -> Result<Output, Error> {
        let mut command = Command::new(self.programs.exchange_node());
        command.env("EXCHANGE_DIR", self.node(department).dir()).args(arguments);
        output(command, input).await
    }

    /// Runs a `registry` command; its exit code is the caller's to judge.
    ///
    /// # Errors
    /// The command could not be run at all.
    pub async fn registry_cli(&self, arguments: &[&str]) -> Result<Output, Error> {
        let mut command = Command::new(self.programs.registry());
        command.env("REGISTRY_DIR", self.registry.dir()).args(arguments);
        output(command, "").await
    }

    /// Replaces the records of a department's service by a CSV file (or JSON Lines, named `.jsonl`); returns the rows.
    ///
    /// # Errors
    /// The node refuses the file, or does not run.
    pub async fn import(&self, department: &str, service: &str, records: &Path) -> Result<u64, Error> {
        setup::import(self.node(department), service, 0, records, |_, _| {}).await
    }

    /// Has `consumer` apply for `service` (`<department>/<service>`), the provider approve, and every node see it;
    /// returns the application's id.
    ///
    /// # Errors
    /// Either is refused, or a node does not run.
    pub async fn grant(&self, service: &str, consumer: &str, scope: Scope) -> Result<String, Error> {
        let id = self
            .apply_and_approve(&plan::GrantPlan { service: service.to_owned(), consumer: consumer.to_owned(), scope })
            .await?;
        self.settled().await?;
        Ok(id)
    }

    /// Waits until every running node has seen all that the registry's directory holds now.
    ///
    /// # Errors
    /// The registry does not run, or a node has not caught up within its time.
    pub async fn settled(&self) -> Result<(), Error> {
        let size = setup::directory_size(&self.registry).await?;
        for node in self.nodes.values().filter(|node| node.id().is_some()) {
            setup::directory_seen(node, size).await?;
        }
        Ok(())
    }

    /// Stops everything in order, the registry last.
    ///
    /// # Errors
    /// A process does not stop; all are gone then nevertheless.
    pub async fn stop(self) -> Result<(), Error> {
        for node in self.nodes.values().filter(|node| node.id().is_some()) {
            node.stop().await?;
        }
        if self.registry.id().is_some() {
            self.registry.stop().await?;
        }
        Ok(())
    }

    /// Lets go of the town: its processes live on, and their ids are returned, the registry's last.
    #[must_use]
    pub fn leave_running(mut self) -> Vec<u32> {
        self.programs_mut().for_each(|program| program.surviving = true);
        self.nodes.values().map(NodeHandle::id).chain([self.registry.id()]).flatten().collect()
    }

    fn programs_mut(&mut self) -> impl Iterator<Item = &mut process::Program> {
        self.nodes.values_mut().map(|node| &mut node.program).chain([&mut self.registry.program])
    }
}

/// Waits until `holds` says yes, looking again every few milliseconds; no answer within `limit` is `false`.
///
/// For what a test can only see from outside, such as a line in a log.
pub async fn eventually<Holds: Future<Output = bool>>(limit: Duration, mut holds: impl FnMut() -> Holds) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if holds().await {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn output(mut command: Command, input: &str) -> Result<Output, Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(Error::io("run a command"))?;
    if let Some(mut standard_input) = child.stdin.take() {
        // A command that does not read its input has closed it: its exit code says the rest.
        let _ = standard_input.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await.map_err(Error::io("run a command"))
}
