//! Changing keys of a running node: `rotate`, `recover`, `renew-tls`. Out of scope: revoking, which is one call.

use std::path::Path;

use host::{period::Period, random::SystemRandom};
use prost::Message;
use proto::{
    admin::v1::{BeginRecoveryRequest, FinishRecoveryRequest, RenewTlsRequest, RotateKeyRequest, StatementResponse},
    registry::v1::{KeyRole, Statement, statement::Body},
};
use serde_json::json;
use trust::{
    envelope,
    key::{DescribedKey, Role},
};

use super::{
    super::{
        Error, Exit,
        node::{self, Folder},
        output::{self, Output},
    },
    RotatedKey,
};
use crate::keys::{FileKey, Keyring};

pub(super) async fn rotate(folder: &Folder, output: Output, key: RotatedKey, overlap: Period) -> Result<Exit, Error> {
    let role = match key {
        RotatedKey::Department => KeyRole::Department,
        RotatedKey::Node => KeyRole::Node,
    };
    let request = RotateKeyRequest { role: role.into(), overlap_ms: overlap.as_ms() };
    let rotated = folder.keys().await?.rotate_key(request).await?.into_inner();
    let added = accepted(rotated.added)?;
    let machine = json!({
        "new_key_id": rotated.new_key_id,
        "old_key_id": rotated.old_key_id,
        "old_until_ms": rotated.old_until_ms,
        "added": added.index,
        "retired": rotated.retired.as_ref().map(|retired| retired.index),
    });
    output.show(&machine, || {
        let carry = match key {
            RotatedKey::Department => {
                "\nCarry keys/department.key to the department's other machines before that, and make a new backup (`keys backup`)."
            }
            RotatedKey::Node => "\nMake a new backup (`keys backup`).",
        };
        format!(
            "The key {} is in use from now on (statement {} of the directory). The old one, {}, counts until {}.{carry}",
            rotated.new_key_id,
            added.index,
            rotated.old_key_id,
            output::moment(rotated.old_until_ms)
        )
    });
    Ok(Exit::Done)
}

/// The recovery key signs in this process and is nowhere else: the running node never sees it.
pub(super) async fn recover(folder: &Folder, output: Output, recovery_key: &Path) -> Result<Exit, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::FileWrong(error.to_string());
    let recovery = FileKey::read(recovery_key).map_err(|error| wrong(&error))?;
    let dir = folder.path()?;
    // A folder that lost the node's own keys too can be started again.
    for name in Keyring::make_missing(&dir, &SystemRandom).map_err(|error| wrong(&error))? {
        output.say(&format!("keys/{name} was missing and is made anew."));
    }
    let mut node = folder.keys().await?;
    let begun = node.begin_recovery(BeginRecoveryRequest {}).await?.into_inner();
    let statement = Statement::decode(begun.statement.as_slice()).map_err(|error| wrong(&error))?;
    check(&statement, &begun.new_key_id)?;
    let (envelope, _) = envelope::seal(&statement, &recovery);
    let request = FinishRecoveryRequest { envelope: envelope.encode_to_vec() };
    let response = node.finish_recovery(request).await?.into_inner();
    let done = format!(
        "The department has the new key {}, in keys/department.key. Revoke those that are lost (`keys list`, `keys revoke`), put the recovery key back into the safe, and make a backup (`keys backup`)",
        begun.new_key_id
    );
    node::stated(output, response, &done)
}

/// The recovery key signs nothing but that a department key is added.
fn check(statement: &Statement, new_key_id: &str) -> Result<(), Error> {
    let key = match &statement.body {
        Some(Body::KeyAdded(added)) => added.key.as_ref().and_then(|key| DescribedKey::from_wire(key).ok()),
        _ => None,
    };
    match key {
        Some(key) if key.role == Role::Department && key.key.id().to_string() == new_key_id => Ok(()),
        _ => Err(Error::Usage(
            "the node asks the recovery key to sign something else than a new department key: nothing was signed"
                .to_owned(),
        )),
    }
}

pub(super) async fn renew_tls(folder: &Folder, output: Output, lead: Period, overlap: Period) -> Result<Exit, Error> {
    let request = RenewTlsRequest { lead_ms: lead.as_ms(), overlap_ms: overlap.as_ms() };
    let renewed = folder.keys().await?.renew_tls(request).await?.into_inner();
    let announced = accepted(renewed.announced)?;
    let machine = json!({
        "announced": announced.index,
        "next_tls_key": renewed.next_tls_key,
        "switch_ms": renewed.switch_ms,
        "finish_ms": renewed.finish_ms,
    });
    output.show(&machine, || {
        format!(
            "Peers are told of the TLS key {} (statement {} of the directory). This node shows it from {} on, and the old one is accepted until {}.",
            renewed.next_tls_key,
            announced.index,
            output::moment(renewed.switch_ms),
            output::moment(renewed.finish_ms)
        )
    });
    Ok(Exit::Done)
}

fn accepted(response: Option<StatementResponse>) -> Result<StatementResponse, Error> {
    let response = response.unwrap_or_default();
    match response.refused {
        Some(refusal) => Err(Error::Refused(refusal)),
        None => Ok(response),
    }
}
