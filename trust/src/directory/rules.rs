//! The directory's rules: who may make which statement, and what it must contain. The registry applies them before it
//! takes a statement, and every node applies the same rules again to everything the registry says. Who may sign is here;
//! what each kind must contain is in the room of its kind.

mod access;
mod department;
mod evidence;
mod fields;
mod founding;
mod item;
mod key;
mod node;
mod profile;
mod review;
mod roots;
mod service;
mod state;
mod succession;

use proto::registry::v1::{Statement, statement::Body};

pub(super) use self::{fields::described, key::check_moment, succession::check_not_handed_over};
use super::{Directory, Object, StatementError, model::KnownKey};
use crate::{ids::DepartmentId, key::Role};

/// Which keys may sign a statement. The first statement is signed by the authority's key that the reader trusts.
pub(super) fn entitled(directory: &Directory, body: &Body, object: &Object) -> Result<Entitled, StatementError> {
    use Body::{
        AccessApplied, AccessExtended, AccessGranted, AccessRefused, AccessResumed, AccessReturned, AccessRevoked,
        AccessSuspended, AuthorityKeyChanged, DepartmentAdmitted, DepartmentResumed, DepartmentSuspended,
        ExchangeFounded, ItemPublished, KeyAdded, KeyRetired, KeyRevoked, LogKeyChanged, NodePublished, NodeRemoved,
        ProfileChanged, RegistryAnnounced, ServicePublished, ServiceResumed, ServiceSuspended, ServiceWithdrawn, State,
    };
    let department =
        |id: &str| id.parse::<DepartmentId>().map_err(|error| StatementError::malformed("department", error));
    Ok(match (body, object) {
        (ExchangeFounded(_) | RegistryAnnounced(_) | ProfileChanged(_), _)
        | (DepartmentAdmitted(_) | DepartmentSuspended(_) | DepartmentResumed(_), _)
        // Others must sign these too (`chain`).
        | (AuthorityKeyChanged(_) | LogKeyChanged(_), _) => Entitled::Authority,
        (Body::DepartmentRenamed(_) | Body::DepartmentClosed(_) | Body::DepartmentSplit(_), _) => Entitled::Authority,
        (Body::ServiceReviewed(_), _) => Entitled::Authority,
        // Each side speaks for itself alone: nobody hands over what is not his, and nobody is made to take it.
        (Body::DepartmentSucceeded(_), Object::Succession(department, _)) => Entitled::owner(department),
        (Body::SuccessionAccepted(_), Object::Succession(_, successor)) => Entitled::owner(successor),
        (State(_), _) => Entitled::Log,
        (Body::AnchorsTaken(_), _) => Entitled::Log,
        (Body::EvidenceLogClosed(_), Object::Evidence(owner, _)) => Entitled::owner(owner),
        (KeyAdded(body), _) => {
            Entitled::Owner { department: department(&body.department)?, recovery: true, authority: false }
        }
        (KeyRevoked(body), Object::Key(key_id)) => {
            let department = key::owner(directory, key_id, &body.department)?;
            Entitled::Owner { department, recovery: true, authority: true }
        }
        (KeyRetired(body), Object::Key(key_id)) => {
            let department = key::owner(directory, key_id, &body.department)?;
            Entitled::Owner { department, recovery: true, authority: false }
        }
        (
            NodePublished(_) | NodeRemoved(_) | ServicePublished(_) | ServiceSuspended(_) | ServiceResumed(_)
            | ServiceWithdrawn(_) | ItemPublished(_),
            Object::Node(owner, _) | Object::Item(owner, _),
        ) => Entitled::owner(owner),
        (_, Object::Service(id)) => Entitled::owner(&id.department),
        (AccessApplied(_), Object::Access(key)) => Entitled::owner(&key.consumer),
        (
            AccessExtended(_) | AccessGranted(_) | AccessRefused(_) | AccessReturned(_) | AccessSuspended(_)
            | AccessResumed(_) | AccessRevoked(_),
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

/// Checks what only whoever takes a statement in looks at, and nobody who reads it later: rules that came when directories
/// had statements already that break them.
pub(super) fn check_new(directory: &Directory, statement: &Statement, body: &Body) -> Result<(), StatementError> {
    let Body::ItemPublished(body) = body else { return Ok(()) };
    item::check_new(directory, body, statement.stated_at_ms)
}

/// Checks what a statement says against what the directory knows.
pub(super) fn check_body(
    directory: &Directory,
    statement: &Statement,
    body: &Body,
    object: &Object,
) -> Result<(), StatementError> {
    use Body::{
        AccessApplied, AccessExtended, AccessGranted, AccessRefused, AccessResumed, AccessReturned, AccessRevoked,
        AccessSuspended, AuthorityKeyChanged, DepartmentAdmitted, DepartmentResumed, DepartmentSuspended,
        ExchangeFounded, ItemPublished, KeyAdded, KeyRetired, KeyRevoked, LogKeyChanged, NodePublished, NodeRemoved,
        ProfileChanged, RegistryAnnounced, ServicePublished, ServiceResumed, ServiceSuspended, ServiceWithdrawn, State,
    };
    match body {
        ExchangeFounded(_) | RegistryAnnounced(_) => founding::check(directory, body),
        ProfileChanged(body) => profile::check(body.profile.as_ref()),
        DepartmentAdmitted(_) | DepartmentSuspended(_) | DepartmentResumed(_) => department::check(directory, body),
        Body::DepartmentRenamed(_)
        | Body::DepartmentSucceeded(_)
        | Body::DepartmentClosed(_)
        | Body::DepartmentSplit(_)
        | Body::SuccessionAccepted(_) => succession::check(directory, body),
        KeyAdded(_) | KeyRevoked(_) | KeyRetired(_) => key::check(directory, body, object),
        AuthorityKeyChanged(_) | LogKeyChanged(_) => roots::check(directory, body),
        NodePublished(_) | NodeRemoved(_) => node::check(directory, body, object),
        ServicePublished(_) | ServiceSuspended(_) | ServiceResumed(_) | ServiceWithdrawn(_) => {
            service::check(directory, body, object, statement.stated_at_ms)
        }
        AccessApplied(_) | AccessExtended(_) | AccessGranted(_) | AccessRefused(_) | AccessReturned(_)
        | AccessSuspended(_) | AccessResumed(_) | AccessRevoked(_) => access::check(directory, statement, body, object),
        Body::ServiceReviewed(body) => review::check(directory, body, object),
        ItemPublished(body) => item::check(directory, body, object, statement.stated_at_ms),
        State(body) => state::check(directory, body),
        Body::AnchorsTaken(_) | Body::EvidenceLogClosed(_) => evidence::check(directory, body),
    }
}
