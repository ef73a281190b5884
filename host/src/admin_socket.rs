//! The admin socket: how commands on the same machine speak to the running program.
//!
//! A Unix socket `admin.sock` in the program's folder, mode 0600. Whoever connects must be the user the program runs as,
//! or root; the kernel tells who it is. Every command but `serve` goes through it, because only the running program may
//! have its store open. Out of scope: which services stand behind it.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint};

/// The socket's name in the program's folder.
pub const SOCKET_NAME: &str = "admin.sock";

/// The longest path of a Unix socket on Linux, in bytes.
pub const LONGEST_PATH_BYTES: usize = 107;

/// What can be wrong with an admin socket. Each sentence says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// A program answers on the socket already.
    #[error("a program is already running in {}", dir.display())]
    AlreadyRunning {
        /// The folder.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot use the admin socket {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("no program is running in {}: start it with `{start}`", dir.display())]
    NotRunning {
        /// The folder.
        dir: PathBuf,
        /// The command that starts it.
        start: String,
    },
    /// The caller may not enter the folder or use the socket.
    #[error("the program in {} belongs to another user: run this as that user or as root", dir.display())]
    OtherUser {
        /// The folder.
        dir: PathBuf,
    },
    /// The path is longer than the operating system allows.
    #[error("the path {} has {length} bytes, and a Unix socket's path can have {LONGEST_PATH_BYTES}: choose a folder with a shorter path", path.display())]
    PathTooLong {
        /// The socket.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Serving ended.
    #[error("the admin socket has failed: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// Something that is no socket stands in its place.
    #[error("{} is not a socket: move it away", path.display())]
    NotASocket {
        /// What stands there.
        path: PathBuf,
    },
}

/// A bound admin socket.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Binds `admin.sock` in the folder `dir`. A socket that a killed program left behind is replaced, one on which
    /// somebody answers is not.
    pub fn bind(dir: &Path) -> Result<Self, AdminError> {
        let path = socket_path(dir)?;
        clear_stale(dir, &path)?;
        let failed = |source| AdminError::Io { path: path.clone(), source };
        // Bound under another name, made private, then renamed: there is no moment at which others could connect.
        let temporary = dir.join("admin.new");
        let _ = fs::remove_file(&temporary);
        let listener = UnixListener::bind(&temporary).map_err(failed)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// Serves `router` until `stop` completes, then removes the socket.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>) -> Result<(), AdminError> {
        Ok(router.serve_with_incoming_shutdown(self.incoming(), stop).await?)
    }

    /// The connections of those who may connect, for routers with layers of their own.
    pub fn incoming(self) -> AdminIncoming {
        let Self { listener, path } = self;
        let (sender, connections) = mpsc::channel(16);
        let accepting = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((connection, _)) if is_allowed(&connection) => {
                        if sender.send(connection).await.is_err() {
                            break;
                        }
                    }
                    Ok(_) => tracing::warn!("another user's process tried the admin socket; refused"),
                    Err(error) => {
                        // Out of descriptors, most likely: let others finish.
                        tracing::warn!(%error, "cannot accept on the admin socket");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        AdminIncoming { connections, accepting, path }
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The accepted connections of an [`AdminSocket`]; dropping it removes the socket.
#[derive(Debug)]
pub struct AdminIncoming {
    connections: mpsc::Receiver<UnixStream>,
    accepting: JoinHandle<()>,
    path: PathBuf,
}

impl Stream for AdminIncoming {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(context).map(|connection| connection.map(Ok))
    }
}

impl Drop for AdminIncoming {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = fs::remove_file(&self.path);
    }
}

/// Connects to the program running in the folder `dir`. `start` is the command that would start it, for the error.
pub async fn connect(dir: &Path, start: &str) -> Result<Channel, AdminError> {
    let path = socket_path(dir)?;
    // One try first, so that the reason can be told plainly: tonic would hide it in "transport error".
    UnixStream::connect(&path).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AdminError::NotRunning { dir: dir.to_owned(), start: start.to_owned() }
        }
        io::ErrorKind::PermissionDenied => AdminError::OtherUser { dir: dir.to_owned() },
        _ => AdminError::Io { path: path.clone(), source },
    })?;
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Ok(Endpoint::from_static("http://admin").connect_with_connector_lazy(connector))
}

fn socket_path(dir: &Path) -> Result<PathBuf, AdminError> {
    let path = dir.join(SOCKET_NAME);
    let length = path.as_os_str().len();
    if length > LONGEST_PATH_BYTES {
        return Err(AdminError::PathTooLong { path, length });
    }
    Ok(path)
}

fn clear_stale(dir: &Path, path: &Path) -> Result<(), AdminError> {
    let failed = |source| AdminError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(AdminError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(AdminError::AlreadyRunning { dir: dir.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

fn is_allowed(connection: &UnixStream) -> bool {
    connection.peer_cred().is_ok_and(|peer| user_is_allowed(peer.uid(), rustix::process::geteuid().as_raw()))
}

fn user_is_allowed(peer: u32, me: u32) -> bool {
    peer == me || peer == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::Readiness;
    use tokio_util::sync::CancellationToken;
    use tonic::transport::Server;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    const START: &str = "exchange-node serve";

    async fn router() -> Router {
        let (health, _) = crate::health::service(&Readiness::new(), &[]).await;
        Server::builder().add_service(health)
    }

    #[tokio::test]
    async fn a_command_reaches_the_running_program_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let error = connect(folder.path(), START).await.unwrap_err().to_string();
        let dir = folder.path().display();
        assert_eq!(error, format!("no program is running in {dir}: start it with `exchange-node serve`"));

        let socket = AdminSocket::bind(folder.path()).unwrap();
        let path = socket.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(socket.serve(router().await, stop.clone().cancelled_owned()));

        let channel = connect(folder.path(), START).await.unwrap();
        let answer = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(answer.into_inner().status, 1);
        assert!(matches!(AdminSocket::bind(folder.path()), Err(AdminError::AlreadyRunning { .. })));

        drop(channel);
        stop.cancel();
        serving.await.unwrap().unwrap();
        assert!(!path.exists());
        assert!(matches!(connect(folder.path(), START).await, Err(AdminError::NotRunning { .. })));
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        drop(AdminSocket::bind(folder.path()).unwrap());
        assert!(folder.path().join(SOCKET_NAME).exists());
        assert!(matches!(connect(folder.path(), START).await, Err(AdminError::NotRunning { .. })));
        let second = AdminSocket::bind(folder.path()).unwrap();
        drop(second);
        fs::remove_file(folder.path().join(SOCKET_NAME)).unwrap();
        fs::write(folder.path().join(SOCKET_NAME), "mine").unwrap();
        assert!(matches!(AdminSocket::bind(folder.path()), Err(AdminError::NotASocket { .. })));
        assert_eq!(fs::read(folder.path().join(SOCKET_NAME)).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_told_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(100));
        fs::create_dir(&long).unwrap();
        for error in [AdminSocket::bind(&long).unwrap_err(), connect(&long, START).await.unwrap_err()] {
            assert!(error.to_string().ends_with("choose a folder with a shorter path"), "{error}");
        }
        // The longest that is allowed works.
        let room = LONGEST_PATH_BYTES - SOCKET_NAME.len() - 2 - folder.path().as_os_str().len();
        let longest = folder.path().join("y".repeat(room));
        fs::create_dir(&longest).unwrap();
        assert_eq!(AdminSocket::bind(&longest).unwrap().path().as_os_str().len(), LONGEST_PATH_BYTES);
    }

    #[test]
    fn only_the_same_user_and_root_may_connect() {
        assert!(user_is_allowed(1000, 1000));
        assert!(user_is_allowed(0, 1000));
        assert!(!user_is_allowed(1001, 1000));
        assert!(!user_is_allowed(1000, 0));
    }
}
