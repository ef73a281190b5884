//! Which of the database's logs: each has the same tables in a schema of its own, so that one set of queries serves all.
//! Out of scope: the tables themselves (`schema`).

/// The schema of the directory, and what those of the second logs begin with.
const DIRECTORY: &str = "errand_registry";

/// The lock in which processes queue for their turn to append to the directory. Any number, and always the same.
const TURN_LOCK: i64 = 0x0045_7272_616e_6402;

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
