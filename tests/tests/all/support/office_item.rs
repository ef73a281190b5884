//! Housing's item, with one proof that the marriage register answers. Out of scope: the demo town's items.

use std::fs;

use super::Place;

const ITEM: &str = r#"
item: 公租房申请
name: {zh: 公租房申请, en: Public rental housing}
legal_basis: ["公共租赁住房管理办法 7"]
accepting_unit: 住房保障窗口
steps:
  - {step: 受理, actor: 住房保障窗口, working_days: 1}
samples: ["申请表.pdf", {file: 示例.txt, kind: mistake}]
fees: 不收费
time_limit_working_days: 20
contact: 0890-000-0301
proofs:
  - proof: 婚姻状况证明
    legal_basis: ["公共租赁住房管理办法 7"]
    issuing_unit: 民政局婚姻登记处
    answered_by: civil-affairs/marriage-registration
    claim: {attribute: marital_status, operator: equals, stated: marital_status}
"#;

/// Publishes it, and waits until housing's own node has it.
pub(crate) async fn publish_item(place: &Place) {
    let file = place.dir().join("item.yaml");
    fs::write(&file, ITEM).unwrap();
    fs::write(place.dir().join("示例.txt"), "abc").unwrap();
    place.json("housing", &["item", "publish", file.to_str().unwrap()]).await;
    place.town.settled().await.unwrap();
}
