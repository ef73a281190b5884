//! What the scenarios about items and cases share: a small town of those who keep records, made-up people in them, an item, and
//! the offices' calls. Out of scope: what they show.

use std::{fs, path::Path, sync::LazyLock};

use proto::office::v1::{Case, CasePerson, CaseProof, OpenCaseRequest, ProofOutcome, cases_client::CasesClient};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use town::harness::{Plan, Scope};

use super::{ITEM, MARRIAGE, MARRIED, Place, SINGLE, WIDOWED, exit, resident, said};

/// Married to [`MARRIED`].
pub(crate) static SPOUSE: LazyLock<String> = LazyLock::new(|| resident(1990, 6, 1, 3));

/// Names of the made-up people, in the order of the records.
pub(crate) const NAMES: [&str; 4] = ["沈知夏", "顾长庚", "林晚晴", "陆安"];

const IDENTITY: &str = include_str!("../../../../examples/town/services/resident-identity.yaml");
const PROPERTY: &str = include_str!("../../../../examples/town/services/property-ownership.yaml");
const TAX: &str = include_str!("../../../../examples/town/services/tax-paid.yaml");

/// An item with four proofs: who somebody is, married or not, no house, and what a household earns.
pub(crate) const RENTAL: &str = r#"
item: 公租房申请
name: {zh: 公租房申请, en: Public rental housing}
legal_basis: ["公共租赁住房管理办法 7"]
accepting_unit: 住房保障中心
steps:
  - {step: 受理, actor: 综合窗口, working_days: 1}
samples: [公租房申请表填写示范]
fees: 不收费
time_limit_working_days: 20
contact: 住房保障中心 0890-000-0701
proofs:
  - {proof: 身份证明, legal_basis: ["公共租赁住房管理办法 8"], issuing_unit: 派出所, answered_by: public-security/resident-identity, claim: {attribute: name, operator: equals}}
  - {proof: 婚姻状况证明, legal_basis: ["公共租赁住房管理办法 8"], issuing_unit: 民政局, answered_by: civil-affairs/marriage-registration, claim: {attribute: marital_status, operator: equals}, commitment: true}
  - {proof: 无房证明, legal_basis: ["公共租赁住房管理办法 7"], issuing_unit: 不动产登记中心, answered_by: natural-resources/property-ownership, inputs: {region: {stated: region}}, claim: {attribute: has_property, operator: equals, value: false}, commitment: true}
  - {proof: 收入证明, legal_basis: ["公共租赁住房管理办法 7"], issuing_unit: 用人单位, about: household, answered_by: taxation/tax-paid, inputs: {period: {stated: period}, tax_type: {value: individual_income}}, claim: {attribute: annual_income, operator: at_most, value: "60000"}}
"#;

/// [`RENTAL`], where the marriage register's answer gives the spouse's number to what is asked about the household.
pub(crate) fn rental_with_given_spouse() -> String {
    let giver = r#"
  - {proof: 配偶关系证明, legal_basis: ["公共租赁住房管理办法 8"], issuing_unit: 民政局, answered_by: civil-affairs/marriage-registration, claim: {attribute: spouse_resident_id, operator: exists}, gives: spouse.resident_id, optional: true}"#;
    RENTAL.replace("\nproofs:", &format!("\nproofs:{giver}"))
}

/// The marriage register, which may disclose the spouse's number.
fn marriage() -> String {
    let spouse = "  spouse_resident_id:
    type: string
    operators: [equals, exists]
    discloses: true
    sensitivity: sensitive
    rows: latest registered_on
    label: {zh: 配偶公民身份号码, en: Number of the spouse}
";
    MARRIAGE.replace("  registered_on:\n", &format!("{spouse}  registered_on:\n"))
}

/// An item with the marriage register's proof alone, which may be committed to.
pub(crate) const MARRIAGE_ALONE: &str = r#"
item: 公租房申请
name: {zh: 公租房申请, en: Public rental housing}
legal_basis: ["公共租赁住房管理办法 7"]
accepting_unit: 住房保障中心
steps:
  - {step: 受理, actor: 综合窗口, working_days: 1}
samples: [公租房申请表填写示范]
fees: 不收费
time_limit_working_days: 20
contact: 住房保障中心 0890-000-0701
proofs:
  - {proof: 婚姻状况证明, legal_basis: ["公共租赁住房管理办法 8"], issuing_unit: 民政局, answered_by: civil-affairs/marriage-registration, claim: {attribute: marital_status, operator: equals}, commitment: true}
"#;

/// Those who keep records for [`RENTAL`], and housing, which asks them.
pub(crate) fn departments(plan: Plan, dir: &Path) -> Plan {
    let people = [&*MARRIED, &*WIDOWED, &*SINGLE, &*SPOUSE];
    let rows: String = people.iter().zip(NAMES).map(|(number, name)| format!("{number},{name},true\n")).collect();
    fs::write(dir.join("identity.csv"), format!("resident_id,name,alive\n{rows}")).unwrap();
    fs::write(dir.join("property.csv"), format!("resident_id,region,has_property\n{},890101,true\n", *WIDOWED))
        .unwrap();
    let income = |number: &str, yuan: u32| format!("{number},2025,individual_income,true,{yuan}.00,2026-10-31\n");
    let taxes = [income(&MARRIED, 31_000), income(&SPOUSE, 28_000), income(&WIDOWED, 61_000), income(&SINGLE, 20_000)];
    let header = "resident_id,period,tax_type,paid,annual_income,record_as_of\n";
    fs::write(dir.join("tax.csv"), format!("{header}{}", taxes.concat())).unwrap();
    let marriages = format!(
        "resident_id,marital_status,spouse_resident_id,registered_on\n{},married,{},2018-05-20\n{},widowed,,2021-11-03\n",
        *MARRIED, *SPOUSE, *WIDOWED
    );
    fs::write(dir.join("marriage.csv"), marriages).unwrap();
    let asked_of_marriage =
        Scope::of("spouse_resident_id", &["exists"]).disclosing().and("marital_status", &["equals"]);
    plan.department("public-security")
        .service(IDENTITY, dir.join("identity.csv"))
        .department("civil-affairs")
        .service(marriage(), dir.join("marriage.csv"))
        .department("natural-resources")
        .service(PROPERTY, dir.join("property.csv"))
        .department("taxation")
        .service(TAX, dir.join("tax.csv"))
        .department("housing")
        .granting("civil-affairs/marriage-registration", "housing", asked_of_marriage)
        .granting("natural-resources/property-ownership", "housing", Scope::of("has_property", &["equals"]))
        .granting("taxation/tax-paid", "housing", Scope::of("annual_income", &["at_most"]))
}

/// Publishes an item of housing.
pub(crate) async fn publish(place: &Place, yaml: &str) -> Value {
    let file = item_file(place, yaml);
    let published = place.json("housing", &["item", "publish", &file]).await;
    place.town.settled().await.unwrap();
    published
}

/// An item's file in the town's folder.
pub(crate) fn item_file(place: &Place, yaml: &str) -> String {
    let file = place.dir().join("item.yaml");
    fs::write(&file, yaml).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A person with these values.
pub(crate) fn person(role: &str, values: &[(&str, &str)]) -> CasePerson {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    CasePerson { role: role.into(), values, ..CasePerson::default() }
}

/// An applicant by number and name who states this, in the region and the year that the records are of.
pub(crate) fn applicant(number: &str, name: &str, marital_status: &str) -> CasePerson {
    let values = [("resident_id", number), ("name", name), ("marital_status", marital_status)];
    person("applicant", &[&values[..], &[("region", "890101"), ("period", "2025")]].concat())
}

/// A case of [`ITEM`].
pub(crate) fn application(number: &str, people: Vec<CasePerson>) -> OpenCaseRequest {
    OpenCaseRequest {
        case_number: number.into(),
        item: ITEM.into(),
        officer: "1024".into(),
        people,
        ..OpenCaseRequest::default()
    }
}

/// Housing's office at its node's port.
pub(crate) struct Desk {
    client: CasesClient<Channel>,
    key: String,
}

impl Desk {
    pub(crate) async fn at(place: &Place) -> Self {
        let office = place.town.office("housing").await.unwrap();
        let channel = Endpoint::from_shared(format!("http://{}", office.address())).unwrap().connect_lazy();
        Self { client: CasesClient::new(channel), key: office.api_key().to_owned() }
    }

    /// The client, and a message with the key.
    pub(crate) fn call<M>(&self, message: M) -> (CasesClient<Channel>, tonic::Request<M>) {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.key).parse().unwrap());
        (self.client.clone(), request)
    }

    pub(crate) async fn open(&self, request: OpenCaseRequest) -> Case {
        let (mut client, request) = self.call(request);
        let case = client.open(request).await.unwrap().into_inner();
        assert!(case.refusal.is_none(), "{:?}", case.refusal);
        case
    }
}

/// The proof of this name.
pub(crate) fn proof<'a>(case: &'a Case, name: &str) -> &'a CaseProof {
    case.proofs.iter().find(|proof| proof.proof == name).unwrap_or_else(|| panic!("{name}: {case:?}"))
}

/// The outcomes of the item's proofs, in order.
pub(crate) fn outcomes(case: &Case) -> Vec<ProofOutcome> {
    case.proofs.iter().filter(|proof| !proof.identity).map(CaseProof::outcome).collect()
}

/// Runs a command that is refused, and tells why.
pub(crate) async fn refused(place: &Place, arguments: &[&str]) -> String {
    let output = place.cli("housing", arguments).await;
    assert_eq!(exit(&output), 7, "{arguments:?}: {}", said(&output));
    said(&output)
}
