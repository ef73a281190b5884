//! Questions that go on, on real processes: an import, a change and a database tell a death; whoever is down gets each change
//! once and in order; what is not granted any more is not told. Out of scope: what is a change (`trust::subscription`).

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use town::harness::{Scope, eventually};

use crate::{
    postgres_server,
    support::{
        BASIS, ITEM, MARRIAGE, MARRIED, Place, WIDOWED, claim, exit, housings_scope, marital_status,
        office_desk::{self, Desk},
        said, verdict,
        webhook::Receiver,
    },
};

const LONG: Duration = Duration::from_secs(60);

/// A register of who is alive, and where.
const LIFE: &str = "service: life-status\nversion: \"1.0\"\nname: {zh: 生存状态}\nsubject: [resident_id]\nsharing: conditional\n\
    legal_basis: [\"社会保险法 16\"]\nupdate_cycle: daily\nattributes:\n\
    \x20 alive: {type: boolean, operators: [equals]}\n\x20 place: {type: string, operators: [equals]}\n";

fn people(first: (bool, &str), second: (bool, &str)) -> String {
    let row = |subject: &str, (alive, place): (bool, &str)| format!("{subject},{alive},{place}\n");
    format!("resident_id,alive,place\n{}{}", row(&MARRIED, first), row(&WIDOWED, second))
}

/// Civil affairs with the register, and housing that may subscribe to it.
async fn town() -> Place {
    Place::start(|plan, dir| {
        let records = dir.join("life.csv");
        fs::write(&records, people((true, "东区"), (true, "西区"))).unwrap();
        let scope =
            Scope::of("alive", &["equals"]).and("place", &["equals"]).for_item(ITEM).on(&[BASIS]).with_notices();
        plan.department("civil-affairs").service(LIFE, records).department("housing").granting(
            "civil-affairs/life-status",
            "housing",
            scope,
        )
    })
    .await
}

async fn import(place: &Place, first: (bool, &str), second: (bool, &str)) {
    let file = place.dir().join("next.csv");
    fs::write(&file, people(first, second)).unwrap();
    place.json("civil-affairs", &["records", "import", "life-status", file.to_str().unwrap()]).await;
}

/// Subscribes housing to a claim about each of these; what the command said.
pub(crate) async fn subscribe(place: &Place, service: &str, claim: &str, subjects: &[&str]) -> (i32, Value) {
    let arguments = [
        "subscriptions",
        "add",
        service,
        "--claim",
        claim,
        "--item",
        ITEM,
        "--case",
        "YL-2026-0001",
        "--officer",
        "1024",
        "--json",
    ];
    let lines = subjects.iter().map(|subject| format!("{subject}\n")).collect::<String>();
    let output = place.town.cli_with_input("housing", &arguments, &lines).await.unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    (exit(&output), told)
}

/// Subscribes to whether one person is alive; the ticket.
async fn to_life(place: &Place, subject: &str) -> String {
    let (code, told) = subscribe(place, "civil-affairs/life-status", "alive=true", &[subject]).await;
    assert_eq!((code, &told["standing"]), (0, &json!(1)), "{told}");
    assert_eq!(told["subscribed"][0]["verdict"]["verdict"], "MATCH", "{told}");
    told["subscribed"][0]["ticket"].as_str().unwrap().to_owned()
}

/// The notices that housing has not seen to: ticket, number, verdict or why it is over.
async fn notices(place: &Place) -> Vec<(String, u64, String)> {
    let listed = place.json("housing", &["notices", "list"]).await;
    let one = |notice: &Value| {
        let word = notice["verdict"]["verdict"].as_str().or(notice["ended"]["code"].as_str()).unwrap();
        (notice["ticket"].as_str().unwrap().to_owned(), notice["number"].as_u64().unwrap(), word.to_owned())
    };
    listed["notices"].as_array().unwrap().iter().map(one).collect()
}

/// Waits until these notices are listed, and no others.
pub(crate) async fn come(place: &Place, expected: &[(&str, u64, &str)]) {
    let expected: Vec<_> =
        expected.iter().map(|(of, number, word)| ((*of).to_owned(), *number, (*word).to_owned())).collect();
    let came = eventually(LONG, async || notices(place).await.len() >= expected.len()).await;
    assert!(came, "{:?}", notices(place).await);
    assert_eq!(notices(place).await, expected);
}

/// A subscription as the side knows it that tells.
async fn given(place: &Place, ticket: &str) -> Value {
    let listed = place.json("civil-affairs", &["subscriptions", "list", "--given", "--all"]).await;
    let rows = listed["subscriptions"].as_array().unwrap();
    rows.iter().find(|row| row["ticket"] == ticket).unwrap_or_else(|| panic!("{listed}")).clone()
}

async fn until_given(place: &Place, ticket: &str, field: &str, value: Value) {
    let came = eventually(LONG, async || given(place, ticket).await[field] == value).await;
    assert!(came, "{field} {value}: {}", given(place, ticket).await);
}

/// Exports a department's evidence and checks it with the authority's key alone; how many answers it proves.
async fn proved(place: &Place, department: &str, receipt: &str) -> usize {
    let bundle = place.dir().join(format!("{department}-{receipt}"));
    // It may have been exported before something followed.
    let _ = fs::remove_file(&bundle);
    let bundle = bundle.to_str().unwrap();
    place.json(department, &["evidence", "export", receipt, "-o", bundle]).await;
    let arguments = ["evidence", "verify", bundle, "--authority", place.town.authority_key()];
    let checks = place.json(department, &arguments).await["checks"].clone();
    checks.as_array().unwrap().iter().filter(|check| check["name"] == "answer signature").count()
}

/// Whether any file of a folder holds a text.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        match path.is_dir() {
            true => holds(&path, text),
            false => fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()),
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_tells_a_death_and_an_unrelated_change_tells_nothing() {
    let place = town().await;
    let (one, other) = (to_life(&place, &MARRIED).await, to_life(&place, &WIDOWED).await);
    // Somebody moves: that is no change of what was subscribed to. Were it told, it would be number 2.
    import(&place, (true, "北区"), (true, "西区")).await;
    import(&place, (false, "北区"), (true, "西区")).await;
    come(&place, &[(&one, 2, "MISMATCH")]).await;
    until_given(&place, &one, "undelivered", json!(0)).await;
    assert_eq!(given(&place, &other).await["notices"], 0);

    // A single row that is changed tells as well.
    let changes = place.dir().join("changes.csv");
    fs::write(&changes, format!("resident_id,alive,place\n{},false,西区\n", *WIDOWED)).unwrap();
    place.json("civil-affairs", &["records", "apply", "life-status", changes.to_str().unwrap(), "--upsert"]).await;
    come(&place, &[(&one, 2, "MISMATCH"), (&other, 2, "MISMATCH")]).await;

    let shown = place.json("housing", &["subscriptions", "show", &one]).await;
    assert_eq!(
        (&shown["subject"]["value"], &shown["claim"]),
        (&json!(*MARRIED), &json!("alive equals true")),
        "{shown}"
    );
    let (first, second) = (shown["receipt"].as_str().unwrap(), shown["told"][0]["receipt"].as_str().unwrap());
    for receipt in [first, second] {
        assert_eq!(proved(&place, "housing", receipt).await, 2, "{receipt}");
    }
    let acknowledged = place.json("housing", &["notices", "ack", second]).await;
    assert_eq!(acknowledged["acknowledged"], 1);
    come(&place, &[(&other, 2, "MISMATCH")]).await;
    a_correction_beside(&place, first).await;
    come(&place, &[(&other, 2, "MISMATCH"), (&one, 3, "MATCH")]).await;
    assert_eq!(proved(&place, "housing", first).await, 3);
    assert_eq!(given(&place, &one).await["state"], "active");

    an_office_system_subscribes_over_http_and_is_told(&place).await;

    // The books of both sides know nobody.
    for department in ["housing", "civil-affairs"] {
        let node = place.town.node(department);
        assert!(!holds(&node.dir().join("duties"), &MARRIED), "{department}");
        assert!(!fs::read_to_string(node.log()).unwrap().contains(MARRIED.as_str()), "{department}");
    }
    place.town.stop().await.unwrap();
}

/// He lives after all: the answer to a single question is doubted and gets its successor, and what goes on tells the change in
/// its own succession. The subscription itself is not doubted.
async fn a_correction_beside(place: &Place, subscription: &str) {
    let doubt = |receipt: &str| {
        let arguments = ["corrections", "open", receipt, "--reason", "PAPER_SAYS_OTHERWISE", "--officer", "1024"];
        arguments.map(str::to_owned)
    };
    let open = async |receipt: &str| {
        let arguments = doubt(receipt);
        place.cli("housing", &arguments.each_ref().map(String::as_str)).await
    };
    let refused = open(subscription).await;
    assert!(exit(&refused) == 7 && said(&refused).contains("NOT_CORRECTABLE"), "{}", said(&refused));
    let mut question = marital_status(&MARRIED, "married");
    question.service = "life-status".into();
    question.claims = vec![claim("alive", "equals", "true")];
    let answer = place.ask(question).await;
    assert_eq!(verdict(&answer).verdict(), proto::exchange::v1::Verdict::Mismatch);
    let opened = open(&answer.receipt).await;
    assert_eq!(exit(&opened), 0, "{}", said(&opened));
    let inbox = async || {
        let listed = place.json("civil-affairs", &["corrections", "inbox", "--all"]).await;
        listed["corrections"][0]["id"].as_str().map(str::to_owned)
    };
    assert!(eventually(LONG, async || inbox().await.is_some()).await);
    let id = inbox().await.unwrap();
    import(place, (true, "北区"), (false, "西区")).await;
    let wrong = ["corrections", "decide", &id, "--record-was-wrong", "ENTRY_MENDED", "--officer", "2001"];
    place.json("civil-affairs", &wrong).await;
    let office = place.town.office("housing").await.unwrap();
    let followed = async || office.show(&answer.receipt).await.is_ok_and(|shown| shown.answer_number == 2);
    assert!(eventually(LONG, followed).await, "the single answer has its successor");
    let now = office.show(&answer.receipt).await.unwrap();
    assert_eq!(verdict(&now).verdict(), proto::exchange::v1::Verdict::Match);
}

/// An office system subscribes over HTTP, hears of the change by itself, and acknowledges it; what others subscribed to it does
/// not see.
async fn an_office_system_subscribes_over_http_and_is_told(place: &Place) {
    let desk = Desk::of(place).await;
    let told = Receiver::default();
    told.take(true);
    place.json("housing", &["webhook", "add", "housing-desk", &told.start().await]).await;
    let mut question = office_desk::question(&MARRIED, "");
    question["service"] = json!("life-status");
    question["claims"] = json!([{ "attribute": "alive", "operator": "equals", "operands": [true] }]);
    let subscribe = |until: &str| {
        let new = json!({ "question": question, "until": until });
        desk.call("POST", "/v1/subscriptions").json(&new).send()
    };
    let wrong = subscribe("tomorrow");
    assert_eq!((wrong.status, wrong.json()["field"].as_str()), (422, Some("until")), "{wrong:?}");
    let too_long = subscribe("2100-01-01T00:00:00Z");
    assert_eq!((too_long.status, too_long.problem().as_str()), (422, "SUBSCRIPTION_MALFORMED"), "{too_long:?}");
    let subscribed = desk.call("POST", "/v1/subscriptions").json(&json!({ "question": question })).send();
    assert_eq!(subscribed.status, 201, "{subscribed:?}");
    assert_eq!(subscribed.json()["first"]["verdicts"][0]["verdict"], "MATCH");
    let location = subscribed.headers["location"].clone();
    import(place, (false, "北区"), (false, "西区")).await;
    assert!(eventually(LONG, async || !told.of("subscription.changed").is_empty()).await, "{:?}", told.notices());
    let changed = told.of("subscription.changed").remove(0);
    assert_eq!(
        (&changed["data"]["ticket"], &changed["data"]["verdict"]["verdict"]),
        (&subscribed.json()["ticket"], &json!("MISMATCH")),
        "{changed}"
    );
    assert!(!changed.to_string().contains(MARRIED.as_str()), "a number stands in a notice");

    let listed = desk.call("GET", "/v1/subscriptions").send().json();
    assert_eq!(listed["subscriptions"].as_array().unwrap().len(), 1, "{listed}");
    let waiting = desk.call("GET", "/v1/notices").send().json();
    assert_eq!((&waiting["notices"][0]["subject"]["value"], &waiting["more"]), (&json!(*MARRIED), &json!(false)));
    let receipts = json!({ "receipts": [waiting["notices"][0]["receipt"]] });
    // A key of the same system that could not have subscribed to it sees nothing of it.
    for limit in [["--service", "tax/tax-paid"], ["--item", "别的事项"]] {
        let add = ["office-key", "add", "housing-desk", limit[0], limit[1]];
        let narrow = place.json("housing", &add).await["key"].as_str().unwrap().to_owned();
        let narrow = Desk { base: desk.base.clone(), key: narrow };
        assert_eq!(narrow.call("GET", "/v1/subscriptions?all=true").send().json()["subscriptions"], json!([]));
        assert_eq!(narrow.call("GET", "/v1/notices").send().json()["notices"], json!([]));
        assert_eq!(narrow.call("GET", &location).send().status, 404, "{limit:?}");
        let acknowledged = narrow.call("POST", "/v1/notices/acknowledgements").json(&receipts).send();
        assert_eq!(acknowledged.status, 404, "{acknowledged:?}");
    }
    let acknowledged = desk.call("POST", "/v1/notices/acknowledgements").json(&receipts).send().json();
    assert_eq!(acknowledged, json!({ "acknowledged": 1 }));
    assert_eq!(desk.call("GET", "/v1/notices").send().json()["notices"], json!([]));
    let other = place.json("housing", &["office-key", "add", "other-desk"]).await;
    let other = Desk { base: desk.base.clone(), key: other["key"].as_str().unwrap().to_owned() };
    for method in ["GET", "DELETE"] {
        assert_eq!(other.call(method, &location).send().status, 404, "{method}");
    }
    assert_eq!(desk.call("DELETE", &location).send().json()["state"], "over");
    let shown = desk.call("GET", &location).send().json();
    assert_eq!((&shown["claim"]["attribute"], &shown["notices"][0]["number"]), (&json!("alive"), &json!(2)), "{shown}");

    // Where the provider ends it, the office hears of that too.
    let again = desk.call("POST", "/v1/subscriptions").json(&json!({ "question": question })).send();
    assert_eq!(again.status, 201, "{again:?}");
    revoke(place).await;
    let ticket = again.json()["ticket"].clone();
    let ended = || told.of("subscription.ended").into_iter().find(|notice| notice["data"]["ticket"] == ticket);
    assert!(eventually(LONG, async || ended().is_some()).await, "{:?}", told.notices());
    let ended = ended().unwrap();
    assert_eq!(ended["data"]["ended"]["code"], "GRANT_REVOKED", "{ended}");
    assert!(ended["data"].get("verdict").is_none() && ended["data"].get("subject").is_none(), "{ended}");
}

/// Civil affairs revokes housing's grant.
async fn revoke(place: &Place) {
    let granted = place.json("civil-affairs", &["access", "list", "--state", "granted"]).await;
    let id = granted["access"][0]["id"].as_str().or(granted["access"][0]["applied"]["id"].as_str()).unwrap().to_owned();
    place.json("civil-affairs", &["access", "revoke", &id, "--reason", "the project has ended"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_down_gets_each_change_once_and_in_order() {
    let place = town().await;
    let ticket = to_life(&place, &MARRIED).await;
    let (housing, civil_affairs) = (place.town.node("housing"), place.town.node("civil-affairs"));
    housing.kill();
    for (count, alive) in [(1, false), (2, true), (3, false)] {
        import(&place, (alive, "东区"), (true, "西区")).await;
        until_given(&place, &ticket, "notices", json!(count)).await;
    }
    assert_eq!(given(&place, &ticket).await["undelivered"], 3);
    civil_affairs.kill();
    civil_affairs.start().await.unwrap();
    assert_eq!(given(&place, &ticket).await["undelivered"], 3, "nothing is lost, and nothing told anew");
    housing.start().await.unwrap();
    let told = [(ticket.as_str(), 2, "MISMATCH"), (&ticket, 3, "MATCH"), (&ticket, 4, "MISMATCH")];
    come(&place, &told).await;
    until_given(&place, &ticket, "undelivered", json!(0)).await;

    for node in [housing, civil_affairs] {
        node.kill();
        node.start().await.unwrap();
    }
    import(&place, (true, "东区"), (true, "西区")).await;
    come(&place, &[told[0], told[1], told[2], (&ticket, 5, "MATCH")]).await;
    let shown = place.json("housing", &["subscriptions", "show", &ticket]).await;
    assert_eq!(proved(&place, "housing", shown["receipt"].as_str().unwrap()).await, 5);
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_or_no_longer_wanted_is_over_on_both_sides() {
    let place = town().await;
    let (kept, unwanted) = (to_life(&place, &MARRIED).await, to_life(&place, &WIDOWED).await);
    place.json("housing", &["subscriptions", "remove", &unwanted]).await;
    until_given(&place, &unwanted, "reason", json!("SUBSCRIPTION_OVER")).await;
    until_given(&place, &unwanted, "undelivered", json!(0)).await;
    assert_eq!(notices(&place).await, [], "nobody is told what was wished for");
    assert_eq!(given(&place, &kept).await["state"], "active");

    revoke(&place).await;
    come(&place, &[(&kept, 2, "GRANT_REVOKED")]).await;
    until_given(&place, &kept, "state", json!("over")).await;
    // Neither death is told to anybody.
    import(&place, (false, "东区"), (false, "西区")).await;
    let mine = place.json("housing", &["subscriptions", "list", "--all"]).await;
    let states: Vec<_> = mine["subscriptions"].as_array().unwrap().iter().map(|row| &row["reason"]).collect();
    assert_eq!(states, [&json!("unsubscribed"), &json!("GRANT_REVOKED")], "{mine}");
    assert!(place.json("housing", &["subscriptions", "list"]).await["subscriptions"].as_array().unwrap().is_empty());
    let (code, told) = subscribe(&place, "civil-affairs/life-status", "alive=true", &[&MARRIED]).await;
    assert_eq!((code, &told["standing"]), (7, &json!(0)), "{told}");
    assert_eq!(given(&place, &kept).await["notices"], 1, "its end, and nothing after it");
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_does_not_say_so_is_refused_and_every_value_is_a_guess() {
    let place = Place::civil_affairs_and_housing().await;
    let (code, told) =
        subscribe(&place, "civil-affairs/marriage-registration", "marital_status=married", &[&MARRIED]).await;
    assert_eq!(code, 7, "{told}");
    assert_eq!(told["subscribed"][0]["refusal"]["code"], "SUBSCRIPTION_NOT_GRANTED", "{told}");
    assert!(
        place.json("housing", &["subscriptions", "list", "--all"]).await["subscriptions"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    place.town.stop().await.unwrap();

    // Whoever subscribes to one value after the other finds no more than whoever asks.
    let place = town().await;
    for value in ["一", "二", "三"] {
        let (code, told) = subscribe(&place, "civil-affairs/life-status", &format!("place={value}"), &[&MARRIED]).await;
        assert_eq!(code, 0, "{told}");
    }
    let (code, told) = subscribe(&place, "civil-affairs/life-status", "place=四", &[&MARRIED]).await;
    assert_eq!(code, 7, "{told}");
    assert_eq!(told["subscribed"][0]["refusal"]["code"], "GUESS_BUDGET_SPENT", "{told}");
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_say_so_is_looked_at_by_and_by() {
    let Some(mut scratch) = postgres_server::own("a_database_that_cannot_say_so_is_looked_at").await else { return };
    scratch.sql(&format!(
        "CREATE TABLE marriages (number char(18) PRIMARY KEY, state text, registered date);
         INSERT INTO marriages VALUES ('{}', 'married', '2018-05-20')",
        *MARRIED
    ));
    let place = Place::start(|plan, _| {
        plan.department("civil-affairs").service_without_records(MARRIAGE).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            housings_scope().with_notices(),
        )
    })
    .await;
    let node = place.town.node("civil-affairs");
    node.stop().await.unwrap();
    let sources = format!(
        "[sources.civil]\nkind = \"postgres\"\nhost = \"{}\"\ndatabase = \"{}\"\nuser = \"{}\"\ntimeout_ms = 2000\npause = \"1s\"\n\n\
         [services.marriage-registration]\nsource = \"civil\"\npoll = \"1s\"\n\
         query = \"SELECT state AS marital_status, registered AS registered_on FROM marriages WHERE number = :subject\"\n",
        scratch.server().socket().display(),
        scratch.database(),
        postgres_server::USER
    );
    fs::write(node.dir().join("sources.toml"), sources).unwrap();
    node.start().await.unwrap();
    let answers = eventually(LONG, async || {
        let answer = place.ask(marital_status(&MARRIED, "married")).await;
        answer.verdicts.first().is_some_and(|claim| claim.verdict() == proto::exchange::v1::Verdict::Match)
    });
    assert!(answers.await);
    let service = "civil-affairs/marriage-registration";
    let (code, told) = subscribe(&place, service, "marital_status=married", &[&MARRIED]).await;
    assert_eq!(code, 0, "{told}");
    let ticket = told["subscribed"][0]["ticket"].as_str().unwrap();

    // An outage tells nothing; what changed meanwhile is told once it is over.
    tokio::task::block_in_place(|| scratch.own_server().stop());
    let is_down = eventually(LONG, async || {
        let answer = place.ask(marital_status(&MARRIED, "married")).await;
        answer.verdicts.first().is_some_and(|claim| claim.verdict() == proto::exchange::v1::Verdict::Unavailable)
    });
    assert!(is_down.await);
    tokio::task::block_in_place(|| scratch.own_server().run(&[]));
    scratch.sql("UPDATE marriages SET state = 'widowed'");
    come(&place, &[(ticket, 2, "MISMATCH")]).await;
    scratch.sql("UPDATE marriages SET state = 'married'");
    come(&place, &[(ticket, 2, "MISMATCH"), (ticket, 3, "MATCH")]).await;
    place.town.stop().await.unwrap();
}
