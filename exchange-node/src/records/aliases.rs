//! The department's table of former numbers: a person whose number was corrected, a child whose records began under a birth
//! certificate, a body under its old code. Whoever asks and whoever answers looks a subject up here first, so that every
//! number of it finds the same records and spends the same budget.
//!
//! The table is `records/aliases.json` in the node's folder, replaced as a whole. It is held in memory: such tables have
//! thousands of lines, not millions. That a resident number of fifteen digits and its eighteen are one is computed
//! everywhere and needs no line here.
//!
//! **Invariant:** a table that cannot be read is not an empty one: then nobody is looked up.
//!
//! Out of scope: looking records up.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;
use host::files;
use serde::{Deserialize, Serialize};
use trust::question::MOST_FORMER_SUBJECTS;
use trust::subject::added::Schemes;
use trust::subject::{Scheme, Subject};

use super::import::{BAD_ROW_LIMIT, BadRow, CsvRow, ImportError, ImportReport, Input, next_row};

/// The most lines that a table may have.
const MOST_LINES: usize = 500_000;

/// The columns of a table.
const COLUMNS: [&str; 4] = ["scheme", "number", "former_scheme", "former_number"];

/// The table.
pub struct Aliases {
    path: PathBuf,
    table: ArcSwap<Result<Table, String>>,
}

/// Subjects with all of their numbers, the one in use first.
#[derive(Default)]
struct Table {
    groups: Vec<Vec<Subject>>,
    places: HashMap<Subject, usize>,
}

/// Why the numbers of a subject cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AliasError {
    /// The asker says that numbers belong together which are different subjects' here.
    #[error("the asker's former numbers belong to different subjects in the table of former numbers here")]
    Contradiction,
    /// The table cannot be read.
    #[error("{0}")]
    Damaged(
        /// What is wrong with it.
        String,
    ),
}

/// The file within the node's folder.
pub(crate) const FILE_NAME: &str = "records/aliases.json";

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    layout: u32,
    groups: Vec<Vec<(String, String)>>,
}

const LAYOUT: u32 = 1;

impl Aliases {
    /// The table in the node's folder `dir`; none is an empty one.
    pub fn open(dir: &Path) -> Self {
        let path = dir.join(FILE_NAME);
        let table = match std::fs::read(&path) {
            Ok(text) => read(&text).ok_or("it is damaged".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Table::default()),
            Err(error) => Err(error.to_string()),
        };
        let table = table.map_err(|reason| {
            format!("the table of former numbers in {} cannot be read ({reason}): import it again", path.display())
        });
        Self { path, table: ArcSwap::from_pointee(table) }
    }

    /// Replaces the table by a CSV file in UTF-8: `number` and `former_number`, each with its scheme before it
    /// (`scheme`, `former_scheme`) where that is not resident_id.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn import(&self, input: impl Read, known: &Schemes) -> Result<ImportReport, ImportError> {
        let table = parse(input, known)?;
        let pair = |subject: &Subject| (subject.scheme().to_string(), subject.value().to_owned());
        let groups = table.groups.iter().map(|group| group.iter().map(pair).collect()).collect();
        let write = |error: String| ImportError::Write(error);
        let text = serde_json::to_vec(&Stored { layout: LAYOUT, groups }).map_err(|error| write(error.to_string()))?;
        if let Some(folder) = self.path.parent() {
            files::private_folder(folder).map_err(|error| write(error.to_string()))?;
        }
        files::replace_file(&self.path, &text, files::PRIVATE_MODE).map_err(|error| write(error.to_string()))?;
        let subjects = table.groups.len() as u64;
        let report = ImportReport { rows: table.places.len() as u64 - subjects, subjects, ..ImportReport::default() };
        self.table.store(std::sync::Arc::new(Ok(table)));
        Ok(report)
    }

    /// How many subjects have former numbers; or what is wrong with the table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn subjects(&self) -> Result<usize, String> {
        self.table.load().as_ref().as_ref().map(|table| table.groups.len()).map_err(Clone::clone)
    }

    /// Every number of `subject`, the one in use first. `former` are numbers that the asker says it has or has had: they
    /// are taken in unless the table knows them as another subject's.
    ///
    /// # Errors
    /// Where they contradict the table, or it cannot be read.
    pub fn numbers(&self, subject: &Subject, former: &[Subject]) -> Result<Vec<Subject>, AliasError> {
        let table = self.table.load();
        let table = table.as_ref().as_ref().map_err(|reason| AliasError::Damaged(reason.clone()))?;
        let mut group = table.places.get(subject).copied();
        let mut numbers = match group {
            Some(group) => table.groups[group].clone(),
            None => vec![subject.clone()],
        };
        for other in former {
            match (table.places.get(other).copied(), group) {
                (Some(found), Some(group)) if found != group => return Err(AliasError::Contradiction),
                (Some(_), Some(_)) => {}
                (Some(found), None) => {
                    group = Some(found);
                    let new = table.groups[found].iter().filter(|number| !numbers.contains(number)).cloned();
                    let new = new.collect::<Vec<_>>();
                    numbers.extend(new);
                }
                (None, _) if numbers.contains(other) => {}
                (None, _) => numbers.push(other.clone()),
            }
        }
        Ok(numbers)
    }
}

impl std::fmt::Debug for Aliases {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Aliases").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Table {
    fn of(groups: Vec<Vec<Subject>>) -> Self {
        let mut places = HashMap::new();
        for (place, group) in groups.iter().enumerate() {
            for subject in group {
                places.insert(subject.clone(), place);
            }
        }
        Self { groups, places }
    }
}

fn read(text: &[u8]) -> Option<Table> {
    let stored: Stored = serde_json::from_slice(text).ok().filter(|stored: &Stored| stored.layout == LAYOUT)?;
    let subject = |(scheme, value): &(String, String)| Subject::stored(Scheme::parse(scheme).ok()?, value).ok();
    let groups = stored.groups.iter().map(|group| group.iter().map(subject).collect());
    groups.collect::<Option<Vec<_>>>().map(Table::of)
}

fn parse(input: impl Read, known: &Schemes) -> Result<Table, ImportError> {
    let mut input = Input::new(input)?;
    let mut row = CsvRow::default();
    let places = header(&mut input, &mut row)?;
    // For each former number the one that took its place, and the line that says so.
    let mut followed: HashMap<Subject, (Subject, u64)> = HashMap::new();
    let mut order = Vec::new();
    let mut bad = Bad::default();
    while next_row(&mut input, &mut row)? {
        if order.len() >= MOST_LINES {
            let reason = format!("the table has more than {MOST_LINES} lines");
            return Err(ImportError::File { line: row.line, reason });
        }
        if row.fault.is_some() || row.len() != places.len() {
            bad.add(row.line, "", row.fault.unwrap_or("the row has not as many fields as there are column names"));
            continue;
        }
        let mut number = |scheme: usize, number: usize| {
            let field = |index: usize| {
                let at = places.iter().position(|place| *place == index)?;
                row.fields().nth(at).and_then(|field| std::str::from_utf8(field).ok()).map(str::trim)
            };
            let scheme = field(scheme).filter(|scheme| !scheme.is_empty()).unwrap_or(Scheme::ResidentId.as_str());
            match known.parse(scheme, field(number).unwrap_or_default()) {
                Ok(subject) => Some(subject),
                Err(error) => {
                    bad.add(row.line, COLUMNS[number], &error.to_string());
                    None
                }
            }
        };
        let (Some(current), Some(former)) = (number(0, 1), number(2, 3)) else { continue };
        if current == former {
            // The fifteen and the eighteen digits of one number, say.
            continue;
        }
        match followed.get(&former) {
            Some((other, line)) if *other != current => {
                bad.add(row.line, "former_number", &format!("became another number on line {line}"));
            }
            Some(_) => {}
            None => {
                order.push(former.clone());
                followed.insert(former, (current, row.line));
            }
        }
    }
    let groups = group(&order, &followed, &mut bad);
    if bad.count > 0 {
        return Err(ImportError::BadRows { bad_rows: bad.rows, rows: bad.count });
    }
    Ok(Table::of(groups))
}

/// Where the columns stand.
fn header(input: &mut Input<impl Read>, row: &mut CsvRow) -> Result<Vec<usize>, ImportError> {
    if !next_row(input, row)? {
        let reason = format!("the file is empty: it begins with a row of column names: {}", COLUMNS.join(","));
        return Err(ImportError::File { line: 1, reason });
    }
    let mut problems = Vec::new();
    let mut problem = |field: &str, reason: &str| {
        problems.push(BadRow { line: row.line, field: field.to_owned(), reason: reason.to_owned() });
    };
    let mut places = Vec::new();
    for (index, field) in row.fields().enumerate() {
        let known = COLUMNS.iter().position(|column| column.as_bytes() == field.trim_ascii());
        match known {
            Some(column) if !places.contains(&column) => places.push(column),
            // Perhaps the first line holds data, which must not be repeated.
            _ => {
                problem(&format!("column {}", index + 1), &format!("must be one of {}, each once", COLUMNS.join(", ")))
            }
        }
    }
    for needed in [1, 3] {
        if !places.contains(&needed) {
            problem(COLUMNS[needed], "the column is missing");
        }
    }
    if problems.is_empty() { Ok(places) } else { Err(ImportError::Columns { problems }) }
}

/// Follows every former number to the one in use.
fn group(order: &[Subject], followed: &HashMap<Subject, (Subject, u64)>, bad: &mut Bad) -> Vec<Vec<Subject>> {
    let mut groups: Vec<Vec<Subject>> = Vec::new();
    let mut places: HashMap<&Subject, usize> = HashMap::new();
    for former in order {
        let Some((mut current, line)) = followed.get(former).map(|(current, line)| (current, *line)) else { continue };
        let mut steps = 0;
        while let Some((next, _)) = followed.get(current) {
            current = next;
            steps += 1;
            if steps > MOST_FORMER_SUBJECTS {
                break;
            }
        }
        if steps > MOST_FORMER_SUBJECTS {
            bad.add(line, "former_number", "the numbers follow each other in a circle, or too many times");
            continue;
        }
        let place = *places.entry(current).or_insert_with(|| {
            groups.push(vec![current.clone()]);
            groups.len() - 1
        });
        groups[place].push(former.clone());
        if groups[place].len() > MOST_FORMER_SUBJECTS + 1 {
            bad.add(line, "former_number", &format!("the subject has more than {MOST_FORMER_SUBJECTS} former numbers"));
        }
    }
    groups
}

#[derive(Default)]
struct Bad {
    rows: Vec<BadRow>,
    count: u64,
}

impl Bad {
    fn add(&mut self, line: u64, field: &str, reason: &str) {
        self.count += 1;
        if self.rows.len() < BAD_ROW_LIMIT {
            self.rows.push(BadRow { line, field: field.to_owned(), reason: reason.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{number, printed, resident};
    use super::*;

    fn aliases() -> (Aliases, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Aliases::open(folder.path()), folder)
    }

    fn import(aliases: &Aliases, csv: &str) -> Result<ImportReport, ImportError> {
        aliases.import(csv.as_bytes(), &Schemes::default())
    }

    fn certificate(value: &str) -> Subject {
        Subject::parse("certificate_no", value).unwrap()
    }

    #[test]
    fn every_number_leads_to_all_of_them_with_the_one_in_use_first() {
        let (aliases, folder) = aliases();
        let csv = format!(
            "former_number,number,former_scheme\n{},{},\n{},{},\nc-77,{},certificate_no\n",
            number(1),
            number(2),
            number(2),
            number(3),
            number(3)
        );
        let report = import(&aliases, &csv).unwrap();
        assert_eq!((report.rows, report.subjects), (3, 1));
        for aliases in [aliases, Aliases::open(folder.path())] {
            for subject in [resident(1), resident(2), resident(3), certificate("C-77")] {
                let numbers = aliases.numbers(&subject, &[]).unwrap();
                assert_eq!(numbers[0], resident(3));
                assert_eq!(numbers.len(), 4);
            }
            assert_eq!(aliases.numbers(&resident(9), &[]).unwrap(), [resident(9)]);
        }
    }

    #[test]
    fn what_the_asker_says_is_taken_in_unless_it_contradicts_the_table() {
        let (aliases, _folder) = aliases();
        import(&aliases, &format!("number,former_number\n{},{}\n{},{}\n", number(2), number(1), number(4), number(3)))
            .unwrap();
        let numbers = |subject: &Subject, former: &[Subject]| aliases.numbers(subject, former);
        assert_eq!(numbers(&resident(2), &[resident(1)]).unwrap(), [resident(2), resident(1)]);
        assert_eq!(numbers(&resident(2), &[resident(8)]).unwrap(), [resident(2), resident(1), resident(8)]);
        assert_eq!(numbers(&resident(9), &[resident(1)]).unwrap(), [resident(9), resident(2), resident(1)]);
        assert_eq!(numbers(&resident(2), &[resident(3)]), Err(AliasError::Contradiction));
        assert_eq!(numbers(&resident(9), &[resident(1), resident(3)]), Err(AliasError::Contradiction));
    }

    #[test]
    fn a_table_that_does_not_hold_together_is_refused_by_line() {
        let (aliases, _folder) = aliases();
        import(&aliases, &format!("number,former_number\n{},{}\n", number(2), number(1))).unwrap();
        let (one, two, three) = (number(1), number(2), number(3));
        for (csv, expected) in [
            (
                format!("number,former_number\n{two},{one}\n{three},{one}\n"),
                "line 3: former_number: became another number on line 2",
            ),
            (
                format!("number,former_number\n{two},{one}\n{one},{two}\n"),
                "line 2: former_number: the numbers follow each other",
            ),
            (format!("number,former_number\n{two},12345\n"), "line 2: former_number: "),
            (format!("number,former_number\n{two}\n"), "line 2: the row has not as many fields"),
        ] {
            match import(&aliases, &csv) {
                Err(ImportError::BadRows { bad_rows, .. }) => {
                    let told = printed(&bad_rows);
                    assert!(told[0].starts_with(expected), "{told:?}");
                    assert!(!told.join(" ").contains(&one), "a number is repeated");
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
        let error = import(&aliases, &format!("{one},{two}\n")).unwrap_err().to_string();
        assert!(error.contains("column 1: must be one of") && !error.contains(&one), "{error}");
        assert_eq!(aliases.numbers(&resident(1), &[]).unwrap().len(), 2, "the table from before stays in use");
    }

    #[test]
    fn the_old_and_the_new_form_of_one_number_need_no_line() {
        let (aliases, _folder) = aliases();
        let long = "890101195001010015";
        let long = trust::subject::resident_number::ResidentNumber::parse(&format!("{}{}", &long[..6], &long[8..17]))
            .unwrap()
            .into_string();
        let short = format!("{}{}", &long[..6], &long[8..17]);
        let report = import(&aliases, &format!("number,former_number\n{long},{short}\n")).unwrap();
        assert_eq!((report.rows, report.subjects), (0, 0));
    }

    #[test]
    fn a_damaged_table_is_not_an_empty_one() {
        let (aliases, folder) = aliases();
        import(&aliases, &format!("number,former_number\n{},{}\n", number(2), number(1))).unwrap();
        let path = folder.path().join("records/aliases.json");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let aliases = Aliases::open(folder.path());
        assert!(matches!(aliases.numbers(&resident(1), &[]), Err(AliasError::Damaged(_))));
        import(&aliases, "number,former_number\n").unwrap();
        assert_eq!(aliases.numbers(&resident(1), &[]).unwrap(), [resident(1)]);
    }
}
