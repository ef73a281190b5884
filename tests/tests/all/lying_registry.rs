//! A registry that lies, with its real keys: each lie is refused, kept as files that others can check, and shown; the last
//! good view stays in use, and an honest registry is believed again by itself.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proto::office::v1::State;
use serde_json::Value;
use town::harness::eventually;

use crate::{
    interop::open_note,
    support::{
        MARRIED, Place, exit, marital_status,
        peer::{directory_entries, now_ms},
        said,
        stand_in::{Saying, StandIn, StolenKeys, follow, root_of},
    },
};

const LIMIT: Duration = Duration::from_secs(60);

/// A department alone with the registry, which is about to lie to it.
struct Victim {
    place: Place,
    keys: Arc<StolenKeys>,
    entries: Vec<Vec<u8>>,
    before: Value,
}

impl Victim {
    async fn new() -> Self {
        let place = Place::start(|plan, _| plan.department("housing")).await;
        let keys = Arc::new(StolenKeys::of(&place.town));
        let entries = directory_entries(&place.town).await;
        let before = place.json("housing", &["directory", "show"]).await;
        assert_eq!(before["size"], entries.len(), "{before}");
        assert_eq!(before["state"], "fresh", "{before}");
        Self { place, keys, entries, before }
    }

    fn honest(&self) -> Saying {
        let (keys, entries) = (Arc::clone(&self.keys), self.entries.clone());
        let (size, root) = (entries.len() as u64, root_of(&entries));
        Saying {
            entries,
            skips: 0,
            checkpoint: Arc::new(move || keys.sign(size, root, now_ms())),
            cosigned: false,
            witnessed: Vec::new(),
        }
    }

    /// The registry lies until the node has noticed; what it noticed, with the folder of the evidence.
    async fn lied_to(&self, kind: &str, lie: impl FnOnce(&mut Saying)) -> (Value, PathBuf) {
        self.place.town.registry().stop().await.unwrap();
        let mut saying = self.honest();
        lie(&mut saying);
        let liar = StandIn::stand_at(&self.place.town.registry().address(), &self.keys, saying).await;
        assert!(eventually(LIMIT, async || !self.found(kind).await.is_empty()).await, "{kind} is not found");
        let found = self.found(kind).await.remove(0);

        // The last good view stays in use, and doctor says what to do.
        let shown = self.place.json("housing", &["directory", "show"]).await;
        assert_eq!((&shown["size"], &shown["root"]), (&self.before["size"], &self.before["root"]), "{shown}");
        assert_eq!(shown["state"], "fresh", "{shown}");
        let doctor = self.place.cli("housing", &["doctor"]).await;
        assert_ne!(exit(&doctor), 0);
        assert!(said(&doctor).contains(&format!("directory {kind}")), "{}", said(&doctor));
        assert!(said(&doctor).contains("directory settle"), "{}", said(&doctor));
        liar.leave().await;

        let folder = PathBuf::from(found["folder"].as_str().unwrap());
        assert!(folder.join("finding.json").is_file(), "{found}");
        // An honest registry is believed again, without anybody's help.
        self.place.town.registry().start().await.unwrap();
        let renewed = eventually(LIMIT, async || {
            let shown = self.place.json("housing", &["directory", "show"]).await;
            shown["registry_reachable"] == true && shown["vouched_ms"].as_u64() > self.before["vouched_ms"].as_u64()
        });
        assert!(renewed.await, "the honest registry is followed again");
        (found, folder)
    }

    async fn found(&self, kind: &str) -> Vec<Value> {
        findings(&self.place, "housing", kind).await
    }
}

async fn findings(place: &Place, department: &str, kind: &str) -> Vec<Value> {
    let listed = place.json(department, &["directory", "findings"]).await;
    let findings = listed["findings"].as_array().unwrap_or_else(|| panic!("{listed}"));
    findings.iter().filter(|finding| finding["kind"] == kind).cloned().collect()
}

fn text(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{}: {file}: {error}", folder.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_refused_and_kept() {
    let victim = Victim::new().await;
    let (keys, entries) = (Arc::clone(&victim.keys), victim.entries[..victim.entries.len() - 1].to_vec());
    let (found, folder) = victim
        .lied_to("rollback", |saying| {
            let (size, root) = (entries.len() as u64, root_of(&entries));
            saying.entries = entries.clone();
            saying.checkpoint = Arc::new(move || keys.sign(size, root, now_ms() + 1000));
        })
        .await;
    assert!(found["what"].as_str().unwrap().contains("went back"), "{found}");
    // Both checkpoints, each signed by the log: the later one has fewer statements. A program that nobody here wrote says so.
    let vkey = text(&folder, "log.vkey");
    assert_eq!(vkey.trim(), victim.keys.vkey());
    let told = open_note(&text(&folder, "told.checkpoint"), vkey.trim()).expect("the log signed it");
    let here = open_note(&text(&folder, "here.checkpoint"), vkey.trim()).expect("the log signed it");
    assert!(told.size() < here.size());

    // Settled: doctor is content, the evidence stays.
    let id = found["id"].as_str().unwrap();
    let settled = victim.place.json("housing", &["directory", "settle", id, "--note", "letter 12 of 2026"]).await;
    assert_eq!(settled["settled"], "letter 12 of 2026");
    let doctor = victim.place.cli("housing", &["doctor"]).await;
    assert_eq!(exit(&doctor), 0, "{}", said(&doctor));
    assert!(folder.join("told.checkpoint").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_refused_and_kept() {
    let victim = Victim::new().await;
    let keys = Arc::clone(&victim.keys);
    let (_, folder) = victim
        .lied_to("fork", |saying| {
            // The last statement is another one, which the authority's key signed as well.
            *saying.entries.last_mut().unwrap() = keys.admission("taxation");
            let (size, root) = (saying.entries.len() as u64, root_of(&saying.entries));
            saying.checkpoint = Arc::new(move || keys.sign(size, root, now_ms()));
        })
        .await;
    let vkey = text(&folder, "log.vkey");
    let told = open_note(&text(&folder, "told.checkpoint"), vkey.trim()).expect("the log signed it");
    let here = open_note(&text(&folder, "here.checkpoint"), vkey.trim()).expect("the log signed it");
    assert_eq!(told.size(), here.size());
    assert_ne!(told.hash().0, here.hash().0, "the same size, two roots: two stories");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_entry_is_refused_and_kept() {
    let victim = Victim::new().await;
    let keys = Arc::clone(&victim.keys);
    let (_, folder) = victim
        .lied_to("skipped", |saying| {
            saying.entries.push(keys.admission("taxation"));
            saying.skips = 1;
            let (size, root) = (saying.entries.len() as u64, root_of(&saying.entries));
            saying.checkpoint = Arc::new(move || keys.sign(size + 1, root, now_ms()));
        })
        .await;
    assert!(folder.join("told.checkpoint").is_file());
    // Left out without a word: the root gives it away.
    let victim = Victim::new().await;
    let keys = Arc::clone(&victim.keys);
    let (_, folder) = victim
        .lied_to("fork", |saying| {
            let mut whole = saying.entries.clone();
            whole.extend([keys.admission("taxation"), keys.admission("justice")]);
            saying.entries.extend([whole[whole.len() - 1].clone(), whole[whole.len() - 2].clone()]);
            let (size, root) = (whole.len() as u64, root_of(&whole));
            saying.checkpoint = Arc::new(move || keys.sign(size, root, now_ms()));
        })
        .await;
    let first = victim.entries.len();
    let bundle = fs::read(folder.join(format!("told-from-{first}.entries"))).expect("the entries as they came");
    let bundle = trust::log::bundle::EntryBundle::decode(&bundle, 2).expect("a C2SP entry bundle");
    let is_about = |entry: &Vec<u8>, department: &str| String::from_utf8_lossy(entry).contains(department);
    assert!(is_about(&bundle.entries()[0], "justice") && is_about(&bundle.entries()[1], "taxation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_signature_is_refused_and_kept() {
    let victim = Victim::new().await;
    let keys = Arc::clone(&victim.keys);
    let (_, folder) = victim
        .lied_to("signature", |saying| {
            let (size, root) = (saying.entries.len() as u64, root_of(&saying.entries));
            // Signed for one statement more, and then written over.
            let text = format!("\n{size}\n");
            saying.checkpoint =
                Arc::new(move || keys.sign(size + 1, root, now_ms()).replacen(&format!("\n{}\n", size + 1), &text, 1));
        })
        .await;
    let vkey = text(&folder, "log.vkey");
    assert!(open_note(&text(&folder, "told.checkpoint"), vkey.trim()).is_none());
    assert!(open_note(&text(&folder, "here.checkpoint"), vkey.trim()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_checkpoint_is_refused_and_kept() {
    let victim = Victim::new().await;
    let keys = Arc::clone(&victim.keys);
    let (found, _) = victim
        .lied_to("stale", |saying| {
            let (size, root) = (saying.entries.len() as u64, root_of(&saying.entries));
            saying.checkpoint = Arc::new(move || keys.sign(size, root, now_ms() - 3_600_000));
        })
        .await;
    assert!(found["what"].as_str().unwrap().contains("holds news back"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stories_are_found_out_when_two_nodes_speak_with_each_other() {
    let place = Place::civil_affairs_and_housing().await;
    let keys = StolenKeys::of(&place.town);
    let entries = directory_entries(&place.town).await;
    place.town.registry().stop().await.unwrap();

    // From now on each hears another story, each signed by the log's key and true in every single statement.
    let mut liars = Vec::new();
    for (department, admitted) in [("civil-affairs", "taxation"), ("housing", "justice")] {
        let mut told = entries.clone();
        told.push(keys.admission(admitted));
        let (size, root) = (told.len() as u64, root_of(&told));
        let signing = StolenKeys::of(&place.town);
        let checkpoint = Arc::new(move || signing.sign(size, root, now_ms()));
        let saying = Saying { entries: told, skips: 0, checkpoint, cosigned: false, witnessed: Vec::new() };
        let liar = StandIn::stand_at("127.0.0.1:0", &keys, saying).await;
        let node = place.town.node(department);
        node.stop().await.unwrap();
        follow(node, &liar.address());
        node.start().await.unwrap();
        liars.push(liar);
    }
    for department in ["civil-affairs", "housing"] {
        let seen = async || place.json(department, &["status"]).await["directory_size"] == entries.len() + 1;
        assert!(eventually(LIMIT, seen).await, "{department} hears its story");
    }

    let asked = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(asked.state(), State::Refused, "{asked:?}");
    assert_eq!(asked.refusal.as_ref().unwrap().code, "DIRECTORY_DIVERGES", "{asked:?}");

    // Both find out, and both hold the proof: two checkpoints that the log's key signed, of one size, with two roots.
    for department in ["civil-affairs", "housing"] {
        let proved = async || !findings(&place, department, "fork").await.is_empty();
        assert!(eventually(LIMIT, proved).await, "{department} has no proof");
        assert!(!findings(&place, department, "divergence").await.is_empty(), "{department}");
        let found = findings(&place, department, "fork").await.remove(0);
        let folder = PathBuf::from(found["folder"].as_str().unwrap());
        let vkey = text(&folder, "log.vkey");
        let told = open_note(&text(&folder, "told.checkpoint"), vkey.trim()).expect("the log signed it");
        let here = open_note(&text(&folder, "here.checkpoint"), vkey.trim()).expect("the log signed it");
        assert_eq!(told.size(), here.size(), "{department}");
        assert_ne!(told.hash().0, here.hash().0, "{department}");
        let doctor = place.cli(department, &["doctor"]).await;
        assert!(said(&doctor).contains("directory fork"), "{}", said(&doctor));
    }
    for liar in liars {
        liar.leave().await;
    }
}
