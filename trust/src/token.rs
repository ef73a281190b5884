//! The enrolment token: the small text file that an authority gives to a department, so that the department's machine
//! can make its keys itself and prove once that they are this department's. It says whom to trust (the authority's key,
//! the registry's addresses and TLS key) and carries a secret for one use.
//!
//! The form is a strict part of TOML: `name = "text"` or `name = ["text", …]`, one to a line, `#` begins a comment.
//! Out of scope: where tokens are kept, whether one was used or has expired (the registry knows), and the keys.

use std::fmt;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    ids::{DepartmentId, ExchangeId},
    key::PublicKey,
};

/// The secret of a token: whoever knows it can enrol the department, once. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// From 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads 64 lower-case hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        let secret = bytes.as_slice().try_into().ok().map(Self::new);
        bytes.zeroize();
        secret
    }

    /// As 64 lower-case hex digits, for the token and for the registry's own note of it.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER.encode(self.0.as_slice()))
    }

    /// The proof that an offer comes from the token's holder: HMAC-SHA-256 over `"errand enrolment v1" NUL` and the
    /// exact bytes of the `EnrolmentOffer`.
    pub fn mac(&self, offer: &[u8]) -> [u8; 32] {
        self.keyed(offer).finalize().into_bytes().into()
    }

    /// Whether the proof fits, found out in constant time.
    pub fn fits(&self, offer: &[u8], mac: &[u8]) -> bool {
        self.keyed(offer).verify_slice(mac).is_ok()
    }

    fn keyed(&self, offer: &[u8]) -> Hmac<Sha256> {
        // Unwrap safety: HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("HMAC takes any key");
        mac.update(b"errand enrolment v1\0");
        mac.update(offer);
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// A token, read and known to be whole.
#[derive(Clone, Debug)]
pub struct EnrolmentToken {
    /// The exchange.
    pub exchange: ExchangeId,
    /// The department that may enrol with it.
    pub department: DepartmentId,
    /// The authority's key: from here on the only thing that the department's node believes unseen.
    pub authority_key: PublicKey,
    /// The registry's gRPC addresses, `host:port`; at least one.
    pub registry: Vec<String>,
    /// SHA-256 of the DER SubjectPublicKeyInfo of the registry's TLS key.
    pub registry_tls_key: [u8; 32],
    /// The secret for one use.
    pub secret: Secret,
    /// Until when it can be used, Unix milliseconds.
    pub expires_ms: u64,
}

impl EnrolmentToken {
    /// Reads a token's text. Every field must be there once, and no other.
    ///
    /// # Errors
    ///
    /// The first thing wrong, with its line. No message repeats the secret.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut fields = Fields::read(text)?;
        let token = Self {
            exchange: fields.take("exchange", |text| text.parse().map_err(|error| format!("{error}")))?,
            department: fields.take("department", |text| text.parse().map_err(|error| format!("{error}")))?,
            authority_key: fields.take("authority_key", |text| text.parse().map_err(|error| format!("{error}")))?,
            registry: fields.take_list("registry", check_address)?,
            registry_tls_key: fields.take("registry_tls_key", |text| {
                let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
                bytes.ok_or_else(|| "must be 64 lower-case hex digits".to_owned())
            })?,
            secret: fields.take("secret", |text| {
                Secret::from_hex(text).ok_or_else(|| "must be 64 lower-case hex digits".to_owned())
            })?,
            expires_ms: fields.take("expires", |text| {
                let time: jiff::Timestamp = text.parse().map_err(|_| "must be like 2026-12-31T08:00:00Z".to_owned())?;
                u64::try_from(time.as_millisecond()).map_err(|_| "is before 1970".to_owned())
            })?,
        };
        fields.finish()?;
        Ok(token)
    }

    /// The token's text, for the file. Holds the secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        let addresses: Vec<String> = self.registry.iter().map(|address| format!("\"{address}\"")).collect();
        let expires = i64::try_from(self.expires_ms)
            .ok()
            .and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok())
            .unwrap_or(jiff::Timestamp::MAX);
        Zeroizing::new(format!(
            "# Enrolment token for the department {department} of the exchange {exchange}.\n\
             # Whoever holds it can enrol that department, once. Hand it over by a safe way, then delete it.\n\
             exchange = \"{exchange}\"\n\
             department = \"{department}\"\n\
             authority_key = \"{authority_key}\"\n\
             registry = [{addresses}]\n\
             registry_tls_key = \"{tls_key}\"\n\
             secret = \"{secret}\"\n\
             expires = \"{expires}\"\n",
            exchange = self.exchange,
            department = self.department,
            authority_key = self.authority_key,
            addresses = addresses.join(", "),
            tls_key = HEXLOWER.encode(&self.registry_tls_key),
            secret = self.secret.to_hex().as_str(),
        ))
    }
}

/// Why a text is no enrolment token. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that its field cannot have.
    #[error("line {line}: {field} {reason}")]
    FieldInvalid {
        /// The line.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A field that every token has.
    #[error("the token has no line for {field}; was it copied whole?")]
    FieldMissing {
        /// The field.
        field: &'static str,
    },
    /// A field that stands twice.
    #[error("line {line}: {field} stands there a second time")]
    FieldRepeated {
        /// The line of the second.
        line: usize,
        /// The field.
        field: String,
    },
    /// A field that no token has.
    #[error("line {line}: a token has no field {field:?}")]
    FieldUnknown {
        /// The line.
        line: usize,
        /// The field, cut at 40 characters.
        field: String,
    },
    /// A line of another form.
    #[error("line {line}: not of the form name = \"text\" or name = [\"text\", \"text\"]")]
    LineMalformed {
        /// The line.
        line: usize,
    },
    /// Longer than any token.
    #[error("a token has at most {LONGEST_TOKEN} bytes, this text has {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// The longest text that is looked at, in bytes.
pub const LONGEST_TOKEN: usize = 8192;

/// One `name = value` line.
struct Field {
    line: usize,
    name: String,
    values: Vec<Zeroizing<String>>,
    is_list: bool,
}

struct Fields(Vec<Field>);

impl Fields {
    fn read(text: &str) -> Result<Self, Error> {
        if text.len() > LONGEST_TOKEN {
            return Err(Error::TooLong { length: text.len() });
        }
        // A file that passed through an editor on another system may begin with a mark and end its lines otherwise.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut fields: Vec<Field> = Vec::new();
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let content = raw.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let field = read_line(line, content).ok_or(Error::LineMalformed { line })?;
            if fields.iter().any(|other| other.name == field.name) {
                return Err(Error::FieldRepeated { line, field: field.name });
            }
            fields.push(field);
        }
        Ok(Self(fields))
    }

    fn take<T>(&mut self, name: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Error> {
        let field = self.remove(name)?;
        let invalid = |reason| Error::FieldInvalid { line: field.line, field: name, reason };
        match field.values.as_slice() {
            [value] if !field.is_list => read(value).map_err(invalid),
            _ => Err(invalid("must be one text in quotation marks".to_owned())),
        }
    }

    fn take_list<T>(&mut self, name: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Error> {
        let field = self.remove(name)?;
        let invalid = |reason| Error::FieldInvalid { line: field.line, field: name, reason };
        if !field.is_list || field.values.is_empty() || field.values.len() > 16 {
            return Err(invalid("must be a list of 1 to 16 texts, like [\"registry.example:7400\"]".to_owned()));
        }
        field.values.iter().map(|value| read(value).map_err(invalid)).collect()
    }

    fn remove(&mut self, name: &'static str) -> Result<Field, Error> {
        let position = self.0.iter().position(|field| field.name == name).ok_or(Error::FieldMissing { field: name })?;
        Ok(self.0.remove(position))
    }

    fn finish(self) -> Result<(), Error> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some(field) => Err(Error::FieldUnknown { line: field.line, field: field.name.chars().take(40).collect() }),
        }
    }
}

fn read_line(line: usize, content: &str) -> Option<Field> {
    let (name, value) = content.split_once('=')?;
    let name = name.trim();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        return None;
    }
    let value = value.trim();
    let list = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let values = match list {
        Some(inner) if inner.trim().is_empty() => Vec::new(),
        Some(inner) => inner.split(',').map(read_text).collect::<Option<_>>()?,
        None => vec![read_text(value)?],
    };
    Some(Field { line, name: name.to_owned(), values, is_list: list.is_some() })
}

/// A text in quotation marks. No field needs an escape, so there is none.
fn read_text(quoted: &str) -> Option<Zeroizing<String>> {
    let text = quoted.trim().strip_prefix('"')?.strip_suffix('"')?;
    let plain = |character: char| !character.is_control() && character != '"' && character != '\\';
    text.chars().all(plain).then(|| Zeroizing::new(text.to_owned()))
}

fn check_address(text: &str) -> Result<String, String> {
    let wrong = || format!("must name host:port, not {text:?}");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if host.is_empty() || port == 0 || !host.bytes().all(allowed) {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Signer, SigningKey};

    fn token() -> EnrolmentToken {
        EnrolmentToken {
            exchange: "ninghe".parse().unwrap(),
            department: "civil-affairs".parse().unwrap(),
            authority_key: SigningKey::from_seed(&[1; 32]).public_key().clone(),
            registry: vec!["registry.ninghe.example:7400".to_owned(), "[::1]:7400".to_owned()],
            registry_tls_key: [2; 32],
            secret: Secret::new([0xa3; 32]),
            expires_ms: 1_795_000_000_000,
        }
    }

    fn with(from: &str, to: &str) -> Error {
        let text = token().to_text().replace(from, to);
        EnrolmentToken::parse(&text).expect_err(&text)
    }

    #[test]
    fn a_token_comes_back() {
        let token = token();
        let text = token.to_text();
        let read = EnrolmentToken::parse(&text).unwrap();
        assert_eq!(read.to_text(), text);
        assert_eq!(read.expires_ms, token.expires_ms);
        assert_eq!(read.registry, token.registry);
        let from_elsewhere = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        assert_eq!(EnrolmentToken::parse(&from_elsewhere).unwrap().to_text(), text);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(with("department = \"civil-affairs\"\n", ""), Error::FieldMissing { field: "department" });
        assert_eq!(with("secret = ", "secret "), Error::LineMalformed { line: 8 });
        assert_eq!(with("secret = \"", "secret = "), Error::LineMalformed { line: 8 });
        assert_eq!(with("[\"", "\""), Error::LineMalformed { line: 6 });
        let field = "colour".to_owned();
        assert_eq!(with("expires =", "colour = \"red\"\nexpires ="), Error::FieldUnknown { line: 9, field });
        let field = "exchange".to_owned();
        assert_eq!(with("expires =", "exchange = \"a\"\nexpires ="), Error::FieldRepeated { line: 9, field });
        for (from, to, line, field) in [
            ("\"ninghe\"", "\"Ninghe\"", 3, "exchange"),
            ("\"civil-affairs\"", "\"民政局\"", 4, "department"),
            ("authority_key = \"", "authority_key = \"00", 5, "authority_key"),
            (":7400", "", 6, "registry"),
            (":7400", ":0", 6, "registry"),
            ("registry.ninghe", "registry ninghe", 6, "registry"),
            ("0202", "02", 7, "registry_tls_key"),
            ("a3a3", "A3a3", 8, "secret"),
            ("2026-", "", 9, "expires"),
        ] {
            let error = with(from, to);
            let found = matches!(&error, Error::FieldInvalid { line: l, field: f, .. } if (*l, *f) == (line, field));
            assert!(found, "{from} -> {to}: {error:?}");
        }
        assert_eq!(EnrolmentToken::parse(&"#".repeat(9000)).unwrap_err(), Error::TooLong { length: 9000 });
    }

    #[test]
    fn the_secret_shows_in_no_debug_output_and_no_error() {
        assert!(!format!("{:?}", token()).contains("a3a3"));
        assert!(!with("secret = \"a3", "secret = \"x").to_string().contains("a3"));
    }

    /// RFC 4231's HMAC-SHA-256 is checked by the crate; here it is that the prefix and the whole offer are covered.
    #[test]
    fn a_mac_fits_only_its_offer_and_secret() {
        let secret = Secret::new([1; 32]);
        let mac = secret.mac(b"offer");
        assert!(secret.fits(b"offer", &mac));
        assert!(!secret.fits(b"offers", &mac));
        assert!(!secret.fits(b"offer", &mac[..31]));
        assert!(!Secret::new([2; 32]).fits(b"offer", &mac));
        // Made with Python: hmac.new(bytes([1]) * 32, b"errand enrolment v1\0offer", "sha256").hexdigest()
        assert_eq!(HEXLOWER.encode(&mac), "f582e8a95aa29a1c6b529ffc510f989387c0724517f2c179e55b06584132441a");
    }
}
