//! MySQL and MariaDB. Every question is a `START TRANSACTION READ ONLY` of its own, in a session that only reads, and ends at the
//! server once nobody waits for it.
//!
//! Out of scope: everything that writes.

mod ending;

use std::{path::Path, str, time::Duration};

use jiff::civil::{Date, DateTime, Time};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, MySql, MySqlConnection, MySqlPool, Row as _,
    SqlSafeStr as _, Statement as _, TypeInfo as _, ValueRef as _,
    mysql::{MySqlArguments, MySqlConnectOptions, MySqlRow, MySqlSslMode},
};
use trust::value::Type;

use self::ending::Endings;
use super::{DatabaseSettings, Parameter, asked, bounded, union_all};
use crate::sources::{
    Examined, FoundColumn,
    query::Query,
    raw::{Fetched, Raw, Shape},
    settings::Bounds,
};

/// A server with its connections.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pool: MySqlPool,
    endings: Endings,
}

pub(super) fn server(settings: &DatabaseSettings, bounds: Bounds, dir: &Path) -> Result<Server, String> {
    let mut options = MySqlConnectOptions::new()
        .port(settings.port)
        .username(&settings.user)
        .database(&settings.database)
        // The clocks of China: what a TIMESTAMP column holds is shown by them.
        .timezone(Some("+08:00".to_owned()))
        .ssl_mode(if settings.is_verified { MySqlSslMode::VerifyIdentity } else { MySqlSslMode::Disabled });
    options = match settings.host.starts_with('/') {
        true => options.socket(&settings.host),
        false => options.host(&settings.host),
    };
    if let Some(file) = &settings.ca_file {
        options = options.ssl_ca(dir.join(file));
    }
    if let Some(password) = settings.password.read(dir)? {
        options = options.password(&password);
    }
    let limit_ms = u64::try_from(bounds.timeout.as_millis()).unwrap_or(u64::MAX).saturating_add(500);
    let endings = Endings::at(options.clone());
    let pool = super::options::<MySql>(bounds)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute("SET SESSION TRANSACTION READ ONLY").await?;
                let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&mut *connection).await?;
                // A little later than our own limit: what nobody waits for any more ends there too.
                let limit = match version.contains("MariaDB") {
                    true => format!("SET SESSION max_statement_time = {}.{:03}", limit_ms / 1000, limit_ms % 1000),
                    false => format!("SET SESSION max_execution_time = {limit_ms}"),
                };
                connection.execute(AssertSqlSafe(limit)).await?;
                Ok(())
            })
        })
        .connect_lazy_with(options);
    Ok(Server { pool, endings })
}

pub(super) async fn fetch(
    server: &Server,
    query: &Query,
    parameters: &[Parameter],
    timeout: Duration,
) -> Result<Fetched, sqlx::Error> {
    let text = text(query, parameters);
    asked(&server.pool, timeout, |connection| {
        let (text, parameters, endings) = (text.clone(), parameters.to_vec(), server.endings.clone());
        Box::pin(async move {
            let running = endings.watch(connection).await?;
            let outcome = fetch_on(connection, text, &parameters).await;
            running.over();
            outcome
        })
    })
    .await
}

async fn fetch_on(
    connection: &mut MySqlConnection,
    text: String,
    parameters: &[Parameter],
) -> Result<Fetched, sqlx::Error> {
    let mut reading = connection.begin_with("START TRANSACTION READ ONLY").await?;
    read(&mut reading, text, parameters, bounded::ABOUT_ONE).await
}

/// Within a transaction that only reads.
async fn read(
    connection: &mut MySqlConnection,
    text: String,
    parameters: &[Parameter],
    most: usize,
) -> Result<Fetched, sqlx::Error> {
    let statement = (&mut *connection).prepare(AssertSqlSafe(text).into_sql_str()).await?;
    let columns = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let rows = statement.query_with(arguments(parameters)?).fetch(&mut *connection);
    let rows = bounded::rows(rows, most).await?;
    Ok(Fetched { columns, rows: rows.iter().map(cells).collect() })
}

/// Fetches for each of the given parameters, in their order. All differ only in what belongs to the subject.
pub(super) async fn fetch_many(
    server: &Server,
    query: &Query,
    parameters: Vec<Vec<Parameter>>,
    timeout: Duration,
) -> Result<Vec<Fetched>, sqlx::Error> {
    let Some(first) = parameters.first() else { return Ok(Vec::new()) };
    let alone = text(query, first);
    asked(&server.pool, timeout, |connection| {
        let (alone, parameters, endings) = (alone.clone(), parameters.clone(), server.endings.clone());
        Box::pin(async move {
            let running = endings.watch(connection).await?;
            let outcome = fetch_many_on(connection, &alone, &parameters).await;
            running.over();
            outcome
        })
    })
    .await
}

async fn fetch_many_on(
    connection: &mut MySqlConnection,
    alone: &str,
    parameters: &[Vec<Parameter>],
) -> Result<Vec<Fetched>, sqlx::Error> {
    let mut reading = connection.begin_with("START TRANSACTION READ ONLY").await?;
    let mut fetched = Vec::with_capacity(parameters.len());
    for statement in union_all::statements(alone, parameters) {
        let found = read(&mut reading, statement.text.clone(), &statement.parameters, bounded::ABOUT_MANY).await?;
        fetched.extend(statement.split(found)?);
    }
    Ok(fetched)
}

pub(super) async fn examine(
    server: &Server,
    query: &Query,
    parameters: &[Parameter],
    timeout: Duration,
) -> Result<Examined, sqlx::Error> {
    let text = text(query, parameters);
    asked(&server.pool, timeout, |connection| {
        let (text, parameters) = (text.clone(), parameters.to_vec());
        Box::pin(async move { examine_on(connection, text, &parameters).await })
    })
    .await
}

async fn examine_on(
    connection: &mut MySqlConnection,
    text: String,
    parameters: &[Parameter],
) -> Result<Examined, sqlx::Error> {
    let mut reading = connection.begin_with("START TRANSACTION READ ONLY").await?;
    let statement = (&mut *reading).prepare(AssertSqlSafe(text.clone()).into_sql_str()).await?;
    let mut columns = Vec::new();
    for column in statement.columns() {
        let origin = column.origin();
        // A table by another name in the query is not found, and nothing is said of its columns.
        let of = origin.table_column().and_then(|of| Some((of.table.split_once('.')?, &of.name)));
        let nullable = match of {
            Some(((schema, table), name)) => {
                let asked = "SELECT CAST(is_nullable = 'YES' AS SIGNED) FROM information_schema.columns
                             WHERE table_schema = ? AND table_name = ? AND column_name = ?";
                let asked = sqlx::query_scalar::<_, i64>(asked).bind(schema.to_owned()).bind(table.to_owned());
                let found = asked.bind(name.to_string()).fetch_optional(&mut *reading).await?;
                found.map(|nullable| nullable != 0)
            }
            None => None,
        };
        let shape = shape(column.type_info().name());
        columns.push(FoundColumn { name: column.name().to_owned(), shape, nullable });
    }
    let explain = (&mut *reading).prepare(AssertSqlSafe(format!("EXPLAIN {text}")).into_sql_str()).await?;
    let plan = explain.query_with(arguments(parameters)?).fetch_all(&mut *reading).await?;
    let named = |row: &MySqlRow, name: &str| -> Option<String> {
        let bytes: Option<Vec<u8>> = row.try_get_unchecked(name).ok()?;
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    // A subquery that depends on nothing is read once, however large its table.
    let is_scan = |row: &&MySqlRow| {
        let is = |name: &str, value: &str| named(row, name).as_deref() == Some(value);
        is("type", "ALL") && named(row, "possible_keys").is_none() && !is("select_type", "SUBQUERY")
    };
    let scans = plan.iter().filter(is_scan);
    let scans = scans.map(|row| format!("table {}: every row is read", named(row, "table").unwrap_or_default()));
    let scans = scans.collect::<Vec<_>>();
    let remarks = if scans.is_empty() { Vec::new() } else { vec![super::no_index(&scans)] };
    Ok(Examined { columns, remarks })
}

/// The query with a `?` at each place; an input that is no text goes as text too and is cast, so that nothing is rounded.
fn text(query: &Query, parameters: &[Parameter]) -> String {
    query.text(|index, _| match parameters.get(index).map(|parameter| parameter.ty) {
        Some(Type::Boolean | Type::Integer) => "CAST(? AS SIGNED)".to_owned(),
        Some(Type::Date) => "CAST(? AS DATE)".to_owned(),
        Some(Type::Decimal) => "CAST(? AS DECIMAL(60,28))".to_owned(),
        _ => "?".to_owned(),
    })
}

fn arguments(parameters: &[Parameter]) -> Result<MySqlArguments, sqlx::Error> {
    let mut arguments = MySqlArguments::default();
    for parameter in parameters {
        let text = parameter.text().map(|text| match (parameter.ty, text.as_str()) {
            (Type::Boolean, "true") => "1".to_owned(),
            (Type::Boolean, _) => "0".to_owned(),
            _ => text,
        });
        sqlx::Arguments::add(&mut arguments, text).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn shape(name: &str) -> Shape {
    match name.strip_suffix(" UNSIGNED").unwrap_or(name) {
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" | "YEAR" => Shape::Integer,
        "DECIMAL" => Shape::Number,
        "FLOAT" | "DOUBLE" => Shape::Inexact,
        "DATE" => Shape::Date,
        "DATETIME" | "TIMESTAMP" => Shape::Moment,
        "BIT" | "GEOMETRY" | "TIME" => Shape::Foreign(name.to_owned()),
        // Texts with a binary collation are called binary too: whether one is a text, its bytes say.
        _ => Shape::Text,
    }
}

fn cells(row: &MySqlRow) -> Vec<Raw> {
    let cell = |index| {
        let name = row.column(index).type_info().name();
        match row.try_get_raw(index) {
            Ok(value) if value.is_null() => Raw::Null,
            // The bytes as they came, whatever they are of.
            Ok(_) => match row.try_get_unchecked::<&[u8], _>(index) {
                Ok(bytes) => cell(name, bytes).unwrap_or_else(|| Raw::Foreign(format!("{name} that cannot be read"))),
                Err(_) => Raw::Foreign(name.to_owned()),
            },
            Err(_) => Raw::Foreign(name.to_owned()),
        }
    };
    (0..row.len()).map(cell).collect()
}

/// One cell in the binary form of the protocol.
fn cell(name: &str, bytes: &[u8]) -> Option<Raw> {
    Some(match shape(name) {
        Shape::Integer => integer(name.ends_with("UNSIGNED") || name == "YEAR", bytes)?,
        Shape::Number => Raw::Number(str::from_utf8(bytes).ok()?.to_owned()),
        Shape::Inexact => Raw::Inexact,
        Shape::Date => Raw::Date(moment(bytes)?.date()),
        Shape::Moment => Raw::Moment(moment(bytes)?),
        Shape::Foreign(name) => Raw::Foreign(name),
        _ => Raw::Text(str::from_utf8(bytes).ok()?.to_owned()),
    })
}

fn integer(is_unsigned: bool, bytes: &[u8]) -> Option<Raw> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let is_negative = !is_unsigned && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if is_negative { 0xff } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    let number = i128::from_le_bytes(wide);
    Some(i64::try_from(number).map_or_else(|_| Raw::Number(number.to_string()), Raw::Integer))
}

/// A length, then year, month, day, and perhaps hour, minute, second.
fn moment(bytes: &[u8]) -> Option<DateTime> {
    let [_, low, high, month, day, time @ ..] = bytes else { return None };
    let year = i16::try_from(u16::from_le_bytes([*low, *high])).ok()?;
    let part = |byte: u8| i8::try_from(byte).ok();
    let date = Date::new(year, part(*month)?, part(*day)?).ok()?;
    let time = match time {
        [hour, minute, second, ..] => Time::new(part(*hour)?, part(*minute)?, part(*second)?, 0).ok()?,
        _ => Time::midnight(),
    };
    Some(date.to_datetime(time))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn cells_are_read_from_their_bytes() {
        assert_eq!(cell("INT", &[0xfe, 0xff, 0xff, 0xff]), Some(Raw::Integer(-2)));
        assert_eq!(cell("INT UNSIGNED", &[0xfe, 0xff, 0xff, 0xff]), Some(Raw::Integer(4_294_967_294)));
        assert_eq!(cell("BIGINT UNSIGNED", &[0xff; 8]), Some(Raw::Number("18446744073709551615".to_owned())));
        assert_eq!(cell("YEAR", &[0xe9, 0x07]), Some(Raw::Integer(2025)));
        assert_eq!(cell("DECIMAL", b"60000.50"), Some(Raw::Number("60000.50".to_owned())));
        assert_eq!(cell("DOUBLE", &[0; 8]), Some(Raw::Inexact));
        assert_eq!(cell("DATE", &[4, 0xe2, 0x07, 5, 21]), Some(Raw::Date(date(2018, 5, 21))));
        let moment = cell("DATETIME", &[7, 0xe2, 0x07, 5, 21, 23, 59, 58]);
        assert_eq!(moment, Some(Raw::Moment(date(2018, 5, 21).at(23, 59, 58, 0))));
        assert_eq!(cell("DATE", &[4, 0xe2, 0x07, 13, 21]), None);
        assert_eq!(cell("VARCHAR", &[0xff, 0xfe]), None);
        assert_eq!(cell("INT", &[]), None);
    }
}
