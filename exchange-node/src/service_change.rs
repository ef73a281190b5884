//! What a description would do to the directory: something new, nothing, a compatible change whose minor version is raised,
//! or an incompatible one. Pure: the directory as it stands, and the description. Out of scope: signing it (`publish`),
//! and the rules that decide in the end, which are the directory's (`trust::directory`).

use proto::registry::v1::ServicePublished;
use trust::{
    directory::Directory,
    ids::{Digest, ServiceId},
    refusal::{Code, Refusal},
    service::{
        Service, ServiceState,
        compatibility::{Difference, compare, incompatible, require_compatible},
    },
};

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To publish a new service or a new major version.
    Publish,
    /// To change a published one.
    Change,
    /// Only to see what would happen.
    Compare,
}

/// What a description is to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The same major version, and those who ask notice nothing.
    Compatible,
    /// It needs a new major version.
    Incompatible,
    /// A new service, or a new major version of one.
    New,
    /// It says what the directory says already.
    Unchanged,
}

impl Outcome {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compatible => "compatible",
            Self::Incompatible => "incompatible",
            Self::New => "new",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A description that was held against the directory.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The service.
    pub id: ServiceId,
    /// The description, with the minor version that it will have.
    pub published: ServicePublished,
    /// What it is to the directory.
    pub outcome: Outcome,
    /// The version that it was compared with: the newest of the same major version, or of the one before.
    pub compared_with: Option<(u32, u32)>,
    /// What differs from that.
    pub differences: Vec<Difference>,
}

/// Holds a description, whose department is filled in, against the directory.
///
/// # Errors
/// Why nobody would take it.
pub fn prepare(directory: &Directory, described: ServicePublished, action: Action) -> Result<Prepared, Refusal> {
    let checked = Service::check(&described, Digest::new([0; 32]))
        .map_err(|error| Refusal::new(Code::StatementRefused).at(error.field).because(error.reason))?;
    let id = checked.id;
    match directory.service(&id) {
        Some(before) => change(before, id, described, action),
        None if action == Action::Change => {
            let reason =
                format!("{} is not published in version {}: `service publish` does that", id.service, id.major);
            Err(Refusal::new(Code::ServiceUnknown).at("service").because(reason))
        }
        None => {
            // Another major version: what is new in it is worth seeing.
            let others = directory.services_of(&id.department);
            let older = others.filter(|service| service.id.service == id.service && service.id.major < id.major);
            let older = older.max_by_key(|service| service.id.major).map(Service::newest);
            Ok(Prepared {
                compared_with: older.map(|older| (older.major_version, older.minor_version)),
                differences: older.map(|older| compare(older, &described)).unwrap_or_default(),
                outcome: Outcome::New,
                published: described,
                id,
            })
        }
    }
}

fn change(
    before: &Service,
    id: ServiceId,
    mut described: ServicePublished,
    action: Action,
) -> Result<Prepared, Refusal> {
    let newest = before.newest();
    let differences = compare(newest, &described);
    let outcome = if differences.is_empty() {
        Outcome::Unchanged
    } else if before.review.permits() && require_compatible(&before.published, &described).is_err() {
        Outcome::Incompatible
    } else {
        Outcome::Compatible
    };
    if matches!(before.state, ServiceState::Withdrawn { .. }) && outcome != Outcome::Unchanged {
        let reason = "it was withdrawn: publish a new major version";
        return Err(Refusal::new(Code::StatementRefused).at("version").because(reason));
    }
    let (was, next) = (newest.minor_version, newest.minor_version.saturating_add(1));
    match outcome {
        Outcome::Unchanged => described.minor_version = was,
        _ if described.minor_version > was => {}
        // Publishing says which version is meant. That it says something else under a version that exists is a slip.
        Outcome::Compatible if action == Action::Publish => {
            let reason = format!(
                "version {}.{was} is published already and says something else ({}): `service change` raises the minor version",
                id.major,
                differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            );
            return Err(Refusal::new(Code::StatementRefused).at("version").because(reason));
        }
        Outcome::Compatible | Outcome::Incompatible | Outcome::New => described.minor_version = next,
    }
    let compared_with = Some((id.major, was));
    Ok(Prepared { id, published: described, outcome, compared_with, differences })
}

/// Why an incompatible description is not published, as a refusal with every difference that makes it so.
pub fn incompatible_refusal(prepared: &Prepared) -> Refusal {
    let breaking: Vec<String> = incompatible(&prepared.differences).map(ToString::to_string).collect();
    let major = prepared.id.major;
    let reason = format!(
        "those who ask version {major} would be refused or get other verdicts ({}): write version {}.0, and it answers beside the old one",
        breaking.join("; "),
        major.saturating_add(1)
    );
    Refusal::new(Code::StatementRefused).at("version").because(reason)
}

#[cfg(test)]
mod tests {
    use trust::fixture::{self, Fixture};

    use super::*;

    fn described(change: impl FnOnce(&mut ServicePublished)) -> ServicePublished {
        let mut described = fixture::marriage_registration();
        change(&mut described);
        described
    }

    #[test]
    fn a_compatible_change_keeps_the_major_version_and_raises_the_minor() {
        let fixture = Fixture::town();
        let changed = described(|service| service.contact = "0890".into());
        let prepared = prepare(&fixture.directory, changed.clone(), Action::Change).unwrap();
        assert_eq!((prepared.outcome, prepared.published.minor_version), (Outcome::Compatible, 1));
        assert_eq!(prepared.compared_with, Some((1, 0)));
        // Under a version that exists and says something else, publishing is a slip; with the next one it is meant.
        let refused = prepare(&fixture.directory, changed.clone(), Action::Publish).unwrap_err();
        assert!(refused.field == "version" && refused.detail.contains("contact: 0890 is new"), "{refused}");
        let meant = ServicePublished { minor_version: 4, ..changed };
        for action in [Action::Publish, Action::Change] {
            let prepared = prepare(&fixture.directory, meant.clone(), action).unwrap();
            assert_eq!((prepared.outcome, prepared.published.minor_version), (Outcome::Compatible, 4));
        }
    }

    #[test]
    fn the_same_description_changes_nothing() {
        let mut fixture = Fixture::town();
        fixture.publish(described(|service| service.minor_version = 3));
        for action in [Action::Publish, Action::Change, Action::Compare] {
            let prepared = prepare(&fixture.directory, described(|_| {}), action).unwrap();
            assert_eq!((prepared.outcome, prepared.published.minor_version), (Outcome::Unchanged, 3));
        }
    }

    #[test]
    fn an_incompatible_change_says_what_breaks() {
        let fixture = Fixture::town();
        let changed = described(|service| {
            service.attributes.pop();
            service.contact = "0890".into();
        });
        let prepared = prepare(&fixture.directory, changed.clone(), Action::Change).unwrap();
        assert_eq!(prepared.outcome, Outcome::Incompatible);
        let refusal = incompatible_refusal(&prepared).to_string();
        assert!(refusal.contains("attributes.registered_on: is gone") && refusal.contains("version 2.0"), "{refusal}");
        assert!(!refusal.contains("0890"), "{refusal}");
        // As a new major version it is new, and compared with the old one.
        let next = ServicePublished { major_version: 2, ..changed };
        let prepared = prepare(&fixture.directory, next, Action::Publish).unwrap();
        assert_eq!((prepared.outcome, prepared.compared_with), (Outcome::New, Some((1, 0))));
        assert_eq!(prepared.differences.len(), 2);
    }

    #[test]
    fn what_is_not_published_cannot_be_changed() {
        let fixture = Fixture::town();
        let other = described(|service| service.service = "cremation".into());
        let refused = prepare(&fixture.directory, other.clone(), Action::Change).unwrap_err();
        assert_eq!(refused.code, Code::ServiceUnknown);
        assert_eq!(prepare(&fixture.directory, other, Action::Publish).unwrap().outcome, Outcome::New);
        let lawless = described(|service| service.legal_bases.clear());
        assert_eq!(prepare(&fixture.directory, lawless, Action::Publish).unwrap_err().field, "legal_basis");
    }
}
