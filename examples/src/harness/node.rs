//! A running program of the town as its users see it: addresses, its folder, its admin socket, and the ways to end it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{PoisonError, RwLock},
};

use proto::{
    admin::v1::{
        AddOfficeKeyRequest, access_client::AccessClient, node_client::NodeClient, registry_client::RegistryClient,
    },
    office::v1::verifications_client::VerificationsClient,
};
use serde::Deserialize;
use tokio::sync::OnceCell;
use tonic::transport::Channel;

use super::{Error, Office, process::Program};

/// One department's node.
#[derive(Debug)]
pub struct NodeHandle {
    pub(super) program: Program,
    pub(super) department: String,
    ready: RwLock<NodeReady>,
    office_key: OnceCell<String>,
}

/// The registry.
#[derive(Debug)]
pub struct RegistryHandle {
    pub(super) program: Program,
    ready: RwLock<RegistryReady>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct NodeReady {
    peer: String,
    office: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct RegistryReady {
    address: String,
    tiles: String,
}

impl NodeHandle {
    pub(super) fn new(program: Program, department: String) -> Self {
        Self { program, department, ready: RwLock::default(), office_key: OnceCell::new() }
    }

    /// The department's id.
    #[must_use]
    pub fn department(&self) -> &str {
        &self.department
    }

    /// The node's folder, which `EXCHANGE_DIR` names.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.program.dir
    }

    /// Where other departments' nodes reach it, `address:port`.
    #[must_use]
    pub fn peer_address(&self) -> String {
        self.ready.read().unwrap_or_else(PoisonError::into_inner).peer.clone()
    }

    /// Where the department's own offices reach it, `address:port`.
    #[must_use]
    pub fn office_address(&self) -> String {
        self.ready.read().unwrap_or_else(PoisonError::into_inner).office.clone()
    }

    /// The process's id, where it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.program.id()
    }

    /// The process's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.program.log()
    }

    /// Starts it, at the ports it had before, and waits until it is ready.
    ///
    /// # Errors
    /// It ended by itself, was not ready in time, or runs already.
    pub async fn start(&self) -> Result<(), Error> {
        let ready: NodeReady = self.program.start().await?;
        let config = self.dir().join("node.toml");
        pin(&config, &[("peer_listen", &ready.peer), ("office_listen", &ready.office)])?;
        *self.ready.write().unwrap_or_else(PoisonError::into_inner) = ready;
        Ok(())
    }

    /// Stops it (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// It does not run, or does not stop.
    pub async fn stop(&self) -> Result<ExitStatus, Error> {
        self.program.stop().await
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&self) {
        self.program.kill();
    }

    /// Sends it a signal, for example SIGSTOP to make it hang.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<(), Error> {
        self.program.signal(signal)
    }

    /// Changes the text of its `node.toml`; counts from its next start.
    ///
    /// # Errors
    /// What the file system says.
    pub fn edit_config(&self, edit: impl FnOnce(String) -> String) -> Result<(), Error> {
        edit_file(&self.dir().join("node.toml"), edit)
    }

    /// A client of its admin socket.
    ///
    /// # Errors
    /// It does not run.
    pub async fn admin(&self) -> Result<NodeClient<Channel>, Error> {
        Ok(NodeClient::new(host::admin_socket::connect(self.dir(), "exchange-node serve").await?))
    }

    /// A client of its admin socket for applications, decisions and grants.
    ///
    /// # Errors
    /// It does not run.
    pub async fn access(&self) -> Result<AccessClient<Channel>, Error> {
        Ok(AccessClient::new(host::admin_socket::connect(self.dir(), "exchange-node serve").await?))
    }

    /// A client of its admin socket that asks as the operator, without an office key.
    ///
    /// # Errors
    /// It does not run.
    pub async fn operator(&self) -> Result<VerificationsClient<Channel>, Error> {
        Ok(VerificationsClient::new(host::admin_socket::connect(self.dir(), "exchange-node serve").await?))
    }

    /// An office system at its office port, with an API key, which is made the first time.
    ///
    /// # Errors
    /// It does not run, or makes no key.
    pub async fn office(&self) -> Result<Office, Error> {
        let make = || async {
            let request = AddOfficeKeyRequest { system: format!("{}-desk", self.department), portal: false };
            let added = self.admin().await?.add_office_key(request).await;
            Ok::<_, Error>(added.map_err(Error::call("make an office key"))?.into_inner().key)
        };
        let key = self.office_key.get_or_try_init(make).await?;
        Office::new(&self.office_address(), key)
    }
}

impl RegistryHandle {
    pub(super) fn new(program: Program) -> Self {
        Self { program, ready: RwLock::default() }
    }

    /// The registry's folder, which `REGISTRY_DIR` names.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.program.dir
    }

    /// The gRPC port, `address:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.ready.read().unwrap_or_else(PoisonError::into_inner).address.clone()
    }

    /// The tile port, `address:port`.
    #[must_use]
    pub fn tile_address(&self) -> String {
        self.ready.read().unwrap_or_else(PoisonError::into_inner).tiles.clone()
    }

    /// The process's id, where it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.program.id()
    }

    /// The process's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.program.log()
    }

    /// Starts it, at the ports it had before, and waits until it is ready.
    ///
    /// # Errors
    /// It ended by itself, was not ready in time, or runs already.
    pub async fn start(&self) -> Result<(), Error> {
        let ready: RegistryReady = self.program.start().await?;
        pin(&self.dir().join("registry.toml"), &[("listen", &ready.address), ("tiles", &ready.tiles)])?;
        *self.ready.write().unwrap_or_else(PoisonError::into_inner) = ready;
        Ok(())
    }

    /// Stops it (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// It does not run, or does not stop.
    pub async fn stop(&self) -> Result<ExitStatus, Error> {
        self.program.stop().await
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&self) {
        self.program.kill();
    }

    /// A client of its admin socket.
    ///
    /// # Errors
    /// It does not run.
    pub async fn admin(&self) -> Result<RegistryClient<Channel>, Error> {
        Ok(RegistryClient::new(host::admin_socket::connect(self.dir(), "registry serve").await?))
    }
}

/// Writes the ports that the system chose into the configuration, so that the program has them after a restart too:
/// what was told to others stays true, and a stopped node is missed at the address where it was.
fn pin(config: &Path, addresses: &[(&str, &str)]) -> Result<(), Error> {
    edit_file(config, |text| {
        let line = |line: &str| {
            let (name, _) = line.split_once(" = ")?;
            let (_, address) = addresses.iter().find(|(pinned, _)| *pinned == name)?;
            Some(format!("{name} = \"{address}\""))
        };
        text.lines().map(|text| line(text).unwrap_or_else(|| text.to_owned()) + "\n").collect()
    })
}

/// Replaces the text of a file, where that changes it.
pub(super) fn edit_file(path: &Path, edit: impl FnOnce(String) -> String) -> Result<(), Error> {
    let before = fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))?;
    let after = edit(before.clone());
    if after == before {
        return Ok(());
    }
    fs::write(path, after).map_err(Error::io(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_pinned_and_nothing_else_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        fs::write(&path, "# peer_listen = here\npeer_listen = \"127.0.0.1:0\"\nadvertise = []\n").unwrap();
        pin(&path, &[("peer_listen", "127.0.0.1:5"), ("office_listen", "127.0.0.1:6")]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "# peer_listen = here\npeer_listen = \"127.0.0.1:5\"\nadvertise = []\n");
    }
}
