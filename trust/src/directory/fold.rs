//! What each statement changes. Everything here was checked before; a fold cannot fail. Out of scope: whether a statement
//! counts (`rules`).

use proto::registry::v1::{self as wire, OfficialDecision, statement::Body};

use super::{
    AccessKey, Checked, Directory, Object,
    kept::Kept,
    model::{
        Access, AccessState, Closed, Department, Extension, Founding, ItemVersion, KnownKey, Node, Place, Profile,
        Reign, Revocation,
    },
    packed::Held,
    rules::described,
};
use crate::{
    ids::{DepartmentId, Digest, NodeId, ServiceId},
    key::{DescribedKey, Role},
    service::{Proposal, Review, Service, ServiceState},
};

/// After so many statements what was read is let go of, where that is much.
const SHED_EVERY: u64 = 256;

impl Directory {
    pub(super) fn fold_at(&mut self, checked: Checked, index: u64) {
        let Checked { digest, mut statement, known, .. } = checked;
        let place = Place { index, digest };
        if let Some(Body::State(body)) = &statement.body {
            // The state as it is before this statement becomes part of it.
            self.commit(place, &statement, body);
        }
        self.said.say(&statement.object, place);
        if index.is_multiple_of(SHED_EVERY) {
            self.shed();
        }
        let (Some(object), Some(body)) = (known, statement.body.take()) else { return };
        match (body, &object) {
            (Body::ExchangeFounded(body), _) => {
                let (Ok(authority), Ok(log), Some(profile)) = (
                    described("authority_key", body.authority_key.as_ref(), Role::Authority),
                    described("log_key", body.log_key.as_ref(), Role::Log),
                    body.profile.as_ref(),
                ) else {
                    return;
                };
                self.founding = Some(Founding {
                    name: body.name.unwrap_or_default().zh,
                    stated_at_ms: statement.stated_at_ms,
                    log_key: log.key.clone(),
                });
                self.set_profile(profile);
                let since_ms = statement.stated_at_ms;
                let reign = |key: &DescribedKey| Reign { from_index: index, since_ms, key: key.key.clone() };
                self.authority_reigns.push(reign(&authority));
                self.log_reigns.push(reign(&log));
                self.know_key(authority, None, index);
                self.know_key(log, None, index);
            }
            (Body::AuthorityKeyChanged(body), _) => {
                if let Ok(key) = described("authority_key", body.authority_key.as_ref(), Role::Authority) {
                    let since_ms = statement.stated_at_ms;
                    self.authority_reigns.push(Reign { from_index: index, since_ms, key: key.key.clone() });
                    self.know_key(key, None, index);
                }
            }
            (Body::LogKeyChanged(body), _) => {
                if let Ok(key) = described("log_key", body.log_key.as_ref(), Role::Log) {
                    let since_ms = statement.stated_at_ms;
                    self.log_reigns.push(Reign { from_index: index, since_ms, key: key.key.clone() });
                    self.know_key(key, None, index);
                }
            }
            (Body::RegistryAnnounced(body), _) => self.registry = Some(body.into()),
            (Body::ProfileChanged(body), _) => {
                if let Some(profile) = &body.profile {
                    self.set_profile(profile);
                }
            }
            (Body::DepartmentAdmitted(body), Object::Department(id)) => {
                for (key, role) in [(&body.first_key, Role::Department), (&body.recovery_key, Role::Recovery)] {
                    let key = key.as_ref().and_then(|key| DescribedKey::from_checked(key).ok());
                    if let Some(key) = key.filter(|key| key.role == role) {
                        self.know_key(key, Some(id.clone()), index);
                    }
                }
                self.departments.insert(id, &Department::new(body));
            }
            (Body::DepartmentSuspended(body), Object::Department(id)) => {
                self.departments.change(id, |department| department.suspended = Some(body.reason));
            }
            (Body::DepartmentResumed(_), Object::Department(id)) => {
                self.departments.change(id, |department| department.suspended = None);
            }
            (Body::DepartmentRenamed(body), Object::Department(id)) => {
                self.departments.change(id, |department| department.renamed.push(body.into()));
            }
            (Body::DepartmentSucceeded(body), Object::Succession(department, successor)) => {
                self.offer_succession((department.clone(), successor.clone()), body, digest);
            }
            (Body::SuccessionAccepted(_), Object::Succession(department, successor)) => {
                self.accept_succession((department.clone(), successor.clone()));
            }
            (Body::DepartmentClosed(body), Object::Department(id)) => {
                self.confirm_all(id, &body.successors, body.from_ms);
                let at_once = body.from_ms <= statement.stated_at_ms;
                let (from_ms, successors, reason) = (body.from_ms, body.successors, body.reason);
                let closed = Closed { from_ms, at_once, successors, reason };
                self.departments.change(id, |department| department.closed = Some(closed));
            }
            (Body::DepartmentSplit(body), Object::Department(id)) => {
                self.confirm_all(id, &body.successors, body.from_ms);
            }
            (Body::KeyAdded(body), Object::Key(key_id)) => {
                let (Some(key), Ok(department)) = (body.key.as_ref(), body.department.parse::<DepartmentId>()) else {
                    return;
                };
                let Ok(described) = DescribedKey::from_checked(key) else { return };
                let node: Option<NodeId> = body.node.parse().ok();
                let known = KnownKey {
                    described,
                    department: Some(department.clone()),
                    node: node.clone(),
                    added_at: index,
                    revoked: None,
                };
                self.keys.insert(key_id, &known);
                if let Some(node) = node {
                    let place = (department, node);
                    let mut keys = self.node_keys.get(&place).cloned().unwrap_or_default();
                    keys.push(*key_id);
                    self.node_keys.insert(&place, &keys);
                } else {
                    let mut keys = self.added_keys.get(&department).cloned().unwrap_or_default();
                    keys.push(*key_id);
                    self.added_keys.insert(&department, &keys);
                }
            }
            (Body::KeyRevoked(body), Object::Key(key_id)) => {
                let stated_at_ms = statement.stated_at_ms;
                let revoked = Revocation { stated_at_ms, reason: body.reason, index: Some(index) };
                self.keys.change(key_id, |key| key.revoked = Some(revoked));
            }
            (Body::KeyRetired(body), Object::Key(key_id)) => {
                self.keys.change(key_id, |key| {
                    let until_ms = key.described.valid_until_ms.map_or(body.from_ms, |end| end.min(body.from_ms));
                    key.described.valid_until_ms = Some(until_ms);
                });
            }
            (Body::NodePublished(body), Object::Node(department, node)) => {
                self.forget_tls_key(department, node);
                let Ok(tls_key) = <[u8; 32]>::try_from(body.tls_key.as_slice()) else { return };
                let key = (department.clone(), node.clone());
                let since_ms = self.nodes.get(&key).filter(|before| before.tls_key == tls_key);
                let published = Node {
                    department: key.0.clone(),
                    node: key.1.clone(),
                    addresses: body.addresses,
                    relays: body.relays,
                    draining: body.draining,
                    tls_key,
                    next_tls_key: body.next_tls_key.as_slice().try_into().ok(),
                    tls_key_since_ms: since_ms.map_or(statement.stated_at_ms, |before| before.tls_key_since_ms),
                };
                for tls_key in published.tls_keys() {
                    self.node_by_tls_key.insert(tls_key, &key);
                }
                self.nodes.insert(&key, &published);
            }
            (Body::NodeRemoved(_), Object::Node(department, node)) => {
                self.forget_tls_key(department, node);
                self.nodes.remove(&(department.clone(), node.clone()));
            }
            (Body::ServicePublished(body), Object::Service(id)) => {
                self.publish_service(id, body, digest, statement.stated_at_ms);
            }
            (Body::ServiceSuspended(body), Object::Service(id)) => {
                self.change_service(id, |service| match &mut service.state {
                    ServiceState::Withdrawn { suspended, .. } => *suspended = Some(body.notice),
                    state => *state = ServiceState::Suspended { notice: body.notice },
                });
            }
            (Body::ServiceResumed(_), Object::Service(id)) => {
                self.change_service(id, |service| match &mut service.state {
                    ServiceState::Withdrawn { suspended, .. } => *suspended = None,
                    state => *state = ServiceState::Answering,
                });
            }
            (Body::ServiceWithdrawn(body), Object::Service(id)) => {
                self.change_service(id, |service| {
                    let suspended = service.notice().map(str::to_owned);
                    service.state = ServiceState::Withdrawn { reason: body.reason, from_ms: body.from_ms, suspended };
                });
            }
            (Body::ServiceReviewed(body), Object::Review(id)) => {
                let at_ms = statement.stated_at_ms;
                self.change_service(id, |service| review_service(service, body, at_ms));
            }
            (Body::AccessApplied(body), Object::Access(key)) => {
                let access = Access {
                    applied: body.into(),
                    applied_ms: statement.stated_at_ms,
                    extended: None,
                    granted: None,
                    granted_ms: 0,
                    grant_statement: None,
                    decision: None,
                    state: AccessState::Applied,
                };
                self.insert_access(key, &access);
            }
            (Body::AccessGranted(body), Object::Access(key)) => {
                self.access.change(key, |access| {
                    access.granted = Some(body.into());
                    access.granted_ms = statement.stated_at_ms;
                    access.grant_statement = Some(digest);
                    access.decision = statement.decision.map(Kept::from);
                    access.state = AccessState::Granted;
                });
            }
            (Body::AccessExtended(body), Object::Access(key)) => {
                self.access.change(key, |access| {
                    access.extended = Some(Extension { working_days: body.working_days, notice: body.notice });
                    access.decision = statement.decision.map(Kept::from);
                });
            }
            (Body::AccessRefused(body), Object::Access(_)) => {
                let state = AccessState::Refused { code: body.reason_code, reason: body.reason };
                self.set_access(&object, state, statement.decision);
            }
            (Body::AccessReturned(body), Object::Access(_)) => {
                self.set_access(&object, AccessState::Returned { missing: body.missing }, statement.decision);
            }
            (Body::AccessSuspended(body), Object::Access(_)) => {
                self.set_access(&object, AccessState::Suspended { reason: body.reason }, statement.decision);
            }
            (Body::AccessResumed(_), Object::Access(_)) => {
                self.set_access(&object, AccessState::Granted, statement.decision);
            }
            (Body::AccessRevoked(body), Object::Access(_)) => {
                self.set_access(&object, AccessState::Revoked { reason: body.reason }, statement.decision);
            }
            (Body::ItemPublished(body), Object::Item(department, item)) => {
                self.publish_item((department.clone(), item.clone()), body, digest);
            }
            (Body::AnchorsTaken(body), _) => self.take_anchors(place, &statement, &body),
            (Body::EvidenceLogClosed(body), _) => self.close_log(place, &statement, body),
            _ => {}
        }
    }

    fn confirm_all(&mut self, department: &DepartmentId, successors: &[String], from_ms: u64) {
        for successor in successors.iter().filter_map(|successor| successor.parse().ok()) {
            self.confirm_succession((department.clone(), successor), from_ms);
        }
    }

    fn know_key(&mut self, described: DescribedKey, department: Option<DepartmentId>, index: u64) {
        let id = *described.key.id();
        self.keys.insert(&id, &KnownKey { department, node: None, added_at: index, revoked: None, described });
    }

    fn forget_tls_key(&mut self, department: &DepartmentId, node: &NodeId) {
        let Some(before) = self.nodes.get(&(department.clone(), node.clone())) else { return };
        for tls_key in before.tls_keys() {
            self.node_by_tls_key.remove(tls_key);
        }
    }

    fn change_service(&mut self, id: &ServiceId, change: impl FnOnce(&mut Service)) {
        let changed = self.services.change(id, |service| {
            change(service);
            (service.state.clone(), service.tells_names())
        });
        if let Some((state, tells_names)) = changed {
            self.note_telling_names(id, tells_names);
            self.mirror_service(id, &state);
        }
    }

    pub(super) fn insert_service(&mut self, id: &ServiceId, service: &Service) {
        self.services.insert(id, service);
        self.note_telling_names(id, service.tells_names());
    }

    fn note_telling_names(&mut self, id: &ServiceId, tells_names: bool) {
        match (tells_names, self.telling_names.contains_key(id)) {
            (true, false) => self.telling_names.insert(id, &()),
            (false, true) => {
                self.telling_names.remove(id);
            }
            (true, true) | (false, false) => {}
        }
    }

    fn publish_service(&mut self, id: &ServiceId, body: wire::ServicePublished, digest: Digest, at_ms: u64) {
        let reviews = self.profile.service_reviews;
        let waiting = Review::Waiting { since_ms: at_ms };
        let Ok(mut service) = Service::check(&body, digest) else { return };
        match self.services.remove(id) {
            None => {
                service.review = if reviews == wire::ServiceReviews::None { Review::NotRequired } else { waiting };
            }
            Some(before) if before.review.permits() && reviews == wire::ServiceReviews::All => {
                let proposed = Some(Proposal { published: body, statement: digest, review: waiting });
                service = Service { proposed, ..before };
            }
            Some(before) => {
                service.state = before.state;
                service.review = if before.review.permits() { before.review } else { waiting };
            }
        }
        self.insert_service(id, &service);
    }

    fn publish_item(&mut self, key: (DepartmentId, String), body: wire::ItemPublished, statement: Digest) {
        let mut versions = self.items.get(&key).cloned().unwrap_or_default();
        let (version, effective_from_ms) = (body.version, body.effective_from_ms);
        versions.push(ItemVersion { version, effective_from_ms, statement, published: body.into() });
        self.items.insert(&key, &versions);
    }

    pub(super) fn insert_access(&mut self, key: &AccessKey, access: &Access) {
        self.access.insert(key, access);
        self.held.insert(&Held::of(key), &());
    }

    fn set_access(&mut self, object: &Object, state: AccessState, decision: Option<OfficialDecision>) {
        let Object::Access(key) = object else { return };
        let known = self.access.change(key, |access| {
            access.state = state.clone();
            access.decision = decision.map(Kept::from);
        });
        if known.is_some() {
            self.mirror_access(key, &state);
        }
    }

    fn set_profile(&mut self, profile: &wire::Profile) {
        self.profile = Profile::from_wire(profile);
        self.stated_profile = profile.into();
    }
}

/// What the authority says counts for what it reviewed: a change, or else the service as a whole.
fn review_service(service: &mut Service, body: wire::ServiceReviewed, at_ms: u64) {
    let review = match body.approved {
        true => Review::Approved { at_ms },
        false => Review::Returned { at_ms, missing: body.missing },
    };
    match service.proposed.take() {
        None => service.review = review,
        Some(proposal) if !review.permits() => service.proposed = Some(Proposal { review, ..proposal }),
        Some(proposal) => {
            if let Ok(approved) = Service::check(&proposal.published, proposal.statement) {
                let state = std::mem::replace(&mut service.state, ServiceState::Answering);
                *service = Service { state, review, ..approved };
            }
        }
    }
}
