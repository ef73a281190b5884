//! Answers of a source that may be used again for a short while, where the operator allows it. Each consumer has its own:
//! that another one has just asked must not show in the time that an answer takes.
//!
//! Out of scope: how long (`cache` in `sources.toml`), and the record's own age, which is told as of when it was fetched.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use trust::{
    ids::{Digest, Party},
    subject::Subject,
    value::Value,
};

use crate::records::Lookup;

/// The most answers that are kept for one service; the oldest makes room.
const LIMIT: usize = 10_000;

/// What an answer is the answer to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who asked.
    pub consumer: Party,
    /// By which description of the service the rows were read: under another one they may be others.
    pub statement: Digest,
    /// About whom.
    pub subject: Subject,
    /// By what rows are selected.
    pub inputs: Vec<(String, Value)>,
}

/// The answers of one service.
#[derive(Debug)]
pub struct Cache {
    lasting_ms: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// How often something was forgotten: what was fetched before that is not kept after it.
    forgotten: u64,
    answers: HashMap<Question, (u64, Lookup)>,
    order: VecDeque<(u64, Question)>,
}

impl Cache {
    /// A cache whose answers last so long.
    pub fn new(lasting: Duration) -> Self {
        Self { lasting_ms: u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX), kept: Mutex::default() }
    }

    /// How often something was forgotten, to be told with what is fetched from now on.
    pub fn forgotten(&self) -> u64 {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).forgotten
    }

    /// Forgets what is kept about `subject`, whoever asked.
    pub fn forget(&self, subject: &Subject) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forgotten += 1;
        kept.answers.retain(|question, _| question.subject != *subject);
    }

    /// The answer, where it is young enough.
    pub fn answer(&self, question: &Question, now_ms: u64) -> Option<Lookup> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (at_ms, lookup) = kept.answers.get(question)?;
        // A clock that went back makes nothing young again.
        let is_young = now_ms.checked_sub(*at_ms).is_some_and(|age_ms| age_ms < self.lasting_ms);
        is_young.then(|| lookup.clone())
    }

    /// Keeps an answer that was asked for at `now_ms`, when so much had been [`forgotten`](Self::forgotten). Trouble is never
    /// kept: the next question finds out whether it is over.
    pub fn keep(&self, question: Question, lookup: &Lookup, (now_ms, forgotten): (u64, u64)) {
        if !matches!(lookup, Lookup::Rows { .. } | Lookup::Partial { .. }) {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.forgotten != forgotten {
            return;
        }
        let Kept { answers, order, .. } = &mut *kept;
        answers.insert(question.clone(), (now_ms, lookup.clone()));
        order.push_back((now_ms, question));
        while let Some((at_ms, oldest)) = order.front() {
            let is_over = now_ms.saturating_sub(*at_ms) >= self.lasting_ms;
            if !is_over && order.len() <= LIMIT {
                break;
            }
            // Its answer may be a newer one by now, which has its own place in the order.
            if answers.get(oldest).is_some_and(|(kept_ms, _)| kept_ms == at_ms) {
                answers.remove(oldest);
            }
            order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use trust::subject::Scheme;

    use super::*;

    fn question(consumer: &str, number: usize) -> Question {
        let subject = Subject::parse_as(Scheme::Passport, &format!("E{number:08}")).unwrap();
        let consumer = format!("ninghe/{consumer}").parse().unwrap();
        Question { consumer, statement: Digest::new([1; 32]), subject, inputs: Vec::new() }
    }

    fn nobody() -> Lookup {
        Lookup::Rows { rows: Vec::new(), as_of: None }
    }

    #[test]
    fn an_answer_lasts_as_long_as_was_said_and_for_its_consumer_alone() {
        let cache = Cache::new(Duration::from_secs(30));
        cache.keep(question("housing", 1), &nobody(), (1_000_000, 0));
        assert_eq!(cache.answer(&question("housing", 1), 1_029_999), Some(nobody()));
        let described_anew = Question { statement: Digest::new([2; 32]), ..question("housing", 1) };
        assert_eq!(cache.answer(&described_anew, 1_000_001), None);
        assert_eq!(cache.answer(&question("taxes", 1), 1_000_001), None);
        assert_eq!(cache.answer(&question("housing", 2), 1_000_001), None);
        assert_eq!(cache.answer(&question("housing", 1), 1_030_000), None);
        assert_eq!(cache.answer(&question("housing", 1), 999_999), None);
        let with_input = Question { inputs: vec![("year".into(), Value::Integer(2025))], ..question("housing", 1) };
        assert_eq!(cache.answer(&with_input, 1_000_001), None);
    }

    #[test]
    fn trouble_is_not_kept_and_the_cache_does_not_grow() {
        let cache = Cache::new(Duration::from_secs(30));
        cache.keep(question("housing", 0), &Lookup::Failed("down".to_owned()), (1_000_000, 0));
        assert_eq!(cache.answer(&question("housing", 0), 1_000_000), None);
        for number in 0..LIMIT + 5 {
            cache.keep(question("housing", number), &nobody(), (1_000_000, 0));
        }
        assert_eq!(cache.kept.lock().unwrap().answers.len(), LIMIT);
        assert_eq!(cache.answer(&question("housing", 4), 1_000_001), None);
        assert!(cache.answer(&question("housing", 5), 1_000_001).is_some());
        // What is over makes room by itself.
        cache.keep(question("housing", 1), &nobody(), (1_030_000, 0));
        assert_eq!(cache.kept.lock().unwrap().answers.len(), 1);
    }

    #[test]
    fn what_is_forgotten_is_forgotten_for_everybody_and_does_not_come_back() {
        let cache = Cache::new(Duration::from_secs(30));
        for (consumer, number) in [("housing", 1), ("taxes", 1), ("housing", 2)] {
            cache.keep(question(consumer, number), &nobody(), (1_000_000, cache.forgotten()));
        }
        let under_way = cache.forgotten();
        cache.forget(&question("housing", 1).subject);
        // Fetched before, and there only now.
        cache.keep(question("housing", 1), &nobody(), (1_000_000, under_way));
        for consumer in ["housing", "taxes"] {
            assert_eq!(cache.answer(&question(consumer, 1), 1_000_001), None);
        }
        assert_eq!(cache.answer(&question("housing", 2), 1_000_001), Some(nobody()));
        cache.keep(question("housing", 1), &nobody(), (1_000_001, cache.forgotten()));
        assert_eq!(cache.answer(&question("housing", 1), 1_000_002), Some(nobody()));
    }
}
