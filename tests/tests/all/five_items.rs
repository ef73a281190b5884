//! The five items of the town, each handled at a window, over ten departments on real processes: roles,
//! values from other people, a household's sum, a clerk's answer, a commitment that is true and one that is not.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use town::harness::{Plan, Scope, eventually};

use crate::support::{
    MARRIED, Place, SINGLE, WIDOWED,
    cases::{NAMES, SPOUSE},
    exit, resident, said,
};

const LONG: Duration = Duration::from_secs(90);

const BIRTH_CERTIFICATE: &str = "B890000012345";

/// The services of each department, with their records as CSV; none where a clerk answers.
fn registers() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let [married, widowed, single, spouse] = [&MARRIED, &WIDOWED, &SINGLE, &SPOUSE].map(|number| number.as_str());
    let people = [married, widowed, single, spouse];
    let named: String = people.iter().zip(NAMES).map(|(number, name)| format!("{number},{name},true\n")).collect();
    let income = |number: &str, yuan: u32| format!("{number},2025,individual_income,true,{yuan}.00,2026-10-31\n");
    let dead = resident(1930, 1, 1, 1);
    vec![
        (
            "public-security",
            vec![("resident-identity", format!("resident_id,name,alive\n{named}")), ("criminal-record", String::new())],
        ),
        (
            "civil-affairs",
            vec![
                (
                    "marriage-registration",
                    format!(
                        "resident_id,marital_status,spouse_resident_id,registered_on,registry_office\n{married},married,{spouse},2018-05-20,宁河\n{spouse},married,{married},2018-05-20,宁河\n{widowed},widowed,,2021-11-03,宁河\n"
                    ),
                ),
                (
                    "subsistence-allowance",
                    format!("resident_id,name,active,category,from\n{widowed},{},true,urban,2020-01-01\n", NAMES[1]),
                ),
            ],
        ),
        (
            "natural-resources",
            vec![("property-ownership", format!("resident_id,region,has_property\n{single},890101,true\n"))],
        ),
        (
            "taxation",
            vec![(
                "tax-paid",
                format!(
                    "resident_id,period,tax_type,paid,annual_income,record_as_of\n{}{}{}",
                    income(married, 31_000),
                    income(spouse, 28_000),
                    income(widowed, 20_000)
                ),
            )],
        ),
        (
            "human-resources",
            vec![(
                "social-insurance",
                format!(
                    "resident_id,scheme,period,insured,months_paid,employer_uscc,record_as_of\n{married},pension,2025,true,12,,2026-10-31\n{widowed},pension,2025,true,12,,2026-10-31\n"
                ),
            )],
        ),
        (
            "health",
            vec![
                (
                    "birth-certificate",
                    format!(
                        "certificate_no,birth_date,mother_resident_id,mother_name\n{BIRTH_CERTIFICATE},2026-10-01,{married},{}\n",
                        NAMES[0]
                    ),
                ),
                ("death-certificate", format!("resident_id,name,deceased,died_on\n{dead},某人,true,2020-02-02\n")),
            ],
        ),
        ("housing-fund", vec![("housing-fund", format!("resident_id,months_paid,has_loan\n{married},24,false\n"))]),
        (
            "education",
            vec![("degree", format!("resident_id,certificate_no,level,awarded_on\n{single},XW-7,master,2014-06-30\n"))],
        ),
        ("housing", Vec::new()),
        // 行政审批局: the window for what the departments below it keep themselves.
        ("approvals", Vec::new()),
    ]
}

/// Whose item it is, the item, its file, and what it may ask of whom.
type ItemOf =
    (&'static str, &'static str, &'static str, &'static str, &'static [(&'static str, &'static str, &'static str)]);

const ITEMS: [ItemOf; 5] = [
    (
        "housing",
        "公租房申请",
        "公共租赁住房管理办法 7",
        "public-rental-housing",
        &[
            ("civil-affairs/marriage-registration", "marital_status", "equals"),
            ("natural-resources/property-ownership", "has_property", "equals"),
            ("taxation/tax-paid", "annual_income", "at_most"),
            ("human-resources/social-insurance", "months_paid", "at_least"),
        ],
    ),
    (
        "human-resources",
        "养老金领取资格认证",
        "社会保险经办条例 26",
        "pension-eligibility",
        &[("health/death-certificate", "deceased", "equals")],
    ),
    (
        "public-security",
        "新生儿出生登记",
        "户口登记条例 7",
        "birth-registration",
        &[
            ("health/birth-certificate", "mother_resident_id", "equals"),
            ("civil-affairs/marriage-registration", "spouse_resident_id", "equals"),
        ],
    ),
    (
        "approvals",
        "住房公积金提取",
        "住房公积金管理条例 25",
        "housing-fund-withdrawal",
        &[
            ("civil-affairs/marriage-registration", "marital_status", "equals"),
            ("natural-resources/property-ownership", "has_property", "equals"),
            ("housing-fund/housing-fund", "months_paid", "at_least"),
        ],
    ),
    (
        "approvals",
        "教师资格认定",
        "教师资格条例 15",
        "teacher-qualification",
        &[("education/degree", "level", "one_of"), ("public-security/criminal-record", "has_record", "equals")],
    ),
];

fn examples(path: &str) -> String {
    fs::read_to_string(crate::support::root().join("examples/town").join(path)).unwrap()
}

fn town(mut plan: Plan, dir: &Path) -> Plan {
    for (department, services) in registers() {
        plan = plan.department(department);
        for (service, records) in services {
            let yaml = examples(&format!("services/{service}.yaml"));
            let file = dir.join(format!("{service}.csv"));
            fs::write(&file, &records).unwrap();
            plan = if records.is_empty() { plan.service_without_records(yaml) } else { plan.service(yaml, file) };
        }
    }
    for (consumer, item, basis, _, grants) in ITEMS {
        for (service, attribute, operator) in grants {
            let scope = Scope::of(attribute, &[*operator]).for_item(item).on(&[basis]);
            plan = plan.granting(service, consumer, scope);
        }
    }
    plan.setting("[limits]\n", "[cases]\ncheck_after_seconds = 0\n\n[limits]\n")
}

/// Opens a case of an item at its department's window; the case, and the exit code.
async fn open(place: &Place, department: &str, item: &str, case: &str, people: &str) -> (Value, i32) {
    let application = format!("case: {case}\nitem: {item}\nofficer: \"1024\"\npeople:\n{people}");
    let opened = place.town.cli_with_input(department, &["case", "open", "-", "--json"], &application).await.unwrap();
    let told = serde_json::from_slice(&opened.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&opened)));
    (told, exit(&opened))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_town_handles_its_five_items_with_a_commitment_fulfilled_and_one_broken() {
    let place = Place::start(town).await;
    for (department, _, _, file, _) in ITEMS {
        let path = place.dir().join(format!("{file}.yaml"));
        fs::write(&path, examples(&format!("items/{file}.yaml"))).unwrap();
        place.json(department, &["item", "publish", path.to_str().unwrap()]).await;
    }
    place.town.settled().await.unwrap();
    let [married, widowed, single, spouse] = [&MARRIED, &WIDOWED, &SINGLE, &SPOUSE].map(|number| number.as_str());

    let people = format!(
        "  - {{role: applicant, resident_id: {married}, name: {}, marital_status: married, region: \"890101\", period: \"2025\"}}\n  - {{role: spouse, resident_id: {spouse}}}\n",
        NAMES[0]
    );
    let (rental, code) = open(&place, "housing", "公租房申请", "F-1", &people).await;
    assert_eq!((code, &rental["state"]), (0, &"complete".into()), "{rental}");
    assert_eq!(rental["proofs"][5]["outcome"], "LEFT_OUT", "{rental}");
    let (fund, code) = open(&place, "approvals", "住房公积金提取", "F-2", &people).await;
    assert_eq!(code, 0, "{fund}");
    assert!(fund["proofs"].as_array().unwrap().iter().any(|proof| proof["identity"] == true), "{fund}");

    let pensioner = format!("  - {{role: applicant, resident_id: {widowed}, name: {}}}\n", NAMES[1]);
    let (pension, code) = open(&place, "human-resources", "养老金领取资格认证", "F-3", &pensioner).await;
    assert_eq!((code, &pension["proofs"][1]["by_absence"]), (0, &true.into()), "{pension}");

    let family = format!(
        "  - {{role: applicant, resident_id: {married}}}\n  - {{role: mother, resident_id: {married}}}\n  - {{role: father, resident_id: {spouse}}}\n  - {{role: child, certificate_no: {BIRTH_CERTIFICATE}}}\n"
    );
    let (birth, code) = open(&place, "public-security", "新生儿出生登记", "F-4", &family).await;
    assert_eq!((code, &birth["state"]), (0, &"complete".into()), "{birth}");

    // A clerk answers about criminal records; nothing stands in meanwhile.
    let teacher =
        format!("  - {{role: applicant, resident_id: {single}, name: {}, degree_certificate_no: XW-7}}\n", NAMES[2]);
    let (teaching, code) = open(&place, "approvals", "教师资格认定", "F-5", &teacher).await;
    assert_eq!(code, 6, "{teaching}");
    let record = &teaching["proofs"][1];
    assert_eq!((&record["outcome"], &record["reason"]), (&"SUBMIT_ON_PAPER".into(), &"deferred".into()), "{teaching}");
    let ticket = record["ticket"].as_str().unwrap();
    let answer = ["tasks", "answer", ticket, "--verdict", "has_record=match", "--officer", "2001"];
    place.json("public-security", &answer).await;
    let complete = async || place.json("approvals", &["case", "show", "F-5"]).await["state"] == "complete";
    assert!(eventually(LONG, complete).await, "{}", place.json("approvals", &["case", "show", "F-5"]).await);

    // Civil affairs is away: both applicants commit themselves, one of them falsely.
    place.town.node("civil-affairs").kill();
    let other = people.replace(married, widowed).replace(NAMES[0], NAMES[1]).replace(spouse, married);
    for (case, people) in [("F-6", &people), ("F-7", &other)] {
        let (opened, _) = open(&place, "housing", "公租房申请", case, people).await;
        assert_eq!(opened["proofs"][1]["outcome"], "MAY_COMMIT", "{opened}");
        let form = "5f".repeat(32);
        place.json("housing", &["case", "commit", case, "婚姻状况证明", "--form", &form, "--officer", "1024"]).await;
    }
    place.town.node("civil-affairs").start().await.unwrap();
    // A failed check waits longer each time; a restart begins anew.
    place.town.node("housing").kill();
    place.town.node("housing").start().await.unwrap();
    for (case, state) in [("F-6", "fulfilled"), ("F-7", "broken")] {
        let checked = async || {
            place.json("housing", &["case", "commitments", "--case", case]).await["commitments"][0]["state"] == state
        };
        assert!(eventually(LONG, checked).await, "{case}");
    }
    let listed = place.json("housing", &["case", "list", "--limit", "1"]).await;
    assert_eq!(
        (&listed["cases"][0]["case"], &listed["cases"][0]["flagged"]),
        (&"F-7".into(), &true.into()),
        "{listed}"
    );
}
