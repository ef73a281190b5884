//! The duties in memory: which is next. Of each order only the first may be done, and not before its time. Out of scope:
//! keeping them (`store`).

use std::collections::{BTreeSet, HashMap};

use super::Duty;

#[derive(Debug, Default)]
pub(super) struct Queue {
    duties: HashMap<String, Waiting>,
    /// The names of each order's duties.
    orders: HashMap<String, BTreeSet<String>>,
    /// The first of each order that is not being done, by its time.
    ready: BTreeSet<(u64, String)>,
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
        let first = self.ready.first().filter(|(at_ms, _)| *at_ms <= now_ms)?.clone();
        self.ready.remove(&first);
        let waiting = self.duties.get_mut(&first.1)?;
        waiting.is_running = true;
        Some(waiting.duty.clone())
    }

    /// When the next is due.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.ready.first().map(|(at_ms, _)| *at_ms)
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
        if let Some(first) = self.first(order) {
            self.ready.remove(&first);
        }
    }

    fn ready(&mut self, order: &str) {
        if let Some(first) = self.first(order) {
            self.ready.insert(first);
        }
    }
}
