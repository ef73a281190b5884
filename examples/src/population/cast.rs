//! The demo's people: four applicants for public rental housing, and what each states at the window. They are looked
//! for in the town, not added to it, so that whatever the demo shows of them is true of the departments' records.
//!
//! Out of scope: asking the questions. What the answers will be is stated with each part below.

use jiff::civil::Date;

use super::{MaritalStatus, Population, PopulationError, Resident, last_full_year, years_later};

/// The parts. All of them are alive, between 22 and 54, own no property, and state their name, marital status and
/// allowance truly; no two share a name or a marriage.
///
/// The six claims are those of 公租房申请: `name` equals, `marital_status` equals, `has_property` = false,
/// `annual_income` at most [`Applicant::income_at_most`], `months_paid` (pension) at least
/// [`Applicant::months_at_least`], allowance `active` equals.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Cast {
    /// Six matches. Married, and receives the allowance; the spouse owns no property and earns no more than the limit.
    pub all_true: Applicant,
    /// `annual_income` is a mismatch, by at least 5,000 yuan; the other five match.
    pub earns_more: Applicant,
    /// `months_paid` has no record: self-employed, pays income tax but is not insured. The other five match; never
    /// married, so the marital status matches by absence.
    pub no_record: Applicant,
    /// Six matches while every node runs; the demo stops the taxation node before asking about this one.
    pub tax_stopped: Applicant,
}

/// Somebody who applies, and what they state.
///
/// `Debug` shows neither name nor number.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applicant {
    /// The name, stated and true.
    pub name: String,
    /// The resident number.
    pub resident_number: String,
    /// The marital status, stated and true.
    pub marital_status: MaritalStatus,
    /// Whether a subsistence allowance is received, stated and true.
    pub receives_allowance: bool,
    /// The division that the property register is asked about: where the applicant lives.
    pub region: &'static str,
    /// The period that taxation and social insurance are asked about: the last full year, such as `"2025"`.
    pub period: String,
    /// The income limit the applicant states to be within, in yuan.
    pub income_at_most: &'static str,
    /// The months of contributions the applicant states at least.
    pub months_at_least: u8,
}

impl Applicant {
    /// What is stated under `name` in the town's `items.yaml`, as text; `None` where nothing is called so.
    #[must_use]
    pub fn states(&self, name: &str) -> Option<String> {
        match name {
            "marital_status" => Some(self.marital_status.as_str().to_owned()),
            "name" => Some(self.name.clone()),
            "period" => Some(self.period.clone()),
            "receives_allowance" => Some(self.receives_allowance.to_string()),
            "region" => Some(self.region.to_owned()),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Applicant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Applicant(…)")
    }
}

impl Cast {
    /// Finds the first in the town for each part, in the order of the fields.
    pub(super) fn choose(population: &Population) -> Result<Self, PopulationError> {
        let mut casting = Casting { population, chosen: Vec::new() };
        let all_true = casting.find("all_true", |town, who| {
            town.is_within_limits(who)
                && who.allowance.is_some()
                && who.marital_status() == MaritalStatus::Married
                && who.spouse().is_some_and(|spouse| {
                    let spouse = town.population.resident(spouse);
                    spouse.properties.is_empty() && spouse.income(town.year()).unwrap_or(0) <= INCOME_LIMIT_FEN
                })
        })?;
        let earns_more = casting.find("earns_more", |town, who| {
            let excess = who.income(town.year()).unwrap_or(0).saturating_sub(INCOME_LIMIT_FEN);
            town.is_insured(who)
                && (500_000..5_000_000).contains(&excess)
                && who.marital_status() != MaritalStatus::Single
        })?;
        let no_record = casting.find("no_record", |town, who| {
            town.has_modest_income(who) && who.insurance.is_empty() && who.marital_status() == MaritalStatus::Single
        })?;
        let tax_stopped = casting.find("tax_stopped", |town, who| town.is_within_limits(who))?;
        Ok(Self { all_true, earns_more, no_record, tax_stopped })
    }

    /// The four in the order the demo handles them.
    #[must_use]
    pub fn in_order(&self) -> [&Applicant; 4] {
        [&self.all_true, &self.earns_more, &self.no_record, &self.tax_stopped]
    }
}

struct Casting<'a> {
    population: &'a Population,
    chosen: Vec<&'a Resident>,
}

impl<'a> Casting<'a> {
    fn find(
        &mut self,
        part: &'static str,
        fits: impl Fn(&Self, &Resident) -> bool,
    ) -> Result<Applicant, PopulationError> {
        let suits = |who: &&Resident| self.may_apply(who) && fits(self, who);
        let found = self.population.residents.iter().find(suits);
        let found = found.ok_or(PopulationError::CastIncomplete { part })?;
        self.chosen.push(found);
        Ok(applicant(self.population, found))
    }

    fn may_apply(&self, who: &Resident) -> bool {
        let today: Date = self.population.reference_date;
        let birth_date = who.number.birth_date();
        let is_of_age = years_later(birth_date, 22) <= today && years_later(birth_date, 55) > today;
        let is_new = |other: &&Resident| {
            let is_spouse = who.spouse().is_some_and(|spouse| self.population.resident(spouse).number == other.number);
            other.number != who.number && other.name != who.name && !is_spouse
        };
        is_of_age && who.is_alive() && who.properties.is_empty() && self.chosen.iter().all(is_new)
    }

    fn is_within_limits(&self, who: &Resident) -> bool {
        self.has_modest_income(who) && self.is_insured(who)
    }

    fn has_modest_income(&self, who: &Resident) -> bool {
        has_modest_income(self.population, who)
    }

    fn is_insured(&self, who: &Resident) -> bool {
        is_insured(self.population, who)
    }

    fn year(&self) -> i16 {
        last_full_year(self.population.reference_date)
    }
}

/// What somebody states who tells the truth.
pub(super) fn applicant(population: &Population, who: &Resident) -> Applicant {
    Applicant {
        name: who.name.clone(),
        resident_number: who.number.as_str().to_owned(),
        marital_status: who.marital_status(),
        receives_allowance: who.allowance.is_some(),
        region: who.home.code,
        period: population.last_full_year(),
        income_at_most: INCOME_LIMIT,
        months_at_least: LEAST_MONTHS,
    }
}

/// Whether somebody paid income tax in the last full year, on no more than the limit.
pub(super) fn has_modest_income(population: &Population, who: &Resident) -> bool {
    who.income(last_full_year(population.reference_date)).is_some_and(|income| income <= INCOME_LIMIT_FEN)
}

/// Whether somebody paid into the pension scheme in every month of the last full year.
pub(super) fn is_insured(population: &Population, who: &Resident) -> bool {
    who.pension_months(last_full_year(population.reference_date)) >= LEAST_MONTHS
}

const LEAST_MONTHS: u8 = 12;
const INCOME_LIMIT: &str = "60000";
const INCOME_LIMIT_FEN: u64 = 6_000_000;
