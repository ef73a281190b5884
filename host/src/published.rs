//! Files that somebody publishes under one address: read over plain HTTP, from a folder with a copy of them, or, where only
//! members may read them, over mutual TLS from a peer that is known by its key. For what is signed, so that neither the way
//! nor the place has to be trusted.
//!
//! Limits: a file is at most as large as its reader says, an answer takes at most 30 seconds, redirects are not followed.
//! Out of scope: TLS to servers known by name (whoever publishes behind it can be read through a copy in a folder), and
//! what the files say.

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
use tonic::transport::Channel;
use tower::{Service, ServiceExt};

use crate::{edge::ChannelLimits, tls::PeerConnector};

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
    /// The peer, where the files are read from one that is known by its key.
    peer: Option<Channel>,
    connection: Mutex<Option<http1::SendRequest<Empty<Bytes>>>>,
}

/// A file with its ETag, where the server gave it one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its ETag.
    pub tag: Option<String>,
}

impl Reader {
    /// A reader of a place.
    pub fn new(place: Place) -> Self {
        Self { place, peer: None, connection: Mutex::new(None) }
    }

    /// A reader of what a peer serves, held to its key, at `address` as far as errors say.
    pub fn of_peer(connector: &PeerConnector, address: &str) -> Self {
        let place = Place::Http { authority: address.to_owned(), path: "/".to_owned() };
        let peer = Some(connector.channel(&ChannelLimits::default()));
        Self { place, peer, connection: Mutex::new(None) }
    }

    /// The place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Reads one file, of at most `limit` bytes. Its name is a relative path with plain parts, such as `tile/0/000`.
    pub async fn read(&self, name: &str, limit: usize) -> Result<Vec<u8>, Error> {
        let read = self.read_newer(name, limit, None).await?;
        read.map(|file| file.bytes).ok_or_else(|| Error::NotFound { what: format!("{}{name}", self.place) })
    }

    /// As [`Reader::read`], unless the file has still the tag `known`: then `None`. Files of a folder have no tags.
    pub async fn read_newer(&self, name: &str, limit: usize, known: Option<&str>) -> Result<Option<Tagged>, Error> {
        match &self.place {
            Place::Folder(folder) => {
                let path = folder.join(name);
                let read = tokio::task::spawn_blocking(move || read_file(&path, limit)).await;
                let read =
                    read.map_err(|error| Error::File { path: folder.join(name), source: io::Error::other(error) })?;
                Ok(Some(Tagged { bytes: read?, tag: None }))
            }
            Place::Http { authority, path } => {
                let what = format!("{}{name}", self.place);
                let ask = Ask { authority, path: format!("{path}{name}"), known, what: &what, limit };
                let fetched = tokio::time::timeout(SLOWEST_ANSWER, self.fetch(&ask)).await;
                fetched.unwrap_or_else(|_| Err(Error::TimedOut { what: what.clone() }))
            }
        }
    }

    async fn fetch(&self, ask: &Ask<'_>) -> Result<Option<Tagged>, Error> {
        if let Some(peer) = &self.peer {
            let failed = |source: tonic::transport::Error| connection_error(ask.authority, source);
            let mut peer = peer.clone();
            let request = ask.request(tonic::body::Body::empty());
            return ask.take(peer.ready().await.map_err(failed)?.call(request).await.map_err(failed)?).await;
        }
        let mut kept = self.connection.lock().await;
        let is_kept = kept.is_some();
        let mut sender = match kept.take() {
            Some(sender) => sender,
            None => connect(ask.authority).await?,
        };
        let failed = |source: hyper::Error| connection_error(ask.authority, source);
        let answer = match send(&mut sender, ask).await {
            Ok(answer) => answer,
            // A kept connection may have been closed meanwhile.
            Err(_) if is_kept => {
                sender = connect(ask.authority).await?;
                send(&mut sender, ask).await.map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let taken = ask.take(answer).await?;
        *kept = Some(sender);
        Ok(taken)
    }
}

/// What is asked for.
struct Ask<'a> {
    authority: &'a str,
    path: String,
    known: Option<&'a str>,
    what: &'a str,
    limit: usize,
}

impl Ask<'_> {
    fn request<B>(&self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        // A path of plain parts below one that was read as a URI.
        *request.uri_mut() = self.path.parse().unwrap_or_default();
        if let Some(tag) = self.known.and_then(|tag| tag.parse().ok()) {
            request.headers_mut().insert(header::IF_NONE_MATCH, tag);
        }
        request
    }

    async fn take<B>(&self, answer: http::Response<B>) -> Result<Option<Tagged>, Error>
    where
        B: hyper::body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let what = self.what.to_owned();
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if self.known.is_some() => return Ok(None),
            StatusCode::NOT_FOUND => return Err(Error::NotFound { what }),
            status => return Err(Error::Status { what, status }),
        }
        let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = Limited::new(answer.into_body(), self.limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return Error::TooLarge { what: self.what.to_owned(), limit: self.limit };
            }
            Error::Connection { address: self.authority.to_owned(), source: error }
        })?;
        Ok(Some(Tagged { bytes: body.to_bytes().to_vec(), tag }))
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
    ask: &Ask<'_>,
) -> Result<http::Response<hyper::body::Incoming>, hyper::Error> {
    sender.ready().await?;
    let mut request = ask.request(Empty::new());
    if let Ok(host) = ask.authority.parse() {
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

    #[tokio::test]
    async fn what_has_not_changed_is_not_read_again() {
        let found = "HTTP/1.1 200 OK\r\netag: \"a\"\r\ncontent-length: 5\r\n\r\n12345";
        let same = "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n";
        let place = server(vec![found, same, same]).await.parse().unwrap();
        let reader = Reader::new(place);
        let first = reader.read_newer("tile/0", 5, None).await.unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), first.tag.as_deref()), (&b"12345"[..], Some("\"a\"")));
        assert_eq!(reader.read_newer("tile/0", 5, first.tag.as_deref()).await.unwrap(), None);
        // Nobody asked for a change: it is no answer.
        assert!(matches!(reader.read("tile/0", 5).await, Err(Error::Status { .. })));
    }
}
