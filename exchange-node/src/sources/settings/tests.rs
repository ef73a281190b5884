//! A settings file that is right, and each way in which one is wrong.

use super::*;

const SAMPLE: &str = r#"
[sources.civil]
kind = "postgres"
host = "/run/postgresql"
database = "civil"
user = "errand_reader"
password_file = "keys/civil.password"
timeout_ms = 800

[sources.copy]
kind = "sqlite"
path = "copy.db"

[services.marriage-registration]
source = "civil"
cache = "30s"
query = '''
SELECT state AS marital_status, registered AS registered_on
FROM marriages WHERE number IN (:subject, :subject_15)
'''
[services.marriage-registration.columns.marital_status]
codes = { "10" = "single", "20" = "married" }
[services.marriage-registration.columns.registered_on]
date = ["yyyymmdd", "年月日"]

[services."pension.2"]
source = "civil"
query = "SELECT amount FROM pensions WHERE id = :subject"
must_agree_with = { source = "copy", query = "SELECT amount FROM pensions WHERE id = :subject" }
"#;

#[test]
fn a_file_is_read() {
    let settings = Settings::parse(SAMPLE).unwrap();
    let service = settings.service(&"marriage-registration".parse().unwrap(), 7).unwrap();
    assert_eq!((service.cache, service.line), (Some(Duration::from_secs(30)), 14));
    let [place] = service.places.as_slice() else { panic!("one place") };
    let Ask::Query(query) = &place.ask else { panic!("a query") };
    assert_eq!(query.names(), ["subject", "subject_15"]);
    assert_eq!(place.mapping.columns["marital_status"].codes.as_ref().unwrap()["10"], "single");
    assert_eq!(settings.sources["civil"].bounds.timeout, Duration::from_millis(800));
    let pension = settings.service(&"pension".parse().unwrap(), 2).unwrap();
    assert_eq!(pension.places[1].source, "copy");
    assert!(settings.service(&"pension".parse().unwrap(), 1).is_none());
    assert!(Settings::parse("").unwrap().services.is_empty());
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let wrong = SAMPLE
        .replace("timeout_ms = 800", "timeout = 800")
        .replace("\"年月日\"", "\"dd.mm.yyyy\"")
        .replace("path = \"copy.db\"", "pat = \"copy.db\"")
        .replace("SELECT state", "UPDATE state");
    let mistakes = Settings::parse(&wrong).unwrap_err();
    let told = mistakes.iter().map(|mistake| (mistake.line, mistake.field.as_str())).collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            (8, "sources.civil.timeout"),
            (10, "sources.copy.path"),
            (12, "sources.copy.pat"),
            (17, "services.marriage-registration.query"),
            (24, "services.marriage-registration.columns.registered_on.date"),
        ]
    );
}

#[test]
fn a_service_without_a_source_says_how_its_files_are_read() {
    let text = "[services.houses]\nkind = \"embedded\"\n[services.houses.columns.kind]\nfrom = \"类型\"\ncodes = { \"1\" = \"flat\" }\n";
    let settings = Settings::parse(text).unwrap();
    let [place] = settings.services[0].places.as_slice() else { panic!("one place") };
    assert!(matches!(place.ask, Ask::Imported));
    assert_eq!(place.mapping.columns["kind"].from.as_deref(), Some("类型"));
    for (wrong, field) in [
        (text.replace("embedded", "elsewhere"), "services.houses.kind"),
        (text.replace("\"embedded\"", "\"embedded\"\nsource = \"civil\""), "services.houses.source"),
        (text.replace("\"embedded\"", "\"embedded\"\ncache = \"30s\""), "services.houses.cache"),
        (text.replace("kind = \"embedded\"", ""), "services.houses.source"),
    ] {
        let mistakes = Settings::parse(&wrong).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.field == field), "{field}: {mistakes:?}");
    }
}

#[test]
fn what_is_not_there_cannot_be_asked() {
    let mistakes = Settings::parse("[services.x]\nsource = \"nowhere\"\n").unwrap_err();
    assert!(mistakes[0].reason.contains("[sources.nowhere]"), "{mistakes:?}");
    let mistakes = Settings::parse("[sources.x]\nkind = \"oracle\"\n").unwrap_err();
    assert!(mistakes[0].reason.contains("must be postgres"), "{mistakes:?}");
}
