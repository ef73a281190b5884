//! Files of records become rows that can be looked up, as a whole or not at all.

mod bad_files;
mod changes;
mod restarts;
pub(crate) mod sheets;
mod size;

use std::sync::Mutex;

use jiff::civil::date;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use trust::ids::Digest;
use trust::subject::resident_number::ResidentNumber;
use trust::value::AttributeType;

use super::*;
use crate::service_file;

/// 2026-11-22, seven in the morning in China and still the day before in UTC.
pub(crate) const IMPORTED_MS: u64 = 1_795_302_000_000;

pub(crate) const PROPERTY: &str = "service: property-ownership\nversion: 1.0\nname: {zh: 不动产登记}\nsubject: [resident_id, uscc]\n\
    sharing: conditional\nlegal_basis: [条例 24]\nupdate_cycle: daily\nattributes:\n\
    \x20 has_property: {type: boolean, operators: [equals], rows: any, absence: false}\n\
    \x20 count: {type: integer, operators: [equals], rows: count, absence: 0}\n\
    inputs:\n  region: {type: string, required: true}\n  year: {type: integer}\n\
    complete: {territory: [\"890000\"], since: 2015-03-01}\n";

pub(crate) const TAX: &str = "service: tax-paid\nversion: 1.0\nname: {zh: 完税信息}\nsubject: [resident_id]\nsharing: conditional\n\
    legal_basis: [税收征收管理法 34]\nupdate_cycle: monthly\nattributes:\n\
    \x20 annual_income: {type: decimal, operators: [at_most], rows: sum}\n\
    \x20 scheme: {type: enum, members: [urban, rural], operators: [equals]}\n\
    \x20 name: {type: string, operators: [equals], rows: latest filed_on}\n\
    \x20 trades: {type: list, operators: [contains]}\n\
    record_as_of: record_as_of\n";

/// A service as described, under a digest of its own.
pub(crate) fn service(yaml: &str) -> Service {
    let mut published = service_file::parse(yaml, "test.yaml").unwrap();
    published.department = "natural-resources".to_owned();
    Service::check(&published, Digest::new(Sha256::digest(yaml).into())).unwrap()
}

/// The number of a made-up resident.
pub(crate) fn number(index: u32) -> String {
    let born = date(1950, 1, 1).checked_add(jiff::Span::new().days(i64::from(index / 1000))).unwrap();
    ResidentNumber::compose("890101", born, u16::try_from(index % 1000).unwrap()).unwrap().into_string()
}

pub(crate) fn resident(index: u32) -> Subject {
    Subject::parse("resident_id", &number(index)).unwrap()
}

/// An embedded store in a folder of its own.
pub(super) struct Fixture {
    pub(super) records: Records,
    pub(super) folder: TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { records: Records::open(folder.path()).unwrap(), folder }
    }

    pub(super) fn import(&self, service: &Service, csv: &str) -> Result<ImportReport, ImportError> {
        self.records.import(service, Format::Csv, false, csv.as_bytes(), &|_| {}, IMPORTED_MS)
    }

    pub(super) fn quarantine(&self, service: &Service, csv: &str) -> Result<ImportReport, ImportError> {
        self.records.import(service, Format::Csv, true, csv.as_bytes(), &|_| {}, IMPORTED_MS)
    }

    pub(super) fn lines(&self, service: &Service, text: &str) -> Result<ImportReport, ImportError> {
        self.records.import(service, Format::JsonLines, false, text.as_bytes(), &|_| {}, IMPORTED_MS)
    }

    pub(super) fn reopen(self) -> Self {
        let Self { records, folder } = self;
        drop(records);
        Self { records: Records::open(folder.path()).unwrap(), folder }
    }

    /// What a column of the rows of a resident holds, as text.
    pub(super) fn column(&self, service: &Service, index: u32, inputs: &[(&str, &str)], column: &str) -> Vec<String> {
        match self.records.lookup(service, &resident(index), &typed(service, inputs)) {
            Lookup::Rows { rows, .. } | Lookup::Partial { rows, .. } => {
                rows.iter().map(|row| row.value(column).map(Value::to_text).unwrap_or_default()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn lookup(&self, service: &Service, index: u32) -> Lookup {
        self.records.lookup(service, &resident(index), &[])
    }
}

fn typed(service: &Service, inputs: &[(&str, &str)]) -> Vec<(String, Value)> {
    let ty = |name: &str| service.inputs.iter().find(|input| input.name == name).unwrap().ty.clone();
    inputs.iter().map(|(name, text)| ((*name).to_owned(), Value::read(text, &ty(name)).unwrap())).collect()
}

/// The faults of rows, as they are printed.
pub(super) fn printed(bad_rows: &[BadRow]) -> Vec<String> {
    bad_rows.iter().map(ToString::to_string).collect()
}

#[test]
fn inputs_select_rows_of_the_subject() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let (one, two) = (number(1), number(2));
    // Not in order, with a number in the old spelling of its letters, and columns in another order than the description's.
    let csv = format!(
        "region,resident_id,uscc,has_property,year\n890102,{two},,true,2020\n890101,{one},,true,2020\n890101, {one} ,,true,2021\n\
         890102,{one},,false,2021\n890101,,118900000000010112,true,1999\n"
    );
    let report = fixture.import(&service, &csv).unwrap();
    assert_eq!((report.rows, report.subjects, report.replaced_rows), (5, 3, None));
    assert_eq!(fixture.column(&service, 1, &[("region", "890101")], "year"), ["2020", "2021"]);
    assert_eq!(fixture.column(&service, 1, &[("region", "890101"), ("year", "2021")], "has_property"), ["true"]);
    assert_eq!(fixture.column(&service, 1, &[], "region"), ["890101", "890101", "890102"]);
    assert_eq!(fixture.column(&service, 2, &[("region", "890101")], "region"), [""; 0]);
    assert_eq!(fixture.column(&service, 3, &[("region", "890101")], "region"), [""; 0]);
    let body = Subject::parse("uscc", "118900000000010112").unwrap();
    let Lookup::Rows { rows, as_of } = fixture.records.lookup(&service, &body, &[]) else { panic!() };
    assert_eq!(rows.len(), 1);
    assert_eq!(as_of, Some(date(2026, 11, 22)));
}

#[test]
fn values_come_back_as_their_types_and_empty_cells_are_null() {
    let (fixture, service) = (Fixture::new(), service(TAX));
    let csv = format!(
        "resident_id,annual_income,scheme,name,trades,filed_on,record_as_of\n\
         {one},48000.50,urban,\"张, \"\"三\"\"\",a;b,2025-03-01,2026-10-31\n{one},0.00, ,,,,2026-09-30\n{two},1,rural,李四,x,,\n",
        one = number(1),
        two = number(2),
    );
    fixture.import(&service, &csv).unwrap();
    let Lookup::Rows { rows, as_of } = fixture.lookup(&service, 1) else { panic!() };
    assert_eq!(as_of, Some(date(2026, 9, 30)), "the oldest of the rows");
    let read = |column: &str, text: &str| {
        let rule = service.attributes.get(column).map(|rule| rule.ty().clone());
        Value::read(text, &rule.unwrap_or_else(AttributeType::text)).unwrap()
    };
    assert!(rows[0].value("annual_income") == Some(&read("annual_income", "48000.50")));
    assert_eq!(rows[1].value("annual_income").unwrap().to_text(), "0.00");
    assert!(rows[0].value("scheme") == Some(&read("scheme", "urban")));
    assert!(rows[0].value("name") == Some(&read("name", "张, \"三\"")));
    assert!(rows[0].value("trades") == Some(&read("trades", "a;b")));
    assert!(rows[0].value("filed_on") == Some(&Value::Date(date(2025, 3, 1))));
    for column in ["scheme", "name", "trades", "filed_on"] {
        assert!(rows[1].value(column).is_none(), "{column}");
    }
    let Lookup::Rows { as_of, .. } = fixture.lookup(&service, 2) else { panic!() };
    assert_eq!(as_of, None, "a row that does not say how fresh it is");
    let Lookup::Rows { rows, as_of } = fixture.lookup(&service, 3) else { panic!() };
    assert_eq!((rows.len(), as_of), (0, Some(date(2026, 11, 22))), "that there is no row is as fresh as the import");
}

#[test]
fn json_lines_say_the_same_as_csv() {
    let (fixture, service) = (Fixture::new(), service(TAX));
    let text = format!(
        "\u{feff}{{\"resident_id\":\"{}\",\"annual_income\":48000.50,\"scheme\":\"urban\",\"name\":\"\\u5f20\\u4e09\",\
         \"trades\":[\"a\",\"b\"],\"filed_on\":\"2025-03-01\",\"record_as_of\":null}}\r\n\n  {{\"record_as_of\": \"2026-01-01\", \
         \"resident_id\": \"{}\", \"annual_income\": \"7\", \"scheme\": null, \"name\": null, \"trades\": \"x;y\", \"filed_on\": null}}",
        number(1),
        number(2),
    );
    let report = fixture.lines(&service, &text).unwrap();
    assert_eq!((report.rows, report.subjects), (2, 2));
    assert_eq!(fixture.column(&service, 1, &[], "annual_income"), ["48000.50"]);
    assert_eq!(fixture.column(&service, 1, &[], "name"), ["张三"]);
    assert_eq!(fixture.column(&service, 1, &[], "trades"), ["a;b"]);
    assert_eq!(fixture.column(&service, 2, &[], "trades"), ["x;y"]);
    assert_eq!(fixture.column(&service, 2, &[], "name"), [""]);
}

#[test]
fn an_import_replaces_all_there_was() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    assert_eq!(fixture.lookup(&service, 1), Lookup::NotImported);
    assert_eq!(fixture.records.status(), []);
    let header = "resident_id,has_property,region,year\n";
    fixture.import(&service, &format!("{header}{},true,890101,2020\n", number(1))).unwrap();
    let report = fixture.import(&service, &format!("{header}{},true,890101,2020\n", number(2))).unwrap();
    assert_eq!(report.replaced_rows, Some(1));
    assert_eq!(fixture.column(&service, 1, &[], "region").len(), 0);
    assert_eq!(fixture.column(&service, 2, &[], "region"), ["890101"]);
    let folder = fixture.folder.path().join("records/property-ownership.1");
    let mut names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    names.sort();
    assert_eq!(names, ["00000002", "current"], "what was replaced is gone from the disk");
    let status = fixture.records.status();
    assert_eq!((status.len(), status[0].rows, status[0].subjects, status[0].imported_ms), (1, 1, 1, IMPORTED_MS));
    assert_eq!((status[0].service.as_str(), status[0].major, status[0].minor), ("property-ownership", 1, 0));
    assert_eq!(status[0].fault, None);
}

#[test]
fn a_register_may_be_empty_but_a_file_may_not() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let report = fixture.import(&service, "resident_id,has_property,region,year\n").unwrap();
    assert_eq!((report.rows, report.subjects), (0, 0));
    assert_eq!(fixture.column(&service, 1, &[], "region").len(), 0);
    for (text, format) in
        [("", Format::Csv), ("\u{feff}\n\n", Format::Csv), ("", Format::JsonLines), ("\n \n", Format::JsonLines)]
    {
        let error = fixture.records.import(&service, format, true, text.as_bytes(), &|_| {}, 0).unwrap_err();
        assert!(matches!(error, ImportError::File { line: 1, .. }), "{error}");
    }
}

#[test]
fn a_scheme_that_the_file_has_no_column_for_is_not_absence() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    fixture.import(&service, "resident_id,has_property,region,year\n").unwrap();
    let body = Subject::parse("uscc", "118900000000010112").unwrap();
    let lookup = fixture.records.lookup(&service, &body, &[]);
    assert!(matches!(&lookup, Lookup::SchemeNotHeld(why) if why.contains("no column uscc")), "{lookup:?}");
}

#[test]
fn progress_counts_bytes_and_rows() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let rows = (0..9_000).map(|index| format!("{},true,890101,2020\n", number(index))).collect::<String>();
    let csv = format!("resident_id,has_property,region,year\n{rows}");
    let seen = Mutex::new(Vec::new());
    let progress = |progress| seen.lock().unwrap().push(progress);
    fixture.records.import(&service, Format::Csv, false, csv.as_bytes(), &progress, 0).unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.iter().filter(|progress| progress.phase == Phase::Reading).count(), 3);
    assert_eq!(seen.iter().filter(|progress| progress.phase == Phase::Loading).count(), 3);
    let last = seen.last().unwrap();
    assert_eq!((last.rows, last.total_rows, last.bytes_read), (9_000, Some(9_000), csv.len() as u64));
    assert!(seen[0].total_rows.is_none() && seen[0].rows == 4096 && seen[0].bytes_read < csv.len() as u64);
}

#[test]
fn lookups_go_on_while_an_import_runs_and_a_second_import_does_not() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let csv = |index| format!("resident_id,has_property,region,year\n{},true,890101,2020\n", number(index));
    fixture.import(&service, &csv(1)).unwrap();
    let progress = |progress: Progress| {
        assert_eq!(fixture.column(&service, 1, &[], "region"), ["890101"], "{progress:?}");
        assert!(matches!(fixture.import(&service, &csv(3)), Err(ImportError::Busy)));
    };
    fixture.records.import(&service, Format::Csv, false, csv(2).as_bytes(), &progress, 0).unwrap();
    assert_eq!(fixture.column(&service, 1, &[], "region").len(), 0);
    fixture.import(&service, &csv(3)).unwrap();
}

#[test]
fn records_of_another_description_are_not_guessed_at() {
    let (fixture, v1_0) = (Fixture::new(), service(TAX));
    let header = "resident_id,annual_income,scheme,name,trades,filed_on,record_as_of\n";
    let csv = format!("{header}{},1.00,rural,李四,x,,\n", number(1));
    fixture.import(&v1_0, &csv).unwrap();
    for (change, why) in [
        (("[urban, rural]", "[rural, town]"), "column scheme has another type or other members"),
        (("{type: decimal", "{type: integer"), "column annual_income has another type or other members"),
        (("  trades: {type: list, operators: [contains]}\n", ""), "column trades is gone"),
        (("latest filed_on", "latest signed_on"), "column filed_on is gone"),
        (("record_as_of: record_as_of", "record_as_of: as_of"), "column record_as_of is gone"),
    ] {
        let v1_1 = service(&TAX.replace("1.0", "1.1").replace(change.0, change.1));
        let lookup = fixture.lookup(&v1_1, 1);
        let expected = format!(
            "the records of tax-paid were imported for version 1.0 and do not fit 1.1 ({why}): import them again"
        );
        assert_eq!(lookup, Lookup::Failed(expected));
    }
    // Cells that were not checked for it select no rows, and nobody is told that there are none.
    let with_input = TAX
        .replace("1.0", "1.1")
        .replace("record_as_of: record", "inputs:\n  name: {type: string}\nrecord_as_of: record");
    let with_input = service(&with_input);
    let chosen = fixture.records.lookup(&with_input, &resident(1), &typed(&with_input, &[("name", "李四")]));
    assert!(matches!(chosen, Lookup::Failed(_)), "{chosen:?}");
    assert!(matches!(fixture.lookup(&with_input, 1), Lookup::Rows { .. }));
    // What changes no column changes nothing; and the first description is still known.
    let v1_1 = service(&TAX.replace("1.0", "1.1").replace("[contains]", "[contains, exists]"));
    assert!(matches!(fixture.lookup(&v1_1, 1), Lookup::Rows { .. }));
    assert!(matches!(fixture.lookup(&v1_0, 1), Lookup::Rows { .. }));
    // Another major version has records of its own.
    assert_eq!(fixture.lookup(&service(&TAX.replace("1.0", "2.0")), 1), Lookup::NotImported);
}

/// A compatible change costs nobody an answer who asks for what was there before.
#[test]
fn rows_that_lack_a_new_attribute_answer_for_the_others() {
    let (fixture, v1_0) = (Fixture::new(), service(TAX));
    let header = "resident_id,annual_income,scheme,name,trades,filed_on,record_as_of\n";
    fixture.import(&v1_0, &format!("{header}{},1.00,rural,李四,x,,\n", number(1))).unwrap();
    let wider = TAX
        .replace("1.0", "1.1")
        .replace("[urban, rural]", "[town, rural, urban]")
        .replace("attributes:\n", "attributes:\n  paid: {type: boolean, operators: [equals]}\n");
    let Lookup::Partial { rows, lacking, .. } = fixture.lookup(&service(&wider), 1) else { panic!() };
    assert_eq!(lacking, ["paid"]);
    assert_eq!(rows[0].value("scheme").unwrap().to_text(), "rural");
    let header = header.replace("name", "name,paid");
    fixture.import(&service(&wider), &format!("{header}{},1.00,town,李四,true,x,,\n", number(1))).unwrap();
    assert!(matches!(fixture.lookup(&service(&wider), 1), Lookup::Rows { .. }));
}

#[test]
fn subjects_with_many_rows_keep_all_of_them() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let mut csv = "resident_id,has_property,region,year\n".to_owned();
    for year in 0..SUBJECT_ROW_LIMIT {
        csv += &format!("{},true,890101,{year}\n", number(7));
    }
    csv += &format!("{},true,890101,1\n{},true,890101,2\n", number(6), number(8));
    fixture.import(&service, &csv).unwrap();
    let years = fixture.column(&service, 7, &[("region", "890101")], "year");
    assert_eq!(years.len(), SUBJECT_ROW_LIMIT);
    assert!(years.iter().enumerate().all(|(index, year)| *year == index.to_string()), "in the order of the file");
    assert_eq!(fixture.column(&service, 6, &[], "year"), ["1"]);
    assert_eq!(fixture.column(&service, 8, &[], "year"), ["2"]);

    csv += &format!("{},true,890101,3\n", number(7));
    let Err(ImportError::BadRows { bad_rows, rows: 1 }) = fixture.import(&service, &csv) else { panic!() };
    assert_eq!(bad_rows[0].line, SUBJECT_ROW_LIMIT as u64 + 4);
    assert!(bad_rows[0].reason.starts_with("its subject has more than 10000 rows"), "{}", bad_rows[0]);
    let report = fixture.quarantine(&service, &csv).unwrap();
    assert_eq!((report.rows, report.quarantined_subjects, report.withheld_rows), (2, 1, SUBJECT_ROW_LIMIT as u64 + 1));
    assert_eq!(fixture.lookup(&service, 7), Lookup::Quarantined);
}

#[tokio::test]
async fn the_seam_serves_the_embedded_store_and_the_double() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    fixture.import(&service, "resident_id,has_property,region,year\n").unwrap();
    let double = double::RecordsDouble::failing().with(resident(1), Lookup::Quarantined);
    let sources: [&dyn RecordSource; 2] = [&fixture.records, &double];
    let (one, two) = (resident(1), resident(2));
    assert!(matches!(sources[0].lookup(Reading::Anew, &service, &one, &[]).await, Lookup::Rows { .. }));
    assert_eq!(sources[1].lookup(Reading::Anew, &service, &one, &[]).await, Lookup::Quarantined);
    assert!(matches!(sources[1].lookup(Reading::Anew, &service, &two, &[]).await, Lookup::Failed(_)));
    assert_eq!((double.lookups(), sources[0].status().len()), (2, 1));
}

#[test]
fn a_day_is_the_departments_day() {
    assert_eq!(calendar_day(IMPORTED_MS), date(2026, 11, 22));
    assert_eq!(calendar_day(0), date(1970, 1, 1));
    assert_eq!(calendar_day(57_599_999), date(1970, 1, 1));
    assert_eq!(calendar_day(57_600_000), date(1970, 1, 2));
    assert!(calendar_day(u64::MAX) >= date(9999, 12, 30));
}
