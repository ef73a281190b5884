//! Profile files: what is written is read back, and everything wrong is told at once, at its line.

use proto::registry::v1::CalendarYear;
use trust::directory::model;

use super::*;

fn none(name: &str) -> Result<String, String> {
    Err(format!("cannot read {name}"))
}

fn problems(text: &str) -> Vec<String> {
    parse(text, "profile.toml", &none).unwrap_err().iter().map(ToString::to_string).collect()
}

/// What everybody is told of it: 0 and the usual number are the same.
fn effective(profile: &Profile) -> String {
    render(profile)
}

#[test]
fn the_template_is_the_usual_profile() {
    let text = template();
    let read = parse(&text, "profile.toml", &none).unwrap();
    assert_eq!(effective(&read), effective(&model::Profile::usual()));
    let settings = settings::SETTINGS.iter().map(|setting| setting.key);
    for key in settings {
        assert!(text.contains(&format!("\n{key} = ")), "{key}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut profile = model::Profile::usual();
    profile.view_lifetime_hours = 72;
    profile.supply_days = 5;
    profile.decisions_named = true;
    profile.set_service_reviews(proto::registry::v1::ServiceReviews::All);
    profile.withdrawal_notice_seconds = 2;
    profile.four_eyes = vec!["access.approve".into(), "access.revoke".into()];
    profile.calendar = Some(proto::registry::v1::Calendar {
        utc_offset_minutes: Some(420),
        years: vec![CalendarYear {
            year: 2026,
            holidays: vec!["2026-10-01".into(), "2026-10-02".into()],
            workdays: vec!["2026-10-10".into()],
        }],
    });
    let read = parse(&render(&profile), "profile.toml", &none).unwrap();
    assert_eq!(render(&read), render(&profile));
    assert_eq!(read.calendar, profile.calendar);
    assert_eq!(read.supply_days, 5);
    assert_eq!(read.service_reviews(), proto::registry::v1::ServiceReviews::All);
    assert_eq!(read.withdrawal_notice_seconds, 2);
}

#[test]
fn everything_wrong_is_told_at_once_with_its_line() {
    let text = "view_lifetime_hours = 0\n\
                clock_skew = 60\n\
                request_validity_seconds = \"5 minutes\"\n\
                \n\
                [clocks]\n\
                supply_days = 1000\n\
                \n\
                [decisions]\n\
                decisions_named = \"yes\"\n\
                four_eyes = [\n\
                  \"access.approve\",\n\
                  \"access.aprove\",\n\
                  \"access.approve\",\n\
                ]\n\
                [calendar]\n\
                utc_offset_minutes = 9000\n\
                files = [\"holidays-2026.toml\"]\n\
                [clock]\n";
    assert_eq!(
        problems(text),
        [
            "profile.toml:1: view_lifetime_hours: must be 1 to 8760, not 0",
            "profile.toml:2: clock_skew: is not known here; there are view_lifetime_hours, clock_skew_seconds, \
             request_validity_seconds, witnesses_required, evidence_retention_days",
            "profile.toml:3: request_validity_seconds: must be a whole number, 5 to 300",
            "profile.toml:6: clocks.supply_days: must be 1 to 366, not 1000",
            "profile.toml:9: decisions.decisions_named: must be true or false",
            "profile.toml:12: decisions.four_eyes: \"access.aprove\" is none of access.approve, access.extend, \
             access.refuse, access.resume, access.return, access.revoke, access.suspend, clerk.answer, correction.decide",
            "profile.toml:13: decisions.four_eyes: \"access.approve\" stands twice",
            "profile.toml:16: calendar.utc_offset_minutes: must be -720 to 840 minutes",
            "profile.toml:17: calendar.files: cannot read holidays-2026.toml",
            "profile.toml:18: clock: is not known here; there are view_lifetime_hours, clock_skew_seconds, \
             request_validity_seconds, witnesses_required, evidence_retention_days",
        ]
    );
    assert!(problems("view_lifetime_hours = \n").iter().all(|problem| problem.starts_with("profile.toml:1: ")));
}

#[test]
fn calendars_are_files_of_their_own() {
    let year = "year = 2026\n\
                holidays = [\n\
                  \"2026-02-15..2026-02-23\",\n\
                  \"2026-10-01\",\n\
                ]\n\
                workdays = [\"2026-02-14\", \"2026-02-28\"]\n";
    let text = "[calendar]\nfiles = [\"holidays-2026.toml\"]\n";
    let open = |name: &str| if name == "holidays-2026.toml" { Ok(year.to_owned()) } else { none(name) };
    let profile = parse(text, "profile.toml", &open).unwrap();
    let calendar = profile.calendar.unwrap();
    assert_eq!(calendar.years[0].holidays.len(), 10);
    assert_eq!(calendar.years[0].workdays, ["2026-02-14", "2026-02-28"]);

    let year = "year = 2026\n\
                holidays = [\"2026-02-30\",\n\
                \"2026-10-01\", \"2026-10-01\", \"2026-10-05..2026-10-01\"]\n\
                workdays = [\"2026-10-09\"]\n\
                worked = []\n";
    let open = |_: &str| Ok(year.to_owned());
    let wrong: Vec<String> = parse(text, "profile.toml", &open).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        wrong,
        [
            "holidays-2026.toml:2: calendar.2026.holidays: \"2026-02-30\" is no day of 2026; write 2026-MM-DD",
            "holidays-2026.toml:3: calendar.2026.holidays: \"2026-10-05..2026-10-01\" ends before it begins",
            "holidays-2026.toml:3: calendar.2026.holidays: 2026-10-01 stands twice",
            "holidays-2026.toml:4: calendar.2026.workdays: 2026-10-09 is no Saturday or Sunday, so it is worked anyway",
            "holidays-2026.toml:5: calendar.2026.worked: is not known; a year has year, holidays and workdays",
        ]
    );
}

#[test]
fn the_calendar_form_is_read() {
    let text = "[calendar]\nfiles = [\"c\"]\n";
    let profile = parse(text, "profile.toml", &|_| Ok(calendar_template(2027))).unwrap();
    assert_eq!(profile.calendar.unwrap().years[0].holidays.len(), 8);
}

/// A real year: what is listed as worked falls on weekends, and nothing stands twice.
#[test]
fn the_example_calendar_is_read() {
    let year = include_str!("../../../examples/town/holidays-2026.toml");
    let profile =
        parse("[calendar]\nfiles = [\"holidays-2026.toml\"]\n", "profile.toml", &|_| Ok(year.to_owned())).unwrap();
    let calendar = trust::calendar::Calendar::from_wire(&profile.calendar.unwrap()).unwrap();
    // Applied for on the last day before Spring Festival: ten working days later it is March.
    let friday = 1_770_948_000_000;
    assert_eq!(calendar.date_of(friday), "2026-02-13");
    assert_eq!(calendar.date_of(calendar.deadline(friday, 10) - 1), "2026-03-05");
}
