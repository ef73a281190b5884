//! The catalogue of the fixture's town: filters, pages, cursors.

use proto::registry::v1::{
    AccessQuery, DepartmentQuery, LocalName, PageQuery, ServicePublished, ServiceQuery, ServiceSuspended,
    ServiceWithdrawn, StatementQuery, statement::Body,
};

use super::*;
use crate::fixture::{Fixture, NOW_MS, marriage_registration};

fn service(id: &str, name: &str, name_en: &str) -> ServicePublished {
    ServicePublished {
        service: id.into(),
        name: Some(LocalName { zh: name.into(), en: name_en.into() }),
        replaces_proofs: vec![format!("{name}证明")],
        ..marriage_registration()
    }
}

fn town() -> Fixture {
    let mut town = Fixture::town();
    town.publish(service("birth", "出生登记", "Birth register"));
    town.publish(service("death", "死亡登记", "Death register"));
    town
}

fn found(town: &Fixture, query: ServiceQuery) -> Vec<String> {
    let page = services(&town.directory, &query, NOW_MS).unwrap();
    page.services.into_iter().filter_map(|entry| entry.service).map(|service| service.service).collect()
}

#[test]
fn services_are_found_by_provider_attribute_proof_and_text() {
    let town = town();
    let all = ["birth", "death", "marriage-registration"];
    assert_eq!(found(&town, ServiceQuery::default()), all);
    let by = |change: &dyn Fn(&mut ServiceQuery)| {
        let mut query = ServiceQuery::default();
        change(&mut query);
        found(&town, query)
    };
    assert_eq!(by(&|query| query.provider = "civil-affairs".into()), all);
    assert!(by(&|query| query.provider = "housing".into()).is_empty());
    assert_eq!(by(&|query| query.attribute = "Marital_Status".into()), all);
    assert!(by(&|query| query.attribute = "income".into()).is_empty());
    assert_eq!(by(&|query| query.proof = "出生登记证明".into()), ["birth"]);
    assert_eq!(by(&|query| query.text = "ＤＥＡＴＨ".into()), ["death"]);
    assert_eq!(by(&|query| query.text = "死亡 register".into()), ["death"]);
    assert_eq!(by(&|query| query.text = "登记 birth".into()), ["birth"]);
    assert!(by(&|query| query.text = "房产".into()).is_empty());
    assert_eq!(by(&|query| query.sharing = 2), all);
    assert!(by(&|query| query.sharing = 1).is_empty());
    let wrong = ServiceQuery { provider: "民政局".into(), ..ServiceQuery::default() };
    assert!(services(&town.directory, &wrong, NOW_MS).unwrap_err().to_string().starts_with("provider: "));
}

#[test]
fn withdrawn_services_are_shown_to_whoever_asks_for_them() {
    let mut town = town();
    let of = |service: &str| ("civil-affairs".to_owned(), service.to_owned());
    let ends_ms = NOW_MS + 20 * 86_400_000;
    let (department, service) = of("birth");
    let withdrawn =
        ServiceWithdrawn { department, service, major_version: 1, reason: "replaced".into(), from_ms: ends_ms };
    town.say("civil-affairs", Body::ServiceWithdrawn(withdrawn), "service/civil-affairs/birth/1");
    let (department, service) = of("death");
    let suspended = ServiceSuspended { department, service, major_version: 1, notice: "维护".into() };
    town.say("civil-affairs", Body::ServiceSuspended(suspended), "service/civil-affairs/death/1");
    let shown = |withdrawn_too, now_ms| {
        let query = ServiceQuery { withdrawn_too, ..ServiceQuery::default() };
        let page = services(&town.directory, &query, now_ms).unwrap();
        page.services.into_iter().map(|entry| (entry.state, entry.notice)).collect::<Vec<_>>()
    };
    let pair = |state: &str, notice: &str| (state.to_owned(), notice.to_owned());
    let [death, marriage] = [pair("suspended", "维护"), pair("answering", "")];
    let announced = vec![pair("answering", "replaced"), death.clone(), marriage.clone()];
    assert_eq!(shown(false, NOW_MS), announced);
    assert_eq!(shown(false, ends_ms), [death.clone(), marriage.clone()]);
    assert_eq!(shown(true, ends_ms), [pair("withdrawn", "replaced"), death, marriage]);
}

#[test]
fn pages_follow_each_other_and_lose_nothing_when_the_list_grows() {
    let mut town = town();
    let page = |town: &Fixture, cursor: &str, limit| {
        let page = Some(PageQuery { limit, cursor: cursor.to_owned() });
        services(&town.directory, &ServiceQuery { page, ..ServiceQuery::default() }, NOW_MS).unwrap()
    };
    let first = page(&town, "", 2);
    assert_eq!(first.services.len(), 2);
    let cursor = first.end.unwrap().next_cursor;
    assert!(!cursor.is_empty());
    // In front of the cursor, and behind it.
    town.publish(service("adoption", "收养登记", "Adoption register"));
    town.publish(service("zoning", "规划", "Zoning"));
    let rest = page(&town, &cursor, 2);
    let names: Vec<String> = rest.services.iter().map(|entry| entry.service.clone().unwrap().service).collect();
    assert_eq!(names, ["marriage-registration", "zoning"]);
    assert_eq!(rest.end.unwrap().next_cursor, "");
    assert_eq!(page(&town, "", 5).end.unwrap().next_cursor, "");

    let other = Some(PageQuery { limit: 2, cursor: cursor.clone() });
    let query = ServiceQuery { provider: "civil-affairs".into(), page: other.clone(), ..ServiceQuery::default() };
    assert_eq!(services(&town.directory, &query, NOW_MS), Err(Error::CursorWrong));
    let query = DepartmentQuery { page: other, ..DepartmentQuery::default() };
    assert_eq!(departments(&town.directory, &query, NOW_MS), Err(Error::CursorWrong));
    for wrong in ["x", "====", &cursor[..8]] {
        let page = Some(PageQuery { limit: 2, cursor: wrong.to_owned() });
        let query = ServiceQuery { page, ..ServiceQuery::default() };
        assert_eq!(services(&town.directory, &query, NOW_MS), Err(Error::CursorWrong), "{wrong}");
    }
}

#[test]
fn departments_are_shown_with_their_keys_nodes_and_grants() {
    let town = town();
    let page = departments(&town.directory, &DepartmentQuery::default(), NOW_MS).unwrap();
    assert_eq!(page.departments.len(), 2);
    let civil = &page.departments[0];
    assert_eq!((civil.state.as_str(), civil.grants_given, civil.grants_held), ("admitted", 1, 0));
    assert_eq!(civil.services, ["birth/1", "death/1", "marriage-registration/1"]);
    assert_eq!((civil.keys.len(), civil.nodes.len()), (3, 1));
    assert_eq!((civil.keys[2].node.as_str(), civil.keys[2].revoked_ms), ("1", 0));
    let query = DepartmentQuery { text: "HOUS".into(), ..DepartmentQuery::default() };
    let housing = departments(&town.directory, &query, NOW_MS).unwrap().departments;
    assert_eq!((housing.len(), housing[0].grants_held), (1, 1));
    let query = DepartmentQuery { state: "suspended".into(), ..DepartmentQuery::default() };
    assert!(departments(&town.directory, &query, NOW_MS).unwrap().departments.is_empty());
}

#[test]
fn access_is_found_by_both_sides_and_by_state() {
    let mut town = town();
    town.apply_for_access("8899aabbccddeeff");
    let states = |query: AccessQuery| {
        let page = access(&town.directory, &query).unwrap();
        page.access.into_iter().map(|entry| entry.state).collect::<Vec<_>>()
    };
    assert_eq!(states(AccessQuery::default()), ["granted", "applied"]);
    assert_eq!(
        states(AccessQuery { consumer: "housing".into(), state: "applied".into(), ..Default::default() }).len(),
        1
    );
    assert!(states(AccessQuery { provider: "housing".into(), ..Default::default() }).is_empty());
    assert!(states(AccessQuery { service: "birth".into(), ..Default::default() }).is_empty());
}

#[test]
fn statements_are_found_by_their_object() {
    let town = town();
    let mut index = StatementIndex::default();
    town.entries.iter().for_each(|entry| index.take(entry));
    assert_eq!(index.size(), town.directory.size());
    let mut read = |object: &str, limit, cursor: String| {
        let query = StatementQuery { object: object.into(), page: Some(PageQuery { limit, cursor }) };
        let entries: Vec<(u64, Vec<u8>)> =
            index.places(&query).unwrap().into_iter().map(|at| (at, town.entries[at as usize].clone())).collect();
        let page = StatementIndex::page(&query, entries, town.directory.size()).unwrap();
        let places: Vec<u64> = page.statements.iter().map(|statement| statement.index).collect();
        (places, page.end.unwrap().next_cursor)
    };
    let object = "access/civil-affairs/housing/0011223344556677";
    let (places, end) = read(object, 10, String::new());
    assert_eq!((places.len(), end.as_str()), (2, ""));
    let (first, cursor) = read(object, 1, String::new());
    assert_eq!(first, places[..1]);
    assert_eq!(read(object, 1, cursor).0, places[1..]);
    assert_eq!(read("", 1000, String::new()).0.len() as u64, town.directory.size());
    assert!(read("department/nobody", 10, String::new()).0.is_empty());

    let signed = signers(&town.directory, &town.entries[places[1] as usize]);
    assert_eq!((signed.len(), signed[0].department.as_str()), (1, "civil-affairs"));
}
