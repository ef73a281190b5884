//! The types of attributes, with the members of enumerations.
//!
//! Out of scope: what a value of a type looks like, which is in `read`.

use std::fmt;

use super::{LIST_SEPARATOR, read};

/// The most members of an enumeration.
pub const MEMBER_LIMIT: usize = 256;

/// The type of an attribute. Its name is on the wire and in service descriptions, so a name never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Type {
    /// True or false.
    Boolean,
    /// A calendar date.
    Date,
    /// A decimal number, for money too.
    Decimal,
    /// One of the members that the service description names.
    Enum,
    /// A whole number, 64 bits.
    Integer,
    /// Several texts; where the service description names members, each is one of them.
    List,
    /// Any text.
    String,
}

impl Type {
    /// Every type, in the order of their names.
    pub const ALL: [Self; 7] =
        [Self::Boolean, Self::Date, Self::Decimal, Self::Enum, Self::Integer, Self::List, Self::String];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Decimal => "decimal",
            Self::Enum => "enum",
            Self::Integer => "integer",
            Self::List => "list",
            Self::String => "string",
        }
    }

    /// The type with the stable name `name`, which is matched exactly.
    ///
    /// # Errors
    /// [`TypeUnknown`].
    pub fn parse(name: &str) -> Result<Self, TypeUnknown> {
        Self::ALL.into_iter().find(|ty| ty.as_str() == name).ok_or(TypeUnknown)
    }

    pub(super) const fn form(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Date => "a date written YYYY-MM-DD",
            Self::Decimal => "a decimal number such as 60000.00",
            Self::Enum => "a member of the enumeration, as text",
            Self::Integer => "a whole number",
            Self::List => "a list of texts",
            Self::String => "text",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// No type has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be string, boolean, integer, decimal, date, enum or list")]
pub struct TypeUnknown;

/// A type with its members, where it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeType {
    ty: Type,
    members: Vec<String>,
}

impl AttributeType {
    /// The type `ty` with these members: 1 to [`MEMBER_LIMIT`] for an enumeration, any number up to that for a list, none
    /// for other types.
    ///
    /// # Errors
    /// Where members are missing, not allowed, too many, repeated, or not in the spelling that values are brought to.
    pub fn new(ty: Type, members: Vec<String>) -> Result<Self, MemberError> {
        match ty {
            Type::Enum if members.is_empty() => return Err(MemberError::Missing),
            Type::Enum | Type::List => {}
            _ if !members.is_empty() => return Err(MemberError::NotAllowed { ty }),
            _ => {}
        }
        if members.len() > MEMBER_LIMIT {
            return Err(MemberError::TooMany);
        }
        for (index, member) in members.iter().enumerate() {
            // A member that no value can be spelled like would make every such record unreadable.
            if !read::text(member).is_ok_and(|text| text == *member) || member.contains(LIST_SEPARATOR) {
                return Err(MemberError::NotCanonical { index });
            }
            if members[..index].contains(member) {
                return Err(MemberError::Repeated { index });
            }
        }
        Ok(Self { ty, members })
    }

    /// Any text.
    #[must_use]
    pub const fn text() -> Self {
        Self { ty: Type::String, members: Vec::new() }
    }

    /// The type.
    #[must_use]
    pub fn ty(&self) -> Type {
        self.ty
    }

    /// The members of an enumeration, or of what a list may hold, as declared.
    #[must_use]
    pub fn members(&self) -> &[String] {
        &self.members
    }

    /// The type of what a list holds; for other types the type itself.
    #[must_use]
    pub fn element(&self) -> Self {
        match self.ty {
            Type::List if self.members.is_empty() => Self::text(),
            Type::List => Self { ty: Type::Enum, members: self.members.clone() },
            _ => self.clone(),
        }
    }

    pub(super) fn has_member(&self, text: &str) -> bool {
        self.members.iter().any(|member| member == text)
    }
}

/// Why members do not make a type. Indexes count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// An enumeration without members.
    #[error("an enumeration must name its members")]
    Missing,
    /// Members of a type that has none.
    #[error("a {ty} has no members")]
    NotAllowed {
        /// The type.
        ty: Type,
    },
    /// A member in a spelling that values never have.
    #[error("members[{index}] must be in its canonical spelling: NFKC, no outer white space, no semicolon")]
    NotCanonical {
        /// Which member.
        index: usize,
    },
    /// The same member twice.
    #[error("members[{index}] is repeated")]
    Repeated {
        /// Which member.
        index: usize,
    },
    /// Too many members.
    #[error("at most 256 members")]
    TooMany,
}
