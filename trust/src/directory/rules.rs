//! The directory's rules: who may make which statement, and what it must contain. The registry applies them before it
//! takes a statement, and every node applies the same rules again to everything the registry says.

use proto::{
    exchange::v1::LegalBasis,
    registry::v1::{self as wire, statement::Body},
};

use super::{
    Directory, Object, StatementError,
    model::{AccessState, KnownKey},
    object::AccessKey,
};
use crate::{
    ids::DepartmentId,
    key::{DescribedKey, PublicKey, Role},
    service::{Service, ServiceState, Sharing, has_basis},
};

/// Which keys may sign a statement. The first statement is signed by the authority's key that the reader trusts.
pub(super) fn entitled(directory: &Directory, body: &Body, object: &Object) -> Result<Entitled, StatementError> {
    use Body::{
        AccessApplied, AccessGranted, AccessRefused, AccessResumed, AccessReturned, AccessRevoked, AccessSuspended,
        DepartmentAdmitted, DepartmentResumed, DepartmentSuspended, ExchangeFounded, ItemPublished, KeyAdded,
        KeyRevoked, NodePublished, NodeRemoved, RegistryAnnounced, ServicePublished, ServiceResumed, ServiceSuspended,
        ServiceWithdrawn, State,
    };
    let department =
        |id: &str| id.parse::<DepartmentId>().map_err(|error| StatementError::malformed("department", error));
    Ok(match (body, object) {
        (ExchangeFounded(_) | RegistryAnnounced(_), _)
        | (DepartmentAdmitted(_) | DepartmentSuspended(_) | DepartmentResumed(_), _) => Entitled::Authority,
        (State(_), _) => Entitled::Log,
        (KeyAdded(body), _) => {
            Entitled::Owner { department: department(&body.department)?, recovery: true, authority: false }
        }
        (KeyRevoked(body), Object::Key(key_id)) => {
            let owner = directory.key(key_id).and_then(|key| key.department.clone());
            let named = department(&body.department)?;
            if owner.as_ref() != Some(&named) {
                return Err(StatementError::rule("key_id", "the department has no such key"));
            }
            Entitled::Owner { department: named, recovery: true, authority: true }
        }
        (
            NodePublished(_) | NodeRemoved(_) | ServicePublished(_) | ServiceSuspended(_) | ServiceResumed(_)
            | ServiceWithdrawn(_) | ItemPublished(_),
            Object::Node(owner, _) | Object::Item(owner, _),
        ) => Entitled::owner(owner),
        (_, Object::Service(id)) => Entitled::owner(&id.department),
        (AccessApplied(_), Object::Access(key)) => Entitled::owner(&key.consumer),
        (
            AccessGranted(_) | AccessRefused(_) | AccessReturned(_) | AccessSuspended(_) | AccessResumed(_)
            | AccessRevoked(_),
            Object::Access(key),
        ) => Entitled::owner(&key.provider),
        _ => return Err(StatementError::rule("object", "the statement does not fit its object")),
    })
}

/// Who may sign a statement.
pub(super) enum Entitled {
    /// The authority.
    Authority,
    /// The directory log's own key.
    Log,
    /// A department, with its department keys.
    Owner {
        /// The department.
        department: DepartmentId,
        /// Its recovery key may sign too.
        recovery: bool,
        /// The authority may sign too.
        authority: bool,
    },
}

impl Entitled {
    fn owner(department: &DepartmentId) -> Self {
        Self::Owner { department: department.clone(), recovery: false, authority: false }
    }

    /// Whether the key may sign, as far as its role and owner go.
    pub(super) fn covers(&self, key: &KnownKey) -> bool {
        match self {
            Self::Authority => key.described.role == Role::Authority,
            Self::Log => key.described.role == Role::Log,
            Self::Owner { department, recovery, authority } => match key.described.role {
                Role::Authority => *authority,
                Role::Department => key.department.as_ref() == Some(department),
                Role::Recovery => *recovery && key.department.as_ref() == Some(department),
                Role::Log | Role::Node => false,
            },
        }
    }
}

/// Checks what a statement says against what the directory knows.
pub(super) fn check_body(directory: &Directory, body: &Body, object: &Object) -> Result<(), StatementError> {
    match body {
        Body::ExchangeFounded(founded) => check_founding(directory, founded),
        Body::RegistryAnnounced(body) => check_digest("tls_key", &body.tls_key),
        Body::DepartmentAdmitted(body) => check_admission(directory, body),
        Body::DepartmentSuspended(body) => {
            require("reason", &body.reason)?;
            require_department(directory, &body.department)
        }
        Body::DepartmentResumed(body) => require_department(directory, &body.department),
        Body::KeyAdded(body) => check_key_added(directory, body),
        Body::KeyRevoked(body) => {
            require("reason", &body.reason)?;
            let Object::Key(key_id) = object else { return Err(StatementError::rule("key_id", "is no key")) };
            match directory.key(key_id) {
                Some(key) if key.revoked.as_ref().is_some_and(|revocation| revocation.index.is_some()) => {
                    Err(StatementError::rule("key_id", "the key is revoked already"))
                }
                Some(_) => Ok(()),
                None => Err(StatementError::rule("key_id", "there is no such key")),
            }
        }
        Body::NodePublished(body) => check_node(directory, body),
        Body::NodeRemoved(_) => require_known(directory, object),
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
        Body::AccessApplied(body) => check_application(directory, body, object),
        Body::AccessGranted(body) => check_grant(directory, body, object),
        Body::AccessRefused(body) => {
            require("reason", &body.reason)?;
            check_access_state(directory, object, |state| *state == AccessState::Applied)
        }
        Body::AccessReturned(body) => {
            if body.missing.is_empty() {
                return Err(StatementError::rule("missing", "say what is missing"));
            }
            check_access_state(directory, object, |state| *state == AccessState::Applied)
        }
        Body::AccessSuspended(body) => {
            require("reason", &body.reason)?;
            check_access_state(directory, object, |state| *state == AccessState::Granted)
        }
        Body::AccessResumed(_) => {
            check_access_state(directory, object, |state| matches!(state, AccessState::Suspended { .. }))
        }
        Body::AccessRevoked(body) => {
            require("reason", &body.reason)?;
            check_access_state(directory, object, |state| {
                matches!(state, AccessState::Granted | AccessState::Suspended { .. })
            })
        }
        Body::ItemPublished(body) => {
            require("item", &body.item)?;
            require("accepting_unit", &body.accepting_unit)?;
            check_basis(&body.legal_bases)
        }
        Body::State(body) => check_digest("root", &body.root),
    }
}

fn check_founding(directory: &Directory, founded: &wire::ExchangeFounded) -> Result<(), StatementError> {
    let key = described("authority_key", founded.authority_key.as_ref(), Role::Authority)?;
    if key.key != *directory.authority_key() {
        return Err(StatementError::rule("authority_key", "is not the authority's key that this reader trusts"));
    }
    described("log_key", founded.log_key.as_ref(), Role::Log)?;
    let profile = founded.profile.as_ref().ok_or_else(|| StatementError::rule("profile", "is missing"))?;
    if profile.view_lifetime_hours == 0 || profile.request_validity_seconds == 0 {
        return Err(StatementError::rule("profile", "lifetimes must be above 0"));
    }
    if profile.request_validity_seconds > 300 {
        return Err(StatementError::rule("profile.request_validity_seconds", "is at most 300"));
    }
    Ok(())
}

fn check_admission(directory: &Directory, body: &wire::DepartmentAdmitted) -> Result<(), StatementError> {
    if body.name.as_ref().is_none_or(|name| name.zh.trim().is_empty()) {
        return Err(StatementError::rule("name.zh", "the department needs a name"));
    }
    let first = described("first_key", body.first_key.as_ref(), Role::Department)?;
    let recovery = described("recovery_key", body.recovery_key.as_ref(), Role::Recovery)?;
    check_unused(directory, "first_key", &first.key)?;
    check_unused(directory, "recovery_key", &recovery.key)?;
    if first.key == recovery.key {
        return Err(StatementError::rule("recovery_key", "must be another key than the first"));
    }
    let id: DepartmentId = body.department.parse().map_err(|error| StatementError::malformed("department", error))?;
    if directory.department(&id).is_some() {
        return Err(StatementError::rule("department", "the id is taken; an id is never used again"));
    }
    Ok(())
}

fn check_key_added(directory: &Directory, body: &wire::KeyAdded) -> Result<(), StatementError> {
    require_department(directory, &body.department)?;
    let key = body.key.as_ref().ok_or_else(|| StatementError::rule("key", "is missing"))?;
    let key = DescribedKey::from_wire(key).map_err(|error| StatementError::malformed("key", error))?;
    match key.role {
        Role::Department | Role::Recovery if body.node.is_empty() => {}
        Role::Department | Role::Recovery => return Err(StatementError::rule("node", "only a node key has a node")),
        Role::Node => {
            body.node.parse::<crate::ids::NodeId>().map_err(|error| StatementError::malformed("node", error))?;
        }
        Role::Authority | Role::Log => return Err(StatementError::rule("key.role", "is not a department's to give")),
    }
    check_unused(directory, "key", &key.key)
}

fn check_node(directory: &Directory, body: &wire::NodePublished) -> Result<(), StatementError> {
    require_department(directory, &body.department)?;
    check_digest("tls_key", &body.tls_key)?;
    if body.addresses.is_empty() || body.addresses.len() > 16 {
        return Err(StatementError::rule("addresses", "give 1 to 16"));
    }
    let another = directory.nodes().any(|node| {
        node.tls_key == body.tls_key.as_slice()
            && (node.department.as_str(), node.node.as_str()) != (&body.department, &body.node)
    });
    if another {
        // Otherwise one machine could pass for another's.
        return Err(StatementError::rule("tls_key", "is another node's"));
    }
    Ok(())
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

fn check_application(directory: &Directory, body: &wire::AccessApplied, object: &Object) -> Result<(), StatementError> {
    require_department(directory, &body.consumer)?;
    if body.provider == body.consumer {
        return Err(StatementError::rule("provider", "a department needs no grant from itself"));
    }
    if let Object::Access(key) = object
        && directory.access(key).is_some_and(|access| !matches!(access.state, AccessState::Returned { .. }))
    {
        return Err(StatementError::rule("id", "the application exists already"));
    }
    check_basis(&body.legal_bases)?;
    if body.item.trim().is_empty() && body.scenario.trim().is_empty() {
        return Err(StatementError::rule("item", "state the item or the scenario"));
    }
    let service = service_of(directory, object, &body.service, body.major_version)?;
    if service.sharing != Sharing::Conditional {
        return Err(StatementError::rule("service", "only a conditionally shared service takes applications"));
    }
    check_scope(service, &body.scope)
}

fn check_grant(directory: &Directory, body: &wire::AccessGranted, object: &Object) -> Result<(), StatementError> {
    check_access_state(directory, object, |state| matches!(state, AccessState::Applied | AccessState::Granted))?;
    let Object::Access(key) = object else { return Err(StatementError::rule("object", "is no application")) };
    let Some(access) = directory.access(key) else { return Err(StatementError::rule("id", "is not applied for")) };
    let applied = &access.applied;
    if (&body.service, body.major_version) != (&applied.service, applied.major_version) {
        return Err(StatementError::rule("service", "is not the one applied for"));
    }
    if (&body.item, &body.scenario, &body.system) != (&applied.item, &applied.scenario, &applied.system)
        && !(applied.system.is_empty() && (&body.item, &body.scenario) == (&applied.item, &applied.scenario))
    {
        return Err(StatementError::rule("item", "purpose and system are those applied for"));
    }
    if applied.valid_until_ms != 0 && (body.valid_until_ms == 0 || body.valid_until_ms > applied.valid_until_ms) {
        return Err(StatementError::rule("valid_until_ms", "is later than applied for"));
    }
    if body.scope.is_empty() {
        return Err(StatementError::rule("scope", "an empty list covers nothing"));
    }
    for granted in &body.scope {
        // An approval narrows; what nobody applied for, nobody has justified.
        let within = applied.scope.iter().any(|asked| {
            asked.attribute == granted.attribute
                && granted.operators.iter().all(|operator| asked.operators.contains(operator))
                && (asked.disclose || !granted.disclose)
        });
        if !within {
            return Err(StatementError::rule("scope", format!("{} goes beyond the application", granted.attribute)));
        }
    }
    Ok(())
}

fn check_scope(service: &Service, scope: &[wire::AttributeScope]) -> Result<(), StatementError> {
    if scope.is_empty() {
        return Err(StatementError::rule("scope", "an empty list covers nothing"));
    }
    for asked in scope {
        let Some(rule) = service.attributes.get(&asked.attribute) else {
            return Err(StatementError::rule("scope", format!("the service has no attribute {:?}", asked.attribute)));
        };
        if asked.operators.is_empty() {
            return Err(StatementError::rule("scope", format!("{}: name the operators", asked.attribute)));
        }
        for operator in &asked.operators {
            if !rule.operators().iter().any(|allowed| allowed.as_str() == operator) {
                let reason = format!("{} does not allow the operator {operator:?}", asked.attribute);
                return Err(StatementError::rule("scope", reason));
            }
        }
        if asked.disclose && !rule.discloses() {
            return Err(StatementError::rule("scope", format!("{} is not disclosed", asked.attribute)));
        }
    }
    Ok(())
}

fn service_of<'a>(
    directory: &'a Directory,
    object: &Object,
    service: &str,
    major: u32,
) -> Result<&'a Service, StatementError> {
    let Object::Access(AccessKey { provider, .. }) = object else {
        return Err(StatementError::rule("object", "is no application"));
    };
    let service = service.parse().map_err(|error| StatementError::malformed("service", error))?;
    directory
        .service(&crate::ids::ServiceId { department: provider.clone(), service, major })
        .ok_or_else(|| StatementError::rule("service", "there is no such service in this version"))
}

fn check_access_state(
    directory: &Directory,
    object: &Object,
    fits: impl Fn(&AccessState) -> bool,
) -> Result<(), StatementError> {
    let access = match object {
        Object::Access(key) => directory.access(key),
        _ => None,
    };
    match access {
        Some(access) if fits(&access.state) => Ok(()),
        Some(_) => Err(StatementError::rule("object", "the application's or grant's state does not allow this")),
        None => Err(StatementError::rule("object", "there is no such application")),
    }
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

fn check_unused(directory: &Directory, field: &str, key: &PublicKey) -> Result<(), StatementError> {
    if directory.key(key.id()).is_some() {
        return Err(StatementError::rule(
            field,
            "the key is in the directory already; a key has one role and one owner",
        ));
    }
    Ok(())
}

fn check_basis(bases: &[LegalBasis]) -> Result<(), StatementError> {
    if has_basis(bases) { Ok(()) } else { Err(StatementError::rule("legal_bases", "state instrument and article")) }
}

fn check_digest(field: &str, bytes: &[u8]) -> Result<(), StatementError> {
    if bytes.len() == 32 { Ok(()) } else { Err(StatementError::rule(field, "must be 32 bytes")) }
}

fn require(field: &str, text: &str) -> Result<(), StatementError> {
    if text.trim().is_empty() { Err(StatementError::rule(field, "is missing")) } else { Ok(()) }
}

fn require_department(directory: &Directory, id: &str) -> Result<(), StatementError> {
    let id: DepartmentId = id.parse().map_err(|error| StatementError::malformed("department", error))?;
    match directory.department(&id) {
        Some(_) => Ok(()),
        None => Err(StatementError::rule("department", "is not admitted")),
    }
}

fn require_known(directory: &Directory, object: &Object) -> Result<(), StatementError> {
    if directory.last(object).is_some() { Ok(()) } else { Err(StatementError::rule("object", "does not exist")) }
}

pub(super) fn described(field: &str, key: Option<&wire::Key>, role: Role) -> Result<DescribedKey, StatementError> {
    let key = key.ok_or_else(|| StatementError::rule(field, "is missing"))?;
    let key = DescribedKey::from_wire(key).map_err(|error| StatementError::malformed(field, error))?;
    if key.role != role {
        return Err(StatementError::rule(field, "has another role than it needs"));
    }
    Ok(key)
}
