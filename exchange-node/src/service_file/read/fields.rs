//! The fields of one map, taken one by one; what nobody took is unknown.

use std::ops::RangeInclusive;

use proto::registry::v1::LocalName;

use super::super::tree::{Entry, Kind, Node};
use super::Problems;

/// The longest text, in characters.
const TEXT_LIMIT: usize = 1_000;

/// A map among others, by its name.
pub(crate) struct NamedMap<'a> {
    pub(crate) name: String,
    /// Its whole name.
    pub(crate) field: String,
    /// The line of its name.
    pub(crate) line: u64,
    pub(crate) entries: &'a [Entry],
}

/// The fields of a map.
pub(crate) struct Fields<'a> {
    path: String,
    line: u64,
    entries: Vec<(&'a Entry, bool)>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields in `entries`, of the map called `path` on `line`. Those that stand twice are said here.
    pub(crate) fn new(path: &str, line: u64, entries: &'a [Entry], problems: &mut Problems) -> Self {
        let fields = Self {
            path: path.to_owned(),
            line,
            entries: entries.iter().map(|entry| (entry, false)).collect(),
            known: Vec::new(),
        };
        for (index, entry) in entries.iter().enumerate() {
            if let Some(first) = entries[..index].iter().find(|other| other.key == entry.key) {
                problems.add(entry.line, &fields.path_of(&entry.key), format!("stands on line {} already", first.line));
            }
        }
        fields
    }

    /// The whole name of a field.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The line of the field `name`, if it is there.
    pub(crate) fn line(&self, name: &str) -> Option<u64> {
        self.entries.iter().find(|(entry, _)| entry.key == name).map(|(entry, _)| entry.line)
    }

    fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.push(name);
        let mut found = None;
        for (entry, taken) in self.entries.iter_mut().filter(|(entry, _)| entry.key == name) {
            *taken = true;
            found.get_or_insert(&entry.value);
        }
        found
    }

    /// The field `name` with its whole name, unless it is missing or empty.
    pub(crate) fn optional(&mut self, name: &'static str) -> Option<(&'a Node, String)> {
        let node = self.take(name).filter(|node| !matches!(node.kind, Kind::Nothing))?;
        Some((node, self.path_of(name)))
    }

    /// Says that the field `name` is missing.
    pub(crate) fn missing(&self, name: &str, problems: &mut Problems) {
        problems.add(self.line(name).unwrap_or(self.line), &self.path_of(name), "is missing");
    }

    /// The text in `name` with its line; that it is missing is a problem.
    pub(crate) fn required_text(&mut self, name: &'static str, problems: &mut Problems) -> Option<(String, u64)> {
        let Some((node, field)) = self.optional(name) else {
            self.missing(name, problems);
            return None;
        };
        Some((text(node, &field, problems)?, node.line))
    }

    /// The text in `name`; empty where it is missing.
    pub(crate) fn optional_text(&mut self, name: &'static str, problems: &mut Problems) -> String {
        let Some((node, field)) = self.optional(name) else { return String::new() };
        match &node.kind {
            // In quotation marks it is there, and says nothing.
            Kind::Text(text) if text.trim().is_empty() => String::new(),
            _ => text(node, &field, problems).unwrap_or_default(),
        }
    }

    /// The texts of the list in `name` with their lines; `None` where it is missing or no list.
    pub(crate) fn located_texts(&mut self, name: &'static str, problems: &mut Problems) -> Option<Vec<(String, u64)>> {
        let (node, field) = self.optional(name)?;
        let Kind::List(nodes) = &node.kind else {
            problems.add(node.line, &field, "must be a list, such as [one, two]");
            // That it is missing need not be said too.
            return Some(Vec::new());
        };
        let located =
            |(index, node): (usize, &Node)| Some((text(node, &format!("{field}[{index}]"), problems)?, node.line));
        Some(nodes.iter().enumerate().filter_map(located).collect())
    }

    /// The texts of the list in `name`.
    pub(crate) fn texts(&mut self, name: &'static str, problems: &mut Problems) -> Vec<String> {
        self.located_texts(name, problems).unwrap_or_default().into_iter().map(|(text, _)| text).collect()
    }

    /// The text in `name`, one of `allowed`; `otherwise` where it is missing.
    pub(crate) fn one_of(
        &mut self,
        name: &'static str,
        allowed: &[&str],
        otherwise: Option<&str>,
        problems: &mut Problems,
    ) -> String {
        let given = match (self.optional(name), otherwise) {
            (Some((node, field)), _) => text(node, &field, problems).map(|text| (text, node.line)),
            (None, Some(otherwise)) => return otherwise.to_owned(),
            (None, None) => {
                let reason = format!("is missing: {}", choice(allowed));
                problems.add(self.line(name).unwrap_or(self.line), &self.path_of(name), reason);
                None
            }
        };
        let Some((text, line)) = given else { return String::new() };
        if !allowed.contains(&text.as_str()) {
            problems.add(line, &self.path_of(name), format!("must be {}", choice(allowed)));
        }
        text
    }

    /// Whether `name` is true; false where it is missing.
    pub(crate) fn boolean(&mut self, name: &'static str, problems: &mut Problems) -> bool {
        self.one_of(name, &["true", "false"], Some("false"), problems) == "true"
    }

    /// The whole number in `name`, if it is there.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u32>,
        problems: &mut Problems,
    ) -> Option<u32> {
        let (node, field) = self.optional(name)?;
        let number = text(node, &field, problems)?.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let reason = format!("must be a whole number from {} to {}", range.start(), range.end());
            problems.add(node.line, &field, reason);
        }
        number
    }

    /// The name for people in `name`.
    pub(crate) fn local_name(
        &mut self,
        name: &'static str,
        is_required: bool,
        problems: &mut Problems,
    ) -> Option<LocalName> {
        let Some((node, field)) = self.optional(name) else {
            if is_required {
                self.missing(name, problems);
            }
            return None;
        };
        let Kind::Map(entries) = &node.kind else {
            problems.add(node.line, &field, "must be a map such as {zh: 婚姻状况, en: Marital status}");
            return None;
        };
        let mut fields = Fields::new(&field, node.line, entries, problems);
        let zh = fields.required_text("zh", problems).map(|(text, _)| text).unwrap_or_default();
        let en = fields.optional_text("en", problems);
        fields.end(problems);
        Some(LocalName { zh, en })
    }

    /// The maps in the map `name`.
    pub(crate) fn named_maps(&mut self, name: &'static str, problems: &mut Problems) -> Vec<NamedMap<'a>> {
        let Some((node, field)) = self.optional(name) else { return Vec::new() };
        let Kind::Map(entries) = &node.kind else {
            problems.add(node.line, &field, "must be a map of names");
            return Vec::new();
        };
        // Only for what stands twice: each of the names is known.
        let _ = Fields::new(&field, node.line, entries, problems);
        let mut maps = Vec::new();
        for entry in entries {
            let field = format!("{field}.{}", entry.key);
            if !trust::claim::is_attribute_name(&entry.key) {
                problems.add(
                    entry.line,
                    &field,
                    "a name is 1 to 63 lower-case letters, digits and underscores, a letter first",
                );
            }
            match &entry.value.kind {
                Kind::Map(entries) => maps.push(NamedMap { name: entry.key.clone(), field, line: entry.line, entries }),
                _ => problems.add(entry.line, &field, "must be a map such as {type: string}"),
            }
        }
        maps
    }

    /// Says which fields nobody took.
    pub(crate) fn end(&self, problems: &mut Problems) {
        for (entry, _) in self.entries.iter().filter(|(_, taken)| !taken) {
            let reason = format!("there is no such field: {}", choice(&self.known));
            problems.add(entry.line, &self.path_of(&entry.key), reason);
        }
    }
}

/// The text in `node`, trimmed.
pub(crate) fn text(node: &Node, field: &str, problems: &mut Problems) -> Option<String> {
    let Kind::Text(text) = &node.kind else {
        problems.add(node.line, field, "must be a text");
        return None;
    };
    clean(text, node.line, field, problems)
}

/// `text` trimmed, if it is one that can be published.
pub(crate) fn clean(text: &str, line: u64, field: &str, problems: &mut Problems) -> Option<String> {
    let text = text.trim();
    let reason = if text.is_empty() {
        "must not be empty"
    } else if text.chars().any(char::is_control) {
        "must be one line without control characters"
    } else if text.chars().count() > TEXT_LIMIT {
        "must have at most 1,000 characters"
    } else {
        return Some(text.to_owned());
    };
    problems.add(line, field, reason);
    None
}

/// The line of the field with the whole name `path`, or of the closest field around it.
pub(crate) fn line_of(entries: &[Entry], path: &str) -> Option<u64> {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, index) = match name.split_once('[') {
        Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
        None => (name, None),
    };
    let entry = entries.iter().find(|entry| entry.key == name)?;
    let within = match (&entry.value.kind, index) {
        (Kind::Map(entries), None) => line_of(entries, rest),
        (Kind::List(nodes), Some(index)) => nodes.get(index).map(|node| node.line),
        _ => None,
    };
    within.or(Some(entry.line))
}

/// `one, two or three`.
fn choice(names: &[&str]) -> String {
    match names {
        [] => "none is known here".to_owned(),
        [one] => (*one).to_owned(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}
