//! Who there is: births, weddings, divorces, deaths, and weddings again.
//!
//! Three steps. *Founders*, people over thirty, come without parents, since birth certificates are kept for thirty
//! years only; they pair up, part, die, and some pair up again. Their marriages have children. The children who are of
//! age pair up in the same way and have children too. What is then still missing of the number asked for moves in.
//!
//! Out of scope: what people live on (`livelihood`).

use jiff::civil::Date;
use trust::subject::resident_number::Sex;

use super::places::{Division, NumberOffice, any_division};
use super::random::Random;
use super::{Birth, MaritalEvent, MaritalStatus, Resident, ResidentIndex, days_later, names, years_later};

/// Everybody, in the order they came: exactly `number` people.
pub(super) fn settle(seed: u64, number: usize, reference_date: Date) -> Vec<Resident> {
    let mut town = Town {
        random: Random::new(seed, "families"),
        naming: Random::new(seed, "names"),
        numbers: NumberOffice::default(),
        residents: Vec::with_capacity(number),
        births: 0,
        number,
        reference_date,
        births_kept_since: years_later(reference_date, -YEARS_OF_BIRTH_CERTIFICATES),
    };
    for _ in 0..number * FOUNDERS_PER_HUNDRED / 100 {
        let age = match town.random.weighted(&[38, 36, 19, 7]) {
            0 => town.random.between(31, 45),
            1 => town.random.between(46, 60),
            2 => town.random.between(61, 75),
            _ => town.random.between(76, 95),
        };
        town.newcomer(age);
    }
    let founders = 0..town.residents.len();
    let weddings = town.first_weddings(founders.clone(), 900, AGE_NOISE_DAYS);
    let second = town.second_weddings(&weddings);
    town.children(&weddings);
    town.children(&second);
    let children = founders.end..town.residents.len();
    let weddings = town.first_weddings(children, 600, AGE_NOISE_DAYS / 2);
    town.children(&weddings);
    while town.residents.len() < number {
        let age = town.random.between(31, 60);
        town.newcomer(age);
    }
    town.residents
}

/// A marriage: the two, its first day, and its last where it ended in a divorce or a death.
#[derive(Debug, Clone, Copy)]
struct Marriage {
    husband: usize,
    wife: usize,
    from: Date,
    until: Option<Date>,
}

struct Town {
    random: Random,
    naming: Random,
    numbers: NumberOffice,
    residents: Vec<Resident>,
    births: usize,
    number: usize,
    reference_date: Date,
    births_kept_since: Date,
}

impl Town {
    /// A person of about `age` years without parents in the register.
    fn newcomer(&mut self, age: i64) {
        let birth_date = days_later(years_later(self.reference_date, -age), -self.random.between(0, 364));
        let sex = self.any_sex();
        let division = any_division(&mut self.random);
        let dead_per_mille = match age {
            ..=45 => 8,
            46..=60 => 30,
            61..=75 => 110,
            _ => 350,
        };
        let died_on = self.random.chance(dead_per_mille).then(|| {
            let first = years_later(self.reference_date, -YEARS_OF_DEATH_CERTIFICATES);
            self.random.date_between(first, days_later(self.reference_date, -1))
        });
        let family_name = names::family_name(&mut self.naming);
        self.enter(family_name, sex, birth_date, division, died_on, None);
    }

    fn any_sex(&mut self) -> Sex {
        if self.random.chance(500) { Sex::Female } else { Sex::Male }
    }

    fn enter(
        &mut self,
        family_name: &str,
        sex: Sex,
        birth_date: Date,
        born_in: &'static Division,
        died_on: Option<Date>,
        birth: Option<Birth>,
    ) {
        let name = names::full_name(&mut self.naming, family_name, sex);
        let number = self.numbers.issue(born_in, birth_date, sex);
        // The office may have moved the birth by a day; nobody dies before it.
        let died_on = died_on.map(|died| died.max(number.birth_date()));
        // One in eight has moved within the prefecture since the number was issued.
        let home = if self.random.chance(125) { any_division(&mut self.random) } else { born_in };
        self.residents.push(Resident {
            number,
            name,
            home,
            died_on,
            birth,
            marital_events: Vec::new(),
            taxes: Vec::new(),
            insurance: Vec::new(),
            properties: Vec::new(),
            allowance: None,
        });
    }

    /// Marries `per_mille` of the people in `range` to each other, for the first time.
    fn first_weddings(&mut self, range: std::ops::Range<usize>, per_mille: usize, noise: i64) -> Vec<Marriage> {
        let (mut men, mut women) = (Vec::new(), Vec::new());
        for index in range {
            if self.random.chance(per_mille) {
                self.list_by_age(index, noise, &mut men, &mut women);
            }
        }
        let mut marriages = Vec::new();
        for (husband, wife) in couples(men, women) {
            let of_age = self.both_of_age(husband, wife);
            let wedding = days_later(of_age, self.random.between(0, 3_000));
            marriages.extend(self.marry(husband, wife, wedding, 150));
        }
        marriages
    }

    /// Marries some of those whose first marriage has ended to each other.
    fn second_weddings(&mut self, first: &[Marriage]) -> Vec<Marriage> {
        let (mut men, mut women) = (Vec::new(), Vec::new());
        for marriage in first.iter().filter(|marriage| marriage.until.is_some()) {
            for index in [marriage.husband, marriage.wife] {
                if self.residents[index].is_alive() && self.random.chance(400) {
                    self.list_by_age(index, AGE_NOISE_DAYS, &mut men, &mut women);
                }
            }
        }
        let mut marriages = Vec::new();
        for (husband, wife) in couples(men, women) {
            let last_event =
                |index: usize| self.residents[index].marital_events.last().map(|event| event.registered_on);
            let former_spouse =
                |index: usize| self.residents[index].marital_events.first().and_then(|event| event.spouse);
            let free = last_event(husband).max(last_event(wife));
            if let Some(free) = free.filter(|_| former_spouse(husband) != Some(ResidentIndex(wife))) {
                let wedding = days_later(free, self.random.between(200, 2_500));
                marriages.extend(self.marry(husband, wife, wedding, 0));
            }
        }
        marriages
    }

    /// Puts a person on the list of their sex, keyed by birth date with some noise: couples are not twins. Husbands
    /// are a little older.
    fn list_by_age(&mut self, index: usize, noise: i64, men: &mut Vec<(Date, usize)>, women: &mut Vec<(Date, usize)>) {
        let number = &self.residents[index].number;
        let (birth_date, sex) = (number.birth_date(), number.sex());
        let moved = self.random.between(-noise, noise);
        match sex {
            Sex::Female => women.push((days_later(birth_date, moved), index)),
            Sex::Male => men.push((days_later(birth_date, moved + 500), index)),
        }
    }

    /// The first day both may marry: men at 22, women at 20.
    fn both_of_age(&self, husband: usize, wife: usize) -> Date {
        let born = |index: usize| self.residents[index].number.birth_date();
        years_later(born(husband), 22).max(years_later(born(wife), 20))
    }

    /// Marries the two, unless the day is still to come, one of them was dead by then or they are closely related.
    fn marry(&mut self, husband: usize, wife: usize, wedding: Date, divorced_per_mille: usize) -> Option<Marriage> {
        let (man, woman) = (&self.residents[husband], &self.residents[wife]);
        let parents = |person: &Resident| person.birth.as_ref().map(|birth| (birth.mother, birth.father));
        let are_siblings = match (parents(man), parents(woman)) {
            (Some(his), Some(hers)) => his.0 == hers.0 || his.1 == hers.1,
            _ => false,
        };
        let years_apart = (man.number.birth_date().year() - woman.number.birth_date().year()).abs();
        let first_death = man.died_on.into_iter().chain(woman.died_on).min();
        if wedding >= self.reference_date
            || first_death.is_some_and(|died| died <= wedding)
            || are_siblings
            || years_apart > 20
        {
            return None;
        }
        let (his_death, her_death, home) = (man.died_on, woman.died_on, man.home);
        self.residents[wife].home = home;
        self.register(husband, MaritalStatus::Married, Some(wife), wedding, home);
        self.register(wife, MaritalStatus::Married, Some(husband), wedding, home);

        let end_of_common_life = first_death.unwrap_or(self.reference_date);
        let divorce = days_later(wedding, self.random.between(300, 7_000));
        if self.random.chance(divorced_per_mille) && divorce < end_of_common_life {
            self.register(husband, MaritalStatus::Divorced, None, divorce, home);
            self.register(wife, MaritalStatus::Divorced, None, divorce, home);
            return Some(Marriage { husband, wife, from: wedding, until: Some(divorce) });
        }
        let survivor = match (his_death, her_death) {
            (Some(his), Some(hers)) if his == hers => None,
            (Some(his), hers) if hers.is_none_or(|hers| his < hers) => Some(wife),
            (_, Some(_)) => Some(husband),
            _ => None,
        };
        if let (Some(survivor), Some(died)) = (survivor, first_death) {
            self.register(survivor, MaritalStatus::Widowed, None, died, home);
        }
        Some(Marriage { husband, wife, from: wedding, until: first_death })
    }

    fn register(
        &mut self,
        index: usize,
        status: MaritalStatus,
        spouse: Option<usize>,
        registered_on: Date,
        division: &'static Division,
    ) {
        let spouse = spouse.map(ResidentIndex);
        let event = MaritalEvent { status, spouse, registered_on, office: division.marriage_office };
        self.residents[index].marital_events.push(event);
    }

    /// The children of these marriages who were born while birth certificates were kept.
    fn children(&mut self, marriages: &[Marriage]) {
        for marriage in marriages {
            let wife_born = self.residents[marriage.wife].number.birth_date();
            let last_day = years_later(wife_born, 43).min(self.reference_date).min(marriage.until.unwrap_or(Date::MAX));
            let wanted = self.random.weighted(&[15, 45, 33, 7]);
            let mut born = marriage.from;
            for _ in 0..wanted {
                born = days_later(born, self.random.between(300, 1_500));
                if born >= last_day || self.residents.len() >= self.number {
                    break;
                }
                if born >= self.births_kept_since {
                    self.give_birth(marriage, born);
                }
            }
        }
    }

    fn give_birth(&mut self, marriage: &Marriage, born: Date) {
        self.births += 1;
        let birth = Birth {
            certificate_number: format!("A{:09}", 890_000_000 + self.births),
            mother: ResidentIndex(marriage.wife),
            father: ResidentIndex(marriage.husband),
        };
        let sex = self.any_sex();
        let born_in = self.residents[marriage.wife].home;
        let died_on =
            self.random.chance(4).then(|| self.random.date_between(born, days_later(self.reference_date, -1)));
        let father = &self.residents[marriage.husband].name;
        let family_name = names::family_name_of(father).to_owned();
        self.enter(&family_name, sex, born, born_in, died_on, Some(birth));
    }
}

/// Pairs the lists off in the order of their keys; who is left over stays alone.
fn couples(mut men: Vec<(Date, usize)>, mut women: Vec<(Date, usize)>) -> Vec<(usize, usize)> {
    men.sort_unstable();
    women.sort_unstable();
    men.into_iter().zip(women).map(|((_, husband), (_, wife))| (husband, wife)).collect()
}

const FOUNDERS_PER_HUNDRED: usize = 66;
const YEARS_OF_BIRTH_CERTIFICATES: i64 = 30;
const YEARS_OF_DEATH_CERTIFICATES: i64 = 10;
const AGE_NOISE_DAYS: i64 = 1_400;
