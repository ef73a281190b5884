//! Connections to an endpoint: plain to this machine, TLS to any other. The other side shows a certificate of one of the
//! authorities in `ca_file`, and nobody else's; where it wants one, this side shows the client's.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::HttpSettings;

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Option<TlsConnector>,
}

impl Connector {
    pub(super) fn new(settings: &HttpSettings, dir: &Path) -> Result<Self, String> {
        Self::with(settings.ca_file.as_deref(), settings.identity.as_ref(), dir)
    }

    /// Shows no certificate, and believes those that the authorities in `ca_file` have signed.
    pub(crate) fn believing(ca_file: Option<&Path>, dir: &Path) -> Result<Self, String> {
        Self::with(ca_file, None, dir)
    }

    fn with(ca_file: Option<&Path>, identity: Option<&(PathBuf, PathBuf)>, dir: &Path) -> Result<Self, String> {
        let Some(ca_file) = ca_file else { return Ok(Self { tls: None }) };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca_file", &dir.join(ca_file))? {
            roots.add(certificate).map_err(|error| format!("ca_file: {error}"))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificates = certificates("client_certificate_file", &dir.join(certificate))?;
                let key = private_key(&dir.join(key))?;
                builder.with_client_auth_cert(certificates, key).map_err(|error| format!("client_key_file: {error}"))?
            }
        };
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(config))) })
    }
}

fn certificates(field: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unusable = |error: rustls::pki_types::pem::Error| format!("{field}: {}: {error}", path.display());
    let found =
        CertificateDer::pem_file_iter(path).map_err(unusable)?.collect::<Result<Vec<_>, _>>().map_err(unusable)?;
    if found.is_empty() { Err(format!("{field}: {}: holds no certificate (PEM)", path.display())) } else { Ok(found) }
}

fn private_key(path: &PathBuf) -> Result<PrivateKeyDer<'static>, String> {
    let unusable = |error: &dyn std::fmt::Display| format!("client_key_file: {}: {error}", path.display());
    let mode = std::fs::metadata(path).map_err(|error| unusable(&error))?;
    if std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o077 != 0 {
        return Err(unusable(&"others can read it: chmod 600"));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| unusable(&error))
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Channel>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let is_secure = uri.scheme_str() == Some("https");
            let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            if !is_secure {
                return Ok(TokioIo::new(Channel(Box::new(stream))));
            }
            let tls = tls.ok_or_else(|| io::Error::other("no ca_file says whose certificates are believed"))?;
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            Ok(TokioIo::new(Channel(Box::new(tls.connect(name, stream).await?))))
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection, with or without TLS.
pub(crate) struct Channel(Box<dyn Stream>);

impl Connection for Channel {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Channel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Channel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
