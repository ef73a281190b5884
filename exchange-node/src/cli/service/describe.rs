//! `service check`, `diff`, `publish` and `change`: from a description in a file to what it does.

use std::{fs, path::Path};

use proto::{
    admin::v1::{DescribeAction, DescribeServiceRequest, DescribeServiceResponse, ServiceDifference},
    registry::v1::ServicePublished,
};
use serde_json::{Value, json};
use trust::service::catalogue;

use super::{
    super::{
        Error, Exit,
        node::Folder,
        output::{self, Output},
    },
    client, show,
};
use crate::service_file;

/// Reads a description.
pub(in crate::cli) fn read(file: &Path) -> Result<ServicePublished, Error> {
    let text = fs::read_to_string(file).map_err(|source| Error::FileUnusable {
        doing: "read",
        path: file.to_owned(),
        source,
    })?;
    service_file::parse(&text, &file.display().to_string()).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::FileWrong(lines.join("\n"))
    })
}

/// `service check`.
pub(super) fn check(file: &Path, strict: bool, output: Output) -> Result<Exit, Error> {
    let service = read(file)?;
    let missing: Vec<String> = missing(&service);
    if strict && !missing.is_empty() {
        let lines = missing.iter().map(|missing| format!("{}: {missing}", file.display()));
        return Err(Error::FileWrong(lines.collect::<Vec<_>>().join("\n")));
    }
    let mut machine = show::published_json(&service);
    machine["missing"] = json!(missing);
    output.show(&machine, || {
        let order = if missing.is_empty() { "is in order" } else { "can be published" };
        let lacks = notes_text("A complete catalogue entry also says:", &missing);
        format!("{} {order}.\n{lacks}{}", file.display(), show::details(&service))
    });
    Ok(Exit::Done)
}

fn missing(service: &ServicePublished) -> Vec<String> {
    catalogue::missing(service).into_iter().map(|(field, what)| format!("{field}: {what}")).collect()
}

/// `service diff`, `publish` and `change`.
pub(super) async fn run(file: &Path, action: DescribeAction, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let service = read(file)?;
    let name = service.service.clone();
    let response = describe(service, action, folder).await?;
    let exit = match (action, response.outcome.as_str()) {
        (DescribeAction::Compare, "incompatible") => Exit::Refused,
        _ => Exit::Done,
    };
    if let Some(refusal) = response.statement.as_ref().and_then(|statement| statement.refused.clone()) {
        // Why, before that it was refused: what is printed last is what people read.
        output.say(differences_text(&response).trim_end());
        return Err(Error::Refused(refusal));
    }
    output.show(&to_json(&response, action), || to_text(&name, &response, action));
    Ok(exit)
}

/// Has the running node hold a description against the directory, and state it where that is the action.
pub(in crate::cli) async fn describe(
    service: ServicePublished,
    action: DescribeAction,
    folder: &Folder,
) -> Result<DescribeServiceResponse, Error> {
    let request = DescribeServiceRequest { service: Some(service), action: action.into() };
    Ok(client(folder).await?.describe(request).await?.into_inner())
}

fn to_json(response: &DescribeServiceResponse, action: DescribeAction) -> Value {
    let differences = response.differences.iter().map(|difference| {
        json!({ "field": difference.field, "what": difference.what, "incompatible": difference.incompatible })
    });
    let mut machine = json!({
        "outcome": response.outcome,
        "version": response.version,
        "compared_with": response.compared_with,
        "differences": differences.collect::<Vec<_>>(),
        "notes": response.notes,
    });
    if let (Some(statement), false) = (&response.statement, action == DescribeAction::Compare) {
        machine["object"] = json!(statement.object);
        machine["index"] = json!(statement.index);
        machine["digest"] = json!(statement.digest);
    }
    machine
}

fn to_text(name: &str, response: &DescribeServiceResponse, action: DescribeAction) -> String {
    let version = &response.version;
    let done = match (action, response.outcome.as_str()) {
        (_, "unchanged") => format!("{name} {version} says the same already; nothing was changed."),
        (DescribeAction::Compare, "new") => format!("{name} {version} would be new."),
        (DescribeAction::Compare, "incompatible") => {
            format!("{name} needs a new major version: those who ask would be refused or get other verdicts.")
        }
        (DescribeAction::Compare, _) => format!("{name} would become version {version}; those who ask notice nothing."),
        (_, outcome) => {
            let verb = if outcome == "new" { "is published" } else { "is changed" };
            let statement = response.statement.clone().unwrap_or_default();
            format!(
                "{name} {version} {verb} (statement {} of the directory, about {}).",
                statement.index, statement.object
            )
        }
    };
    let notes = notes_text("To know:", &response.notes);
    format!("{}{done}\n{notes}", differences_text(response))
}

fn differences_text(response: &DescribeServiceResponse) -> String {
    if response.differences.is_empty() {
        return String::new();
    }
    let row = |difference: &ServiceDifference| {
        let effect = if difference.incompatible { "NEW MAJOR VERSION" } else { "" };
        [difference.field.clone(), difference.what.clone(), effect.to_owned()]
    };
    let against = format!("what differs from {}", response.compared_with);
    format!("{}\n", output::table(["field", &against, "needs"], response.differences.iter().map(row)))
}

fn notes_text(heading: &str, notes: &[String]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let lines: String = notes.iter().map(|note| format!("  - {note}\n")).collect();
    format!("{heading}\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_wrong_is_the_callers_fault() {
        let missing = read(Path::new("missing.yaml")).unwrap_err();
        assert_eq!(missing.exit(), Exit::Usage);
        assert!(missing.to_string().starts_with("cannot read missing.yaml: "), "{missing}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wrong.yaml");
        fs::write(&file, "service: [").unwrap();
        let error = read(&file).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains("wrong.yaml:1"), "{error}");
    }

    #[test]
    fn differences_are_printed_with_what_they_need() {
        let difference =
            |field: &str, incompatible| ServiceDifference { field: field.into(), what: "is gone".into(), incompatible };
        let response = DescribeServiceResponse {
            outcome: "incompatible".into(),
            version: "1.4".into(),
            compared_with: "1.3".into(),
            differences: vec![difference("attributes.a", true), difference("items", false)],
            notes: vec!["import again".into()],
            statement: None,
        };
        let text = to_text("s", &response, DescribeAction::Compare);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("is gone")).collect();
        assert!(lines[0].contains("NEW MAJOR VERSION") && !lines[1].contains("NEW"), "{text}");
        assert!(text.contains("differs from 1.3") && text.contains("needs a new major version"), "{text}");
        assert!(text.ends_with("  - import again\n"), "{text}");
        let machine = to_json(&response, DescribeAction::Compare);
        assert_eq!(machine["differences"][0]["incompatible"], true);
        assert!(machine.get("index").is_none());
    }
}
