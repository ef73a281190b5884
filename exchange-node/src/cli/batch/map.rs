//! The map of a batch: which column of a CSV file is what, and what all rows have in common. Out of scope: whether a value is
//! right, which the node says for each row.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use csv::StringRecord;
use proto::{
    exchange::v1::{self as wire, Claim, Input, LegalBasis, Purpose, Subject, value::Kind},
    office::v1::{BatchHeader, BatchRow},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{super::text, Error};
use crate::records::encoding;

/// A map as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    service: String,
    #[serde(default)]
    major: u32,
    #[serde(default)]
    item: String,
    #[serde(default)]
    scenario: String,
    #[serde(default)]
    basis: Vec<String>,
    officer: String,
    #[serde(default)]
    case: String,
    #[serde(default)]
    case_column: String,
    subject_column: String,
    #[serde(default = "resident_id")]
    scheme: String,
    #[serde(default)]
    claims: Vec<String>,
    #[serde(default)]
    inputs: Vec<String>,
    #[serde(default)]
    max_record_age_days: u32,
    #[serde(default)]
    claim: Vec<FromColumn>,
    #[serde(default)]
    input: Vec<FromColumn>,
    #[serde(default)]
    language: Language,
}

/// A claim or an input whose value stands in a column.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromColumn {
    /// The attribute, or the input's name.
    name: String,
    /// The operator of a claim.
    #[serde(default = "equals")]
    operator: String,
    column: String,
}

/// In which language the results' columns are named.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Language {
    /// Chinese.
    #[default]
    Zh,
    /// English.
    En,
}

fn resident_id() -> String {
    "resident_id".to_owned()
}

fn equals() -> String {
    "equals".to_owned()
}

/// A map that was read.
#[derive(Clone, Debug)]
pub(super) struct Map {
    written: Written,
    text: String,
    service: (String, String),
    claims: Vec<Claim>,
    inputs: Vec<Input>,
    bases: Vec<LegalBasis>,
}

impl Map {
    /// Reads the file.
    pub(super) fn load(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::FileUnusable {
            doing: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::read(text).map_err(|reason| Error::FileWrong(format!("{}: {reason}", path.display())))
    }

    fn read(text: String) -> Result<Self, String> {
        let written: Written = toml::from_str(&text).map_err(|error| error.to_string())?;
        let each = |field: &str, error: String| format!("{field}: {error}");
        let service = text::service(&written.service).map_err(|error| each("service", error))?;
        let claims = written.claims.iter().map(|claim| text::claim(claim).map_err(|error| each("claims", error)));
        let claims = claims.collect::<Result<Vec<_>, _>>()?;
        let inputs = written.inputs.iter().map(|input| text::input(input).map_err(|error| each("inputs", error)));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let bases = written.basis.iter().map(|basis| text::legal_basis(basis).map_err(|error| each("basis", error)));
        let bases = bases.collect::<Result<Vec<_>, _>>()?;
        if claims.is_empty() && written.claim.is_empty() {
            return Err("claims: say what is to be compared, here or in [[claim]]".to_owned());
        }
        if written.item.is_empty() && written.scenario.is_empty() {
            return Err("item: say what it is for, here or in scenario".to_owned());
        }
        if written.case.is_empty() && written.case_column.is_empty() {
            return Err("case: give the case number, here or in case_column".to_owned());
        }
        Ok(Self { written, text, service, claims, inputs, bases })
    }

    pub(super) fn language(&self) -> Language {
        self.written.language
    }

    /// The claims of every row, as `attribute operator`, in the order of their verdicts.
    pub(super) fn claim_names(&self) -> Vec<String> {
        let fixed = self.claims.iter().map(|claim| format!("{} {}", claim.attribute, claim.operator));
        let by_column = self.written.claim.iter().map(|claim| format!("{} {}", claim.name, claim.operator));
        fixed.chain(by_column).collect()
    }

    /// What all rows share.
    pub(super) fn header(&self, name: String) -> BatchHeader {
        BatchHeader {
            name,
            provider: self.service.0.clone(),
            service: self.service.1.clone(),
            service_version: self.written.major,
            inputs: self.inputs.clone(),
            claims: self.claims.clone(),
            purpose: Some(Purpose {
                item: self.written.item.clone(),
                item_statement: Vec::new(),
                legal_bases: self.bases.clone(),
                scenario: self.written.scenario.clone(),
            }),
            case_number: self.written.case.clone(),
            officer: self.written.officer.clone(),
            max_record_age_seconds: u64::from(self.written.max_record_age_days) * 86_400,
        }
    }

    /// Reads the whole file once: that it is CSV and has the columns. Returns what both files are, as a name.
    pub(super) fn check(&self, path: &Path) -> Result<String, Error> {
        let mut file = open(path)?;
        let mut hash = Sha256::new().chain_update(self.text.as_bytes()).chain_update([0]);
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).map_err(|source| unreadable(path, source))? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        for row in self.rows(path)? {
            row?;
        }
        Ok(data_encoding::HEXLOWER.encode(&hash.finalize()[..16]))
    }

    /// The rows of the file, as questions.
    pub(super) fn rows(&self, path: &Path) -> Result<impl Iterator<Item = Result<BatchRow, Error>> + use<>, Error> {
        let Records { header, records, path } = Records::open(path)?;
        let column = |name: &str| {
            header.iter().position(|column| column.trim() == name).ok_or_else(|| {
                let known: Vec<&str> = header.iter().map(str::trim).collect();
                Error::FileWrong(format!(
                    "{}: there is no column {name:?}; there are {}",
                    path.display(),
                    known.join(", ")
                ))
            })
        };
        let subject = column(&self.written.subject_column)?;
        let case = match self.written.case_column.as_str() {
            "" => None,
            name => Some(column(name)?),
        };
        let places = |from: &[FromColumn]| {
            let place =
                |from: &FromColumn| column(&from.column).map(|index| (from.name.clone(), from.operator.clone(), index));
            from.iter().map(place).collect::<Result<Vec<_>, _>>()
        };
        let (claims, inputs) = (places(&self.written.claim)?, places(&self.written.input)?);
        let scheme = self.written.scheme.clone();
        Ok(records.map(move |record| {
            let record = record?;
            let cell = |index: usize| record.get(index).unwrap_or_default().trim().to_owned();
            let input = |(name, _, index): &(String, String, usize)| {
                let value = cell(*index);
                // A period that is not given selects nothing.
                (!value.is_empty()).then(|| Input { name: name.clone(), value: Some(value_of(value)) })
            };
            let claim = |(attribute, operator, index): &(String, String, usize)| Claim {
                attribute: attribute.clone(),
                operator: operator.clone(),
                operands: operands(operator, &cell(*index)),
                ..Claim::default()
            };
            Ok(BatchRow {
                subject: Some(Subject { scheme: scheme.clone(), value: cell(subject) }),
                case_number: case.map(cell).unwrap_or_default(),
                inputs: inputs.iter().filter_map(input).collect(),
                claims: claims.iter().map(claim).collect(),
                authorisation: None,
            })
        }))
    }
}

/// A cell as what a claim compares with: several, parted by semicolons, for an operator that takes several.
fn operands(operator: &str, cell: &str) -> Vec<wire::Value> {
    match operator {
        "exists" => Vec::new(),
        "one_of" | "between" => cell.split([';', '；']).map(|part| value_of(part.trim().to_owned())).collect(),
        _ => vec![value_of(cell.to_owned())],
    }
}

/// A text; the node reads it as the type that the service gives.
fn value_of(text: String) -> wire::Value {
    wire::Value { kind: Some(Kind::Text(text)) }
}

/// The records of a CSV file.
pub(super) struct Records {
    pub(super) header: StringRecord,
    pub(super) records: Box<dyn Iterator<Item = Result<StringRecord, Error>> + Send>,
    pub(super) path: PathBuf,
}

impl Records {
    /// Opens the file and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let wrong = {
            let path = path.to_owned();
            move |error: csv::Error| Error::FileWrong(format!("{}: {error}", path.display()))
        };
        let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(open(path)?);
        let header = reader.headers().map_err(&wrong)?.clone();
        let records = Box::new(reader.into_records().map(move |record| record.map_err(&wrong)));
        Ok(Self { header, records, path: path.to_owned() })
    }
}

fn open(path: &Path) -> Result<Box<dyn Read + Send>, Error> {
    encoding::open(path).map_err(|error| Error::FileWrong(format!("{}: {error}", path.display())))
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::FileUnusable { doing: "read", path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "service = \"civil-affairs/marriage-registration\"\nitem = \"公租房申请\"\nofficer = \"1024\"\n\
        case_column = \"办件\"\nsubject_column = \"身份证号\"\nclaims = [\"marital_status=single\"]\n\
        [[claim]]\nname = \"area\"\noperator = \"between\"\ncolumn = \"面积\"\n[[input]]\nname = \"year\"\ncolumn = \"年度\"\n";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn columns_become_questions() {
        let map = Map::read(MAP.to_owned()).unwrap();
        let people =
            file("办件,身份证号,面积,年度\nA-1,\t890101199003070011,10;20,2026\nA-2, 890101199111250028 ,1；2,\n");
        let rows: Vec<BatchRow> = map.rows(people.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].subject.as_ref().unwrap().value, "890101199003070011");
        assert_eq!((rows[0].case_number.as_str(), rows[0].inputs.len(), rows[1].inputs.len()), ("A-1", 1, 0));
        assert_eq!(rows[1].claims[0].operands, [value_of("1".into()), value_of("2".into())]);
        assert_eq!(map.claim_names(), ["marital_status equals", "area between"]);
        assert_eq!(map.check(people.path()).unwrap().len(), 32);
    }

    #[test]
    fn what_is_missing_is_named() {
        let map = Map::read(MAP.to_owned()).unwrap();
        let people = file("办件,号码,面积,年度\nA-1,890101199003070011,10;20,2026\n");
        let wrong = map.check(people.path()).unwrap_err().to_string();
        assert!(wrong.contains("\"身份证号\"") && wrong.contains("号码"), "{wrong}");
        let ragged = file("办件,身份证号,面积,年度\nA-1,890101199003070011\n");
        assert!(map.check(ragged.path()).is_err());
        for (without, named) in [("officer = \"1024\"\n", "officer"), ("item = \"公租房申请\"\n", "item")] {
            let wrong = Map::read(MAP.replace(without, "")).unwrap_err();
            assert!(wrong.contains(named), "{wrong}");
        }
        let misspelt = Map::read(format!("offcier = \"1\"\n{MAP}")).unwrap_err();
        assert!(misspelt.contains("offcier"), "{misspelt}");
    }
}
