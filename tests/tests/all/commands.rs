//! What scripts and load balancers rely on: exit codes, JSON, health on every port, reflection on the office port, `doctor`.

use std::collections::BTreeSet;

use proto::exchange::v1::Verdict;
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{
    ITEM, MARRIAGE, MARRIED, Place, SINGLE, exit, housings_scope, marital_status,
    peer::{channel, registry_channel},
    said, verdict,
};

async fn health(channel: Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.into() };
    let checked = HealthClient::new(channel).check(request).await;
    checked.unwrap_or_else(|status| panic!("health of `{service}`: {status}")).into_inner().status()
}

async fn plain(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_town_tells_scripts_and_monitors_how_it_is() {
    let place = Place::civil_affairs_and_housing().await;
    Box::pin(every_port_says_how_it_is(&place)).await;
    Box::pin(the_office_port_describes_itself(&place)).await;
    Box::pin(every_command_speaks_json(&place)).await;
    // It makes something go wrong.
    Box::pin(doctor_finds_what_is_wrong_and_says_what_to_do(&place)).await;
}

async fn every_port_says_how_it_is(place: &Place) {
    let node = place.town.node("housing");
    let peer = place.town.node("civil-affairs");
    let keys = exchange_node::keys::NodeKeys::read(peer.dir()).unwrap();
    let socket = host::admin_socket::connect(node.dir(), "exchange-node serve").await.unwrap();
    let registrys = host::admin_socket::connect(place.town.registry().dir(), "registry serve").await.unwrap();
    for (channel, service) in [
        (channel(node, Some(&keys.tls)), "exchange.v1.Exchange"),
        (plain(&node.office_address()).await, "office.v1.Verifications"),
        (socket, ""),
        (registry_channel(&place.town), "registry.v1.Directory"),
        (registrys, ""),
    ] {
        // The server as a whole, and the service that it is there for.
        for asked in BTreeSet::from(["", service]) {
            assert_eq!(
                health(channel.clone(), asked).await,
                ServingStatus::Serving,
                "`{service}`, asked for `{asked}`"
            );
        }
    }
    let office = HealthClient::new(plain(&node.office_address()).await)
        .check(HealthCheckRequest { service: "horses.v1.Races".into() })
        .await;
    assert_eq!(office.unwrap_err().code(), tonic::Code::NotFound);
}

async fn the_office_port_describes_itself(place: &Place) {
    let channel = plain(&place.town.node("housing").office_address()).await;
    let ask = async |message: MessageRequest| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let mut client = ServerReflectionClient::new(channel.clone());
        let answers = client.server_reflection_info(tokio_stream::iter([request])).await;
        answers.unwrap().into_inner().message().await.unwrap().unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices(String::new())).await else {
        panic!("a list of services")
    };
    assert!(list.service.iter().any(|service| service.name == "office.v1.Verifications"), "{list:?}");
    let symbol = MessageRequest::FileContainingSymbol("office.v1.Verifications".into());
    let MessageResponse::FileDescriptorResponse(files) = ask(symbol).await else { panic!("a description") };
    let described =
        |name: &[u8]| files.file_descriptor_proto.iter().any(|file| file.windows(name.len()).any(|part| part == name));
    assert!(described(b"ExportEvidence"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_exit_code_means_one_thing() {
    let place = Place::start(|plan, dir| {
        let second = MARRIAGE.replace("service: marriage-registration", "service: marriage-history");
        plan.department("civil-affairs")
            .service(MARRIAGE, dir.join("marriage.csv"))
            .service_without_records(second)
            .department("housing")
            .granting("civil-affairs/marriage-registration", "housing", housings_scope())
            .granting("civil-affairs/marriage-history", "housing", housings_scope())
    })
    .await;
    let verify = async |service: &str, claim: &str, subject: &str| {
        let service = format!("civil-affairs/{service}");
        let arguments =
            ["verify", &service, "--claim", claim, "--item", ITEM, "--case", "1", "--officer", "1024", "--json"];
        let output = place.town.cli_with_input("housing", &arguments, subject).await.unwrap();
        let told: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
        (exit(&output), told)
    };
    let registration = "marriage-registration";
    for (service, claim, subject, code, outcome) in [
        (registration, "marital_status=married", &*MARRIED, 0, "match"),
        (registration, "marital_status=widowed", &*MARRIED, 4, "mismatch"),
        (registration, "registered_on>2000-01-01", &*SINGLE, 5, "no_record"),
        ("marriage-history", "marital_status=married", &*MARRIED, 6, "unavailable"),
        (registration, "marital_status in married,single", &*MARRIED, 7, "refused"),
    ] {
        let (found, told) = verify(service, claim, subject).await;
        assert_eq!((found, told["outcome"].as_str()), (code, Some(outcome)), "{claim}: {told}");
        assert!(!told["receipt"].as_str().unwrap().is_empty(), "{told}");
    }
    let (code, told) = verify(registration, "marital_status=married", "890101199111250020").await;
    assert_eq!((code, told["refusal"]["code"].as_str()), (7, Some("SUBJECT_MALFORMED")), "{told}");

    let usage = place.cli("housing", &["verify", "civil-affairs/marriage-registration"]).await;
    assert_eq!(exit(&usage), 2, "{}", said(&usage));
    let usage = place.cli("housing", &["evidence", "show", "not-a-receipt"]).await;
    assert_eq!(exit(&usage), 2, "{}", said(&usage));
    let unsound = place.dir().join("unsound.evidence");
    std::fs::write(&unsound, b"no bundle").unwrap();
    let authority = place.town.authority_key();
    let checked =
        place.cli("housing", &["evidence", "verify", unsound.to_str().unwrap(), "--authority", authority]).await;
    assert_eq!(exit(&checked), 8, "{}", said(&checked));

    place.town.node("housing").stop().await.unwrap();
    let away = place.cli("housing", &["status"]).await;
    assert_eq!(exit(&away), 3, "{}", said(&away));
    assert!(said(&away).contains("exchange-node serve"), "it says what to do: {}", said(&away));
    place.town.registry().stop().await.unwrap();
    let away = place.town.registry_cli(&["status"]).await.unwrap();
    assert_eq!(exit(&away), 3, "{}", said(&away));
}

async fn every_command_speaks_json(place: &Place) {
    let asked = place.ask(marital_status(&MARRIED, "married")).await;
    let access = place.json("housing", &["access", "list"]).await;
    let id = access["access"][0]["id"].as_str().unwrap_or_else(|| panic!("{access}")).to_owned();
    for command in [
        &["status"][..],
        &["doctor"],
        &["service", "list"],
        &["service", "show", "civil-affairs/marriage-registration"],
        &["services", "search", "婚姻"],
        &["departments", "list"],
        &["departments", "show", "housing"],
        &["log", "verify"],
        &["log", "show", "0"],
        &["access", "list"],
        &["access", "inbox"],
        &["access", "usage"],
        &["access", "show", &id, "--proof"],
        &["access", "show", &id],
        &["evidence", "show", &asked.receipt],
        &["office-key", "list"],
        &["keys", "list"],
    ] {
        let told = place.json("housing", command).await;
        assert!(told.is_object(), "{command:?}: {told}");
    }
    for command in [
        &["status", "--json"][..],
        &["department", "list", "--json"],
        &["board", "--json"],
        &["profile", "show", "--json"],
        &["profile", "template", "--json"],
        &["services", "list", "--json"],
        &["departments", "list", "--json"],
        &["log", "verify", "--json"],
        &["log", "show", "0", "--json"],
    ] {
        let output = place.town.registry_cli(command).await.unwrap();
        let told: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
        assert!(told.is_object(), "{command:?}: {told}");
    }
    // Faults are JSON too, and are not mixed with anything else on standard output.
    let refused = place.cli("housing", &["service", "suspend", "horse-registration", "--notice", "n", "--json"]).await;
    assert_ne!(exit(&refused), 0);
    let told: Value =
        serde_json::from_slice(&refused.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&refused)));
    assert!(told["error"].is_object(), "{told}");
}

async fn doctor_finds_what_is_wrong_and_says_what_to_do(place: &Place) {
    let healthy = place.cli("civil-affairs", &["doctor", "--json"]).await;
    assert_eq!(exit(&healthy), 0, "{}", said(&healthy));
    let findings: Value = serde_json::from_slice(&healthy.stdout).unwrap();
    let findings = findings["findings"].as_array().unwrap_or_else(|| panic!("{findings}")).clone();
    let checks: BTreeSet<&str> = findings.iter().filter_map(|finding| finding["check"].as_str()).collect();
    for check in ["clock", "key", "certificate", "registry", "directory", "records", "disk", "port", "evidence"] {
        assert!(checks.iter().any(|found| found.contains(check)), "no check of {check} in {checks:?}");
    }
    assert!(findings.iter().all(|finding| finding["level"] != "wrong"), "{findings:?}");

    place.town.registry().stop().await.unwrap();
    let key = place.town.node("civil-affairs").dir().join("keys/node.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let found = town::harness::eventually(std::time::Duration::from_secs(20), async || {
        let sick = place.cli("civil-affairs", &["doctor", "--json"]).await;
        let findings: Value = serde_json::from_slice(&sick.stdout).unwrap();
        let bad: Vec<&Value> =
            findings["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] != "ok").collect();
        assert!(bad.iter().all(|finding| !finding["advice"].as_str().unwrap().is_empty()), "{bad:?}");
        let of = |check: &str| bad.iter().any(|finding| finding["check"].as_str().unwrap().contains(check));
        of("registry") && of("key files")
    })
    .await;
    assert!(found);
    assert_eq!(verdict(&place.ask(marital_status(&MARRIED, "married")).await).verdict(), Verdict::Match);
}
