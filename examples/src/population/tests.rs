//! The town is consistent: each promise of the module's header, proved on the records themselves (the CSV that
//! departments import) for a town of 5,000. Nothing here looks at how the town was made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use jiff::civil::{Date, date};
use sha2::{Digest, Sha256};
use trust::subject::Subject;
use trust::subject::resident_number::{ResidentNumber, Sex};

use super::{
    Applicant, DEMO_REFERENCE_DATE, DEMO_SEED, MaritalStatus, Population, PopulationError, Register, years_later,
};

const TODAY: Date = DEMO_REFERENCE_DATE;

fn town(residents: usize) -> Population {
    Population::generate(DEMO_SEED, residents, TODAY).unwrap()
}

/// A register as its rows, each a map from column to cell.
fn rows(population: &Population, register: Register) -> Vec<HashMap<String, String>> {
    let mut bytes = Vec::new();
    let written = population.write(register, &mut bytes).unwrap();
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let headers: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(headers, register.columns());
    let rows: Vec<HashMap<String, String>> = reader.deserialize().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len() as u64, written);
    rows
}

fn day(cell: &str) -> Date {
    cell.parse().unwrap()
}

fn born(number: &str) -> Date {
    ResidentNumber::parse(number).unwrap().birth_date()
}

fn sex(number: &str) -> Sex {
    ResidentNumber::parse(number).unwrap().sex()
}

/// The dead, with the day of their death.
fn deaths(population: &Population) -> HashMap<String, Date> {
    let row = |row: HashMap<String, String>| (row["resident_id"].clone(), day(&row["died_on"]));
    rows(population, Register::DeathCertificate).into_iter().map(row).collect()
}

/// The rows of each subject, in the order of the file.
fn by_subject(population: &Population, register: Register) -> BTreeMap<String, Vec<HashMap<String, String>>> {
    let mut grouped: BTreeMap<String, Vec<HashMap<String, String>>> = BTreeMap::new();
    for row in rows(population, register) {
        grouped.entry(row[register.columns()[0]].clone()).or_default().push(row);
    }
    grouped
}

#[test]
fn everybody_has_a_valid_number_of_their_own_in_province_89() {
    let town = town(5_000);
    let people = rows(&town, Register::ResidentIdentity);
    assert_eq!(people.len(), 5_000);
    let numbers: HashSet<&str> = people.iter().map(|row| row["resident_id"].as_str()).collect();
    assert_eq!(numbers.len(), 5_000);
    for row in &people {
        let number = &row["resident_id"];
        assert!(number.starts_with("8901"));
        assert_eq!(Subject::parse("resident_id", number).unwrap().value(), number);
        assert!(born(number) <= TODAY);
        assert!((2..=4).contains(&row["name"].chars().count()));
    }
}

#[test]
fn any_number_of_residents_is_met_exactly() {
    for residents in [0, 1, 2, 7, 100, 1_000] {
        for seed in 0..5 {
            let town = Population::generate(seed, residents, TODAY).unwrap();
            assert_eq!(town.residents().len(), residents);
        }
    }
}

#[test]
fn every_file_is_sorted_by_subject_and_only_of_residents() {
    let town = town(5_000);
    let people: HashSet<String> =
        rows(&town, Register::ResidentIdentity).iter().map(|row| row["resident_id"].clone()).collect();
    for register in Register::ALL {
        let subjects: Vec<String> =
            rows(&town, register).iter().map(|row| row[register.columns()[0]].clone()).collect();
        assert!(subjects.is_sorted(), "{register:?}");
        assert!(!subjects.is_empty(), "{register:?}");
        if register != Register::BirthCertificate {
            assert!(subjects.iter().all(|subject| people.contains(subject)), "{register:?}");
        }
    }
}

#[test]
fn who_has_a_row_once_has_it_once() {
    let town = town(5_000);
    for register in [
        Register::BirthCertificate,
        Register::DeathCertificate,
        Register::ResidentIdentity,
        Register::SubsistenceAllowance,
    ] {
        assert!(by_subject(&town, register).values().all(|rows| rows.len() == 1), "{register:?}");
    }
}

#[test]
fn a_married_couple_is_married_on_both_sides_on_the_same_day() {
    let town = town(5_000);
    let marriages = by_subject(&town, Register::MarriageRegistration);
    let mut weddings = 0;
    for (person, events) in &marriages {
        for event in events.iter().filter(|event| event["marital_status"] == "married") {
            weddings += 1;
            let spouse = &event["spouse_resident_id"];
            let theirs = marriages[spouse].iter().filter(|theirs| theirs["spouse_resident_id"] == *person);
            let theirs: Vec<_> = theirs.collect();
            assert_eq!(theirs.len(), 1);
            for column in ["marital_status", "registered_on", "registry_office"] {
                assert_eq!(event[column], theirs[0][column]);
            }
            assert_ne!(sex(person), sex(spouse));
            let age = if sex(person) == Sex::Male { 22 } else { 20 };
            assert!(years_later(born(person), age) <= day(&event["registered_on"]));
        }
    }
    assert!(weddings > 2_000, "{weddings}");
}

#[test]
fn a_marriage_ends_before_the_next_begins() {
    let town = town(5_000);
    let deaths = deaths(&town);
    let mut kinds: HashMap<Vec<&str>, usize> = HashMap::new();
    let marriages = by_subject(&town, Register::MarriageRegistration);
    for (person, events) in &marriages {
        let statuses: Vec<&str> = events.iter().map(|event| event["marital_status"].as_str()).collect();
        let days: Vec<Date> = events.iter().map(|event| day(&event["registered_on"])).collect();
        // No two events of a person share a day, so "latest registered_on" is never ambiguous.
        assert!(days.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(*days.last().unwrap() < TODAY);
        assert!(deaths.get(person).is_none_or(|died| days.last().unwrap() < died));
        for pair in events.windows(2) {
            let is_wedding = |event: &HashMap<String, String>| event["marital_status"] == "married";
            assert_ne!(is_wedding(&pair[0]), is_wedding(&pair[1]));
        }
        assert_eq!(statuses[0], "married");
        *kinds.entry(statuses).or_default() += 1;
    }
    for kind in [
        vec!["married"],
        vec!["married", "divorced"],
        vec!["married", "widowed"],
        vec!["married", "divorced", "married"],
        vec!["married", "widowed", "married"],
    ] {
        assert!(kinds.get(&kind).is_some_and(|number| *number >= 5), "{kind:?} in {kinds:?}");
    }
}

#[test]
fn a_divorce_stands_on_both_sides_and_a_death_widows_the_survivor() {
    let town = town(5_000);
    let deaths = deaths(&town);
    let marriages = by_subject(&town, Register::MarriageRegistration);
    for events in marriages.values() {
        for (index, event) in events.iter().enumerate() {
            let on = day(&event["registered_on"]);
            if event["marital_status"] == "married" {
                // Who is still married has a living spouse, or is dead themselves and was the first to die.
                let spouse = &event["spouse_resident_id"];
                if let (Some(died), None) = (deaths.get(spouse), events.get(index + 1)) {
                    assert!(deaths.get(&event["resident_id"]).is_some_and(|own| own <= died));
                }
                continue;
            }
            assert_eq!(event["spouse_resident_id"], "");
            let former = &events[index - 1]["spouse_resident_id"];
            if event["marital_status"] == "divorced" {
                let is_same = |theirs: &&HashMap<String, String>| {
                    theirs["marital_status"] == "divorced" && day(&theirs["registered_on"]) == on
                };
                assert_eq!(marriages[former].iter().filter(is_same).count(), 1);
            } else {
                assert_eq!(event["marital_status"], "widowed");
                assert_eq!(deaths[former], on);
            }
        }
    }
}

#[test]
fn children_have_married_parents_in_the_register_and_a_certificate() {
    let town = town(5_000);
    let deaths = deaths(&town);
    let marriages = by_subject(&town, Register::MarriageRegistration);
    let names: HashMap<String, String> = rows(&town, Register::ResidentIdentity)
        .into_iter()
        .map(|row| (row["resident_id"].clone(), row["name"].clone()))
        .collect();
    let children: Vec<_> = town.residents().iter().filter(|resident| resident.birth.is_some()).collect();
    let mut certificates = by_subject(&town, Register::BirthCertificate);
    assert!(children.len() > 800, "{}", children.len());
    for child in &children {
        let birth = child.birth.as_ref().unwrap();
        let row = certificates.remove(&birth.certificate_number).unwrap().remove(0);
        let (mother, father) = (town.resident(birth.mother), town.resident(birth.father));
        assert_eq!(Subject::parse("certificate_no", &row["certificate_no"]).unwrap().value(), row["certificate_no"]);
        assert_eq!(row["mother_resident_id"], mother.number.as_str());
        assert_eq!(row["mother_name"], names[mother.number.as_str()]);
        let born = child.number.birth_date();
        assert_eq!(day(&row["birth_date"]), born);
        assert_eq!((mother.number.sex(), father.number.sex()), (Sex::Female, Sex::Male));
        // Married to each other by then, and both alive.
        let mothers_events = &marriages[mother.number.as_str()];
        let latest = mothers_events.iter().rfind(|event| day(&event["registered_on"]) < born).unwrap();
        assert_eq!(latest["spouse_resident_id"], father.number.as_str());
        for parent in [mother, father] {
            assert!(deaths.get(parent.number.as_str()).is_none_or(|died| *died > born));
        }
        assert!(
            years_later(mother.number.birth_date(), 20) <= born && born <= years_later(mother.number.birth_date(), 43)
        );
    }
    assert!(certificates.is_empty(), "certificates of nobody");
    // Whoever is younger than the oldest certificates has one.
    let oldest = years_later(TODAY, -30);
    let is_young = |resident: &&super::Resident| resident.number.birth_date() >= oldest;
    assert_eq!(town.residents().iter().filter(is_young).count(), children.len());
}

#[test]
fn some_children_have_grown_up_and_have_children() {
    let town = town(5_000);
    let has_grandparents = town
        .residents()
        .iter()
        .any(|child| child.birth.as_ref().is_some_and(|birth| town.resident(birth.mother).birth.is_some()));
    assert!(has_grandparents);
}

#[test]
fn neither_siblings_nor_the_dead_marry() {
    // Many hamlets rather than one town: the children who are of age have few but their siblings to choose from, and
    // somebody has died young in one of them.
    let (mut of_the_register, mut died_young) = (0, 0);
    for hamlet in (0..500).map(|seed| Population::generate(seed, 150, TODAY).unwrap()) {
        for resident in hamlet.residents() {
            let young = years_later(resident.number.birth_date(), 27);
            died_young += usize::from(resident.died_on.is_some_and(|died| died < young));
            for event in &resident.marital_events {
                let Some(spouse) = event.spouse.map(|spouse| hamlet.resident(spouse)) else { continue };
                assert!(resident.died_on.is_none_or(|died| event.registered_on < died));
                if let (Some(own), Some(theirs)) = (&resident.birth, &spouse.birth) {
                    of_the_register += 1;
                    assert!(own.mother != theirs.mother && own.father != theirs.father);
                }
            }
        }
    }
    assert!(of_the_register > 200 && died_young > 20, "{of_the_register}, {died_young}");
}

#[test]
fn the_dead_have_a_certificate_and_nothing_else_comes_after_it() {
    let town = town(5_000);
    let deaths = deaths(&town);
    assert!(deaths.len() > 100, "{}", deaths.len());
    let names = by_subject(&town, Register::ResidentIdentity);
    for row in rows(&town, Register::DeathCertificate) {
        let (number, died) = (&row["resident_id"], day(&row["died_on"]));
        assert_eq!(row["deceased"], "true");
        assert!(born(number) <= died && died < TODAY);
        assert_eq!(names[number][0]["name"], row["name"]);
    }
    for (number, rows) in &names {
        assert_eq!(rows[0]["alive"] == "false", deaths.contains_key(number));
    }
    for register in [Register::SubsistenceAllowance, Register::PropertyOwnership] {
        assert!(rows(&town, register).iter().all(|row| !deaths.contains_key(&row["resident_id"])), "{register:?}");
    }
    for row in rows(&town, Register::TaxPaid) {
        let died = deaths.get(&row["resident_id"]);
        assert!(died.is_none_or(|died| died.year() >= row["period"].parse().unwrap()));
    }
    let mut last_years = 0;
    for (number, rows) in by_subject(&town, Register::SocialInsurance) {
        let Some(died) = deaths.get(&number) else { continue };
        for year in ["2024", "2025"] {
            let months = months(&rows, "pension", year);
            let most = match died.year().cmp(&year.parse().unwrap()) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => u32::from(died.month().unsigned_abs()),
                std::cmp::Ordering::Greater => 12,
            };
            assert!(months <= most);
            last_years += u32::from(died.year().to_string() == year && months > 0);
        }
    }
    assert!(last_years > 0, "nobody worked in the year of their death, so this proves little");
}

fn months(rows: &[HashMap<String, String>], scheme: &str, year: &str) -> u32 {
    let selected = rows.iter().filter(|row| row["scheme"] == scheme && row["period"] == year);
    selected.map(|row| row["months_paid"].parse::<u32>().unwrap()).sum()
}

#[test]
fn tax_and_insurance_agree() {
    let town = town(5_000);
    let taxes = by_subject(&town, Register::TaxPaid);
    let mut changed_employer = 0;
    for (number, rows) in by_subject(&town, Register::SocialInsurance) {
        for year in ["2024", "2025"] {
            for scheme in ["pension", "medical"] {
                assert!(months(&rows, scheme, year) <= 12);
            }
            let employed = rows.iter().filter(|row| row["period"] == year && row["scheme"] == "pension");
            let employed: Vec<_> = employed.collect();
            changed_employer += usize::from(employed.len() == 2);
            // A pension row is a job, and every job is taxed.
            let is_wage =
                |row: &&HashMap<String, String>| row["period"] == year && row["tax_type"] == "individual_income";
            if !employed.is_empty() {
                assert_eq!(taxes[&number].iter().filter(is_wage).count(), employed.len());
            }
        }
        for row in &rows {
            assert_eq!(row["insured"], "true");
            assert!((1..=12).contains(&row["months_paid"].parse::<u32>().unwrap()));
            if row["employer_uscc"].is_empty() {
                assert_eq!(row["scheme"], "medical");
            } else {
                Subject::parse("uscc", &row["employer_uscc"]).unwrap();
            }
        }
    }
    assert!(changed_employer > 50, "{changed_employer}");
    for row in taxes.values().flatten() {
        assert!(["2024", "2025"].contains(&row["period"].as_str()));
        assert!(["true", "false"].contains(&row["paid"].as_str()));
        assert!(years_later(born(&row["resident_id"]), 18) < TODAY);
        if row["tax_type"] == "deed" {
            assert_eq!(row["annual_income"], "");
        } else {
            assert_eq!(row["tax_type"], "individual_income");
            let (yuan, fen) = row["annual_income"].split_once('.').unwrap();
            assert!(yuan.parse::<u64>().unwrap() > 0 && fen.len() == 2);
        }
    }
}

#[test]
fn owners_own_one_to_three_properties_in_the_town() {
    let owners = by_subject(&town(5_000), Register::PropertyOwnership);
    let mut numbers = [0_usize; 4];
    for rows in owners.values() {
        numbers[rows.len()] += 1;
        for row in rows {
            assert_eq!(row["has_property"], "true");
            assert!(super::DIVISIONS.iter().any(|division| division.code == row["region"]));
        }
    }
    assert!(numbers[1..].iter().all(|number| *number > 0), "{numbers:?}");
}

#[test]
fn an_absent_fact_has_no_row() {
    let town = town(5_000);
    let living: HashSet<String> = rows(&town, Register::ResidentIdentity)
        .into_iter()
        .filter(|row| row["alive"] == "true")
        .map(|row| row["resident_id"].clone())
        .collect();
    for (register, column, denial) in [
        (Register::MarriageRegistration, "marital_status", "single"),
        (Register::PropertyOwnership, "has_property", "false"),
        (Register::SubsistenceAllowance, "active", "false"),
        (Register::DeathCertificate, "deceased", "false"),
        (Register::SocialInsurance, "insured", "false"),
    ] {
        assert!(rows(&town, register).iter().all(|row| row[column] != denial), "{register:?}");
        let subjects = by_subject(&town, register);
        let absent = living.iter().filter(|number| !subjects.contains_key(*number)).count();
        assert!(absent > 100, "{register:?}: {absent}");
    }
}

#[test]
fn equal_seeds_give_equal_towns() {
    let digest = |seed: u64| {
        let population = Population::generate(seed, 5_000, TODAY).unwrap();
        let mut hash = Sha256::new();
        for register in Register::ALL {
            let mut bytes = Vec::new();
            population.write(register, &mut bytes).unwrap();
            hash.update(&bytes);
        }
        hash.finalize().iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
    };
    // A change here is a change of the town: whoever makes one says so in the changelog.
    assert_eq!(digest(DEMO_SEED), "b3c1de3151483ddd3055a4a0ea79d9e411e694d746fe30c5ecb4229f5dd230ef");
    assert_ne!(digest(DEMO_SEED + 1), digest(DEMO_SEED));
}

#[test]
fn one_file_for_each_service() {
    let folder = tempfile::tempdir().unwrap();
    let written = town(300).write_all(folder.path()).unwrap();
    for (register, rows) in written {
        let text = std::fs::read_to_string(folder.path().join(register.file_name())).unwrap();
        assert_eq!(text.lines().count() as u64, rows + 1, "{register:?}");
        assert!(text.starts_with(&register.columns().join(",")));
        assert!(text.ends_with('\n') && !text.contains('\r'));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 8);
}

/// The six claims of the item, answered from the records alone: `None` stands for NO_RECORD.
fn verdicts(population: &Population, applicant: &Applicant) -> [Option<bool>; 6] {
    let of = |register: Register| {
        let of_applicant = |row: &HashMap<String, String>| row["resident_id"] == applicant.resident_number;
        rows(population, register).into_iter().filter(of_applicant).collect::<Vec<_>>()
    };
    let name = of(Register::ResidentIdentity).first().map(|row| row["name"] == applicant.name);
    let marriages = of(Register::MarriageRegistration);
    let latest = marriages.iter().max_by_key(|row| day(&row["registered_on"]));
    let status = latest.map_or("single", |row| row["marital_status"].as_str());
    let mut properties = of(Register::PropertyOwnership).into_iter();
    let has_property = properties.any(|row| row["region"] == applicant.region);
    let incomes = of(Register::TaxPaid).into_iter();
    let incomes = incomes.filter(|row| row["period"] == applicant.period && row["tax_type"] == "individual_income");
    let fen = |row: HashMap<String, String>| row["annual_income"].replace('.', "").parse::<u64>().unwrap();
    let income = incomes.map(fen).reduce(|one, other| one + other);
    let limit = applicant.income_at_most.parse::<u64>().unwrap() * 100;
    let pension = of(Register::SocialInsurance).into_iter();
    let pension = pension.filter(|row| row["period"] == applicant.period && row["scheme"] == "pension");
    let paid = pension.map(|row| row["months_paid"].parse::<u8>().unwrap()).reduce(|one, other| one + other);
    let active = of(Register::SubsistenceAllowance).iter().any(|row| row["active"] == "true");
    [
        name,
        Some(status == applicant.marital_status.as_str()),
        Some(!has_property),
        income.map(|income| income <= limit),
        paid.map(|paid| paid >= applicant.months_at_least),
        Some(active == applicant.receives_allowance),
    ]
}

#[test]
fn the_cast_gets_the_verdicts_the_demo_shows() {
    for town in [town(5_000), town(2_000), town(300), Population::generate(1, 5_000, TODAY).unwrap()] {
        let cast = town.cast().unwrap();
        let yes = Some(true);
        assert_eq!(verdicts(&town, &cast.all_true), [yes; 6]);
        assert_eq!(verdicts(&town, &cast.earns_more), [yes, yes, yes, Some(false), yes, yes]);
        assert_eq!(verdicts(&town, &cast.no_record), [yes, yes, yes, yes, None, yes]);
        assert_eq!(verdicts(&town, &cast.tax_stopped), [yes; 6]);

        assert!(cast.all_true.receives_allowance);
        assert_eq!(cast.all_true.marital_status, MaritalStatus::Married);
        assert_eq!(cast.no_record.marital_status, MaritalStatus::Single);
        assert_eq!(cast.all_true.period, town.last_full_year());
        let insured = by_subject(&town, Register::SocialInsurance);
        assert!(!insured.contains_key(&cast.no_record.resident_number));
        let owners = by_subject(&town, Register::PropertyOwnership);
        let deaths = deaths(&town);
        let names: HashSet<&str> = cast.in_order().iter().map(|applicant| applicant.name.as_str()).collect();
        assert_eq!(names.len(), 4);
        for applicant in cast.in_order() {
            assert!(!owners.contains_key(&applicant.resident_number));
            assert!(!deaths.contains_key(&applicant.resident_number));
            assert_eq!(format!("{applicant:?}"), "Applicant(…)");
        }
    }
}

#[test]
fn nearly_every_small_town_has_a_cast() {
    let lacking = (0..40).filter(|seed| Population::generate(*seed, 2_000, TODAY).unwrap().cast().is_err()).count();
    assert!(lacking <= 2, "{lacking} of 40");
    let hamlet = Population::generate(1, 3, TODAY).unwrap();
    assert_eq!(hamlet.cast().unwrap_err(), PopulationError::CastIncomplete { part: "all_true" });
}

#[test]
fn impossible_towns_are_refused() {
    let generate = |residents, reference_date| Population::generate(1, residents, reference_date).map(|_| ());
    assert_eq!(
        generate(super::MOST_RESIDENTS + 1, TODAY),
        Err(PopulationError::TooManyResidents { residents: super::MOST_RESIDENTS + 1 })
    );
    for reference_date in [date(1999, 12, 31), date(2151, 1, 1)] {
        assert_eq!(generate(1, reference_date), Err(PopulationError::ReferenceDateOutOfRange { reference_date }));
    }
    for reference_date in [date(2000, 2, 29), date(2150, 12, 31)] {
        assert_eq!(generate(500, reference_date), Ok(()));
    }
}
