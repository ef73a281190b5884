//! What was asked, as a list and as a course of events, from the evidence alone. Out of scope: who may see it (`office`).

use proto::exchange::v1::{self as wire, EntryKind};
use trust::{
    evidence::{ItemReceipt, Receipt},
    ids::Digest,
};

use super::{Asked, Asker, Error, NotFound};
use crate::{
    asked::{message, read_back, request_of},
    logs,
    successors::Follows,
};

/// How many entries are looked at for one page: one that finds less ends early, and the next goes on from there.
const LOOKED_AT: u64 = 2_000;

/// A page of what was asked, the newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Each with the receipt of its first result, by which it is looked up.
    pub found: Vec<(Receipt, Asked)>,
    /// Where the next page begins; `None` where there is none.
    pub next: Option<u64>,
}

/// What happened to a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// `asked`, or the state that it came to.
    pub what: &'static str,
}

/// An answer that came later.
#[derive(Clone, Debug)]
pub struct LaterAnswer {
    /// By what its verification is looked up.
    pub id: ItemReceipt,
    /// The verification with this answer.
    pub asked: Asked,
    /// The office system that asked.
    pub system: String,
    /// When the answer came, Unix milliseconds.
    pub came_ms: u64,
}

impl Asker {
    /// What was asked, from the newest, or from before a place, to older ones; as many as `most`. `wanted` gets the office
    /// system that asked. Blocks.
    ///
    /// # Errors
    ///
    /// What is stored cannot be read.
    pub fn list(&self, before: Option<u64>, most: usize, wanted: impl Fn(&str, &Asked) -> bool) -> Result<Page, Error> {
        let end = self.journal.end();
        let from = before.map_or(end, |before| before.min(end));
        let first = logs::base_of(from.saturating_sub(1));
        let mut page = Page::default();
        for looked_at in 0..LOOKED_AT {
            let Some(place) = from.checked_sub(looked_at + 1).filter(|place| *place >= first) else { return Ok(page) };
            if let Some(found) = self.listed(place, &wanted)? {
                page.found.push(found);
                if page.found.len() >= most {
                    page.next = Some(place).filter(|place| *place > first);
                    return Ok(page);
                }
            }
        }
        page.next = from.checked_sub(LOOKED_AT).filter(|place| *place > first);
        Ok(page)
    }

    fn listed(&self, place: u64, wanted: &impl Fn(&str, &Asked) -> bool) -> Result<Option<(Receipt, Asked)>, Error> {
        let Some(stored) = self.journal.entry(place)? else { return Ok(None) };
        let question = match (stored.entry.kind, stored.about) {
            (EntryKind::AnswerReceived | EntryKind::Outcome, Some(question)) => question,
            _ => return Ok(None),
        };
        let awaited = self.awaited(question);
        // An answer that follows another is shown where its question first came to something.
        if awaited.as_ref().is_some_and(|row| row.answers.first() != Some(&place)) {
            return Ok(None);
        }
        let request = self.journal.entry(question)?.as_ref().and_then(message::<wire::Request>);
        let Some(request) = request else { return Ok(None) };
        let receipt = stored.entry.receipt(logs::index_in(place));
        let newest = awaited.and_then(|row| row.answers.last().copied()).unwrap_or(place);
        let asked = if newest == place {
            read_back(self.journal.as_ref(), &stored, receipt).map_err(NotFound::from)
        } else {
            self.show_entry(newest)
        };
        match asked {
            Ok(asked) => Ok(wanted(&request.system, &asked).then_some((receipt, asked))),
            Err(NotFound::Failed(error)) => Err(error),
            // Its month's key was destroyed.
            Err(_) => Ok(None),
        }
    }

    /// The answer at a place, which came later than its question's first. Blocks.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn later(&self, place: u64) -> Result<LaterAnswer, NotFound> {
        let stored = self.journal.entry(place).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let question = stored.about.ok_or(NotFound::Unknown)?;
        let question = self.journal.entry(question).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let request = request_of(&question, &stored).ok_or(NotFound::Destroyed)?;
        let receipt = stored.entry.receipt(logs::index_in(place));
        let asked = read_back(self.journal.as_ref(), &stored, receipt)?;
        let id = match self.item_receipt(question.index, place) {
            Some(id) => id,
            None => self.first_receipt(&receipt)?.into(),
        };
        Ok(LaterAnswer { id, asked, system: request.system, came_ms: stored.at_ms })
    }

    /// The receipt of the first result of a verification, by the receipt of any of its results. Blocks.
    ///
    /// # Errors
    ///
    /// There is no such verification, or it cannot be read.
    pub fn first_receipt(&self, receipt: &Receipt) -> Result<Receipt, NotFound> {
        let place = self.journal.find(receipt).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let stored = self.journal.entry(place).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let first =
            stored.about.and_then(|question| self.awaited(question)).and_then(|row| row.answers.first().copied());
        match first {
            Some(first) if first != place => {
                let stored = self.journal.entry(first).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
                Ok(stored.entry.receipt(logs::index_in(first)))
            }
            _ => Ok(*receipt),
        }
    }

    /// What happened to a verification, the oldest first. Blocks.
    ///
    /// # Errors
    ///
    /// There is no such verification, or it cannot be read.
    pub fn timeline(&self, receipt: &Receipt) -> Result<Vec<Step>, NotFound> {
        let place = self.journal.find(receipt).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let stored = self.journal.entry(place).map_err(Error::from)?.ok_or(NotFound::Unknown)?;
        let mut steps = Vec::new();
        if let Some(question) = stored.about
            && let Some(asked) = self.journal.entry(question).map_err(Error::from)?
        {
            steps.push(Step { at_ms: asked.at_ms, what: "asked" });
        }
        let answers = stored.about.and_then(|question| self.awaited(question)).map(|row| row.answers);
        for place in answers.unwrap_or_else(|| vec![place]) {
            let asked = self.show_entry(place)?;
            let elapsed = u64::try_from(asked.elapsed.as_millis()).unwrap_or(u64::MAX);
            steps.push(Step { at_ms: asked.asked_at_ms.saturating_add(elapsed), what: asked.ending.state() });
        }
        Ok(steps)
    }
}

impl Follows for Asker {
    /// The answers that were promised, those to a question that goes on, and those to the items of a batch.
    fn answers(&self, question: u64) -> Vec<u64> {
        let mut places = self.awaited(question).map(|row| row.answers).unwrap_or_default();
        places.extend(self.answers_of_subscription(question));
        places.extend(self.answers_of_items(question));
        places
    }

    /// None: this side asked.
    fn later(&self, _request: &Digest) -> Vec<u64> {
        Vec::new()
    }
}
