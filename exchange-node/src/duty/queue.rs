//! The duties in memory: which is next. Of each order only the first may be done, and not before its time. Webhooks have places of
//! their own: a receiver that takes minutes to say nothing keeps neither other receivers nor anything else waiting. Out of scope:
//! keeping them (`store`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Duty, What};

/// How many webhooks are told at once, each one thing.
const WEBHOOKS_AT_ONCE: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Queue {
    duties: HashMap<String, Waiting>,
    /// The names of each order's duties.
    orders: HashMap<String, BTreeSet<String>>,
    /// The first of each order that is not being done, by its time: of each webhook, and under no name of everything else.
    ready: BTreeMap<String, BTreeSet<(u64, String)>>,
    /// The webhooks that are being told something.
    telling: BTreeSet<String>,
}

#[derive(Debug)]
struct Waiting {
    duty: Duty,
    at_ms: u64,
    failures: u32,
    is_running: bool,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.duties.len()
    }

    /// Puts a duty on the list, or changes the time of one that is not being done.
    pub(super) fn put(&mut self, duty: Duty) {
        if self.duties.get(&duty.id).is_some_and(|waiting| waiting.is_running) {
            return;
        }
        self.remove(&duty.id);
        let (id, order) = (duty.id.clone(), duty.order.clone());
        let at_ms = duty.at_ms;
        self.unready(&order);
        self.orders.entry(order.clone()).or_default().insert(id.clone());
        self.duties.insert(id, Waiting { duty, at_ms, failures: 0, is_running: false });
        self.ready(&order);
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Some(waiting) = self.duties.get(id) else { return };
        let order = waiting.duty.order.clone();
        let told = waiting.is_running.then(|| lane(&waiting.duty).to_owned());
        self.telling.retain(|webhook| told.as_ref() != Some(webhook));
        self.unready(&order);
        self.duties.remove(id);
        if let Some(ids) = self.orders.get_mut(&order) {
            ids.remove(id);
            if ids.is_empty() {
                self.orders.remove(&order);
            }
        }
        self.ready(&order);
    }

    /// The next duty that is due; it is being done from now on.
    pub(super) fn take(&mut self, now_ms: u64) -> Option<Duty> {
        let (_, id) = self.first_ready().filter(|(at_ms, _)| *at_ms <= now_ms)?.clone();
        let order = self.duties.get(&id)?.duty.order.clone();
        self.unready(&order);
        let waiting = self.duties.get_mut(&id)?;
        waiting.is_running = true;
        let webhook = lane(&waiting.duty);
        if !webhook.is_empty() {
            self.telling.insert(webhook.to_owned());
        }
        Some(waiting.duty.clone())
    }

    /// When the next is due that there is a place for.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.first_ready().map(|(at_ms, _)| *at_ms)
    }

    /// The first, by its time, of all that there is a place for.
    fn first_ready(&self) -> Option<&(u64, String)> {
        let has_place = |webhook: &String| {
            webhook.is_empty() || self.telling.len() < WEBHOOKS_AT_ONCE && !self.telling.contains(webhook)
        };
        self.ready.iter().filter(|(webhook, _)| has_place(webhook)).filter_map(|(_, ready)| ready.first()).min()
    }

    /// Counts a failure; how many there were in a row.
    pub(super) fn failed(&mut self, id: &str) -> u32 {
        self.duties.get_mut(id).map_or(1, |waiting| {
            waiting.failures = waiting.failures.saturating_add(1);
            waiting.failures
        })
    }

    /// A duty that was being done is to be done again.
    pub(super) fn again(&mut self, id: &str, at_ms: u64) {
        let Some(waiting) = self.duties.get_mut(id) else { return };
        waiting.is_running = false;
        waiting.at_ms = at_ms;
        let order = waiting.duty.order.clone();
        self.telling.remove(lane(&waiting.duty));
        self.ready(&order);
    }

    /// A duty that was tried in vain and waits for a later time is due from now on; any other stays as it is.
    pub(super) fn hasten(&mut self, id: &str, at_ms: u64) {
        let waits = |waiting: &&Waiting| !waiting.is_running && waiting.failures > 0 && waiting.at_ms > at_ms;
        let Some(waiting) = self.duties.get(id).filter(waits) else { return };
        let order = waiting.duty.order.clone();
        self.unready(&order);
        if let Some(waiting) = self.duties.get_mut(id) {
            waiting.at_ms = at_ms;
        }
        self.ready(&order);
    }

    /// The first of an order, where none of the order is being done.
    fn first(&self, order: &str) -> Option<(u64, String)> {
        let ids = self.orders.get(order)?;
        if ids.iter().any(|id| self.duties.get(id).is_some_and(|waiting| waiting.is_running)) {
            return None;
        }
        let id = ids.first()?;
        Some((self.duties.get(id)?.at_ms, id.clone()))
    }

    fn unready(&mut self, order: &str) {
        let Some(first) = self.first(order) else { return };
        let name = self.lane_of(&first.1);
        let Some(ready) = self.ready.get_mut(&name) else { return };
        ready.remove(&first);
        if ready.is_empty() {
            self.ready.remove(&name);
        }
    }

    fn ready(&mut self, order: &str) {
        if let Some(first) = self.first(order) {
            self.ready.entry(self.lane_of(&first.1)).or_default().insert(first);
        }
    }

    fn lane_of(&self, id: &str) -> String {
        self.duties.get(id).map(|waiting| lane(&waiting.duty).to_owned()).unwrap_or_default()
    }
}

/// The webhook that is told something; empty for everything else.
fn lane(duty: &Duty) -> &str {
    match &duty.what {
        What::Webhook { webhook, .. } => webhook,
        _ => "",
    }
}
