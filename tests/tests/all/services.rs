//! The life of a data service on real processes: described, checked, reviewed, published, changed, suspended, ended; its
//! versions side by side; and its entry in the data catalogue, both ways.

use std::{fs, time::Duration};

use proto::{
    admin::v1::{WithdrawServiceRequest, services_client::ServicesClient},
    exchange::v1::Verdict,
    office::v1::{State, VerifyRequest, VerifyResponse},
};
use serde_json::Value;
use town::harness::{Scope, eventually};
use trust::refusal::Code;

use crate::support::{
    BASIS, ITEM, MARRIAGE, MARRIED, Place, exit, housings_scope, marital_status,
    peer::{HandMadePeer, now_ms, refusal},
    said, small, verdict,
};

const SERVICE: &str = "civil-affairs/marriage-registration";

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a file beside the town, and returns its path.
fn file(place: &Place, name: &str, text: &str) -> String {
    let path = place.dir().join(name);
    fs::write(&path, text).expect("the file is written");
    path.to_str().expect("a plain path").to_owned()
}

/// Runs a `registry` command that must end well, and reads its JSON.
async fn registry(place: &Place, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let output = place.town.registry_cli(&arguments).await.expect("the command runs");
    assert_eq!(exit(&output), 0, "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said(&output)))
}

/// The authority changes settings; every node follows them.
async fn set_profile(place: &Place, services: &str) {
    let profile = file(place, "profile.toml", &format!("[services]\n{services}\n"));
    registry(place, &["profile", "set", &profile]).await;
    place.town.settled().await.unwrap();
}

fn refused_with(response: &VerifyResponse, code: Code) -> String {
    assert_eq!(response.state(), State::Refused, "{response:?}");
    let refusal = response.refusal.clone().unwrap();
    assert_eq!(refusal.code, code.as_str(), "{refusal:?}");
    refusal.message
}

fn asking_version(service_version: u32) -> VerifyRequest {
    VerifyRequest { service_version, ..marital_status(&MARRIED, "married") }
}

/// The second major version: what is known of the day is gone.
fn second_version() -> String {
    let start = MARRIAGE.find("  registered_on:").unwrap();
    let end = MARRIAGE.find("complete:").unwrap();
    format!("{}{}", &MARRIAGE[..start], &MARRIAGE[end..]).replace("version: \"1.0\"", "version: \"2\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_changed_and_suspended_as_the_rules_allow() {
    let place = Place::civil_affairs_and_housing().await;
    Box::pin(the_registry_refuses_what_the_rules_refuse(&place)).await;
    Box::pin(a_suspensions_notice_reaches_those_who_ask(&place)).await;
    Box::pin(a_compatible_change_keeps_the_version_and_an_incompatible_one_is_refused_with_what_differs(&place)).await;
}

async fn a_compatible_change_keeps_the_version_and_an_incompatible_one_is_refused_with_what_differs(place: &Place) {
    let changed = file(place, "changed.yaml", &MARRIAGE.replace("0890-000-0201", "0890-000-0299"));
    let compared = place.json("civil-affairs", &["service", "diff", &changed]).await;
    assert_eq!((compared["outcome"].as_str(), compared["version"].as_str()), (Some("compatible"), Some("1.1")));
    let done = place.json("civil-affairs", &["service", "change", &changed]).await;
    assert_eq!((done["version"].as_str(), done["differences"][0]["field"].as_str()), (Some("1.1"), Some("contact")));
    // Once more it changes nothing, under either name.
    for action in ["change", "publish"] {
        let again = place.json("civil-affairs", &["service", action, &changed]).await;
        assert_eq!((again["outcome"].as_str(), again["version"].as_str()), (Some("unchanged"), Some("1.1")), "{again}");
    }

    let narrower = file(place, "narrower.yaml", &second_version().replace("version: \"2\"", "version: \"1\""));
    let size = place.json("civil-affairs", &["status"]).await["directory_size"].clone();
    let compared = place.cli("civil-affairs", &["service", "diff", &narrower]).await;
    assert_eq!(exit(&compared), 7, "{}", said(&compared));
    assert!(said(&compared).contains("NEW MAJOR VERSION"), "{}", said(&compared));
    let refused = place.cli("civil-affairs", &["service", "change", &narrower]).await;
    assert_eq!(exit(&refused), 7, "{}", said(&refused));
    for told in ["attributes.registered_on", "is gone", "version 2.0"] {
        assert!(said(&refused).contains(told), "{told}: {}", said(&refused));
    }
    assert_eq!(place.json("civil-affairs", &["status"]).await["directory_size"], size, "nothing was stated");
    place.town.settled().await.unwrap();
    assert_eq!(verdict(&place.ask(asking_version(1)).await).verdict(), Verdict::Match);
}

/// The registry takes no incompatible change either, whoever signs it by hand: the rules are the directory's own.
async fn the_registry_refuses_what_the_rules_refuse(place: &Place) {
    use proto::registry::v1::{ServicePublished, SubmitRequest, directory_client::DirectoryClient, statement::Body};
    let keys = exchange_node::keys::NodeKeys::read(place.town.node("civil-affairs").dir()).unwrap();
    let narrower = exchange_node::service_file::parse(&second_version(), "narrower.yaml").unwrap();
    let body = ServicePublished { department: "civil-affairs".into(), major_version: 1, minor_version: 1, ..narrower };
    let id = trust::ids::ServiceId::read(SERVICE, 1).unwrap();
    let shown = place.json("civil-affairs", &["service", "publish", &file(place, "same.yaml", MARRIAGE)]).await;
    let predecessor = shown["digest"].as_str().unwrap().parse().unwrap();
    let statement = trust::directory::statement(
        &crate::support::peer::EXCHANGE.parse().unwrap(),
        &trust::directory::Object::Service(id),
        Some(&predecessor),
        now_ms(),
        Body::ServicePublished(body),
    );
    let (envelope, _) = trust::envelope::seal(&statement, keys.department_signer().unwrap());
    let submit = SubmitRequest { envelope: prost::Message::encode_to_vec(&envelope) };
    let mut registry = DirectoryClient::new(crate::support::peer::registry_channel(&place.town));
    let outcome = registry.submit(submit).await.unwrap().into_inner().outcome;
    let Some(proto::registry::v1::submit_response::Outcome::Refused(refused)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((refused.code.as_str(), refused.field.as_str()), (Code::StatementRefused.as_str(), "version"));
    assert!(refused.message.contains("attributes.registered_on: is gone"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_major_versions_answer_side_by_side_until_the_old_one_ends() {
    let place = Place::civil_affairs_and_housing().await;
    let second = file(&place, "second.yaml", &second_version());
    let published = place.json("civil-affairs", &["service", "publish", &second]).await;
    assert_eq!((published["outcome"].as_str(), published["version"].as_str()), (Some("new"), Some("2.0")));
    assert_eq!(published["compared_with"], "1.0");
    let records = file(
        &place,
        "second.csv",
        &format!("resident_id,marital_status,registered_on\n{},married,2018-05-20\n", *MARRIED),
    );
    place.json("civil-affairs", &["records", "import", "marriage-registration", &records, "--major", "2"]).await;
    place.town.settled().await.unwrap();
    // Whoever names no version goes on with the one that they may ask.
    for version in [0, 1] {
        assert_eq!(verdict(&place.ask(asking_version(version)).await).verdict(), Verdict::Match);
    }
    refused_with(&place.ask(asking_version(2)).await, Code::GrantMissing);
    place
        .town
        .grant(SERVICE, "housing", Scope::of("marital_status", &["equals"]).for_item(ITEM).on(&[BASIS]))
        .await
        .unwrap();
    for version in [0, 1, 2] {
        assert_eq!(verdict(&place.ask(asking_version(version)).await).verdict(), Verdict::Match, "version {version}");
    }

    // The end of the old one is told to those who hold grants, and to those who ask.
    let without_reason =
        place.cli("civil-affairs", &["service", "withdraw", "marriage-registration", "--major", "1"]).await;
    assert_eq!(exit(&without_reason), 2, "{}", said(&without_reason));
    let withdraw =
        ["service", "withdraw", "marriage-registration", "--major", "1", "--reason", "version 2 replaces it"];
    let withdrawn = place.json("civil-affairs", &withdraw).await;
    assert_eq!(withdrawn["told"], serde_json::json!(["housing"]), "{withdrawn}");
    let from_ms = withdrawn["from_ms"].as_u64().unwrap();
    assert!(from_ms > now_ms() + 9 * 86_400_000, "ten days, unless the profile says otherwise: {withdrawn}");
    place.town.settled().await.unwrap();
    let asked = place.ask(asking_version(1)).await;
    assert_eq!(verdict(&asked).verdict(), Verdict::Match, "it answers until then");
    assert!(asked.notice.contains("version 2 replaces it") && asked.notice.contains("version 2 answers"), "{asked:?}");
    assert_eq!(place.ask(asking_version(2)).await.notice, "");
    for command in [&["service", "notices"][..], &["status"], &["access", "list"]] {
        let notices = place.json("housing", command).await["notices"].clone();
        assert_eq!(notices[0]["state"], "ends", "{notices}");
        assert_eq!((notices[0]["ends_ms"].as_u64(), notices[0]["successor"].as_u64()), (Some(from_ms), Some(2)));
    }
    let findings = place.json("housing", &["doctor"]).await["findings"].clone();
    let finding = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"].as_str().is_some_and(|check| check.contains("marriage-registration v1")));
    assert_eq!(finding.unwrap_or_else(|| panic!("{findings}"))["level"], "warning");
    let log = place.town.node("housing").log();
    let logged =
        eventually(PATIENCE, async || fs::read_to_string(&log).unwrap().contains("version 2 replaces it")).await;
    assert!(logged, "the node's log tells it too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_service_ends_when_it_was_told_and_no_sooner_than_the_profile_allows() {
    let place = Place::civil_affairs_and_housing().await;
    let channel =
        host::admin_socket::connect(place.town.node("civil-affairs").dir(), "exchange-node serve").await.unwrap();
    let withdraw = async |from_ms: u64| {
        let request = WithdrawServiceRequest {
            service: "marriage-registration".into(),
            major_version: 1,
            reason: "the register has moved".into(),
            from_ms,
        };
        ServicesClient::new(channel.clone()).withdraw(request).await.unwrap().into_inner()
    };
    let early = withdraw(now_ms() + 3_600_000).await.statement.unwrap().refused.unwrap();
    assert_eq!((early.code.as_str(), early.field.as_str()), (Code::StatementRefused.as_str(), "from_ms"));
    assert!(early.message.contains("10 days"), "{early:?}");

    set_profile(&place, "withdrawal_notice_seconds = 1").await;
    // It is dated as soon as it is allowed; where this machine was too slow for that, it is said again.
    let deadline = std::time::Instant::now() + PATIENCE;
    let withdrawn = loop {
        let withdrawn = withdraw(0).await;
        match &withdrawn.statement.as_ref().unwrap().refused {
            None => break withdrawn,
            Some(refusal) => assert!(std::time::Instant::now() < deadline, "{refusal:?}"),
        }
    };
    place.town.settled().await.unwrap();
    let ended = eventually(PATIENCE, async || place.ask(asking_version(1)).await.state() == State::Refused).await;
    assert!(ended, "the service ends");
    assert!(now_ms() >= withdrawn.from_ms);
    let told = refused_with(&place.ask(asking_version(1)).await, Code::ServiceWithdrawn);
    assert!(told.contains("the register has moved"), "{told}");
    let again = place.cli("civil-affairs", &["service", "resume", "marriage-registration"]).await;
    assert_eq!(exit(&again), 7, "{}", said(&again));
    assert_eq!(place.json("housing", &["service", "notices"]).await["notices"][0]["state"], "ended");
}

async fn a_suspensions_notice_reaches_those_who_ask(place: &Place) {
    let suspend = ["service", "suspend", "marriage-registration", "--notice", "登记系统维护至周五"];
    place.json("civil-affairs", &suspend).await;
    place.town.settled().await.unwrap();
    let told = refused_with(&place.ask(asking_version(1)).await, Code::ServiceSuspended);
    assert!(told.contains("登记系统维护至周五"), "{told}");
    // The provider's own signed answer says so too, to whoever has not heard.
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let answer = peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
    assert_eq!(refusal(&answer).code, Code::ServiceSuspended.as_str());
    assert!(refusal(&answer).message.contains("登记系统维护至周五"));
    assert_eq!(place.json("housing", &["service", "notices"]).await["notices"][0]["state"], "suspended");
    place.json("civil-affairs", &["service", "resume", "marriage-registration"]).await;
    place.town.settled().await.unwrap();
    assert_eq!(verdict(&place.ask(asking_version(1)).await).verdict(), Verdict::Match);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_service_answers_once_the_authority_has_approved_it() {
    let place = Place::start(|plan, _| plan.department("civil-affairs").department("housing")).await;
    set_profile(&place, "review_new = true").await;
    let open = MARRIAGE.replace("sharing: conditional", "sharing: unconditional").replace("contact:", "# contact:");
    let description = file(&place, "marriage.yaml", &open);
    let published = place.json("civil-affairs", &["service", "publish", &description]).await;
    assert!(published["notes"][0].as_str().unwrap().contains("authority has approved"), "{published}");
    let records = place.dir().join("marriage.csv");
    place.town.import("civil-affairs", "marriage-registration", &records).await.unwrap();
    place.town.settled().await.unwrap();
    refused_with(&place.ask(asking_version(1)).await, Code::ServiceNotReviewed);

    // The provider refuses too, and does after a restart.
    place.town.node("civil-affairs").stop().await.unwrap();
    place.town.node("civil-affairs").start().await.unwrap();
    place.town.settled().await.unwrap();
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let answer = peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
    assert_eq!(refusal(&answer).code, Code::ServiceNotReviewed.as_str());

    // The authority sees it with its clock and with what is missing, and returns it with all of that at once.
    let inbox = registry(&place, &["review", "inbox"]).await["reviews"].clone();
    assert_eq!(inbox.as_array().unwrap().len(), 1, "{inbox}");
    assert!(["green", "amber"].contains(&inbox[0]["clock"]["colour"].as_str().unwrap()), "{inbox}");
    assert!(inbox[0]["found_missing"][0].as_str().unwrap().starts_with("contact: "), "{inbox}");
    let board = registry(&place, &["board", "--all"]).await;
    assert!(board["due"].as_array().unwrap().iter().any(|due| due["kind"] == "service review"), "{board}");
    let returned = ["review", "return", SERVICE, "--found", "--missing", "the decree of the province"];
    let returned = registry(&place, &returned).await;
    assert_eq!(returned["missing"].as_array().unwrap().len(), 2, "{returned}");
    let twice = place.town.registry_cli(&["review", "return", SERVICE, "--missing", "one thing more"]).await.unwrap();
    assert_eq!(exit(&twice), 7, "one notice lists everything: {}", said(&twice));
    place.town.settled().await.unwrap();
    let shown = place.json("civil-affairs", &["service", "show", SERVICE]).await;
    assert_eq!((shown["state"].as_str(), shown["review"].as_str()), (Some("waiting"), Some("returned")), "{shown}");
    assert!(shown["notice"].as_str().unwrap().contains("the decree of the province"), "{shown}");
    let doctor = place.json("civil-affairs", &["doctor"]).await.to_string();
    assert!(doctor.contains("the authority has returned it"), "{doctor}");

    // Put right, it waits again; approved, it answers, and the evidence shows the approval.
    let description = file(&place, "marriage.yaml", &open.replace("# contact:", "contact:"));
    place.json("civil-affairs", &["service", "change", &description]).await;
    assert_eq!(registry(&place, &["review", "inbox"]).await["reviews"][0]["version"], "1.1");
    let approve = ["review", "approve", SERVICE, "--officer", "0007", "--document", "宁数〔2026〕12号"];
    registry(&place, &approve).await;
    assert_eq!(registry(&place, &["review", "list"]).await["reviews"][0]["state"], "approved");
    place.town.settled().await.unwrap();
    let asked = place.ask(asking_version(1)).await;
    assert_eq!(verdict(&asked).verdict(), Verdict::Match);
    let bundle = place.dir().join("bundle").to_str().unwrap().to_owned();
    place.json("housing", &["evidence", "export", &asked.receipt, "-o", &bundle]).await;
    place.json("housing", &["evidence", "verify", &bundle, "--authority", place.town.authority_key()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_is_begun_checked_and_published_and_everything_wrong_is_said_at_once() {
    let place = Place::start(|plan, _| plan.department("civil-affairs").department("housing")).await;
    let (begun, records) = (place.dir().join("begun.yaml"), place.dir().join("marriage.csv"));
    let (begun, records) = (begun.to_str().unwrap(), records.to_str().unwrap());
    let new = ["service", "new", "marriage-registration", "--records", records, "-o", begun];
    let written = place.json("civil-affairs", &new).await;
    assert!(written["missing"].to_string().contains("legal_basis"), "{written}");
    let wrong = place.cli("civil-affairs", &["service", "check", begun]).await;
    assert_eq!(exit(&wrong), 2, "{}", said(&wrong));
    let lines: Vec<String> = said(&wrong).lines().map(str::to_owned).collect();
    let is_said = |field: &str| lines.iter().any(|line| line.contains(&format!(": {field}: ")));
    for field in ["name.zh", "legal_basis", "attributes.marital_status.label.zh", "attributes.registered_on.label.zh"] {
        assert!(is_said(field), "{field}: {lines:?}");
    }
    // No legal basis, no publishing.
    let refused = place.cli("civil-affairs", &["service", "publish", begun]).await;
    assert_eq!(exit(&refused), 2, "{}", said(&refused));

    let text = fs::read_to_string(begun).unwrap();
    let filled = text
        .replace("legal_basis: []", "legal_basis: [\"婚姻登记条例 4\"]")
        .replace("zh: \"\"", "zh: 某项")
        .replace("sharing: conditional", "sharing: unconditional");
    let filled = file(&place, "filled.yaml", &filled);
    place.json("civil-affairs", &["service", "check", &filled]).await;
    place.json("civil-affairs", &["service", "publish", &filled]).await;
    place.json("civil-affairs", &["records", "import", "marriage-registration", records]).await;
    place.town.settled().await.unwrap();
    assert_eq!(verdict(&place.ask(asking_version(1)).await).verdict(), Verdict::Match);

    // What is not shared cites the law that forbids it, and those who ask hear which.
    let secret = MARRIAGE
        .replace("service: marriage-registration", "service: adoption")
        .replace("sharing: conditional", "sharing: not_shared");
    let lawless = file(&place, "lawless.yaml", &secret);
    let refused = place.cli("civil-affairs", &["service", "publish", &lawless]).await;
    assert!(exit(&refused) == 2 && said(&refused).contains("the law that forbids it"), "{}", said(&refused));
    let lawful = secret.replace("sharing: not_shared", "sharing: not_shared\nforbidden_by: 未成年人保护法 103");
    place.json("civil-affairs", &["service", "publish", &file(&place, "lawful.yaml", &lawful)]).await;
    place.town.settled().await.unwrap();
    let told = refused_with(
        &place.ask(VerifyRequest { service: "adoption".into(), ..asking_version(1) }).await,
        Code::ServiceNotShared,
    );
    assert!(told.contains("未成年人保护法"), "{told}");
}

/// A change that adds a data item costs nobody who asks what was there before an answer.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_lack_a_new_data_item_answer_for_the_others() {
    let place = Place::start(small).await;
    let office = "  registry_office:\n    type: string\n    operators: [equals]\n    rows: latest registered_on\n    label: {zh: 登记机关}\n";
    let wider = file(&place, "wider.yaml", &MARRIAGE.replace("complete:", &format!("{office}complete:")));
    let changed = place.json("civil-affairs", &["service", "change", &wider]).await;
    assert!(changed["notes"].to_string().contains("import the records again"), "{changed}");
    place.town.settled().await.unwrap();
    assert_eq!(verdict(&place.ask(asking_version(1)).await).verdict(), Verdict::Match);

    let scope = Scope::of("registry_office", &["equals"]).for_item(ITEM).on(&[BASIS]);
    let ids = place.town.grant(SERVICE, "housing", scope).await.unwrap();
    assert!(!ids.is_empty());
    let office = crate::support::question(&MARRIED, vec![crate::support::claim("registry_office", "equals", "宁河区")]);
    assert_eq!(verdict(&place.ask(office.clone()).await).verdict(), Verdict::Unavailable, "not a mismatch");
    let records =
        format!("resident_id,marital_status,registered_on,registry_office\n{},married,2018-05-20,宁河区\n", *MARRIED);
    let records = file(&place, "wider.csv", &records);
    place.json("civil-affairs", &["records", "import", "marriage-registration", &records]).await;
    assert_eq!(verdict(&place.ask(office).await).verdict(), Verdict::Match);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_goes_out_and_comes_back() {
    let place = Place::start(|plan, dir| {
        plan.department("civil-affairs").service(MARRIAGE, dir.join("marriage.csv")).department("housing").granting(
            SERVICE,
            "housing",
            housings_scope(),
        )
    })
    .await;
    let out = |name: &str| place.dir().join(name).to_str().unwrap().to_owned();
    let (of_node, of_registry, json) = (out("node.csv"), out("registry.csv"), out("catalogue.json"));
    place.json("housing", &["catalogue", "export", &of_node]).await;
    registry(&place, &["catalogue", "export", &of_registry]).await;
    let bytes = fs::read(&of_node).unwrap();
    assert_eq!(bytes, fs::read(&of_registry).unwrap(), "both programs say the same");
    assert!(bytes.starts_with("\u{feff}目录代码,名称".as_bytes()), "spreadsheet programs open it");
    place.json("civil-affairs", &["catalogue", "export", &json]).await;
    let entries: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let entry = &entries[0];
    assert_eq!(
        (entry["service"].as_str(), entry["provider_id"].as_str()),
        (Some("marriage-registration"), Some("civil-affairs"))
    );
    assert_eq!((entry["update_cycle"].as_str(), entry["sharing"].as_str()), (Some("daily"), Some("conditional")));
    assert!(entry["data_items"].to_string().contains("婚姻状况 (marital_status, enum)"), "{entry}");

    // The national platform has given it a code, and knows a data set that is no service yet.
    let mut national = entries.clone();
    national[0]["catalogue_code"] = "890000-0012/3".into();
    national[0]["conditions"] = "仅限保障性住房".into();
    let cremation = serde_json::json!({
        "名称": "火化信息核验", "提供单位标识": "civil-affairs", "目录代码": "890000-0012/9", "共享属性": "有条件共享",
        "数据项": ["是否火化", "火化日期 (cremated_on, date)"], "依据": ["殡葬管理条例 6"], "更新频率": "每日",
    });
    national.as_array_mut().unwrap().push(cremation);
    let national = file(&place, "national.json", &national.to_string());
    let compared = registry(&place, &["catalogue", "import", &national, "--split", &out("departments")]).await;
    assert_eq!(compared["entries"][0]["result"], "differs", "{compared}");
    assert_eq!(compared["entries"][1]["result"], "new", "{compared}");
    let part = compared["files"][0].as_str().unwrap();
    assert!(part.ends_with("civil-affairs.json"), "{compared}");

    // One description that cannot be written is named, and stops none of the others.
    let taken = out("taken");
    fs::create_dir_all(&taken).unwrap();
    fs::write(place.dir().join("taken/service-2.yaml"), "mine").unwrap();
    let blocked = place.cli("civil-affairs", &["catalogue", "import", part, "--out", &taken, "--json"]).await;
    assert_eq!(exit(&blocked), 2, "{}", said(&blocked));
    let blocked: Value = serde_json::from_slice(&blocked.stdout).unwrap();
    assert_eq!(
        (blocked["failed"].as_u64(), &blocked["entries"][1]["result"]),
        (Some(1), &"failed".into()),
        "{blocked}"
    );
    assert_eq!(blocked["entries"][0]["result"], "differs", "{blocked}");

    let services = out("services");
    let imported =
        place.json("civil-affairs", &["catalogue", "import", part, "--out", &services, "--fill-codes"]).await;
    assert_eq!(imported["entries"][0]["result"], "code_filled", "{imported}");
    assert_eq!(imported["entries"][0]["differences"][1]["field"], "conditions", "{imported}");
    assert_eq!(imported["entries"][1]["result"], "written", "{imported}");
    let shown = place.json("civil-affairs", &["service", "show", SERVICE]).await;
    assert_eq!((shown["catalogue_code"].as_str(), shown["minor_version"].as_u64()), (Some("890000-0012/3"), Some(1)));
    let begun = imported["entries"][1]["file"].as_str().unwrap();
    place.json("civil-affairs", &["service", "check", begun]).await;
    place.json("civil-affairs", &["service", "publish", begun]).await;
    // What was taken over differs in nothing but what was left alone.
    let again = place.json("civil-affairs", &["catalogue", "import", part]).await;
    assert_eq!(again["entries"][0]["differences"].as_array().unwrap().len(), 1, "{again}");
    assert_eq!(again["entries"][1]["result"], "same", "{again}");
}
