//! `service new`: a description to begin with, from what the operator knows already, and from the columns of a records
//! file where there is one.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use host::table::{self, Format};
use serde_json::json;
use trust::{
    claim::is_attribute_name,
    ids::ServiceName,
    subject::Scheme,
    value::{AttributeType, Type, Value},
};

use super::super::{Error, Exit, output::Output};
use crate::service_file::{self, Starting, StartingAttribute};

/// What `service new` needs.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The service's id: lower-case letters, digits and hyphens. It never changes.
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// Its name in Chinese.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    name: String,
    /// Its name in English.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    name_en: String,
    /// The law it rests on, "INSTRUMENT ARTICLE"; may be given several times.
    #[arg(long, value_name = "BASIS")]
    basis: Vec<String>,
    /// A CSV file with its records: columns become attributes, with the types that their first rows suggest.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Where to write it; without it the service's id with .yaml. A file that exists is never overwritten.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: NewArgs, output: Output) -> Result<Exit, Error> {
    let mut starting = Starting {
        service: args.service.to_string(),
        name: args.name,
        name_en: args.name_en,
        legal_bases: args.basis,
        ..Starting::default()
    };
    if let Some(records) = &args.records {
        (starting.subjects, starting.attributes) = columns(records)?;
    }
    let file = args.output.unwrap_or_else(|| PathBuf::from(format!("{}.yaml", args.service)));
    let problems = write(&starting, &file)?;
    let machine = json!({ "file": file.display().to_string(), "missing": problems });
    output.show(&machine, || {
        let rest: String = problems.iter().map(|problem| format!("  {problem}\n")).collect();
        if rest.is_empty() {
            return format!(
                "{0} is written and can be published. Next: exchange-node service check {0}",
                file.display()
            );
        }
        format!("{0} is written. Fill in, and then run `exchange-node service check {0}`:\n{rest}", file.display())
    });
    Ok(Exit::Done)
}

/// Writes a description to begin with, and returns what has still to be filled in.
pub(in crate::cli) fn write(starting: &Starting, file: &Path) -> Result<Vec<String>, Error> {
    let name = file.display().to_string();
    let text = service_file::template(starting, &name);
    let unusable = |source| Error::FileUnusable { doing: "write", path: file.to_owned(), source };
    let mut new = fs::OpenOptions::new().write(true).create_new(true).open(file).map_err(|source| {
        if source.kind() == std::io::ErrorKind::AlreadyExists {
            return Error::Usage(format!("{name} exists already: nothing was changed"));
        }
        unusable(source)
    })?;
    std::io::Write::write_all(&mut new, text.as_bytes()).map_err(unusable)?;
    let problems = service_file::parse(&text, &name).err().unwrap_or_default();
    Ok(problems.iter().map(ToString::to_string).collect())
}

/// How much of a records file is looked at.
const SAMPLE_BYTES: u64 = 256 * 1024;

/// Up to so many different texts look like an enumeration, where each is seen several times.
const MOST_MEMBERS: usize = 8;

/// The subject schemes and the attributes that a records file's columns suggest.
fn columns(records: &Path) -> Result<(Vec<String>, Vec<StartingAttribute>), Error> {
    let unusable = |source| Error::FileUnusable { doing: "read", path: records.to_owned(), source };
    let mut sample = Vec::new();
    File::open(records).and_then(|file| file.take(SAMPLE_BYTES).read_to_end(&mut sample)).map_err(unusable)?;
    if sample.len() as u64 == SAMPLE_BYTES {
        // The last line may be cut.
        let end = sample.iter().rposition(|byte| *byte == b'\n').unwrap_or(sample.len());
        sample.truncate(end);
    }
    let rows = table::read(Format::Csv, &sample)
        .map_err(|error| Error::FileWrong(format!("{}: {error}", records.display())))?;
    let Some(first) = rows.first() else {
        return Err(Error::FileWrong(format!("{}: has no rows to learn from", records.display())));
    };
    let (mut subjects, mut attributes) = (Vec::new(), Vec::new());
    for (index, (name, _)) in first.iter().enumerate() {
        if Scheme::parse(name).is_ok() {
            subjects.push(name.clone());
            continue;
        }
        let values: Vec<&str> =
            rows.iter().filter_map(|row| row.get(index)).flat_map(|(_, cell)| cell).map(String::as_str).collect();
        let (ty, members) = suggested(&values);
        let (name, label) = if is_attribute_name(name) {
            (name.clone(), String::new())
        } else {
            (format!("item_{}", index + 1), name.clone())
        };
        attributes.push(StartingAttribute { name, label, ty: ty.to_owned(), members });
    }
    Ok((subjects, attributes))
}

/// The type that some values suggest.
fn suggested(values: &[&str]) -> (&'static str, Vec<String>) {
    let all = |ty: Type| {
        let ty = AttributeType::new(ty, Vec::new());
        !values.is_empty() && ty.is_ok_and(|ty| values.iter().all(|value| Value::read(value, &ty).is_ok()))
    };
    for ty in [Type::Boolean, Type::Date, Type::Integer, Type::Decimal] {
        if all(ty) {
            return (ty.as_str(), Vec::new());
        }
    }
    let different: BTreeSet<&str> = values.iter().copied().collect();
    if different.len() <= MOST_MEMBERS && different.len() * 3 <= values.len() {
        return (Type::Enum.as_str(), different.into_iter().map(str::to_owned).collect());
    }
    (Type::String.as_str(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("people.csv");
        let rows: String = (0..9)
            .map(|row| format!("{row},{},2020-01-0{},{row}.50,某人{row}\n", ["single", "married"][row % 2], row + 1))
            .collect();
        fs::write(&file, format!("resident_id,marital_status,registered_on,amount,姓名\n{rows}")).unwrap();
        let (subjects, attributes) = columns(&file).unwrap();
        assert_eq!(subjects, ["resident_id"]);
        let found: Vec<(&str, &str, &str)> = attributes
            .iter()
            .map(|attribute| (attribute.name.as_str(), attribute.ty.as_str(), attribute.label.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("marital_status", "enum", ""),
                ("registered_on", "date", ""),
                ("amount", "decimal", ""),
                ("item_5", "string", "姓名")
            ]
        );
        assert_eq!(attributes[0].members, ["married", "single"]);
    }

    #[test]
    fn a_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s.yaml");
        let starting = Starting { service: "s".into(), ..Starting::default() };
        let missing = write(&starting, &file).unwrap();
        assert!(missing.iter().any(|line| line.contains("legal_basis")), "{missing:?}");
        let before = fs::read(&file).unwrap();
        assert_eq!(write(&starting, &file).unwrap_err().exit(), Exit::Usage);
        assert_eq!(fs::read(&file).unwrap(), before);
    }
}
