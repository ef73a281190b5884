//! Names that both sides sign: the exchange, departments, nodes, services, and digests of messages. Each is a type of
//! its own that can only hold a valid value, so that nothing downstream checks again. Identifiers of *people* are not
//! here: see `subject`.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use smol_str::SmolStr;

/// Why a name is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than allowed.
    #[error("{what} must have 1 to {longest} characters")]
    Length {
        /// Which kind of name.
        what: &'static str,
        /// The longest allowed.
        longest: usize,
    },
    /// A character outside the name's alphabet.
    #[error("{what} must be lower-case letters, digits and hyphens, and begin with a letter or digit")]
    Alphabet {
        /// Which kind of name.
        what: &'static str,
    },
    /// Not `<exchange>/<department>`.
    #[error("a party is written <exchange>/<department>")]
    Party,
    /// Not `<department>/<service>`.
    #[error("a service is written <department>/<service>")]
    Service,
    /// Not a digest's hex digits or bytes.
    #[error("{what} must be {length} bytes")]
    Bytes {
        /// Which kind of value.
        what: &'static str,
        /// The length it must have.
        length: usize,
    },
}

/// The longest name in bytes: it stands in file names, log origins and object names.
const LONGEST_NAME: usize = 63;

fn check_name(what: &'static str, text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > LONGEST_NAME {
        return Err(IdError::Length { what, longest: LONGEST_NAME });
    }
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.bytes().all(valid) || text.starts_with('-') {
        return Err(IdError::Alphabet { what });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(SmolStr);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check_name($what, text)?;
                Ok(Self(text.into()))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <&str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The exchange's id, for example `ninghe-province`.
    ExchangeId, "an exchange's id"
);
name!(
    /// A department's id within its exchange, for example `civil-affairs`. Never changes and is never used again.
    DepartmentId, "a department's id"
);
name!(
    /// A node's id within its department, for example `1`.
    NodeId, "a node's id"
);
name!(
    /// A data service's id within its department, for example `marriage-registration`.
    ServiceName, "a service's id"
);
name!(
    /// The id of an access application and of the grant it becomes: 16 hex digits, random.
    AccessId, "an application's id"
);

macro_rules! lowest {
    ($type:ident) => {
        impl $type {
            /// Sorts before every other id, so that a range can begin with it. Never an id itself.
            pub(crate) fn lowest() -> Self {
                Self("".into())
            }
        }
    };
}

lowest!(AccessId);
lowest!(DepartmentId);
lowest!(NodeId);
lowest!(ServiceName);

/// A department as it stands in signed messages: `<exchange>/<department>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party {
    exchange: ExchangeId,
    department: DepartmentId,
}

impl Party {
    /// The department of that exchange.
    pub fn new(exchange: ExchangeId, department: DepartmentId) -> Self {
        Self { exchange, department }
    }

    /// The exchange.
    pub fn exchange(&self) -> &ExchangeId {
        &self.exchange
    }

    /// The department.
    pub fn department(&self) -> &DepartmentId {
        &self.department
    }
}

impl FromStr for Party {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (exchange, department) = text.split_once('/').ok_or(IdError::Party)?;
        Ok(Self { exchange: exchange.parse()?, department: department.parse()? })
    }
}

impl fmt::Display for Party {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.exchange, self.department)
    }
}

impl fmt::Debug for Party {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// A data service of a department in one major version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceId {
    /// The department that provides it.
    pub department: DepartmentId,
    /// Its id within the department.
    pub service: ServiceName,
    /// Its major version.
    pub major: u32,
}

impl ServiceId {
    /// Reads `<department>/<service>`, as people write it, for the given major version.
    pub fn read(text: &str, major: u32) -> Result<Self, IdError> {
        let (department, service) = text.split_once('/').ok_or(IdError::Service)?;
        Ok(Self { department: department.parse()?, service: service.parse()?, major })
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{} v{}", self.department, self.service, self.major)
    }
}

impl fmt::Debug for ServiceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

macro_rules! bytes {
    ($(#[$doc:meta])* $type:ident, $what:literal, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type([u8; $length]);

        impl $type {
            /// From its bytes.
            pub const fn new(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::try_from(<&[u8]>::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }

        impl TryFrom<&[u8]> for $type {
            type Error = IdError;
            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                let bytes = bytes.try_into().map_err(|_| IdError::Bytes { what: $what, length: $length })?;
                Ok(Self(bytes))
            }
        }

        impl FromStr for $type {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = IdError::Bytes { what: $what, length: $length };
                Self::try_from(HEXLOWER.decode(text.as_bytes()).map_err(|_| wrong)?.as_slice())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{self}")
            }
        }
    };
}

bytes!(
    /// A message's identity: SHA-256 of its DSSE pre-authentication encoding.
    Digest, "a digest", 32
);
bytes!(
    /// A question's identity: 32 random bytes chosen by the asker.
    RequestId, "a request id", 32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet() {
        assert_eq!("civil-affairs".parse::<DepartmentId>().unwrap().as_str(), "civil-affairs");
        for wrong in ["", "Civil", "-a", "a/b", "民政局", "a b", "a.b", &"a".repeat(64)] {
            assert!(wrong.parse::<DepartmentId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_party_has_exactly_two_parts() {
        let party: Party = "ninghe/housing".parse().unwrap();
        assert_eq!(party.to_string(), "ninghe/housing");
        for wrong in ["housing", "/housing", "ninghe/", "a/b/c"] {
            assert!(wrong.parse::<Party>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_digest_is_64_lower_case_hex_digits() {
        let digest = Digest::new([0xab; 32]);
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("AB".repeat(32).parse::<Digest>().is_err());
        assert!("ab".repeat(31).parse::<Digest>().is_err());
    }
}
