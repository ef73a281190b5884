//! Workbooks: the cells of a sheet become rows, and what a spreadsheet has spoilt is refused by its cell.

use std::io::Write;

use super::*;

/// A workbook with one sheet of the given rows (XML of their cells), behind a hidden one.
pub(crate) fn workbook(rows: &str) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.add(
        "[Content_Types].xml",
        "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">\
         <Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
         <Default Extension=\"xml\" ContentType=\"application/xml\"/></Types>",
    );
    archive.add(
        "_rels/.rels",
        "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"r1\" \
         Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" \
         Target=\"xl/workbook.xml\"/></Relationships>",
    );
    archive.add(
        "xl/workbook.xml",
        "<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" \
         xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"><sheets>\
         <sheet name=\"notes\" sheetId=\"1\" state=\"hidden\" r:id=\"r1\"/><sheet name=\"导出\" sheetId=\"2\" r:id=\"r2\"/>\
         </sheets></workbook>",
    );
    archive.add(
        "xl/_rels/workbook.xml.rels",
        "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"r1\" \
         Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" \
         Target=\"worksheets/sheet1.xml\"/><Relationship Id=\"r2\" \
         Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" \
         Target=\"worksheets/sheet2.xml\"/><Relationship Id=\"r3\" \
         Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles\" \
         Target=\"styles.xml\"/></Relationships>",
    );
    archive.add(
        "xl/styles.xml",
        "<styleSheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><cellXfs count=\"2\">\
         <xf numFmtId=\"0\"/><xf numFmtId=\"14\"/></cellXfs></styleSheet>",
    );
    let sheet = |rows: &str| {
        format!(
            "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetData>{rows}\
             </sheetData></worksheet>"
        )
    };
    archive.add("xl/worksheets/sheet1.xml", &sheet(""));
    archive.add("xl/worksheets/sheet2.xml", &sheet(rows));
    archive.finish()
}

/// A text cell.
pub(crate) fn text(at: &str, value: &str) -> String {
    format!("<c r=\"{at}\" t=\"inlineStr\"><is><t>{value}</t></is></c>")
}

/// A number cell.
pub(crate) fn numeric(at: &str, value: &str) -> String {
    format!("<c r=\"{at}\"><v>{value}</v></c>")
}

pub(crate) fn row(number: u32, cells: &[String]) -> String {
    format!("<row r=\"{number}\">{}</row>", cells.concat())
}

/// A zip archive whose files are stored as they are.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    central: Vec<u8>,
    files: u16,
}

impl Archive {
    fn add(&mut self, name: &str, content: &str) {
        let mut checksum = !0_u32;
        for byte in content.bytes() {
            checksum ^= u32::from(byte);
            for _ in 0..8 {
                checksum = if checksum & 1 == 1 { (checksum >> 1) ^ 0xedb8_8320 } else { checksum >> 1 };
            }
        }
        let size = u32::try_from(content.len()).unwrap().to_le_bytes();
        let offset = u32::try_from(self.bytes.len()).unwrap().to_le_bytes();
        let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
        let common = [
            &20_u16.to_le_bytes()[..],
            &[0; 4],
            &[0, 0, 0x21, 0],
            &(!checksum).to_le_bytes(),
            &size,
            &size,
            &name_length,
            &[0; 2],
        ]
        .concat();
        self.bytes.write_all(&[&b"PK\x03\x04"[..], &common, name.as_bytes(), content.as_bytes()].concat()).unwrap();
        let entry = [&b"PK\x01\x02\x14\x00"[..], &common, &[0; 10], &offset, name.as_bytes()].concat();
        self.central.write_all(&entry).unwrap();
        self.files += 1;
    }

    fn finish(mut self) -> Vec<u8> {
        let files = self.files.to_le_bytes();
        let size = u32::try_from(self.central.len()).unwrap().to_le_bytes();
        let offset = u32::try_from(self.bytes.len()).unwrap().to_le_bytes();
        self.bytes.extend_from_slice(&self.central);
        let end = [&b"PK\x05\x06"[..], &[0; 4], &files, &files, &size, &offset, &[0; 2]].concat();
        self.bytes.extend_from_slice(&end);
        self.bytes
    }
}

fn import(fixture: &Fixture, service: &Service, rows: &str) -> Result<ImportReport, ImportError> {
    let bytes = workbook(rows);
    fixture.records.import(service, Format::Xlsx, false, bytes.as_slice(), &|_| {}, IMPORTED_MS)
}

fn header() -> String {
    let names = ["region", "resident_id", "year", "has_property"];
    row(1, &["A1", "B1", "D1", "E1"].iter().zip(names).map(|(at, name)| text(at, name)).collect::<Vec<_>>())
}

#[test]
fn a_sheet_is_imported_as_its_cells_are() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let rows = [
        header(),
        row(
            3,
            &[
                text("A3", "890101"),
                text("B3", &number(1)),
                numeric("D3", "2020"),
                "<c r=\"E3\" t=\"b\"><v>1</v></c>".into(),
            ],
        ),
        row(4, &[text("A4", "890102"), text("B4", &number(2)), numeric("D4", "2021"), text("E4", "false")]),
    ]
    .concat();
    let report = import(&fixture, &service, &rows).unwrap();
    assert_eq!((report.rows, report.subjects), (2, 2));
    assert_eq!(fixture.column(&service, 1, &[], "year"), ["2020"]);
    assert_eq!(fixture.column(&service, 1, &[], "has_property"), ["true"]);
    assert_eq!(fixture.column(&service, 2, &[], "region"), ["890102"]);
}

#[test]
fn dates_are_dates_however_a_sheet_holds_them() {
    let (fixture, service) = (Fixture::new(), service(TAX));
    let names = ["resident_id", "annual_income", "scheme", "name", "filed_on", "trades", "record_as_of"];
    let columns = ["A", "B", "C", "D", "E", "F", "G"];
    let header = columns.iter().zip(names).map(|(at, name)| text(&format!("{at}1"), name)).collect::<Vec<_>>();
    let cells = [
        text("A2", &number(1)),
        numeric("B2", "0.30000000000000004"),
        text("C2", "urban"),
        text("D2", "张三"),
        "<c r=\"E2\" s=\"1\"><v>45351</v></c>".to_owned(),
        text("F2", "a;b"),
        text("G2", "2024-02-29"),
    ];
    import(&fixture, &service, &[row(1, &header), row(2, &cells)].concat()).unwrap();
    assert_eq!(fixture.column(&service, 1, &[], "filed_on"), ["2024-02-29"]);
    assert_eq!(fixture.column(&service, 1, &[], "annual_income"), ["0.3"]);
}

#[test]
fn a_number_that_a_spreadsheet_has_spoilt_is_refused_by_its_cell() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let rows = [
        header(),
        row(
            2,
            &[text("A2", "890101"), numeric("B2", "8.9010119900307E+17"), numeric("D2", "2020"), text("E2", "true")],
        ),
        row(3, &[text("A3", "890101"), numeric("B3", "890101900307001"), numeric("D3", "2020"), text("E3", "true")]),
        row(
            4,
            &[
                numeric("A4", "890101"),
                text("B4", "8.90101E+17"),
                numeric("D4", "2020"),
                text("E4", "true"),
                text("F4", "x"),
            ],
        ),
        row(
            5,
            &[
                text("A5", "890101"),
                text("B5", &number(1)),
                numeric("D5", "2020"),
                "<c r=\"E5\" t=\"e\"><v>#N/A</v></c>".into(),
            ],
        ),
    ]
    .concat();
    match import(&fixture, &service, &rows) {
        Err(ImportError::BadRows { bad_rows, rows }) => {
            let told = printed(&bad_rows);
            assert_eq!(rows, 4);
            for (line, start) in [
                (0, "line 2: resident_id (cell B2): a spreadsheet turned the number into something like 8.9E+17"),
                (1, "line 3: resident_id (cell B3): the cell holds a number: format the column as text"),
            ] {
                assert!(told[line].starts_with(start), "{}", told[line]);
            }
            let all = told.join("\n");
            for start in [
                "line 4: F4: stands in a column without a name",
                "line 4: resident_id (cell B4): a spreadsheet turned the number",
                "line 4: region (cell A4): the cell holds a number",
                "line 5: has_property (cell E5): holds an error of the spreadsheet",
            ] {
                assert!(all.contains(start), "{start}\n{all}");
            }
            assert!(!all.contains("89010"), "a value is repeated: {all}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.records.status(), []);
}

#[test]
fn what_is_no_workbook_is_refused() {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let whole = workbook(&header());
    let empty = workbook("");
    for bytes in [b"resident_id\n".as_slice(), b"", &whole[..whole.len() / 2], &empty] {
        let error = fixture.records.import(&service, Format::Xlsx, false, bytes, &|_| {}, 0).unwrap_err();
        assert!(matches!(error, ImportError::File { .. }), "{error}");
    }
}
