//! Data services as a reader looks for them.

use proto::registry::v1::{self as wire, ServiceEntry, ServicePage, ServiceQuery};

use super::{Error, Words, id, page::Paging};
use crate::{
    directory::{Directory, Object},
    ids::{DepartmentId, ServiceId},
    service::{Review, Service},
};

/// Whether a service answers, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceStanding {
    /// "answering", "suspended", "withdrawn", or "waiting" for the authority's review.
    pub state: &'static str,
    /// The suspension's notice, the withdrawal's reason, or what the authority says is missing.
    pub notice: String,
    /// For a withdrawal, from when, Unix milliseconds.
    pub from_ms: u64,
}

/// Whether a service answers at that time. A withdrawal that was announced for later shows beside it.
pub fn service_standing(service: &Service, now_ms: u64) -> ServiceStanding {
    let ends = service.ends();
    let state = if ends.is_some_and(|(from_ms, _)| from_ms <= now_ms) {
        "withdrawn"
    } else if service.notice().is_some() {
        "suspended"
    } else if service.review.permits() {
        "answering"
    } else {
        "waiting"
    };
    let notice = match (service.notice(), ends, &service.review) {
        (Some(notice), _, _) => notice.to_owned(),
        (None, Some((_, reason)), _) => reason.to_owned(),
        (None, None, Review::Returned { missing, .. }) => missing.join("; "),
        (None, None, Review::Approved { .. } | Review::NotRequired | Review::Waiting { .. }) => String::new(),
    };
    ServiceStanding { state, notice, from_ms: ends.map_or(0, |(from_ms, _)| from_ms) }
}

/// The services that a query asks for, by provider, id and version.
pub fn services(directory: &Directory, query: &ServiceQuery, now_ms: u64) -> Result<ServicePage, Error> {
    let paging = Paging::read(query.page.as_ref(), "services", &ServiceQuery { page: None, ..query.clone() })?;
    let provider: Option<DepartmentId> = id("provider", &query.provider)?;
    let after: Option<ServiceKey> = paging.after_key()?;
    let wanted = Wanted {
        attribute: Words::read(&query.attribute),
        proof: Words::read(&query.proof),
        text: Words::read(&query.text),
    };
    let found = directory
        .services()
        .filter(|service| after.as_ref().is_none_or(|ServiceKey(after)| service.id > *after))
        .filter(|service| provider.as_ref().is_none_or(|provider| service.id.department == *provider))
        .filter(|service| {
            query.sharing() == wire::SharingClass::Unspecified || service.published.sharing() == query.sharing()
        })
        .map(|service| (service, service_standing(service, now_ms)))
        .filter(|(_, standing)| query.withdrawn_too || standing.state != "withdrawn")
        .filter(|(service, _)| wanted.fits(directory, service, now_ms))
        .map(|(service, standing)| {
            (ServiceKey(service.id.clone()).to_string(), entry(directory, service, standing, now_ms))
        });
    let (services, end) = paging.take(found, directory.size());
    Ok(ServicePage { services, end })
}

fn entry(directory: &Directory, service: &Service, standing: ServiceStanding, now_ms: u64) -> ServiceEntry {
    ServiceEntry {
        service: Some(service.published.clone()),
        state: standing.state.to_owned(),
        notice: standing.notice,
        from_ms: standing.from_ms,
        provider_name: provider_name(directory, service, now_ms),
        last_statement: directory.last(&Object::Service(service.id.clone())).map_or(0, |place| place.index),
    }
}

fn provider_name(directory: &Directory, service: &Service, now_ms: u64) -> Option<wire::LocalName> {
    Some(directory.department(&service.id.department)?.name_at(now_ms))
}

struct Wanted {
    attribute: Words,
    proof: Words,
    text: Words,
}

impl Wanted {
    fn fits(&self, directory: &Directory, service: &Service, now_ms: u64) -> bool {
        let published = &service.published;
        let has_attribute = self.attribute.are_in([])
            || published.attributes.iter().any(|attribute| {
                let label = attribute.label.iter().flat_map(|label| [label.zh.as_str(), label.en.as_str()]);
                self.attribute.are_in(label.chain([attribute.name.as_str()]))
            });
        has_attribute
            && self.proof.are_in(published.replaces_proofs.iter().map(String::as_str))
            && self.text.are_in(texts(published, provider_name(directory, service, now_ms).as_ref()))
    }
}

/// Everything in a description that a reader may look for.
fn texts<'a>(
    published: &'a wire::ServicePublished,
    provider: Option<&'a wire::LocalName>,
) -> impl Iterator<Item = &'a str> {
    fn name(name: &wire::LocalName) -> [&str; 2] {
        [name.zh.as_str(), name.en.as_str()]
    }
    let plain = [
        &published.department,
        &published.service,
        &published.conditions,
        &published.classification,
        &published.contact,
        &published.catalogue_code,
    ];
    plain
        .into_iter()
        .map(String::as_str)
        .chain(published.name.iter().flat_map(name))
        .chain(provider.into_iter().flat_map(name))
        .chain(published.attributes.iter().map(|attribute| attribute.name.as_str()))
        .chain(published.attributes.iter().filter_map(|attribute| attribute.label.as_ref()).flat_map(name))
        .chain(published.items.iter().chain(&published.replaces_proofs).map(String::as_str))
        .chain(published.legal_bases.iter().map(|basis| basis.instrument.as_str()))
}

/// A service's key in a cursor: `<department>/<service>/<major>`.
struct ServiceKey(ServiceId);

impl std::fmt::Display for ServiceKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ServiceId { department, service, major } = &self.0;
        write!(formatter, "{department}/{service}/{major}")
    }
}

impl std::str::FromStr for ServiceKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let (service, major) = text.rsplit_once('/').ok_or(Error::CursorWrong)?;
        let major = major.parse().map_err(|_| Error::CursorWrong)?;
        ServiceId::read(service, major).map(Self).map_err(|_| Error::CursorWrong)
    }
}
