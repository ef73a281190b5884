//! How far the demo is: a line for each finished step, and while a long one runs, a spinner or bars where standard error
//! is a terminal. Elsewhere the lines are all there is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    harness::Event,
    services::{DEPARTMENTS, Department},
};

/// One step that takes a while.
#[derive(Debug)]
pub struct Step {
    bar: ProgressBar,
    begun: Instant,
}

impl Step {
    /// Begins a step; `doing` is shown while it runs.
    #[must_use]
    pub fn begin(doing: &str) -> Self {
        let bar =
            ProgressBar::new_spinner().with_style(style("  {spinner} {msg} {elapsed}")).with_message(doing.to_owned());
        bar.enable_steady_tick(TICK);
        Self { bar, begun: Instant::now() }
    }

    /// Shows that a part of it is done.
    pub fn advance(&self) {
        self.bar.tick();
    }

    /// Ends it; `done` says what there is now.
    pub fn done(self, done: &str) {
        self.bar.finish_and_clear();
        println!("  ✓ {done}  ({})", seconds(self.begun.elapsed()));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// All departments being set up at once: a bar for each, and a line when one is done.
#[derive(Debug)]
pub struct Departments {
    bars: MultiProgress,
    states: Mutex<BTreeMap<String, DepartmentState>>,
    begun: Instant,
}

#[derive(Debug)]
struct DepartmentState {
    bar: ProgressBar,
    department: &'static Department,
    waiting_for: usize,
    rows: u64,
}

impl Departments {
    /// A bar for each department of the town.
    #[must_use]
    pub fn begin() -> Self {
        let bars = MultiProgress::new();
        let state = |department: &'static Department| {
            let bar = bars.add(ProgressBar::new(1).with_style(style("  {spinner} {prefix:<17} {bar:15} {wide_msg}")));
            bar.set_prefix(department.id);
            bar.set_message("making keys, being admitted");
            bar.enable_steady_tick(TICK);
            let waiting_for = department.services.len();
            (department.id.to_owned(), DepartmentState { bar, department, waiting_for, rows: 0 })
        };
        let states = DEPARTMENTS.iter().map(state).collect();
        Self { bars, states: Mutex::new(states), begun: Instant::now() }
    }

    /// Shows what has happened.
    pub fn show(&self, event: Event) {
        match event {
            Event::Admitted { department } => {
                self.with(&department, |state| state.bar.set_message("starting its node"))
            }
            Event::Serving { department } => {
                self.with(&department, |state| state.bar.set_message("in the directory"));
                self.finish_if_ready(&department);
            }
            Event::Published { department, service } => {
                self.with(&department, |state| state.bar.set_message(format!("publishing {service}")));
            }
            Event::Importing { department, service, bytes, of } => self.with(&department, |state| {
                state.bar.set_length(of.max(1));
                state.bar.set_position(bytes);
                state.bar.set_message(format!("importing records of {service}"));
            }),
            Event::Imported { department, rows, .. } => {
                self.with(&department, |state| {
                    state.waiting_for = state.waiting_for.saturating_sub(1);
                    state.rows += rows;
                });
                self.finish_if_ready(&department);
            }
            Event::Granted { .. } => {}
        }
    }

    /// Takes the bars away.
    pub fn end(&self) {
        let _ = self.bars.clear();
    }

    fn finish_if_ready(&self, department: &str) {
        let mut line = None;
        self.with(department, |state| {
            if state.waiting_for == 0 {
                state.bar.finish_and_clear();
                line = Some(told(state.department, state.rows, self.begun.elapsed()));
            }
        });
        if let Some(line) = line {
            self.bars.suspend(|| println!("{line}"));
        }
    }

    fn with(&self, department: &str, change: impl FnOnce(&mut DepartmentState)) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get_mut(department) {
            change(state);
        }
    }
}

fn told(department: &Department, rows: u64, since: Duration) -> String {
    let services: Vec<&str> = department.services.iter().map(|service| service.id).collect();
    let offers = match services.as_slice() {
        [] => "asks, and answers nothing".to_owned(),
        _ => format!("answers {} from {} records", services.join(" and "), thousands(rows)),
    };
    format!("  ✓ {} {}: {offers}  ({})", department.name, department.name_en, seconds(since))
}

/// A number with its thousands apart: `100,000`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many columns the terminal has that is written to; `None` where it is none.
#[must_use]
pub fn terminal_width() -> Option<u16> {
    rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col).filter(|&columns| columns > 0)
}

/// A time as `1.2 s`.
#[must_use]
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_departments_are_told_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        let line = told(&DEPARTMENTS[1], 100_000, Duration::from_millis(1250));
        assert!(
            line.contains("民政局 Civil Affairs: answers marriage-registration and subsistence-allowance"),
            "{line}"
        );
        assert!(line.ends_with("100,000 records  (1.2 s)"), "{line}");
    }

    #[test]
    fn a_department_is_done_with_its_last_service() {
        let shown = Departments::begin();
        let department = "civil-affairs".to_owned();
        for waiting_for in [1, 0] {
            let service = String::new();
            shown.show(Event::Imported { department: department.clone(), service, rows: 5 });
            let states = shown.states.lock().unwrap();
            assert_eq!(states[&department].waiting_for, waiting_for);
            assert_eq!(states[&department].bar.is_finished(), waiting_for == 0);
        }
        shown.end();
    }
}
