//! `services` and `departments`: looks things up in this node's own view of the directory. Out of scope: a department's
//! own services (`service`), and how each thing is told (`trust::reading`).

use clap::{Args, Subcommand, ValueEnum};
use proto::registry::v1::{DepartmentEntry, DepartmentQuery, ServiceEntry, ServiceQuery, SharingClass};
use serde_json::json;
use trust::{
    catalogue::gather,
    reading::{DepartmentWords, ServiceWords},
    refusal::{Code, Refusal},
};

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    text,
};

/// The commands about everybody's data services.
#[derive(Debug, Subcommand)]
pub enum ServicesCommand {
    /// Lists data services.
    #[command(after_help = "Example:\n  exchange-node services list --provider civil-affairs")]
    List(ServiceFilter),
    /// Shows one data service: attributes, operators, inputs, conditions.
    #[command(after_help = "Example:\n  exchange-node services show civil-affairs/marriage-registration")]
    Show {
        /// The service, DEPARTMENT/SERVICE.
        #[arg(value_name = "SERVICE", value_parser = text::service)]
        service: (String, String),
        /// Its major version; without it the newest that answers.
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        major: u32,
    },
    /// Finds data services by words in their descriptions, in Chinese or English. Each word must be there.
    #[command(
        after_help = "Examples:\n  exchange-node services search 婚姻 登记\n  exchange-node services search marriage --replaces 无房证明"
    )]
    Search {
        /// The words.
        #[arg(value_name = "WORD", required = true)]
        words: Vec<String>,
        /// What else must hold.
        #[command(flatten)]
        filter: ServiceFilter,
    },
}

/// Which services.
#[derive(Args, Clone, Debug, Default)]
pub struct ServiceFilter {
    /// Only this department's.
    #[arg(long, value_name = "DEPARTMENT")]
    provider: Option<String>,
    /// Only those with this attribute: its name, or a part of its label.
    #[arg(long, value_name = "ATTRIBUTE")]
    attribute: Option<String>,
    /// Only those that make this paper proof unnecessary.
    #[arg(long, value_name = "PROOF")]
    replaces: Option<String>,
    /// Only those that are shared so.
    #[arg(long, value_name = "CLASS")]
    sharing: Option<Sharing>,
    /// Withdrawn services too.
    #[arg(long)]
    withdrawn: bool,
    /// How many at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: usize,
}

/// How a service is shared.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Sharing {
    /// 有条件共享: needs a grant.
    Conditional,
    /// 不予共享.
    NotShared,
    /// 无条件共享.
    Unconditional,
}

/// The commands about departments.
#[derive(Debug, Subcommand)]
pub enum DepartmentsCommand {
    /// Lists the departments of the exchange.
    #[command(after_help = "Example:\n  exchange-node departments list --text 民政")]
    List {
        /// Only those with these words in id, name or credit code.
        #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
        text: String,
        /// Only those in this state: admitted, suspended, closed.
        #[arg(long, value_name = "STATE", default_value = "", hide_default_value = true)]
        state: String,
        /// How many at most.
        #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
        limit: usize,
    },
    /// Shows one department with its keys, nodes, services and grants.
    #[command(after_help = "Example:\n  exchange-node departments show civil-affairs")]
    Show {
        /// The department's id.
        #[arg(value_name = "DEPARTMENT")]
        department: trust::ids::DepartmentId,
    },
}

pub(super) async fn run_services(command: ServicesCommand, folder: &Folder, output: Output) -> Result<Exit, Error> {
    match command {
        ServicesCommand::List(filter) => list(filter, String::new(), folder, output).await,
        ServicesCommand::Search { words, filter } => list(filter, words.join(" "), folder, output).await,
        ServicesCommand::Show { service: (provider, service), major } => {
            let query = ServiceQuery { provider, withdrawn_too: true, ..ServiceQuery::default() };
            let (found, _) = services(folder, query, usize::MAX).await?;
            let entry = newest(found, &service, major)
                .ok_or_else(|| Error::Refused(Refusal::new(Code::ServiceUnknown).at("service").to_wire()))?;
            let words = ServiceWords::of(&entry);
            output.show(&json!(words), || {
                let attributes = output::table(ServiceWords::ATTRIBUTE_HEADER, words.attribute_rows());
                format!("{}\n{attributes}", output::pairs(ServiceWords::facts(&entry)))
            });
            Ok(Exit::Done)
        }
    }
}

async fn list(filter: ServiceFilter, text: String, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let sharing = match filter.sharing {
        None => SharingClass::Unspecified,
        Some(Sharing::Conditional) => SharingClass::Conditional,
        Some(Sharing::NotShared) => SharingClass::NotShared,
        Some(Sharing::Unconditional) => SharingClass::Unconditional,
    };
    let query = ServiceQuery {
        provider: filter.provider.unwrap_or_default(),
        attribute: filter.attribute.unwrap_or_default(),
        proof: filter.replaces.unwrap_or_default(),
        text,
        sharing: sharing.into(),
        withdrawn_too: filter.withdrawn,
        page: None,
    };
    let (found, more) = services(folder, query, filter.limit).await?;
    let words: Vec<ServiceWords> = found.iter().map(ServiceWords::of).collect();
    output.show(&json!({ "services": words, "more": more }), || {
        if words.is_empty() {
            return "The directory has no such services.".to_owned();
        }
        let table = output::table(ServiceWords::HEADER, words.iter().map(ServiceWords::row));
        table + if more { "\nThere are more: raise --limit." } else { "" }
    });
    Ok(Exit::Done)
}

/// The services that a query finds, page after page up to a number; and whether there are more.
async fn services(folder: &Folder, mut query: ServiceQuery, most: usize) -> Result<(Vec<ServiceEntry>, bool), Error> {
    let mut client = folder.catalogue().await?;
    gather(most, async |page| {
        query.page = page;
        let page = client.services(query.clone()).await?.into_inner();
        Ok((page.services, page.end))
    })
    .await
}

/// The service in the wanted major version, or the newest that answers.
fn newest(found: Vec<ServiceEntry>, service: &str, major: u32) -> Option<ServiceEntry> {
    let version = |entry: &ServiceEntry| entry.service.as_ref().map_or(0, |service| service.major_version);
    found
        .into_iter()
        .filter(|entry| entry.service.as_ref().is_some_and(|found| found.service == service))
        .filter(|entry| major == 0 || version(entry) == major)
        .max_by_key(|entry| (entry.state == "answering", version(entry)))
}

pub(super) async fn run_departments(
    command: DepartmentsCommand,
    folder: &Folder,
    output: Output,
) -> Result<Exit, Error> {
    match command {
        DepartmentsCommand::List { text, state, limit } => {
            let query = DepartmentQuery { text, state, ..DepartmentQuery::default() };
            let (found, more) = departments(folder, query, limit).await?;
            let words: Vec<DepartmentWords> = found.iter().map(DepartmentWords::of).collect();
            output.show(&json!({ "departments": words, "more": more }), || {
                if words.is_empty() {
                    return "The exchange has no such departments.".to_owned();
                }
                let table = output::table(DepartmentWords::HEADER, words.iter().map(DepartmentWords::row));
                table + if more { "\nThere are more: raise --limit." } else { "" }
            });
        }
        DepartmentsCommand::Show { department } => {
            let query = DepartmentQuery { department: department.to_string(), ..DepartmentQuery::default() };
            let (found, _) = departments(folder, query, 1).await?;
            let unknown = || Error::Refused(Refusal::new(Code::DepartmentUnknown).at("department").to_wire());
            let entry = found.first().ok_or_else(unknown)?;
            let words = DepartmentWords::of(entry);
            output.show(&json!(words), || {
                let keys = output::table(DepartmentWords::KEY_HEADER, words.key_rows());
                format!("{}\n{keys}", output::pairs(DepartmentWords::facts(entry)))
            });
        }
    }
    Ok(Exit::Done)
}

async fn departments(
    folder: &Folder,
    mut query: DepartmentQuery,
    most: usize,
) -> Result<(Vec<DepartmentEntry>, bool), Error> {
    let mut client = folder.catalogue().await?;
    gather(most, async |page| {
        query.page = page;
        let page = client.departments(query.clone()).await?.into_inner();
        Ok((page.departments, page.end))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(major_version: u32, state: &str) -> ServiceEntry {
        let mut service = trust::fixture::marriage_registration();
        service.major_version = major_version;
        ServiceEntry { service: Some(service), state: state.into(), ..ServiceEntry::default() }
    }

    #[test]
    fn the_newest_version_that_answers_is_shown() {
        let found = vec![entry(1, "answering"), entry(2, "answering"), entry(3, "withdrawn")];
        let shown = |service: &str, major| {
            newest(found.clone(), service, major).map(|entry| entry.service.unwrap().major_version)
        };
        assert_eq!(shown("marriage-registration", 0), Some(2));
        assert_eq!(shown("marriage-registration", 3), Some(3));
        assert_eq!(shown("marriage-registration", 4), None);
        assert_eq!(shown("horse-registration", 0), None);
    }
}
