//! The guide for back-office software: what it shows is run as it stands, in both languages the same. Out of scope: whether
//! the programs understand its other commands (`guides`).

use std::process::Command;

use exchange_node::office::notice::KINDS;

use crate::support::{Place, document::Document, exit, root, said};

const GUIDES: [&str; 2] = ["docs/back-office.md", "docs/back-office.zh.md"];

/// The configuration in the guide is one that the node reads.
#[test]
fn the_settings_of_the_guide_are_read() {
    for name in GUIDES {
        let guide = Document::read(name);
        let block = guide.blocks.iter().find(|block| block.language == "toml").expect("settings");
        let (_, settings) = block.text.split_once("[office]").expect("the table");
        let path = std::path::Path::new("node.toml");
        let read = host::config::parse::<exchange_node::office::settings::OfficeSettings>(settings, path).unwrap();
        assert_eq!(read.names, ["node.housing.example"]);
    }
}

/// What the job of the guide comes to.
const BATCH: &str = "[0,\"answered\",\"MATCH\"]\n[1,\"refused\",\"SUBJECT_MALFORMED\"]";

/// Every kind of notice is explained.
#[test]
fn the_guide_names_every_kind_of_notice() {
    for name in GUIDES {
        let text = std::fs::read_to_string(root().join(name)).unwrap();
        for kind in KINDS {
            assert!(text.contains(&format!("`{kind}`")), "{name}: {kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_office_guide_works_as_it_stands() {
    let place = Place::civil_affairs_and_housing().await;
    let office = place.town.node("housing").office_address();
    let mut scripts = Vec::new();
    for name in GUIDES {
        let guide = Document::read(name);
        let script = format!("{}\n{}", guide.tested("ask").text, guide.tested("batch").text);
        let script = script.replace("127.0.0.1:7480", &office);
        let programs = place.town.programs().exchange_node().parent().unwrap().display().to_string();
        let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
        let ran = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(place.dir())
            .env("PATH", path)
            .env("EXCHANGE_DIR", place.town.node("housing").dir())
            .output()
            .unwrap();
        let said = said(&ran);
        assert_eq!(exit(&ran), 0, "{name}: {said}");
        for part in ["\"answered\"\n\"MATCH\"", "\"what\": \"asked\"", "\"marriage-registration\"", BATCH] {
            assert!(said.contains(part), "{name}: {part}: {said}");
        }
        scripts.push(script.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n"));
    }
    assert_eq!(scripts[0], scripts[1]);
}
