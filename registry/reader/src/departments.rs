//! Departments: listed, and one of them shown with its keys.

use host::terminal;
use proto::registry::v1::{DepartmentEntry, DepartmentQuery};
use serde_json::json;
use trust::{
    catalogue::gather,
    ids::DepartmentId,
    reading::DepartmentWords,
    refusal::{Code, Refusal},
};

use super::{Client, Error, Shown, listed};

/// The departments with these words in id, name or credit code, and in this state; empty ones filter nothing.
///
/// # Errors
///
/// They cannot be asked for.
pub async fn departments(client: Client, text: String, state: String, most: usize) -> Result<Shown, Error> {
    let query = DepartmentQuery { text, state, ..DepartmentQuery::default() };
    let (found, more) = find(client, query, most).await?;
    let words: Vec<DepartmentWords> = found.iter().map(DepartmentWords::of).collect();
    let text = match words.as_slice() {
        [] => "The exchange has no such departments.".to_owned(),
        words => listed(terminal::table(DepartmentWords::HEADER, words.iter().map(DepartmentWords::row)), more),
    };
    Ok(Shown { json: json!({ "departments": words, "more": more }), text })
}

/// One department with its keys.
///
/// # Errors
///
/// There is none, or it cannot be asked for.
pub async fn department(client: Client, department: &DepartmentId) -> Result<Shown, Error> {
    let query = DepartmentQuery { department: department.to_string(), ..DepartmentQuery::default() };
    let (found, _) = find(client, query, 1).await?;
    let unknown = || Error::Refused(Refusal::new(Code::DepartmentUnknown).at("department"));
    let entry = found.first().ok_or_else(unknown)?;
    let words = DepartmentWords::of(entry);
    let keys = terminal::table(DepartmentWords::KEY_HEADER, words.key_rows());
    let text = format!("{}\n{keys}", terminal::facts(DepartmentWords::facts(entry)));
    Ok(Shown { json: json!(words), text })
}

async fn find(
    mut client: Client,
    mut query: DepartmentQuery,
    most: usize,
) -> Result<(Vec<DepartmentEntry>, bool), Error> {
    gather(most, async |page| {
        query.page = page;
        let page = client.departments(query.clone()).await?.into_inner();
        Ok((page.departments, page.end))
    })
    .await
}
