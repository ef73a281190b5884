//! `registry init`: makes the folder, the keys and the configuration, and states what every directory begins with: that
//! the exchange exists, and where its registry is. It runs once; a folder that holds anything is left as it is.
//!
//! Out of scope: serving. The registry's address may change later; `serve` then states the new one.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use host::{clock::Clock, files, random::Random};
use proto::registry::v1::{self as wire, statement::Body};
use trust::{
    directory::{Directory, Object, StatementError, model::Profile, statement},
    ids::ExchangeId,
    key::{DescribedKey, PublicKey, Role, Signer, SigningKey},
};

use crate::{
    DIRECTORY_FOLDER,
    authority::sealed,
    config,
    keys::{self, Keys},
    ledger::{self, Append},
    store::{self, StoreChoice},
};

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Founding {
    /// The exchange's id.
    pub exchange: ExchangeId,
    /// Its name in Chinese.
    pub name: String,
    /// Its name in English; may be empty.
    pub name_en: String,
    /// Where the gRPC port will listen.
    pub listen: SocketAddr,
    /// Where the tile port will listen.
    pub tiles: SocketAddr,
    /// The addresses that others reach the gRPC port at; empty for the one it listens at.
    pub advertise: Vec<String>,
    /// Where the directory is to live: "sled", or the address of a database.
    pub store: String,
    /// The file with the database's password.
    pub store_password_file: Option<PathBuf>,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Founded {
    /// The configuration file.
    pub config: PathBuf,
    /// The authority's public key: what everybody who checks anything has to be told. It is in `authority.pub` too.
    pub authority_key: PublicKey,
}

/// Why no registry was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Listening everywhere says nothing about where others find it.
    #[error(
        "{listen} is every address of this machine: say with --advertise where departments reach it, for example registry.example:7400"
    )]
    AdvertiseMissing {
        /// The address.
        listen: SocketAddr,
    },
    /// The configuration could not be written, or the folder made.
    #[error(transparent)]
    File(#[from] files::Error),
    /// There is something in the folder.
    #[error("the folder {} is not empty: nothing was changed; choose a new one", path.display())]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot use the folder {}: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The keys could not be made.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The ledger could not be written.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// A first statement breaks a rule.
    #[error("the exchange cannot be founded: {0}")]
    Statement(#[from] StatementError),
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is a directory in the store.
    #[error(
        "there is a directory of {size} statements in {place} already: nothing was changed; copy the folder of its registry, without `directory`, to run another one over it"
    )]
    StoreInUse {
        /// The store.
        place: String,
        /// How many statements.
        size: u64,
    },
}

/// The file with the authority's public key as 64 hex digits, for whoever checks evidence.
pub const AUTHORITY_PUBLIC_FILE: &str = "authority.pub";

/// Makes a registry in the folder.
pub async fn init(
    folder: &Path,
    founding: &Founding,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<Founded, Error> {
    if founding.listen.ip().is_unspecified() && founding.advertise.is_empty() {
        return Err(Error::AdvertiseMissing { listen: founding.listen });
    }
    check_empty(folder)?;
    files::private_folder(folder)?;
    let made = make(folder, founding, clock.now_ms(), random).await;
    if made.is_err() {
        // The folder was empty when we came: leave it so, or the next try would stumble over the remains.
        for name in [keys::FOLDER, DIRECTORY_FOLDER] {
            let _ = fs::remove_dir_all(folder.join(name));
        }
        let _ = fs::remove_file(folder.join(AUTHORITY_PUBLIC_FILE));
    }
    made
}

async fn make(folder: &Path, founding: &Founding, now_ms: u64, random: &dyn Random) -> Result<Founded, Error> {
    let ip = founding.listen.ip();
    let names = certificate_names(&founding.advertise, ip);
    let keys = Keys::make(folder, random, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let Keys { authority: Some(authority), log, tls, .. } = keys else {
        return Err(keys::Error::NotAKey { path: folder.join(keys::FOLDER) }.into());
    };
    let announced = wire::RegistryAnnounced {
        addresses: reachable(&founding.advertise, founding.listen),
        tls_key: tls.key_digest().as_bytes().to_vec(),
        tile_addresses: reachable(&[], founding.tiles),
        ..Default::default()
    };
    let entries = first_statements(founding, &authority, log.public_key(), announced, now_ms)?;

    // A relative path means the folder that the configuration will stand in; here it is where the command was called.
    let password = founding.store_password_file.as_deref().map(std::path::absolute).transpose();
    let password = password.map_err(|source| Error::Io { path: folder.to_owned(), source })?;
    let store = founding.store.parse::<StoreChoice>()?.with_password(folder, password.as_deref())?;
    let ledger = store.open(folder, |_| {}).await?;
    let found = match ledger.shared().append(0, entries).await? {
        Append::Appended { .. } => None,
        Append::Moved { size } => Some(Error::StoreInUse { place: store.place(folder), size }),
    };
    ledger.close().await?;
    if let Some(error) = found {
        return Err(error);
    }

    let authority_key = authority.public_key().clone();
    files::create_file(&folder.join(AUTHORITY_PUBLIC_FILE), format!("{authority_key}\n").as_bytes(), 0o644)?;

    // Last of all: a folder with a configuration is a whole registry.
    let config = folder.join(config::FILE_NAME);
    let Founding { exchange, listen, tiles, advertise, .. } = founding;
    let store = (founding.store.as_str(), password.as_deref());
    let text = config::sample(exchange, &authority_key, *listen, *tiles, advertise, store);
    files::create_file(&config, text.as_bytes(), files::PRIVATE_MODE)?;
    Ok(Founded { config, authority_key })
}

/// The addresses to tell others. A port that the system will choose is not known yet.
pub(crate) fn reachable(advertise: &[String], listen: SocketAddr) -> Vec<String> {
    if !advertise.is_empty() {
        return advertise.to_vec();
    }
    let known = listen.port() != 0 && !listen.ip().is_unspecified();
    known.then(|| listen.to_string()).into_iter().collect()
}

fn first_statements(
    founding: &Founding,
    authority: &SigningKey,
    log_key: &PublicKey,
    announced: wire::RegistryAnnounced,
    now_ms: u64,
) -> Result<Vec<Vec<u8>>, StatementError> {
    // Whatever the clocks of those who read it say, the founding's keys count from the beginning.
    let describe = |key: &PublicKey, role| {
        let key = DescribedKey { role, key: key.clone(), valid_from_ms: 0, valid_until_ms: None };
        Some(key.to_wire())
    };
    let founded = wire::ExchangeFounded {
        name: Some(wire::LocalName { zh: founding.name.clone(), en: founding.name_en.clone() }),
        authority_key: describe(authority.public_key(), Role::Authority),
        log_key: describe(log_key, Role::Log),
        profile: Some(Profile::usual()),
    };
    let bodies =
        [(Object::Exchange, Body::ExchangeFounded(founded)), (Object::Registry, Body::RegistryAnnounced(announced))];
    let mut directory = Directory::new(founding.exchange.clone(), authority.public_key().clone());
    bodies
        .into_iter()
        .map(|(object, body)| {
            let entry = sealed(&statement(&founding.exchange, &object, None, now_ms, body), authority);
            directory.apply(&entry)?;
            Ok(entry)
        })
        .collect()
}

pub(crate) fn certificate_names(advertise: &[String], ip: IpAddr) -> Vec<String> {
    let host = |address: &String| {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        host.trim_matches(['[', ']']).to_owned()
    };
    let mut names: Vec<String> = advertise.iter().map(host).collect();
    if names.is_empty() {
        names.push(ip.to_string());
    }
    names
}

fn check_empty(folder: &Path) -> Result<(), Error> {
    match fs::read_dir(folder) {
        Ok(mut content) => match content.next() {
            None => Ok(()),
            Some(_) => Err(Error::FolderInUse { path: folder.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Io { path: folder.to_owned(), source }),
    }
}

/// For tests in other rooms.
#[cfg(test)]
pub(crate) fn first_entries(authority: &SigningKey, log_key: &PublicKey, now_ms: u64) -> Vec<Vec<u8>> {
    let address: SocketAddr = "127.0.0.1:7400".parse().unwrap();
    let founding = Founding {
        exchange: "ninghe".parse().unwrap(),
        name: "宁河省".to_owned(),
        name_en: String::new(),
        listen: address,
        tiles: address,
        advertise: Vec::new(),
        store: store::EMBEDDED.to_owned(),
        store_password_file: None,
    };
    let announced = wire::RegistryAnnounced { tls_key: vec![7; 32], ..Default::default() };
    first_statements(&founding, authority, log_key, announced, now_ms).unwrap()
}

#[cfg(test)]
mod tests {
    use host::{
        clock::MockClock,
        committer::CommitterOptions,
        random::SeededRandom,
        store::{SMALL_CACHE_BYTES, Store},
    };

    use super::*;
    use crate::ledger::{Ledger, ReadLimit, SledLedger};

    const NOW_MS: u64 = 1_795_000_000_000;

    fn founding() -> Founding {
        Founding {
            exchange: "ninghe".parse().unwrap(),
            name: "宁河省".to_owned(),
            name_en: "Ninghe".to_owned(),
            listen: "127.0.0.1:7400".parse().unwrap(),
            tiles: "127.0.0.1:0".parse().unwrap(),
            advertise: Vec::new(),
            store: store::EMBEDDED.to_owned(),
            store_password_file: None,
        }
    }

    async fn made(folder: &Path, founding: &Founding) -> Result<Founded, Error> {
        init(folder, founding, &MockClock::at(NOW_MS), &SeededRandom::new(1)).await
    }

    #[tokio::test]
    async fn a_new_registry_holds_the_two_first_statements() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("registry");
        let founded = made(&folder, &founding()).await.unwrap();
        let (config, of) = config::Config::load(&founded.config).unwrap();
        let public = fs::read_to_string(folder.join(AUTHORITY_PUBLIC_FILE)).unwrap();
        assert_eq!(public.trim().parse(), Ok(founded.authority_key.clone()));
        assert_eq!((config.authority_key.clone(), of), (founded.authority_key.clone(), folder.clone()));

        let store = Store::open(&folder.join(DIRECTORY_FOLDER), SMALL_CACHE_BYTES).unwrap();
        let ledger = SledLedger::open(store, CommitterOptions::default(), |_| {}).unwrap();
        let mut directory = Directory::new(config.exchange, config.authority_key);
        for entry in ledger.read(0, ReadLimit::entries(9)).await.unwrap() {
            directory.apply(&entry).unwrap();
        }
        assert_eq!(directory.size(), 2);
        assert_eq!(directory.founding().unwrap().name, "宁河省");
        let announced = directory.registry().unwrap();
        assert_eq!(announced.addresses, ["127.0.0.1:7400"]);
        assert!(announced.tile_addresses.is_empty(), "port 0 is no address to tell anybody");
        let keys = Keys::read(&folder).unwrap();
        assert_eq!(announced.tls_key, keys.tls.key_digest().as_bytes());
    }

    #[tokio::test]
    async fn a_folder_in_use_stays_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("registry");
        let first = made(&folder, &founding()).await.unwrap();
        let before = fs::read(&first.config).unwrap();
        let error = made(&folder, &Founding { exchange: "other".parse().unwrap(), ..founding() }).await.unwrap_err();
        assert!(matches!(error, Error::FolderInUse { .. }), "{error}");
        assert_eq!(fs::read(&first.config).unwrap(), before);
    }

    #[tokio::test]
    async fn listening_everywhere_needs_an_address_to_tell() {
        let parent = tempfile::tempdir().unwrap();
        let everywhere = Founding { listen: "0.0.0.0:7400".parse().unwrap(), ..founding() };
        let folder = parent.path().join("registry");
        let error = made(&folder, &everywhere).await.unwrap_err();
        assert!(error.to_string().contains("--advertise"), "{error}");
        assert!(!folder.exists());
    }
}
