//! Ends at a MySQL or MariaDB server what nobody waits for any more. Such a server does not look, while it runs a query, whether
//! anybody is still there; so it is told over a connection of its own, by `KILL`, which every user may say of what is his.
//!
//! A connection's number is asked for once: a question costs no way more. Nothing tells connections apart but what each keeps
//! prepared: the statement that asked for the number. It is held here beside the number, so that nothing else can ever stand in
//! its place in memory, and no other connection be ended for it.
//!
//! Out of scope: when nobody waits any more (`sources::guard`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Executor as _, MySql, MySqlConnection, MySqlPool, Row as _, SqlSafeStr as _, Statement as _,
    mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlStatement},
    pool::PoolOptions,
};

/// What asks a connection for its number.
const NUMBER: &str = "SELECT CONNECTION_ID()";

/// How many numbers are kept before those of connections that are long closed are forgotten, with the others, which are asked
/// again.
const MOST_NUMBERS: usize = 1024;

/// How long the server may take to hear it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the connection over which it is told is kept.
const KEPT: Duration = Duration::from_secs(60);

/// What `KILL` says where the connection is closed already.
const NO_SUCH_CONNECTION: u16 = 1094;

/// By where its statement lies in memory: the statement, which keeps that place, and the connection's number.
type Numbers = HashMap<usize, (MySqlStatement, u64)>;

/// Ends what is dropped.
#[derive(Clone, Debug)]
pub(super) struct Endings {
    server: MySqlPool,
    numbers: Arc<Mutex<Numbers>>,
}

impl Endings {
    /// At the server of these options.
    pub(super) fn at(options: MySqlConnectOptions) -> Self {
        let server = PoolOptions::<MySql>::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .idle_timeout(KEPT)
            .connect_lazy_with(options);
        Self { server, numbers: Arc::default() }
    }

    /// Has the connection ended at the server, with what it runs, where what this gives is dropped before it is said to be over.
    pub(super) async fn watch(&self, connection: &mut MySqlConnection) -> Result<Running, sqlx::Error> {
        let statement = (&mut *connection).prepare(NUMBER.into_sql_str()).await?;
        let place = statement.columns().as_ptr().addr();
        // Without a column there is no place that is this connection's alone.
        let has_place = !statement.columns().is_empty();
        let known = self.numbers().get(&place).filter(|_| has_place).map(|(_, number)| *number);
        let number = match known {
            Some(number) => number,
            None => {
                let row = statement.query().fetch_one(&mut *connection).await?;
                let number = row.try_get_unchecked::<u64, _>(0)?;
                let mut numbers = self.numbers();
                if numbers.len() >= MOST_NUMBERS {
                    numbers.clear();
                }
                if has_place {
                    numbers.insert(place, (statement, number));
                }
                number
            }
        };
        Ok(Running { number, server: Some(self.server.clone()) })
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that runs something.
pub(super) struct Running {
    number: u64,
    server: Option<MySqlPool>,
}

impl Running {
    /// What it ran is over, well or not: the connection may go on.
    pub(super) fn over(mut self) {
        self.server = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (Some(server), number) = (self.server.take(), self.number) else { return };
        // Where there is no runtime any more, the program ends.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = server.execute(AssertSqlSafe(format!("KILL {number}"))).await
                && !is_gone(&error)
            {
                tracing::warn!(%error, "the server goes on with what nobody waits for, to its time limit");
            }
        });
    }
}

fn is_gone(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
        .is_some_and(|error| error.number() == NO_SUCH_CONNECTION)
}
