//! Who may ask whether it is so must not find out what it is: guess budgets, quotas of officers and authorisations,
//! between real processes. The attackers who try every path over a year of mock time are in the node's own tests
//! (`exchange-node/src/answer/tests/oracle.rs`).

use std::time::Duration;

use proto::{
    exchange::v1::{Authorisation, Request, Subject, Verdict},
    office::v1::{State, VerifyRequest, VerifyResponse},
};
use town::harness::{Scope, eventually};

use crate::support::{
    BASIS, ITEM, MARRIAGE, MARRIED, Place, SINGLE, claim, exit,
    peer::{HandMadePeer, refusal},
    question, resident, said, verdict,
};

/// The marriage register, the same again as another service, and once more as one that needs the subject's authorisation.
async fn start() -> Place {
    Place::start(|plan, dir| {
        let again = MARRIAGE.replace("service: marriage-registration", "service: marriage-history");
        let consented = MARRIAGE.replace("service: marriage-registration", "service: marriage-consented");
        let consented = format!("{consented}\nneeds_authorisation: 个人信息保护法 23\n");
        let scope = || {
            Scope::of("marital_status", &["equals"])
                .and("registered_on", &["equals", "after", "before"])
                .for_item(ITEM)
                .on(&[BASIS])
        };
        plan.department("civil-affairs")
            .service(MARRIAGE, dir.join("marriage.csv"))
            .service(again, dir.join("marriage.csv"))
            .service(consented, dir.join("marriage.csv"))
            .department("housing")
            .granting("civil-affairs/marriage-registration", "housing", scope())
            .granting("civil-affairs/marriage-history", "housing", scope())
            .granting("civil-affairs/marriage-consented", "housing", scope())
    })
    .await
}

fn registered(service: &str, subject: &str, operator: &str, day: &str) -> VerifyRequest {
    VerifyRequest { service: service.into(), ..question(subject, vec![claim("registered_on", operator, day)]) }
}

fn code(response: &VerifyResponse) -> &str {
    assert_eq!(response.state(), State::Refused, "{response:?}");
    response.refusal.as_ref().map_or("", |refusal| &refusal.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_cannot_be_found_by_halving_not_even_across_services_and_restarts() {
    let place = start().await;
    let (history, registration) = ("marriage-history", "marriage-registration");
    // Married on 20 May 2018: three different days are answered, through whichever service.
    for (service, operator, day, expected) in [
        (registration, "after", "2010-01-01", Verdict::Match),
        (history, "after", "2017-01-01", Verdict::Match),
        (registration, "before", "2020-01-01", Verdict::Match),
    ] {
        let response = place.ask(registered(service, &MARRIED, operator, day)).await;
        assert_eq!(verdict(&response).verdict(), expected, "{response:?}");
    }
    let spent = place.ask(registered(history, &MARRIED, "before", "2019-01-01")).await;
    assert_eq!(code(&spent), "GUESS_BUDGET_SPENT");
    let refused = spent.refusal.clone().unwrap();
    assert_eq!((refused.field.as_str(), spent.refused_by.as_str()), ("claims[0]", "ninghe/civil-affairs"));
    assert!(refused.retry_at_ms > spent.asked_at_ms, "{refused:?}");
    assert!(!spent.receipt.is_empty(), "a refusal is in the evidence");
    // What was asked before is free, and so are other people and other attributes.
    let again = place.ask(registered(history, &MARRIED, "after", "2010-01-01")).await;
    assert_eq!(verdict(&again).verdict(), Verdict::Match);
    let status = place.ask(question(&MARRIED, vec![claim("marital_status", "equals", "married")])).await;
    assert_eq!(verdict(&status).verdict(), Verdict::Match);
    // Whoever has no record has no other budget: four, and the fourth is refused in the same words.
    for day in ["2010-01-01", "2017-01-01", "2020-01-01"] {
        assert_eq!(verdict(&place.ask(registered(history, &SINGLE, "after", day)).await).verdict(), Verdict::NoRecord);
    }
    let nobody = place.ask(registered(history, &SINGLE, "after", "2019-01-01")).await.refusal.unwrap();
    assert_eq!(
        (&nobody.code, &nobody.message, &nobody.next_step),
        (&refused.code, &refused.message, &refused.next_step)
    );

    // Killed without warning, it has forgotten nothing.
    place.town.node("civil-affairs").kill();
    place.town.node("civil-affairs").start().await.unwrap();
    let back = eventually(Duration::from_secs(60), async || {
        place.ask(registered(history, &MARRIED, "after", "2010-01-01")).await.state() == State::Answered
    });
    assert!(back.await, "it answers again");
    let spent = place.ask(registered(registration, &MARRIED, "before", "2018-06-01")).await;
    assert_eq!(code(&spent), "GUESS_BUDGET_SPENT");
    let again = place.ask(registered(registration, &MARRIED, "before", "2020-01-01")).await;
    assert_eq!(verdict(&again).verdict(), Verdict::Match);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_or_a_former_number_is_no_other_budget() {
    let place = start().await;
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let other = resident(1985, 5, 5, 7);
    let ask = async |subject: &str, former: Option<&str>, day: &str| {
        let mut request: Request = peer.question(subject);
        request.claims = vec![claim("registered_on", "after", "")];
        request.claims[0].operands[0].kind = Some(proto::exchange::v1::value::Kind::Date(day.into()));
        request.former_subjects =
            former.map(|value| Subject { scheme: "resident_id".into(), value: value.into() }).into_iter().collect();
        peer.answer_to(peer.seal(&request)).await
    };
    // Full-width digits, then the number of fifteen, then under somebody else's.
    let wide: String = MARRIED.chars().map(|c| char::from_u32(u32::from(c) + 0xFEE0).unwrap()).collect();
    let fifteen = format!("{}{}", &MARRIED[..6], &MARRIED[8..17]);
    for (subject, former, day) in
        [(wide.as_str(), None, "2001-01-01"), (&fifteen, None, "2002-01-01"), (&other, Some(&**MARRIED), "2003-01-01")]
    {
        let answer = ask(subject, former, day).await;
        assert!(!answer.grant.is_empty(), "{answer:?}");
    }
    for (subject, former) in
        [(&**MARRIED, None), (&fifteen, None), (&other, Some(&**MARRIED)), (&other, Some(&*fifteen))]
    {
        assert_eq!(refusal(&ask(subject, former, "2004-01-01").await).code, "GUESS_BUDGET_SPENT");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_subjects_authorisation_nothing_is_asked() {
    let place = start().await;
    let form = || Authorisation {
        form_digest: vec![7; 32],
        scope: ITEM.into(),
        signed_by: "subject".into(),
        valid_until_ms: u64::MAX / 2,
    };
    let ask = async |authorisation: Option<Authorisation>| {
        let question = question(&MARRIED, vec![claim("marital_status", "equals", "married")]);
        place.ask(VerifyRequest { service: "marriage-consented".into(), authorisation, ..question }).await
    };
    assert_eq!(code(&ask(None).await), "AUTHORISATION_MISSING");
    let wrong: [(&str, &str, Authorisation); 4] = [
        ("AUTHORISATION_MISSING", "form_digest", Authorisation { form_digest: vec![7; 20], ..form() }),
        ("AUTHORISATION_MISSING", "signed_by", Authorisation { signed_by: "somebody".into(), ..form() }),
        ("AUTHORISATION_EXPIRED", "valid_until_ms", Authorisation { valid_until_ms: 1, ..form() }),
        ("AUTHORISATION_NOT_COVERING", "scope", Authorisation { scope: "养老金领取资格认证".into(), ..form() }),
    ];
    for (expected, field, authorisation) in wrong {
        let response = ask(Some(authorisation)).await;
        assert_eq!(code(&response), expected);
        assert_eq!(response.refusal.unwrap().field, format!("authorisation.{field}"));
    }
    assert_eq!(verdict(&ask(Some(form())).await).verdict(), Verdict::Match);

    // From the command line, with the form that was signed; its digest is in the evidence.
    std::fs::write(place.dir().join("form.pdf"), "本人同意查询婚姻登记信息").unwrap();
    let form = place.dir().join("form.pdf").display().to_string();
    let verify = |scope: &str| {
        let arguments: Vec<String> = [
            "verify",
            "civil-affairs/marriage-consented",
            "--claim",
            "marital_status=married",
            "--item",
            ITEM,
            "--case",
            "GZF-2026-0001",
            "--officer",
            "1024",
            "--authorisation-form",
            &form,
            "--authorisation-scope",
            scope,
            "--authorisation-signed-by",
            "subject",
            "--authorisation-until",
            "2099-12-31",
        ]
        .map(String::from)
        .to_vec();
        arguments
    };
    for (scope, expected) in [("婚姻状况", 0), ("低保", 7)] {
        let arguments = verify(scope);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = place.town.cli_with_input("housing", &arguments, &MARRIED).await.unwrap();
        assert_eq!(exit(&output), expected, "{}", said(&output));
    }
}

/// A town whose provider watches closely and lets an officer ask five times a day.
async fn watched(answering: &str) -> Place {
    let place = Place::civil_affairs_and_housing().await;
    let node = place.town.node("civil-affairs");
    node.stop().await.unwrap();
    node.edit_config(|text| {
        let text = text.replace("answering = { per_second = 0, per_day = 0 }", answering);
        format!(
            "{text}\n[events]\nsubjects_per_case = 3\nnumbers_in_range = 3\nquotas_refused = 1\nreport_seconds = 1\n"
        )
    })
    .unwrap();
    node.start().await.unwrap();
    let back = eventually(Duration::from_secs(60), async || {
        // Nobody's officer in particular, about somebody whom no test asks about again.
        let question = question(&resident(1949, 10, 1, 1), vec![claim("marital_status", "equals", "single")]);
        place.ask(VerifyRequest { officer: "0001".into(), case_number: "0".into(), ..question }).await.state()
            == State::Answered
    });
    assert!(back.await, "it answers");
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn an_officer_over_the_limit_is_told_when_to_try_again_and_stays_so_over_a_restart() {
    let place = watched("answering = { per_second = 0, per_day = 5 }").await;
    let ask = async |officer: &str| {
        let question = question(&MARRIED, vec![claim("marital_status", "equals", "married")]);
        place.ask(VerifyRequest { officer: officer.into(), ..question }).await
    };
    for _ in 0..5 {
        assert_eq!(verdict(&ask("1024").await).verdict(), Verdict::Match);
    }
    let over = ask("1024").await;
    assert_eq!(code(&over), "QUOTA_EXCEEDED");
    let refused = over.refusal.unwrap();
    assert!(refused.field == "officer" && refused.retry_at_ms > over.asked_at_ms, "{refused:?}");
    place.town.node("civil-affairs").kill();
    place.town.node("civil-affairs").start().await.unwrap();
    let back = eventually(Duration::from_secs(60), async || ask("1025").await.state() == State::Answered);
    assert!(back.await);
    assert_eq!(code(&ask("1024").await), "QUOTA_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_through_numbers_under_one_case_is_seen_by_operators_and_authority_without_a_number() {
    let place = watched("answering = { per_second = 0, per_day = 0 }").await;
    let swept: Vec<String> = (1..=6).map(|sequence| resident(1972, 2, 3, sequence)).collect();
    for subject in &swept {
        let asked = place.ask(question(subject, vec![claim("marital_status", "equals", "single")])).await;
        assert_eq!(verdict(&asked).verdict(), Verdict::Match, "an event refuses nothing");
    }
    let events = place.json("civil-affairs", &["events", "list"]).await;
    let events = events["events"].as_array().unwrap().clone();
    for kind in ["many_subjects", "sweep"] {
        let event = events.iter().find(|event| event["kind"] == kind).unwrap_or_else(|| panic!("{kind}: {events:?}"));
        assert_eq!((event["department"].as_str(), event["count"].as_u64()), (Some("housing"), Some(3)));
        let shown = place.json("civil-affairs", &["events", "show", event["id"].as_str().unwrap()]).await;
        assert!(shown["next_step"].as_str().is_some_and(|next| next.contains("access suspend")), "{shown}");
    }
    let unknown = place.cli("civil-affairs", &["events", "show", "none"]).await;
    assert_eq!(exit(&unknown), 2, "{}", said(&unknown));
    let doctor = place.json("civil-affairs", &["doctor"]).await;
    let finding =
        doctor["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "events").unwrap().clone();
    assert_eq!(finding["level"], "warning", "{finding}");
    // The authority sees counts within moments.
    let told = eventually(Duration::from_secs(60), async || {
        let listed = place.town.registry_cli(&["events", "list", "--department", "housing", "--json"]).await.unwrap();
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        let told = |kind: &str| {
            listed["events"].as_array().unwrap().iter().any(|event| event["kind"] == kind && event["count"] == 3)
        };
        told("many_subjects") && told("sweep")
    });
    assert!(told.await, "the authority is told");
    let board = place.town.registry_cli(&["board"]).await.unwrap();
    assert!(said(&board).contains("registry events list"), "{}", said(&board));
    // Nothing of it anywhere holds a number.
    let written = [
        place.town.node("civil-affairs").dir().join("events.json"),
        place.town.node("civil-affairs").log(),
        place.town.registry().dir().join("alerts.json"),
        place.town.registry().log(),
    ];
    for path in written {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(swept.iter().all(|number| !text.contains(&number[..14])), "{}", path.display());
    }
}
