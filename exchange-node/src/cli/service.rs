//! `service`: describes, publishes and looks up data services. Out of scope: the file's form (`service_file`).

mod show;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use proto::{
    admin::v1::{ChangeServiceRequest, ListServicesRequest, PublishServiceRequest, ServiceState},
    registry::v1::ServicePublished,
};
use serde_json::json;

use trust::refusal::{Code, Refusal};

pub(super) use self::show::bases;
use super::{
    Error, Exit,
    node::{self, Folder},
    output::{self, Output},
    text,
};
use crate::service_file;

/// The commands about data services.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Signs a service description and publishes it in the directory.
    #[command(after_help = "Example:\n  exchange-node service publish marriage-registration.yaml")]
    Publish {
        /// The description, YAML.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Checks a service description and says everything that is wrong. Needs no running node.
    #[command(after_help = "Example:\n  exchange-node service check marriage-registration.yaml")]
    Check {
        /// The description, YAML.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Lists the data services of the directory.
    #[command(after_help = "Example:\n  exchange-node service list --provider civil-affairs")]
    List {
        /// Only this department's.
        #[arg(long, value_name = "DEPARTMENT")]
        provider: Option<String>,
    },
    /// Shows one data service: attributes, operators, inputs, conditions.
    #[command(after_help = "Example:\n  exchange-node service show civil-affairs/marriage-registration")]
    Show {
        /// The service, DEPARTMENT/SERVICE.
        #[arg(value_name = "SERVICE", value_parser = text::service)]
        service: (String, String),
        /// Its major version; without it the newest.
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        major: u32,
    },
    /// Stops an own service from answering until it is resumed. Askers get to read the notice.
    #[command(
        after_help = "Example:\n  exchange-node service suspend marriage-registration --notice \"登记系统维护至周五\""
    )]
    Suspend {
        /// The own service.
        #[arg(value_name = "SERVICE")]
        service: String,
        /// What askers get to read.
        #[arg(long, value_name = "TEXT")]
        notice: String,
        /// Its major version; without it the newest.
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        major: u32,
    },
    /// Lets a suspended own service answer again.
    #[command(after_help = "Example:\n  exchange-node service resume marriage-registration")]
    Resume {
        /// The own service.
        #[arg(value_name = "SERVICE")]
        service: String,
        /// Its major version; without it the newest.
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        major: u32,
    },
    /// Ends an own service for good.
    #[command(
        after_help = "Example:\n  exchange-node service withdraw marriage-registration --reason \"replaced by version 2\" --major 1"
    )]
    Withdraw {
        /// The own service.
        #[arg(value_name = "SERVICE")]
        service: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Its major version; without it the newest.
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        major: u32,
    },
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    match command {
        Command::Publish { file } => publish(&file, folder, output).await,
        Command::Check { file } => {
            let service = read(&file)?;
            output.show(&show::published_json(&service), || {
                format!("{} is in order.\n{}", file.display(), show::details(&service))
            });
            Ok(Exit::Done)
        }
        Command::List { provider } => list(provider.unwrap_or_default(), folder, output).await,
        Command::Show { service, major } => {
            let found = find(folder, &service, major).await?;
            output.show(&show::state_json(&found), || {
                let state = [("state", show::state_text(&found))];
                format!("{}\n{}", output::pairs(state), found.service.as_ref().map(show::details).unwrap_or_default())
            });
            Ok(Exit::Done)
        }
        Command::Suspend { service, notice, major } => {
            change(folder, output, service, major, ("suspend", notice, "The service is suspended")).await
        }
        Command::Resume { service, major } => {
            change(folder, output, service, major, ("resume", String::new(), "The service answers again")).await
        }
        Command::Withdraw { service, reason, major } => {
            change(folder, output, service, major, ("withdraw", reason, "The service is withdrawn")).await
        }
    }
}

fn read(file: &Path) -> Result<ServicePublished, Error> {
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

async fn publish(file: &Path, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let service = read(file)?;
    let done = format!("{} {}.{} is published", service.service, service.major_version, service.minor_version);
    let request = PublishServiceRequest { service: Some(service) };
    let response = folder.admin().await?.publish_service(request).await?.into_inner();
    node::stated(output, response, &done)
}

async fn change(
    folder: &Folder,
    output: Output,
    service: String,
    major_version: u32,
    (action, text, done): (&str, String, &str),
) -> Result<Exit, Error> {
    let request = ChangeServiceRequest { service, major_version, action: action.to_owned(), text };
    let response = folder.admin().await?.change_service(request).await?.into_inner();
    node::stated(output, response, done)
}

async fn list(provider: String, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let services = folder.admin().await?.list_services(ListServicesRequest { provider }).await?.into_inner().services;
    let machine = json!({ "services": services.iter().map(show::state_json).collect::<Vec<_>>() });
    output.show(&machine, || {
        if services.is_empty() {
            return "The directory has no such services.".to_owned();
        }
        output::table(["service", "version", "name", "sharing", "state", "attributes"], services.iter().map(show::row))
    });
    Ok(Exit::Done)
}

/// The service as the directory has it, in the wanted or the newest major version.
pub(super) async fn find(folder: &Folder, wanted: &(String, String), major: u32) -> Result<ServiceState, Error> {
    let request = ListServicesRequest { provider: wanted.0.clone() };
    let services = folder.admin().await?.list_services(request).await?.into_inner().services;
    newest(services, wanted, major)
        .ok_or_else(|| Error::Refused(Refusal::new(Code::ServiceUnknown).at("service").to_wire()))
}

fn newest(services: Vec<ServiceState>, wanted: &(String, String), major: u32) -> Option<ServiceState> {
    services
        .into_iter()
        .filter(|state| {
            state.service.as_ref().is_some_and(|service| {
                (&service.department, &service.service) == (&wanted.0, &wanted.1)
                    && (major == 0 || service.major_version == major)
            })
        })
        .max_by_key(|state| (state.state == "answering", state.service.as_ref().map(|service| service.major_version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(major_version: u32, state: &str) -> ServiceState {
        let mut service = trust::fixture::marriage_registration();
        service.major_version = major_version;
        ServiceState { service: Some(service), state: state.into(), notice: String::new() }
    }

    fn wanted() -> (String, String) {
        ("civil-affairs".into(), "marriage-registration".into())
    }

    #[test]
    fn the_newest_version_that_answers_is_found() {
        let services = vec![state(1, "answering"), state(2, "answering"), state(3, "withdrawn")];
        let major =
            |found: Option<ServiceState>| found.and_then(|found| found.service).map(|service| service.major_version);
        assert_eq!(major(newest(services.clone(), &wanted(), 0)), Some(2));
        assert_eq!(major(newest(services.clone(), &wanted(), 3)), Some(3));
        assert_eq!(major(newest(services.clone(), &wanted(), 4)), None);
        assert_eq!(major(newest(services, &("housing".into(), "marriage-registration".into()), 0)), None);
    }

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
}
