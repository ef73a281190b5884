//! What the nodes of one department share through a PostgreSQL database, where they share anything (`shared` in
//! node.toml): which questions are answered, with their answers; what is used of every quota and by every officer; and budgets.
//! Each node keeps its own evidence.
//!
//! **Invariants:** a question has one answer, whichever of the nodes it comes to: who claims it answers it, and no answer
//! leaves before it is here. A use is taken here before the question is answered, once for each question. While the
//! database is away nothing is answered: a question that nobody counted would be one beyond the quota.
//!
//! A claim lasts a minute by the database's clock; then the node that made it counts as gone and another may answer. Its own
//! answer, if it made one, has not left it, and never will. Answers lie here for a day: the database is as confidential as
//! the records. Out of scope: what is asked and answered (`answer`), and the database's own availability.

mod guesses;
mod officers;
mod run;
mod uses;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::guesses::SharedBudget;

use host::postgres::{self, Database, Tables};
use prost::Message;
use proto::exchange::v1 as wire;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};
use tokio::{sync::OnceCell, time::Instant};
use trust::ids::{Digest, NodeId, Party};

use crate::{budget::BudgetKey, usage::Standing};

/// By what name the database knows a node.
const APPLICATION: &str = "errand exchange-node";

/// The environment variable with the database's password.
pub const PASSWORD_VARIABLE: &str = "EXCHANGE_SHARED_PASSWORD";

/// How many connections a node opens at most.
const MOST_CONNECTIONS: u32 = 16;

/// After so long an unanswered claim of another node counts for nothing: longer than any single answer takes. A batch over a slow
/// source can take longer; it is sent again to the node that has it, and if another one takes it over, one of the two answers leaves.
const LEASE_MS: u64 = 60_000;

/// How long a question waits here for the answer that another node is making. Its asker tries again.
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon to look whether another node has answered, first and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How long answers are kept, in milliseconds: as long as each node remembers its own.
const KEPT_MS: u64 = 25 * 3_600_000;

const TABLES: Tables<'static> = Tables {
    schema: "errand_node",
    migrations: &[
        &["
CREATE TABLE owner (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    party text NOT NULL,
    budget_key bytea NOT NULL
);
COMMENT ON TABLE owner IS 'The department whose nodes share this database, and a hash of the key of its guess budget';
CREATE TABLE requests (
    key bytea PRIMARY KEY,
    digest bytea NOT NULL,
    node text NOT NULL,
    claimed_ms bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    counted boolean NOT NULL DEFAULT false,
    answer bytea
);
CREATE INDEX requests_claimed ON requests (claimed_ms);
COMMENT ON TABLE requests IS 'Questions by hashes of their ids: which node answers, and the answer once it is made';
CREATE TABLE uses (
    mark bytea NOT NULL,
    node text NOT NULL,
    total bigint NOT NULL DEFAULT 0,
    day bigint NOT NULL DEFAULT 0,
    in_day bigint NOT NULL DEFAULT 0,
    second bigint NOT NULL DEFAULT 0,
    in_second bigint NOT NULL DEFAULT 0,
    last_ms bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (mark, node)
);
COMMENT ON TABLE uses IS 'Uses of each grant, by hashes, as each node has taken them';
CREATE TABLE guesses (
    about bytea NOT NULL,
    tried bytea NOT NULL,
    at_ms bigint NOT NULL,
    PRIMARY KEY (about, tried)
);
CREATE INDEX guesses_at ON guesses (at_ms);
COMMENT ON TABLE guesses IS 'What was tried about whom, as keyed hashes: the guess budget of all nodes';
"],
        &["
ALTER TABLE requests ADD COLUMN officer_counted boolean NOT NULL DEFAULT false;
CREATE TABLE officers (
    mark bytea PRIMARY KEY,
    day bigint NOT NULL DEFAULT 0,
    in_day bigint NOT NULL DEFAULT 0,
    second bigint NOT NULL DEFAULT 0,
    in_second bigint NOT NULL DEFAULT 0,
    last_ms bigint NOT NULL DEFAULT 0
);
CREATE INDEX officers_last ON officers (last_ms);
COMMENT ON TABLE officers IS 'What officers of other departments asked today, by keyed hashes, of all nodes together';
"],
    ],
};

/// Why nothing could be taken or claimed. Whatever it is, the question is not answered now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database is away, or is not to be used.
    #[error("`shared`: {0}")]
    Database(#[from] postgres::Error),
    /// Another node is answering, or has taken the question over.
    #[error("another node of this department is answering the question")]
    Elsewhere,
    /// Its guess budget is kept under another key than that of the other nodes.
    #[error(
        "`shared`: the key of this node's guess budget is another one than the other nodes have: copy budget/key from the folder of one of them into this node's budget/ (mode 0600), and restart"
    )]
    OtherBudgetKey,
    /// The database belongs to another department's nodes.
    #[error("`shared`: the database at {place} is shared by the nodes of {found}: each department needs its own")]
    OtherDepartment {
        /// Where.
        place: String,
        /// Whose it is.
        found: String,
    },
    /// What is kept there cannot be read.
    #[error("`shared`: what is kept there as an answer cannot be read")]
    Unreadable,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What is to be done with a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// It was answered, by whichever node.
    Answered(wire::Signed),
    /// This node answers it.
    Mine,
    /// The same id came with other bytes before.
    OtherBytes,
}

/// What the nodes of a department share.
pub struct Shared {
    pool: PgPool,
    place: String,
    me: Party,
    node: NodeId,
    /// What this node's own evidence says was used, as of its start.
    own: Vec<Standing>,
    /// A hash of the key under which guesses are kept: all nodes must have the same.
    budget_check: [u8; 16],
    ready: OnceCell<()>,
    patience: Duration,
}

impl Shared {
    /// Over the database. Connects when it is first needed: node and database start in any order. `own` is what this node's
    /// evidence says was used before: whatever became of the database, none of it is forgotten.
    pub fn new(database: Database, me: Party, node: NodeId, own: Vec<Standing>, budget_key: &BudgetKey) -> Self {
        let place = database.place();
        let pool = database.named(APPLICATION).pool(TABLES.schema, MOST_CONNECTIONS);
        Self {
            pool,
            place,
            me,
            node,
            own,
            budget_check: budget_key.check(),
            ready: OnceCell::new(),
            patience: PATIENCE,
        }
    }

    /// Where the database is.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether the database can be used now.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] and [`Error::OtherDepartment`].
    pub async fn check(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(self.pool().await?).await?;
        Ok(())
    }

    /// The connections, once the tables are there and hold what this node used before.
    async fn pool(&self) -> Result<&PgPool, Error> {
        self.ready.get_or_try_init(|| self.prepare()).await?;
        Ok(&self.pool)
    }

    async fn prepare(&self) -> Result<(), Error> {
        postgres::prepare(&self.pool, &self.place, TABLES).await?;
        let me = self.me.to_string();
        sqlx::query("INSERT INTO owner (party, budget_key) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(&me)
            .bind(self.budget_check.as_slice())
            .execute(&self.pool)
            .await?;
        let (found, budget): (String, Vec<u8>) =
            sqlx::query_as("SELECT party, budget_key FROM owner").fetch_one(&self.pool).await?;
        if found != me {
            return Err(Error::OtherDepartment { place: self.place.clone(), found });
        }
        if budget != self.budget_check {
            return Err(Error::OtherBudgetKey);
        }
        self.bring_own().await
    }

    /// Claims a question for this node, or says what became of it; waits where another node is answering it.
    ///
    /// # Errors
    ///
    /// [`Error::Elsewhere`] where that takes long, or the database cannot be used.
    pub async fn claim_request(&self, key: &[u8; 16], digest: &Digest) -> Result<Claim, Error> {
        let deadline = Instant::now() + self.patience;
        let (mut pause, longest) = LOOK_AGAIN;
        loop {
            if let Some(claim) = self.claim_once(key, digest).await? {
                return Ok(claim);
            }
            if Instant::now() + pause > deadline {
                return Err(Error::Elsewhere);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn claim_once(&self, key: &[u8; 16], digest: &Digest) -> Result<Option<Claim>, Error> {
        let pool = self.pool().await?;
        let me = self.node.as_str();
        let claimed =
            sqlx::query("INSERT INTO requests (key, digest, node) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING")
                .bind(key.as_slice())
                .bind(digest.as_bytes().as_slice())
                .bind(me)
                .execute(pool)
                .await?;
        if claimed.rows_affected() == 1 {
            return Ok(Some(Claim::Mine));
        }
        type Row = (Vec<u8>, String, i64, bool, Option<Vec<u8>>);
        let row: Option<Row> = sqlx::query_as(
            "SELECT digest, node, claimed_ms,
                 claimed_ms < (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $2, answer
             FROM requests WHERE key = $1",
        )
        .bind(key.as_slice())
        .bind(signed(LEASE_MS))
        .fetch_optional(pool)
        .await?;
        // Gone in the meantime: it is looked again.
        let Some((known, node, claimed_ms, is_over, answer)) = row else { return Ok(None) };
        if known != digest.as_bytes() {
            return Ok(Some(Claim::OtherBytes));
        }
        if let Some(answer) = answer {
            let answer = wire::Signed::decode(answer.as_slice()).map_err(|_| Error::Unreadable)?;
            return Ok(Some(Claim::Answered(answer)));
        }
        // One's own from before a crash, or of a node that has not answered in time.
        if node != me && !is_over {
            return Ok(None);
        }
        let taken = sqlx::query(
            "UPDATE requests SET node = $2, claimed_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
             WHERE key = $1 AND node = $3 AND claimed_ms = $4 AND answer IS NULL",
        )
        .bind(key.as_slice())
        .bind(me)
        .bind(&node)
        .bind(claimed_ms)
        .execute(pool)
        .await?;
        if taken.rows_affected() == 1 && node != me {
            tracing::warn!(from = node, "another node has not answered a question in time: this one does");
        }
        Ok((taken.rows_affected() == 1).then_some(Claim::Mine))
    }

    /// Keeps the answer to a question that this node claimed: before it leaves. Where another node has answered instead, that
    /// answer is the one.
    ///
    /// # Errors
    ///
    /// [`Error::Elsewhere`] where another node has taken the question over and not answered yet, or the database cannot be
    /// used: the answer must not leave.
    pub async fn keep_answer(&self, key: &[u8; 16], answer: &wire::Signed) -> Result<Option<wire::Signed>, Error> {
        let pool = self.pool().await?;
        let bytes = answer.encode_to_vec();
        let kept = sqlx::query("UPDATE requests SET answer = $3 WHERE key = $1 AND node = $2 AND answer IS NULL")
            .bind(key.as_slice())
            .bind(self.node.as_str())
            .bind(&bytes)
            .execute(pool)
            .await?;
        if kept.rows_affected() == 1 {
            return Ok(None);
        }
        let other: Option<Option<Vec<u8>>> = sqlx::query_scalar("SELECT answer FROM requests WHERE key = $1")
            .bind(key.as_slice())
            .fetch_optional(pool)
            .await?;
        match other.flatten() {
            Some(other) if other == bytes => Ok(None),
            Some(other) => Ok(Some(wire::Signed::decode(other.as_slice()).map_err(|_| Error::Unreadable)?)),
            None => Err(Error::Elsewhere),
        }
    }
}

/// Until the transaction ends nobody else is at this.
async fn one_by_one(connection: &mut PgConnection, what: &[u8], key: &[u8]) -> Result<(), Error> {
    let hash = Sha256::new().chain_update(what).chain_update([0]).chain_update(key).finalize();
    let lock = hash.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(lock).execute(connection).await?;
    Ok(())
}

/// As the database has numbers; nothing that is counted here comes near its end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("place", &self.place).field("node", &self.node).finish_non_exhaustive()
    }
}
