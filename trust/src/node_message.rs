//! Messages that a node signs and that name it themselves: reports, registrations at relays, overdue answers. Each is opened
//! by a key of the very node that it names; a key of another node of the department does not speak for this one. Out of
//! scope: what else a message must be, and questions and answers, which a department signs by any of its nodes.

use std::cell::Cell;

use proto::exchange::v1::Envelope;

use crate::{
    directory::{Directory, model::KnownKey},
    envelope::{self, EnvelopeError, Payload},
    ids::{DepartmentId, IdError, NodeId},
    key::Role,
    refusal::Code,
};

/// Why a message is not the node's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The envelope does not open.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The node's key does not count.
    #[error("the node's key does not count: {}", .0.message())]
    Key(Code),
    /// What it names is no department, or no node.
    #[error("it names no node: {0}")]
    Named(IdError),
}

/// Opens a message of at most `limit` bytes. `named` reads from what it says of itself which node it is of, and `counts`
/// says whether a key of that node does, or why it does not.
pub(crate) fn open<M: Payload>(
    directory: &Directory,
    message: &Envelope,
    limit: usize,
    named: impl Fn(&M) -> Result<(DepartmentId, NodeId), IdError>,
    counts: impl Fn(&KnownKey) -> Result<(), Code>,
) -> Result<(DepartmentId, NodeId, M), Error> {
    let claimed = envelope::peek::<M>(&envelope::signed(message.clone()), limit)?;
    let (department, node) = named(&claimed).map_err(Error::Named)?;
    let why = Cell::new(None);
    let opened = envelope::open::<M>(message, limit, |key_id| {
        let known = directory.key(key_id).filter(|known| {
            known.described.role == Role::Node
                && known.department.as_ref() == Some(&department)
                && known.node.as_ref() == Some(&node)
        })?;
        match counts(known) {
            Ok(()) => Some(known.described.key.clone()),
            Err(code) => {
                why.set(Some(code));
                None
            }
        }
    });
    match (opened, why.get()) {
        (Ok(opened), _) => Ok((department, node, opened.message)),
        (Err(EnvelopeError::KeyUnknown), Some(code)) => Err(Error::Key(code)),
        (Err(error), _) => Err(error.into()),
    }
}
