//! `registry state …`: commitments to the state of the whole directory, with which evidence shows that nothing was revoked.

use clap::Subcommand;
use proto::admin::v1::{CommitStateRequest, registry_evidence_client::RegistryEvidenceClient};
use serde_json::json;

use super::{
    Cli, Failure,
    operate::{Shown, channel},
};

/// `registry state …`.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Have the log commit to its state now, instead of waiting for the interval in registry.toml.
    #[command(after_help = "Example:\n  registry state commit")]
    Commit,
}

pub(super) async fn run(cli: &Cli, command: &StateCommand) -> Result<Shown, Failure> {
    let StateCommand::Commit = command;
    let mut client = RegistryEvidenceClient::new(channel(cli).await?);
    let committed = client.commit_state(CommitStateRequest {}).await?.into_inner();
    let json = json!({ "covered": committed.covered, "objects": committed.objects, "root": committed.root });
    let facts = [
        ("statements covered", committed.covered.to_string()),
        ("objects", committed.objects.to_string()),
        ("root", committed.root),
    ];
    Ok(Shown::facts(&facts, json))
}
