//! SQLite: a file that another program writes, opened so that this one cannot (`mode=ro` and `query_only`). What nobody waits for
//! any more is interrupted, and its thread is free.
//!
//! Out of scope: files that are not SQLite's.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Column as _, Executor as _, Row as _, SqlSafeStr as _, Sqlite, SqliteConnection, SqlitePool,
    Statement as _, TypeInfo as _, ValueRef as _,
    sqlite::{SqliteArguments, SqliteColumn, SqliteConnectOptions, SqliteRow},
};
use trust::value::Value;

use super::{Parameter, asked, bounded, union_all};
use crate::sources::{
    Examined, FoundColumn,
    query::Query,
    raw::{Fetched, Raw, Shape},
    settings::Bounds,
};

/// How many steps SQLite takes before it looks again whether anybody waits: fewer than a millisecond has.
const STEPS: i32 = 10_000;

pub(super) fn pool(path: &Path, bounds: Bounds) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(bounds.timeout.mul_f32(0.8))
        .pragma("query_only", "ON");
    super::options::<Sqlite>(bounds).connect_lazy_with(options)
}

pub(super) async fn fetch(
    pool: &SqlitePool,
    query: &Query,
    parameters: &[Parameter],
    timeout: Duration,
) -> Result<Fetched, sqlx::Error> {
    let text = query.text(|_, _| "?".to_owned());
    asked(pool, timeout, |connection| {
        let (text, parameters) = (text.clone(), parameters.to_vec());
        Box::pin(async move {
            let running = watch(connection).await?;
            let outcome = fetch_on(connection, text, &parameters, bounded::ABOUT_ONE).await;
            running.over();
            outcome
        })
    })
    .await
}

async fn fetch_on(
    connection: &mut SqliteConnection,
    text: String,
    parameters: &[Parameter],
    most: usize,
) -> Result<Fetched, sqlx::Error> {
    let rows = sqlx::query_with(AssertSqlSafe(text.clone()), arguments(parameters)?).fetch(&mut *connection);
    let rows = bounded::rows(rows, most).await?;
    let columns = match rows.first() {
        Some(row) => names(row.columns()),
        // Only the statement itself can tell then.
        None => names((&mut *connection).prepare(AssertSqlSafe(text).into_sql_str()).await?.columns()),
    };
    Ok(Fetched { columns, rows: rows.iter().map(cells).collect() })
}

fn names(columns: &[SqliteColumn]) -> Vec<String> {
    columns.iter().map(|column| column.name().to_owned()).collect()
}

/// Has what the connection runs from now on interrupted, where what this gives is dropped before it is said to be over.
async fn watch(connection: &mut SqliteConnection) -> Result<Running, sqlx::Error> {
    let given_up = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&given_up);
    connection.lock_handle().await?.set_progress_handler(STEPS, move || !seen.load(Ordering::Relaxed));
    Ok(Running(Some(given_up)))
}

/// A connection that runs something.
struct Running(Option<Arc<AtomicBool>>);

impl Running {
    /// What it ran is over, well or not: the connection may go on.
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(given_up) = &self.0 {
            given_up.store(true, Ordering::Relaxed);
        }
    }
}

/// Fetches for each of the given parameters, in their order. All differ only in what belongs to the subject.
pub(super) async fn fetch_many(
    pool: &SqlitePool,
    query: &Query,
    parameters: Vec<Vec<Parameter>>,
    timeout: Duration,
) -> Result<Vec<Fetched>, sqlx::Error> {
    let alone = query.text(|_, _| "?".to_owned());
    asked(pool, timeout, |connection| {
        let (alone, parameters) = (alone.clone(), parameters.clone());
        Box::pin(async move {
            let running = watch(connection).await?;
            let outcome = fetch_many_on(connection, &alone, &parameters).await;
            running.over();
            outcome
        })
    })
    .await
}

async fn fetch_many_on(
    connection: &mut SqliteConnection,
    alone: &str,
    parameters: &[Vec<Parameter>],
) -> Result<Vec<Fetched>, sqlx::Error> {
    let mut fetched = Vec::with_capacity(parameters.len());
    for statement in union_all::statements(alone, parameters) {
        let (text, most) = (statement.text.clone(), bounded::ABOUT_MANY);
        let found = fetch_on(&mut *connection, text, &statement.parameters, most).await?;
        fetched.extend(statement.split(found)?);
    }
    Ok(fetched)
}

pub(super) async fn examine(
    pool: &SqlitePool,
    query: &Query,
    parameters: &[Parameter],
    timeout: Duration,
) -> Result<Examined, sqlx::Error> {
    let text = query.text(|_, _| "?".to_owned());
    asked(pool, timeout, |connection| {
        let (text, parameters) = (text.clone(), parameters.to_vec());
        Box::pin(async move { examine_on(connection, text, &parameters).await })
    })
    .await
}

async fn examine_on(
    connection: &mut SqliteConnection,
    text: String,
    parameters: &[Parameter],
) -> Result<Examined, sqlx::Error> {
    let statement = (&mut *connection).prepare(AssertSqlSafe(text.clone()).into_sql_str()).await?;
    // What a column is declared as binds nobody in SQLite: each value says its own type.
    let mut columns = Vec::new();
    for column in statement.columns() {
        let origin = column.origin();
        let nullable = match origin.table_column() {
            // Whether it may be null does bind.
            Some(of) => {
                let asked = "SELECT \"notnull\" = 0 AND pk = 0 FROM pragma_table_info(?) WHERE name = ?";
                let asked = sqlx::query_scalar::<_, i64>(asked).bind(of.table.to_string()).bind(of.name.to_string());
                asked.fetch_optional(&mut *connection).await?.map(|nullable| nullable != 0)
            }
            None => None,
        };
        let shape = if column.type_info().name() == "REAL" { Shape::Inexact } else { Shape::Unknown };
        columns.push(FoundColumn { name: column.name().to_owned(), shape, nullable });
    }
    // Whoever plans knows the tables as they were when the connection last read: so it reads.
    sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1").persistent(false).fetch_optional(&mut *connection).await?;
    // Not kept: a plan that was made before there was an index is told again, whatever has happened since.
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
    let explain = sqlx::query_with(explain, arguments(parameters)?).persistent(false);
    let plan = explain.fetch_all(&mut *connection).await?;
    let plan = plan.iter().map(|row| row.try_get::<String, _>("detail")).collect::<Result<Vec<_>, _>>()?;
    let scans = plan.iter().any(|line| line.starts_with("SCAN ") && !line.starts_with("SCAN CONSTANT"));
    let remarks = if scans { vec![super::no_index(&plan)] } else { Vec::new() };
    Ok(Examined { columns, remarks })
}

fn arguments(parameters: &[Parameter]) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for parameter in parameters {
        let added = match &parameter.value {
            Some(Value::Integer(integer)) => sqlx::Arguments::add(&mut arguments, *integer),
            Some(Value::Boolean(boolean)) => sqlx::Arguments::add(&mut arguments, *boolean),
            _ => sqlx::Arguments::add(&mut arguments, parameter.text()),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn cells(row: &SqliteRow) -> Vec<Raw> {
    (0..row.len())
        .map(|index| cell(row, index).unwrap_or_else(|_| Raw::Foreign("a value that cannot be read".to_owned())))
        .collect()
}

fn cell(row: &SqliteRow, index: usize) -> Result<Raw, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Raw::Null);
    }
    let name = value.type_info().name().to_owned();
    drop(value);
    Ok(match name.as_str() {
        "TEXT" => Raw::Text(row.try_get_unchecked(index)?),
        "INTEGER" => Raw::Integer(row.try_get_unchecked(index)?),
        "REAL" => Raw::Inexact,
        _ => Raw::Foreign(name),
    })
}
