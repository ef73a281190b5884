//! What a source gives, before anything is made of it: rows of named cells, each in the nearest kind to what the source
//! says. Nothing here is guessed or rounded.
//!
//! Out of scope: what the cells mean for the service ([`super::mapping`]).

use std::fmt;

use jiff::civil::{Date, DateTime};

/// One cell. `Debug` names the kind alone: cells are personal data.
#[derive(Clone, PartialEq, Eq)]
pub enum Raw {
    /// True or false.
    Boolean(bool),
    /// A day.
    Date(Date),
    /// A kind of cell that nothing here reads, with the source's name for it.
    Foreign(String),
    /// A floating point number: the value that was put in may have been another one.
    Inexact,
    /// A whole number.
    Integer(i64),
    /// Several cells.
    List(Vec<Raw>),
    /// A moment, by the clocks of China.
    Moment(DateTime),
    /// No value.
    Null,
    /// A decimal number, in exactly the digits of the source.
    Number(String),
    /// A text.
    Text(String),
}

impl Raw {
    /// The kind, for the operator.
    pub fn kind(&self) -> &str {
        match self {
            Self::Boolean(_) => "true or false",
            Self::Date(_) => "a date",
            Self::Foreign(name) => name,
            Self::Inexact => "a floating point number",
            Self::Integer(_) => "a whole number",
            Self::List(_) => "a list",
            Self::Moment(_) => "a timestamp",
            Self::Null => "null",
            Self::Number(_) => "a decimal number",
            Self::Text(_) => "a text",
        }
    }

    /// The cell as it can be shown to the operator who asked for this very row.
    pub fn shown(&self) -> String {
        match self {
            Self::Boolean(boolean) => boolean.to_string(),
            Self::Date(date) => date.to_string(),
            Self::Foreign(name) => format!("({name})"),
            Self::Inexact => "(a floating point number)".to_owned(),
            Self::Integer(integer) => integer.to_string(),
            Self::List(cells) => cells.iter().map(Self::shown).collect::<Vec<_>>().join("; "),
            Self::Moment(moment) => moment.to_string(),
            Self::Null => "(null)".to_owned(),
            Self::Number(text) | Self::Text(text) => text.clone(),
        }
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "({})", self.kind())
    }
}

/// What kind of cells a column has, as far as the source can say before any is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// True or false.
    Boolean,
    /// Days.
    Date,
    /// Cells of a kind that nothing here reads, by the source's name.
    Foreign(String),
    /// Floating point numbers.
    Inexact,
    /// Whole numbers.
    Integer,
    /// Lists of texts.
    List,
    /// Timestamps.
    Moment,
    /// Decimal numbers.
    Number,
    /// Texts.
    Text,
    /// The source cannot say.
    Unknown,
}

/// What a source gave for one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The names of the columns: known where there is no row, too, because what is not looked up is not absent.
    pub columns: Vec<String>,
    /// The rows, a cell for each column.
    pub rows: Vec<Vec<Raw>>,
}

/// Why a source gave nothing that could be used. Holds no personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It cannot be reached, is too slow, or broke off: asking again later may help.
    #[error("{0}")]
    Down(String),
    /// What was asked of it or what it gave is wrong: somebody has to put something right.
    #[error("{0}")]
    Wrong(String),
}
