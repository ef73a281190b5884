//! How long whoever calls waits, as he says himself: `Prefer: wait=<seconds>` (RFC 7240, 4.3). Other preferences are none of this
//! port's. Out of scope: what is done meanwhile.

use std::time::Duration;

use axum::response::Response;
use http::{HeaderMap, HeaderValue};

use crate::office::problem::Problem;

/// How many seconds, where he says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait(Option<u64>);

impl Wait {
    /// What the headers say.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for preference in preferences.flat_map(|list| list.split([',', ';'])) {
            let Some((name, value)) = preference.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("wait") {
                let seconds = value.trim().trim_matches('"').parse::<u64>();
                let seconds =
                    seconds.map_err(|_| Problem::malformed("wait=<seconds> takes a whole number").at("Prefer"))?;
                return Ok(Self(Some(seconds)));
            }
        }
        Ok(Self(None))
    }

    /// As a time.
    pub(super) fn time(self) -> Option<Duration> {
        self.0.map(Duration::from_secs)
    }

    /// Says that it counted.
    pub(super) fn applied(self, mut response: Response) -> Response {
        if let Some(seconds) = self.0
            && let Ok(applied) = HeaderValue::from_str(&format!("wait={seconds}"))
        {
            response.headers_mut().insert("preference-applied", applied);
        }
        response
    }
}
