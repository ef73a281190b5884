//! For whoever reads the directory: `services`, `departments` and `log` of both programs, the read API with its pages
//! and filters, and the audit of the whole log from its tiles with one public key.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use proto::{
    admin::v1::ChangeDepartmentRequest,
    registry::v1::{
        AccessQuery, DepartmentQuery, HeadQuery, OneStatementQuery, PageQuery, ServiceQuery, StatementQuery,
        catalogue_client::CatalogueClient,
    },
};
use serde_json::Value;
use trust::{
    key::PublicKey,
    log::{checkpoint::LogKey, hash::leaf_hash, note::key::NoteKey, tlog_proof::TlogProof},
};

use crate::support::{MARRIAGE, Place, exit, housings_scope, peer::registry_channel, root, said};

/// A second service, to tell it from the first.
fn birth_register() -> String {
    MARRIAGE
        .replace("service: marriage-registration", "service: birth-registration")
        .replace("婚姻登记核验", "出生登记核验")
        .replace("Marriage registration", "Birth registration")
        .replace("婚姻状况证明", "出生医学证明")
}

async fn town() -> Place {
    Place::start(|plan, _| {
        plan.department("civil-affairs")
            .service_without_records(MARRIAGE)
            .service_without_records(birth_register())
            .department("housing")
            .granting("civil-affairs/marriage-registration", "housing", housings_scope())
    })
    .await
}

/// The same command of both programs, whose JSON must be the same.
async fn both(place: &Place, arguments: &[&str]) -> Value {
    place.town.settled().await.unwrap();
    let of_node = place.json("housing", arguments).await;
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let output = place.town.registry_cli(&arguments).await.unwrap();
    assert_eq!(exit(&output), 0, "{arguments:?}: {}", said(&output));
    let of_registry: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(of_node, of_registry, "{arguments:?}");
    of_node
}

fn services(told: &Value) -> Vec<&str> {
    told["services"].as_array().unwrap().iter().map(|service| service["service"].as_str().unwrap()).collect()
}

/// What reads changes little: one town for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_the_directory_is_told_the_same_everywhere() {
    let place = town().await;
    Box::pin(both_programs_find_services_by_provider_attribute_proof_and_words(&place)).await;
    Box::pin(one_statement_is_shown_in_words_with_its_signer_and_a_proof(&place)).await;
    Box::pin(the_read_api_has_pages_and_filters(&place)).await;
    Box::pin(both_programs_list_departments_and_show_one_with_its_keys(&place)).await;
    // It takes the log apart, and its registry away.
    Box::pin(the_whole_log_is_verified_over_http_and_from_a_folder_with_one_key(&place)).await;
}

async fn both_programs_find_services_by_provider_attribute_proof_and_words(place: &Place) {
    for (arguments, expected) in [
        (&["services", "list"][..], &["birth-registration", "marriage-registration"][..]),
        (&["services", "list", "--provider", "housing"], &[]),
        (&["services", "list", "--attribute", "婚姻状况"], &["birth-registration", "marriage-registration"]),
        (&["services", "list", "--attribute", "income"], &[]),
        (&["services", "list", "--replaces", "出生"], &["birth-registration"]),
        (&["services", "list", "--sharing", "unconditional"], &[]),
        (&["services", "search", "ＭＡＲＲＩＡＧＥ"], &["marriage-registration"]),
        (&["services", "search", "登记", "birth"], &["birth-registration"]),
        (&["services", "search", "民政局"], &["birth-registration", "marriage-registration"]),
        (&["services", "search", "房产"], &[]),
    ] {
        assert_eq!(services(&both(place, arguments).await), expected, "{arguments:?}");
    }
    let shown = both(place, &["services", "show", "civil-affairs/marriage-registration"]).await;
    assert_eq!((shown["state"].as_str(), shown["provider_name"].as_str()), (Some("answering"), Some("民政局")));
    let limited = both(place, &["services", "list", "--limit", "1"]).await;
    assert_eq!((services(&limited).len(), limited["more"].as_bool()), (1, Some(true)));

    // For people: a table with Chinese names; and what is not there is said.
    let table = said(&place.cli("housing", &["services", "search", "婚姻"]).await);
    assert!(table.contains("婚姻登记核验") && table.contains("civil-affairs/marriage-registration"), "{table}");
    let none = place.town.registry_cli(&["services", "search", "房产"]).await.unwrap();
    assert!(exit(&none) == 0 && said(&none).contains("no such services"), "{}", said(&none));
    let unknown = place.cli("housing", &["services", "show", "civil-affairs/horses"]).await;
    assert!(exit(&unknown) == 7 && said(&unknown).contains("SERVICE_UNKNOWN"), "{}", said(&unknown));
    let unknown = place.town.registry_cli(&["services", "show", "civil-affairs/horses"]).await.unwrap();
    assert_eq!(exit(&unknown), 7, "{}", said(&unknown));
}

async fn both_programs_list_departments_and_show_one_with_its_keys(place: &Place) {
    let listed = both(place, &["departments", "list"]).await;
    let names: Vec<&str> =
        listed["departments"].as_array().unwrap().iter().map(|one| one["name_zh"].as_str().unwrap()).collect();
    assert_eq!(names, ["民政局", "住房保障中心"]);
    let one = both(place, &["departments", "show", "civil-affairs"]).await;
    let roles: Vec<&str> = one["keys"].as_array().unwrap().iter().map(|key| key["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["department", "recovery", "node"]);
    assert_eq!((one["grants_given"].as_u64(), one["grants_held"].as_u64()), (Some(1), Some(0)));
    assert_eq!(one["nodes"][0]["addresses"][0], *place.town.node("civil-affairs").peer_address());
    let found = both(place, &["departments", "list", "--text", "住房"]).await;
    assert_eq!(found["departments"].as_array().unwrap().len(), 1);
    let suspend = ["department", "suspend", "housing", "--reason", "审查"];
    assert_eq!(exit(&place.town.registry_cli(&suspend).await.unwrap()), 0);
    let found = both(place, &["departments", "list", "--state", "suspended"]).await;
    assert_eq!(found["departments"][0]["reason"], "审查");
    let resume = ["department", "resume", "housing"];
    assert_eq!(exit(&place.town.registry_cli(&resume).await.unwrap()), 0);
    let unknown = place.cli("housing", &["departments", "show", "nobody"]).await;
    assert!(exit(&unknown) == 7 && said(&unknown).contains("DEPARTMENT_UNKNOWN"), "{}", said(&unknown));
}

async fn one_statement_is_shown_in_words_with_its_signer_and_a_proof(place: &Place) {
    place.town.settled().await.unwrap();
    let first = place.json("housing", &["log", "show", "0"]).await;
    assert_eq!(
        (first["kind"].as_str(), first["signers"][0]["role"].as_str()),
        (Some("exchange_founded"), Some("authority"))
    );

    // The grant is the provider's: the registry's own log says so.
    let access = place.json("housing", &["access", "list"]).await;
    let id = access["access"][0]["id"].as_str().unwrap().to_owned();
    let mut client = CatalogueClient::new(registry_channel(&place.town));
    let query = StatementQuery { object: format!("access/civil-affairs/housing/{id}"), page: None };
    let about = client.statements(query).await.unwrap().into_inner().statements;
    assert_eq!(about.len(), 2, "applied and granted");
    let (index, entry) = (about[1].index, &about[1].entry);
    let file = place.dir().join("grant.tlog-proof");
    let arguments = ["log", "show", &index.to_string(), "--proof", file.to_str().unwrap(), "--json"];
    let output = place.town.registry_cli(&arguments).await.unwrap();
    assert_eq!(exit(&output), 0, "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["kind"], "access_granted");
    assert_eq!(told["says"], "civil-affairs grants housing to ask marriage-registration version 1 for 公租房申请.");
    let signer = &told["signers"][0];
    assert_eq!((signer["department"].as_str(), signer["role"].as_str()), (Some("civil-affairs"), Some("department")));
    assert_eq!(signer["verified"], true);

    // The proof holds with the log's key alone, and for no other entry.
    let report = place.json("housing", &["log", "verify"]).await;
    let vkey: NoteKey = report["log_key"].as_str().unwrap().parse().unwrap();
    let log_key = LogKey::new(vkey.name().clone(), vkey.public_key()).unwrap();
    let proof = TlogProof::parse(&fs::read(&file).unwrap()).unwrap();
    proof.verify(&leaf_hash(entry), &log_key).unwrap();
    proof.verify(&leaf_hash(&about[0].entry), &log_key).unwrap_err();

    let people = said(&place.cli("housing", &["log", "show", &index.to_string()]).await);
    for part in ["access granted", "marital_status: equals", "民政局", "signature verified", "公共租赁住房管理办法 7"]
    {
        assert!(people.contains(part), "{part}: {people}");
    }
    for missing in [
        place.cli("housing", &["log", "show", "999"]).await,
        place.town.registry_cli(&["log", "show", "999"]).await.unwrap(),
    ] {
        assert!(exit(&missing) != 0 && said(&missing).contains("statements, counted from 0"), "{}", said(&missing));
    }
}

async fn the_read_api_has_pages_and_filters(place: &Place) {
    let mut client = CatalogueClient::new(registry_channel(&place.town));
    let head = client.head(HeadQuery { at_size: 1 }).await.unwrap().into_inner();
    assert_eq!((head.exchange_id.as_str(), head.root_at_size.len()), ("ninghe", 32));

    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = Some(PageQuery { limit: 3, cursor: cursor.clone() });
        let page = client.statements(StatementQuery { object: String::new(), page }).await.unwrap().into_inner();
        assert!(page.statements.len() <= 3);
        found.extend(page.statements.iter().map(|statement| statement.index));
        cursor = page.end.unwrap().next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(found, (0..head.size).collect::<Vec<_>>());

    let page = Some(PageQuery { limit: 1, cursor: String::new() });
    let query = ServiceQuery { provider: "civil-affairs".into(), page, ..ServiceQuery::default() };
    let first = client.services(query.clone()).await.unwrap().into_inner();
    let cursor = first.end.unwrap().next_cursor;
    let page = Some(PageQuery { limit: 1, cursor: cursor.clone() });
    let second = client.services(ServiceQuery { page: page.clone(), ..query }).await.unwrap().into_inner();
    assert_ne!(first.services[0].service, second.services[0].service);
    // A cursor belongs to its query.
    let other = ServiceQuery { page, ..ServiceQuery::default() };
    let wrong = client.services(other).await.unwrap_err();
    assert_eq!(wrong.code(), tonic::Code::InvalidArgument, "{wrong}");
    assert!(wrong.message().contains("cursor"), "{wrong}");

    let access = AccessQuery { consumer: "housing".into(), state: "granted".into(), ..AccessQuery::default() };
    assert_eq!(client.access(access).await.unwrap().into_inner().access.len(), 1);
    let access = AccessQuery { state: "revoked".into(), ..AccessQuery::default() };
    assert!(client.access(access).await.unwrap().into_inner().access.is_empty());
    let departments = DepartmentQuery { text: "civil".into(), ..DepartmentQuery::default() };
    assert_eq!(client.departments(departments).await.unwrap().into_inner().departments.len(), 1);
    let wrong = DepartmentQuery { department: "民政".into(), ..DepartmentQuery::default() };
    assert_eq!(client.departments(wrong).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let beyond = client.statement(OneStatementQuery { index: head.size + 100 }).await.unwrap_err();
    assert_eq!(beyond.code(), tonic::Code::NotFound);
}

/// Has the authority suspend and resume a department until the directory has so many statements: full tiles occur.
pub(crate) async fn grow(place: &Place, department: &str, statements: u64) {
    let mut admin = place.town.registry().admin().await.unwrap();
    for round in 0.. {
        let action = if round % 2 == 0 { "suspend" } else { "resume" };
        let request = ChangeDepartmentRequest {
            department: department.into(),
            action: action.into(),
            reason: format!("round {round}"),
        };
        let index = admin.change_department(request).await.unwrap().into_inner().index;
        if index + 1 >= statements && action == "resume" {
            return;
        }
    }
}

/// `exchange-node log verify` outside of any node's folder, as an auditor runs it.
fn alone(place: &Place, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(place.town.programs().exchange_node());
    command.env_remove("EXCHANGE_DIR").current_dir(place.dir()).args(["log", "verify"]).args(arguments);
    command.output().unwrap()
}

async fn the_whole_log_is_verified_over_http_and_from_a_folder_with_one_key(place: &Place) {
    grow(place, "housing", 270).await;
    place.town.settled().await.unwrap();
    let copy = place.dir().join("copy");
    let report = place.json("housing", &["log", "verify", "--keep", copy.to_str().unwrap()]).await;
    let size = report["size"].as_u64().unwrap();
    // Two bundles, two tiles of level 0, one above.
    assert!(size >= 270 && report["tiles"].as_u64() == Some(5) && report["sound"] == true, "{report}");
    let compared = report["compared"][0].as_str().unwrap();
    assert!(compared.contains("this node's own view"), "{compared}");
    assert!(report["statements"]["department_suspended"].as_u64().unwrap() > 100, "{report}");
    let output = place.town.registry_cli(&["log", "verify"]).await.unwrap();
    assert!(exit(&output) == 0 && said(&output).contains("The log is sound."), "{}", said(&output));

    // An auditor has the address or a copy, and one key.
    let http = format!("http://{}", place.town.registry().tile_address());
    let (folder, authority) = (copy.to_str().unwrap(), place.town.authority_key());
    let log_key = report["log_key"].as_str().unwrap();
    for arguments in [
        ["--from", &http, "--authority", authority],
        ["--from", folder, "--authority", authority],
        ["--from", folder, "--log-key", log_key],
    ] {
        let output = alone(place, &arguments);
        assert!(exit(&output) == 0 && said(&output).contains("The log is sound."), "{arguments:?}: {}", said(&output));
        assert_eq!(said(&output).contains("compare it with the authority"), arguments[2] == "--log-key");
    }
    let stranger = PublicKey::ed25519(&leaf_to_key()).unwrap().to_string();
    let output = alone(place, &["--from", folder, "--authority", &stranger]);
    assert!(exit(&output) == 8 && said(&output).contains("not this authority's"), "{}", said(&output));

    // One byte changed anywhere: found, and the place named.
    for name in ["tile/entries/000", "tile/entries/001.p", "tile/0/000", "tile/1/000.p/1", "checkpoint"] {
        let path = file_at(&copy.join(name));
        let sound = fs::read(&path).unwrap();
        let mut altered = sound.clone();
        altered[sound.len() / 3] ^= 1;
        fs::write(&path, altered).unwrap();
        let output = alone(place, &["--from", folder, "--authority", authority]);
        assert_eq!(exit(&output), 8, "{name}: {}", said(&output));
        fs::write(&path, sound).unwrap();
    }
    fs::remove_file(copy.join("tile/0/000")).unwrap();
    let output = alone(place, &["--from", folder, "--authority", authority]);
    assert!(exit(&output) == 8 && said(&output).contains("tile/0/000"), "{}", said(&output));

    place.town.registry().stop().await.unwrap();
    let output = alone(place, &["--from", &http, "--authority", authority]);
    assert_eq!(exit(&output), 3, "{}", said(&output));
    // A node that runs compares itself with the copy, though the registry is gone.
    fs::write(copy.join("tile/0/000"), []).unwrap();
    let output = place.cli("housing", &["log", "verify", "--from", folder]).await;
    assert_eq!(exit(&output), 8, "{}", said(&output));
}

/// The partial tile's file, whose name is its width.
fn file_at(path: &Path) -> PathBuf {
    if path.is_dir() { fs::read_dir(path).unwrap().flatten().next().unwrap().path() } else { path.to_owned() }
}

/// The key of nobody here.
fn leaf_to_key() -> [u8; 32] {
    use trust::key::{Signer, SigningKey};
    *SigningKey::from_seed(&[77; 32]).public_key().as_bytes()
}

/// A node that was told something else than others are finds it: here, a copy of the log of the same exchange that goes
/// another way, signed by the same keys, as a registry that tells two stories would serve it.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_tells_another_story_than_the_nodes_view_is_found() {
    let place = town().await;
    place.town.settled().await.unwrap();
    // The registry's folder from before; it then goes on in two ways.
    place.town.registry().stop().await.unwrap();
    let before = place.dir().join("before");
    copy_folder(place.town.registry().dir(), &before);
    place.town.registry().start().await.unwrap();
    grow(&place, "housing", 1).await;
    place.town.settled().await.unwrap();
    place.town.node("housing").stop().await.unwrap();
    place.town.node("civil-affairs").stop().await.unwrap();
    place.town.registry().stop().await.unwrap();
    fs::rename(place.town.registry().dir(), place.dir().join("after")).unwrap();
    fs::rename(&before, place.town.registry().dir()).unwrap();
    place.town.registry().start().await.unwrap();
    for reason in ["one", "two", "three"] {
        let suspend = ["department", "suspend", "civil-affairs", "--reason", reason];
        let resume = ["department", "resume", "civil-affairs"];
        for command in [&suspend[..], &resume] {
            let output = place.town.registry_cli(command).await.unwrap();
            assert_eq!(exit(&output), 0, "{}", said(&output));
        }
    }
    let copy = place.dir().join("other-story");
    let output = place.town.registry_cli(&["log", "verify", "--keep", copy.to_str().unwrap()]).await.unwrap();
    assert_eq!(exit(&output), 0, "for itself it is sound: {}", said(&output));
    place.town.registry().stop().await.unwrap();

    place.town.node("housing").start().await.unwrap();
    let output = place.cli("housing", &["log", "verify", "--from", copy.to_str().unwrap()]).await;
    assert_eq!(exit(&output), 8, "{}", said(&output));
    assert!(said(&output).contains("another root than this node's own view"), "{}", said(&output));
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// A kind of statement that nobody can read in words is not finished.
#[test]
fn every_kind_of_statement_is_told_in_words() {
    let statement = fs::read_to_string(root().join("proto/proto/registry/v1/statement.proto")).unwrap();
    let words = fs::read_to_string(root().join("trust/src/reading/body.rs")).unwrap();
    let (_, body) = statement.split_once("oneof body {").unwrap();
    let (body, _) = body.split_once("\n  }").unwrap();
    let kinds: Vec<&str> = body
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//") && line.ends_with(';'))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(kinds.len() >= 22, "{kinds:?}");
    for kind in kinds {
        let patterns = words.matches(&format!("Body::{kind}(")).count();
        assert!(
            patterns >= 2,
            "{kind}: trust/src/reading/body.rs names it {patterns} times; it needs a name and a sentence"
        );
    }
}
