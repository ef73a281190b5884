//! One notice on its way: signed, sent, taken or not. Redirects are not followed: the address is the operator's. Out of
//! scope: trying again (`duty`).

use std::time::Duration;

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request, header};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use sha2::Sha256;

use super::{Webhook, Webhooks};
use crate::sources::http::{check_url, connect::Connector};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a notice was not taken. It is tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// The certificates to believe, or the secret, cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// No connection, or it broke.
    #[error("the receiver is not reached: {0}")]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// The receiver did not take it.
    #[error("the receiver answers {0}")]
    Status(http::StatusCode),
    /// It took too long.
    #[error("the receiver does not answer within {} seconds", PATIENCE.as_secs())]
    TimedOut,
}

/// Whether a webhook may lead there.
pub(super) fn check_address(url: &str, has_authority: bool) -> Result<(), String> {
    let url = check_url(url)?;
    if url.scheme_str() == Some("https") && !has_authority {
        return Err("begins with https://, so --ca-file says whose certificates are believed".to_owned());
    }
    Ok(())
}

impl Webhooks {
    /// Tells a webhook. `id` is the same however often it is sent.
    ///
    /// # Errors
    /// The receiver did not take it.
    pub async fn send(&self, hook: &Webhook, id: &str, body: Vec<u8>, now_ms: u64) -> Result<(), NotSent> {
        let wrong = |reason: &dyn std::fmt::Display| NotSent::Configuration(reason.to_string());
        let at = (now_ms / 1000).to_string();
        let secret = HEXLOWER.decode(hook.secret.as_bytes()).map_err(|error| wrong(&error))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&hook.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", &at)
            .header("webhook-signature", signature(&secret, id, &at, &body).ok_or_else(|| wrong(&"no secret"))?)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| wrong(&error))?;
        let connector = Connector::believing(hook.ca_file.as_deref(), &self.dir).map_err(|error| wrong(&error))?;
        let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
        let answer = tokio::time::timeout(PATIENCE, client.request(request)).await.map_err(|_| NotSent::TimedOut)??;
        if answer.status().is_success() { Ok(()) } else { Err(NotSent::Status(answer.status())) }
    }
}

fn signature(secret: &[u8], id: &str, at: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
        mac.update(part);
    }
    Some(format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification (standard-webhooks, spec/standard-webhooks.md) has this form; the value was computed
    /// with Python's hmac.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let signed = signature(b"secret-of-32-bytes-for-the-test!", "msg_1", "1674087231", br#"{"event_type":"ping"}"#);
        assert_eq!(signed.unwrap(), EXPECTED);
    }

    const EXPECTED: &str = "v1,Y1l3/FaozCc8WCJuF0wuE6SH8wCfwGlvZblDxvLLMxg=";
}
