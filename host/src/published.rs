//! Files that somebody publishes under one address: read over plain HTTP, or from a folder with a copy of them. For what
//! is signed, so that neither the way nor the place has to be trusted.
//!
//! Limits: a file is at most as large as its reader says, an answer takes at most 30 seconds, redirects are not followed.
//! Out of scope: TLS (whoever publishes behind it can be read through a copy in a folder), and what the files say.

use std::{
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Mutex};

/// How long one answer may take.
const SLOWEST_ANSWER: Duration = Duration::from_secs(30);

/// Why a published file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be read.
    #[error("{text:?} is no address: write http://HOST:PORT, or the path of a folder")]
    AddressWrong {
        /// What was given.
        text: String,
    },
    /// The connection failed, or what came over it is no HTTP.
    #[error("{address}: {source}")]
    Connection {
        /// The address.
        address: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// There is no such file.
    #[error("{what} is not there")]
    NotFound {
        /// The file.
        what: String,
    },
    /// The server answered something else than the file.
    #[error("{what}: the server answers {status}")]
    Status {
        /// The file.
        what: String,
        /// The answer's status.
        status: StatusCode,
    },
    /// It took too long.
    #[error("{what}: no answer within {} seconds", SLOWEST_ANSWER.as_secs())]
    TimedOut {
        /// The file.
        what: String,
    },
    /// The file is larger than it may be.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        what: String,
        /// The most that is read.
        limit: usize,
    },
}

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// A server that speaks HTTP, `host:port`, and the path below which the files are, which ends with a slash.
    Http {
        /// `host:port`.
        authority: String,
        /// The path.
        path: String,
    },
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::AddressWrong { text: text.to_owned() };
        if !text.contains("://") {
            return if text.is_empty() { Err(wrong()) } else { Ok(Self::Folder(PathBuf::from(text))) };
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some("http"), Some(authority), None) = (uri.scheme_str(), uri.authority(), uri.query()) else {
            return Err(wrong());
        };
        if authority.as_str().contains('@') {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(80);
        let path = uri.path();
        let path = if path.ends_with('/') { path.to_owned() } else { format!("{path}/") };
        Ok(Self::Http { authority: format!("{}:{port}", authority.host()), path })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(formatter, "{}", folder.display()),
            Self::Http { authority, path } => write!(formatter, "http://{authority}{path}"),
        }
    }
}

/// Reads the files of one place. An HTTP connection is kept for the next file.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    connection: Mutex<Option<http1::SendRequest<Empty<Bytes>>>>,
}

impl Reader {
    /// A reader of a place.
    pub fn new(place: Place) -> Self {
        Self { place, connection: Mutex::new(None) }
    }

    /// The place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Reads one file, of at most `limit` bytes. Its name is a relative path with plain parts, such as `tile/0/000`.
    pub async fn read(&self, name: &str, limit: usize) -> Result<Vec<u8>, Error> {
        match &self.place {
            Place::Folder(folder) => {
                let path = folder.join(name);
                let read = tokio::task::spawn_blocking(move || read_file(&path, limit)).await;
                read.map_err(|error| Error::File { path: folder.join(name), source: io::Error::other(error) })?
            }
            Place::Http { authority, path } => {
                let (path, what) = (format!("{path}{name}"), format!("{}{name}", self.place));
                let fetched = tokio::time::timeout(SLOWEST_ANSWER, self.fetch(authority, &path, &what, limit)).await;
                fetched.unwrap_or_else(|_| Err(Error::TimedOut { what }))
            }
        }
    }

    async fn fetch(&self, authority: &str, path: &str, what: &str, limit: usize) -> Result<Vec<u8>, Error> {
        let mut kept = self.connection.lock().await;
        let is_kept = kept.is_some();
        let mut sender = match kept.take() {
            Some(sender) => sender,
            None => connect(authority).await?,
        };
        let failed = |source: hyper::Error| connection_error(authority, source);
        let answer = match send(&mut sender, authority, path).await {
            Ok(answer) => answer,
            // A kept connection may have been closed meanwhile.
            Err(_) if is_kept => {
                sender = connect(authority).await?;
                send(&mut sender, authority, path).await.map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(Error::NotFound { what: what.to_owned() }),
            status => return Err(Error::Status { what: what.to_owned(), status }),
        }
        let body = Limited::new(answer.into_body(), limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return Error::TooLarge { what: what.to_owned(), limit };
            }
            Error::Connection { address: authority.to_owned(), source: error }
        })?;
        *kept = Some(sender);
        Ok(body.to_bytes().to_vec())
    }
}

async fn connect(authority: &str) -> Result<http1::SendRequest<Empty<Bytes>>, Error> {
    let stream = TcpStream::connect(authority).await.map_err(|error| connection_error(authority, error))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| connection_error(authority, error))?;
    // Ends with the sender; what goes wrong on it is told to whoever waits for an answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn send(
    sender: &mut http1::SendRequest<Empty<Bytes>>,
    authority: &str,
    path: &str,
) -> Result<http::Response<hyper::body::Incoming>, hyper::Error> {
    sender.ready().await?;
    let mut request = Request::new(Empty::new());
    // A path of plain parts below one that was read as a URI.
    *request.uri_mut() = path.parse().unwrap_or_default();
    if let Ok(host) = authority.parse() {
        request.headers_mut().insert(header::HOST, host);
    }
    sender.send_request(request).await
}

fn connection_error(authority: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Connection { address: authority.to_owned(), source: source.into() }
}

fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound { what: path.display().to_string() },
        _ => Error::File { path: path.to_owned(), source },
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(Error::TooLarge { what: path.display().to_string(), limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_are_read() {
        let http = |authority: &str, path: &str| Place::Http { authority: authority.into(), path: path.into() };
        for (text, place) in [
            ("http://127.0.0.1:7401", http("127.0.0.1:7401", "/")),
            ("http://[::1]:7401/log", http("[::1]:7401", "/log/")),
            ("http://registry.example", http("registry.example:80", "/")),
            ("copies/log", Place::Folder("copies/log".into())),
        ] {
            assert_eq!(text.parse::<Place>().unwrap(), place, "{text}");
        }
        for wrong in ["", "https://registry.example", "http://a@b/", "http://b/?c", "ftp://b", "http://"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn files_are_read_from_a_folder_up_to_their_limit() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tile")).unwrap();
        std::fs::write(dir.path().join("tile/0"), b"12345").unwrap();
        let reader = Reader::new(Place::Folder(dir.path().to_owned()));
        assert_eq!(reader.read("tile/0", 5).await.unwrap(), b"12345");
        assert!(matches!(reader.read("tile/0", 4).await, Err(Error::TooLarge { limit: 4, .. })));
        assert!(matches!(reader.read("tile/1", 4).await, Err(Error::NotFound { .. })));
        assert!(matches!(reader.read("tile", 4).await, Err(Error::File { .. })));
    }

    /// A server that answers each connection once, and closes it.
    async fn server(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"GET /log/tile/0 HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        format!("http://{address}/log")
    }

    #[tokio::test]
    async fn files_are_read_over_http_over_connections_that_come_and_go() {
        let found = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345";
        let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        let broken = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";
        let place = server(vec![found, found, found, missing, broken, "horses\r\n\r\n"]).await.parse().unwrap();
        let reader = Reader::new(place);
        assert_eq!(reader.read("tile/0", 5).await.unwrap(), b"12345");
        assert_eq!(reader.read("tile/0", 5).await.unwrap(), b"12345");
        assert!(matches!(reader.read("tile/0", 4).await, Err(Error::TooLarge { .. })));
        assert!(matches!(reader.read("tile/0", 5).await, Err(Error::NotFound { .. })));
        assert!(matches!(reader.read("tile/0", 5).await, Err(Error::Status { .. })));
        assert!(matches!(reader.read("tile/0", 5).await, Err(Error::Connection { .. })));
        // The server is gone.
        assert!(matches!(reader.read("tile/0", 5).await, Err(Error::Connection { .. })));
    }
}
