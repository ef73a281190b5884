//! The people at the windows of the town's five items. Like the [`Cast`](super::Cast) they are looked for in the town, so that
//! what the demo shows of them is true of the departments' records.
//!
//! Out of scope: the two registers that only these people stand in (degrees, the housing fund), which are written from them.

use std::io::{self, Write};

use jiff::civil::Date;

use super::{
    Applicant, MaritalStatus, Population, PopulationError, Resident,
    cast::{applicant, has_modest_income, is_insured},
    years_later,
};

/// Who comes to which window. All of them are alive.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Visitors {
    /// Housing, and the housing fund: a household of one, not married, without property, within the income limit, insured. What
    /// is stated is true.
    pub tenant: Applicant,
    /// The pension's: sixty or older.
    pub pensioner: Applicant,
    /// The registration of a birth: the newest child whose parents are married to each other.
    pub family: Family,
    /// The teacher's qualification: of working age.
    pub teacher: Applicant,
}

/// A child with its parents.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Family {
    /// The number of the birth certificate.
    pub certificate_number: String,
    /// The mother.
    pub mother: Applicant,
    /// The father.
    pub father: Applicant,
}

impl Visitors {
    pub(super) fn choose(population: &Population) -> Result<Self, PopulationError> {
        let find = |part: &'static str, fits: &dyn Fn(&Resident) -> bool| {
            let found = population.residents.iter().find(|who| who.is_alive() && fits(who));
            found.map(|who| applicant(population, who)).ok_or(PopulationError::CastIncomplete { part })
        };
        Ok(Self {
            tenant: find("tenant", &|who| {
                is_between(population, who, 22, 55)
                    && who.properties.is_empty()
                    && who.marital_status() != MaritalStatus::Married
                    && has_modest_income(population, who)
                    && is_insured(population, who)
            })?,
            pensioner: find("pensioner", &|who| is_between(population, who, 60, 120))?,
            family: family(population).ok_or(PopulationError::CastIncomplete { part: "family" })?,
            teacher: find("teacher", &|who| is_between(population, who, 25, 50))?,
        })
    }

    /// The degrees that education keeps, as CSV: the teacher's alone.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_degrees(&self, mut out: impl Write) -> io::Result<()> {
        let number = &self.teacher.resident_number;
        writeln!(out, "resident_id,certificate_no,level,awarded_on\n{number},{DEGREE_CERTIFICATE},master,2014-06-30")
    }

    /// The accounts that the housing fund keeps, as CSV: the tenant's alone.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_housing_fund(&self, mut out: impl Write) -> io::Result<()> {
        writeln!(out, "resident_id,months_paid,has_loan\n{},24,false", self.tenant.resident_number)
    }
}

/// The number of the teacher's certificate.
pub const DEGREE_CERTIFICATE: &str = "XW-2014-0007";

/// The newest child here whose parents are alive and married to each other.
fn family(population: &Population) -> Option<Family> {
    let has_both = |child: &&Resident| {
        child.birth.as_ref().is_some_and(|birth| {
            let (mother, father) = (population.resident(birth.mother), population.resident(birth.father));
            let are_a_couple = mother.spouse() == Some(birth.father) && father.spouse() == Some(birth.mother);
            are_a_couple && child.is_alive() && mother.is_alive() && father.is_alive()
        })
    };
    let child = population.residents.iter().filter(has_both).max_by_key(|child| child.number.birth_date())?;
    let birth = child.birth.as_ref()?;
    Some(Family {
        certificate_number: birth.certificate_number.clone(),
        mother: applicant(population, population.resident(birth.mother)),
        father: applicant(population, population.resident(birth.father)),
    })
}

/// Whether somebody is at least `from` and not yet `until` years old.
fn is_between(population: &Population, who: &Resident, from: i64, until: i64) -> bool {
    let today: Date = population.reference_date;
    let born = who.number.birth_date();
    years_later(born, from) <= today && years_later(born, until) > today
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::{DEMO_REFERENCE_DATE, DEMO_SEED};

    #[test]
    fn nearly_every_small_town_has_somebody_for_every_window() {
        assert!(Population::generate(DEMO_SEED, 2_000, DEMO_REFERENCE_DATE).unwrap().visitors().is_ok());
        let lacks = |seed: &u64| Population::generate(*seed, 2_000, DEMO_REFERENCE_DATE).unwrap().visitors().is_err();
        let lacking = (0..20).filter(lacks).count();
        assert!(lacking <= 1, "{lacking} of 20");
        let hamlet = Population::generate(1, 3, DEMO_REFERENCE_DATE).unwrap();
        assert!(matches!(hamlet.visitors(), Err(PopulationError::CastIncomplete { .. })));
    }

    #[test]
    fn what_the_visitors_state_is_true_of_the_town() {
        let town = Population::generate(DEMO_SEED, 2_000, DEMO_REFERENCE_DATE).unwrap();
        let visitors = town.visitors().unwrap();
        let of = |number: &str| town.residents.iter().find(|who| who.number.as_str() == number).unwrap();
        let tenant = of(&visitors.tenant.resident_number);
        assert!(tenant.properties.is_empty() && tenant.spouse().is_none());
        let mother = of(&visitors.family.mother.resident_number);
        let husband = mother.spouse().map(|husband| town.resident(husband).number.as_str());
        assert_eq!(husband, Some(visitors.family.father.resident_number.as_str()));
        let mut degrees = Vec::new();
        visitors.write_degrees(&mut degrees).unwrap();
        assert!(String::from_utf8(degrees).unwrap().contains(&visitors.teacher.resident_number));
        assert_eq!(format!("{:?}", visitors.teacher), "Applicant(…)");
    }
}
