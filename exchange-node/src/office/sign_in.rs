//! Who calls at the office port: by the API key beside the call, or by the client certificate of its connection. Out of
//! scope: making and keeping keys (`office_keys`).

use std::sync::Arc;

use host::{clock::Clock, edge::PeerInfo};

use crate::office_keys::{Caller, OfficeKeys};

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
            Some(text) => {
                let (scheme, key) = text.split_once(' ')?;
                let is_bearer = scheme.eq_ignore_ascii_case("bearer");
                is_bearer.then(|| self.keys.caller(key.trim(), now_ms)).flatten()
            }
            None => self.keys.caller_by_certificate(&peer?.tls_key?, now_ms),
        }
    }
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SignIn").finish_non_exhaustive()
    }
}
