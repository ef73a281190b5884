//! Asks one question over gRPC, and shows how a refusal looks. Copy it with the crates `tonic`, `tokio` and the `.proto` files.
//!
//!   echo 'RESIDENT NUMBER' | OFFICE_URL=http://127.0.0.1:7480 OFFICE_KEY=… office-client married
//!
//! Out of scope: TLS, and asking again.

use anyhow::Context;
use proto::{
    exchange::v1::{Claim, Purpose, Subject, Value, value::Kind},
    office::v1::{State, VerifyRequest, verifications_client::VerificationsClient},
};
use tonic::{Request, metadata::AsciiMetadataValue, transport::Endpoint};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let status = std::env::args().nth(1).context("say which marital status")?;
    // Not an argument: it would show in the list of processes.
    let subject = std::io::read_to_string(std::io::stdin())?.trim().to_owned();
    let channel = Endpoint::from_shared(std::env::var("OFFICE_URL")?)?.connect().await?;
    let mut office = VerificationsClient::new(channel);
    let key: AsciiMetadataValue = format!("Bearer {}", std::env::var("OFFICE_KEY")?).parse()?;
    for service in ["marriage-registration", "no-such-service"] {
        let mut request = Request::new(VerifyRequest {
            provider: "civil-affairs".into(),
            service: service.into(),
            subject: Some(Subject { scheme: "resident_id".into(), value: subject.clone() }),
            claims: vec![Claim {
                attribute: "marital_status".into(),
                operator: "equals".into(),
                operands: vec![Value { kind: Some(Kind::Text(status.clone())) }],
                ..Claim::default()
            }],
            purpose: Some(Purpose { item: "公租房申请".into(), ..Purpose::default() }),
            case_number: "GZF-2026-0001".into(),
            officer: "1024".into(),
            // The same key with the same question gets the same answer: safe to send again after a broken connection.
            idempotency_key: format!("GZF-2026-0001-{service}"),
            ..VerifyRequest::default()
        });
        request.metadata_mut().insert("authorization", key.clone());
        let answer = office.verify(request).await?.into_inner();
        match (answer.state(), &answer.refusal) {
            (State::Refused, Some(refusal)) => {
                println!("{} ({}): {}", refusal.code, refusal.field, refusal.next_step);
            }
            // UNAVAILABLE is no "no": ask again later, or go on with the paper.
            _ => {
                let verdicts: Vec<_> = answer.verdicts.iter().map(|claim| claim.verdict().as_str_name()).collect();
                println!("{} receipt {}", verdicts.join(", ").replace("VERDICT_", ""), answer.receipt);
            }
        }
    }
    Ok(())
}
