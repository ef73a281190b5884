//! Evidence entries: what a node's evidence log holds for each question and answer, and the receipt that finds one
//! again. An entry is a salted hash and tells nothing by itself; the envelopes are kept elsewhere, encrypted.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use proto::exchange::v1::EntryKind;
use sha2::{Digest as _, Sha256};

use crate::{
    ids::{Digest, NodeId, Party},
    log::hash::{Hash, leaf_hash},
};

/// The name of a node's first evidence log in checkpoints.
pub fn origin(party: &Party, node: &NodeId) -> String {
    format!("{party}/{node}/evidence")
}

/// One of a node's evidence logs, by its name in checkpoints: `<party>/<node>/evidence`, and `…/evidence/<n>` for the
/// n-th, where those before it were closed because entries had been lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogOf {
    /// The department.
    pub party: Party,
    /// Its node.
    pub node: NodeId,
    /// Which of the node's logs, counted from 1.
    pub number: u32,
}

impl fmt::Display for LogOf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&origin(&self.party, &self.node))?;
        if self.number > 1 { write!(formatter, "/{}", self.number) } else { Ok(()) }
    }
}

/// A text that names no evidence log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an evidence log is named <exchange>/<department>/<node>/evidence, and /<number> where it is not the first")]
pub struct NotALog;

impl FromStr for LogOf {
    type Err = NotALog;
    fn from_str(text: &str) -> Result<Self, NotALog> {
        let (head, rest) = text.rsplit_once("/evidence").ok_or(NotALog)?;
        let number = if rest.is_empty() { 1 } else { successor_number(rest).ok_or(NotALog)? };
        let (party, node) = head.rsplit_once('/').ok_or(NotALog)?;
        let log = Self { party: party.parse().map_err(|_| NotALog)?, node: node.parse().map_err(|_| NotALog)?, number };
        // A node may be called `evidence` too; whatever was meant, there is one spelling.
        if log.to_string() == text { Ok(log) } else { Err(NotALog) }
    }
}

/// The number of a successor in the end of its name, `/<n>`: from 2 on, in its one spelling.
pub(crate) fn successor_number(rest: &str) -> Option<u32> {
    let digits = rest.strip_prefix('/')?;
    let number = digits.parse().ok().filter(|number| *number > 1)?;
    (digits == u32::to_string(&number)).then_some(number)
}

/// What one evidence entry commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub kind: EntryKind,
    /// 32 random bytes: without them nobody can test whether a guessed envelope is in the log.
    pub salt: [u8; 32],
    /// The envelope's identity.
    pub envelope: Digest,
}

impl Entry {
    /// The entry's 32 bytes: SHA-256 over `"errand evidence v1" NUL`, the kind's number as one byte, salt and digest.
    pub fn bytes(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"errand evidence v1\0");
        // Kinds are numbered from 0 to 143 in evidence.proto.
        hash.update([u8::try_from(i32::from(self.kind)).unwrap_or(u8::MAX)]);
        hash.update(self.salt);
        hash.update(self.envelope.as_bytes());
        hash.finalize().into()
    }

    /// Its RFC 6962 leaf hash.
    pub fn leaf(&self) -> Hash {
        leaf_hash(&self.bytes())
    }

    /// The receipt for this entry at its index.
    pub fn receipt(&self, index: u64) -> Receipt {
        let bytes = self.bytes();
        let mut check = [0; 8];
        check.copy_from_slice(&bytes[..8]);
        Receipt { index, check }
    }
}

/// What an office keeps: the entry's index in its node's evidence log, and the first 8 bytes of the entry, so that a
/// mistyped receipt never finds another's evidence. Written `<index>-<16 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    index: u64,
    check: [u8; 8],
}

impl Receipt {
    /// The entry's index.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Whether this is the entry the receipt was given for.
    pub fn fits(&self, entry: &Entry) -> bool {
        entry.bytes()[..8] == self.check
    }
}

/// A text that is no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a receipt is written <number>-<16 hex digits>, for example 123-9f3a2c1e4b5d6a70")]
pub struct NotAReceipt;

impl FromStr for Receipt {
    type Err = NotAReceipt;
    fn from_str(text: &str) -> Result<Self, NotAReceipt> {
        let (index, check) = text.trim().split_once('-').ok_or(NotAReceipt)?;
        if index.is_empty() || !index.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotAReceipt);
        }
        let check = HEXLOWER.decode(check.as_bytes()).map_err(|_| NotAReceipt)?;
        Ok(Self { index: index.parse().map_err(|_| NotAReceipt)?, check: check.try_into().map_err(|_| NotAReceipt)? })
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.index, HEXLOWER.encode(&self.check))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// A receipt that may name one item of a batch: `<receipt>` or `<receipt>/<item>`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemReceipt {
    /// The receipt of the question or answer, or of the batch that it is in.
    pub receipt: Receipt,
    /// The item's place in its batch.
    pub item: Option<usize>,
}

impl From<Receipt> for ItemReceipt {
    fn from(receipt: Receipt) -> Self {
        Self { receipt, item: None }
    }
}

impl FromStr for ItemReceipt {
    type Err = NotAReceipt;
    fn from_str(text: &str) -> Result<Self, NotAReceipt> {
        let Some((receipt, item)) = text.trim().split_once('/') else {
            return Ok(Self { receipt: text.parse()?, item: None });
        };
        if !item.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotAReceipt);
        }
        Ok(Self { receipt: receipt.parse()?, item: Some(item.parse().map_err(|_| NotAReceipt)?) })
    }
}

impl fmt::Display for ItemReceipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            Some(item) => write!(formatter, "{}/{item}", self.receipt),
            None => write!(formatter, "{}", self.receipt),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_receipt_may_name_an_item_of_a_batch() {
        for text in ["123-9f3a2c1e4b5d6a70", "123-9f3a2c1e4b5d6a70/0", "123-9f3a2c1e4b5d6a70/9999"] {
            assert_eq!(text.parse::<ItemReceipt>().unwrap().to_string(), text);
        }
        for text in ["123-9f3a2c1e4b5d6a70/", "123-9f3a2c1e4b5d6a70/x", "123-9f3a2c1e4b5d6a70/1/2", "/1", "1"] {
            assert!(text.parse::<ItemReceipt>().is_err(), "{text}");
        }
    }

    fn entry() -> Entry {
        Entry { kind: EntryKind::AnswerGiven, salt: [1; 32], envelope: Digest::new([2; 32]) }
    }

    #[test]
    fn kind_salt_and_digest_each_change_the_entry() {
        let other_kind = Entry { kind: EntryKind::AnswerReceived, ..entry() };
        let other_salt = Entry { salt: [3; 32], ..entry() };
        let other_digest = Entry { envelope: Digest::new([3; 32]), ..entry() };
        for other in [other_kind, other_salt, other_digest] {
            assert_ne!(other.bytes(), entry().bytes());
            assert!(!entry().receipt(7).fits(&other));
        }
        assert!(entry().receipt(7).fits(&entry()));
    }

    #[test]
    fn a_receipt_reads_back() {
        let receipt = entry().receipt(12_345);
        assert_eq!(receipt.to_string().parse(), Ok(receipt));
        for wrong in
            ["", "12345", "-aa", "x-0011223344556677", "1-001122334455667", "1-00112233445566GG", "+1-0011223344556677"]
        {
            assert_eq!(wrong.parse::<Receipt>(), Err(NotAReceipt), "{wrong}");
        }
    }

    #[test]
    fn a_log_has_one_name() {
        let log = |number| LogOf { party: "ninghe/housing".parse().unwrap(), node: "1".parse().unwrap(), number };
        assert_eq!(log(1).to_string(), "ninghe/housing/1/evidence");
        for number in [1, 2, 17] {
            assert_eq!(log(number).to_string().parse(), Ok(log(number)));
        }
        let named = LogOf { node: "evidence".parse().unwrap(), ..log(2) };
        assert_eq!(named.to_string(), "ninghe/housing/evidence/evidence/2");
        for wrong in [
            "",
            "ninghe/directory",
            "housing/1/evidence",
            "ninghe/housing/1/evidence/",
            "ninghe/housing/1/evidence/1",
            "ninghe/housing/1/evidence/02",
            "ninghe/housing/1/evidence/x",
            "ninghe/housing/1/evidence2",
            "a/ninghe/housing/1/evidence",
        ] {
            assert_eq!(wrong.parse::<LogOf>(), Err(NotALog), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_receipt_or_is_not(text in ".{0,40}") {
            if let Ok(receipt) = text.parse::<Receipt>() {
                prop_assert_eq!(receipt.to_string().parse(), Ok(receipt));
            }
        }
    }
}
