//! Looks at the questions of a day for what no single question shows. Thresholds are the configuration's; 0 watches for
//! nothing. In memory, bounded, forgotten at the end of the day. Out of scope: what becomes of an event (the parent).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use trust::{calendar::Calendar, ids::DepartmentId, refusal::Code, subject::Subject};

use super::{EventBook, Kind};
use crate::{budget::BudgetKey, config::EventSettings};

/// So many groups of subjects are watched on a day, of all departments together.
const MOST_GROUPS: usize = 16_384;

/// And so many of one department, so that none can blind the watch for the others.
const MOST_OF_ONE: usize = 4_096;

/// Two numbers that differ only in so many last characters stand beside each other.
const SWEPT: usize = 4;

/// What is watched.
#[derive(Debug)]
pub struct Watch {
    settings: EventSettings,
    key: Arc<BudgetKey>,
    book: EventBook,
    day: Mutex<Day>,
}

#[derive(Debug, Default)]
struct Day {
    day: i64,
    date: String,
    groups: HashMap<[u8; 16], Group>,
    departments: HashMap<DepartmentId, OfDepartment>,
    /// How often a group was looked at.
    uses: u64,
}

/// A case, or a range of numbers.
#[derive(Debug, Default)]
struct Group {
    /// The different subjects; beyond the threshold nothing is added.
    subjects: HashSet<[u8; 16]>,
    /// Which of all uses was its last.
    used: u64,
}

#[derive(Debug, Default)]
struct OfDepartment {
    /// Its groups by their last use.
    groups: BTreeMap<u64, [u8; 16]>,
    off_hours: u64,
    refused: HashMap<Kind, u64>,
}

impl Watch {
    /// Watches with these thresholds.
    pub fn new(settings: EventSettings, key: Arc<BudgetKey>, book: EventBook) -> Self {
        Self { settings, key, book, day: Mutex::default() }
    }

    /// One that watches for nothing.
    #[cfg(test)]
    pub(crate) fn idle() -> Self {
        let book = EventBook::open(std::path::Path::new("there is no such folder")).unwrap();
        Self::new(tests::NOTHING, Arc::new(BudgetKey::new([0; 32])), book)
    }

    /// The events.
    pub fn book(&self) -> &EventBook {
        &self.book
    }

    /// A permitted question was put.
    pub(crate) fn asked(
        &self,
        department: &DepartmentId,
        case_number: &str,
        subject: &Subject,
        calendar: &Calendar,
        now_ms: u64,
    ) {
        let mut day = self.today(calendar, now_ms);
        let of_subject = self.key.subject(subject);
        let case = self.key.group("case", department, case_number);
        if self.is_over(&mut day, department, case, of_subject, self.settings.subjects_per_case) {
            self.book.count(Kind::ManySubjects, department, &day.date, now_ms);
        }
        let value = subject.value();
        // Canonical values are ASCII; one of a few characters is in no range.
        if let Some(range) = value.get(..value.len().saturating_sub(SWEPT)).filter(|range| !range.is_empty()) {
            let range = self.key.group(subject.scheme().as_str(), department, range);
            if self.is_over(&mut day, department, range, of_subject, self.settings.numbers_in_range) {
                self.book.count(Kind::Sweep, department, &day.date, now_ms);
            }
        }
        if self.settings.off_hours_questions > 0 && self.is_off_hours(calendar, now_ms) {
            let of = day.departments.entry(department.clone()).or_default();
            of.off_hours += 1;
            if of.off_hours > self.settings.off_hours_questions {
                self.book.count(Kind::OffHours, department, &day.date, now_ms);
            }
        }
    }

    /// A question was refused for what it costs.
    pub(crate) fn refused(&self, department: &DepartmentId, code: Code, calendar: &Calendar, now_ms: u64) {
        let Some(kind) = Kind::of_refusal(code) else { return };
        let threshold = match kind {
            Kind::Guessing => self.settings.guesses_refused,
            _ => self.settings.quotas_refused,
        };
        if threshold == 0 {
            return;
        }
        let mut day = self.today(calendar, now_ms);
        let of = day.departments.entry(department.clone()).or_default();
        let count = of.refused.entry(kind).or_default();
        *count += 1;
        if *count > threshold {
            self.book.count(kind, department, &day.date, now_ms);
        }
    }

    fn today(&self, calendar: &Calendar, now_ms: u64) -> std::sync::MutexGuard<'_, Day> {
        let mut day = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        let today = calendar.day_of(now_ms);
        if day.day != today || day.date.is_empty() {
            *day = Day { day: today, date: calendar.date_of(now_ms), ..Day::default() };
        }
        day
    }

    /// Whether the subject is one more than a group may have. Each further subject is counted once more, if only roughly:
    /// beyond the threshold subjects are no longer told apart.
    fn is_over(
        &self,
        day: &mut Day,
        department: &DepartmentId,
        group: [u8; 16],
        subject: [u8; 16],
        threshold: u64,
    ) -> bool {
        if threshold == 0 {
            return false;
        }
        let subjects = day.subjects_of(department, group);
        if subjects.contains(&subject) {
            return false;
        }
        if u64::try_from(subjects.len()).unwrap_or(u64::MAX) >= threshold {
            return true;
        }
        subjects.insert(subject);
        false
    }

    fn is_off_hours(&self, calendar: &Calendar, now_ms: u64) -> bool {
        let day = calendar.day_of(now_ms);
        let hour = now_ms.saturating_sub(calendar.begin_of(day)) / 3_600_000;
        let working = u64::from(self.settings.day_begins)..u64::from(self.settings.day_ends);
        !calendar.is_working_day(day) || !working.contains(&hour)
    }
}

impl Day {
    /// The subjects of a group, which is now the one used last.
    fn subjects_of(&mut self, department: &DepartmentId, group: [u8; 16]) -> &mut HashSet<[u8; 16]> {
        self.uses += 1;
        let before = self.groups.get(&group).map(|known| known.used);
        if before.is_none() {
            self.make_room(department);
        }
        let groups = &mut self.departments.entry(department.clone()).or_default().groups;
        if let Some(before) = before {
            groups.remove(&before);
        }
        groups.insert(self.uses, group);
        let group = self.groups.entry(group).or_default();
        group.used = self.uses;
        &mut group.subjects
    }

    /// Where there is no room for one group more, the longest unused one goes: of the department, or of the one that has most.
    /// Whoever is in the middle of something uses its group again and again.
    fn make_room(&mut self, department: &DepartmentId) {
        let own = self.departments.get(department).map_or(0, |of| of.groups.len());
        let from = if own >= MOST_OF_ONE {
            Some(department.clone())
        } else if self.groups.len() >= MOST_GROUPS {
            let most = self.departments.iter().max_by_key(|(_, of)| of.groups.len());
            most.map(|(department, _)| department.clone())
        } else {
            None
        };
        let Some(from) = from else { return };
        let Some(of) = self.departments.get_mut(&from) else { return };
        if let Some((_, oldest)) = of.groups.pop_first() {
            self.groups.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use trust::subject::resident_number::ResidentNumber;

    use super::*;

    /// A Monday at 10:00 in UTC+8.
    const MONDAY_10: u64 = 1_767_578_400_000;

    fn watch(settings: EventSettings) -> (Watch, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let book = EventBook::open(dir.path()).unwrap();
        (Watch::new(settings, Arc::new(BudgetKey::new([3; 32])), book), dir)
    }

    fn person(day: i8, sequence: u16) -> Subject {
        ResidentNumber::compose("890101", jiff::civil::date(1970, 1, day), sequence).unwrap().into()
    }

    fn seen(watch: &Watch) -> Vec<(Kind, u64)> {
        watch.book().list().iter().map(|event| (event.kind, event.count)).collect()
    }

    fn housing() -> DepartmentId {
        "housing".parse().unwrap()
    }

    pub(super) const NOTHING: EventSettings = EventSettings {
        subjects_per_case: 0,
        numbers_in_range: 0,
        off_hours_questions: 0,
        guesses_refused: 0,
        quotas_refused: 0,
        day_begins: 7,
        day_ends: 20,
        report_seconds: 300,
    };

    #[test]
    fn many_subjects_under_one_case_are_an_event_and_the_same_ones_are_not() {
        let (watch, _dir) = watch(EventSettings { subjects_per_case: 3, ..NOTHING });
        let calendar = Calendar::default();
        for _ in 0..2 {
            for day in 1..=3 {
                watch.asked(&housing(), "A", &person(day, 1), &calendar, MONDAY_10);
            }
        }
        watch.asked(&housing(), "B", &person(4, 1), &calendar, MONDAY_10);
        assert!(seen(&watch).is_empty());
        watch.asked(&housing(), "A", &person(4, 1), &calendar, MONDAY_10);
        assert_eq!(seen(&watch), [(Kind::ManySubjects, 1)]);
        // A new day begins with nothing.
        watch.asked(&housing(), "A", &person(5, 1), &calendar, MONDAY_10 + 86_400_000);
        assert_eq!(seen(&watch).len(), 1);
    }

    #[test]
    fn numbers_that_follow_one_another_are_a_sweep_whatever_their_cases() {
        let (watch, _dir) = watch(EventSettings { numbers_in_range: 10, ..NOTHING });
        let calendar = Calendar::default();
        for nth in 1..=10 {
            watch.asked(&housing(), &format!("case {nth}"), &person(1, nth), &calendar, MONDAY_10);
            watch.asked(&housing(), &format!("case {nth}"), &person(nth as i8 + 1, 1), &calendar, MONDAY_10);
        }
        assert!(seen(&watch).is_empty());
        watch.asked(&housing(), "case 11", &person(1, 11), &calendar, MONDAY_10);
        assert_eq!(seen(&watch), [(Kind::Sweep, 1)]);
        assert!(!format!("{:?}", watch.book().list()).contains("8901011970"), "no number in an event");
    }

    #[test]
    fn questions_at_night_and_on_days_off_count_and_others_do_not() {
        let (watch, _dir) = watch(EventSettings { off_hours_questions: 2, ..NOTHING });
        let calendar = Calendar::default();
        assert!(calendar.is_working_day(calendar.day_of(MONDAY_10)));
        let hours = |hours: u64| MONDAY_10 + hours * 3_600_000;
        for _ in 0..5 {
            watch.asked(&housing(), "A", &person(1, 1), &calendar, hours(9));
        }
        assert!(seen(&watch).is_empty(), "until 20:00");
        for _ in 0..3 {
            watch.asked(&housing(), "A", &person(1, 1), &calendar, hours(10));
        }
        assert_eq!(seen(&watch), [(Kind::OffHours, 1)]);
        // Saturday at ten.
        for _ in 0..3 {
            watch.asked(&housing(), "A", &person(1, 1), &calendar, hours(5 * 24));
        }
        assert_eq!(seen(&watch).len(), 2);
    }

    #[test]
    fn refusals_for_what_a_question_costs_are_an_event_above_their_threshold() {
        let (watch, _dir) = watch(EventSettings { guesses_refused: 2, quotas_refused: 1, ..NOTHING });
        let calendar = Calendar::default();
        for code in [Code::GuessBudgetSpent, Code::GrantMissing, Code::QuotaExceeded, Code::GuessBudgetSpent] {
            watch.refused(&housing(), code, &calendar, MONDAY_10);
        }
        assert!(seen(&watch).is_empty());
        watch.refused(&housing(), Code::GuessBudgetSpent, &calendar, MONDAY_10);
        watch.refused(&housing(), Code::QuotaExceeded, &calendar, MONDAY_10 + 1);
        assert_eq!(seen(&watch), [(Kind::OverQuota, 1), (Kind::Guessing, 1)]);
    }

    #[test]
    fn a_sweep_is_seen_after_more_questions_than_are_watched_at_once() {
        let (watch, _dir) = watch(EventSettings { subjects_per_case: 100, numbers_in_range: 30, ..NOTHING });
        let calendar = Calendar::default();
        for nth in 0..3_000 {
            // A case and a range of its own each.
            let born = jiff::civil::date(1940, 1, 1).saturating_add(jiff::Span::new().days(nth));
            let person = ResidentNumber::compose("890101", born, 1).unwrap().into();
            watch.asked(&housing(), &format!("case {nth}"), &person, &calendar, MONDAY_10);
        }
        assert!(seen(&watch).is_empty());
        for nth in 1..=40 {
            watch.asked(&housing(), &format!("sweep {nth}"), &person(1, nth), &calendar, MONDAY_10);
        }
        assert_eq!(seen(&watch), [(Kind::Sweep, 10)]);
        let day = watch.day.lock().unwrap();
        let by_use: usize = day.departments.values().map(|of| of.groups.len()).sum();
        assert_eq!((day.groups.len(), by_use), (MOST_OF_ONE, MOST_OF_ONE));
    }

    #[test]
    fn a_department_that_makes_cases_up_does_not_fill_the_memory_nor_blind_the_watch() {
        let (watch, _dir) = watch(EventSettings { subjects_per_case: 1, ..NOTHING });
        let calendar = Calendar::default();
        for nth in 0..MOST_OF_ONE + 100 {
            watch.asked(&housing(), &nth.to_string(), &person(1, 1), &calendar, MONDAY_10);
        }
        assert_eq!(watch.day.lock().unwrap().groups.len(), MOST_OF_ONE);
        let other: DepartmentId = "taxation".parse().unwrap();
        watch.asked(&other, "A", &person(1, 1), &calendar, MONDAY_10);
        watch.asked(&other, "A", &person(2, 1), &calendar, MONDAY_10);
        assert_eq!(seen(&watch), [(Kind::ManySubjects, 1)]);
    }
}
