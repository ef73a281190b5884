//! The tables of `sources.toml` with the line of every field, so that all mistakes are told at once, each with its line,
//! and not one after the other at every start. A field that nobody asked for is a mistake too.
//!
//! Out of scope: what the fields mean ([`super::settings`]).

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use host::period::Period;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One thing wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The field with the tables it stands in; empty where the file as a whole is wrong.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(formatter, "line {}: {}", self.line, self.reason),
            field => write!(formatter, "line {}, field `{field}`: {}", self.line, self.reason),
        }
    }
}

/// The text of the file, and what was found wrong so far.
#[derive(Debug)]
pub struct Reading<'t> {
    text: &'t str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'t> Reading<'t> {
    /// Reads `text` with `read`, which gets the outermost table. Every mistake is told, in the order of the lines.
    pub fn of<T>(text: &'t str, read: impl FnOnce(&Table<'_, 't>) -> T) -> Result<T, Vec<Mistake>> {
        let reading = Self { text, mistakes: RefCell::default() };
        let (root, faults) = DeTable::parse_recoverable(text);
        for fault in faults {
            let reason = fault.message().lines().map(str::trim).collect::<Vec<_>>().join("; ");
            reading.note(fault.span().map_or(0, |span| span.start), String::new(), reason);
        }
        let table = Table {
            reading: &reading,
            entries: root.get_ref(),
            path: String::new(),
            start: 0,
            asked: RefCell::default(),
        };
        let value = read(&table);
        table.finish();
        let mut mistakes = reading.mistakes.into_inner();
        if mistakes.is_empty() {
            return Ok(value);
        }
        mistakes.sort_by_key(|mistake| mistake.line);
        Err(mistakes)
    }

    fn note(&self, start: usize, field: String, reason: impl Into<String>) {
        let mistake = Mistake { line: self.line(start), field, reason: reason.into() };
        self.mistakes.borrow_mut().push(mistake);
    }

    fn line(&self, start: usize) -> usize {
        self.text.get(..start.min(self.text.len())).unwrap_or_default().matches('\n').count() + 1
    }
}

/// One table of the file. Ask for every field that may stand in it, then [`Table::finish`].
#[derive(Debug)]
pub struct Table<'a, 't> {
    reading: &'a Reading<'t>,
    entries: &'a DeTable<'t>,
    path: String,
    start: usize,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a, 't> Table<'a, 't> {
    /// Notes a mistake about the field `name`, or about the table where there is no such field.
    pub fn mistake(&self, name: &str, reason: impl Into<String>) {
        let start = self.entry(name).map_or(self.start, |(key, _)| key.span().start);
        self.reading.note(start, self.named(name), reason);
    }

    /// The line that the table begins on.
    pub fn line(&self) -> usize {
        self.reading.line(self.start)
    }

    /// Whether a field of that name is there. Does not count as asking for it.
    pub fn has(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            DeValue::String(text) => Some(text.to_string()),
            _ => self.wrong(name, "must be a text in quotation marks"),
        }
    }

    /// A text that must be there. An empty text, and a mistake noted, where it is not.
    pub fn needed_text(&self, name: &str) -> String {
        match self.has(name) {
            true => self.text(name).unwrap_or_default(),
            false => self.wrong(name, "is missing").unwrap_or_default(),
        }
    }

    /// A text that is read as a `T`.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Option<T> {
        match self.text(name)?.parse() {
            Ok(value) => Some(value),
            Err(error) => self.wrong(name, error.to_string()),
        }
    }

    /// A whole number within `range`.
    pub fn number(&self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match self.value(name)? {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => self.wrong(name, format!("must be a whole number from {} to {}", range.start(), range.end())),
        }
    }

    /// A span of time such as `2s` or `1h`, at least a second.
    pub fn period(&self, name: &str) -> Option<Duration> {
        let period = self.parsed::<Period>(name)?.duration();
        if period.is_zero() { self.wrong(name, "must be at least 1s") } else { Some(period) }
    }

    /// `true` or `false`.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.value(name)? {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong(name, "must be true or false"),
        }
    }

    /// Several texts; one may stand without brackets.
    pub fn texts(&self, name: &str) -> Option<Vec<String>> {
        let texts = match self.value(name)? {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(values) => {
                values.iter().map(|value| value.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        if texts.is_none() { self.wrong(name, "must be a list of texts in quotation marks") } else { texts }
    }

    /// Texts by texts, such as a code list.
    pub fn pairs(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let DeValue::Table(table) = self.value(name)? else { return self.wrong(name, "must be pairs of texts") };
        let pair = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            Some((key.to_string(), value.get_ref().as_str()?.to_owned()))
        };
        match table.iter().map(pair).collect() {
            Some(pairs) => Some(pairs),
            None => self.wrong(name, "must be pairs of texts, such as { \"10\" = \"single\" }"),
        }
    }

    /// A table within this one.
    pub fn table(&self, name: &str) -> Option<Table<'a, 't>> {
        match self.value(name)? {
            DeValue::Table(entries) => Some(Table {
                reading: self.reading,
                entries,
                path: self.named(name),
                start: self.entry(name).map_or(self.start, |(key, _)| key.span().start),
                asked: RefCell::default(),
            }),
            _ => self.wrong(name, "must be a table"),
        }
    }

    /// The names of all fields.
    pub fn names(&self) -> Vec<String> {
        self.entries.keys().map(|key| key.get_ref().to_string()).collect()
    }

    /// Notes every field that nobody asked for.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.entries.iter().filter(|(key, _)| !asked.contains(key.get_ref().as_ref())) {
            let known = asked.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let reason = format!("there is no such field; those that may stand here: {known}");
            self.reading.note(key.span().start, self.named(key.get_ref()), reason);
        }
    }

    fn wrong<T>(&self, name: &str, reason: impl Into<String>) -> Option<T> {
        self.mistake(name, reason);
        None
    }

    fn value(&self, name: &str) -> Option<&'a DeValue<'t>> {
        self.asked.borrow_mut().insert(name.to_owned());
        self.entry(name).map(|(_, value)| value.get_ref())
    }

    fn entry(&self, name: &str) -> Option<(&'a Spanned<std::borrow::Cow<'t, str>>, &'a Spanned<DeValue<'t>>)> {
        self.entries.iter().find(|(key, _)| key.get_ref().as_ref() == name)
    }

    fn named(&self, name: &str) -> String {
        let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        let name = if is_plain { name.to_owned() } else { format!("{name:?}") };
        if self.path.is_empty() { name } else { format!("{}.{name}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "size = 3\nname = 5\nextra = true\n\n[inner]\nwait = \"soon\"\n";
        let mistakes = Reading::of(text, |table| {
            assert_eq!(table.number("size", 1..=9), Some(3));
            assert_eq!(table.text("name"), None);
            let inner = table.table("inner").unwrap();
            assert_eq!(inner.period("wait"), None);
            inner.needed_text("path");
            inner.finish();
        })
        .unwrap_err();
        let told = mistakes.iter().map(|mistake| (mistake.line, mistake.field.as_str())).collect::<Vec<_>>();
        assert_eq!(told, [(2, "name"), (3, "extra"), (5, "inner.path"), (6, "inner.wait")]);
        assert!(mistakes[1].reason.contains("no such field"), "{}", mistakes[1]);
    }

    #[test]
    fn what_is_not_toml_is_told_by_line() {
        let mistakes = Reading::of("a = 1\nb = = 2\n", |table| table.number("a", 0..=9)).unwrap_err();
        assert_eq!(mistakes[0].line, 2, "{mistakes:?}");
    }

    #[test]
    fn a_code_list_is_read_as_pairs() {
        let codes = Reading::of("codes = { \"10\" = \"single\", \"20\" = \"married\" }", |table| table.pairs("codes"));
        assert_eq!(codes.unwrap().unwrap()["20"], "married");
        assert!(Reading::of("codes = { \"10\" = 1 }", |table| table.pairs("codes")).is_err());
    }
}
