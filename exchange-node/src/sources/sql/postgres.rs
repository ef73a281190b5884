//! PostgreSQL: parameters without a type of their own, so that the server infers each from its place and uses the column's
//! index; results in the binary form, read exactly. Every question is a `BEGIN READ ONLY` of its own.
//!
//! Out of scope: the registry's and the department's own stores.

use std::{path::Path, str, time::Duration};

use jiff::{
    ToSpan,
    civil::{DateTime, date},
};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Decode, Encode, Executor as _, PgConnection, PgPool, Postgres,
    Row as _, SqlSafeStr as _, Statement as _, TypeInfo as _, ValueRef as _,
    encode::IsNull,
    error::BoxDynError,
    postgres::{
        PgArgumentBuffer, PgArguments, PgConnectOptions, PgRow, PgSslMode, PgTypeInfo, PgTypeKind, PgValueRef,
        types::Oid,
    },
};
use trust::value::Type;

use super::{DatabaseSettings, Parameter, asked, bounded};
use crate::sources::{
    Examined, FoundColumn, dates,
    query::Query,
    raw::{Fetched, Raw, Shape},
    settings::Bounds,
};

pub(super) fn pool(settings: &DatabaseSettings, bounds: Bounds, dir: &Path) -> Result<PgPool, String> {
    let mut options = PgConnectOptions::new_without_pgpass()
        .port(settings.port)
        .username(&settings.user)
        .database(&settings.database)
        .application_name("exchange-node")
        .ssl_mode(if settings.is_verified { PgSslMode::VerifyFull } else { PgSslMode::Disable })
        .options([
            ("default_transaction_read_only", "on".to_owned()),
            // A little later than our own limit: what nobody waits for any more ends there too.
            ("statement_timeout", (bounds.timeout.as_millis() + 500).to_string()),
            ("idle_in_transaction_session_timeout", (bounds.timeout.as_millis() + 5_000).to_string()),
        ]);
    options = match settings.host.starts_with('/') {
        true => options.socket(&settings.host),
        false => options.host(&settings.host),
    };
    if let Some(file) = &settings.ca_file {
        options = options.ssl_root_cert(dir.join(file));
    }
    if let Some(password) = settings.password.read(dir)? {
        options = options.password(&password);
    }
    let pool = super::options::<Postgres>(bounds).after_connect(|connection, _| {
        Box::pin(async move {
            // A server that cannot (before version 14, or not on Linux) ends the query with its statement_timeout.
            if let Err(error) = sqlx::query(END_WITH_US).execute(connection).await {
                tracing::debug!(%error, "the server does not look whether anybody waits for a query");
            }
            Ok(())
        })
    });
    Ok(pool.connect_lazy_with(options))
}

/// Has the server look every 200 ms, while it runs a query, whether the connection is still there: what nobody waits for ends.
const END_WITH_US: &str =
    "SELECT set_config(name, '200', false) FROM pg_settings WHERE name = 'client_connection_check_interval'";

pub(super) async fn fetch(
    pool: &PgPool,
    query: &Query,
    parameters: &[Parameter],
    timeout: Duration,
) -> Result<Fetched, sqlx::Error> {
    let text = text(query, parameters);
    let (text, parameters) = (text.as_str(), parameters);
    asked(pool, timeout, |connection| {
        let (text, parameters) = (text.to_owned(), parameters.to_vec());
        Box::pin(async move { fetch_on(connection, text, &parameters).await })
    })
    .await
}

async fn fetch_on(
    connection: &mut PgConnection,
    text: String,
    parameters: &[Parameter],
) -> Result<Fetched, sqlx::Error> {
    let mut reading = connection.begin_with("BEGIN READ ONLY").await?;
    let types = vec![unknown(); parameters.len()];
    let statement = (&mut *reading).prepare_with(AssertSqlSafe(text).into_sql_str(), &types).await?;
    let columns = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let rows = statement.query_with(arguments(parameters)?).fetch(&mut *reading);
    let rows = bounded::rows(rows, bounded::ABOUT_ONE).await?;
    // What is dropped here is rolled back: there is nothing to keep, and nobody waits for it.
    Ok(Fetched { columns, rows: rows.iter().map(cells).collect() })
}

pub(super) async fn examine(
    pool: &PgPool,
    query: &Query,
    parameters: &[Parameter],
    timeout: Duration,
) -> Result<Examined, sqlx::Error> {
    let text = text(query, parameters);
    let (text, parameters) = (text.as_str(), parameters);
    asked(pool, timeout, |connection| {
        let (text, parameters) = (text.to_owned(), parameters.to_vec());
        Box::pin(async move { examine_on(connection, text, &parameters).await })
    })
    .await
}

async fn examine_on(
    connection: &mut PgConnection,
    text: String,
    parameters: &[Parameter],
) -> Result<Examined, sqlx::Error> {
    let mut reading = connection.begin_with("BEGIN READ ONLY").await?;
    let types = vec![unknown(); parameters.len()];
    let statement = (&mut *reading).prepare_with(AssertSqlSafe(text.clone()).into_sql_str(), &types).await?;
    let mut columns = Vec::new();
    for column in statement.columns() {
        let nullable = match (column.relation_id(), column.relation_attribute_no()) {
            (Some(table), Some(number)) => {
                let asked = "SELECT NOT attnotnull FROM pg_attribute WHERE attrelid = $1 AND attnum = $2";
                sqlx::query_scalar(asked).bind(table).bind(number).fetch_optional(&mut *reading).await?
            }
            _ => None,
        };
        columns.push(FoundColumn { name: column.name().to_owned(), shape: shape(column.type_info()), nullable });
    }
    let mut remarks = Vec::new();
    if let Some(sqlx::Either::Left(types)) = statement.parameters() {
        let odd = types.iter().filter(|ty| is_number(ty.name())).map(PgTypeInfo::name);
        remarks.extend(odd.map(|name| {
            format!("the subject or a text is compared with a column of type {name}: CAST that column to text")
        }));
    }
    // With sequential scans made dear, one is in the plan only where there is no index to use.
    sqlx::query("SET LOCAL enable_seqscan = off").execute(&mut *reading).await?;
    let explain = AssertSqlSafe(format!("EXPLAIN {text}")).into_sql_str();
    let statement = (&mut *reading).prepare_with(explain, &types).await?;
    let plan = statement.query_with(arguments(parameters)?).fetch_all(&mut *reading).await?;
    let plan = plan.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()?;
    if plan.iter().any(|line| line.contains("Seq Scan")) {
        remarks.push(super::no_index(&plan));
    }
    Ok(Examined { columns, remarks })
}

/// The query with `$1`, `$2`, …; an input that is no text goes as text too and is cast, so that nothing is rounded.
pub(super) fn text(query: &Query, parameters: &[Parameter]) -> String {
    query.text(|index, _| format!("${}{}", index + 1, parameters.get(index).map_or("", cast)))
}

/// What makes of a text what an input is.
pub(super) fn cast(parameter: &Parameter) -> &'static str {
    match parameter.ty {
        Type::Boolean => "::text::boolean",
        Type::Date => "::text::date",
        Type::Decimal => "::text::numeric",
        Type::Integer => "::text::bigint",
        _ => "",
    }
}

/// Binds a parameter whose type the server infers.
pub(super) fn add(arguments: &mut PgArguments, parameter: &Parameter) -> Result<(), sqlx::Error> {
    sqlx::Arguments::add(arguments, Untyped(parameter.text())).map_err(sqlx::Error::Encode)
}

fn arguments(parameters: &[Parameter]) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for parameter in parameters {
        add(&mut arguments, parameter)?;
    }
    Ok(arguments)
}

/// A text whose type the server infers: were it declared as text, a column of type char(18) would be converted, and its
/// index be of no use.
struct Untyped(Option<String>);

pub(super) fn unknown() -> PgTypeInfo {
    PgTypeInfo::with_oid(Oid(705))
}

impl sqlx::Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        unknown()
    }
}

impl Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        buffer.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }
}

fn is_number(name: &str) -> bool {
    matches!(name, "INT2" | "INT4" | "INT8" | "NUMERIC" | "FLOAT4" | "FLOAT8")
}

fn shape(ty: &PgTypeInfo) -> Shape {
    match (ty.name(), ty.kind()) {
        ("TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "UUID" | "citext", _) | (_, PgTypeKind::Enum(_)) => {
            Shape::Text
        }
        ("INT2" | "INT4" | "INT8", _) => Shape::Integer,
        ("NUMERIC", _) => Shape::Number,
        ("FLOAT4" | "FLOAT8", _) => Shape::Inexact,
        ("BOOL", _) => Shape::Boolean,
        ("DATE", _) => Shape::Date,
        ("TIMESTAMP" | "TIMESTAMPTZ", _) => Shape::Moment,
        ("TEXT[]" | "VARCHAR[]", _) => Shape::List,
        (name, _) => Shape::Foreign(name.to_owned()),
    }
}

pub(super) fn cells(row: &PgRow) -> Vec<Raw> {
    let cell = |index| match row.try_get_raw(index) {
        Ok(value) if value.is_null() => Raw::Null,
        Ok(value) => cell(value).unwrap_or_else(|| Raw::Foreign("a value that cannot be read".to_owned())),
        Err(_) => Raw::Foreign("a value that cannot be read".to_owned()),
    };
    (0..row.len()).map(cell).collect()
}

fn cell(value: PgValueRef<'_>) -> Option<Raw> {
    let ty = value.type_info().into_owned();
    let bytes = value.as_bytes().ok()?;
    Some(match shape(&ty) {
        Shape::Boolean => Raw::Boolean(*bytes.first()? != 0),
        Shape::Date => {
            let days = i32::from_be_bytes(bytes.try_into().ok()?);
            Raw::Date(date(2000, 1, 1).checked_add(days.days()).ok()?)
        }
        Shape::Inexact => Raw::Inexact,
        Shape::Integer => Raw::Integer(match bytes {
            [a, b] => i16::from_be_bytes([*a, *b]).into(),
            [a, b, c, d] => i32::from_be_bytes([*a, *b, *c, *d]).into(),
            bytes => i64::from_be_bytes(bytes.try_into().ok()?),
        }),
        Shape::List => {
            let texts = <Vec<Option<String>> as Decode<Postgres>>::decode(value).ok()?;
            Raw::List(texts.into_iter().map(|text| text.map_or(Raw::Null, Raw::Text)).collect())
        }
        Shape::Moment => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?);
            let moment: DateTime = date(2000, 1, 1).at(0, 0, 0, 0);
            let moment = moment.checked_add(micros.microseconds()).ok()?;
            Raw::Moment(if ty.name() == "TIMESTAMPTZ" { dates::in_china(moment, 0)? } else { moment })
        }
        Shape::Number => numeric(bytes).map_or_else(|| Raw::Foreign("a number that is none".to_owned()), Raw::Number),
        Shape::Text if ty.name() == "UUID" => Raw::Foreign("UUID".to_owned()),
        Shape::Text => Raw::Text(str::from_utf8(bytes).ok()?.to_owned()),
        Shape::Foreign(name) => Raw::Foreign(name),
        Shape::Unknown => Raw::Foreign(ty.name().to_owned()),
    })
}

/// A NUMERIC in its digits: groups of four, the weight of the first, the sign, and how many stand behind the point. `None`
/// for NaN and the infinities, and for what is longer than any value may be.
fn numeric(bytes: &[u8]) -> Option<String> {
    let mut words = bytes.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]]));
    let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let groups = words.collect::<Vec<_>>();
    if groups.len() != usize::try_from(count).ok()? || weight > 16 || scale > 64 || !matches!(sign, 0 | 0x4000) {
        return None;
    }
    let group =
        |place: i16| usize::try_from(weight - place).ok().and_then(|index| groups.get(index)).copied().unwrap_or(0);
    let mut text = String::new();
    for place in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group(place)));
    }
    let whole = text.trim_start_matches('0');
    let mut text = if whole.is_empty() { "0".to_owned() } else { whole.to_owned() };
    if scale > 0 {
        let fraction = (1..=(scale + 3) / 4).map(|place| format!("{:04}", group(-place))).collect::<String>();
        text.push('.');
        text.push_str(fraction.get(..usize::try_from(scale).ok()?)?);
    }
    if sign != 0 {
        text.insert(0, '-');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(words: &[i16]) -> Option<String> {
        numeric(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn numbers_are_read_in_their_digits() {
        // 60000.50
        assert_eq!(number(&[3, 1, 0, 2, 6, 0, 5000]).as_deref(), Some("60000.50"));
        assert_eq!(number(&[0, 0, 0, 2]).as_deref(), Some("0.00"));
        assert_eq!(number(&[1, -1, 0x4000, 4, 1]).as_deref(), Some("-0.0001"));
        assert_eq!(number(&[1, -2, 0, 7, 1230]).as_deref(), Some("0.0000123"));
        assert_eq!(number(&[1, 1, 0, 0, 12]).as_deref(), Some("120000"));
        assert_eq!(number(&[0, 0, -16384, 0]), None);
        assert_eq!(number(&[2, 0, 0, 0, 1]), None);
        assert_eq!(number(&[]), None);
    }
}
