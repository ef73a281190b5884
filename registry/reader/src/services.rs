//! Data services: listed through filters, and one of them shown whole.

use clap::{Args, ValueEnum};
use host::terminal;
use proto::registry::v1::{ServiceEntry, ServiceQuery, SharingClass};
use serde_json::json;
use trust::{
    catalogue::gather,
    ids::ServiceId,
    reading::ServiceWords,
    refusal::{Code, Refusal},
};

use super::{Client, Error, Shown, listed};

/// Which services.
#[derive(Args, Clone, Debug, Default)]
pub struct ServiceFilter {
    /// Only this department's.
    #[arg(long, value_name = "DEPARTMENT")]
    provider: Option<String>,
    /// Only those with this attribute: its name, or a part of its label.
    #[arg(long, value_name = "ATTRIBUTE")]
    attribute: Option<String>,
    /// Only those that make this paper proof unnecessary.
    #[arg(long, value_name = "PROOF")]
    replaces: Option<String>,
    /// Only those that are shared so.
    #[arg(long, value_name = "CLASS")]
    sharing: Option<Sharing>,
    /// Withdrawn services too.
    #[arg(long)]
    withdrawn: bool,
    /// How many at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: usize,
}

/// How a service is shared.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Sharing {
    /// 有条件共享: needs a grant.
    Conditional,
    /// 不予共享.
    NotShared,
    /// 无条件共享.
    Unconditional,
}

/// The services that a filter lets through, with all of these words in their descriptions.
///
/// # Errors
///
/// They cannot be asked for.
pub async fn services(client: Client, filter: ServiceFilter, words: &[String]) -> Result<Shown, Error> {
    let sharing = match filter.sharing {
        None => SharingClass::Unspecified,
        Some(Sharing::Conditional) => SharingClass::Conditional,
        Some(Sharing::NotShared) => SharingClass::NotShared,
        Some(Sharing::Unconditional) => SharingClass::Unconditional,
    };
    let query = ServiceQuery {
        provider: filter.provider.unwrap_or_default(),
        attribute: filter.attribute.unwrap_or_default(),
        proof: filter.replaces.unwrap_or_default(),
        text: words.join(" "),
        sharing: sharing.into(),
        withdrawn_too: filter.withdrawn,
        page: None,
    };
    let (found, more) = find(client, query, filter.limit).await?;
    let words: Vec<ServiceWords> = found.iter().map(ServiceWords::of).collect();
    let text = match words.as_slice() {
        [] => "The directory has no such services.".to_owned(),
        words => listed(terminal::table(ServiceWords::HEADER, words.iter().map(ServiceWords::row)), more),
    };
    Ok(Shown { json: json!({ "services": words, "more": more }), text })
}

/// One service with its attributes, in the wanted major version, or, for 0, in the newest that answers.
///
/// # Errors
///
/// There is none, or it cannot be asked for.
pub async fn service(client: Client, (provider, service): (String, String), major: u32) -> Result<Shown, Error> {
    let query = ServiceQuery { provider, withdrawn_too: true, ..ServiceQuery::default() };
    let (found, _) = find(client, query, usize::MAX).await?;
    let unknown = || Error::Refused(Refusal::new(Code::ServiceUnknown).at("service"));
    let entry = newest(found, &service, major).ok_or_else(unknown)?;
    let words = ServiceWords::of(&entry);
    let attributes = terminal::table(ServiceWords::ATTRIBUTE_HEADER, words.attribute_rows());
    let text = format!("{}\n{attributes}", terminal::facts(ServiceWords::facts(&entry)));
    Ok(Shown { json: json!(words), text })
}

/// Reads `<department>/<service>`.
///
/// # Errors
///
/// It is not written so; the sentence says how it is.
pub fn service_path(text: &str) -> Result<(String, String), String> {
    ServiceId::read(text, 1)
        .map(|id| (id.department.to_string(), id.service.to_string()))
        .map_err(|error| format!("{error}; write for example civil-affairs/marriage-registration"))
}

/// The services that a query finds, page after page up to a number; and whether there are more.
async fn find(mut client: Client, mut query: ServiceQuery, most: usize) -> Result<(Vec<ServiceEntry>, bool), Error> {
    gather(most, async |page| {
        query.page = page;
        let page = client.services(query.clone()).await?.into_inner();
        Ok((page.services, page.end))
    })
    .await
}

/// The service in the wanted major version, or the newest that answers.
fn newest(found: Vec<ServiceEntry>, service: &str, major: u32) -> Option<ServiceEntry> {
    let version = |entry: &ServiceEntry| entry.service.as_ref().map_or(0, |service| service.major_version);
    found
        .into_iter()
        .filter(|entry| entry.service.as_ref().is_some_and(|found| found.service == service))
        .filter(|entry| major == 0 || version(entry) == major)
        .max_by_key(|entry| (entry.state == "answering", version(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(major_version: u32, state: &str) -> ServiceEntry {
        let mut service = trust::fixture::marriage_registration();
        service.major_version = major_version;
        ServiceEntry { service: Some(service), state: state.into(), ..ServiceEntry::default() }
    }

    #[test]
    fn the_newest_version_that_answers_is_shown() {
        let found = vec![entry(1, "answering"), entry(2, "answering"), entry(3, "withdrawn")];
        let shown = |service: &str, major| {
            newest(found.clone(), service, major).map(|entry| entry.service.unwrap().major_version)
        };
        assert_eq!(shown("marriage-registration", 0), Some(2));
        assert_eq!(shown("marriage-registration", 3), Some(3));
        assert_eq!(shown("marriage-registration", 4), None);
        assert_eq!(shown("horse-registration", 0), None);
    }

    #[test]
    fn a_service_is_written_with_its_department() {
        let (department, service) = service_path("civil-affairs/marriage-registration").unwrap();
        assert_eq!((department.as_str(), service.as_str()), ("civil-affairs", "marriage-registration"));
        assert!(service_path("marriage-registration").unwrap_err().contains("write for example"));
    }
}
