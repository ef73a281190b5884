//! Asks one question and opens one case over gRPC, and shows how a refusal looks. Copy it with `tonic`, `tokio` and the `.proto` files.
//!   echo 'RESIDENT NUMBER' | OFFICE_URL=http://127.0.0.1:7480 OFFICE_KEY=… office-client married

use anyhow::Context;
use proto::exchange::v1::{Claim, Purpose, Subject, Value, value::Kind};
use proto::office::v1::{
    CasePerson, OpenCaseRequest, VerifyRequest, cases_client::CasesClient, verifications_client::VerificationsClient,
};
use tonic::{Request, metadata::AsciiMetadataValue, transport::Endpoint};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let status = std::env::args().nth(1).context("say which marital status")?;
    // Not an argument: it would show in the list of processes.
    let subject = std::io::read_to_string(std::io::stdin())?.trim().to_owned();
    let channel = Endpoint::from_shared(std::env::var("OFFICE_URL")?)?.connect().await?;
    let key: AsciiMetadataValue = format!("Bearer {}", std::env::var("OFFICE_KEY")?).parse()?;
    let signed_in = move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", key.clone());
        Ok(request)
    };
    let mut office = VerificationsClient::with_interceptor(channel.clone(), signed_in.clone());
    let operands = vec![Value { kind: Some(Kind::Text(status.clone())) }];
    let (attribute, operator) = ("marital_status".into(), "equals".into());
    let question = VerifyRequest {
        provider: "civil-affairs".into(),
        service: "marriage-registration".into(),
        subject: Some(Subject { scheme: "resident_id".into(), value: subject.clone() }),
        claims: vec![Claim { attribute, operator, operands, ..Claim::default() }],
        purpose: Some(Purpose { item: "公租房申请".into(), ..Purpose::default() }),
        case_number: "GZF-2026-0001".into(),
        officer: "1024".into(),
        // The same key with the same question gets the same answer: safe to send again after a broken connection.
        idempotency_key: "GZF-2026-0001-1".into(),
        ..VerifyRequest::default()
    };
    let answer = office.verify(question.clone()).await?.into_inner();
    // UNAVAILABLE is no "no": ask again later, or go on with the paper.
    println!("{} receipt {}", answer.verdicts[0].verdict().as_str_name().replace("VERDICT_", ""), answer.receipt);
    // A case asks for everything that its item needs, all departments at once.
    let values = [("resident_id".to_owned(), subject), ("marital_status".to_owned(), status)].into();
    let people = vec![CasePerson { role: "applicant".into(), values, ..CasePerson::default() }];
    let (case_number, item, officer) = ("GZF-2026-0006".into(), "公租房申请".into(), "1024".into());
    let open = OpenCaseRequest { case_number, item, officer, people, ..OpenCaseRequest::default() };
    let case = CasesClient::with_interceptor(channel, signed_in).open(open).await?.into_inner();
    println!("{}", case.state);
    for proof in &case.proofs {
        println!(
            "{} {}: {}",
            proof.outcome().as_str_name().trim_start_matches("PROOF_OUTCOME_"),
            proof.proof,
            proof.en
        );
    }
    let unknown = VerifyRequest { service: "no-such-service".into(), idempotency_key: String::new(), ..question };
    let refused = office.verify(unknown).await?.into_inner().refusal.context("a refusal")?;
    println!("{} ({}): {}", refused.code, refused.field, refused.next_step);
    Ok(())
}
