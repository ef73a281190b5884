//! Changes of records: rows put in and taken out, as a whole or not at all.

use super::*;

const LATER_MS: u64 = IMPORTED_MS + 5 * 86_400_000;

const HEADER: &str = "resident_id,has_property,region,year\n";

fn apply(
    fixture: &Fixture,
    service: &Service,
    operation: ChangeOperation,
    key: &[&str],
    csv: &str,
) -> Result<ChangeReport, ImportError> {
    let key = key.iter().map(|name| (*name).to_owned()).collect();
    let changes = Changes { operation, key, is_complete: false };
    fixture.records.apply(service, Format::Csv, &changes, csv.as_bytes(), &|_| {}, LATER_MS)
}

fn by_column() -> ChangeOperation {
    ChangeOperation::Column("operation".to_owned())
}

fn as_of(fixture: &Fixture, service: &Service, index: u32) -> Option<Date> {
    match fixture.lookup(service, index) {
        Lookup::Rows { as_of, .. } => as_of,
        other => panic!("{other:?}"),
    }
}

#[test]
fn changes_put_rows_in_and_take_rows_out_by_their_key() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let (one, two, three) = (number(1), number(2), number(3));
    fixture
        .import(&service, &format!("{HEADER}{one},true,890101,2020\n{one},true,890102,2021\n{two},true,890101,2020\n"))
        .unwrap();
    let csv = format!(
        "operation,resident_id,has_property,region,year\nupsert,{one},false,890102,2021\nupsert,{three},true,890103,2024\n\
         delete,{two},,890101,\ndelete,{two},,890199,\nupsert,{one},true,890104,2024\n"
    );
    let report = apply(&fixture, &service, by_column(), &["region"], &csv).unwrap();
    assert_eq!((report.rows, report.subjects), (4, 2));
    assert_eq!((report.upserted, report.deleted, report.missed), (3, 1, 1));
    let fixture = fixture.reopen();
    let regions = |index| fixture.column(&service, index, &[], "region");
    assert_eq!(regions(1), ["890101", "890102", "890104"]);
    assert_eq!(fixture.column(&service, 1, &[("region", "890102")], "has_property"), ["false"]);
    assert_eq!((regions(2), regions(3)), (vec![], vec!["890103".to_owned()]));
}

#[test]
fn a_row_that_no_change_named_is_no_fresher_than_its_import() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let (one, two) = (number(1), number(2));
    fixture.import(&service, &format!("{HEADER}{one},true,890101,2020\n{two},true,890101,2020\n")).unwrap();
    let change = format!("{HEADER}{one},false,890101,2020\n");
    apply(&fixture, &service, ChangeOperation::Upsert, &[], &change).unwrap();
    let (imported, changed) = (calendar_day(IMPORTED_MS), calendar_day(LATER_MS));
    let fixture = fixture.reopen();
    assert_eq!(as_of(&fixture, &service, 1), Some(changed));
    assert_eq!(as_of(&fixture, &service, 2), Some(imported));
    assert_eq!(as_of(&fixture, &service, 3), Some(imported), "whoever has no row had none when the whole was seen");
    // A second change keeps the stamp of the first.
    apply(&fixture, &service, ChangeOperation::Upsert, &[], &format!("{HEADER}{two},false,890101,2020\n")).unwrap();
    assert_eq!(as_of(&fixture, &service, 1), Some(changed));
    // Whoever says that these are all changes makes everything as fresh.
    let all = Changes { operation: ChangeOperation::Upsert, key: Vec::new(), is_complete: true };
    let csv = format!("{HEADER}{two},true,890101,2020\n");
    let later = LATER_MS + 86_400_000;
    fixture.records.apply(&service, Format::Csv, &all, csv.as_bytes(), &|_| {}, later).unwrap();
    for index in 1..4 {
        assert_eq!(as_of(&fixture, &service, index), Some(calendar_day(later)));
    }
}

#[test]
fn the_day_of_a_row_stands_in_its_own_column_where_there_is_one() {
    let (fixture, service) = (Fixture::new(), service(TAX));
    let header = "resident_id,annual_income,scheme,name,filed_on,trades,record_as_of\n";
    let row = |index, day: &str| format!("{},1.50,urban,张三,2024-01-01,a;b,{day}\n", number(index));
    fixture.import(&service, &[header, &row(1, "2024-01-31"), &row(2, "2024-01-31")].concat()).unwrap();
    apply(&fixture, &service, ChangeOperation::Upsert, &[], &[header, &row(2, "2024-02-29")].concat()).unwrap();
    assert_eq!(as_of(&fixture, &service, 1), Some(date(2024, 1, 31)));
    assert_eq!(as_of(&fixture, &service, 2), Some(date(2024, 2, 29)));
    assert_eq!(fixture.column(&service, 1, &[], "annual_income"), ["1.50"]);
}

#[test]
fn one_bad_row_and_nothing_changes() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let (one, two) = (number(1), number(2));
    fixture.import(&service, &format!("{HEADER}{one},true,890101,2020\n{one},true,890102,2020\n")).unwrap();
    let before = fixture.column(&service, 1, &[], "region");
    let good = format!("{two},true,890101,2020\n");
    let refused = [
        // Not a value of its type, in the row after a good one.
        (vec![], format!("{HEADER}{good}{one},perhaps,890101,2020\n"), "line 3: has_property: "),
        // Two houses, and no key that tells them apart: neither may be lost.
        (vec![], format!("{HEADER}{good}{one},false,890101,2020\n"), "line 3: several rows of its subject"),
        (vec![], format!("{HEADER}{good}{two},true,890102,2020\n"), "line 3: its subject stands twice"),
        (vec!["year"], format!("{HEADER}{one},false,890101,2020\n"), "line 2: several rows of its subject"),
        (vec!["year"], format!("{HEADER}{two},false,890101,\n"), "line 2: year: must not be empty"),
    ];
    for (key, csv, expected) in refused {
        match apply(&fixture, &service, ChangeOperation::Upsert, &key, &csv) {
            Err(ImportError::BadRows { bad_rows, .. }) => {
                assert!(printed(&bad_rows).iter().any(|row| row.starts_with(expected)), "{bad_rows:?}");
                let repeated = bad_rows.iter().any(|row| row.reason.contains(&one) || row.reason.contains(&two));
                assert!(!repeated, "a number is repeated");
            }
            other => panic!("{expected}: {other:?}"),
        }
        assert_eq!(fixture.column(&service, 1, &[], "region"), before);
        assert_eq!(fixture.column(&service, 2, &[], "region"), [""; 0]);
    }
    let wrong = apply(&fixture, &service, by_column(), &["house"], &format!("{HEADER}{good}")).unwrap_err().to_string();
    assert!(wrong.contains("house: is named as a part of the key"), "{wrong}");
    let wrong = apply(&fixture, &service, by_column(), &[], &format!("{HEADER}{good}")).unwrap_err().to_string();
    assert!(wrong.contains("operation: the column is missing"), "{wrong}");
    let csv = format!("operation,{HEADER}remove,{good}");
    match apply(&fixture, &service, by_column(), &[], &csv) {
        Err(ImportError::BadRows { bad_rows, .. }) => {
            assert_eq!(printed(&bad_rows), ["line 2: operation: must be upsert or delete"]);
        }
        other => panic!("{other:?}"),
    }
    // What was made for a change that was refused does not stay.
    let folder = fixture.folder.path().join("records/property-ownership.1");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2, "the generation in use and `current`");
}

#[test]
fn there_is_nothing_to_change_before_an_import() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let error = apply(&fixture, &service, ChangeOperation::Delete, &[], &format!("resident_id\n{}\n", number(1)));
    assert!(matches!(error, Err(ImportError::NothingToChange)));
}

#[test]
fn a_change_without_a_key_settles_what_was_set_aside() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let (one, two) = (number(1), number(2));
    fixture.quarantine(&service, &format!("{HEADER}{one},perhaps,890101,2020\n{two},true,890101,2020\n")).unwrap();
    let change = format!("{HEADER}{one},true,890101,2020\n");
    apply(&fixture, &service, ChangeOperation::Upsert, &["region"], &change).unwrap();
    assert_eq!(fixture.lookup(&service, 1), Lookup::Quarantined, "its other rows are not known");
    let file = fixture.records.status()[0].quarantine_file.clone().unwrap();
    assert!(std::fs::read_to_string(file).unwrap().contains("perhaps"), "the rows set aside are kept");
    apply(&fixture, &service, ChangeOperation::Upsert, &[], &change).unwrap();
    assert_eq!(fixture.column(&service, 1, &[], "region"), ["890101"]);
    let status = &fixture.records.status()[0];
    assert_eq!((status.quarantined_rows, status.quarantined_subjects), (0, 0));
}

#[test]
fn json_lines_change_records_too_and_a_row_to_take_out_needs_its_key_only() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let one = number(1);
    fixture.import(&service, &format!("{HEADER}{one},true,890101,2020\n{one},true,890102,2020\n")).unwrap();
    let changes = Changes { operation: by_column(), key: vec!["region".to_owned()], is_complete: false };
    let lines = format!("{{\"operation\":\"delete\",\"resident_id\":\"{one}\",\"region\":\"890101\"}}\n");
    fixture.records.apply(&service, Format::JsonLines, &changes, lines.as_bytes(), &|_| {}, LATER_MS).unwrap();
    assert_eq!(fixture.column(&service, 1, &[], "region"), ["890102"]);
    let report = apply(&fixture, &service, ChangeOperation::Delete, &[], &format!("resident_id\n{one}\n")).unwrap();
    assert_eq!((report.rows, report.deleted, report.missed), (0, 1, 0));
}

#[test]
fn many_subjects_and_many_rows_come_through_a_change() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let mut csv = HEADER.to_owned();
    for index in 0..3_000 {
        let rows = if index % 500 == 7 { 900 } else { 1 };
        for year in 0..rows {
            csv.push_str(&format!("{},true,890101,{year}\n", number(index)));
        }
    }
    fixture.import(&service, &csv).unwrap();
    let mut change = HEADER.to_owned();
    // In no order, between and beyond what is there.
    for index in (0..3_200).rev().filter(|index| index % 3 == 0) {
        change.push_str(&format!("{},false,890101,5000\n", number(index)));
    }
    let report = apply(&fixture, &service, ChangeOperation::Upsert, &["year"], &change).unwrap();
    let added = (0..3_200).filter(|index| index % 3 == 0).count() as u64;
    assert_eq!(report.rows, 3_000 + 6 * 899 + added);
    for index in [0, 1, 7, 507, 1_507, 2_999, 3_000, 3_198, 3_199] {
        let old = if index >= 3_000 {
            0
        } else if index % 500 == 7 {
            900
        } else {
            1
        };
        let expected = old + usize::from(index % 3 == 0);
        assert_eq!(fixture.column(&service, index, &[], "year").len(), expected, "{index}");
    }
}
