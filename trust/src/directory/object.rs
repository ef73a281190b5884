//! What a statement is about. A statement names its object, and the one before it about the same object; so a reader
//! sees at once whether anything is missing between two statements.

use std::{fmt, str::FromStr};

use proto::registry::v1::{Statement, statement::Body};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccessId, DepartmentId, IdError, NodeId, ServiceId, ServiceName},
    key::KeyId,
};

/// An access application, and the grant it becomes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccessKey {
    /// The department that provides the service.
    pub provider: DepartmentId,
    /// The department that asks.
    pub consumer: DepartmentId,
    /// The application's id.
    pub id: AccessId,
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Object {
    /// An application and its grant: `access/<provider>/<consumer>/<id>`.
    Access(AccessKey),
    /// The authority's key: `authority`.
    Authority,
    /// The registry's second log: `anchors`.
    Anchors,
    /// A department: `department/<department>`.
    Department(DepartmentId),
    /// A node's evidence logs: `evidence/<department>/<node>`.
    Evidence(DepartmentId, NodeId),
    /// The exchange itself: `exchange`.
    Exchange,
    /// A public service item: `item/<department>/<item>`.
    Item(DepartmentId, String),
    /// A key: `key/<key id>`.
    Key(KeyId),
    /// The directory log's key: `log`.
    Log,
    /// A node: `node/<department>/<node>`.
    Node(DepartmentId, NodeId),
    /// The authority's settings: `profile`.
    Profile,
    /// Where the registry is: `registry`.
    Registry,
    /// The authority's review of a data service: `review/<department>/<service>/<major version>`.
    Review(ServiceId),
    /// A data service: `service/<department>/<service>/<major version>`.
    Service(ServiceId),
    /// The commitment to the whole state: `state`.
    State,
    /// What a department hands to a successor: `succession/<department>/<successor>`.
    Succession(DepartmentId, DepartmentId),
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access(AccessKey { provider, consumer, id }) => {
                write!(formatter, "access/{provider}/{consumer}/{id}")
            }
            Self::Authority => formatter.write_str("authority"),
            Self::Anchors => formatter.write_str("anchors"),
            Self::Department(department) => write!(formatter, "department/{department}"),
            Self::Evidence(department, node) => write!(formatter, "evidence/{department}/{node}"),
            Self::Exchange => formatter.write_str("exchange"),
            Self::Item(department, item) => write!(formatter, "item/{department}/{item}"),
            Self::Key(key_id) => write!(formatter, "key/{key_id}"),
            Self::Log => formatter.write_str("log"),
            Self::Node(department, node) => write!(formatter, "node/{department}/{node}"),
            Self::Profile => formatter.write_str("profile"),
            Self::Registry => formatter.write_str("registry"),
            Self::Review(ServiceId { department, service, major }) => {
                write!(formatter, "review/{department}/{service}/{major}")
            }
            Self::Service(ServiceId { department, service, major }) => {
                write!(formatter, "service/{department}/{service}/{major}")
            }
            Self::State => formatter.write_str("state"),
            Self::Succession(department, successor) => write!(formatter, "succession/{department}/{successor}"),
        }
    }
}

impl FromStr for AccessKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut parts = text.split('/');
        let (Some("access"), Some(provider), Some(consumer), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdError::Alphabet { what: "an access object" });
        };
        Ok(Self { provider: provider.parse()?, consumer: consumer.parse()?, id: id.parse()? })
    }
}

impl Object {
    /// What a statement is about, which must be what it says it is about; `None` where it is of an unknown kind.
    pub fn of_statement(statement: &Statement) -> Option<Self> {
        let object = Self::of(statement, statement.body.as_ref()?).ok()?;
        (object.to_string() == statement.object).then_some(object)
    }

    /// The object that a statement's body is about. Decisions on access carry no ids of their own: theirs stand in the
    /// statement's object field.
    pub(super) fn of(statement: &Statement, body: &Body) -> Result<Self, IdError> {
        let service = |department: &str, service: &str, major: u32| {
            let (department, service) = (department.parse()?, service.parse::<ServiceName>()?);
            Ok::<_, IdError>(ServiceId { department, service, major })
        };
        Ok(match body {
            Body::ExchangeFounded(_) => Self::Exchange,
            Body::RegistryAnnounced(_) => Self::Registry,
            Body::ProfileChanged(_) => Self::Profile,
            Body::DepartmentAdmitted(body) => Self::Department(body.department.parse()?),
            Body::DepartmentSuspended(body) => Self::Department(body.department.parse()?),
            Body::DepartmentResumed(body) => Self::Department(body.department.parse()?),
            Body::DepartmentRenamed(body) => Self::Department(body.department.parse()?),
            Body::DepartmentClosed(body) => Self::Department(body.department.parse()?),
            Body::DepartmentSplit(body) => Self::Department(body.department.parse()?),
            Body::DepartmentSucceeded(body) => Self::Succession(body.department.parse()?, body.successor.parse()?),
            Body::SuccessionAccepted(body) => Self::Succession(body.department.parse()?, body.successor.parse()?),
            Body::KeyAdded(body) => {
                let wrong = IdError::Bytes { what: "a public key", length: 32 };
                let key = body.key.as_ref().ok_or(wrong.clone())?;
                Self::Key(KeyId::named(&key.suite, &key.public_key).map_err(|_| wrong)?)
            }
            Body::KeyRevoked(body) => Self::Key(body.key_id.parse()?),
            Body::KeyRetired(body) => Self::Key(body.key_id.parse()?),
            Body::AuthorityKeyChanged(_) => Self::Authority,
            Body::LogKeyChanged(_) => Self::Log,
            Body::NodePublished(body) => Self::Node(body.department.parse()?, body.node.parse()?),
            Body::NodeRemoved(body) => Self::Node(body.department.parse()?, body.node.parse()?),
            Body::ServicePublished(body) => {
                Self::Service(service(&body.department, &body.service, body.major_version)?)
            }
            Body::ServiceSuspended(body) => {
                Self::Service(service(&body.department, &body.service, body.major_version)?)
            }
            Body::ServiceResumed(body) => Self::Service(service(&body.department, &body.service, body.major_version)?),
            Body::ServiceWithdrawn(body) => {
                Self::Service(service(&body.department, &body.service, body.major_version)?)
            }
            Body::ServiceReviewed(body) => Self::Review(service(&body.department, &body.service, body.major_version)?),
            Body::AccessApplied(body) => Self::Access(AccessKey {
                provider: body.provider.parse()?,
                consumer: body.consumer.parse()?,
                id: body.id.parse()?,
            }),
            Body::AccessGranted(body) => Self::Access(AccessKey {
                provider: body.provider.parse()?,
                consumer: body.consumer.parse()?,
                id: body.id.parse()?,
            }),
            Body::AccessExtended(_)
            | Body::AccessRefused(_)
            | Body::AccessReturned(_)
            | Body::AccessSuspended(_)
            | Body::AccessResumed(_)
            | Body::AccessRevoked(_) => Self::Access(statement.object.parse()?),
            Body::ItemPublished(body) => Self::Item(body.department.parse()?, body.item.clone()),
            Body::State(_) => Self::State,
            Body::AnchorsTaken(_) => Self::Anchors,
            Body::EvidenceLogClosed(body) => Self::Evidence(body.department.parse()?, body.node.parse()?),
        })
    }
}
