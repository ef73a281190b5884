//! `[office]` in `node.toml`: the office port beyond its address. Out of scope: who may use it (`office_keys`).

use std::path::PathBuf;

use serde::Deserialize;

/// The office port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OfficeSettings {
    /// Where TLS is spoken. Elsewhere than on loopback it always is.
    pub tls: TlsUse,
    /// The port's private key and certificate chain, PEM, mode 0600, within the node's folder where the path is relative.
    /// Left out, the node makes a P-256 key and a certificate for it at its first start with TLS.
    pub tls_file: Option<PathBuf>,
    /// The names and addresses in the certificate that the node makes; empty for `localhost` and the port's own address.
    pub names: Vec<String>,
    /// The largest body of a request, in KiB.
    pub largest_body_kib: usize,
    /// The largest body of a job of many questions, in KiB: about 150 bytes a row.
    pub largest_batch_kib: usize,
}

/// Where TLS is spoken.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum TlsUse {
    /// On loopback too.
    Always,
    /// Everywhere but on loopback.
    #[default]
    Elsewhere,
}

impl Default for OfficeSettings {
    fn default() -> Self {
        Self {
            tls: TlsUse::default(),
            tls_file: None,
            names: Vec::new(),
            largest_body_kib: 64,
            largest_batch_kib: 4096,
        }
    }
}
