//! Jobs of many questions are kept as evidence is: nothing of them lies in the clear, a backup has them, and one that was under
//! way goes on after a restore and asks nothing twice; batches that a lost log held come back from the other side, on both
//! sides. Out of scope: what a batch is answered (`bulk`), and the history of single questions (`node_history`).

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use town::harness::eventually;

use crate::{
    bulk::{STATUS, arguments, files, people, received, town},
    node_history::{backup, close, goes_on, lose_and_restore, status, uses},
    support::{MARRIED, Place, SINGLE, WIDOWED, exit, said},
};

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which of these texts stand in a file under the folder, and how many files there are.
fn in_the_clear(folder: &Path, needles: &[&str]) -> (usize, Vec<String>) {
    let (mut count, mut found) = (0, Vec::new());
    for job in fs::read_dir(folder).unwrap() {
        for file in fs::read_dir(job.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            count += 1;
            let shows = |needle: &&&str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            found.extend(needles.iter().filter(shows).map(|needle| format!("{}: {needle}", path.display())));
        }
    }
    (count, found)
}

/// The jobs of housing that have this many rows.
async fn job_of(place: &Place, rows: u64) -> Value {
    let listed = place.json_of("housing", &["batch", "list"]).await;
    let jobs = listed["jobs"].as_array().cloned().unwrap_or_default();
    jobs.into_iter().find(|job| job["rows"] == rows).unwrap_or_default()
}

/// Fetches from the other side what a department lost; questions, answers, and what is invalid.
async fn reconciled(place: &Place, department: &str) -> Value {
    let reconciled = place.json(department, &["evidence", "reconcile", "--all"]).await;
    let of = &reconciled["departments"][0];
    assert_eq!((&of["invalid"], &of["unreachable"]), (&0.into(), &"".into()), "{reconciled}");
    serde_json::json!([of["questions"], of["answers"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_lies_sealed_is_in_the_backup_goes_on_after_the_restore_and_lost_batches_come_back_on_both_sides() {
    let place = town(3).await;
    let (housing, civil_affairs) = (place.town.node("housing"), place.town.node("civil-affairs"));
    let results = place.dir().join("results.csv");
    let rows = [(&MARRIED, "married"), (&WIDOWED, "married"), (&SINGLE, "single")];
    let rows = rows.map(|(number, stated)| (String::clone(number), stated.to_owned()));
    let (file, map) = files(place.dir(), &rows, STATUS);
    let first = place.json("housing", &arguments(&file, &map, &results)).await;
    let needles =
        [MARRIED.as_str(), WIDOWED.as_str(), SINGLE.as_str(), "GZF-2026-0000", "resident_id", "marital_status"];
    let (count, found) = in_the_clear(&housing.dir().join("bulk"), &needles);
    assert!(count >= 4 && found.is_empty(), "{count} files: {found:?}");

    // A job of two batches waits for the other side while the backup is made. Then it is done, and another one too.
    civil_affairs.stop().await.unwrap();
    let (file, map) = files(place.dir(), &people(4), STATUS);
    let second = arguments(&file, &map, &results);
    let meanwhile = async {
        let waits = eventually(PATIENCE, async || {
            job_of(&place, 4).await["waiting_for"] == "unreachable" && place.evidence_size("housing").await == 4
        });
        assert!(waits.await, "{}", job_of(&place, 4).await);
        let made = backup(&place, "housing", "housing.backup").await;
        civil_affairs.start().await.unwrap();
        made
    };
    let (told, made) = tokio::join!(place.json("housing", &second), meanwhile);
    assert_eq!(told["job"]["matched"], 4, "{told}");
    let other = place.dir().join("other");
    fs::create_dir(&other).unwrap();
    let (lost, lost_map) = files(&other, &people(6)[4..], STATUS);
    place.json("housing", &arguments(&lost, &lost_map, &results)).await;
    place.json("housing", &["evidence", "anchors", "now"]).await;
    lose_and_restore(&place, "housing", &made).await;
    let (count, found) = in_the_clear(&housing.dir().join("bulk"), &needles);
    assert!(count >= 7 && found.is_empty(), "{count} files: {found:?}");
    housing.start().await.unwrap();
    assert_ne!(status(&place, "housing").await["evidence_held"], "", "entries are missing");
    assert_eq!(job_of(&place, 4).await["done"], 0, "nothing counts while the log signs nothing");
    close(&place, "housing").await;
    goes_on(&place, "housing").await;

    // The job goes on with the very bytes of then, and gets the very answers; the one that had ended is there as it was.
    let done = eventually(PATIENCE, async || job_of(&place, 4).await["done"] == 4);
    assert!(done.await, "{}", job_of(&place, 4).await);
    let (file, map) = files(place.dir(), &rows, STATUS);
    let again = place.json("housing", &arguments(&file, &map, &results)).await;
    assert_eq!(again["job"], first["job"], "not asked again");
    assert_eq!(place.json_of("housing", &["batch", "list"]).await["jobs"].as_array().map(Vec::len), Some(2));

    // Of the job that is not in the backup the batch comes back, from the other side and as such.
    assert_eq!(reconciled(&place, "housing").await, serde_json::json!([1, 1]));
    goes_on(&place, "housing").await;
    let listed = place.json("housing", &["evidence", "list", "--recovered"]).await;
    let recovered = &listed["recovered"][0];
    assert_eq!((&recovered["questions"], &recovered["asked_by_us"]), (&2.into(), &true.into()), "{listed}");
    let receipt = recovered["receipt"].as_str().unwrap();
    let shown = place.json("housing", &["evidence", "show", &format!("{receipt}/1")]).await;
    assert_eq!((&shown["from_the_other_side"], &shown["outcome"]), (&true.into(), &"match".into()), "{shown}");

    // The provider loses a batch: its partner holds the root that it signed, and gives all of it back.
    let made = backup(&place, "civil-affairs", "civil-affairs.backup").await;
    let before = uses(&place, "civil-affairs").await.as_u64().unwrap();
    let (file, map) = files(place.dir(), &people(9)[6..], STATUS);
    place.json("housing", &arguments(&file, &map, &results)).await;
    lose_and_restore(&place, "civil-affairs", &made).await;
    civil_affairs.start().await.unwrap();
    let held = status(&place, "civil-affairs").await["evidence_held"].as_str().unwrap().to_owned();
    assert!(held.contains("housing/1 holds a message"), "{held}");
    close(&place, "civil-affairs").await;
    assert_eq!(reconciled(&place, "civil-affairs").await, serde_json::json!([1, 1]));
    goes_on(&place, "civil-affairs").await;
    assert_eq!(uses(&place, "civil-affairs").await, before + 3);
    // What was asked by a job that is lost can be asked anew.
    let told = place.cli("housing", &arguments(&lost, &lost_map, &results)).await;
    assert_eq!(exit(&told), 0, "{}", said(&told));
    let (_, asked) = received(&place, "civil-affairs").await;
    let of_second: Vec<_> = people(4).into_iter().map(|(number, _)| asked[&number]).collect();
    assert_eq!(of_second, [1; 4], "nothing of the job that went on was asked twice");
}
