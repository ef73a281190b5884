//! Housing's office system over HTTP, and a question as it asks it. Out of scope: what comes back.

use serde_json::{Value, json};
use tonic::Request;

use super::{
    BASIS, ITEM, Place,
    http::{Answer, Call},
};

/// Housing's office system.
pub(crate) struct Desk {
    /// The port's address, with `http://`.
    pub(crate) base: String,
    /// Its key.
    pub(crate) key: String,
}

impl Desk {
    /// At housing's node.
    pub(crate) async fn of(place: &Place) -> Self {
        let office = place.town.office("housing").await.unwrap();
        Self { base: format!("http://{}", office.address()), key: office.api_key().to_owned() }
    }

    /// A call with the key.
    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        Call::new(method, &format!("{}{path}", self.base)).key(&self.key)
    }

    /// Asks one question.
    pub(crate) fn ask(&self, question: &Value) -> Answer {
        self.call("POST", "/v1/verifications").json(question).send()
    }
}

/// A call over gRPC with an office key.
pub(crate) fn bearer<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

/// Whether somebody is of this marital status.
pub(crate) fn question(subject: &str, status: &str) -> Value {
    let (instrument, article) = BASIS.split_once(' ').unwrap();
    json!({
        "provider": "civil-affairs",
        "service": "marriage-registration",
        "subject": { "scheme": "resident_id", "value": subject },
        "claims": [{ "attribute": "marital_status", "operator": "equals", "operands": [status] }],
        "purpose": { "item": ITEM, "legal_bases": [{ "instrument": instrument, "article": article }] },
        "case_number": "GZF-2026-0001",
        "officer": "1024",
    })
}
