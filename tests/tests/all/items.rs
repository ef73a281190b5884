//! Public service items on real processes: a guide is whole or refused by name, what a department can answer is not asked of the
//! applicant, circles are refused with their path, and old versions stay.

use std::path::Path;

use town::harness::Plan;

use crate::support::{
    MARRIAGE, MARRIED, Place,
    cases::{self, Desk, MARRIAGE_ALONE, applicant, application, item_file, publish, refused},
    exit, said,
};

/// Civil affairs publishes its register only later.
fn bare(plan: Plan, _: &Path) -> Plan {
    plan.department("civil-affairs").department("housing")
}

/// The item while it still asks for the paper.
fn on_paper(fees: &str) -> String {
    let (before, after) = MARRIAGE_ALONE.split_once(", answered_by").unwrap();
    let commitment = after.rsplit_once(", commitment").unwrap().1;
    format!("{before}, commitment{commitment}").replace("fees: 不收费", &format!("fees: {fees}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_is_whole_asks_for_nothing_that_a_service_answers_and_keeps_its_old_versions() {
    let place = Place::start(bare).await;
    // Everything that is missing, with lines, and no running node is needed.
    let broken =
        on_paper("不收费").replace("contact: 住房保障中心 0890-000-0701\n", "").replace("accepting_unit", "unit");
    let file = item_file(&place, &broken);
    let told = place.cli("housing", &["item", "check", "--offline", &file]).await;
    assert_eq!(exit(&told), 2, "{}", said(&told));
    for what in ["contact", "accepting_unit", "item.yaml:5: unit: there is no such field"] {
        assert!(said(&told).contains(what), "{what}: {}", said(&told));
    }
    let lawless = on_paper("不收费").replace("legal_basis: [\"公共租赁住房管理办法 8\"], ", "");
    let told = place.cli("housing", &["item", "publish", &item_file(&place, &lawless)]).await;
    assert_eq!(exit(&told), 2, "{}", said(&told));
    assert!(said(&told).contains("proofs[0].legal_basis: is missing"), "{}", said(&told));

    let first = publish(&place, &on_paper("工本费")).await;
    assert_eq!(first["version"], 1);
    let desk = Desk::at(&place).await;
    let old = desk.open(application("A-1", vec![applicant(&MARRIED, "沈知夏", "married")])).await;
    assert_eq!((old.item_version, cases::proof(&old, "婚姻状况证明").reason.as_str()), (1, "no_service"));
    assert!(place.json("housing", &["item", "findings"]).await["findings"].as_array().unwrap().is_empty());

    // The register comes: the item has a finding, and cannot be said again as it was.
    let description = place.dir().join("marriage.yaml");
    std::fs::write(&description, MARRIAGE).unwrap();
    place.json("civil-affairs", &["service", "publish", description.to_str().unwrap()]).await;
    place.town.settled().await.unwrap();
    let findings = place.json("housing", &["item", "findings"]).await;
    let finding = &findings["findings"][0];
    assert_eq!((&finding["kind"], &finding["proof"]), (&"now_obtainable".into(), &"婚姻状况证明".into()), "{findings}");
    assert_eq!(finding["services"][0], "civil-affairs/marriage-registration");
    let told = refused(&place, &["item", "publish", &item_file(&place, &on_paper("不收费"))]).await;
    assert!(
        told.contains("may not be asked of the applicant: civil-affairs/marriage-registration answers it"),
        "{told}"
    );

    let second = publish(&place, MARRIAGE_ALONE).await;
    assert_eq!(second["version"], 2);
    assert!(place.json("housing", &["item", "findings"]).await["findings"].as_array().unwrap().is_empty());
    let shown = place.json("housing", &["item", "show", "公租房申请"]).await;
    assert_eq!((&shown["version"], &shown["proofs"][0]["not_to_be_submitted"]), (&2.into(), &true.into()), "{shown}");
    let shown = place.json("housing", &["item", "show", "公租房申请", "--item-version", "1"]).await;
    assert_eq!((&shown["fees"], &shown["in_force"]), (&"工本费".into(), &false.into()), "{shown}");
    // The old case stays under the version it was filed under, and a new one begins under the new one.
    let shown = place.json("housing", &["case", "show", "A-1"]).await;
    assert_eq!(shown["item_version"], 1);
    let new = desk.open(application("A-2", vec![applicant(&MARRIED, "沈知夏", "married")])).await;
    assert_eq!(new.item_version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn papers_that_lead_in_a_circle_are_refused_with_their_path() {
    let place = Place::start(bare).await;
    let item = |id: &str, asks: &str, issues: &str| {
        let item = on_paper("不收费").replace("item: 公租房申请", &format!("item: {id}\nissues: [{issues}]"));
        item.replace("proof: 婚姻状况证明", &format!("proof: {asks}"))
    };
    publish(&place, &item("居住证明开具", "租房证明", "居住证明")).await;
    publish(&place, &item("租房证明开具", "在学证明", "租房证明")).await;
    let told =
        refused(&place, &["item", "publish", &item_file(&place, &item("在学证明开具", "居住证明", "在学证明"))]).await;
    let path = "housing/在学证明开具 → 居住证明 → housing/居住证明开具 → 租房证明 → housing/租房证明开具 → 在学证明 → housing/在学证明开具";
    assert!(told.contains(path), "{told}");
    let dot = place.json("civil-affairs", &["item", "graph"]).await;
    assert!(dot["graph"].as_str().unwrap().starts_with("digraph items"), "{dot}");
    let mermaid = place.json("civil-affairs", &["item", "graph", "租房证明开具", "--format", "mermaid"]).await;
    let graph = mermaid["graph"].as_str().unwrap();
    assert!(graph.contains("在学证明") && !graph.contains("居住证明"), "{graph}");
}

/// The five items of the town, with their services' descriptions.
const ITEMS: [&str; 5] = [
    include_str!("../../../examples/town/items/birth-registration.yaml"),
    include_str!("../../../examples/town/items/housing-fund-withdrawal.yaml"),
    include_str!("../../../examples/town/items/pension-eligibility.yaml"),
    include_str!("../../../examples/town/items/public-rental-housing.yaml"),
    include_str!("../../../examples/town/items/teacher-qualification.yaml"),
];

#[test]
fn the_five_items_of_the_town_are_whole_and_ask_what_their_services_answer() {
    for text in ITEMS {
        let item = exchange_node::item_file::parse(text, "item.yaml").unwrap_or_else(|wrong| panic!("{wrong:#?}"));
        for proof in &item.proofs {
            let (_, service) = proof.answered_by.split_once('/').unwrap();
            let file = crate::support::root().join(format!("examples/town/services/{service}.yaml"));
            let described =
                exchange_node::service_file::parse(&std::fs::read_to_string(&file).unwrap(), service).unwrap();
            let claim = proof.claim.as_ref().unwrap();
            let attribute = described.attributes.iter().find(|attribute| attribute.name == claim.attribute);
            let attribute = attribute.unwrap_or_else(|| panic!("{service} has no {}", claim.attribute));
            assert!(attribute.operators.contains(&claim.operator), "{service}: {}", claim.operator);
            assert!(described.items.contains(&item.item), "{service} is not meant for {}", item.item);
            let needed = described.inputs.iter().filter(|input| input.required);
            for input in needed {
                assert!(proof.inputs.iter().any(|given| given.name == input.name), "{service} needs {}", input.name);
            }
        }
    }
}
