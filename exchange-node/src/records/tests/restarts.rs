//! What was imported is there after a restart; what was not finished is gone; what is damaged says so.

use std::fs;

use super::*;

const HEADER: &str = "resident_id,has_property,region,year\n";

fn imported() -> (Fixture, Service) {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    fixture.import(&service, &format!("{HEADER}{},true,890101,2020\n", number(1))).unwrap();
    (fixture, service)
}

#[test]
fn records_are_there_after_a_restart() {
    let (fixture, service) = imported();
    let tax = super::service(TAX);
    fixture.import(&tax, "resident_id,annual_income,scheme,name,trades,filed_on,record_as_of\n").unwrap();
    let before = fixture.records.status();
    let fixture = fixture.reopen();
    assert_eq!(fixture.records.status(), before);
    assert_eq!(
        before.iter().map(|status| status.service.as_str()).collect::<Vec<_>>(),
        ["property-ownership", "tax-paid"]
    );
    assert_eq!(fixture.column(&service, 1, &[("region", "890101")], "year"), ["2020"]);
}

#[test]
fn what_a_crash_left_over_is_removed() {
    let (fixture, service) = imported();
    let folder = fixture.folder.path().join("records/property-ownership.1");
    // An import that was being loaded, and one that was whole but not switched to.
    fs::create_dir_all(folder.join("00000002/sort")).unwrap();
    fs::write(folder.join("00000002/sort/run-000000"), "personal data").unwrap();
    fs::create_dir(folder.join("00000003")).unwrap();
    fs::copy(folder.join("00000001/manifest.json"), folder.join("00000003/manifest.json")).unwrap();
    // A service whose first import never ended.
    fs::create_dir_all(fixture.folder.path().join("records/tax-paid.1/00000001")).unwrap();
    // Something that was not made here.
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let fixture = fixture.reopen();
    assert!(!folder.join("00000002").exists() && !folder.join("00000003").exists());
    assert!(folder.join("notes.txt").exists());
    assert_eq!(fixture.records.status().len(), 1);
    assert_eq!(fixture.lookup(&super::service(TAX), 1), Lookup::NotImported);
    assert_eq!(fixture.column(&service, 1, &[], "year"), ["2020"]);
    fixture.import(&service, HEADER).unwrap();
    assert_eq!(fixture.column(&service, 1, &[], "year").len(), 0);
}

#[test]
fn damage_keeps_one_service_from_answering_and_says_so() {
    for damage in [
        "manifest",
        "manifest-gone",
        "manifest-other",
        "store-gone",
        "store-conf",
        "store-emptied",
        "current",
        "generation-gone",
    ] {
        let (fixture, service) = imported();
        let folder = fixture.folder.path().join("records/property-ownership.1");
        let Fixture { records, folder: keep } = fixture;
        drop(records);
        let generation = folder.join("00000001");
        let manifest = generation.join("manifest.json");
        match damage {
            "manifest" => fs::write(&manifest, "{").unwrap(),
            "manifest-gone" => fs::remove_file(&manifest).unwrap(),
            "manifest-other" => {
                let text = fs::read_to_string(&manifest).unwrap().replace("\"layout\": 1", "\"layout\": 2");
                fs::write(&manifest, text).unwrap();
            }
            "store-gone" => fs::remove_dir_all(generation.join("store")).unwrap(),
            "store-conf" => {
                // sled releases its files a moment after the store is dropped.
                let conf = generation.join("store/conf");
                let mut bytes = fs::read(&conf).unwrap();
                bytes[0] ^= 0xff;
                fs::write(&conf, bytes).unwrap();
            }
            "store-emptied" => {
                fs::remove_dir_all(generation.join("store")).unwrap();
                drop(host::store::Store::open(&generation.join("store"), 1 << 20).unwrap());
            }
            "current" => fs::write(folder.join("current"), "../elsewhere").unwrap(),
            _ => fs::remove_dir_all(&generation).unwrap(),
        }
        let records = Records::open(keep.path()).unwrap();
        let fixture = Fixture { records, folder: keep };
        let Lookup::Failed(why) = fixture.lookup(&service, 1) else { panic!("{damage}") };
        assert!(why.contains("import") || why.contains("damaged"), "{damage}: {why}");
        let status = fixture.records.status();
        assert_eq!(status[0].fault.as_ref(), Some(&why), "{damage}");
        // Importing again is the way out.
        let report = fixture.import(&service, &format!("{HEADER}{},true,890101,2021\n", number(1))).unwrap();
        assert_eq!(report.replaced_rows, None);
        assert_eq!(fixture.column(&service, 1, &[], "year"), ["2021"], "{damage}");
        assert_eq!(fixture.reopen().records.status()[0].fault, None, "{damage}");
    }
}

#[test]
fn a_second_process_is_told() {
    let (fixture, _) = imported();
    let error = Records::open(fixture.folder.path()).unwrap_err();
    assert!(matches!(error, RecordsError::Locked(_)), "{error}");
}
