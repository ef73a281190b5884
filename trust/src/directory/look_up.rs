//! What a reader looks up in a directory. Whoever looks at every one of a large directory's nodes or grants takes the `scan_`
//! functions: they leave nothing read behind. Out of scope: how it came about (`fold`), and the state (`committed`).

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

    /// All keys, read for the caller alone.
    pub fn scan_keys(&self) -> impl Iterator<Item = KnownKey> {
        self.keys.scan().map(|(_, key)| key)
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
