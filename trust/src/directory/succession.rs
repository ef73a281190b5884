//! Who takes over what from a department that ends or gives up a part. Three signatures move a service or a grant: the
//! ending department's (it hands over), the successor's (it accepts), and the authority's (the department has indeed
//! ended or been split). Any of them alone, and the authority's with the log's, move nothing.
//!
//! What goes over is copied to the successor's name when the last of the three is read, and counts from the time that
//! the authority named. Until then the ending department can still narrow it (suspend, withdraw, revoke), which counts for
//! the copy too. Out of scope: the form of the statements (`rules::succession`).

use std::collections::{BTreeMap, BTreeSet};

use proto::registry::v1 as wire;
use serde::{Deserialize, Serialize};

use super::{AccessKey, Directory, Object, kept::Kept, model::AccessState};
use crate::{
    ids::{DepartmentId, Digest, ServiceId, ServiceName},
    service::ServiceState,
};

/// What an ending department hands to one successor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Succession {
    /// As the ending department signed it.
    pub offer: Kept<wire::DepartmentSucceeded>,
    /// The identity of that statement, which the acceptance names.
    pub offered: Digest,
    /// Whether the successor has accepted it.
    pub accepted: bool,
    /// From when it counts, Unix milliseconds; `None` until it is accepted and confirmed.
    pub from_ms: Option<u64>,
}

/// Where a service or a grant went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedTo {
    /// The successor.
    pub successor: DepartmentId,
    /// From when, Unix milliseconds.
    pub from_ms: u64,
}

/// Where a service or a grant came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedFrom<T> {
    /// What it was.
    pub origin: T,
    /// From when it counts, Unix milliseconds.
    pub from_ms: u64,
}

/// Every succession of the directory, and what it moved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Successions {
    offers: BTreeMap<(DepartmentId, DepartmentId), Succession>,
    /// What the authority has confirmed and was not ready to go over then.
    confirmed: BTreeMap<(DepartmentId, DepartmentId), u64>,
    custody: BTreeSet<(DepartmentId, DepartmentId)>,
    services_to: BTreeMap<ServiceId, HandedTo>,
    services_from: BTreeMap<ServiceId, CarriedFrom<ServiceId>>,
    access_to: BTreeMap<AccessKey, (AccessKey, u64)>,
    access_from: BTreeMap<AccessKey, CarriedFrom<AccessKey>>,
}

/// What a reader looks up.
impl Directory {
    /// What a department handed, or would hand, to a successor.
    pub fn succession(&self, department: &DepartmentId, successor: &DepartmentId) -> Option<&Succession> {
        self.successions.offers.get(&(department.clone(), successor.clone()))
    }

    /// All successions: the department that ends or gives up a part, its successor, and what goes over.
    pub fn successions(&self) -> impl Iterator<Item = (&DepartmentId, &DepartmentId, &Succession)> {
        self.successions.offers.iter().map(|((department, successor), known)| (department, successor, known))
    }

    /// Whether the successor keeps the department's evidence.
    pub fn has_custody(&self, department: &DepartmentId, successor: &DepartmentId) -> bool {
        self.successions.custody.contains(&(department.clone(), successor.clone()))
    }

    /// Where a service went.
    pub fn service_handed_to(&self, service: &ServiceId) -> Option<&HandedTo> {
        self.successions.services_to.get(service)
    }

    /// Where a service came from.
    pub fn service_carried_from(&self, service: &ServiceId) -> Option<&CarriedFrom<ServiceId>> {
        self.successions.services_from.get(service)
    }

    /// Where a grant went: the grant that took its place, and from when, Unix milliseconds.
    pub fn access_handed_to(&self, key: &AccessKey) -> Option<(&AccessKey, u64)> {
        self.successions.access_to.get(key).map(|(to, from_ms)| (to, *from_ms))
    }

    /// Where a grant came from.
    pub fn access_carried_from(&self, key: &AccessKey) -> Option<&CarriedFrom<AccessKey>> {
        self.successions.access_from.get(key)
    }

    /// Who answers now for what was once this department's service: the department itself, or the last of its successors
    /// that have taken the service over by `now_ms`.
    pub fn service_now(&self, service: &ServiceId, now_ms: u64) -> ServiceId {
        let mut current = service.clone();
        // Each step leads to another department; a circle would be a service that went back, and ends the search.
        let mut passed = BTreeSet::new();
        while let Some(handed) = self.service_handed_to(&current)
            && handed.from_ms <= now_ms
            && passed.insert(current.department.clone())
        {
            current.department = handed.successor.clone();
        }
        current
    }

    /// Objects whose statements a grant or service rests on besides its own, because it was carried over: for whoever
    /// gathers evidence.
    pub fn relied_on_by_succession(&self, department: &DepartmentId) -> Vec<Object> {
        let mut wanted = Vec::new();
        let mut waiting = vec![department.clone()];
        let mut seen = BTreeSet::new();
        while let Some(successor) = waiting.pop() {
            if !seen.insert(successor.clone()) {
                continue;
            }
            for (from, to, _) in self.successions().filter(|(_, to, _)| **to == successor) {
                wanted.push(Object::Succession(from.clone(), to.clone()));
                wanted.push(Object::Department(from.clone()));
                wanted.push(Object::Department(to.clone()));
                waiting.push(from.clone());
            }
        }
        wanted
    }
}

/// What the statements change.
impl Directory {
    /// Whether only some of the statements are there.
    pub(super) fn is_excerpt(&self) -> bool {
        self.reading == super::Reading::Excerpt
    }

    pub(super) fn offer_succession(
        &mut self,
        pair: (DepartmentId, DepartmentId),
        offer: wire::DepartmentSucceeded,
        offered: Digest,
    ) {
        let succession = Succession { offer: offer.into(), offered, accepted: false, from_ms: None };
        self.successions.offers.insert(pair, succession);
    }

    pub(super) fn accept_succession(&mut self, pair: (DepartmentId, DepartmentId)) {
        if let Some(succession) = self.successions.offers.get_mut(&pair) {
            succession.accepted = true;
        }
        self.carry_if_ready(&pair);
    }

    pub(super) fn confirm_succession(&mut self, pair: (DepartmentId, DepartmentId), from_ms: u64) {
        self.successions.confirmed.insert(pair.clone(), from_ms);
        self.carry_if_ready(&pair);
    }

    fn carry_if_ready(&mut self, pair: &(DepartmentId, DepartmentId)) {
        let Some(from_ms) = self.successions.confirmed.get(pair).copied() else { return };
        let Some(succession) = self.successions.offers.get_mut(pair) else { return };
        if !succession.accepted || succession.from_ms.is_some() {
            return;
        }
        succession.from_ms = Some(from_ms);
        let offer = succession.offer.read();
        // Used up: what is handed over later needs to be confirmed anew.
        self.successions.confirmed.remove(pair);
        let (department, successor) = pair;
        if offer.custody {
            self.successions.custody.insert(pair.clone());
        }
        for handed in &offer.services {
            if let Ok(service) = handed.service.parse::<ServiceName>() {
                self.carry_service(department, successor, &service, handed.major_version, from_ms);
            }
        }
        for held in &offer.held {
            if let Some(key) = held_key(department, held) {
                let to = AccessKey { consumer: successor.clone(), ..key.clone() };
                self.carry_access(&key, to, from_ms);
            }
        }
    }

    fn carry_service(
        &mut self,
        department: &DepartmentId,
        successor: &DepartmentId,
        service: &ServiceName,
        major: u32,
        from_ms: u64,
    ) {
        let origin = ServiceId { department: department.clone(), service: service.clone(), major };
        let id = ServiceId { department: successor.clone(), ..origin.clone() };
        if self.services.contains_key(&id) || self.successions.services_to.contains_key(&origin) {
            return;
        }
        let Some(mut carried) = self.services.get(&origin).cloned() else { return };
        carried.id = id.clone();
        carried.published.department = successor.to_string();
        if let Some(proposal) = &mut carried.proposed {
            // Else its approval would put the old department's service in the place of the successor's.
            proposal.published.department = successor.to_string();
        }
        self.insert_service(&id, &carried);
        let to = HandedTo { successor: successor.clone(), from_ms };
        self.successions.services_to.insert(origin.clone(), to);
        self.successions.services_from.insert(id, CarriedFrom { origin, from_ms });
        let given: Vec<AccessKey> = self
            .access_given_by(department)
            .filter(|(_, access)| {
                (access.applied.service.as_str(), access.applied.major_version) == (service.as_str(), major)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in given {
            let to = AccessKey { provider: successor.clone(), ..key.clone() };
            self.carry_access(&key, to, from_ms);
        }
    }

    fn carry_access(&mut self, key: &AccessKey, to: AccessKey, from_ms: u64) {
        // A department needs no grant from itself; and what went over once does not go over again.
        if to.provider == to.consumer || self.access.contains_key(&to) || self.successions.access_to.contains_key(key) {
            return;
        }
        let Some(mut carried) = self.access.get(key).cloned() else { return };
        let (provider, consumer) = (to.provider.to_string(), to.consumer.to_string());
        let applied = carried.applied.read();
        carried.applied =
            wire::AccessApplied { provider: provider.clone(), consumer: consumer.clone(), ..applied }.into();
        carried.granted =
            carried.granted.map(|granted| wire::AccessGranted { provider, consumer, ..granted.read() }).map(Kept::from);
        self.insert_access(&to, &carried);
        self.successions.access_to.insert(key.clone(), (to.clone(), from_ms));
        self.successions.access_from.insert(to, CarriedFrom { origin: key.clone(), from_ms });
    }

    /// What the ending department says of a service that goes over counts for the copy too, until the successor has
    /// spoken about it.
    pub(super) fn mirror_service(&mut self, id: &ServiceId, state: &ServiceState) {
        let Some(handed) = self.successions.services_to.get(id) else { return };
        let copy = ServiceId { department: handed.successor.clone(), ..id.clone() };
        if self.last(&Object::Service(copy.clone())).is_some() {
            return;
        }
        self.services.change(&copy, |service| service.state = state.clone());
        self.mirror_service(&copy, state);
    }

    /// The same of a grant.
    pub(super) fn mirror_access(&mut self, key: &AccessKey, state: &AccessState) {
        let Some((copy, _)) = self.successions.access_to.get(key).cloned() else { return };
        if self.last(&Object::Access(copy.clone())).is_some() {
            return;
        }
        self.access.change(&copy, |access| access.state = state.clone());
        self.mirror_access(&copy, state);
    }
}

/// The grant that is meant; `None` where it cannot be one.
pub(super) fn held_key(department: &DepartmentId, held: &wire::HeldGrant) -> Option<AccessKey> {
    Some(AccessKey { provider: held.provider.parse().ok()?, consumer: department.clone(), id: held.id.parse().ok()? })
}

#[cfg(test)]
mod tests;
