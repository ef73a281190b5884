//! What a town is to have, before it is started: departments, what they publish, whom they grant what.

use std::{fmt, path::PathBuf, sync::Arc};

use proto::{exchange::v1::LegalBasis, registry::v1::AttributeScope};
use serde::Deserialize;

use super::{Error, Programs, Town, setup};

/// A town to be started; made by [`super::town`].
#[derive(Clone)]
pub struct Plan {
    pub(super) dir: PathBuf,
    pub(super) programs: Option<Programs>,
    pub(super) departments: Vec<DepartmentPlan>,
    pub(super) grants: Vec<GrantPlan>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) apart: bool,
    pub(super) report: Arc<dyn Fn(Event) + Send + Sync>,
}

#[derive(Clone, Debug)]
pub(super) struct DepartmentPlan {
    pub id: String,
    pub services: Vec<ServicePlan>,
}

#[derive(Clone, Debug)]
pub(super) struct ServicePlan {
    pub yaml: String,
    pub records: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub(super) struct GrantPlan {
    pub service: String,
    pub consumer: String,
    pub scope: Scope,
}

/// How far the setting up has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A department has its keys and is admitted.
    Admitted {
        /// The department.
        department: String,
    },
    /// The provider has granted access.
    Granted {
        /// The service, `<department>/<service>`.
        service: String,
        /// The department that may ask now.
        consumer: String,
    },
    /// Records are in their place and answered from.
    Imported {
        /// The department.
        department: String,
        /// The service.
        service: String,
        /// The number of rows.
        rows: u64,
    },
    /// Records are being imported.
    Importing {
        /// The department.
        department: String,
        /// The service.
        service: String,
        /// How many bytes have been read.
        bytes: u64,
        /// How many bytes the file has.
        of: u64,
    },
    /// A service is in the directory.
    Published {
        /// The department.
        department: String,
        /// The service.
        service: String,
    },
    /// A department's node runs.
    Serving {
        /// The department.
        department: String,
    },
}

/// What a grant covers.
#[derive(Clone, Debug)]
pub struct Scope {
    pub(super) attributes: Vec<AttributeScope>,
    pub(super) item: String,
    pub(super) legal_bases: Vec<LegalBasis>,
    pub(super) valid_until_ms: u64,
    pub(super) system: String,
    pub(super) quota: Option<proto::registry::v1::Quota>,
    pub(super) embargo_until_ms: u64,
    pub(super) subscribe: bool,
}

impl Scope {
    /// With notices of changes.
    #[must_use]
    pub fn with_notices(mut self) -> Self {
        self.subscribe = true;
        self
    }

    /// Covers one attribute under these operators, for 公租房申请 on its legal basis, without end.
    #[must_use]
    pub fn of(attribute: &str, operators: &[&str]) -> Self {
        Self {
            attributes: vec![attribute_scope(attribute, operators)],
            item: "公租房申请".to_owned(),
            legal_bases: vec![legal_basis("公共租赁住房管理办法 7")],
            valid_until_ms: 0,
            system: String::new(),
            quota: None,
            embargo_until_ms: 0,
            subscribe: false,
        }
    }

    /// Covers another attribute too.
    #[must_use]
    pub fn and(mut self, attribute: &str, operators: &[&str]) -> Self {
        self.attributes.push(attribute_scope(attribute, operators));
        self
    }

    /// The values of its attributes may be disclosed, where the service allows it.
    #[must_use]
    pub fn disclosing(mut self) -> Self {
        self.attributes.iter_mut().for_each(|attribute| attribute.disclose = true);
        self
    }

    /// It is for another public service item.
    #[must_use]
    pub fn for_item(mut self, item: &str) -> Self {
        item.clone_into(&mut self.item);
        self
    }

    /// It rests on these legal bases, each `instrument article`.
    #[must_use]
    pub fn on(mut self, legal_bases: &[&str]) -> Self {
        self.legal_bases = legal_bases.iter().map(|basis| legal_basis(basis)).collect();
        self
    }

    /// It ends at this time, Unix milliseconds.
    #[must_use]
    pub fn until(mut self, valid_until_ms: u64) -> Self {
        self.valid_until_ms = valid_until_ms;
        self
    }

    /// Only this office system may ask.
    #[must_use]
    pub fn from_system(mut self, system: &str) -> Self {
        system.clone_into(&mut self.system);
        self
    }

    /// Until this time, Unix milliseconds, questions under it are not shown to their subject.
    #[must_use]
    pub fn embargoed_until(mut self, embargo_until_ms: u64) -> Self {
        self.embargo_until_ms = embargo_until_ms;
        self
    }

    /// It allows so many questions.
    #[must_use]
    pub fn at_most(mut self, quota: proto::registry::v1::Quota) -> Self {
        self.quota = Some(quota);
        self
    }
}

impl Plan {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            programs: None,
            departments: Vec::new(),
            grants: Vec::new(),
            environment: Vec::new(),
            settings: Vec::new(),
            apart: false,
            report: Arc::new(|_| {}),
        }
    }

    /// Has a department with a node. Those of [`crate::services::DEPARTMENTS`] bear their names; any other id will do.
    #[must_use]
    pub fn department(mut self, id: &str) -> Self {
        self.departments.push(DepartmentPlan { id: id.to_owned(), services: Vec::new() });
        self
    }

    /// The department named last publishes this service and answers from the CSV file `records`.
    #[must_use]
    pub fn service(self, yaml: impl Into<String>, records: impl Into<PathBuf>) -> Self {
        self.with_service(ServicePlan { yaml: yaml.into(), records: Some(records.into()) })
    }

    /// The department named last publishes this service and never imports its records.
    #[must_use]
    pub fn service_without_records(self, yaml: impl Into<String>) -> Self {
        self.with_service(ServicePlan { yaml: yaml.into(), records: None })
    }

    /// The department `consumer` applies for `service` (`<department>/<service>`), and its provider approves.
    #[must_use]
    pub fn granting(mut self, service: &str, consumer: &str, scope: Scope) -> Self {
        self.grants.push(GrantPlan { service: service.to_owned(), consumer: consumer.to_owned(), scope });
        self
    }

    /// Takes the programs from here instead of looking for them.
    #[must_use]
    pub fn programs(mut self, programs: Programs) -> Self {
        self.programs = Some(programs);
        self
    }

    /// Every process of the town has this in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Every `node.toml` has this text in place of that one; nothing happens in a file that does not hold it.
    #[must_use]
    pub fn setting(mut self, in_place_of: &str, text: &str) -> Self {
        self.settings.push((in_place_of.to_owned(), text.to_owned()));
        self
    }

    /// The terminal's interrupt does not reach the processes, so that a town that is left running
    /// ([`Town::leave_running`]) is not ended by the next one.
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Tells how far the setting up has come. Called from several tasks.
    #[must_use]
    pub fn reporting(mut self, report: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.report = Arc::new(report);
        self
    }

    /// Sets everything up and returns when every node has seen the whole directory.
    ///
    /// # Errors
    /// The first thing that went wrong. All processes are gone then.
    pub async fn start(self) -> Result<Town, Error> {
        setup::set_up(self).await
    }

    fn with_service(mut self, service: ServicePlan) -> Self {
        // A plan that begins with a service is its author's slip; it is told when the town starts.
        if self.departments.is_empty() {
            self.departments.push(DepartmentPlan { id: String::new(), services: Vec::new() });
        }
        if let Some(department) = self.departments.last_mut() {
            department.services.push(service);
        }
        self
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, departments, grants, .. } = self;
        let mut fields = formatter.debug_struct("Plan");
        fields.field("dir", dir).field("departments", departments).field("grants", grants).finish_non_exhaustive()
    }
}

/// The two lines of a service description that the harness needs.
#[derive(Debug, Deserialize)]
pub(super) struct ServiceHead {
    pub service: String,
    pub version: String,
}

impl ServicePlan {
    pub(super) fn head(&self) -> Result<ServiceHead, Error> {
        let malformed = |error: String| Error::Malformed { what: "a service description".to_owned(), reason: error };
        serde_saphyr::from_str(&self.yaml).map_err(|error| malformed(error.to_string()))
    }
}

impl ServiceHead {
    pub(super) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }
}

/// Reads `instrument article`, where the last word is the article if it begins with a digit.
#[must_use]
pub fn legal_basis(text: &str) -> LegalBasis {
    let whole = || LegalBasis { instrument: text.to_owned(), article: String::new() };
    match text.rsplit_once(' ') {
        Some((instrument, article)) if article.starts_with(|first: char| first.is_ascii_digit()) => {
            LegalBasis { instrument: instrument.to_owned(), article: article.to_owned() }
        }
        _ => whole(),
    }
}

fn attribute_scope(attribute: &str, operators: &[&str]) -> AttributeScope {
    let operators = operators.iter().map(|&operator| operator.to_owned()).collect();
    AttributeScope { attribute: attribute.to_owned(), operators, disclose: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legal_basis_ends_with_its_article() {
        let basis = legal_basis("公共租赁住房管理办法 7");
        assert_eq!((basis.instrument.as_str(), basis.article.as_str()), ("公共租赁住房管理办法", "7"));
        assert_eq!(legal_basis("居民身份证法").article, "");
        assert_eq!(legal_basis("Some Act").instrument, "Some Act");
    }

    #[test]
    fn a_plan_reads_like_a_sentence() {
        let plan = super::super::town("town")
            .department("civil-affairs")
            .service_without_records("service: marriage-registration\nversion: \"2.1\"\n")
            .department("housing")
            .granting("civil-affairs/marriage-registration", "housing", Scope::of("marital_status", &["equals"]));
        assert_eq!(plan.departments.len(), 2);
        let head = plan.departments[0].services[0].head().unwrap();
        assert_eq!((head.service.as_str(), head.major()), ("marriage-registration", 2));
        assert!(plan.departments[1].services.is_empty());
        assert_eq!(plan.grants[0].scope.attributes[0].operators, ["equals"]);
    }
}
