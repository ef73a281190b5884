//! No personal data in the registry, in logs or in what a node says of itself: the whole town works, with good questions
//! and with bad ones, and then every file that may hold none is searched for every resident's number and name.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use town::{
    demo::{
        guide::{CaseHead, Guide},
        handling,
    },
    harness,
    population::{DEMO_REFERENCE_DATE, DEMO_SEED, Population, Register},
    services::DEPARTMENTS,
};

use crate::support::{
    ITEM, exit,
    peer::{HandMadePeer, now_ms},
    said,
};

/// Enough for somebody in every part, and for a search of every file for every number.
const RESIDENTS: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn neither_registry_nor_logs_hold_a_number_or_a_name() {
    let dir = tempfile::Builder::new().prefix("errand-").tempdir().unwrap();
    let population = Population::generate(DEMO_SEED, RESIDENTS, DEMO_REFERENCE_DATE).unwrap();
    let records = dir.path().join("records");
    fs::create_dir(&records).unwrap();
    population.write_all(&records).unwrap();
    let guide = Guide::of(ITEM).unwrap();
    // Everything that a program could be made to log, it logs.
    let mut plan =
        harness::town(dir.path().join("town")).environment("EXCHANGE_LOG", "debug").environment("RUST_LOG", "debug");
    for department in &DEPARTMENTS {
        plan = plan.department(department.id);
        for service in department.services {
            plan = plan.service(service.yaml, records.join(format!("{}.csv", service.id)));
        }
    }
    for (service, scope) in guide.grants() {
        plan = plan.granting(&service, "housing", scope);
    }
    let town = plan.start().await.unwrap();

    let office = town.office("housing").await.unwrap();
    let cast = population.cast().unwrap();
    for (number, applicant) in cast.in_order().into_iter().enumerate() {
        if number == 3 {
            // Questions that find nobody are no reason to be talkative either.
            town.node("taxation").kill();
        }
        let head = CaseHead { number: format!("GZF-2026-{number}"), officer: "1024".into(), signed_at_ms: now_ms() };
        let case = handling::handle(&guide, &office, applicant, &head, || ()).await.unwrap();
        assert_eq!(case.facts.len(), 6);
    }
    // Bad ones: over the command line, with a wrong check character, by a peer that signs rubbish, in a bad file.
    let somebody = population.residents()[0].number.as_str();
    let wrong = if somebody.ends_with('1') { format!("{}2", &somebody[..17]) } else { format!("{}1", &somebody[..17]) };
    let service = "civil-affairs/marriage-registration";
    let ask = ["verify", service, "--claim", "marital_status=single", "--item", ITEM, "--case", "1", "--officer", "1"];
    for (input, code) in [(somebody, [0, 4].as_slice()), (&wrong, &[7])] {
        let asked = town.cli_with_input("housing", &ask, input).await.unwrap();
        assert!(code.contains(&exit(&asked)), "{}", said(&asked));
        assert!(!said(&asked).contains(&input[..17]), "the command repeats the number");
    }
    let peer = HandMadePeer::new(&town, "housing", "civil-affairs").await;
    let mut request = peer.question(somebody);
    request.service = somebody.into();
    request.claims[0].attribute = "marital_status".into();
    let _ = peer.send(peer.seal(&request)).await;
    let bad_file = dir.path().join("bad.csv");
    let columns = Register::MarriageRegistration.columns();
    let row = |number: &str, value: &str| {
        columns.iter().map(|column| if *column == "resident_id" { number } else { value }).collect::<Vec<_>>().join(",")
    };
    fs::write(&bad_file, format!("{}\n{}\n{}\n", columns.join(","), row(&wrong, ""), row(somebody, somebody))).unwrap();
    let import = ["records", "import", "marriage-registration", bad_file.to_str().unwrap()];
    let imported = town.cli("civil-affairs", &import).await.unwrap();
    assert_eq!(exit(&imported), 7, "{}", said(&imported));
    for number in [&wrong, somebody] {
        assert!(
            said(&imported).contains("bad.csv:") && !said(&imported).contains(&number[..17]),
            "{}",
            said(&imported)
        );
    }

    // What a node says of itself.
    for department in ["housing", "civil-affairs"] {
        for command in ["status", "doctor"] {
            let told = town.cli(department, &[command, "--json"]).await.unwrap();
            fs::write(dir.path().join("town").join(format!("{department}-{command}.told")), &told.stdout).unwrap();
        }
    }
    let registry = town.registry().dir().to_owned();
    town.stop().await.unwrap();

    let mut files = Vec::new();
    files_under(&registry, &mut files);
    for department in &DEPARTMENTS {
        let folder = dir.path().join("town").join(department.id);
        files.push(folder.join(harness::LOG));
        // The evidence is encrypted: its files are searched as well.
        files_under(&folder.join("journal"), &mut files);
        files_under(&folder.join("directory"), &mut files);
    }
    files.extend(
        ["housing-status", "housing-doctor", "civil-affairs-status", "civil-affairs-doctor"]
            .map(|name| dir.path().join("town").join(format!("{name}.told"))),
    );
    let people = People::of(&population, &wrong);
    let mut bytes = 0;
    for file in &files {
        let content = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        bytes += content.len();
        if let Some(found) = people.first_in(&content) {
            panic!("{} holds personal data: {found}", file.display());
        }
    }
    assert!(
        files.len() > 20 && bytes > 50_000,
        "{} files of {bytes} bytes: too few to have been searched",
        files.len()
    );
    // The search finds what is there.
    let found = people.first_in(&fs::read(records.join("marriage-registration.csv")).unwrap());
    assert!(found.is_some());
    assert!(people.first_in(&fs::read(records.join("resident-identity.csv")).unwrap()).is_some());
    println!("{} files, {bytes} bytes searched for {} numbers", files.len(), people.numbers.len());
}

/// What is looked for.
struct People {
    numbers: HashSet<Vec<u8>>,
    names: HashSet<Vec<u8>>,
}

impl People {
    fn of(population: &Population, wrong: &str) -> Self {
        let mut numbers: HashSet<Vec<u8>> = population
            .residents()
            .iter()
            // The 17 digits before the check character: a mistyped number is somebody's too.
            .map(|resident| resident.number.as_str().as_bytes()[..17].to_vec())
            .collect();
        numbers.insert(wrong.as_bytes()[..17].to_vec());
        let names = population.residents().iter().map(|resident| resident.name.as_bytes().to_vec()).collect();
        Self { numbers, names }
    }

    /// The kind and place of the first find; never the find itself, or the test's own log would hold it.
    fn first_in(&self, content: &[u8]) -> Option<String> {
        let lengths: HashSet<usize> = self.names.iter().map(Vec::len).collect();
        for at in 0..content.len() {
            if content[at].is_ascii_digit()
                && let Some(window) = content.get(at..at + 17)
                && self.numbers.contains(window)
            {
                return Some(format!("a resident number at byte {at}"));
            }
            // Names are Chinese: their first byte is never ASCII. Two characters (six bytes) can stand in encrypted
            // bytes by chance once in 2^48 places.
            if content[at] >= 0xe4 {
                for length in &lengths {
                    if content.get(at..at + length).is_some_and(|window| self.names.contains(window)) {
                        return Some(format!("a name at byte {at}"));
                    }
                }
            }
        }
        None
    }
}

fn files_under(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_under(&path, found),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}
