//! No personal data in the registry, in logs or in what a node says of itself: the whole town works, with good questions
//! and with bad ones, and then every file that may hold none is searched for every resident's number and name.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use town::{
    demo::{
        guide::{CaseHead, Guide},
        handling,
    },
    harness::{self, Town, eventually},
    population::{DEMO_REFERENCE_DATE, DEMO_SEED, Population, Register},
    services::DEPARTMENTS,
};

use crate::support::{
    ITEM,
    cases::MARRIAGE_ALONE,
    exit, marital_status,
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
        plan = plan.granting(&service, "housing", scope.with_notices());
    }
    let town = plan.start().await.unwrap();

    everything_once(&town, dir.path(), &population).await;
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
    for department in TAKE_PART {
        for command in SAYS {
            let told = town.cli(department, &[command, &["--json"]].concat()).await.unwrap();
            assert!(!told.stdout.is_empty(), "{department} {command:?}: {}", said(&told));
            let name = format!("{department}-{}.told", command[0]);
            fs::write(dir.path().join("town").join(name), &told.stdout).unwrap();
        }
    }
    let registry = town.registry().dir().to_owned();
    town.stop().await.unwrap();

    let mut files = Vec::new();
    files_under(&registry, &mut files);
    for department in &DEPARTMENTS {
        let folder = dir.path().join("town").join(department.id);
        if TAKE_PART.contains(&department.id) {
            // All of it but the department's own records: jobs, cases, corrections, subscriptions, budgets, indexes too.
            let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
            for entry in names.filter(|entry| entry.file_name() != "records") {
                match entry.file_type().unwrap() {
                    kind if kind.is_dir() => files_under(&entry.path(), &mut files),
                    kind if kind.is_file() => files.push(entry.path()),
                    _ => {}
                }
            }
            continue;
        }
        files.push(folder.join(harness::LOG));
        // The evidence is encrypted: its files are searched as well.
        files_under(&folder.join("journal"), &mut files);
        files_under(&folder.join("directory"), &mut files);
    }
    for department in TAKE_PART {
        let told = SAYS.map(|command| dir.path().join("town").join(format!("{department}-{}.told", command[0])));
        files.extend(told);
    }
    for part in ["bulk", "duties", "budget", "journal"] {
        let is_there = files.iter().any(|file| file.components().any(|name| name.as_os_str() == part));
        assert!(is_there, "nothing of {part} was searched");
    }
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

/// Those whose nodes do everything: their whole folders are searched.
const TAKE_PART: [&str; 2] = ["housing", "civil-affairs"];

/// What a node says of itself.
const SAYS: [&[&str]; 4] = [&["status"], &["doctor"], &["events", "list"], &["batch", "list"]];

/// Runs a command that ends as one about a person may, and reads its JSON.
async fn told(town: &Town, department: &str, arguments: &[&str], input: &str) -> Value {
    let output = town.cli_with_input(department, &[arguments, &["--json"]].concat(), input).await.unwrap();
    assert!([0, 4, 6].contains(&exit(&output)), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said(&output)))
}

/// One of each: many questions in a file, a case, a question that goes on and what it tells, an answer that is doubted and
/// taken back.
async fn everything_once(town: &Town, dir: &Path, population: &Population) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let service = "civil-affairs/marriage-registration";
    let register = fs::read_to_string(dir.join("records").join(Register::MarriageRegistration.file_name())).unwrap();
    let number_of = |row: &str| row.split(',').next().unwrap_or_default().to_owned();
    let rows_of = |number: &str| register.lines().filter(|row| row.starts_with(number)).count();
    let is_married = |row: &&str| row.contains(",married,") && rows_of(&number_of(row)) == 1;
    let row = register.lines().find(is_married).unwrap();
    let number = number_of(row);
    let number = number.as_str();
    let resident = population.residents().iter().find(|resident| resident.number.as_str() == number).unwrap();
    let file = |name: &str, text: String| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };

    let rows: String = population.residents()[..40]
        .iter()
        .enumerate()
        .map(|(index, one)| format!("P-{index},{},{}\n", one.name, one.number.as_str()))
        .collect();
    let people = file("people.csv", format!("case,name,number\n{rows}"));
    let map = file(
        "map.toml",
        format!(
            "service = \"{service}\"\nitem = \"{ITEM}\"\nofficer = \"1024\"\ncase_column = \"case\"\n\
             subject_column = \"number\"\nclaims = [\"marital_status=single\"]\n"
        ),
    );
    let results = dir.join("results.csv");
    let batch = ["batch", "verify", &people, "--map", &map, "-o", results.to_str().unwrap()];
    assert_eq!(told(town, "housing", &batch, "").await["job"]["done"], 40);

    let item = file("item.yaml", MARRIAGE_ALONE.to_owned());
    told(town, "housing", &["item", "publish", &item], "").await;
    town.settled().await.unwrap();
    let application = file(
        "application.yaml",
        format!(
            "case: P-1\nitem: {ITEM}\nofficer: \"1024\"\npeople:\n  - {{role: applicant, resident_id: \"{number}\", name: {}, \
             marital_status: married}}\n",
            resident.name
        ),
    );
    told(town, "housing", &["case", "open", &application], "").await;

    let claim = ["--claim", "marital_status=married", "--item", ITEM, "--case", "P-2", "--officer", "1024"];
    let subscribe = [&["subscriptions", "add", service][..], &claim].concat();
    assert_eq!(told(town, "housing", &subscribe, &format!("{number}\n")).await["standing"], 1);

    let office = town.office("housing").await.unwrap();
    let answer = office.verify(marital_status(number, "married")).await.unwrap();
    let doubt = ["corrections", "open", &answer.receipt, "--reason", "PAPER_SAYS_OTHERWISE", "--officer", "1024"];
    let id = told(town, "housing", &doubt, "").await["id"].as_str().unwrap().to_owned();
    let received = eventually(PATIENCE, async || {
        let inbox = told(town, "civil-affairs", &["corrections", "inbox", "--all"], "").await;
        inbox["corrections"].as_array().unwrap().iter().any(|one| one["id"] == id.as_str())
    });
    assert!(received.await, "the provider has the correction");
    let header = register.lines().next().unwrap();
    let mended = file("mended.csv", format!("{header}\n{}\n", row.replace(",married,", ",divorced,")));
    told(town, "civil-affairs", &["records", "apply", "marriage-registration", &mended, "--upsert"], "").await;
    let wrong = ["corrections", "decide", &id, "--record-was-wrong", "ENTRY_MENDED", "--officer", "2001"];
    told(town, "civil-affairs", &wrong, "").await;
    let concluded = eventually(PATIENCE, async || {
        told(town, "housing", &["corrections", "show", &id], "").await["state"] == "record_was_wrong"
    });
    assert!(concluded.await, "the answer is taken back");
    let noticed = eventually(PATIENCE, async || {
        let listed = told(town, "housing", &["notices", "list"], "").await;
        listed["notices"].as_array().is_some_and(|notices| !notices.is_empty())
    });
    assert!(noticed.await, "the change is told");
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
