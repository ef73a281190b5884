//! Records in a database that is reached by ODBC: Oracle, DM and the rest. Built with the feature `odbc` alone, because it
//! needs the system's driver manager.
//!
//! Out of scope: the connection and what it may do (`records-odbc`), what a cell means ([`super::mapping`]).

use std::{path::Path, sync::Arc, time::Duration};

use records_odbc::{Answer, Failure, Kind, Link};
use trust::service::Service;

use super::{
    Asked, Examined, FoundColumn, Source, Work,
    query::Query,
    raw::{Fetched, Raw, Shape, Trouble},
    settings::{Bounds, OdbcSettings},
    sql::{example_subject, parameters},
};
use crate::records::SUBJECT_ROW_LIMIT;

/// The most bytes of one cell.
const MOST_BYTES: usize = 64 * 1024;

/// A database with what is needed to reach it.
#[derive(Clone)]
pub struct OdbcDatabase {
    link: Arc<Link>,
}

impl OdbcDatabase {
    /// # Errors
    /// Where the password cannot be read.
    pub fn new(settings: &OdbcSettings, bounds: Bounds, dir: &Path) -> Result<Self, String> {
        let password = settings.password.read(dir)?.map(|password| password.as_str().to_owned());
        let seconds = bounds.timeout.max(Duration::from_secs(1)).as_secs();
        let link = Link {
            connection: settings.connection.clone(),
            password,
            read_only: settings.read_only.clone(),
            timeout_seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
            most_rows: SUBJECT_ROW_LIMIT,
            most_bytes: MOST_BYTES,
        };
        Ok(Self { link: Arc::new(link) })
    }

    /// The database, asked by `query`.
    pub fn asked_by(&self, query: Query) -> OdbcSource {
        OdbcSource { link: Arc::clone(&self.link), query }
    }
}

/// A database asked by the query of one service.
#[derive(Clone)]
pub struct OdbcSource {
    link: Arc<Link>,
    query: Query,
}

impl OdbcSource {
    async fn ask(self, asked: Asked) -> Result<Answer, Trouble> {
        let parameters = parameters(&self.query, &asked)?;
        let texts = parameters.iter().map(super::sql::Parameter::text).collect::<Vec<_>>();
        let text = self.query.text(|_, _| "?".to_owned());
        // The driver blocks; where it does not heed its time limit, nobody waits for it, and its thread ends with it.
        let asking = tokio::task::spawn_blocking(move || records_odbc::ask(&self.link, &text, &texts));
        let outcome = asking.await.map_err(|error| Trouble::Down(format!("the driver ended: {error}")))?;
        outcome.map_err(|failure| match failure {
            Failure::Driver(_) => Trouble::Down(failure.to_string()),
            _ => Trouble::Wrong(failure.to_string()),
        })
    }
}

impl Source for OdbcSource {
    fn fetch(&self, asked: Asked) -> Work<Result<Fetched, Trouble>> {
        let source = self.clone();
        Box::pin(async move {
            let Answer { columns, rows } = source.ask(asked).await?;
            let kinds = columns.iter().map(|(_, kind)| *kind).collect::<Vec<_>>();
            let row =
                |row: Vec<Option<String>>| row.into_iter().zip(&kinds).map(|(text, kind)| cell(text, *kind)).collect();
            let rows = rows.into_iter().map(row).collect();
            Ok(Fetched { columns: columns.into_iter().map(|(name, _)| name).collect(), rows })
        })
    }

    fn examine(&self, service: Arc<Service>) -> Work<Result<Examined, Trouble>> {
        let source = self.clone();
        Box::pin(async move {
            let subject = example_subject(&service)?;
            let answer = source.ask(Asked { service, subject, inputs: Vec::new() }).await?;
            let found = |(name, kind): (String, Kind)| FoundColumn { name, shape: shape(kind), nullable: None };
            let remarks = vec!["whether an index helps to find a subject cannot be seen by ODBC".to_owned()];
            Ok(Examined { columns: answer.columns.into_iter().map(found).collect(), remarks })
        })
    }

    fn selects_by(&self, name: &str) -> bool {
        self.query.uses(name)
    }

    fn describe(&self) -> String {
        self.query.to_string()
    }
}

fn cell(text: Option<String>, kind: Kind) -> Raw {
    let Some(text) = text else { return Raw::Null };
    match kind {
        Kind::Date | Kind::Text => Raw::Text(text),
        Kind::Exact => Raw::Number(text),
        Kind::Float => Raw::Inexact,
        Kind::Integer => text.parse().map_or_else(|_| Raw::Number(text.clone()), Raw::Integer),
        Kind::Moment => {
            text.replace(' ', "T").parse().map_or_else(|_| Raw::Foreign("a timestamp".to_owned()), Raw::Moment)
        }
        Kind::Other => Raw::Foreign("neither text nor number nor date".to_owned()),
    }
}

fn shape(kind: Kind) -> Shape {
    match kind {
        Kind::Date => Shape::Date,
        Kind::Exact => Shape::Number,
        Kind::Float => Shape::Inexact,
        Kind::Integer => Shape::Integer,
        Kind::Moment => Shape::Moment,
        Kind::Other => Shape::Foreign("neither text nor number nor date".to_owned()),
        Kind::Text => Shape::Text,
    }
}
