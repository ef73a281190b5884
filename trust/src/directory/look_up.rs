//! What a reader looks up in a directory. Whoever looks at every one of a large directory's nodes or grants takes the `scan_`
//! functions: they leave nothing read behind. Out of scope: how it came about (`fold`), and the state (`committed`).

use std::collections::BTreeSet;

use proto::registry::v1 as wire;

use super::{
    AccessKey, Directory, Object,
    model::{Access, Department, Founding, ItemVersion, KnownKey, Node, Place, Profile},
    packed::Held,
};
use crate::{
    ids::{AccessId, DepartmentId, ExchangeId, NodeId, ServiceId, ServiceName},
    key::{DescribedKey, KeyId, PublicKey, Role},
    log::{frontier::Frontier, hash::Hash},
    refusal::Code,
    service::Service,
};

/// What a reader looks up.
impl Directory {
    /// The exchange.
    pub fn exchange(&self) -> &ExchangeId {
        &self.exchange
    }

    /// The authority's key that this reader trusts.
    pub fn authority_key(&self) -> &PublicKey {
        &self.authority_key
    }

    /// Number of statements.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Root over the statements.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The log's state, for whoever extends it.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The founding; `None` before the first statement.
    pub fn founding(&self) -> Option<&Founding> {
        self.founding.as_ref()
    }

    /// The authority's settings as they are now; the usual ones before the founding.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The authority's settings as they were stated last.
    pub fn stated_profile(&self) -> &wire::Profile {
        &self.stated_profile
    }

    /// Where the registry is.
    pub fn registry(&self) -> Option<&wire::RegistryAnnounced> {
        self.registry.as_deref()
    }

    /// A department.
    pub fn department(&self, id: &DepartmentId) -> Option<&Department> {
        self.departments.get(id)
    }

    /// All departments.
    pub fn departments(&self) -> impl Iterator<Item = (&DepartmentId, &Department)> {
        self.departments.iter()
    }

    /// A key.
    pub fn key(&self, id: &KeyId) -> Option<&KnownKey> {
        self.keys.get(id)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = (&KeyId, &KnownKey)> {
        self.keys.iter()
    }

    /// A department's keys, its own and its nodes', whether they count or not.
    pub fn keys_of(&self, department: &DepartmentId) -> Vec<&KnownKey> {
        let mut ids: BTreeSet<KeyId> = BTreeSet::new();
        if let Some(known) = self.departments.get(department) {
            let named = [&known.admitted.first_key, &known.admitted.recovery_key];
            let named = named.into_iter().flatten().filter_map(|key| DescribedKey::from_checked(key).ok());
            ids.extend(named.map(|described| *described.key.id()));
        }
        ids.extend(self.added_keys.get(department).into_iter().flatten());
        let nodes = self.node_keys.range(&(department.clone(), NodeId::lowest()));
        ids.extend(nodes.take_while(|(place, _)| place.0 == *department).flat_map(|(_, keys)| keys));
        let known = ids.iter().filter_map(|id| self.keys.get(id));
        known.filter(|key| key.department.as_ref() == Some(department)).collect()
    }

    /// The keys that were ever added for a node, in their order, whether they count or not.
    pub fn node_keys(&self, department: &DepartmentId, node: &NodeId) -> &[KeyId] {
        self.node_keys.get(&(department.clone(), node.clone())).map_or(&[], Vec::as_slice)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// A department's nodes.
    pub fn nodes_of(&self, department: &DepartmentId) -> impl Iterator<Item = &Node> + use<'_> {
        let department = department.clone();
        let nodes = self.nodes.range(&(department.clone(), NodeId::lowest())).map(|(_, node)| node);
        nodes.take_while(move |node| node.department == department)
    }

    /// All nodes, read for the caller alone: for whoever looks at every one of a large directory's.
    pub fn scan_nodes(&self) -> impl Iterator<Item = Node> {
        self.nodes.scan().map(|(_, node)| node)
    }

    /// The node that a TLS key belongs to.
    pub fn node_by_tls_key(&self, tls_key: &[u8; 32]) -> Option<&Node> {
        self.nodes.get(self.node_by_tls_key.get(tls_key)?)
    }

    /// A service.
    pub fn service(&self, id: &ServiceId) -> Option<&Service> {
        self.services.get(id)
    }

    /// All services.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// All services, read for the caller alone.
    pub fn scan_services(&self) -> impl Iterator<Item = Service> {
        self.services.scan().map(|(_, service)| service)
    }

    /// The services that tell anybody whether a name belongs to a resident's number, sorted by their ids, whether they
    /// answer now or not.
    pub fn services_telling_names(&self) -> impl Iterator<Item = &Service> {
        self.telling_names.scan_keys().filter_map(|id| self.services.get(&id))
    }

    /// A department's services.
    pub fn services_of(&self, department: &DepartmentId) -> impl Iterator<Item = &Service> + use<'_> {
        let department = department.clone();
        let from = ServiceId { department: department.clone(), service: ServiceName::lowest(), major: 0 };
        let services = self.services.range(&from).map(|(_, service)| service);
        services.take_while(move |service| service.id.department == department)
    }

    /// An application and its grant.
    pub fn access(&self, key: &AccessKey) -> Option<&Access> {
        self.access.get(key)
    }

    /// All applications and grants.
    pub fn all_access(&self) -> impl Iterator<Item = (&AccessKey, &Access)> {
        self.access.iter()
    }

    /// The names of all applications and grants: for whoever looks for some among a large directory's.
    pub fn access_keys(&self) -> impl Iterator<Item = AccessKey> {
        self.access.scan_keys()
    }

    /// Applications to a department, and the grants that it gave.
    pub fn access_given_by(&self, provider: &DepartmentId) -> impl Iterator<Item = (&AccessKey, &Access)> + use<'_> {
        let provider = provider.clone();
        let (consumer, id) = (DepartmentId::lowest(), AccessId::lowest());
        let from = AccessKey { provider: provider.clone(), consumer, id };
        self.access.range(&from).take_while(move |(key, _)| key.provider == provider)
    }

    /// Applications of a department, and the grants that it holds.
    pub fn access_held_by(&self, consumer: &DepartmentId) -> impl Iterator<Item = (AccessKey, &Access)> + use<'_> {
        let consumer = consumer.clone();
        let (provider, id) = (DepartmentId::lowest(), AccessId::lowest());
        let from = Held { consumer: consumer.clone(), provider, id };
        let held = self.held.scan_keys_from(&from).take_while(move |held| held.consumer == consumer);
        held.filter_map(|held| {
            let key = held.key();
            self.access.get(&key).map(|access| (key, access))
        })
    }

    /// Applications and grants between two departments.
    pub fn access_between<'a, 'b>(
        &'a self,
        provider: &'b DepartmentId,
        consumer: &'b DepartmentId,
    ) -> impl Iterator<Item = (&'a AccessKey, &'a Access)> + use<'a, 'b> {
        let from = AccessKey { provider: provider.clone(), consumer: consumer.clone(), id: AccessId::lowest() };
        self.access.range(&from).take_while(move |(key, _)| key.provider == *provider && key.consumer == *consumer)
    }

    /// All versions of a public service item, the newest last.
    pub fn item_versions(&self, department: &DepartmentId, item: &str) -> &[ItemVersion] {
        self.items.get(&(department.clone(), item.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// A public service item as it is in force at that time.
    pub fn item_at(&self, department: &DepartmentId, item: &str, at_ms: u64) -> Option<&ItemVersion> {
        self.item_versions(department, item).iter().rev().find(|version| version.effective_from_ms <= at_ms)
    }

    /// A version of a public service item.
    pub fn item_version(&self, department: &DepartmentId, item: &str, version: u32) -> Option<&ItemVersion> {
        self.item_versions(department, item).iter().find(|known| known.version == version)
    }

    /// All public service items with their versions.
    pub fn items(&self) -> impl Iterator<Item = (&(DepartmentId, String), &Vec<ItemVersion>)> {
        self.items.iter()
    }

    /// The place of the last statement about an object.
    pub fn last(&self, object: &Object) -> Option<Place> {
        self.last_about(&object.to_string())
    }

    /// The place of the last statement about an object of this name, whatever kind it is of.
    pub fn last_about(&self, object: &str) -> Option<Place> {
        self.said.get(object).map(|said| said.last())
    }

    /// The public key of a node of the department, if it counts at that time: the key, or why it does not.
    pub fn node_key(&self, department: &DepartmentId, key_id: &KeyId, at_ms: u64) -> Result<&DescribedKey, Code> {
        self.node_key_anchored(department, key_id, at_ms, None)
    }

    /// The same for what was anchored by the directory statement with the index `anchored`.
    pub fn node_key_anchored(
        &self,
        department: &DepartmentId,
        key_id: &KeyId,
        at_ms: u64,
        anchored: Option<u64>,
    ) -> Result<&DescribedKey, Code> {
        let key = self.keys.get(key_id).ok_or(Code::KeyUnknown)?;
        if key.described.role != Role::Node || key.department.as_ref() != Some(department) {
            return Err(Code::KeyUnknown);
        }
        key.counts(at_ms, anchored)?;
        Ok(&key.described)
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::statement::Body;

    use super::*;
    use crate::{
        fixture::{Fixture, described, key, marriage_registration},
        key::Signer as _,
    };

    /// What was read back must find the same as what was folded.
    fn both(directory: &Directory) -> [Directory; 2] {
        let mut bytes = Vec::new();
        directory.write_snapshot(&mut bytes).unwrap();
        let again = Directory::read_snapshot(directory.exchange(), directory.authority_key(), &mut &*bytes);
        [directory.clone(), again.unwrap()]
    }

    #[test]
    fn a_departments_keys_are_found_without_anybody_elses() {
        let mut fixture = Fixture::town();
        fixture.add_node("civil-affairs", "2");
        for (role, name) in [(Role::Department, "second"), (Role::Recovery, "third")] {
            let added = key(name);
            let body = Body::KeyAdded(wire::KeyAdded {
                department: "civil-affairs".into(),
                key: Some(described(role, &added).to_wire()),
                node: String::new(),
            });
            let signer = if role == Role::Recovery { "civil-affairs recovery" } else { "civil-affairs" };
            fixture.say(signer, body, &format!("key/{}", added.public_key().id()));
        }
        for directory in both(&fixture.directory) {
            let ids = |keys: Vec<&KnownKey>| keys.iter().map(|key| *key.described.key.id()).collect::<Vec<_>>();
            for (department, _) in directory.departments() {
                let all = directory.keys().map(|(_, key)| key);
                let all = all.filter(|key| key.department.as_ref() == Some(department)).collect();
                assert_eq!(ids(directory.keys_of(department)), ids(all), "{department}");
            }
            // Its first key, its recovery key, two more, and two of its nodes.
            assert_eq!(directory.keys_of(&crate::fixture::department("civil-affairs")).len(), 6);
            assert!(directory.keys_of(&crate::fixture::department("nobody")).is_empty());
        }
    }

    #[test]
    fn who_tells_names_is_found_as_descriptions_change_and_are_approved() {
        let reviews = wire::ServiceReviews::All.into();
        let mut fixture = Fixture::founded_with(wire::Profile { service_reviews: reviews, ..Profile::usual() });
        fixture.admit("civil-affairs");
        fixture.publish(marriage_registration());
        let service = |minor_version: u32, sharing: wire::SharingClass, attribute: &str| {
            let mut service = marriage_registration();
            (service.service, service.minor_version, service.sharing) =
                ("population".into(), minor_version, sharing.into());
            service.attributes.push(wire::Attribute {
                name: attribute.into(),
                r#type: "string".into(),
                operators: vec!["equals".into()],
                discloses: false,
                ..service.attributes[1].clone()
            });
            service
        };
        let found = |fixture: &Fixture| {
            let [folded, read] = both(&fixture.directory).map(|directory| {
                let found: Vec<bool> = directory.services_telling_names().map(|known| known.answers_at(0)).collect();
                let all = directory.services().filter(|known| known.tells_names());
                assert_eq!(all.count(), found.len());
                found
            });
            assert_eq!(folded, read);
            folded
        };
        let (open, closed) = (wire::SharingClass::Unconditional, wire::SharingClass::Conditional);
        // Nobody relies on what is not approved, so anything about it may change.
        for (minor_version, sharing, attribute, expected) in [
            (0, open, "nickname", &[] as &[bool]),
            (1, open, "name", &[false][..]),
            (2, closed, "name", &[] as &[bool]),
            (3, open, "name", &[false][..]),
        ] {
            fixture.publish(service(minor_version, sharing, attribute));
            assert_eq!(found(&fixture), expected, "{minor_version}");
        }
        fixture.review("population", &[]);
        assert_eq!(found(&fixture), [true]);
    }
}
