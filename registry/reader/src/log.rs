//! The directory's log: the full audit from its tiles, and one statement in words. Out of scope: the checks themselves
//! (`trust::audit`), and whom to believe.

use std::{path::Path, sync::Arc};

use host::{
    files,
    published::{self, Place, Reader},
    terminal,
    tls::{ConnectorOptions, PeerConnector, TlsIdentity, TlsKeyDigest},
};
use proto::registry::v1::{HeadEntry, HeadQuery, OneStatementQuery};
use serde_json::json;
use trust::{
    audit::{self, Audit, Trusted},
    ids::{ExchangeId, IdError},
    key::PublicKey,
    log::hash::Hash,
    reading::{StatementError, StatementWords},
};

use super::{Client, Error, Shown};

/// The directory of the program that is asked: the log is compared with it.
pub struct Own {
    /// How far it goes.
    pub head: HeadEntry,
    /// Where it is asked.
    pub client: Client,
    /// What the report calls it.
    pub name: &'static str,
}

/// The places where a directory's tiles are, over plain HTTP, or as a member where they are for members alone.
///
/// # Errors
///
/// An address is none, or `identity` says why there is no key to show.
pub fn announced(
    addresses: &[String],
    head: &HeadEntry,
    identity: impl FnOnce() -> Result<Arc<TlsIdentity>, Error>,
) -> Result<Vec<Reader>, Error> {
    if !head.tiles_members_only {
        let plain =
            |address: &String| -> Result<Reader, Error> { Ok(Reader::new(format!("http://{address}").parse()?)) };
        return addresses.iter().map(plain).collect();
    }
    let identity = identity()?;
    let keys = head.registry_tls_keys.iter().filter_map(|key| <[u8; 32]>::try_from(key.as_slice()).ok());
    let keys: Vec<TlsKeyDigest> = keys.map(TlsKeyDigest::from_bytes).collect();
    let member = |address: &String| -> Result<Reader, Error> {
        let options = ConnectorOptions::default();
        let connector = PeerConnector::new([address.clone()], keys.iter().copied(), Some(&identity), options);
        Ok(Reader::of_peer(&connector.map_err(|error| Error::Malformed(error.to_string()))?, address))
    };
    addresses.iter().map(member).collect()
}

/// The same for a place that was named: one that the directory announces itself is read like those.
///
/// # Errors
///
/// As [`announced`].
pub fn named(
    place: Place,
    head: Option<&HeadEntry>,
    identity: impl FnOnce() -> Result<Arc<TlsIdentity>, Error>,
) -> Result<Vec<Reader>, Error> {
    match (&place, head) {
        (Place::Http { authority, path }, Some(head)) if path == "/" && head.tile_addresses.contains(authority) => {
            announced(std::slice::from_ref(authority), head, identity)
        }
        _ => Ok(vec![Reader::new(place)]),
    }
}

/// The checkpoint of the first place that answers, with its reader.
async fn first(readers: Vec<Reader>, keep: Option<&Path>) -> Result<(Reader, Vec<u8>), Error> {
    let mut failure = None;
    for reader in readers {
        match read(&reader, "checkpoint", audit::LONGEST_CHECKPOINT, keep).await {
            Ok(checkpoint) => return Ok((reader, checkpoint)),
            Err(error @ Error::Published(_)) => failure = failure.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| {
        Error::Usage("the directory does not say where its tiles are served: give the place with --from".to_owned())
    }))
}

/// Reads the whole log from the first of the places that answers and checks everything; where there is an own directory of the
/// same exchange, that it is the same. What was read is kept in the folder `keep`.
///
/// # Errors
///
/// It is not sound, or cannot be read or kept.
pub async fn verify(
    places: Vec<Reader>,
    trusted: Trusted,
    own: Option<Own>,
    keep: Option<&Path>,
) -> Result<Shown, Error> {
    let (reader, checkpoint) = first(places, keep).await?;
    let mut audit = Audit::begin(trusted, &String::from_utf8_lossy(&checkpoint)).map_err(not_sound)?;
    if let Some(own) = own.filter(|own| own.head.exchange_id == audit.exchange().as_str()) {
        compare(&mut audit, own).await?;
    }
    let bar = terminal::progress("verifying", audit.size(), "statements");
    while let Some(path) = audit.wanted() {
        let bytes = read(&reader, &path.to_string(), audit::longest(&path), keep).await?;
        audit.give(&bytes).map_err(not_sound)?;
        bar.set_position(audit.verified());
    }
    bar.finish_and_clear();
    let (report, _) = audit.finish().map_err(not_sound)?;
    let text = format!("{}\nThe log is sound.", terminal::facts(report.facts()));
    Ok(Shown { json: json!(report), text })
}

/// The own directory: at its size, or where that is larger, at the log's.
async fn compare(audit: &mut Audit, own: Own) -> Result<(), Error> {
    let Own { head: of, mut client, name } = own;
    let (size, root) = if of.size <= audit.size() {
        (of.size, of.root)
    } else {
        (audit.size(), head(&mut client, audit.size()).await?.root_at_size)
    };
    if let Ok(root) = <[u8; 32]>::try_from(root.as_slice()) {
        audit.compare_with(name, size, Hash::from_bytes(root));
    }
    Ok(())
}

/// How far the directory of the program that is asked goes, with its root at another size; 0 asks for none.
///
/// # Errors
///
/// It cannot be asked for.
pub async fn head(client: &mut Client, at_size: u64) -> Result<HeadEntry, Error> {
    Ok(client.head(HeadQuery { at_size }).await?.into_inner())
}

async fn read(reader: &Reader, name: &str, limit: usize, keep: Option<&Path>) -> Result<Vec<u8>, Error> {
    let bytes = reader.read(name, limit).await.map_err(|error| match error {
        // What a checkpoint covers has to be there.
        published::Error::NotFound { .. } | published::Error::TooLarge { .. } if name != "checkpoint" => {
            Error::NotSound(error.to_string())
        }
        error => Error::Published(error),
    })?;
    if let Some(folder) = keep {
        let path = folder.join(name);
        let failed = |source| Error::Kept { path: path.clone(), source };
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
        std::fs::write(&path, &bytes).map_err(failed)?;
    }
    Ok(bytes)
}

/// One statement in words, with who signed it and the proof that it is in the log, which goes into a new file too where one is
/// named.
///
/// # Errors
///
/// There is none, it is not sound, or the file cannot be written.
pub async fn statement(mut client: Client, index: u64, file: Option<&Path>) -> Result<Shown, Error> {
    let exchange = head(&mut client, 0).await?.exchange_id;
    let proven = client.statement(OneStatementQuery { index }).await?.into_inner();
    let unsound = |error: StatementError| Error::NotSound(error.to_string());
    let words = StatementWords::of(index, &proven.entry, &proven.signers).map_err(unsound)?;
    let exchange: ExchangeId = exchange.parse().map_err(|error: IdError| Error::Malformed(error.to_string()))?;
    let proof = StatementWords::proof(&exchange, &proven).map_err(unsound)?;
    if let Some(file) = file {
        files::create_file(file, proof.to_string().as_bytes(), files::PUBLIC_MODE)?;
    }
    let mut json = json!(words);
    json["proof"] = json!(proof.to_string());
    let place = format!("in the log: {} hashes lead to the signed checkpoint", proof.hashes().len());
    let facts = terminal::facts(words.facts().into_iter().chain([("proof", place)]));
    let mut text = format!("Statement {index}: {}\n{facts}", words.kind.replace('_', " "));
    if !words.details.is_empty() {
        text += &format!("\n{}", terminal::table(["detail", "value"], words.detail_rows()));
    }
    Ok(Shown { json, text })
}

/// The authority's key, as hex digits or in a file of them.
///
/// # Errors
///
/// It is neither.
pub fn authority_key(text: &str) -> Result<PublicKey, Error> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let wrong =
        || Error::Usage(format!("--authority {text}: neither a public key of 64 hex digits nor a file that holds one"));
    std::fs::read_to_string(text).map_err(|_| wrong())?.trim().parse().map_err(|_| wrong())
}

fn not_sound(error: audit::Error) -> Error {
    Error::NotSound(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(members: bool) -> HeadEntry {
        HeadEntry {
            tile_addresses: vec!["10.89.0.1:7401".into(), "10.89.0.2:7401".into()],
            tiles_members_only: members,
            registry_tls_keys: vec![vec![7; 32]],
            ..HeadEntry::default()
        }
    }

    #[test]
    fn a_key_is_shown_only_where_tiles_are_for_members() {
        let none = || -> Result<Arc<TlsIdentity>, Error> { Err(Error::Usage("there is no key".to_owned())) };
        let open = head(false);
        assert_eq!(announced(&open.tile_addresses, &open, none).unwrap().len(), 2);
        let closed = head(true);
        assert!(announced(&closed.tile_addresses, &closed, none).is_err());
        // A place that is named and is the registry's own is read like it; a copy needs no key.
        let place = |text: &str| text.parse::<Place>().unwrap();
        assert!(named(place("http://10.89.0.2:7401"), Some(&closed), none).is_err());
        for copy in ["http://10.89.0.3:7401", "http://10.89.0.2:7401/copy", "copies/log"] {
            assert_eq!(named(place(copy), Some(&closed), none).unwrap().len(), 1, "{copy}");
        }
        assert_eq!(named(place("http://10.89.0.2:7401"), None, none).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn the_first_place_that_answers_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("checkpoint"), "as signed").unwrap();
        let of = |path: &Path| Reader::new(Place::Folder(path.to_owned()));
        let (reader, checkpoint) = first(vec![of(Path::new("/nowhere")), of(folder.path())], None).await.unwrap();
        assert_eq!((checkpoint.as_slice(), reader.place()), (&b"as signed"[..], of(folder.path()).place()));
        assert!(matches!(first(vec![of(Path::new("/nowhere"))], None).await, Err(Error::Published(_))));
        assert!(matches!(first(Vec::new(), None).await, Err(Error::Usage(_))));
    }
}
