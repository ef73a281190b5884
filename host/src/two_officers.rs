//! A box that two officers open together: a secret content sealed so that neither of two secrets alone opens it. For keys
//! that must survive their machine and that no single person may be able to use.
//!
//! A content key of 32 random bytes is split in two by XOR with a random pad: one share tells nothing. Each share is
//! encrypted (XChaCha20-Poly1305) under a key that Argon2id (RFC 9106) derives from one officer's secret; the content is
//! encrypted under the content key. Label, time and officers are bound to all three, so that no part of one box fits
//! another. The box is a text of `name = value` lines, TOML, with comments for whoever finds it in a safe.
//!
//! Out of scope: what is in it, and where secrets come from.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::random::{self, Random};

/// What the text says that it is.
const FORMAT: &str = "two-officer box v1";

/// The shortest secret, in bytes: a passphrase of a few words.
pub const SHORTEST_SECRET: usize = 12;

/// Why a box was not made or does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The content was altered.
    #[error("what is in the box was altered: use another copy of it")]
    ContentAltered,
    /// It is no box.
    #[error("it is no box for two officers: {0}")]
    Malformed(String),
    /// Both officers are the same, or have the same secret.
    #[error("the two officers must be two, each with a secret that the other does not know")]
    NotTwo,
    /// The secret does not open the officer's share.
    #[error("the secret of officer {officer} does not open the box")]
    SecretWrong {
        /// The officer.
        officer: String,
    },
    /// A secret that could be guessed.
    #[error("the secret of officer {officer} is too short: {SHORTEST_SECRET} bytes at least")]
    SecretTooShort {
        /// The officer.
        officer: String,
    },
    /// The cost is not one that Argon2 takes.
    #[error("the cost of the box cannot be paid: {0}")]
    Cost(String),
}

/// How hard it is to guess a secret.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    /// RFC 9106's second recommendation: 64 MiB, 3 passes, 4 lanes.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

/// The most that opening a box may cost; a file cannot ask for more.
const HIGHEST_COST: Cost = Cost { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

/// An officer with a secret.
#[derive(Clone, Copy)]
pub struct Officer<'a> {
    /// By what the officer is known.
    pub name: &'a str,
    /// A passphrase, or the bytes of a file.
    pub secret: &'a [u8],
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: String,
    label: String,
    made_ms: u64,
    officers: [String; 2],
    cost: Cost,
    shares: [Sealed; 2],
    content: Sealed,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    /// For a share, the salt of its officer's key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    salt: String,
    nonce: String,
    sealed: String,
}

/// What a box says of itself, before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What it is.
    pub label: String,
    /// When it was made, Unix milliseconds.
    pub made_ms: u64,
    /// Who opens it, in this order.
    pub officers: [String; 2],
}

/// Seals `content` for two officers.
pub fn seal(
    label: &str,
    content: &[u8],
    officers: [Officer<'_>; 2],
    cost: Cost,
    made_ms: u64,
    random: &dyn Random,
) -> Result<String, Error> {
    let [first, second] = officers;
    if first.name == second.name || first.secret == second.secret {
        return Err(Error::NotTwo);
    }
    for Officer { name, secret } in officers {
        if secret.len() < SHORTEST_SECRET {
            return Err(Error::SecretTooShort { officer: name.to_owned() });
        }
    }
    let key = Zeroizing::new(random::array::<32>(random));
    let pad = Zeroizing::new(random::array::<32>(random));
    let mut rest = Zeroizing::new([0; 32]);
    for (rest, (key, pad)) in rest.iter_mut().zip(key.iter().zip(pad.iter())) {
        *rest = key ^ pad;
    }
    let names = officers.map(|officer| officer.name.to_owned());
    let bound = Bound { label, made_ms, officers: &names };
    let share = |position: usize, share: &[u8; 32]| {
        let salt = random::array::<16>(random);
        let officer_key = derive(officers[position].secret, &salt, cost)?;
        let sealed = encrypt(&officer_key, share, &bound.to("share", position), random)?;
        Ok::<_, Error>(Sealed { salt: hex(&salt), ..sealed })
    };
    let shares = [share(0, &pad)?, share(1, &rest)?];
    let content = encrypt(&key, content, &bound.to("content", 0), random)?;
    let text = Text {
        format: FORMAT.to_owned(),
        label: label.to_owned(),
        made_ms,
        officers: names.clone(),
        cost,
        shares,
        content,
    };
    let body = toml::to_string(&text).map_err(|error| Error::Malformed(error.to_string()))?;
    Ok(format!(
        "# A box that two officers open together: {} and {}. Neither can alone.\n\
         # It holds secrets, encrypted; keep it in two places, away from the machine it was made on.\n{body}",
        names[0], names[1]
    ))
}

/// What a box says of itself. Nothing of it is proved before the box is opened.
pub fn label(text: &str) -> Result<Label, Error> {
    let Text { label, made_ms, officers, .. } = parse(text)?;
    Ok(Label { label, made_ms, officers })
}

/// Opens a box with the secrets of both officers, in the order of its label.
pub fn open(text: &str, secrets: [&[u8]; 2]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let text = parse(text)?;
    let bound = Bound { label: &text.label, made_ms: text.made_ms, officers: &text.officers };
    let mut key = Zeroizing::new([0; 32]);
    for (position, secret) in secrets.into_iter().enumerate() {
        let sealed = &text.shares[position];
        let officer_key = derive(secret, &unhex(&sealed.salt)?, text.cost)?;
        let share = decrypt(&officer_key, sealed, &bound.to("share", position))?;
        let share = share.filter(|share| share.len() == 32);
        let share = share.ok_or_else(|| Error::SecretWrong { officer: text.officers[position].clone() })?;
        for (key, share) in key.iter_mut().zip(share.iter()) {
            *key ^= share;
        }
    }
    decrypt(&key, &text.content, &bound.to("content", 0))?.ok_or(Error::ContentAltered)
}

/// What every part of a box is bound to.
struct Bound<'a> {
    label: &'a str,
    made_ms: u64,
    officers: &'a [String; 2],
}

impl Bound<'_> {
    fn to(&self, part: &str, position: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let made = self.made_ms.to_string();
        let position = position.to_string();
        for field in [FORMAT, self.label, &made, &self.officers[0], &self.officers[1], part, &position] {
            // Lengths before the fields: no two boxes are bound to the same bytes.
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes
    }
}

fn parse(text: &str) -> Result<Text, Error> {
    let text: Text = toml::from_str(text).map_err(|error| Error::Malformed(error.message().to_owned()))?;
    if text.format != FORMAT {
        return Err(Error::Malformed(format!("it says that it is {:?}", text.format)));
    }
    let Cost { memory_kib, passes, lanes } = text.cost;
    if memory_kib > HIGHEST_COST.memory_kib || passes > HIGHEST_COST.passes || lanes > HIGHEST_COST.lanes {
        return Err(Error::Cost("it asks for more memory or time than this program gives".to_owned()));
    }
    Ok(text)
}

fn derive(secret: &[u8], salt: &[u8], cost: Cost) -> Result<Zeroizing<[u8; 32]>, Error> {
    let refused = |error: argon2::Error| Error::Cost(error.to_string());
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(refused)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(secret, salt, key.as_mut_slice())
        .map_err(refused)?;
    Ok(key)
}

fn encrypt(key: &[u8; 32], secret: &[u8], bound: &[u8], random: &dyn Random) -> Result<Sealed, Error> {
    let nonce = random::array::<24>(random);
    let sealed = cipher(key)
        .encrypt(&nonce.into(), Payload { msg: secret, aad: bound })
        .map_err(|_| Error::Malformed("it is too large".to_owned()))?;
    Ok(Sealed { salt: String::new(), nonce: hex(&nonce), sealed: hex(&sealed) })
}

/// `None` where the key does not open it, or it was altered.
fn decrypt(key: &[u8; 32], sealed: &Sealed, bound: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let nonce: [u8; 24] =
        unhex(&sealed.nonce)?.try_into().map_err(|_| Error::Malformed("a nonce has not 24 bytes".to_owned()))?;
    let bytes = unhex(&sealed.sealed)?;
    Ok(cipher(key).decrypt(&nonce.into(), Payload { msg: &bytes, aad: bound }).ok().map(Zeroizing::new))
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn unhex(text: &str) -> Result<Vec<u8>, Error> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| Error::Malformed("hex digits are expected".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    const ONE: Officer<'static> = Officer { name: "1024", secret: b"correct horse battery" };
    const OTHER: Officer<'static> = Officer { name: "1025", secret: b"staple tower of ice" };

    fn sealed() -> String {
        seal("ninghe/housing", b"the keys", [ONE, OTHER], CHEAP, 5, &SeededRandom::new(1)).unwrap()
    }

    #[test]
    fn two_officers_open_it_together_and_neither_alone() {
        let text = sealed();
        assert_eq!(open(&text, [ONE.secret, OTHER.secret]).unwrap().as_slice(), b"the keys");
        let says = label(&text).unwrap();
        assert_eq!((says.label.as_str(), says.officers), ("ninghe/housing", ["1024".to_owned(), "1025".to_owned()]));
        for (secrets, officer) in [
            ([ONE.secret, b"guessed guessed".as_slice()], "1025"),
            ([b"guessed guessed".as_slice(), OTHER.secret], "1024"),
            ([ONE.secret, ONE.secret], "1025"),
            ([OTHER.secret, ONE.secret], "1024"),
        ] {
            let error = open(&text, secrets).unwrap_err();
            assert!(matches!(&error, Error::SecretWrong { officer: of } if of == officer), "{error}");
        }
        assert!(!text.contains("the keys"));
    }

    #[test]
    fn whatever_is_altered_is_found_out() {
        let text = sealed();
        let secrets = [ONE.secret, OTHER.secret];
        for (from, to) in [("ninghe/housing", "ninghe/taxation"), ("made_ms = 5", "made_ms = 6"), ("1025", "1026")] {
            assert!(open(&text.replace(from, to), secrets).is_err(), "{from}");
        }
        let other = seal("ninghe/housing", b"others", [ONE, OTHER], CHEAP, 5, &SeededRandom::new(2)).unwrap();
        let content = |text: &str| text[text.find("[content]").unwrap()..].to_owned();
        let mixed = text.replace(&content(&text), &content(&other));
        assert!(matches!(open(&mixed, secrets), Err(Error::ContentAltered)));
        assert!(matches!(open("format = 1", secrets), Err(Error::Malformed(_))));
        let dear = text.replace("memory_kib = 64", "memory_kib = 4000000");
        assert!(matches!(open(&dear, secrets), Err(Error::Cost(_))));
    }

    #[test]
    fn officers_are_two_with_secrets_of_their_own() {
        let seal = |officers| seal("x", b"y", officers, CHEAP, 5, &SeededRandom::new(1)).map(drop);
        assert!(matches!(seal([ONE, Officer { name: "1024", ..OTHER }]), Err(Error::NotTwo)));
        assert!(matches!(seal([ONE, Officer { secret: ONE.secret, ..OTHER }]), Err(Error::NotTwo)));
        let short = Officer { secret: b"short", ..OTHER };
        assert!(matches!(seal([ONE, short]), Err(Error::SecretTooShort { officer }) if officer == "1025"));
    }
}
