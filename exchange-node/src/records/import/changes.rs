//! A file of changes: what its rows do, and by which columns one row of a subject is told from another.
//!
//! Out of scope: applying them to what is stored (`apply`).

use super::check::{Cell, Fault};
use super::{BadRow, ImportError};
use crate::records::columns::Columns;

/// How a file of changes is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// What its rows do.
    pub operation: ChangeOperation,
    /// The columns that, with the subject, tell one row from another. None: a subject has one row.
    pub key: Vec<String>,
    /// The file holds every change since the records were imported or changed before: what it does not name is as fresh
    /// as what it does.
    pub is_complete: bool,
}

/// What the rows of a file of changes do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeOperation {
    /// The column of this name says it for each row: `upsert` or `delete`.
    Column(String),
    /// Each takes rows out.
    Delete,
    /// Each is put in, or takes the place of the one with its key.
    Upsert,
}

/// What becomes of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Delete,
    Upsert,
}

/// [`Changes`] that fit the columns of their service.
#[derive(Debug)]
pub(in crate::records) struct ChangePlan {
    operation: ChangeOperation,
    key: Vec<usize>,
    is_complete: bool,
}

impl ChangePlan {
    /// # Errors
    /// [`ImportError::Columns`]: each column that is named and not there.
    pub(in crate::records) fn new(changes: &Changes, columns: &Columns) -> Result<Self, ImportError> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, reason: &str| {
            problems.push(BadRow { line: 1, field: field.to_owned(), reason: reason.to_owned() });
        };
        let mut key = Vec::new();
        for name in &changes.key {
            match columns.position(name) {
                Some(position) => key.push(position),
                None => problem(name, "is named as a part of the key and is no column of the records"),
            }
        }
        if let ChangeOperation::Column(name) = &changes.operation {
            let is_subject = columns.schemes().iter().any(|scheme| scheme.as_str() == name);
            if is_subject || columns.position(name).is_some() || columns.is_counted(name) {
                problem(name, "is a column of the records: name another one that says upsert or delete");
            }
        }
        if !problems.is_empty() {
            return Err(ImportError::Columns { problems });
        }
        Ok(Self { operation: changes.operation.clone(), key, is_complete: changes.is_complete })
    }

    /// The column that says what a row does.
    pub(super) fn operation_column(&self) -> Option<&str> {
        match &self.operation {
            ChangeOperation::Column(name) => Some(name),
            ChangeOperation::Delete | ChangeOperation::Upsert => None,
        }
    }

    /// Whether every row is to be taken out, so that columns outside the key need not be there.
    pub(super) fn only_deletes(&self) -> bool {
        self.operation == ChangeOperation::Delete
    }

    /// Whether the column at `position` tells rows apart.
    pub(super) fn is_key(&self, position: usize) -> bool {
        self.key.contains(&position)
    }

    /// The columns of the key.
    pub(super) fn key(&self) -> &[usize] {
        &self.key
    }

    /// Whether what the file does not name is as fresh as what it does.
    pub(in crate::records) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// What a row does, or what is wrong with its saying so.
    pub(super) fn operation_of(&self, cell: &Cell<'_>) -> Result<Operation, Fault> {
        let name = match &self.operation {
            ChangeOperation::Delete => return Ok(Operation::Delete),
            ChangeOperation::Upsert => return Ok(Operation::Upsert),
            ChangeOperation::Column(name) => name,
        };
        let said = match cell {
            Cell::Text(text) => text.trim(),
            _ => "",
        };
        match said {
            "delete" => Ok(Operation::Delete),
            "upsert" => Ok(Operation::Upsert),
            _ => Err((name.clone(), "must be upsert or delete".to_owned())),
        }
    }
}
