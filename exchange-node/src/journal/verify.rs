//! Reading the whole journal again: every record is decrypted where its key is still there, every leaf and the tree are
//! recomputed and compared with what is stored, and the end with the head.
//!
//! What it says names the first wrong entry as closely as what is stored allows. Out of scope: whether signatures in
//! the messages are good, which is a bundle's.

use prost::Message as _;
use proto::exchange::v1 as wire;
use trust::{
    envelope,
    evidence::Entry,
    log::{frontier::Frontier, frontier::FullTile, hash::Hash, tile::TILE_WIDTH},
};

use super::{
    JournalError, Month,
    month_key::MonthKey,
    month_store::{Item, MonthStore},
    months::Months,
    record::Head,
    writer::Durable,
};

/// What a verification found in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// How many entries were read.
    pub entries: u64,
    /// The root over them.
    pub root: Hash,
    /// How many of them have no message any more, because their month's key was destroyed.
    pub without_message: u64,
}

pub(super) fn verify(months: &Months, durable: &Durable) -> Result<Verified, JournalError> {
    let mut tree = Frontier::new();
    let mut without_message = 0;
    let mut list = months.list();
    // A month that began since then is left for the next time.
    list.retain(|(_, first_index)| *first_index <= durable.tree.size());
    for (position, (name, _)) in list.iter().enumerate() {
        let month = months.named(*name)?;
        let end = list.get(position + 1).map_or(durable.tree.size(), |(_, next)| *next).min(durable.tree.size());
        let reading =
            Reading { month: &month, key: months.keys().load(*name)?, tree, group: Vec::new(), without_message };
        (tree, without_message) = reading.run(&list[..=position], end)?;
    }
    if tree.size() != durable.tree.size() || tree.root() != durable.root {
        let month = list.last().map_or(Month::of_ms(0), |(name, _)| *name);
        let reason =
            format!("{} entries were read; {} were durable, under another root", tree.size(), durable.tree.size());
        return Err(JournalError::Damaged { month, reason });
    }
    Ok(Verified { entries: tree.size(), root: tree.root(), without_message })
}

/// One month being read.
struct Reading<'a> {
    month: &'a MonthStore,
    key: Option<MonthKey>,
    tree: Frontier,
    /// The leaves since the end of the last group.
    group: Vec<Hash>,
    without_message: u64,
}

impl Reading<'_> {
    fn run(mut self, months: &[(Month, u64)], end: u64) -> Result<(Frontier, u64), JournalError> {
        let start = self.tree.size();
        let beginning = self.month.beginning()?.ok_or_else(|| self.month.damaged("its beginning is missing"))?;
        if beginning.tree != self.tree || beginning.months != months {
            return Err(self.month.damaged(format!("it does not begin where the month before ends, at entry {start}")));
        }
        let month = self.month;
        if start < end {
            month.forward(start, &mut |item| {
                match item {
                    Item::GroupEnd { size, root } => self.group_end(size, root)?,
                    Item::Head(first_index, head) => self.record(first_index, head)?,
                }
                // Groups that became durable since are left for the next time.
                Ok(self.tree.size() < end || !self.group.is_empty())
            })?;
        }
        match self.tree.size() {
            size if size == end && self.group.is_empty() => Ok((self.tree, self.without_message)),
            size => Err(month
                .damaged(format!("entry {size} is missing; the month has entries up to {}", end.saturating_sub(1)))),
        }
    }

    fn record(&mut self, found_index: u64, head: &Head<'_>) -> Result<(), JournalError> {
        let first_index = self.tree.size();
        if found_index != first_index {
            return Err(self.month.damaged(format!("entry {first_index} is missing")));
        }
        match self.key.as_ref().filter(|key| key.id() == head.key_id) {
            None => self.without_message += head.entries.as_slice().len() as u64,
            Some(key) => {
                let changed = || self.month.damaged(format!("entry {first_index}: what is stored of it was changed"));
                let messages = head.messages(&self.month.payload(first_index)?, key).ok_or_else(changed)?;
                for ((index, entry), message) in (first_index..).zip(head.entries.as_slice()).zip(&messages) {
                    self.message(index, entry, message)?;
                }
            }
        }
        for entry in head.entries.as_slice() {
            let leaf = entry.leaf();
            self.group.push(leaf);
            for tile in self.tree.append(leaf) {
                self.tile(&tile)?;
            }
        }
        Ok(())
    }

    fn message(&self, index: u64, entry: &Entry, message: &[u8]) -> Result<(), JournalError> {
        let digest = wire::Signed::decode(message).ok().and_then(|signed| envelope::digest_of(&signed).ok());
        if digest != Some(entry.envelope) {
            return Err(self.month.damaged(format!("entry {index}: its message is not the one that was logged")));
        }
        Ok(())
    }

    /// A finished tile must be stored as it follows from the records.
    fn tile(&self, tile: &FullTile) -> Result<(), JournalError> {
        let (level, index) = (tile.coordinate.level(), tile.coordinate.index());
        let stored = self.month.finished_tile(level, index, TILE_WIDTH)?;
        let Some(position) = stored.iter().zip(&tile.hashes).position(|(stored, computed)| stored != computed) else {
            return Ok(());
        };
        let reason = match level {
            0 => format!("entry {} is not the one that was logged", index * u64::from(TILE_WIDTH) + position as u64),
            _ => format!("tile {index} of level {level} does not follow from the entries"),
        };
        Err(self.month.damaged(reason))
    }

    fn group_end(&mut self, size: u64, root: Hash) -> Result<(), JournalError> {
        let group = std::mem::take(&mut self.group);
        if size == self.tree.size() && root == self.tree.root() {
            return Ok(());
        }
        if size > self.tree.size() {
            return Err(self.month.damaged(format!("entry {} is missing", self.tree.size())));
        }
        let last = self.tree.size().saturating_sub(1);
        let first = self.tree.size() - group.len() as u64;
        // Where the tile was finished later it still has the leaf as it was logged.
        for (index, leaf) in (first..).zip(&group) {
            let place = u16::try_from(index % u64::from(TILE_WIDTH)).unwrap_or(0);
            let tile = self.month.finished_tile(0, index / u64::from(TILE_WIDTH), TILE_WIDTH).ok();
            if tile.is_some_and(|tile| tile[usize::from(place)] != *leaf) {
                return Err(self.month.damaged(format!("entry {index} is not the one that was logged")));
            }
        }
        Err(self.month.damaged(match group.len() {
            1 => format!("entry {last} is not the one that was logged"),
            _ => format!("one of the entries {first} to {last} is not the one that was logged"),
        }))
    }
}
