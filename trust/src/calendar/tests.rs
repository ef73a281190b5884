//! Working days: the holidays of a real year, and that deadlines and days left agree for every calendar.

use proptest::prelude::*;

use super::*;

const HOUR_MS: u64 = 3_600_000;

/// Spring Festival of 2026 as published: closed from 15 to 23 February, worked on Saturday 14 and Saturday 28.
fn spring_festival() -> Calendar {
    let holidays = (15..=23).map(|day| format!("2026-02-{day}")).collect();
    let workdays = vec!["2026-02-14".to_owned(), "2026-02-28".to_owned()];
    let years = vec![wire::CalendarYear { year: 2026, holidays, workdays }];
    Calendar::from_wire(&wire::Calendar { utc_offset_minutes: None, years }).unwrap()
}

/// A moment of a day at UTC+8.
fn at(date: &str, hour: u64) -> u64 {
    let day = number_of(date.parse().unwrap());
    Calendar::default().begin_of(day) + hour * HOUR_MS
}

#[test]
fn a_time_limit_ends_with_its_last_working_day() {
    let calendar = Calendar::default();
    // Friday; the weekend does not count, and neither does the day itself.
    for hour in [0, 9, 23] {
        assert_eq!(calendar.deadline(at("2026-03-06", hour), 1), at("2026-03-10", 0), "{hour}");
    }
    assert_eq!(calendar.deadline(at("2026-03-06", 9), 10), at("2026-03-21", 0));
    assert_eq!(calendar.deadline(at("2026-03-07", 9), 1), at("2026-03-10", 0), "a Saturday");
    assert_eq!(calendar.deadline(at("2026-03-06", 9), 0), at("2026-03-07", 0), "no days: the end of the day");
    assert_eq!(calendar.date_of(at("2026-03-06", 0)), "2026-03-06");
    assert_eq!(calendar.date_of(at("2026-03-06", 0) - 1), "2026-03-05");
    assert_eq!(calendar.year_of(at("2026-01-01", 0) - 1), Some(2025));
}

#[test]
fn holidays_and_make_up_workdays_count_as_published() {
    let calendar = spring_festival();
    assert!(calendar.knows(2026) && !calendar.knows(2027));
    // Friday 13 February: Saturday 14 is worked, then nothing until Tuesday 24.
    assert_eq!(calendar.deadline(at("2026-02-13", 9), 1), at("2026-02-15", 0));
    assert_eq!(calendar.deadline(at("2026-02-13", 9), 2), at("2026-02-25", 0));
    // Saturday 28 is worked too.
    assert_eq!(calendar.deadline(at("2026-02-27", 9), 1), at("2026-03-01", 0));
    assert_eq!(calendar.working_days_left(at("2026-02-13", 9), at("2026-03-01", 0)), 6);
    // Without the calendar they are days like others.
    assert_eq!(Calendar::default().deadline(at("2026-02-13", 9), 1), at("2026-02-17", 0));
}

#[test]
fn a_limit_is_amber_before_it_is_red() {
    let calendar = Calendar::default();
    let start = at("2026-03-02", 9);
    let limit = |now| calendar.limit(start, 10, 2, now);
    let ends = at("2026-03-17", 0);
    for (now, days_left, colour) in [
        (start, 10, Colour::Green),
        (at("2026-03-11", 23), 3, Colour::Green),
        (at("2026-03-12", 0), 2, Colour::Amber),
        (at("2026-03-15", 12), 1, Colour::Amber),
        (ends - 1, 0, Colour::Amber),
        (ends, -1, Colour::Red),
        (at("2026-03-20", 9), -4, Colour::Red),
    ] {
        assert_eq!(limit(now), Limit { ends_ms: ends, days_left, colour });
    }
    // Of a short time limit only the last day is amber, however many days amber takes.
    assert_eq!(calendar.limit(start, 1, 2, start).colour, Colour::Green);
    assert_eq!(calendar.limit(start, 1, 2, at("2026-03-03", 9)).colour, Colour::Amber);
    // Overdue on a weekend: one day, although none has been worked since.
    assert_eq!(calendar.limit(at("2026-03-05", 9), 1, 2, at("2026-03-07", 9)).days_left, -1);
}

#[test]
fn days_begin_and_end_where_the_departments_are() {
    let elsewhere = wire::Calendar { utc_offset_minutes: Some(0), years: Vec::new() };
    let elsewhere = Calendar::from_wire(&elsewhere).unwrap();
    let at_ms = at("2026-03-06", 1);
    assert_eq!(elsewhere.date_of(at_ms), "2026-03-05");
    assert_eq!(Calendar::default().date_of(at_ms), "2026-03-06");
}

#[test]
fn everything_wrong_with_a_calendar_is_told_at_once() {
    let year = |year, holidays: &[&str], workdays: &[&str]| wire::CalendarYear {
        year,
        holidays: holidays.iter().map(|day| (*day).to_owned()).collect(),
        workdays: workdays.iter().map(|day| (*day).to_owned()).collect(),
    };
    let calendar = wire::Calendar {
        utc_offset_minutes: Some(900),
        years: vec![
            year(2026, &["2026-02-30", "2027-01-01", "2026-10-01", "2026-10-01"], &["2026-10-02", "2026-10-10"]),
            year(2026, &[], &[]),
            year(70_000, &[], &[]),
        ],
    };
    let wrong: Vec<String> = Calendar::from_wire(&calendar).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        wrong,
        [
            "calendar.utc_offset_minutes: must be -720 to 840 minutes",
            "calendar.2026.holidays: \"2026-02-30\" is no day of 2026; write 2026-MM-DD",
            "calendar.2026.holidays: \"2027-01-01\" is no day of 2026; write 2026-MM-DD",
            "calendar.2026.holidays: 2026-10-01 stands twice",
            "calendar.2026.workdays: 2026-10-02 is no Saturday or Sunday, so it is worked anyway",
            "calendar.2026: stands twice",
            "calendar.70000: is no year",
        ]
    );
}

/// Some calendar: an offset, and days of 2026 and 2027 that are not what their weekday says.
fn calendars() -> impl Strategy<Value = Calendar> {
    (-720..=840_i32, prop::collection::btree_map(20_454..21_184_i64, any::<bool>(), 0..60)).prop_map(
        |(minutes, exceptions)| Calendar { offset_ms: i64::from(minutes) * 60_000, years: BTreeSet::new(), exceptions },
    )
}

/// A moment from 2026 to 2027.
fn moments() -> impl Strategy<Value = u64> {
    1_767_225_600_000..1_830_297_600_000_u64
}

proptest! {
    #[test]
    fn a_deadline_leaves_as_many_days_as_were_given(calendar in calendars(), start in moments(), days in 0..60_u32) {
        let ends = calendar.deadline(start, days);
        prop_assert!(ends > start);
        prop_assert_eq!(calendar.working_days_left(start, ends), i64::from(days));
        if days > 0 {
            prop_assert!(calendar.is_working_day(calendar.day_of(ends - 1)));
        }
    }

    #[test]
    fn deadlines_keep_their_order(calendar in calendars(), one in moments(), other in moments(), days in 0..60_u32) {
        let (first, second) = (one.min(other), one.max(other));
        prop_assert!(calendar.deadline(first, days) <= calendar.deadline(second, days));
        prop_assert!(calendar.deadline(first, days) < calendar.deadline(first, days + 1));
    }

    #[test]
    fn days_left_only_become_fewer(calendar in calendars(), ends in moments(), one in moments(), other in moments()) {
        let (earlier, later) = (one.min(other), one.max(other));
        prop_assert!(calendar.working_days_left(earlier, ends) >= calendar.working_days_left(later, ends));
        prop_assert_eq!(calendar.working_days_left(earlier, ends) < 0, calendar.day_of(earlier) > calendar.day_of(ends - 1));
    }

    #[test]
    fn counting_by_weeks_is_counting_by_days(calendar in calendars(), from in 20_400..21_200_i64, days in 0..500_i64) {
        let by_days = (from + 1..=from + days).filter(|day| calendar.is_working_day(*day)).count() as i64;
        prop_assert_eq!(calendar.count(from, from + days), by_days);
    }

    #[test]
    fn no_moment_is_too_far(calendar in calendars(), start: u64, now: u64, days in 0..400_u32) {
        let limit = calendar.limit(start, days, 2, now);
        prop_assert_eq!(limit.colour == Colour::Red, now >= limit.ends_ms);
        let _ = (calendar.date_of(start), calendar.year_of(now));
    }

    #[test]
    fn any_wire_calendar_is_read_or_is_not(minutes: i32, year: u32, days in prop::collection::vec(".{0,12}", 0..5)) {
        let years = vec![wire::CalendarYear { year, holidays: days.clone(), workdays: days }];
        let _ = Calendar::from_wire(&wire::Calendar { utc_offset_minutes: Some(minutes), years });
    }
}
