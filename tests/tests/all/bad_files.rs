//! Malformed files: what is wrong is told by file, line, field and reason, the exit code is 2 (7 where a node
//! refuses rows), and nothing has changed.

use std::{fs, path::Path, process::Output};

use proto::exchange::v1::Verdict;
use serde_json::Value;

use crate::support::{MARRIAGE, MARRIED, Place, SINGLE, WIDOWED, exit, marital_status, said, verdict};

/// A file that is wrong by itself.
fn assert_wrong(output: &Output, parts: &[&str]) {
    assert_eq!(exit(output), 2, "{}", said(output));
    assert_told(output, parts);
}

/// Rows that the node refuses to import.
fn assert_not_imported(output: &Output, parts: &[&str]) {
    assert_eq!(exit(output), 7, "{}", said(output));
    assert_told(output, parts);
}

fn assert_told(output: &Output, parts: &[&str]) {
    for part in parts {
        assert!(said(output).contains(part), "`{part}` is not in: {}", said(output));
    }
}

fn written(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn records(place: &Place) -> Value {
    place.json("civil-affairs", &["status"]).await["records"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_a_file_is_named_and_changes_nothing() {
    let place = Place::civil_affairs_and_housing().await;
    Box::pin(a_bad_row_is_named_and_nothing_is_half_imported(&place)).await;
    Box::pin(a_bad_service_description_says_everything_that_is_wrong_at_once(&place)).await;
    Box::pin(quarantined_rows_make_their_subjects_unavailable_and_nobody_else(&place)).await;
    Box::pin(a_bad_token_makes_no_node(&place)).await;
    // It ends the registry.
    Box::pin(a_bad_configuration_keeps_a_program_from_starting(&place)).await;
}

async fn a_bad_row_is_named_and_nothing_is_half_imported(place: &Place) {
    let (dir, before) = (place.dir().to_owned(), records(place).await);
    assert_eq!(before[0]["rows"], 2);
    let good = &*WIDOWED;
    let head = "resident_id,marital_status,registered_on";
    let cases: &[(&str, String, &[&str])] = &[
        ("member.csv", format!("{head}\n{good},engaged,2020-01-01\n"), &["member.csv:2: marital_status: "]),
        (
            "date.csv",
            format!("{head}\n{good},single,2020-01-01\n{good},single,2020-13-01\n"),
            &["date.csv:3: registered_on: "],
        ),
        ("number.csv", format!("{head}\n890101199111250020,single,2020-01-01\n"), &["number.csv:2: resident_id: "]),
        (
            "spreadsheet.csv",
            format!("{head}\n8.90101E+17,single,2020-01-01\n"),
            &["spreadsheet.csv:2: resident_id: ", "spreadsheet"],
        ),
        ("column.csv", format!("{head},colour\n{good},single,2020-01-01,red\n"), &["column.csv:1: colour"]),
        ("missing.csv", format!("resident_id,registered_on\n{good},2020-01-01\n"), &["missing.csv:1: marital_status"]),
        ("short.csv", format!("{head}\n{good},single\n"), &["short.csv:2: "]),
        ("quote.csv", format!("{head}\n\"{good},single,2020-01-01\n"), &["quote.csv:"]),
        ("empty.csv", String::new(), &["empty.csv:1: "]),
        (
            "member.jsonl",
            format!("{{\"resident_id\": \"{good}\", \"marital_status\": \"engaged\"}}\n"),
            &["member.jsonl:1: marital_status: "],
        ),
        ("broken.jsonl", "{\"resident_id\": \n".to_owned(), &["broken.jsonl:1: "]),
    ];
    for (name, content, parts) in cases {
        let file = written(&dir, name, content);
        let output = place.cli("civil-affairs", &["records", "import", "marriage-registration", &file]).await;
        assert_not_imported(&output, parts);
        // Line and field tell enough; whose row it is stays in the file.
        assert!(
            !said(&output).contains(good.as_str()) && !said(&output).contains("89010119911125002"),
            "{}",
            said(&output)
        );
        assert_eq!(records(place).await, before, "{name}: something has changed");
    }
    let latin =
        written(&dir, "latin.csv", [head.as_bytes(), b"\n", good.as_bytes(), b",\xff\xfe,2020-01-01\n"].concat());
    let output = place.cli("civil-affairs", &["records", "import", "marriage-registration", &latin]).await;
    assert_wrong(&output, &["latin.csv: line 2: ", "neither UTF-8 nor GB18030"]);
    let fine = written(&dir, "fine.csv", format!("{head}\n{good},single,2020-01-01\n"));
    let none = place.cli("civil-affairs", &["records", "import", "horse-registration", &fine]).await;
    assert!([2, 7].contains(&exit(&none)) && said(&none).contains("horse-registration"), "{}", said(&none));
    assert_eq!(records(place).await, before);
    assert_eq!(verdict(&place.ask(marital_status(&MARRIED, "married")).await).verdict(), Verdict::Match);
}

async fn quarantined_rows_make_their_subjects_unavailable_and_nobody_else(place: &Place) {
    let head = "resident_id,marital_status,registered_on";
    let rows = format!("{head}\n{},married,2018-05-20\n{},engaged,2021-11-03\n", *MARRIED, *WIDOWED);
    let file = written(place.dir(), "quarantine.csv", rows);
    let output =
        place.cli("civil-affairs", &["records", "import", "marriage-registration", &file, "--quarantine"]).await;
    assert_eq!(exit(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("quarantine.csv:3: marital_status"), "{}", said(&output));
    assert_eq!(records(place).await[0]["quarantined"], 1);
    let aside = place.ask(marital_status(&WIDOWED, "widowed")).await;
    assert_eq!((verdict(&aside).verdict(), verdict(&aside).reason.as_str()), (Verdict::Unavailable, "quarantined"));
    assert_eq!(verdict(&place.ask(marital_status(&MARRIED, "married")).await).verdict(), Verdict::Match);
    assert_eq!(verdict(&place.ask(marital_status(&SINGLE, "single")).await).verdict(), Verdict::Match);
}

async fn a_bad_service_description_says_everything_that_is_wrong_at_once(place: &Place) {
    let before = place.json("civil-affairs", &["service", "list"]).await;
    let unknown = MARRIAGE.replace("    absence: single", "    absense: single");
    let several = MARRIAGE.replace("type: enum", "type: emum").replace("sharing: conditional", "sharing: maybe");
    let cases: &[(&str, String, &[&str])] = &[
        ("unknown.yaml", unknown, &["unknown.yaml:14: ", "absense"]),
        ("several.yaml", several, &["several.yaml:6: sharing", "several.yaml:10: attributes.marital_status.type"]),
        ("broken.yaml", "service: [marriage\n".to_owned(), &["broken.yaml:"]),
        (
            "operator.yaml",
            MARRIAGE.replace("operators: [equals, one_of]", "operators: [equals, before]"),
            &["operator.yaml:12: ", "before"],
        ),
        ("empty.yaml", String::new(), &["empty.yaml:1: "]),
    ];
    for (name, content, parts) in cases {
        let file = written(place.dir(), name, content);
        for command in ["check", "publish"] {
            assert_wrong(&place.cli("civil-affairs", &["service", command, &file]).await, parts);
        }
    }
    assert_eq!(place.json("civil-affairs", &["service", "list"]).await, before);
}

async fn a_bad_configuration_keeps_a_program_from_starting(place: &Place) {
    let node = place.town.node("housing");
    node.stop().await.unwrap();
    let good = fs::read_to_string(node.dir().join("node.toml")).unwrap();
    for (before, after, parts) in [
        ("node = \"1\"", "node = \"Node 1\"", &["node.toml", "line 4", "field `node`"][..]),
        ("[limits]", "colour = \"red\"\n[limits]", &["node.toml", "colour"]),
        ("peer_listen = \"127", "peer_listen = \"327", &["node.toml", "peer_listen"]),
        ("[limits]", "[limits", &["node.toml", "line"]),
        ("answers_at_once = 1024", "answers_at_once = \"many\"", &["node.toml", "answers_at_once"]),
    ] {
        node.edit_config(|text| text.replace(before, after)).unwrap();
        assert_ne!(fs::read_to_string(node.dir().join("node.toml")).unwrap(), good, "`{before}` is not in node.toml");
        let config = node.dir().join("node.toml");
        let output = place.cli("housing", &["serve", "--config", config.to_str().unwrap()]).await;
        assert_wrong(&output, parts);
        node.edit_config(|_| good.clone()).unwrap();
    }
    node.start().await.unwrap();

    place.town.registry().stop().await.unwrap();
    let config = place.town.registry().dir().join("registry.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replacen("listen = \"127", "listen = \"327", 1)).unwrap();
    let output = place.town.registry_cli(&["serve", "--config", config.to_str().unwrap()]).await.unwrap();
    assert_wrong(&output, &["registry.toml", "listen"]);
}

async fn a_bad_token_makes_no_node(place: &Place) {
    let token = written(place.dir(), "taxation.token", "");
    fs::remove_file(&token).unwrap();
    let admit = ["department", "admit", "taxation", "--name", "税务局", "--uscc", "11890000000001046L", "-o", &token];
    let admitted = place.town.registry_cli(&admit).await.unwrap();
    assert_eq!(exit(&admitted), 0, "{}", said(&admitted));
    let good = fs::read_to_string(&token).unwrap();
    let folder = place.dir().join("taxation");
    let init = async |token: &str| {
        let arguments =
            ["init", "--token-file", token, "--address", "127.0.0.1:0", "--office-address", "127.0.0.1:0", "--dir"];
        let arguments: Vec<&str> = arguments.into_iter().chain([folder.to_str().unwrap()]).collect();
        place.cli("housing", &arguments).await
    };
    let changed = |field: &str, value: &str| {
        let line = |line: &str| match line.split_once(" = ") {
            Some((name, _)) if name == field => format!("{name} = {value}"),
            _ => line.to_owned(),
        };
        good.lines().map(|text| line(text) + "\n").collect::<String>()
    };
    let other_digits = format!("\"{}\"", "ab".repeat(32));
    for (name, content, code, part) in [
        ("nothing.token", String::new(), 2, "exchange"),
        ("short.token", good[..good.len() / 2].to_owned(), 2, "short.token"),
        ("letter.token", "dear colleague, here is your token".to_owned(), 2, "line 1"),
        ("digits.token", changed("secret", "\"abc\""), 2, "digits.token: line 8: secret must be"),
        ("field.token", good.clone() + "colour = \"red\"\n", 2, "colour"),
        ("secret.token", changed("secret", &other_digits), 7, "MAC_WRONG"),
        ("department.token", changed("department", "\"housing\""), 7, "TOKEN_UNKNOWN"),
        ("registry.token", changed("registry_tls_key", &other_digits), 3, "registry"),
    ] {
        let file = written(place.dir(), name, content);
        let output = init(&file).await;
        assert_eq!(exit(&output), code, "{name}: {}", said(&output));
        assert!(said(&output).contains(part), "{name}: `{part}` is not in: {}", said(&output));
        assert!(!folder.join("node.toml").exists(), "{name}: a node was made");
    }
    let made = init(&token).await;
    assert_eq!(exit(&made), 0, "{}", said(&made));
    // Used once, by one department: elsewhere it is of no use.
    let second = place.dir().join("second");
    let arguments = [
        "init",
        "--token-file",
        &token,
        "--address",
        "127.0.0.1:0",
        "--office-address",
        "127.0.0.1:0",
        "--dir",
        second.to_str().unwrap(),
    ];
    let output = place.cli("housing", &arguments).await;
    assert_eq!(exit(&output), 7, "{}", said(&output));
    assert!(!second.join("node.toml").exists());
}
