//! Simple rates for what strangers can cause. In memory, for the second that runs. Out of scope: quotas of grants, which
//! the evidence counts (`usage`).

use std::{collections::HashMap, sync::Mutex};

use super::lock;

/// A rate for each name.
#[derive(Debug)]
pub(crate) struct PerSecond {
    most: u32,
    taken: Mutex<(u64, HashMap<Box<str>, u32>)>,
}

impl PerSecond {
    pub(crate) fn new(most: u32) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// Whether the name has one left in this second.
    pub(crate) fn take(&self, name: &str, now_ms: u64) -> bool {
        let mut taken = lock(&self.taken);
        let (second, counts) = &mut *taken;
        if *second != now_ms / 1000 {
            *second = now_ms / 1000;
            counts.clear();
        }
        match counts.get_mut(name) {
            Some(count) => {
                *count = count.saturating_add(1);
                *count <= self.most
            }
            None => {
                counts.insert(name.into(), 1);
                self.most > 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_each_names_own() {
        let rate = PerSecond::new(2);
        assert!(rate.take("a", 0) && rate.take("a", 0) && !rate.take("a", 999));
        assert!(rate.take("b", 999));
        assert!(rate.take("a", 1000));
    }
}
