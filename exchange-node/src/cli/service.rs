//! `service`: describes, publishes, changes, suspends, ends and looks up data services. Out of scope: the file's form
//! (`service_file`), and what a description does to the directory (`service_change`).

mod begin;
mod describe;
mod end;
mod show;

use std::path::PathBuf;

use clap::Subcommand;
use proto::admin::v1::{
    DescribeAction, ListServicesRequest, ResumeServiceRequest, ServiceState, SuspendServiceRequest,
    services_client::ServicesClient,
};
use serde_json::json;
use tonic::transport::Channel;
use trust::refusal::{Code, Refusal};

pub(super) use self::{
    begin::write as write_new,
    describe::describe,
    end::{notice_row, notices, notices_json},
};
use super::{
    Error, Exit,
    node::{self, Folder},
    output::{self, Output},
    text,
};

/// The commands about data services.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes a service description to begin with, every field explained. Needs no running node.
    #[command(
        after_help = "Examples:\n  exchange-node service new marriage-registration --name 婚姻登记核验 --basis \"婚姻登记条例 4\"\n  exchange-node service new marriage-registration --records people.csv"
    )]
    New(begin::NewArgs),
    /// Checks a service description and says everything that is wrong. Needs no running node.
    #[command(after_help = "Example:\n  exchange-node service check marriage-registration.yaml")]
    Check {
        /// The description, YAML.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Also fails where a field of the data catalogue is not said.
        #[arg(long)]
        strict: bool,
    },
    /// Says how a service description differs from what is published, and whether that needs a new major version.
    #[command(after_help = "Example:\n  exchange-node service diff marriage-registration.yaml")]
    Diff {
        /// The description, YAML.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Signs the description of a new service, or of a new major version, and publishes it in the directory.
    #[command(after_help = "Example:\n  exchange-node service publish marriage-registration.yaml")]
    Publish {
        /// The description, YAML.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Changes a published service, where the change is compatible: the minor version is raised by itself.
    #[command(after_help = "Example:\n  exchange-node service change marriage-registration.yaml")]
    Change {
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
    /// Shows one data service: attributes, operators, inputs, conditions, and how its review stands.
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
    /// Ends an own service, after the notice that the authority's profile asks for. Those who hold grants are told. Said
    /// again, with a later day, it puts the end off.
    #[command(
        after_help = "Examples:\n  exchange-node service withdraw marriage-registration --reason \"replaced by version 2\" --major 1\n  exchange-node service withdraw marriage-registration --reason \"replaced by version 2\" --major 1 --last-day 2099-12-31"
    )]
    Withdraw(end::WithdrawArgs),
    /// Lists services that this department holds grants for and that end, have ended or are suspended.
    #[command(after_help = "Example:\n  exchange-node service notices")]
    Notices,
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output) -> Result<Exit, Error> {
    match command {
        Command::New(args) => begin::run(args, output),
        Command::Check { file, strict } => describe::check(&file, strict, output),
        Command::Diff { file } => describe::run(&file, DescribeAction::Compare, folder, output).await,
        Command::Publish { file } => describe::run(&file, DescribeAction::Publish, folder, output).await,
        Command::Change { file } => describe::run(&file, DescribeAction::Change, folder, output).await,
        Command::List { provider } => list(provider.unwrap_or_default(), folder, output).await,
        Command::Show { service, major } => {
            let found = find(folder, &service, major).await?;
            output.show(&show::state_json(&found), || show::state_details(&found));
            Ok(Exit::Done)
        }
        Command::Suspend { service, notice, major: major_version } => {
            let request = SuspendServiceRequest { service, major_version, notice };
            let response = client(folder).await?.suspend(request).await?.into_inner();
            node::stated(output, response, "The service is suspended")
        }
        Command::Resume { service, major: major_version } => {
            let request = ResumeServiceRequest { service, major_version };
            let response = client(folder).await?.resume(request).await?.into_inner();
            node::stated(output, response, "The service answers again")
        }
        Command::Withdraw(args) => end::withdraw(args, folder, output).await,
        Command::Notices => end::list(folder, output).await,
    }
}

/// The service of the running node for the life of data services.
pub(super) async fn client(folder: &Folder) -> Result<ServicesClient<Channel>, Error> {
    Ok(ServicesClient::new(folder.channel().await?))
}

async fn list(provider: String, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let services = all(folder, provider).await?;
    let machine = json!({ "services": services.iter().map(show::state_json).collect::<Vec<_>>() });
    output.show(&machine, || {
        if services.is_empty() {
            return "The directory has no such services.".to_owned();
        }
        output::table(["service", "version", "name", "sharing", "state", "attributes"], services.iter().map(show::row))
    });
    Ok(Exit::Done)
}

/// The services of the directory: one department's, or all where it is empty.
pub(super) async fn all(folder: &Folder, provider: String) -> Result<Vec<ServiceState>, Error> {
    Ok(folder.admin().await?.list_services(ListServicesRequest { provider }).await?.into_inner().services)
}

/// The service as the directory has it, in the wanted or the newest major version.
pub(super) async fn find(folder: &Folder, wanted: &(String, String), major: u32) -> Result<ServiceState, Error> {
    let services = all(folder, wanted.0.clone()).await?;
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
        ServiceState { service: Some(service), state: state.into(), ..ServiceState::default() }
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
}
