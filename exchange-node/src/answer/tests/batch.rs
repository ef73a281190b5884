//! Batches whose asker does not wait, or waits twice. Out of scope: what a batch is (`trust::batch`).

use super::*;

/// Questions of housing about one person each.
fn questions(fixture: &Fixture, batch_id: u8) -> wire::Batch {
    let common = wire::Request { request_id: Vec::new(), subject: None, claims: Vec::new(), ..fixture.request() };
    let item = |number: &str| {
        let subject = Some(wire::Subject { scheme: "resident_id".into(), value: number.to_owned() });
        let claims = vec![fixture::claim("marital_status", "equals", "married")];
        wire::Request { subject, claims, ..wire::Request::default() }.encode_to_vec()
    };
    let batch = wire::Batch {
        batch_id: vec![batch_id; 32],
        salt_seed: vec![8; 32],
        common: common.encode_to_vec(),
        items: [fixture::RESIDENT, "11010519491231002X"].map(item).to_vec(),
        root: None,
    };
    let root = trust::batch::root(&batch, &trust::batch::question_digests(&batch), NOW_MS);
    wire::Batch { root: Some(envelope::seal(&root, &key("housing node 1")).0), ..batch }
}

async fn put(answerer: &Arc<Answerer>, batch: &wire::Batch) -> Result<wire::Signed, Unanswered> {
    let place = answerer.batch_turn().await?;
    Ok(answerer.answer_batch(&party("housing"), batch.clone(), place).await?.0)
}

#[tokio::test]
async fn a_batch_that_takes_longer_than_its_asker_waits_is_answered_once_and_a_retry_gets_that() {
    let records = RecordsDouble::saying(married()).with_delay(Duration::from_secs(15));
    let mut provider = Provider::new(records).await;
    tokio::time::pause();
    let batch = questions(&provider.fixture, 1);
    // As an edge does that limits how long a request may take.
    let hung_up = tokio::time::timeout(Duration::from_secs(1), put(&provider.answerer, &batch)).await;
    assert!(hung_up.is_err());
    // The second waits for what the first has begun, and hangs up too: it leaves nothing behind.
    assert!(tokio::time::timeout(Duration::from_secs(1), put(&provider.answerer, &batch)).await.is_err());
    let answer = put(&provider.answerer, &batch).await.unwrap();
    assert_eq!(provider.records.lookups(), 2, "each looked up once");
    assert_eq!(provider.journal.commits().len(), 1, "answered once");
    assert_eq!(put(&provider.answerer, &batch).await.unwrap(), answer);
    provider.restart();
    assert_eq!(put(&provider.answerer, &batch).await.unwrap(), answer);
    assert_eq!(provider.records.lookups(), 2);
    let Some(wire::signed::Form::Batch(answers)) = answer.form else { panic!("it is answered as a batch") };
    assert_eq!(answers.items.len(), 2);
    // Every place is free again.
    let places = tokio::time::timeout(Duration::from_secs(60), async {
        (provider.answerer.batch_turn().await, provider.answerer.batch_turn().await)
    });
    assert!(places.await.is_ok_and(|(one, other)| one.is_ok() && other.is_ok()));
}
