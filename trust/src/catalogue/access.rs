//! Applications and grants as a reader looks for them.

use proto::registry::v1::{AccessEntry, AccessPage, AccessQuery};

use super::{Error, Words, id, page::Paging};
use crate::{
    directory::{
        AccessKey, Directory, Object,
        kept::Kept,
        model::{Access, AccessState},
    },
    ids::DepartmentId,
};

/// What became of an application, in a word and its reason.
pub fn access_state(access: &Access) -> (&'static str, String) {
    match &access.state {
        AccessState::Applied => ("applied", String::new()),
        AccessState::Granted => ("granted", String::new()),
        AccessState::Refused { reason, .. } => ("refused", reason.clone()),
        AccessState::Returned { missing } => ("returned", missing.join("; ")),
        AccessState::Revoked { reason } => ("revoked", reason.clone()),
        AccessState::Suspended { reason } => ("suspended", reason.clone()),
    }
}

/// The applications and grants that a query asks for, by provider, consumer and id.
pub fn access(directory: &Directory, query: &AccessQuery) -> Result<AccessPage, Error> {
    let paging = Paging::read(query.page.as_ref(), "access", &AccessQuery { page: None, ..query.clone() })?;
    let provider: Option<DepartmentId> = id("provider", &query.provider)?;
    let consumer: Option<DepartmentId> = id("consumer", &query.consumer)?;
    let after: Option<AccessKey> = paging.after_key()?;
    let item = Words::read(&query.item);
    let found = directory
        .all_access()
        .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
        .filter(|(key, _)| provider.as_ref().is_none_or(|provider| key.provider == *provider))
        .filter(|(key, _)| consumer.as_ref().is_none_or(|consumer| key.consumer == *consumer))
        .filter(|(_, access)| query.state.is_empty() || access_state(access).0 == query.state)
        // Read here and let go of: what the directory keeps stays small.
        .map(|(key, access)| (key, access, access.applied.read()))
        .filter(|(_, _, applied)| query.service.is_empty() || applied.service == query.service)
        .filter(|(_, _, applied)| item.are_in([applied.item.as_str()]))
        .map(|(key, access, applied)| {
            let object = Object::Access(key.clone());
            let (state, reason) = access_state(access);
            let entry = AccessEntry {
                applied: Some(applied),
                granted: access.granted.as_ref().map(Kept::read),
                state: state.to_owned(),
                reason,
                last_statement: directory.last(&object).map_or(0, |place| place.index),
            };
            (object.to_string(), entry)
        });
    let (access, end) = paging.take(found, directory.size());
    Ok(AccessPage { access, end })
}
