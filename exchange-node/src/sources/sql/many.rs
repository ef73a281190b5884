//! One query about many subjects at once over PostgreSQL: the operator's query, whatever it is, stands in a LATERAL join with
//! the list of subjects, so that it means for each of them what it means alone, and the server goes once through its index.
//!
//! Each subject is given the type that the server finds at its place in the single query: the index is used as there. Out of
//! scope: other databases ([`super::union_all`]).

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, PgConnection, PgPool, Postgres, Row as _,
    SqlSafeStr as _, Statement as _, TypeInfo as _, postgres::PgArguments,
};

use super::{Parameter, asked, bounded, postgres};
use crate::sources::{
    query::{Query, SUBJECT, SUBJECT_15, SUBJECT_LOWER},
    raw::Fetched,
};

/// Fetches for each of the given parameters, in their order. All differ only in what belongs to the subject.
pub(super) async fn fetch(
    pool: &PgPool,
    query: &Query,
    parameters: Vec<Vec<Parameter>>,
    timeout: Duration,
) -> Result<Vec<Fetched>, sqlx::Error> {
    asked(pool, timeout, |connection| {
        let (query, parameters) = (query.clone(), parameters.clone());
        Box::pin(async move { fetch_on(connection, &query, &parameters).await })
    })
    .await
}

async fn fetch_on(
    connection: &mut PgConnection,
    query: &Query,
    parameters: &[Vec<Parameter>],
) -> Result<Vec<Fetched>, sqlx::Error> {
    let Some(first) = parameters.first() else { return Ok(Vec::new()) };
    let mut reading = connection.begin_with("BEGIN READ ONLY").await?;
    // What the server makes of each place in the single query.
    let unknown = vec![postgres::unknown(); first.len()];
    let alone = AssertSqlSafe(postgres::text(query, first)).into_sql_str();
    let alone = (&mut *reading).prepare_with(alone, &unknown).await?;
    let found = match alone.parameters() {
        Some(sqlx::Either::Left(types)) => types.iter().map(|ty| ty.name().to_owned()).collect(),
        _ => vec![String::new(); first.len()],
    };
    let places: Vec<Place> = query.names().iter().zip(&found).map(|(name, ty)| Place::of(name, ty)).collect();
    let text = joined(query, first, &places);
    let mut types = Vec::with_capacity(first.len());
    let mut arguments = PgArguments::default();
    for (index, place) in places.iter().enumerate() {
        match place {
            Place::Subject(_) => {
                let texts: Vec<Option<String>> = parameters.iter().map(|of| of[index].text()).collect();
                types.push(<Vec<Option<String>> as sqlx::Type<Postgres>>::type_info());
                sqlx::Arguments::add(&mut arguments, texts).map_err(sqlx::Error::Encode)?;
            }
            Place::Input => {
                types.push(postgres::unknown());
                postgres::add(&mut arguments, &first[index])?;
            }
        }
    }
    let statement = (&mut *reading).prepare_with(AssertSqlSafe(text).into_sql_str(), &types).await?;
    let columns: Vec<String> = statement.columns().iter().skip(1).map(|column| column.name().to_owned()).collect();
    let rows = bounded::rows(statement.query_with(arguments).fetch(&mut *reading), bounded::ABOUT_MANY).await?;
    let mut fetched = vec![Fetched { columns, rows: Vec::new() }; parameters.len()];
    for row in &rows {
        let number: i64 = row.try_get(0)?;
        // Numbered from 1 in the order of the list.
        if let Some(of) = usize::try_from(number - 1).ok().and_then(|number| fetched.get_mut(number)) {
            let mut cells = postgres::cells(row);
            cells.remove(0);
            of.rows.push(cells);
        }
    }
    Ok(fetched)
}

/// What stands at a place of the query.
enum Place {
    /// The subject, with the type that its place has.
    Subject(&'static str),
    /// An input: the same for everybody.
    Input,
}

impl Place {
    fn of(name: &str, ty: &str) -> Self {
        match (name, ty) {
            (SUBJECT | SUBJECT_15 | SUBJECT_LOWER, "CHAR") => Self::Subject("bpchar"),
            (SUBJECT | SUBJECT_15 | SUBJECT_LOWER, "VARCHAR") => Self::Subject("varchar"),
            (SUBJECT | SUBJECT_15 | SUBJECT_LOWER, "UUID") => Self::Subject("uuid"),
            (SUBJECT | SUBJECT_15 | SUBJECT_LOWER, "INT8") => Self::Subject("int8"),
            (SUBJECT | SUBJECT_15 | SUBJECT_LOWER, "NUMERIC") => Self::Subject("numeric"),
            (SUBJECT | SUBJECT_15 | SUBJECT_LOWER, _) => Self::Subject("text"),
            _ => Self::Input,
        }
    }
}

/// The query in a join with the list of subjects.
fn joined(query: &Query, parameters: &[Parameter], places: &[Place]) -> String {
    let numbered = |index: usize| format!("${}", index + 1);
    let inner = query.text(|index, _| match places[index] {
        Place::Subject(_) => format!("errand_many.p{index}"),
        Place::Input => format!("{}{}", numbered(index), postgres::cast(&parameters[index])),
    });
    let subjects = || {
        places.iter().enumerate().filter_map(|(index, place)| match place {
            Place::Subject(ty) => Some((index, *ty)),
            Place::Input => None,
        })
    };
    let lists: Vec<String> = subjects().map(|(index, ty)| format!("{}::text[]::{ty}[]", numbered(index))).collect();
    let names: Vec<String> = subjects().map(|(index, _)| format!("p{index}")).collect();
    // On a line of its own: the query may end with a comment.
    format!(
        "SELECT errand_many.errand_number, errand_rows.* FROM unnest({}) WITH ORDINALITY AS errand_many({}, errand_number) \
         CROSS JOIN LATERAL (\n{inner}\n) AS errand_rows",
        lists.join(", "),
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use trust::value::{Type, Value};

    use super::*;

    #[test]
    fn the_query_stands_whole_in_the_join() {
        let query =
            Query::parse("SELECT a FROM t WHERE id = :subject OR old = :subject_15 AND y = :year -- why").unwrap();
        let text = |ty| Parameter { ty, value: Some(Value::Text("1".to_owned())) };
        let parameters = [text(Type::String), text(Type::String), text(Type::Integer)];
        let places: Vec<Place> =
            query.names().iter().zip(["CHAR", "TEXT", ""]).map(|(name, ty)| Place::of(name, ty)).collect();
        assert_eq!(
            joined(&query, &parameters, &places),
            "SELECT errand_many.errand_number, errand_rows.* FROM unnest($1::text[]::bpchar[], $2::text[]::text[]) WITH \
             ORDINALITY AS errand_many(p0, p1, errand_number) CROSS JOIN LATERAL (\nSELECT a FROM t WHERE id = \
             errand_many.p0 OR old = errand_many.p1 AND y = $3::text::bigint -- why\n) AS errand_rows"
        );
    }
}
