//! Who calls at the office port: by the API key beside the call, or by the client certificate of its connection. Whoever listens
//! to what comes later is asked for again and again: a key that was removed or has ended opens nothing any more. Out of scope:
//! making and keeping keys (`office_keys`).

use std::{future::ready, sync::Arc, time::Duration};

use futures_util::stream::{Stream, StreamExt as _};
use host::{clock::Clock, edge::PeerInfo};

use crate::office_keys::{Caller, OfficeKeys};

/// How often it is looked whether somebody who listens may still, where nothing is told.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How office systems sign in.
#[derive(Clone)]
pub struct SignIn {
    /// Their keys.
    pub keys: Arc<OfficeKeys>,
    /// The time: keys end.
    pub clock: Arc<dyn Clock>,
}

impl SignIn {
    /// The office system behind a call; `None` where it has not signed in. `authorization` is the header; where it is there
    /// it counts, and the certificate of the connection does not.
    pub fn caller(&self, authorization: Option<&str>, peer: Option<&PeerInfo>) -> Option<Caller> {
        let now_ms = self.clock.now_ms();
        match authorization {
            Some(text) => self.keys.caller(bearer(text)?, now_ms),
            None => self.keys.caller_by_certificate(&peer?.tls_key?, now_ms),
        }
    }

    /// What is told to a caller, for as long as its key counts: nothing more is told, and the stream ends, once it was removed
    /// or has ended.
    pub fn while_known<S>(&self, caller: &Caller, told: S) -> impl Stream<Item = S::Item> + Send + use<S>
    where
        S: Stream<Item: Send> + Send + 'static,
    {
        let (sign_in, known) = (self.clone(), caller.clone());
        let (again, of) = (self.clone(), caller.clone());
        let over = async move {
            while again.still_knows(&of) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        told.take_while(move |_| ready(sign_in.still_knows(&known))).take_until(over)
    }

    fn still_knows(&self, caller: &Caller) -> bool {
        self.keys.still_counts(caller, self.clock.now_ms())
    }

    /// The citizens' portal behind a call; `None` where it has not signed in.
    pub fn portal(&self, authorization: Option<&str>) -> Option<String> {
        self.keys.portal_of(bearer(authorization?)?, self.clock.now_ms())
    }
}

/// The key in an `authorization` header.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SignIn").finish_non_exhaustive()
    }
}
