//! Which of the database's logs: each has the same tables in a schema of its own, so that one set of queries serves all.
//! Out of scope: making them (`host::postgres`).

/// The schema of the directory, and what those of the second logs begin with.
const DIRECTORY: &str = "errand_registry";

/// The lock in which processes queue for their turn to append to the directory. Any number, and always the same.
const TURN_LOCK: i64 = 0x0045_7272_616e_6402;

/// The tables of any log.
const LEDGER: &str = "
CREATE TABLE head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    size bigint NOT NULL,
    root bytea NOT NULL,
    checkpoint text,
    checkpoint_size bigint NOT NULL DEFAULT 0,
    checkpoint_seconds bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE head IS 'The log''s size and root, and the last checkpoint signed for it';
CREATE TABLE entries (
    index bigint PRIMARY KEY,
    entry bytea NOT NULL
);
COMMENT ON TABLE entries IS 'The log''s entries, never changed';
CREATE TABLE tiles (
    level smallint NOT NULL,
    index bigint NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (level, index)
);
COMMENT ON TABLE tiles IS 'Finished tiles of the log''s tree, 256 hashes each, never changed';
CREATE TABLE cosignatures (
    witness text PRIMARY KEY,
    note text NOT NULL
);
COMMENT ON TABLE cosignatures IS 'The last checkpoint that each witness cosigned';
INSERT INTO head (size, root)
    VALUES (0, '\\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
";

/// What is kept beside the directory.
const ENROLMENTS: &str = "
CREATE TABLE enrolments (
    department text PRIMARY KEY,
    decision bytea NOT NULL
);
COMMENT ON TABLE enrolments IS 'Departments that may enrol: decisions with the secrets of their tokens';
";

/// A log that was restored is marked.
const MARK: &str = "
ALTER TABLE head ADD COLUMN mark text;
COMMENT ON COLUMN head.mark IS 'Set while this log signs nothing, because it was restored from an older copy';
";

/// Who runs over the directory.
const REGISTRIES: &str = "
CREATE TABLE registries (
    id text PRIMARY KEY,
    place text NOT NULL,
    held text[] NOT NULL,
    seen timestamptz NOT NULL
);
COMMENT ON TABLE registries IS 'The running registries, and which of the log''s keys each holds';
";

/// The tables of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// The directory's.
    Directory,
    /// Those of the second log with this number.
    Second(u32),
}

impl Tables {
    /// The schema that they are in; also the channel on which processes tell each other of changes.
    pub(super) fn schema(self) -> String {
        match self {
            Self::Directory => DIRECTORY.to_owned(),
            Self::Second(log) => format!("{DIRECTORY}_anchors_{log}"),
        }
    }

    /// The number of the second log whose schema this is.
    pub(super) fn second_named(schema: &str) -> Option<u32> {
        let number = schema.strip_prefix(DIRECTORY)?.strip_prefix("_anchors_")?.parse().ok()?;
        (Self::Second(number).schema() == schema).then_some(number)
    }

    /// The lock in which processes queue for their turn.
    pub(super) fn turn_lock(self) -> i64 {
        match self {
            Self::Directory => TURN_LOCK,
            Self::Second(log) => TURN_LOCK ^ (i64::from(log) << 32),
        }
    }

    /// What leads from each version of the tables to the next.
    pub(super) fn migrations(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Directory => &[&[LEDGER, ENROLMENTS], &[MARK], &[REGISTRIES]],
            Self::Second(_) => &[&[LEDGER], &[MARK]],
        }
    }

    /// How many connections one process opens to them at most: the second log has few readers.
    pub(super) fn most_connections(self) -> u32 {
        match self {
            Self::Directory => 16,
            Self::Second(_) => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_names_its_log() {
        for log in [1, 2, 17] {
            assert_eq!(Tables::second_named(&Tables::Second(log).schema()), Some(log));
        }
        for other in ["errand_registry", "errand_registry_anchors_", "errand_registry_anchors_01", "public"] {
            assert_eq!(Tables::second_named(other), None, "{other}");
        }
        assert_ne!(Tables::Second(1).turn_lock(), Tables::Directory.turn_lock());
    }
}
