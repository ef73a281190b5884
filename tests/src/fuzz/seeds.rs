//! Inputs to begin with: one that is well-formed for each door, made from the fixture's town, so that a fuzzer need not
//! guess the first signature. They are kept beside what the fuzzer found.

use prost::Message;
use proto::registry::v1::Statement;
use trust::{
    envelope,
    fixture::{key, marriage_registration},
};

use super::messages::{SIGNERS, TOWN};

/// The beginnings of a target's kept inputs, by file name.
///
/// # Panics
///
/// Where the fixture's own statements cannot be read.
// Unwrap safety: they are what the fixture made.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let one = |bytes: Vec<u8>| vec![("seed-well-formed".to_owned(), bytes)];
    match target {
        "checkpoint" => one(TOWN.checkpoint().into_bytes()),
        "csv" => one("resident_id,marital_status,registered_on,spouse_id\n890101199003070011,single,,\n".into()),
        "envelope" => one(envelope::signed(envelope::seal(&TOWN.request(), &key("housing node 1")).0).encode_to_vec()),
        "request" => one(TOWN.request().encode_to_vec()),
        "service_file" => one(exchange_node::service_file::render(&marriage_registration()).into_bytes()),
        "statement" => statements(),
        _ => Vec::new(),
    }
}

/// Every statement of the town, as said by each of its signers: most are refused, by different rules.
fn statements() -> Vec<(String, Vec<u8>)> {
    let payload = |entry: &Vec<u8>| {
        let envelope = proto::exchange::v1::Envelope::decode(entry.as_slice()).expect("an envelope");
        Statement::decode(envelope.payload.as_slice()).expect("a statement").encode_to_vec()
    };
    let signers = 0..u8::try_from(SIGNERS.len()).expect("few");
    let named = |(index, entry): (usize, &Vec<u8>)| {
        let payload = payload(entry);
        let said = signers.clone().map(move |signer| [vec![signer], payload.clone()].concat());
        said.enumerate().map(move |(signer, bytes)| (format!("seed-{index}-{signer}"), bytes)).collect::<Vec<_>>()
    };
    TOWN.entries.iter().enumerate().flat_map(named).collect()
}
