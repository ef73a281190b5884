//! Reading profile files and calendars. Made from the parser's table with its places and not through serde, which stops
//! at the first thing that is wrong.

use proto::registry::v1::{Calendar, CalendarYear, Profile, SubjectScheme};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use trust::{directory::model, subject::added::Schemes};

use super::{
    Problem,
    settings::{Kind, SETTINGS, Setting, TABLES},
};

/// The longest file, in bytes: more than the longest statement.
const LONGEST_FILE: usize = 256 * 1024;

/// The most days that a range of a calendar may have.
const LONGEST_RANGE: usize = 60;

pub(super) fn profile(
    text: &str,
    file: &str,
    open: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Profile, Vec<Problem>> {
    let mut reader = Reader { file: file.to_owned(), text: text.to_owned(), problems: Vec::new(), days: Vec::new() };
    let mut profile = model::Profile::usual();
    if let Some(table) = reader.table(text) {
        reader.settings(&table, &mut profile);
        profile.calendar = reader.calendar(&table, open);
        profile.subject_schemes = reader.subject_schemes(&table);
    }
    reader.check_calendar(profile.calendar.as_ref());
    if reader.problems.is_empty() {
        return Ok(profile);
    }
    reader.problems.sort_by(|one, other| {
        (one.file != file, &one.file, one.line).cmp(&(other.file != file, &other.file, other.line))
    });
    Err(reader.problems)
}

/// Where a calendar says something.
struct Said {
    field: String,
    day: String,
    file: String,
    line: usize,
}

struct Reader {
    file: String,
    text: String,
    problems: Vec<Problem>,
    days: Vec<Said>,
}

type Table<'a> = DeTable<'a>;

impl Reader {
    fn problem(&mut self, at: usize, field: impl Into<String>, reason: impl Into<String>) {
        let line = self.line(at);
        self.problems.push(Problem { file: self.file.clone(), line, field: field.into(), reason: reason.into() });
    }

    fn line(&self, at: usize) -> usize {
        self.text.get(..at.min(self.text.len())).unwrap_or_default().matches('\n').count() + 1
    }

    /// The file as a table; what makes it no TOML is told.
    fn table<'t>(&mut self, text: &'t str) -> Option<Table<'t>> {
        if text.len() > LONGEST_FILE {
            self.problem(0, "", "the file is longer than 256 KiB");
            return None;
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let reason = error.message().lines().map(str::trim).collect::<Vec<_>>().join("; ");
            self.problem(error.span().map_or(0, |span| span.start), "", reason);
        }
        errors.is_empty().then(|| table.into_inner())
    }

    fn settings(&mut self, root: &Table<'_>, profile: &mut Profile) {
        for (name, _) in TABLES {
            let table = match *name {
                "" => Some(root),
                name => root.get(name).and_then(|value| value.get_ref().as_table()),
            };
            let Some(table) = table else {
                if let Some(value) = root.get(*name) {
                    self.problem(value.span().start, *name, format!("must be a table: [{name}]"));
                }
                continue;
            };
            for (key, value) in table.iter() {
                let (start, key) = (key.span().start, key.get_ref().as_ref());
                let field = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
                let is_table = name.is_empty()
                    && ([CALENDAR, SUBJECT_SCHEMES].contains(&key) || TABLES.iter().any(|(table, _)| *table == key));
                match SETTINGS.iter().find(|setting| setting.table == *name && setting.key == key) {
                    Some(setting) => self.setting(setting, &field, value, profile),
                    None if is_table => {}
                    None => self.problem(start, field, unknown(name)),
                }
            }
        }
    }

    fn setting(&mut self, setting: &Setting, field: &str, value: &Spanned<DeValue<'_>>, profile: &mut Profile) {
        let start = value.span().start;
        match (&setting.kind, value.get_ref()) {
            (Kind::Flag { write, .. }, DeValue::Boolean(flag)) => write(profile, *flag),
            (Kind::Flag { .. }, _) => self.problem(start, field, "must be true or false"),
            (Kind::Number { least, most, write, .. }, DeValue::Integer(number)) => {
                match i64::from_str_radix(number.as_str(), number.radix())
                    .ok()
                    .and_then(|number| u32::try_from(number).ok())
                {
                    Some(number) if (*least..=*most).contains(&number) => write(profile, number),
                    _ => self.problem(start, field, format!("must be {least} to {most}, not {}", number.as_str())),
                }
            }
            (Kind::Number { least, most, .. }, _) => {
                self.problem(start, field, format!("must be a whole number, {least} to {most}"));
            }
            (Kind::Words { allowed, write, .. }, value) => {
                let mut words = Vec::new();
                for (at, word) in self.texts(start, field, value) {
                    if !allowed.contains(&word.as_str()) {
                        self.problem(at, field, format!("{word:?} is none of {}", allowed.join(", ")));
                    } else if words.contains(&word) {
                        self.problem(at, field, format!("{word:?} stands twice"));
                    } else {
                        words.push(word);
                    }
                }
                write(profile, words);
            }
        }
    }

    /// A list of texts with their places.
    fn texts(&mut self, start: usize, field: &str, value: &DeValue<'_>) -> Vec<(usize, String)> {
        let DeValue::Array(array) = value else {
            self.problem(start, field, "must be a list of texts: [\"…\", \"…\"]");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in array.iter() {
            match item.get_ref() {
                DeValue::String(text) => texts.push((item.span().start, text.to_string())),
                _ => self.problem(item.span().start, field, "must be a text in quotation marks"),
            }
        }
        texts
    }

    /// The subject schemes that are added, each a table of texts.
    fn subject_schemes(&mut self, root: &Table<'_>) -> Vec<SubjectScheme> {
        let Some(value) = root.get(SUBJECT_SCHEMES) else { return Vec::new() };
        let DeValue::Array(tables) = value.get_ref() else {
            self.problem(value.span().start, SUBJECT_SCHEMES, "write each scheme as [[subject_schemes]]");
            return Vec::new();
        };
        let (mut schemes, mut starts) = (Vec::new(), Vec::new());
        for (index, item) in tables.iter().enumerate() {
            let start = item.span().start;
            let Some(table) = item.get_ref().as_table() else {
                self.problem(start, format!("{SUBJECT_SCHEMES}[{index}]"), "must be a table: [[subject_schemes]]");
                continue;
            };
            let mut scheme = SubjectScheme::default();
            for (key, value) in table.iter() {
                let (at, key) = (value.span().start, key.get_ref().as_ref());
                let field = format!("{SUBJECT_SCHEMES}[{index}].{key}");
                let into = match key {
                    "name" => &mut scheme.name,
                    "label" => &mut scheme.label,
                    "pattern" => &mut scheme.pattern,
                    "check" => &mut scheme.check,
                    "example" => &mut scheme.example,
                    _ => {
                        self.problem(at, field, "is not known; a scheme has name, label, pattern, check and example");
                        continue;
                    }
                };
                match value.get_ref() {
                    DeValue::String(text) => *into = text.to_string(),
                    _ => self.problem(at, field, "must be a text in quotation marks"),
                }
            }
            schemes.push(scheme);
            starts.push(start);
        }
        if let Err(wrong) = Schemes::from_wire(&schemes) {
            let start = starts.get(wrong.index).copied().unwrap_or_default();
            self.problem(start, format!("{SUBJECT_SCHEMES}[{}].{}", wrong.index, wrong.field), wrong.reason);
        }
        schemes
    }

    fn calendar(&mut self, root: &Table<'_>, open: &dyn Fn(&str) -> Result<String, String>) -> Option<Calendar> {
        let value = root.get(CALENDAR)?;
        let Some(table) = value.get_ref().as_table() else {
            self.problem(value.span().start, CALENDAR, "must be a table: [calendar]");
            return None;
        };
        let mut calendar = Calendar::default();
        for (key, value) in table.iter() {
            let start = value.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("utc_offset_minutes", DeValue::Integer(number)) => {
                    match i64::from_str_radix(number.as_str(), number.radix())
                        .ok()
                        .and_then(|number| i32::try_from(number).ok())
                    {
                        Some(minutes) if (-720..=840).contains(&minutes) => calendar.utc_offset_minutes = Some(minutes),
                        _ => self.problem(start, "calendar.utc_offset_minutes", "must be -720 to 840 minutes"),
                    }
                }
                ("utc_offset_minutes", _) => {
                    self.problem(start, "calendar.utc_offset_minutes", "must be a whole number of minutes");
                }
                ("files", value) => {
                    for (at, name) in self.texts(start, "calendar.files", value) {
                        match open(&name) {
                            Ok(text) => calendar.years.extend(self.year_file(&name, text)),
                            Err(reason) => self.problem(at, "calendar.files", reason),
                        }
                    }
                }
                ("years", DeValue::Array(years)) => {
                    for year in years.iter() {
                        match year.get_ref().as_table() {
                            Some(table) => calendar.years.extend(self.year(table, year.span().start)),
                            None => self.problem(year.span().start, "calendar.years", "must be a table"),
                        }
                    }
                }
                ("years", _) => self.problem(start, "calendar.years", "write each year as [[calendar.years]]"),
                (key, _) => {
                    let known = "is not known; a calendar has utc_offset_minutes, files and years";
                    self.problem(start, format!("calendar.{key}"), known);
                }
            }
        }
        calendar.years.sort_by_key(|year| year.year);
        // The same days in two spellings are the same calendar.
        (calendar != Calendar::default()).then_some(calendar)
    }

    fn year_file(&mut self, name: &str, text: String) -> Option<CalendarYear> {
        let profile =
            (std::mem::replace(&mut self.file, name.to_owned()), std::mem::replace(&mut self.text, text.clone()));
        let table = self.table(&text);
        let year = table.and_then(|table| self.year(&table, 0));
        (self.file, self.text) = profile;
        year
    }

    fn year(&mut self, table: &Table<'_>, start: usize) -> Option<CalendarYear> {
        let number = table.get("year").map(|value| (value.span().start, value.get_ref()));
        let year = match number {
            Some((_, DeValue::Integer(number))) => number.as_str().parse::<u32>().ok(),
            _ => None,
        };
        let Some(year) = year else {
            self.problem(
                number.map_or(start, |(start, _)| start),
                "calendar.year",
                "say the year, for example year = 2026",
            );
            return None;
        };
        let mut read = CalendarYear { year, ..CalendarYear::default() };
        self.days.push(Said {
            field: format!("calendar.{year}"),
            day: String::new(),
            file: self.file.clone(),
            line: self.line(number.map_or(start, |(start, _)| start)),
        });
        for (key, value) in table.iter() {
            let start = value.span().start;
            let key = key.get_ref().as_ref();
            let field = format!("calendar.{year}.{key}");
            let days = match key {
                "holidays" => &mut read.holidays,
                "workdays" => &mut read.workdays,
                "year" => continue,
                _ => {
                    self.problem(start, field, "is not known; a year has year, holidays and workdays");
                    continue;
                }
            };
            for (at, text) in self.texts(start, &field, value.get_ref()) {
                match expand(&text) {
                    Ok(several) => {
                        for day in several {
                            let (file, line) = (self.file.clone(), self.line(at));
                            self.days.push(Said { field: field.clone(), day: day.clone(), file, line });
                            days.push(day);
                        }
                    }
                    Err(reason) => self.problem(at, &field, reason),
                }
            }
            days.sort();
        }
        Some(read)
    }

    /// What only the whole calendar shows, each at the line that said it.
    fn check_calendar(&mut self, calendar: Option<&Calendar>) {
        let Some(Err(wrong)) = calendar.map(trust::calendar::Calendar::from_wire) else { return };
        for wrong in wrong {
            let of_field = |said: &&Said| wrong.field == said.field && wrong.reason.contains(&said.day);
            let (file, line) = match self.days.iter().rev().find(of_field) {
                Some(said) => (said.file.clone(), said.line),
                None => (self.file.clone(), 1),
            };
            self.problems.push(Problem { file, line, field: wrong.field, reason: wrong.reason });
        }
    }
}

fn unknown(table: &str) -> String {
    let known: Vec<&str> =
        SETTINGS.iter().filter(|setting| setting.table == table).map(|setting| setting.key).collect();
    format!("is not known here; there are {}", known.join(", "))
}

/// One day, or the days of `FIRST..LAST`.
fn expand(text: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = text.split_once("..") else { return Ok(vec![text.trim().to_owned()]) };
    let date =
        |text: &str| text.trim().parse::<jiff::civil::Date>().map_err(|_| format!("{:?} is no day", text.trim()));
    let (first, last) = (date(first)?, date(last)?);
    if last < first {
        return Err(format!("{text:?} ends before it begins"));
    }
    let days: Vec<String> = first
        .series(jiff::ToSpan::day(1))
        .take_while(|day| *day <= last)
        .take(LONGEST_RANGE + 1)
        .map(|day| day.to_string())
        .collect();
    if days.len() > LONGEST_RANGE { Err(format!("{text:?} has more than {LONGEST_RANGE} days")) } else { Ok(days) }
}

const CALENDAR: &str = "calendar";

const SUBJECT_SCHEMES: &str = "subject_schemes";
