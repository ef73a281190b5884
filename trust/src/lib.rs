//! What every party of the exchange must agree on to the byte: ids, keys, envelopes, the Merkle log and its proofs, the
//! directory's rules, the decision on a question, verdicts, evidence and its bundles.
//!
//! Pure: no sockets, no files, no SQL, no clock, no randomness; bytes, keys and `now` come in from outside. Whoever wants
//! to check an answer in ten years needs this crate alone.

pub mod alert;
pub mod anchor;
pub mod answer;
pub mod audit;
pub mod batch;
pub mod bundle;
pub mod calendar;
pub mod catalogue;
pub mod claim;
pub mod clerk;
pub mod correction;
pub mod decision;
pub mod directory;
pub mod envelope;
pub mod evidence;
#[cfg(any(test, feature = "test-util"))]
pub mod fixture;
pub mod ids;
pub mod item;
pub mod key;
pub mod log;
mod node_message;
pub mod official;
pub mod overdue;
pub mod question;
pub mod reading;
pub mod refusal;
pub mod relay;
pub mod service;
pub mod subject;
pub mod subscription;
pub mod token;
pub mod value;
pub mod witness;
