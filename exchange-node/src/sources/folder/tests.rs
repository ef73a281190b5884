//! Folders: what is whole is taken once, and what is bad changes nothing.

use tempfile::TempDir;

use super::*;
use crate::records::{
    Lookup,
    tests::{
        IMPORTED_MS, PROPERTY, number, resident, service,
        sheets::{numeric, row, text, workbook},
    },
};

const HEADER: &str = "resident_id,has_property,region,year\n";

struct Place {
    dir: TempDir,
    records: Records,
    watched: WatchedFolder,
    service: Service,
    now_ms: u64,
}

impl Place {
    fn new(ask: FolderAsk) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("exports")).unwrap();
        let records = Records::open(dir.path()).unwrap();
        let watched = Self::watched(&dir, ask, false);
        Self { dir, records, watched, service: service(PROPERTY), now_ms: IMPORTED_MS }
    }

    fn watched(dir: &TempDir, ask: FolderAsk, moves: bool) -> WatchedFolder {
        let settings = FolderSettings {
            path: "exports".into(),
            every: Duration::from_secs(10),
            settle: Duration::from_secs(30),
            moves,
        };
        WatchedFolder::new("property-ownership".parse().unwrap(), None, settings, ask, dir.path())
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        self.put_at(name, content, self.now_ms);
    }

    /// A file that was changed at that time.
    fn put_at(&self, name: &str, content: impl AsRef<[u8]>, changed_ms: u64) {
        let path = self.dir.path().join("exports").join(name);
        std::fs::write(&path, content).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(changed_ms)).unwrap();
    }

    /// Begins again, as a node that was stopped and started.
    fn start_again(&mut self, ask: FolderAsk) {
        self.watched = Self::watched(&self.dir, ask, false);
    }

    fn memory_file(&self) -> PathBuf {
        self.dir.path().join("records/property-ownership.folder.json")
    }

    fn imported_ms(&self) -> u64 {
        self.records.status()[0].imported_ms
    }

    /// Looks now, and again when what is there has settled.
    fn settle(&mut self) -> Result<(), String> {
        self.look()?;
        self.now_ms += 30_000;
        self.look()
    }

    fn look(&self) -> Result<(), String> {
        self.watched.take_all(&self.service, &self.records, self.now_ms)
    }

    fn regions(&self, index: u32) -> Vec<String> {
        match self.records.lookup(&self.service, &resident(index), &[]) {
            Lookup::Rows { rows, .. } => rows.iter().map(|row| row.value("region").unwrap().to_text()).collect(),
            Lookup::NotImported => vec!["not imported".to_owned()],
            other => panic!("{other:?}"),
        }
    }

    fn last(&self) -> Handled {
        self.watched.status().last.unwrap()
    }
}

fn csv(index: u32, region: &str) -> String {
    format!("{HEADER}{},true,{region},2020\n", number(index))
}

#[test]
fn an_export_is_taken_once_it_has_settled_and_once_only() {
    let mut place = Place::new(FolderAsk::default());
    place.put("a.csv", csv(1, "890101"));
    place.look().unwrap();
    assert_eq!(place.regions(1), ["not imported"], "it may still be written");
    place.now_ms += 20_000;
    place.put("a.csv", csv(1, "890102") + "\n");
    place.look().unwrap();
    place.now_ms += 20_000;
    place.look().unwrap();
    assert_eq!(place.regions(1), ["not imported"], "it changed twenty seconds ago");
    place.now_ms += 10_000;
    place.look().unwrap();
    assert_eq!(place.regions(1), ["890102"]);
    let generation = place.records.status()[0].imported_ms;
    place.settle().unwrap();
    // A node that starts again remembers.
    place.watched = Place::watched(&place.dir, FolderAsk::default(), false);
    place.settle().unwrap();
    // The same content written anew is the same export.
    place.put("a.csv", csv(1, "890102") + "\n");
    place.settle().unwrap();
    assert_eq!(place.records.status()[0].imported_ms, generation);
    place.put("a.csv", csv(1, "890103"));
    place.settle().unwrap();
    assert_eq!(place.regions(1), ["890103"]);
}

#[test]
fn what_is_still_written_under_another_name_is_not_looked_at() {
    let mut place = Place::new(FolderAsk { prefix: "houses".to_owned(), changes: None, mapping: Mapping::default() });
    for name in ["houses.csv.tmp", ".houses.csv", "~$houses.xlsx", "cars.csv", "houses.txt", "houses"] {
        place.put(name, "not an export");
    }
    std::fs::create_dir(place.dir.path().join("exports/houses.csv")).unwrap();
    place.settle().unwrap();
    assert_eq!(place.watched.status().last, None);
}

#[test]
fn a_bad_file_changes_nothing_and_says_what_is_wrong() {
    let mut place = Place::new(FolderAsk::default());
    place.put("a.csv", csv(1, "890101"));
    place.settle().unwrap();
    let spoilt = [
        row(
            1,
            &["resident_id", "has_property", "region", "year"]
                .iter()
                .zip(["A1", "B1", "C1", "D1"])
                .map(|(name, at)| text(at, name))
                .collect::<Vec<_>>(),
        ),
        row(
            2,
            &[numeric("A2", "8.9010119900307E+17"), text("B2", "true"), text("C2", "890101"), numeric("D2", "2020")],
        ),
    ]
    .concat();
    let (gb, _, _) = encoding_rs::GB18030.encode("resident_id,has_property,region,year\n张三");
    for (name, content, expected) in [
        ("b.csv", csv(1, "890102").into_bytes().repeat(2), "bad rows"),
        ("c.xlsx", workbook(&spoilt), "bad rows: 1"),
        ("d.csv", [&gb[..], b"\xff\xff"].concat(), "line 2: the file is in neither UTF-8 nor GB18030"),
        ("e.xlsx", b"PK no workbook".to_vec(), "line 1: is no .xlsx workbook"),
    ] {
        place.put(name, content);
        place.settle().unwrap();
        let last = place.last();
        assert_eq!((last.name.as_str(), last.outcome), (name, Outcome::Refused));
        assert!(last.problems[0].contains(expected), "{:?}", last.problems);
        let told = last.problems.join("\n");
        assert!(!told.contains(&number(1)) && !told.contains("8.9010"), "a value is repeated: {told}");
        assert_eq!(place.regions(1), ["890101"], "the records from before answer");
    }
    let told = std::fs::read_to_string(place.dir.path().join("records/property-ownership.folder.json")).unwrap();
    assert!(told.contains("resident_id (cell A2): a spreadsheet turned the number"), "{told}");
    assert!(!told.contains(&number(1)));
}

#[test]
fn chinese_text_comes_in_gb18030_too() {
    let mut place = Place::new(FolderAsk::default());
    let text = format!("{HEADER}{},true,宁和县,2020\n", number(1));
    let (gb, _, had_errors) = encoding_rs::GB18030.encode(&text);
    assert!(!had_errors && std::str::from_utf8(&gb).is_err());
    place.put("a.csv", gb);
    place.settle().unwrap();
    assert_eq!(place.regions(1), ["宁和县"]);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_left_for_the_next_look() {
    let place = Place::new(FolderAsk::default());
    place.put("a.csv", csv(1, "890101"));
    let file = pick::files(&place.watched.folder, "").unwrap().remove(0);
    place.put("a.csv", csv(1, "890101") + &csv(2, "890101")[HEADER.len()..]);
    let error = place.watched.take(&file, &place.service, &place.records, place.now_ms).unwrap_err();
    assert!(error.to_string().contains("changed while it was read"), "{error}");
    assert_eq!((place.regions(1), place.watched.status().last), (vec!["not imported".to_owned()], None));
}

#[test]
fn changes_are_applied_in_their_order_and_wait_behind_a_bad_one() {
    let changes = Changes {
        operation: ChangeOperation::Column("operation".to_owned()),
        key: vec!["region".to_owned()],
        is_complete: true,
    };
    let mut place =
        Place::new(FolderAsk { prefix: String::new(), changes: Some(changes), mapping: Mapping::default() });
    place
        .records
        .import(&place.service, Format::Csv, false, csv(1, "890101").as_bytes(), &|_| {}, place.now_ms)
        .unwrap();
    let change =
        |operation: &str, region: &str| format!("operation,{HEADER}{operation},{},true,{region},2020\n", number(1));
    place.put("1.csv", change("upsert", "890102"));
    place.settle().unwrap();
    assert_eq!(place.regions(1), ["890101", "890102"]);
    place.put("2.csv", change("perhaps", "890103"));
    place.settle().unwrap_err();
    place.put_at("3.csv", change("delete", "890101"), place.now_ms + 3_600_000);
    let waits = place.settle().unwrap_err();
    assert!(waits.contains("2.csv was refused"), "{waits}");
    assert_eq!(place.regions(1), ["890101", "890102"]);
    place.put("2.csv", change("upsert", "890103"));
    place.settle().unwrap();
    assert_eq!(place.regions(1), ["890102", "890103"]);
}

fn changes() -> FolderAsk {
    let changes = Changes { operation: ChangeOperation::Upsert, key: vec!["region".to_owned()], is_complete: true };
    FolderAsk { prefix: String::new(), changes: Some(changes), mapping: Mapping::default() }
}

#[test]
fn of_whole_exports_the_newest_counts_and_an_old_one_never_comes_back() {
    let mut place = Place::new(FolderAsk::default());
    // Thirty nights of exports wait at the first start.
    for night in 1..=30 {
        place.put_at(&format!("{night:02}.csv"), csv(1, &format!("8901{night:02}")), place.now_ms - 100_000 + night);
    }
    place.settle().unwrap();
    assert_eq!((place.regions(1), place.last().name.as_str()), (vec!["890130".to_owned()], "30.csv"));
    let imported_ms = place.imported_ms();
    // More files come and are taken than are remembered of those that are gone; the folder keeps them all.
    for night in 31..=132 {
        place.put_at(&format!("{night}.csv"), csv(1, "890101"), place.now_ms - 100_000 + night);
        let file = pick::files(&place.watched.folder, "").unwrap().pop().unwrap();
        let digest = digest_of(&file.path).unwrap();
        place.watched.memory().remember(Handled::of(&file, digest, place.now_ms)).unwrap();
    }
    for _ in 0..3 {
        place.settle().unwrap();
        assert_eq!((place.imported_ms(), place.regions(1)), (imported_ms, vec!["890130".to_owned()]));
    }
    // One that comes late with an earlier time is how things stood earlier.
    place.put_at("late.csv", csv(1, "890199"), place.now_ms - 400_000);
    place.settle().unwrap();
    assert_eq!((place.imported_ms(), place.regions(1)), (imported_ms, vec!["890130".to_owned()]));
    place.put("next.csv", csv(1, "890188"));
    place.settle().unwrap();
    assert_eq!(place.regions(1), ["890188"]);
    // What was taken is not known any more: the newest is taken again, and no other meanwhile.
    for damage in ["[", ""] {
        std::fs::write(place.memory_file(), damage).unwrap();
        place.start_again(FolderAsk::default());
        for _ in 0..3 {
            place.settle().unwrap();
            assert_eq!((place.regions(1), place.last().name.as_str()), (vec!["890188".to_owned()], "next.csv"));
        }
    }
}

#[test]
fn where_the_newest_export_is_bad_the_newest_good_one_counts() {
    let mut place = Place::new(FolderAsk::default());
    for (name, content, before_ms) in
        [("1.csv", csv(1, "890101"), 30), ("2.csv", csv(1, "890102"), 20), ("3.csv", csv(1, "890103").repeat(2), 10)]
    {
        place.put_at(name, content, place.now_ms - before_ms);
    }
    for _ in 0..2 {
        place.settle().unwrap();
        assert_eq!((place.regions(1), place.last().name.as_str()), (vec!["890102".to_owned()], "2.csv"));
    }
}

#[test]
fn an_export_from_the_future_is_trouble_and_hides_no_other_for_ever() {
    let mut place = Place::new(FolderAsk::default());
    place.put_at("9999.csv", csv(1, "890109"), place.now_ms + 365 * 86_400_000);
    let trouble = place.settle().unwrap_err();
    assert!(trouble.contains("9999.csv") && trouble.contains("in the future"), "{trouble}");
    assert_eq!(place.regions(1), ["not imported"]);
    std::fs::remove_file(place.watched.folder.join("9999.csv")).unwrap();
    place.put("a.csv", csv(1, "890101"));
    place.settle().unwrap();
    assert_eq!(place.regions(1), ["890101"]);
}

#[test]
fn changes_are_applied_once_however_many_there_are() {
    let mut place = Place::new(changes());
    let (service, now_ms) = (place.service.clone(), place.now_ms);
    place.records.import(&service, Format::Csv, false, csv(1, "890101").as_bytes(), &|_| {}, now_ms).unwrap();
    for night in 1..=102 {
        place.put_at(&format!("{night:03}.csv"), csv(1, &format!("89{night:04}")), now_ms - 100_000 + night);
        let file = pick::files(&place.watched.folder, "").unwrap().pop().unwrap();
        let digest = digest_of(&file.path).unwrap();
        place.watched.memory().remember(Handled::of(&file, digest, now_ms)).unwrap();
    }
    for _ in 0..2 {
        place.settle().unwrap();
        place.start_again(changes());
        assert_eq!(place.regions(1), ["890101"], "what was applied is applied again");
    }
    // What is gone from the folder is forgotten in the end, and is not applied again where it comes back.
    for night in 1..=102 {
        std::fs::remove_file(place.watched.folder.join(format!("{night:03}.csv"))).unwrap();
    }
    place.settle().unwrap();
    place.put_at("001.csv", csv(1, "890001"), now_ms - 100_000 + 1);
    let trouble = place.settle().unwrap_err();
    assert!(trouble.contains("001.csv is older than 102.csv"), "{trouble}");
    assert_eq!(place.regions(1), ["890101"]);
    std::fs::remove_file(place.watched.folder.join("001.csv")).unwrap();
    place.put("103.csv", csv(1, "890103"));
    place.settle().unwrap();
    assert_eq!(place.regions(1), ["890101", "890103"]);
    // Where nobody knows what was applied, nothing is applied by guess.
    std::fs::write(place.memory_file(), "[").unwrap();
    place.start_again(changes());
    place.put("104.csv", csv(1, "890104"));
    let trouble = place.settle().unwrap_err();
    assert!(trouble.contains("which changes were applied is not known"), "{trouble}");
    assert_eq!(place.regions(1), ["890101", "890103"]);
}

#[test]
fn a_file_that_was_taken_is_moved_where_that_is_wanted() {
    let mut place = Place::new(FolderAsk::default());
    place.watched = Place::watched(&place.dir, FolderAsk::default(), true);
    place.put("a.csv", csv(1, "890101"));
    place.settle().unwrap();
    assert_eq!(place.regions(1), ["890101"]);
    assert!(!place.dir.path().join("exports/a.csv").exists());
    assert_eq!(std::fs::read_dir(place.dir.path().join("exports/done")).unwrap().count(), 1);
}

#[test]
fn a_folder_that_is_not_there_is_trouble() {
    let mut place = Place::new(FolderAsk::default());
    std::fs::remove_dir_all(place.dir.path().join("exports")).unwrap();
    let trouble = place.settle().unwrap_err();
    assert!(trouble.contains("cannot be read"), "{trouble}");
}
