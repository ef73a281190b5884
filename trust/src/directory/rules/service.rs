//! Data services.

use proto::registry::v1::{self as wire, statement::Body};

use super::{
    super::{Directory, Object, StatementError},
    fields::{require, require_department},
};
use crate::service::{Service, ServiceState};

/// Checks a statement about a data service.
pub(super) fn check(directory: &Directory, body: &Body, object: &Object) -> Result<(), StatementError> {
    match body {
        Body::ServicePublished(body) => check_service(directory, body),
        Body::ServiceSuspended(body) => {
            require("notice", &body.notice)?;
            check_service_state(directory, object, |state| *state == ServiceState::Answering)
        }
        Body::ServiceResumed(_) => {
            check_service_state(directory, object, |state| matches!(state, ServiceState::Suspended { .. }))
        }
        Body::ServiceWithdrawn(body) => {
            require("reason", &body.reason)?;
            check_service_state(directory, object, |state| !matches!(state, ServiceState::Withdrawn { .. }))
        }
        _ => Ok(()),
    }
}

fn check_service(directory: &Directory, body: &wire::ServicePublished) -> Result<(), StatementError> {
    require_department(directory, &body.department)?;
    // The digest is set when the statement is folded.
    let service = Service::check(body, crate::ids::Digest::new([0; 32]))
        .map_err(|error| StatementError::Rule { field: error.field, reason: error.reason })?;
    if let Some(before) = directory.service(&service.id) {
        if matches!(before.state, ServiceState::Withdrawn { .. }) {
            return Err(StatementError::rule("service", "was withdrawn; publish a new major version"));
        }
        if before.published.minor_version >= body.minor_version {
            return Err(StatementError::rule("version", "a change raises the minor version"));
        }
    }
    Ok(())
}

fn check_service_state(
    directory: &Directory,
    object: &Object,
    fits: impl Fn(&ServiceState) -> bool,
) -> Result<(), StatementError> {
    let service = match object {
        Object::Service(id) => directory.service(id),
        _ => None,
    };
    match service {
        Some(service) if fits(&service.state) => Ok(()),
        Some(_) => Err(StatementError::rule("object", "the service's state does not allow this")),
        None => Err(StatementError::rule("object", "there is no such service")),
    }
}
