//! What is wrong with a file is told by line, field and reason, and never by value; and nothing changes.

use proptest::prelude::*;

use super::*;

const HEADER: &str = "resident_id,has_property,region,year\n";

fn columns_wrong(header: &str) -> Vec<String> {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    match fixture.import(&service, header) {
        Err(ImportError::Columns { problems }) => printed(&problems),
        other => panic!("{other:?}"),
    }
}

#[test]
fn columns_are_refused_by_name() {
    assert_eq!(
        columns_wrong("resident_id,has_property,regoin,count,year,year\n"),
        [
            "line 1: regoin: neither subject, attribute, input nor a date that the service uses: remove the column, or correct its name",
            "line 1: count: the number of rows is its value: remove the column",
            "line 1: year: the column stands twice",
            "line 1: region: the column is missing",
        ]
    );
    assert_eq!(
        columns_wrong("has_property,region,year\n"),
        ["line 1: resident_id or uscc: the subject's column is missing"]
    );
    // What may be a value is not repeated.
    let shown = columns_wrong(&format!("resident_id,has_property,region,year,{},张三的很长很长\u{7}\n", number(1)));
    assert!(shown[0].starts_with("line 1: column 5: ") && shown[1].starts_with("line 1: column 6: "), "{shown:?}");
}

#[test]
fn a_file_without_column_names_is_not_quoted() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    for text in [format!("{},true,890101,2020\n", number(1)), "resident_id;has_property;region;year\n".to_owned()] {
        let error = fixture.import(&service, &text).unwrap_err().to_string();
        assert!(
            error.starts_with("line 1: no column of the service is named here: is the row of column names missing?"),
            "{error}"
        );
        assert!(error.ends_with(": resident_id,uscc,has_property,region,year"), "{error}");
        assert!(!error.contains(&number(1)), "{error}");
    }
    let gbk = b"resident_id,has_property,region,year,\xd0\xd5\xc3\xfb\n".as_slice();
    let error = fixture.records.import(&service, Format::Csv, false, gbk, &|_| {}, 0).unwrap_err().to_string();
    assert!(error.starts_with("line 1: not UTF-8, perhaps GBK"), "{error}");
}

#[test]
fn every_bad_row_is_told_and_nothing_is_imported() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    fixture.import(&service, &format!("{HEADER}{},true,890101,2020\n", number(1))).unwrap();
    let good = format!("{},true,890101,2020\n", number(2));
    let mut wrong_check = number(3);
    let last = if wrong_check.ends_with('1') { "2" } else { "1" };
    wrong_check.replace_range(17.., last);
    let csv = [
        HEADER.to_owned(),
        good.clone(),
        format!("{wrong_check},true,890101,2020\n"),
        "8.90101E+17,true,890101,2020\n".to_owned(),
        format!("{},yes,890101,2020\n", number(4)),
        format!("{},true,,8.9E+17\n", number(5)),
        ",true,890101,2020\n".to_owned(),
        format!("{},true,890101\n", number(6)),
        format!("{},tr\"ue,890101,2020\n", number(7)),
        "\n".to_owned(),
        good,
    ]
    .concat();
    let Err(ImportError::BadRows { bad_rows, rows }) = fixture.import(&service, &csv) else { panic!() };
    let spreadsheet = "a spreadsheet turned the number into something like 8.9E+17: format the column as text, and put the \
                       whole number back";
    let expected = [
        "line 3: resident_id: the check character of the resident number is wrong: its other digits call for "
            .to_owned(),
        format!("line 4: resident_id: {spreadsheet}"),
        "line 5: has_property: must be true or false".to_owned(),
        "line 6: region: must not be empty: rows are selected by it".to_owned(),
        format!("line 6: year: {spreadsheet}"),
        "line 7: resident_id or uscc: is empty: a row needs its subject".to_owned(),
        "line 8: the row has 3 fields, the row of column names 4".to_owned(),
        "line 8: year: must not be empty: rows are selected by it".to_owned(),
        "line 9: a quotation mark stands inside a value: put the value in quotation marks and double it".to_owned(),
        "line 9: has_property: must be true or false".to_owned(),
    ];
    let printed = printed(&bad_rows);
    assert_eq!(printed.len(), expected.len(), "{printed:#?}");
    for (printed, expected) in printed.iter().zip(&expected) {
        assert!(printed.starts_with(expected), "{printed}");
    }
    assert_eq!(rows, 7);
    assert_eq!(fixture.column(&service, 1, &[], "region"), ["890101"], "the records from before stay");
    assert_eq!(fixture.column(&service, 2, &[], "region").len(), 0);
    let left = std::fs::read_dir(fixture.folder.path().join("records/property-ownership.1")).unwrap().count();
    assert_eq!(left, 2, "nothing is left over: the old generation, and what names it");
}

#[test]
fn bad_lines_of_json_are_told_too() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let line = |rest: &str| format!("{{\"resident_id\":\"{}\",{rest}}}\n", number(1));
    let text = [
        line("\"has_property\":true,\"region\":890101,\"year\":2020"),
        line("\"has_property\":true,\"region\":\"890101\""),
        line("\"has_property\":1,\"region\":\"890101\",\"year\":2020.5"),
        line("\"has_property\":null,\"region\":\"890101\",\"year\":2020,\"year\":2021,\"owner\":\"x\""),
        line("\"has_property\":{},\"region\":[\"a\"],\"year\":1e3"),
        "{\"resident_id\":890101195001010011,\"has_property\":true,\"region\":\"890101\",\"year\":1}\n".to_owned(),
        "[1,2]\n".to_owned(),
        "{\"resident_id\":\"secret\n".to_owned(),
    ]
    .concat();
    let Err(ImportError::BadRows { bad_rows, rows }) = fixture.lines(&service, &text) else { panic!() };
    let printed = printed(&bad_rows);
    let expected = [
        "line 1: region: must be a text: put it in quotation marks, so that no digit is lost",
        "line 2: year: is missing: write null for no value",
        "line 2: year: must not be empty: rows are selected by it",
        "line 3: has_property: must be a text: put it in quotation marks",
        "line 3: year: must be a whole number",
        "line 4: year: stands twice in the row",
        "line 4: owner: neither subject, attribute,",
        "line 5: has_property: must not be an object",
        "line 5: region: must be text",
        "line 5: year: must be a whole number",
        "line 6: resident_id: must be a text: put it in quotation marks",
        "line 7: not a JSON object (character ",
        "line 7: resident_id or uscc: is empty",
        "line 7: region: must not be empty",
        "line 7: year: must not be empty",
        "line 8: not a JSON object (character ",
    ];
    assert!(printed.len() >= expected.len(), "{printed:#?}");
    for (printed, expected) in printed.iter().zip(expected) {
        assert!(printed.starts_with(expected), "{printed} / {expected}");
    }
    assert_eq!(rows, 8);
    assert!(printed.iter().all(|printed| !printed.contains("secret")), "{printed:#?}");
}

#[test]
fn rows_set_aside_make_their_subjects_unavailable() {
    let (fixture, service) = (Fixture::new(), service(TAX));
    let header = "resident_id,annual_income,scheme,name,trades,filed_on,record_as_of\n";
    let bad = format!("{},much,urban,王五,,,\n", number(1));
    let unreadable = "890101195001010010,2.00,urban,赵六,,,\n";
    let csv = [
        header,
        &format!("{},1.00,urban,王五,,,\n", number(1)),
        &bad,
        &format!("{},1.00,urban,李四,,,\n", number(2)),
        unreadable,
    ]
    .concat();
    let report = fixture.quarantine(&service, &csv).unwrap();
    assert_eq!((report.rows, report.subjects), (1, 1));
    assert_eq!((report.quarantined_rows, report.quarantined_subjects), (2, 1));
    assert_eq!((report.withheld_rows, report.unattributed_rows), (1, 1));
    assert_eq!(report.bad_rows.iter().map(|row| row.line).collect::<Vec<_>>(), [3, 5]);
    let fixture = fixture.reopen();
    assert_eq!(fixture.lookup(&service, 1), Lookup::Quarantined);
    assert_eq!(fixture.column(&service, 2, &[], "name"), ["李四"]);
    // The row that was set aside may be anybody's: nobody has no record, and nothing is summed without it.
    assert_eq!(fixture.lookup(&service, 3), Lookup::Quarantined);
    let Lookup::Partial { lacking, uncertain, .. } = fixture.lookup(&service, 2) else { panic!() };
    assert_eq!((lacking.len(), uncertain), (0, vec!["annual_income".to_owned()]));
    let status = &fixture.records.status()[0];
    assert_eq!((status.quarantined_rows, status.quarantined_subjects, status.unattributed_rows), (2, 1, 1));
    let file = status.quarantine_file.clone().unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{header}{bad}{unreadable}"));
    let reasons = std::fs::read_to_string(file.with_file_name("quarantine.reasons.txt")).unwrap();
    assert_eq!(reasons.lines().count(), 2);
    assert!(!reasons.contains("much") && reasons.starts_with("line 3: annual_income: must be a decimal"), "{reasons}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Put right and imported, nothing is set aside any more.
    fixture.quarantine(&service, &csv.replace("much", "3.00").replace(unreadable, "")).unwrap();
    assert_eq!(fixture.column(&service, 1, &[], "annual_income"), ["1.00", "3.00"]);
    assert!(matches!(fixture.lookup(&service, 1), Lookup::Rows { .. }));
    assert_eq!(fixture.column(&service, 3, &[], "name").len(), 0);
    assert!(!file.exists());
}

#[test]
fn while_rows_of_nobody_are_set_aside_no_absence_is_proved() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let csv = format!("{HEADER}{},true,890101,2020\n890101195001010010,true,890102,2020\n", number(1));
    fixture.quarantine(&service, &csv).unwrap();
    assert_eq!(fixture.column(&service, 1, &[("region", "890101")], "region"), ["890101"]);
    // The row that was set aside may be anybody's.
    assert_eq!(fixture.lookup(&service, 2), Lookup::Quarantined);
    let elsewhere = typed(&service, &[("region", "890103")]);
    assert_eq!(fixture.records.lookup(&service, &resident(1), &elsewhere), Lookup::Quarantined);
}

#[test]
fn a_row_with_two_subjects_is_both_of_theirs() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let csv = format!(
        "resident_id,uscc,has_property,region,year\n{},118900000000010112,true,1,1\n{},,true,1,1\n",
        number(1),
        number(2)
    );
    let Err(ImportError::BadRows { bad_rows, .. }) = fixture.import(&service, &csv) else { panic!() };
    assert_eq!(printed(&bad_rows), ["line 2: resident_id or uscc: a row has one subject, this one has more"]);
    let report = fixture.quarantine(&service, &csv).unwrap();
    assert_eq!((report.quarantined_rows, report.quarantined_subjects, report.unattributed_rows), (1, 2, 0));
    let body = Subject::parse("uscc", "118900000000010112").unwrap();
    assert_eq!(fixture.records.lookup(&service, &body, &[]), Lookup::Quarantined);
    assert_eq!(fixture.lookup(&service, 1), Lookup::Quarantined);
}

#[test]
fn a_file_of_nothing_but_bad_rows_replaces_nothing() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    fixture.import(&service, &format!("{HEADER}{},true,890101,2020\n", number(1))).unwrap();
    let many = format!("{HEADER}{}", format!("{},maybe,890101,2020\n", number(1)).repeat(250));
    let Err(ImportError::BadRows { bad_rows, rows }) = fixture.quarantine(&service, &many) else { panic!() };
    assert_eq!((bad_rows.len(), rows), (BAD_ROW_LIMIT, 250));
    assert_eq!(fixture.column(&service, 1, &[], "region"), ["890101"]);
}

#[test]
fn a_file_that_breaks_off_changes_nothing() {
    struct BreaksOff<'a>(&'a [u8]);
    impl std::io::Read for BreaksOff<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the sender is gone")),
                count => Ok(count),
            }
        }
    }
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let csv = format!("{HEADER}{},true,890101,2020\n", number(1));
    let input = BreaksOff(csv.as_bytes());
    let error = fixture.records.import(&service, Format::Csv, true, input, &|_| {}, 0).unwrap_err();
    assert_eq!(error.to_string(), "the file could not be read to its end: the sender is gone");
    assert_eq!(fixture.lookup(&service, 1), Lookup::NotImported);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn arbitrary_files_do_not_panic(
        header in prop::bool::ANY, json in prop::bool::ANY, quarantine in prop::bool::ANY,
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\",\n\r{}[]:01trueE+".to_vec())], 0..200),
    ) {
        let (fixture, service) = (Fixture::new(), service(PROPERTY));
        let mut file = if header { HEADER.as_bytes().to_vec() } else { Vec::new() };
        file.extend(&bytes);
        let format = if json { Format::JsonLines } else { Format::Csv };
        if fixture.records.import(&service, format, quarantine, file.as_slice(), &|_| {}, 0).is_err() {
            prop_assert_eq!(fixture.lookup(&service, 1), Lookup::NotImported);
        }
    }
}
