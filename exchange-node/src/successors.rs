//! Answers that follow others: a clerk's its deferral, one that puts another right that one, a notice the one before it. Each
//! kind is in the book of its own room (`clerk`, `correction`, `subscriptions`; on the asking side `ask`); here all of them
//! are asked at once. Out of scope: when an answer follows.

use std::sync::Arc;

use trust::ids::Digest;

/// A book of answers that follow others.
pub trait Follows: Send + Sync {
    /// The places of the answers to a question that the book knows.
    fn answers(&self, question: u64) -> Vec<u64>;

    /// The places of the answers that follow the first one to a request of another department.
    fn later(&self, request: &Digest) -> Vec<u64>;
}

/// All books that know of a node's answers.
#[derive(Clone, Default)]
pub struct Successors {
    books: Vec<Arc<dyn Follows>>,
}

impl Successors {
    /// Asks this book too.
    #[must_use]
    pub fn with(mut self, book: Arc<dyn Follows>) -> Self {
        self.books.push(book);
        self
    }

    /// The places of all answers to a question that any book knows.
    pub fn answers(&self, question: u64) -> Vec<u64> {
        self.in_order(|book| book.answers(question))
    }

    /// The places of the answers that follow the first one to a request of another department, the oldest first.
    pub fn later(&self, request: &Digest) -> Vec<u64> {
        self.in_order(|book| book.later(request))
    }

    /// Places grow with time, and what follows comes later.
    fn in_order(&self, of: impl Fn(&dyn Follows) -> Vec<u64>) -> Vec<u64> {
        let mut places: Vec<u64> = self.books.iter().flat_map(|book| of(book.as_ref())).collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl std::fmt::Debug for Successors {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Successors").field("books", &self.books.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Double(Vec<u64>);

    impl Follows for Double {
        fn answers(&self, question: u64) -> Vec<u64> {
            self.0.iter().map(|place| question + place).collect()
        }

        fn later(&self, _request: &Digest) -> Vec<u64> {
            self.0.clone()
        }
    }

    #[test]
    fn every_book_is_asked_and_each_answer_comes_once_the_oldest_first() {
        let books = Successors::default().with(Arc::new(Double(vec![9, 4]))).with(Arc::new(Double(vec![7, 4])));
        assert_eq!(books.later(&Digest::new([0; 32])), [4, 7, 9]);
        assert_eq!(books.answers(100), [104, 107, 109]);
        assert!(Successors::default().answers(100).is_empty());
    }
}
