//! Records that come as files, on real processes: exports that land in a folder, changes that are applied as a whole, former
//! numbers, and numbers under a scheme that the authority adds. Out of scope: databases, HTTP.

use std::{fs, path::PathBuf, time::Duration};

use proto::{
    exchange::v1::{Claim, Subject, Value, Verdict, value::Kind},
    office::v1::{State, VerifyRequest},
};
use town::harness::{Scope, eventually};
use trust::refusal::Code;

use crate::support::{
    BASIS, ITEM, MARRIAGE, MARRIED, Place, SINGLE, WIDOWED, exit, housings_scope, marital_status, question, resident,
    said, verdict,
};

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(60);

const HEADER: &str = "resident_id,marital_status,registered_on\n";

const HOUSES: &str = "service: houses\nversion: \"1.0\"\nname: {zh: 房屋}\nsubject: [resident_id]\nsharing: conditional\n\
    legal_basis: [\"不动产登记暂行条例 24\"]\nupdate_cycle: daily\nattributes:\n\
    \x20 houses: {type: integer, operators: [at_most], rows: count, absence: 0}\n\
    \x20 kind: {type: string, operators: [equals], rows: any}\ncomplete: {territory: [\"890000\"], since: 2015-03-01}\n";

fn file(place: &Place, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = place.dir().join(name);
    fs::write(&path, content).expect("the file is written");
    path.to_str().expect("a plain path").to_owned()
}

async fn comes_to(place: &Place, subject: &str, status: &str, expected: Verdict) {
    let came = eventually(PATIENCE, || async {
        let answer = place.ask(marital_status(subject, status)).await;
        answer.verdicts.first().is_some_and(|claim| claim.verdict() == expected)
    });
    assert!(came.await, "{expected:?} never comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_lands_becomes_the_records_and_a_bad_one_leaves_them_answering() {
    let place = Place::start(|plan, _| {
        plan.department("civil-affairs").service_without_records(MARRIAGE).department("housing").granting(
            "civil-affairs/marriage-registration",
            "housing",
            housings_scope(),
        )
    })
    .await;
    let node = place.town.node("civil-affairs");
    let folder: PathBuf = place.dir().join("exports");
    fs::create_dir(&folder).unwrap();
    node.stop().await.unwrap();
    let sources = format!(
        "[sources.nightly]\nkind = \"folder\"\npath = \"{}\"\nevery = \"1s\"\nsettle = \"1s\"\n\n\
         [services.marriage-registration]\nsource = \"nightly\"\nfiles = \"marriage\"\n",
        folder.display()
    );
    fs::write(node.dir().join("sources.toml"), sources).unwrap();
    node.start().await.unwrap();

    let shown = place.json("civil-affairs", &["records", "show", "marriage-registration"]).await;
    assert_eq!((shown["imported"].as_bool(), shown["folder"]["last_file"].as_str()), (Some(false), Some("")));
    let unavailable = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&unavailable).verdict(), Verdict::Unavailable);
    fs::write(folder.join("marriage-1.csv"), format!("{HEADER}{},married,2018-05-20\n", *MARRIED)).unwrap();
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;

    // What a spreadsheet spoilt: refused by line and field, without the value, and nothing has changed.
    let spoilt = format!("{HEADER}{},widowed,2021-11-03\n8.90101E+17,married,2018-05-20\n", *WIDOWED);
    fs::write(folder.join("marriage-2.csv"), spoilt).unwrap();
    let refused = eventually(PATIENCE, || async {
        let shown = place.json("civil-affairs", &["records", "show", "marriage-registration"]).await;
        shown["folder"]["last_outcome"] == "refused"
    });
    assert!(refused.await, "the bad file is never refused");
    let shown = place.json("civil-affairs", &["records", "show", "marriage-registration"]).await;
    assert_eq!(shown["folder"]["last_file"], "marriage-2.csv");
    let problems = shown["folder"]["problems"].to_string();
    assert!(problems.contains("line 3: resident_id: a spreadsheet turned the number"), "{problems}");
    let matched = place.ask(marital_status(&MARRIED, "married")).await;
    assert_eq!(verdict(&matched).verdict(), Verdict::Match, "the records from before answer");
    let doctor = place.cli("civil-affairs", &["doctor", "--json"]).await;
    let doctor = said(&doctor);
    assert!(
        doctor.contains("folder of marriage-registration") && doctor.contains("marriage-2.csv was refused"),
        "{doctor}"
    );
    for text in [&doctor, &shown.to_string(), &fs::read_to_string(node.log()).unwrap()] {
        assert!(!text.contains(&*WIDOWED) && !text.contains("8.90101"), "a value of the file is repeated");
    }

    // Put right, and with a kill in between: taken after the start, once.
    node.kill();
    fs::write(folder.join("marriage-3.csv"), format!("{HEADER}{},widowed,2021-11-03\n", *WIDOWED)).unwrap();
    node.start().await.unwrap();
    comes_to(&place, &WIDOWED, "widowed", Verdict::Match).await;
    let absent = place.ask(marital_status(&MARRIED, "single")).await;
    assert_eq!((verdict(&absent).verdict(), verdict(&absent).by_absence), (Verdict::Match, true));
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_in_its_own_words_is_read_as_the_configuration_says() {
    let place = Place::start(|plan, _| {
        plan.department("civil-affairs")
            .service_without_records(MARRIAGE)
            .service_without_records(HOUSES)
            .department("housing")
            .granting("civil-affairs/marriage-registration", "housing", housings_scope())
    })
    .await;
    let node = place.town.node("civil-affairs");
    let folder: PathBuf = place.dir().join("exports");
    fs::create_dir(&folder).unwrap();
    node.stop().await.unwrap();
    let sources = format!(
        "[sources.nightly]\nkind = \"folder\"\npath = \"{}\"\nevery = \"1s\"\nsettle = \"1s\"\n\n\
         [services.marriage-registration]\nsource = \"nightly\"\n\
         [services.marriage-registration.columns.resident_id]\nfrom = \"身份证号\"\n\
         [services.marriage-registration.columns.marital_status]\nfrom = \"婚姻状况\"\n\
         codes = {{ \"10\" = \"single\", \"20\" = \"married\", \"40\" = \"widowed\" }}\n\
         [services.marriage-registration.columns.registered_on]\nfrom = \"登记日期\"\n\
         [services.houses]\nkind = \"embedded\"\n\
         [services.houses.columns.resident_id]\nfrom = \"身份证号\"\n\
         [services.houses.columns.kind]\nfrom = \"类型\"\ncodes = {{ \"1\" = \"flat\", \"2\" = \"house\" }}\n",
        folder.display()
    );
    fs::write(node.dir().join("sources.toml"), sources).unwrap();
    node.start().await.unwrap();
    let rows = format!("身份证号,婚姻状况,登记日期\n{},20,2018年5月20日\n{},40,20211103\n", *MARRIED, *WIDOWED);
    fs::write(folder.join("marriage-1.csv"), rows).unwrap();
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;
    comes_to(&place, &WIDOWED, "married", Verdict::Mismatch).await;
    // A code that nobody named is no guess: the file is refused whole, and the records from before answer.
    let rows = format!("身份证号,婚姻状况,登记日期\n{},77,2018年5月20日\n", *MARRIED);
    fs::write(folder.join("marriage-2.csv"), rows).unwrap();
    let shown = async || place.json("civil-affairs", &["records", "show", "marriage-registration"]).await;
    let refused = eventually(PATIENCE, async || shown().await["folder"]["last_outcome"] == "refused");
    assert!(refused.await, "{}", shown().await);
    let problems = shown().await["folder"]["problems"].to_string();
    assert!(problems.contains("`codes` does not name"), "{problems}");
    comes_to(&place, &MARRIED, "married", Verdict::Match).await;

    // A file that an operator imports or applies by hand too, where the configuration says so of a service without a source.
    let rows = |code: &str| format!("身份证号,类型\n{},{code}\n", *MARRIED);
    let (one, two, bad) =
        (file(&place, "1.csv", rows("1")), file(&place, "2.csv", rows("2")), file(&place, "3.csv", rows("3")));
    place.json("civil-affairs", &["records", "import", "houses", &one]).await;
    let kind = async || {
        let look = ["records", "check", "houses", "--subject-stdin", "--json"];
        let checked = place.town.cli_with_input("civil-affairs", &look, &format!("{}\n", *MARRIED)).await.unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
        shown["rows"][0]["kind"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(kind().await, "flat");
    place.json("civil-affairs", &["records", "apply", "houses", &two, "--upsert"]).await;
    assert_eq!(kind().await, "house");
    let refused = place.cli("civil-affairs", &["records", "import", "houses", &bad]).await;
    assert!(exit(&refused) != 0 && said(&refused).contains("`codes` does not name"), "{}", said(&refused));
    assert_eq!(kind().await, "house");
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_seen_all_or_not_at_all_whenever_the_node_dies() {
    let place = Place::civil_affairs_and_housing().await;
    let node = place.town.node("civil-affairs");
    let apply = async |name: &str, content: String| {
        let path = file(&place, name, content);
        place.cli("civil-affairs", &["records", "apply", "marriage-registration", &path, "--json"]).await
    };
    let both = |status: &str| {
        format!("operation,{HEADER}upsert,{},{status},2020-01-01\nupsert,{},{status},2020-01-01\n", *MARRIED, *WIDOWED)
    };
    let output = apply("divorced.csv", both("divorced")).await;
    assert_eq!(exit(&output), 0, "{}", said(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (told["applied"].as_bool(), told["upserted"].as_u64(), told["rows"].as_u64()),
        (Some(true), Some(2), Some(2))
    );

    // One bad row among good ones.
    let bad = both("married").replace(&format!("upsert,{}", *WIDOWED), &format!("remove,{}", *WIDOWED));
    let output = apply("bad.csv", bad).await;
    assert_ne!(exit(&output), 0);
    assert!(said(&output).contains("operation: must be upsert or delete"), "{}", said(&output));
    let matched = place.ask(marital_status(&MARRIED, "divorced")).await;
    assert_eq!(verdict(&matched).verdict(), Verdict::Match, "nothing has changed");

    // Killed while changes are under way, with a file long enough to be in the middle of.
    let mut long = both("married");
    for day in 0..60_000_u32 {
        let born = jiff::civil::date(1940, 1, 1).checked_add(jiff::Span::new().days(i64::from(day / 900))).unwrap();
        let number = resident(born.year(), born.month(), born.day(), u16::try_from(100 + day % 900).unwrap());
        long.push_str(&format!("upsert,{number},single,\n"));
    }
    let path = file(&place, "long.csv", long);
    let before = place.json("civil-affairs", &["records", "show", "marriage-registration"]).await["rows"].as_u64();
    let records = node.dir().join("records/marriage-registration.1");
    let generations = fs::read_dir(&records).unwrap().count();
    let arguments = ["records", "apply", "marriage-registration", &path, "--json"];
    let applying = place.cli("civil-affairs", &arguments);
    let killing = async {
        // Once a new generation is being made.
        assert!(eventually(PATIENCE, || async { fs::read_dir(&records).unwrap().count() > generations }).await);
        node.kill();
    };
    let (_, ()) = tokio::join!(applying, killing);
    node.start().await.unwrap();
    let after = place.json("civil-affairs", &["records", "show", "marriage-registration"]).await["rows"].as_u64();
    let status = if after == before { "divorced" } else { "married" };
    for subject in [&*MARRIED, &*WIDOWED] {
        comes_to(&place, subject, status, Verdict::Match).await;
    }
    let output = place.cli("civil-affairs", &["records", "apply", "marriage-registration", &path, "--json"]).await;
    assert_eq!(exit(&output), 0, "{}", said(&output));
    for subject in [&*MARRIED, &*WIDOWED] {
        comes_to(&place, subject, "married", Verdict::Match).await;
    }
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_number_finds_the_record_whichever_side_knows_it() {
    let place = Place::start(|plan, dir| {
        let houses = Scope::of("houses", &["at_most"]).for_item(ITEM).on(&[BASIS]);
        plan.department("housing")
            .department("civil-affairs")
            .service(MARRIAGE, dir.join("marriage.csv"))
            .service_without_records(HOUSES)
            .granting("civil-affairs/marriage-registration", "housing", housings_scope())
            .granting("civil-affairs/houses", "housing", houses)
    })
    .await;
    let corrected = resident(1991, 11, 26, 2);
    let table = file(&place, "former.csv", format!("number,former_number\n{corrected},{}\n", *MARRIED));
    let empty = file(&place, "none.csv", "number,former_number\n");
    let absent = place.ask(marital_status(&corrected, "married")).await;
    assert_eq!((verdict(&absent).verdict(), verdict(&absent).by_absence), (Verdict::Mismatch, true));

    // The record stands under the former number, and only civil affairs knows so.
    let told = place.json("civil-affairs", &["records", "aliases", &table]).await;
    assert_eq!((told["imported"].as_bool(), told["former_numbers"].as_u64()), (Some(true), Some(1)));
    for subject in [&corrected, &*MARRIED] {
        let found = place.ask(marital_status(subject, "married")).await;
        assert_eq!((verdict(&found).verdict(), verdict(&found).by_absence), (Verdict::Match, false));
    }
    // A house under each number, alike in all that the service tells of one: they are two.
    let houses = file(&place, "houses.csv", format!("resident_id,kind\n{corrected},flat\n{},flat\n", *MARRIED));
    place.json("civil-affairs", &["records", "import", "houses", &houses]).await;
    let at_most = |count: i64| VerifyRequest {
        service: "houses".into(),
        claims: vec![Claim {
            attribute: "houses".into(),
            operator: "at_most".into(),
            operands: vec![Value { kind: Some(Kind::Integer(count)) }],
            ..Claim::default()
        }],
        ..question(&corrected, Vec::new())
    };
    for (count, expected) in [(1, Verdict::Mismatch), (2, Verdict::Match)] {
        let counted = place.ask(at_most(count)).await;
        assert_eq!(verdict(&counted).verdict(), expected, "at most {count}");
    }
    // The operator sees what a question finds.
    let look = ["records", "check", "houses", "--subject-stdin", "--json"];
    let checked = place.town.cli_with_input("civil-affairs", &look, &format!("{corrected}\n")).await.unwrap();
    assert_eq!(exit(&checked), 0, "{}", said(&checked));
    let shown: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((shown["outcome"].as_str(), shown["rows"].as_array().map(Vec::len)), (Some("rows"), Some(2)), "{shown}");
    // After a restart too.
    place.town.node("civil-affairs").stop().await.unwrap();
    place.town.node("civil-affairs").start().await.unwrap();
    comes_to(&place, &corrected, "married", Verdict::Match).await;

    // Only housing knows: it names the former number in what it signs.
    place.json("civil-affairs", &["records", "aliases", &empty]).await;
    place.json("housing", &["records", "aliases", &table]).await;
    comes_to(&place, &corrected, "married", Verdict::Match).await;

    // Two tables that say otherwise: nobody guesses.
    let other = file(
        &place,
        "other.csv",
        format!("number,former_number\n{},{}\n{corrected},{}\n", *WIDOWED, *MARRIED, resident(1970, 1, 1, 1)),
    );
    place.json("civil-affairs", &["records", "aliases", &other]).await;
    let contradicted = place.ask(marital_status(&corrected, "married")).await;
    assert_eq!(
        (verdict(&contradicted).verdict(), verdict(&contradicted).reason.as_str()),
        (Verdict::Unavailable, "ambiguous")
    );
    place.town.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheme_that_the_authority_adds_is_checked_by_every_node() {
    let place = Place::civil_affairs_and_housing().await;
    let described = MARRIAGE.replace("[resident_id]", "[resident_id, local_family_card]").replace("\"1.0\"", "\"1.1\"");
    assert_ne!(described, MARRIAGE);
    let description = file(&place, "described.yaml", &described);
    let early = place.cli("civil-affairs", &["service", "change", &description]).await;
    assert_ne!(exit(&early), 0, "the authority has not added it");
    assert!(said(&early).contains("local_family_card"), "{}", said(&early));

    let shown = place.town.registry_cli(&["profile", "show"]).await.unwrap();
    let profile = format!(
        "{}\n[[subject_schemes]]\nname = \"local_family_card\"\nlabel = \"户口簿号\"\npattern = '8901[0-9]{{5}}'\ncheck = \"luhn\"\n\
         example = \"890100001\"\n",
        String::from_utf8(shown.stdout).unwrap()
    );
    let profile = file(&place, "profile.toml", profile);
    let set = place.town.registry_cli(&["profile", "set", &profile]).await.unwrap();
    assert_eq!(exit(&set), 0, "{}", said(&set));
    place.town.settled().await.unwrap();
    place.json("civil-affairs", &["service", "change", &description]).await;
    place.town.settled().await.unwrap();

    let header = "resident_id,local_family_card,marital_status,registered_on\n";
    let wrong = file(&place, "wrong.csv", format!("{header},890112344,married,2018-05-20\n"));
    let refused = place.cli("civil-affairs", &["records", "import", "marriage-registration", &wrong]).await;
    assert!(said(&refused).contains("local_family_card: the check character"), "{}", said(&refused));
    assert!(!said(&refused).contains("890112344"), "the number is repeated");
    let right = file(
        &place,
        "right.csv",
        format!("{header},8901 12345,married,2018-05-20\n{},,widowed,2021-11-03\n", *WIDOWED),
    );
    place.json("civil-affairs", &["records", "import", "marriage-registration", &right]).await;
    let asked = |number: &str| VerifyRequest {
        subject: Some(Subject { scheme: "local_family_card".into(), value: number.into() }),
        ..marital_status(&SINGLE, "married")
    };
    // Full-width digits are the same number.
    let found = place.ask(asked("８９０１12345")).await;
    assert_eq!((verdict(&found).verdict(), verdict(&found).by_absence), (Verdict::Match, false));
    for (number, word) in [("890112344", "call for 5"), ("8901123456", "profile"), ("123", "profile")] {
        let refused = place.ask(asked(number)).await;
        assert_eq!(refused.state(), State::Refused, "{refused:?}");
        let refusal = refused.refusal.unwrap();
        assert_eq!((refusal.code.as_str(), refusal.field.as_str()), (Code::SubjectMalformed.as_str(), "subject.value"));
        assert!(refusal.message.contains(word) && !refusal.message.contains(number), "{}", refusal.message);
    }
    place.town.stop().await.unwrap();
}
