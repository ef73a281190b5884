//! What people live on: work and what follows from it (tax, contributions to social insurance), property, and the
//! subsistence allowance. Income is the sum of wages, so that the tax office and the insurance agree.
//!
//! Out of scope: pensions paid out, and children, who have none of this.

use std::sync::Arc;

use jiff::civil::Date;
use trust::subject::credit_code::{OrganisationCode, Uscc};
use trust::subject::resident_number::Sex;

use super::places::{DIVISIONS, any_division};
use super::random::Random;
use super::{Allowance, Contribution, Resident, TaxPayment, YEARS_OF_RECORDS, days_later, last_full_year, years_later};

/// Gives everybody their livelihood.
pub(super) fn provide(random: Random, residents: &mut [Resident], reference_date: Date) {
    let employers = employers(residents.len() / 50 + 12);
    let mut economy = Economy { random, employers, reference_date };
    for resident in residents {
        economy.work(resident);
        economy.subsistence(resident);
        economy.property(resident);
    }
}

struct Economy {
    random: Random,
    employers: Vec<Arc<str>>,
    reference_date: Date,
}

impl Economy {
    fn years(&self) -> std::ops::RangeInclusive<i16> {
        let last = last_full_year(self.reference_date);
        last - YEARS_OF_RECORDS + 1..=last
    }

    /// The person's tax and contributions over the years that have records.
    fn work(&mut self, resident: &mut Resident) {
        let first_day = years_later(resident.number.birth_date(), self.random.between(18, 24));
        let last_day = resident.died_on.unwrap_or(Date::MAX).min(retirement(resident));
        let occupation = self.random.weighted(&[68, 12, 20]);
        let wage = self.monthly_wage();
        let has_medical_insurance = self.random.chance(600);
        for year in self.years() {
            let months = months_between(first_day, last_day, year);
            // Wages rise by three per cent a year, in tens of yuan.
            let raises = last_full_year(self.reference_date) - year;
            let wage = (0..raises).fold(wage, |wage, _| wage * 97 / 1000 * 10);
            match occupation {
                _ if months == 0 => {}
                0 => self.year_in_employment(resident, year, months, wage),
                1 => {
                    self.pay_income_tax(resident, year, wage * u64::from(months));
                    if has_medical_insurance {
                        resident.insurance.push(Contribution { scheme: "medical", year, months, employer: None });
                    }
                }
                _ => {}
            }
        }
    }

    /// A monthly wage in yuan, a multiple of ten.
    fn monthly_wage(&mut self) -> u64 {
        let (low, high) = *self.random.pick(&WAGE_BANDS);
        self.random.between(low, high).unsigned_abs() * 10
    }

    fn year_in_employment(&mut self, resident: &mut Resident, year: i16, months: u8, wage: u64) {
        let out_of_work = if self.random.chance(120) { self.random.between(1, 8) as u8 } else { 0 };
        let months = months.saturating_sub(out_of_work);
        let changed_after = if self.random.chance(100) { months / 2 } else { 0 };
        let has_bonus = self.random.chance(300);
        for (months, is_last) in [(changed_after, false), (months - changed_after, true)] {
            if months == 0 {
                continue;
            }
            let employer = self.random.pick(&self.employers).clone();
            let bonus = if is_last && has_bonus { 1 } else { 0 };
            self.pay_income_tax(resident, year, wage * (u64::from(months) + bonus));
            for scheme in ["pension", "medical"] {
                let employer = Some(employer.clone());
                resident.insurance.push(Contribution { scheme, year, months, employer });
            }
        }
    }

    fn pay_income_tax(&mut self, resident: &mut Resident, year: i16, yuan: u64) {
        let paid = !self.random.chance(10);
        resident.taxes.push(TaxPayment { year, tax_type: "individual_income", paid, income: Some(yuan * 100) });
    }

    /// The allowance, for some of the living adults whose own income is low.
    fn subsistence(&mut self, resident: &mut Resident) {
        let is_retired = retirement(resident) < self.reference_date;
        let per_mille = match resident.income(last_full_year(self.reference_date)) {
            _ if !resident.is_alive() || self.is_younger_than(18, resident) => return,
            None if is_retired => 25,
            None => 80,
            Some(income) if income <= LOW_INCOME => 250,
            Some(_) => 0,
        };
        if self.random.chance(per_mille) {
            let from = days_later(self.reference_date, -self.random.between(60, 1_800)).first_of_month();
            resident.allowance = Some(Allowance { category: resident.home.allowance_category, from });
        }
    }

    /// Property, for some of the living adults without an allowance, and the deed tax of those who bought lately.
    fn property(&mut self, resident: &mut Resident) {
        if !resident.is_alive() || resident.allowance.is_some() || self.is_younger_than(25, resident) {
            return;
        }
        let per_mille = match resident.income(last_full_year(self.reference_date)) {
            None => 300,
            Some(income) if income <= 6_000_000 => 350,
            Some(_) => 550,
        };
        if !self.random.chance(per_mille) {
            return;
        }
        for _ in 0..=self.random.weighted(&[80, 16, 4]) {
            let place = if self.random.chance(800) { resident.home } else { any_division(&mut self.random) };
            resident.properties.push(place);
        }
        if self.random.chance(80) {
            let (first, last) = self.years().into_inner();
            let year = self.random.between(first.into(), last.into()) as i16;
            resident.taxes.push(TaxPayment { year, tax_type: "deed", paid: true, income: None });
            resident.taxes.sort_by_key(|tax| tax.year);
        }
    }

    fn is_younger_than(&self, age: i64, resident: &Resident) -> bool {
        years_later(resident.number.birth_date(), age) > self.reference_date
    }
}

/// Men retire at 60 and women at 55, the ages that held for most until 2025.
fn retirement(resident: &Resident) -> Date {
    let age = match resident.number.sex() {
        Sex::Female => 55,
        Sex::Male => 60,
    };
    years_later(resident.number.birth_date(), age)
}

/// The months of `year` that lie between the two days as a whole.
fn months_between(first_day: Date, last_day: Date, year: i16) -> u8 {
    if first_day.year() > year || last_day.year() < year {
        return 0;
    }
    let whole = |month: &i8| {
        Date::new(year, *month, 1).is_ok_and(|first| first >= first_day && first.last_of_month() <= last_day)
    };
    (1..=12).filter(whole).count() as u8
}

/// Made-up companies, each with a valid credit code.
fn employers(number: usize) -> Vec<Arc<str>> {
    let company = |index: usize| {
        let organisation = OrganisationCode::compose(&format!("MA{index:06}")).ok()?;
        let division = DIVISIONS[index % DIVISIONS.len()].code;
        let code = Uscc::compose(&format!("91{division}{}", organisation.as_str())).ok()?;
        Some(Arc::from(code.as_str()))
    };
    (1..=number).filter_map(company).collect()
}

/// Bands of monthly wages, in tens of yuan; each is as common as the others.
const WAGE_BANDS: [(i64, i64); 5] = [(190, 340), (320, 480), (450, 640), (600, 1_000), (900, 2_600)];

/// The yearly income, in fen, up to which an allowance is possible.
const LOW_INCOME: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use jiff::civil::{Date, date};
    use trust::subject::credit_code::{Strictness, Uscc};

    use super::{employers, months_between};

    #[test]
    fn only_whole_months_count() {
        let months = |first, last| months_between(first, last, 2025);
        assert_eq!(months(date(2000, 1, 1), Date::MAX), 12);
        assert_eq!(months(date(2025, 3, 2), Date::MAX), 9);
        assert_eq!(months(date(2000, 1, 1), date(2025, 3, 30)), 2);
        assert_eq!(months(date(2000, 1, 1), date(2025, 3, 31)), 3);
        assert_eq!(months(date(2000, 1, 1), date(2024, 12, 31)), 0);
        assert_eq!(months(date(2026, 1, 1), Date::MAX), 0);
    }

    #[test]
    fn every_employer_has_a_valid_code() {
        let employers = employers(500);
        assert_eq!(employers.len(), 500);
        for employer in &employers {
            let code = Uscc::parse(employer, Strictness::Strict).unwrap();
            code.organisation_code().unwrap();
        }
    }
}
