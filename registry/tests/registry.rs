//! The registry from outside, in one process: everything goes through its ports, as a department's node would.

#[path = "registry/harness.rs"]
mod harness;
#[path = "registry/process.rs"]
mod process;

use std::collections::HashMap;

use proto::registry::v1::{self as wire, enrol_response, statement::Body, submit_response};
use trust::{
    directory::{AccessKey, Directory, Object, model::AccessState},
    ids::{DepartmentId, ServiceId},
    key::{Role, Signer, SigningKey},
    log::{
        bundle::EntryBundle,
        checkpoint,
        hash::Hash,
        proof::tree_root,
        tile::{TilePath, TileSource, decode_tile, tiles_grown},
    },
    token::EnrolmentToken,
};

use harness::{Department, Running, exchange, key_body, service_body};

const ACCESS_ID: &str = "0123456789abcdef";

fn accepted(response: wire::SubmitResponse) -> wire::Accepted {
    match response.outcome {
        Some(submit_response::Outcome::Accepted(accepted)) => accepted,
        other => panic!("{other:?}"),
    }
}

fn refused(response: wire::SubmitResponse) -> (String, String) {
    match response.outcome {
        Some(submit_response::Outcome::Refused(refusal)) => (refusal.code, refusal.field),
        other => panic!("{other:?}"),
    }
}

fn scope() -> Vec<wire::AttributeScope> {
    vec![wire::AttributeScope {
        attribute: "marital_status".to_owned(),
        operators: vec!["equals".to_owned()],
        disclose: false,
    }]
}

/// Everything that two departments say until one may ask the other.
async fn say_everything(running: &Running, civil: &Department, housing: &Department) -> AccessKey {
    let mut directory = running.directory_client().await;
    let node_key = SigningKey::from_seed(&[40; 32]);
    let key_id = *node_key.public_key().id();
    let service = ServiceId::read("civil-affairs/marriage-registration", 1).unwrap();
    let access = AccessKey { provider: civil.id(), consumer: housing.id(), id: ACCESS_ID.parse().unwrap() };
    let node = wire::NodePublished {
        department: "civil-affairs".to_owned(),
        node: "1".to_owned(),
        addresses: vec!["127.0.0.1:7443".to_owned()],
        tls_key: vec![9; 32],
        oldest_wire_version: 1,
        newest_wire_version: 1,
        ..wire::NodePublished::default()
    };
    let applied = wire::AccessApplied {
        provider: "civil-affairs".to_owned(),
        consumer: "housing".to_owned(),
        id: ACCESS_ID.to_owned(),
        service: "marriage-registration".to_owned(),
        major_version: 1,
        scope: scope(),
        item: "公租房申请".to_owned(),
        legal_bases: vec![harness::basis()],
        ..wire::AccessApplied::default()
    };
    let granted = wire::AccessGranted {
        provider: "civil-affairs".to_owned(),
        consumer: "housing".to_owned(),
        id: ACCESS_ID.to_owned(),
        service: "marriage-registration".to_owned(),
        major_version: 1,
        scope: scope(),
        item: "公租房申请".to_owned(),
        legal_bases: vec![harness::basis()],
        ..wire::AccessGranted::default()
    };
    let object = Object::Access(access.clone());
    let (application, digest) = housing.say(&object, None, Body::AccessApplied(applied));
    let statements = [
        civil.say(&Object::Key(key_id), None, key_body("civil-affairs", &node_key, Role::Node)).0,
        civil.say(&Object::Node(civil.id(), "1".parse().unwrap()), None, Body::NodePublished(node)).0,
        civil.say(&Object::Service(service), None, service_body()).0,
        application,
        civil.say(&object, Some(&digest), Body::AccessGranted(granted)).0,
    ];
    let start = running.size().await;
    for (index, envelope) in (start..).zip(statements) {
        let response = directory.submit(wire::SubmitRequest { envelope }).await.unwrap().into_inner();
        assert_eq!(accepted(response).index, index);
    }
    access
}

/// Watches from the first entry until the directory has `size` statements.
async fn follow(running: &Running, token: &EnrolmentToken, size: u64) -> (Directory, String) {
    let mut directory = Directory::new(token.exchange.clone(), token.authority_key.clone());
    let mut client = running.directory_client().await;
    let mut stream = client.watch(wire::WatchRequest { start: 0 }).await.unwrap().into_inner();
    loop {
        let news = stream.message().await.unwrap().expect("the stream goes on");
        assert_eq!(news.start, directory.size());
        news.entries.iter().for_each(|entry| directory.apply(entry).unwrap());
        if directory.size() >= size {
            return (directory, news.checkpoint);
        }
    }
}

fn verify(checkpoint: &str, directory: &Directory) {
    let log_key = &directory.founding().unwrap().log_key;
    let key = checkpoint::LogKey::new(trust::directory::origin(&exchange()).parse().unwrap(), log_key.as_bytes());
    let verified = checkpoint::open(checkpoint.as_bytes(), &key.unwrap()).unwrap();
    assert_eq!(verified.checkpoint().size(), directory.size());
    assert_eq!(verified.checkpoint().root(), directory.root());
}

#[tokio::test]
async fn two_departments_enrol_speak_and_are_heard_by_whoever_watches() {
    let running = Running::init_and_start().await;
    let token = running.admit("civil-affairs").await;
    let watcher = tokio::spawn({
        let (watching, token) = (running.clone_addresses(), token.clone());
        async move { follow(&watching, &token, 10).await }
    });
    let civil = running.enrol(&token).await;
    let housing_token = running.admit("housing").await;
    let housing = running.enrol(&housing_token).await;
    let access = say_everything(&running, &civil, &housing).await;

    let (directory, checkpoint) = watcher.await.unwrap();
    verify(&checkpoint, &directory);
    assert_eq!(directory.access(&access).unwrap().state, AccessState::Granted);
    assert_eq!(directory.registry().unwrap().tls_key, token.registry_tls_key);
    assert_eq!(directory.registry().unwrap().addresses, [running.address().to_string()]);
    assert_eq!(directory.registry().unwrap().tile_addresses, [running.tiles().to_string()]);

    // Reading gives the same entries, however they are asked for.
    let mut client = running.directory_client().await;
    let mut read = Directory::new(token.exchange.clone(), token.authority_key.clone());
    while read.size() < 10 {
        let request = wire::ReadRequest { start: read.size(), limit: 3 };
        let answer = client.read(request).await.unwrap().into_inner();
        assert!(answer.entries.len() <= 3 && answer.start == read.size());
        answer.entries.iter().for_each(|entry| read.apply(entry).unwrap());
    }
    assert_eq!(read.root(), directory.root());
    let beyond = client.read(wire::ReadRequest { start: 11, limit: 1 }).await.unwrap_err();
    assert_eq!(beyond.code(), tonic::Code::OutOfRange);

    // A restart keeps everything; with other ports, it says where it is now.
    let running = running.restart().await;
    let (again, checkpoint) = follow(&running, &token, 11).await;
    verify(&checkpoint, &again);
    assert_eq!(again.registry().unwrap().addresses, [running.address().to_string()]);
    assert_eq!(again.access(&access).unwrap().state, AccessState::Granted);
    running.stop().await;
}

#[tokio::test]
async fn the_tiles_rebuild_the_same_root() {
    let running = Running::init_and_start().await;
    let token = running.admit("civil-affairs").await;
    let civil = running.enrol(&token).await;
    let mut client = running.directory_client().await;
    // Enough for a finished tile and the root above it.
    for number in 0..260_u32 {
        let mut seed = [50; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let key = SigningKey::from_seed(&seed);
        let object = Object::Key(*key.public_key().id());
        let (envelope, _) = civil.say(&object, None, key_body("civil-affairs", &key, Role::Node));
        accepted(client.submit(wire::SubmitRequest { envelope }).await.unwrap().into_inner());
    }
    let (directory, _) = follow(&running, &token, 264).await;

    let checkpoint = running.http("/checkpoint").await;
    assert_eq!(checkpoint.header("cache-control"), "public, max-age=1");
    verify(std::str::from_utf8(&checkpoint.body).unwrap(), &directory);

    struct Fetched(HashMap<(u8, u64), Vec<Hash>>);
    impl TileSource for Fetched {
        type Error = std::convert::Infallible;
        fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Self::Error> {
            Ok(self.0[&(level, index)][..usize::from(width)].to_vec())
        }
    }
    let mut tiles = Fetched(HashMap::new());
    for coordinate in tiles_grown(0, 264) {
        let answer = running.http(&format!("/{}", TilePath::Hashes(coordinate))).await;
        // A part of a tile will be of no use soon; a full one never changes.
        let kept = if coordinate.width() == 256 { "public, max-age=31536000, immutable" } else { "public, max-age=60" };
        assert_eq!(answer.header("cache-control"), kept);
        let hashes = decode_tile(&answer.body, coordinate.width()).unwrap();
        if coordinate.level() == 0 {
            let answer = running.http(&format!("/{}", TilePath::Entries(coordinate))).await;
            let bundle = EntryBundle::decode(&answer.body, coordinate.width()).unwrap();
            assert!(bundle.leaf_hashes().eq(hashes.iter().copied()));
        }
        tiles.0.insert((coordinate.level(), coordinate.index()), hashes);
    }
    assert_eq!(tile_count(&tiles.0), [(0, 2), (1, 1)]);
    assert_eq!(tree_root(&tiles, 264).unwrap(), directory.root());

    for path in
        ["/tile/0/002", "/tile/0/001", "/tile/0/001.p/9", "/tile/9/000", "/tile/entries/1", "/", "/../keys/log.key"]
    {
        assert_eq!(running.http(path).await.status, 404, "{path}");
    }
    running.stop().await;
}

fn tile_count(tiles: &HashMap<(u8, u64), Vec<Hash>>) -> Vec<(u8, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    tiles.keys().for_each(|(level, _)| *counts.entry(*level).or_insert(0) += 1);
    counts.into_iter().collect()
}

#[tokio::test]
async fn a_token_is_good_for_its_own_department_and_once() {
    let running = Running::init_and_start().await;
    let token = running.admit("civil-affairs").await;
    let offered = Department::new("civil-affairs", 1);
    let other = Department::new("civil-affairs", 7);
    let code = |outcome: enrol_response::Outcome| match outcome {
        enrol_response::Outcome::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    };
    let mac = token.secret.mac(&offered.offer());
    assert_eq!(code(running.offer(&other.offer(), &mac).await), "MAC_WRONG");
    assert_eq!(code(running.offer(&Department::new("housing", 1).offer(), &mac).await), "TOKEN_UNKNOWN");

    let indices: Vec<u64> = [running.offer(&offered.offer(), &mac).await, running.offer(&offered.offer(), &mac).await]
        .map(|outcome| match outcome {
            enrol_response::Outcome::Admitted(accepted) => accepted.index,
            other => panic!("{other:?}"),
        })
        .to_vec();
    assert_eq!(indices, [3, 3], "a retry gets the same answer");
    let reused = running.offer(&other.offer(), &token.secret.mac(&other.offer())).await;
    assert_eq!(code(reused), "TOKEN_UNKNOWN");

    // Guessing is stopped after a while, with a bare status.
    let mut blocked = None;
    for _ in 0..30 {
        if let Err(status) = running.try_offer(&other.offer(), &[0; 32]).await {
            blocked = Some(status.code());
            break;
        }
    }
    assert_eq!(blocked, Some(tonic::Code::ResourceExhausted));
    running.stop().await;
}

#[tokio::test]
async fn statements_that_do_not_count_are_refused_with_code_and_field() {
    let running = Running::init_and_start().await;
    let civil = running.enrol(&running.admit("civil-affairs").await).await;
    let housing = running.enrol(&running.admit("housing").await).await;
    let access = say_everything(&running, &civil, &housing).await;
    let before = running.size().await;
    let object = Object::Access(access);
    let (revoked, _) = civil.say(&object, None, Body::AccessRevoked(wire::AccessRevoked { reason: "x".into() }));
    let service = Object::Service(ServiceId::read("civil-affairs/marriage-registration", 1).unwrap());
    let (stolen, _) = housing.say(&service, None, service_body());
    let (unknown, _) = Department::new("civil-affairs", 99).say(&service, None, service_body());
    let fresh = SigningKey::from_seed(&[77; 32]);
    let fresh_object = Object::Key(*fresh.public_key().id());
    let (future, _) =
        civil.say_at(&fresh_object, None, key_body("civil-affairs", &fresh, Role::Node), harness::now_ms() + 120_000);
    let (role, _) = civil.say(&fresh_object, None, key_body("civil-affairs", &fresh, Role::Authority));
    let mut client = running.directory_client().await;
    for (envelope, code, field) in [
        (revoked, "STATEMENT_OUTDATED", "predecessor"),
        (stolen, "STATEMENT_OUTDATED", "predecessor"),
        (unknown, "STATEMENT_NOT_ENTITLED", ""),
        (future, "STATEMENT_REFUSED", "stated_at_ms"),
        (role, "STATEMENT_REFUSED", "key.role"),
        (vec![0; 70_000], "MESSAGE_TOO_LARGE", "envelope"),
        (Vec::new(), "PAYLOAD_TYPE_WRONG", ""),
    ] {
        let response = client.submit(wire::SubmitRequest { envelope }).await.unwrap().into_inner();
        assert_eq!(refused(response), (code.to_owned(), field.to_owned()));
    }
    let too_large = client.submit(wire::SubmitRequest { envelope: vec![0; 100_000] }).await.unwrap_err();
    assert_eq!(too_large.code(), tonic::Code::OutOfRange, "cut off before it is read");
    assert_eq!(running.size().await, before);

    // Junk is stopped after a while, with a bare status; whoever was refused with a signature of their own was not counted.
    let mut junk = 0;
    let status = loop {
        match client.submit(wire::SubmitRequest { envelope: vec![1; 10] }).await {
            Ok(response) => assert_eq!(refused(response.into_inner()).0, "MESSAGE_MALFORMED"),
            Err(status) => break status,
        }
        junk += 1;
    };
    assert_eq!((status.code(), junk), (tonic::Code::ResourceExhausted, 200 - 3));
    assert_eq!(running.size().await, before, "reading goes on");
    running.stop().await;
}

#[tokio::test]
async fn the_authority_suspends_resumes_and_revokes_over_the_admin_socket() {
    let running = Running::init_and_start().await;
    let token = running.admit("civil-affairs").await;
    let civil = running.enrol(&token).await;
    let key = SigningKey::from_seed(&[60; 32]);
    let key_id = *key.public_key().id();
    let (added, _) = civil.say(&Object::Key(key_id), None, key_body("civil-affairs", &key, Role::Node));
    let mut client = running.directory_client().await;

    running.change("civil-affairs", "suspend").await.unwrap();
    let response = client.submit(wire::SubmitRequest { envelope: added.clone() }).await.unwrap().into_inner();
    assert_eq!(refused(response).0, "STATEMENT_NOT_ENTITLED", "a suspended department says nothing");
    assert_eq!(running.change("civil-affairs", "suspend").await.unwrap_err().code(), tonic::Code::FailedPrecondition);
    running.change("civil-affairs", "resume").await.unwrap();
    accepted(client.submit(wire::SubmitRequest { envelope: added }).await.unwrap().into_inner());

    running.revoke("civil-affairs", &key_id.to_string()).await.unwrap();
    let again = running.revoke("civil-affairs", &key_id.to_string()).await.unwrap_err();
    assert_eq!(again.metadata().get("refusal-field").unwrap(), "key_id");
    assert_eq!(
        running.revoke("housing", &key_id.to_string()).await.unwrap_err().code(),
        tonic::Code::FailedPrecondition
    );
    let (directory, checkpoint) = follow(&running, &token, running.size().await).await;
    verify(&checkpoint, &directory);
    assert!(directory.key(&key_id).unwrap().revoked.is_some());
    assert!(directory.department(&"civil-affairs".parse::<DepartmentId>().unwrap()).unwrap().suspended.is_none());
    running.stop().await;
}
