//! The registries over one database, as each says of itself: where it is and which of the log's keys and TLS keys it holds. A
//! change of either waits until every one of them holds the new one: without the log's a registry could not go on, and
//! without the TLS key no node would speak to it.
//!
//! Out of scope: making and using keys (`log_keys`, `rotation`). A registry that is not running cannot be asked; it says at
//! its start which key it lacks.

use std::{path::PathBuf, sync::Arc, time::Duration};

use host::tls::{TlsIdentity, TlsKeyDigest};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use trust::key::{KeyId, Signer};

use crate::{
    keys::{self, LOG_NEXT_FILE, TLS_FILE, TLS_NEXT_FILE},
    ledger::{self, PostgresLedger},
    log_keys::LogKeys,
};

/// How often each says that it is there.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Who has not said anything for so long is not running.
const GONE_AFTER_SECONDS: f64 = 15.0;

/// One of the registries over a database.
pub struct Replicas {
    pool: PgPool,
    /// Another one at each start.
    id: String,
    place: String,
    folder: PathBuf,
    log_keys: Arc<LogKeys>,
}

impl Replicas {
    /// Says beside the ledger that it is there. `id` is this process's alone; `place` says to people which registry it is.
    ///
    /// # Errors
    ///
    /// The database cannot be used.
    pub async fn join(
        ledger: &PostgresLedger,
        id: String,
        place: String,
        folder: PathBuf,
        log_keys: Arc<LogKeys>,
    ) -> Result<Arc<Self>, ledger::Error> {
        let joined = Self { pool: ledger.pool().clone(), id, place, folder, log_keys };
        joined.say().await?;
        Ok(Arc::new(joined))
    }

    /// Says at intervals that it is there, until `stop`; while the database is away, nobody hears it.
    ///
    /// # Errors
    ///
    /// A key that was put into the folder cannot be read.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), ledger::Error> {
        loop {
            match self.say().await {
                Ok(()) => {}
                Err(ledger::Error::Away { reason }) => tracing::debug!(reason, "the other registries are not told"),
                Err(error) => return Err(error),
            }
            if stop.run_until_cancelled(tokio::time::sleep(SAY_EVERY)).await.is_none() {
                break;
            }
        }
        // Who stops in order is not waited for.
        let gone = sqlx::query("DELETE FROM registries WHERE id = $1").bind(&self.id).execute(&self.pool).await;
        match gone.map_err(ledger::postgres::explain) {
            Ok(_) | Err(ledger::Error::Away { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes the next key up where it was put into the folder, and says which keys are held here.
    async fn say(&self) -> Result<(), ledger::Error> {
        let next = self.folder.join(keys::FOLDER).join(LOG_NEXT_FILE);
        if next.exists() {
            match keys::read_signing_key(&next) {
                Ok(key) => self.log_keys.hold(key),
                // It may be half copied; a rotation names this registry until it can be read.
                Err(error) => tracing::warn!(%error, "the next key of the log cannot be read"),
            }
        }
        let mut held: Vec<String> = self.log_keys.ids().iter().map(ToString::to_string).collect();
        for name in [TLS_FILE, TLS_NEXT_FILE] {
            let path = self.folder.join(keys::FOLDER).join(name);
            match path.exists().then(|| TlsIdentity::read(&path)) {
                Some(Ok(identity)) => held.push(tls_key(&identity.key_digest())),
                Some(Err(error)) => tracing::warn!(%error, "a TLS key cannot be read"),
                None => {}
            }
        }
        sqlx::query(
            "INSERT INTO registries (id, place, held, seen) VALUES ($1, $2, $3, clock_timestamp())
             ON CONFLICT (id) DO UPDATE SET place = excluded.place, held = excluded.held, seen = excluded.seen",
        )
        .bind(&self.id)
        .bind(&self.place)
        .bind(held)
        .execute(&self.pool)
        .await
        .map_err(ledger::postgres::explain)?;
        Ok(())
    }

    /// The running registries that do not hold a key: one of the log by its id, or as [`tls_key`] names it.
    ///
    /// # Errors
    ///
    /// The database cannot be asked.
    pub async fn lacking(&self, key: &str) -> Result<Vec<String>, ledger::Error> {
        self.say().await?;
        sqlx::query_scalar(
            "SELECT place FROM registries
             WHERE NOT ($1 = ANY (held)) AND seen > clock_timestamp() - make_interval(secs => $2) ORDER BY place",
        )
        .bind(key)
        .bind(GONE_AFTER_SECONDS)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger::postgres::explain)
    }

    /// The other running registries that hold a key.
    ///
    /// # Errors
    ///
    /// The database cannot be asked.
    pub async fn others_with(&self, key: &str) -> Result<Vec<String>, ledger::Error> {
        sqlx::query_scalar(
            "SELECT place FROM registries WHERE $1 = ANY (held) AND id <> $2
             AND seen > clock_timestamp() - make_interval(secs => $3) ORDER BY place",
        )
        .bind(key)
        .bind(&self.id)
        .bind(GONE_AFTER_SECONDS)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger::postgres::explain)
    }
}

/// What a TLS key is called among the keys that are held.
pub fn tls_key(digest: &TlsKeyDigest) -> String {
    format!("tls {digest}")
}

impl LogKeys {
    /// The keys that are held.
    pub fn ids(&self) -> Vec<KeyId> {
        self.all().iter().map(|key| *key.public_key().id()).collect()
    }
}
