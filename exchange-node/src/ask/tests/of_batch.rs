//! An answer that follows the one to an item of a batch: taken once, by that item alone, and kept whatever a crash cut short.

use std::path::Path;

use trust::{
    answer::AnswerError,
    batch,
    envelope::{Payload, seal, signed},
};

use super::*;
use crate::{journal::OnFailure, logs::Logs, outbox::Outbox, webhooks::Webhooks};

/// Housing over a journal on disk, with a due-list in a folder.
fn housing(town: &Town, logs: &Logs, dir: &Path) -> (Asker, Arc<Outbox>, Arc<Duties>) {
    let clock = || Arc::new(town.clock.clone());
    let duties = Arc::new(Duties::open(dir, clock(), Arc::new(SeededRandom::new(7)), |_| ()).unwrap());
    let webhooks = Arc::new(Webhooks::open(dir).unwrap());
    let outbox = Arc::new(Outbox::open(Arc::clone(&duties), webhooks, clock()).unwrap());
    let parts = AskerParts {
        me: party("housing"),
        node: fixture::node("1"),
        signer: Arc::new(key("housing node 1")),
        view: Arc::clone(&town.view),
        journal: Arc::clone(&logs.current) as _,
        courier: Arc::clone(&town.courier) as _,
        aliases: Arc::new(Aliases::open(Path::new("no-such-folder"))),
        clock: clock(),
        random: Arc::new(SeededRandom::new(3)),
        limits: Limits::default(),
        officers: OfficerLimits::default(),
        budget_key: Arc::new(BudgetKey::new([8; 32])),
    };
    let recalled = Recalled::starting(&Saved::default(), &Calendar::default(), NOW_MS);
    let asker = Asker::new(parts, recalled).with_duties(Arc::clone(&duties)).unwrap();
    (asker.with_outbox(Arc::clone(&outbox)), outbox, duties)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_an_items_answer_is_taken_once_by_that_item_alone_and_kept_after_a_crash() {
    let (town, fixture) = (Town::new().await, Fixture::town());
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(5));
    let quiet: OnFailure = Arc::new(|_: &str| ());
    let (me, node, seen) = (party("housing"), fixture::node("1"), town.view.seen());
    let logs = Logs::open(dirs[0].path(), (&me, &node), seen.directory(), &random, &town.clock, &quiet).unwrap();
    let logs = Arc::new(logs);
    let (asker, outbox, duties) = housing(&town, &logs, dirs[1].path());

    // Two people under one signature, and both answers under one.
    let OfficeQuestion { subject, claims, .. } = question();
    let other = Some(wire::Subject { scheme: "resident_id".into(), value: "890101199111250028".into() });
    let rows = [subject, other].map(|subject| BatchRow { subject, claims: claims.clone(), ..BatchRow::default() });
    let common = OfficeQuestion { subject: None, claims: Vec::new(), system: "desk".into(), ..question() };
    let prepared = asker.prepare_batch(&common, &rows).unwrap();
    assert!(prepared.refused.is_empty());
    let sent = asker.record_batch(prepared).await.unwrap();
    let requests = &sent.questions.requests;
    let given = |item: usize, verdict: wire::Verdict| {
        let asked = sent.questions.question(&sent.batch, item).unwrap();
        fixture.answer(&asked.wire, &requests[item], verdict)
    };
    let own = |item: usize| {
        wire::Answer { outcome: given(item, wire::Verdict::Match).outcome, ..wire::Answer::default() }.encode_to_vec()
    };
    let whole = given(0, wire::Verdict::Match);
    let shared = wire::Answer { request_id: Vec::new(), request_digest: Vec::new(), outcome: None, ..whole };
    let mut answers = wire::Batch {
        batch_id: sent.batch.batch_id.clone(),
        salt_seed: vec![7; 32],
        common: shared.encode_to_vec(),
        items: vec![own(0), own(1)],
        root: None,
    };
    let signer = key("civil-affairs node 1");
    let root = batch::root(&answers, &batch::answer_digests(&answers, requests), NOW_MS);
    answers.root = Some(seal(&root, &signer).0);
    let message = wire::Signed { form: Some(wire::signed::Form::Batch(answers.clone())) };
    let receipt = asker.record_batch_answer(&sent, Arc::new(message), 2).await.unwrap();

    let successor = |item: usize, followed: usize| {
        let before = batch::answer_payload(&answers, followed, &requests[followed]);
        let follows = envelope::digest(wire::Answer::TYPE, &before).as_bytes().to_vec();
        let anew = given(item, wire::Verdict::Mismatch);
        signed(seal(&wire::Answer { number: 2, follows, correction: vec![3; 32], ..anew }, &signer).0)
    };
    let (provider, when) = (party("civil-affairs"), (sent.questions.digest, NOW_MS));
    let take = |message: wire::Signed| asker.receive_corrected_item(&provider, message, when, &logs);
    let mistaken = take(successor(1, 0)).await;
    assert!(matches!(mistaken, Err(NotReceived::Invalid(AnswerError::Succession))), "{mistaken:?}");
    let stranger = asker.receive_corrected_item(&me, successor(1, 1), when, &logs).await;
    assert!(matches!(stranger, Err(NotReceived::Invalid(AnswerError::Field { field: "sender" }))), "{stranger:?}");
    let elsewhere = (Digest::new([9; 32]), NOW_MS);
    let unknown = asker.receive_corrected_item(&provider, successor(1, 1), elsewhere, &logs).await;
    assert!(matches!(unknown, Err(NotReceived::Unawaited)), "{unknown:?}");
    assert!(take(successor(1, 1)).await.unwrap());
    assert!(!take(successor(1, 1)).await.unwrap(), "the same again changes nothing");

    let number = |asker: &Asker, item: usize| asker.show_item(&receipt, item).unwrap().number;
    assert_eq!((number(&asker, 0), number(&asker, 1), outbox.last()), (1, 2, 1));
    let ids = [0, 1].map(|item| format!("{receipt}/{item}"));
    let corrected = asker.corrected_items(&ids.each_ref().map(String::as_str)).unwrap();
    assert_eq!(corrected.keys().collect::<Vec<_>>(), [&ids[1]]);
    let newest = corrected[&ids[1]].receipt;
    let shown = asker.show(&newest).unwrap();
    assert_eq!((shown.number, shown.request_digest), (2, Some(requests[1])));

    // The evidence has it, and the book does not: it is kept, and its office told, once.
    let place = asker.newest_of_item(sent.place, 1).unwrap();
    duties.close().await.unwrap();
    let (asker, outbox, duties) = housing(&town, &logs, dirs[2].path());
    assert_eq!((number(&asker, 1), outbox.last()), (1, 0));
    let answer: wire::Answer = envelope::peek(&successor(1, 1), usize::MAX).unwrap();
    let recover = async || asker.recover_corrected_item((sent.place, place), &answer, &logs).await.unwrap();
    assert_eq!((recover().await, recover().await), (Some(true), Some(false)));
    assert_eq!((number(&asker, 0), number(&asker, 1), outbox.last()), (1, 2, 1));
    duties.close().await.unwrap();
}
