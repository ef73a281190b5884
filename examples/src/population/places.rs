//! The divisions of the fictional province 89, and the office that hands out resident numbers in them.
//!
//! No province has the code 89, so no number made here can belong to a real person.

use std::collections::HashMap;

use jiff::civil::Date;
use trust::subject::resident_number::{ResidentNumber, Sex};

use super::days_later;
use super::random::Random;

/// A county-level division of the fictional prefecture.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Division {
    /// Six digits in the manner of GB/T 2260.
    pub code: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Where its marriages are registered.
    pub marriage_office: &'static str,
    /// Which subsistence allowance its residents would receive: `urban` or `rural`.
    pub allowance_category: &'static str,
}

/// Every division of the town.
pub const DIVISIONS: [Division; 6] = [
    division("890101", "清和区", "清和区民政局婚姻登记处", "urban"),
    division("890102", "望湖区", "望湖区民政局婚姻登记处", "urban"),
    division("890103", "石桥区", "石桥区民政局婚姻登记处", "urban"),
    division("890121", "南屏县", "南屏县民政局婚姻登记处", "rural"),
    division("890122", "云溪县", "云溪县民政局婚姻登记处", "rural"),
    division("890181", "双槐市", "双槐市民政局婚姻登记处", "urban"),
];

const fn division(
    code: &'static str,
    name: &'static str,
    marriage_office: &'static str,
    allowance_category: &'static str,
) -> Division {
    Division { code, name, marriage_office, allowance_category }
}

/// A division, chosen by how many people live there.
pub(super) fn any_division(random: &mut Random) -> &'static Division {
    &DIVISIONS[random.weighted(&[26, 22, 18, 12, 9, 13])]
}

/// Hands out each resident number once.
#[derive(Debug, Default)]
pub(super) struct NumberOffice {
    issued: HashMap<(&'static str, Date, Sex), u16>,
}

impl NumberOffice {
    /// A number nobody has, for `birth_date` or, where the division has used up its numbers of that day and sex, for the
    /// next day that has one left.
    pub(super) fn issue(&mut self, division: &'static Division, birth_date: Date, sex: Sex) -> ResidentNumber {
        let mut birth_date = birth_date;
        loop {
            let issued = self.issued.entry((division.code, birth_date, sex)).or_insert(0);
            if *issued < PER_DAY_AND_SEX {
                // Stepping by a number that shares no factor with 499 visits each sequence once, and not in order.
                let day = u16::from(birth_date.day().unsigned_abs()) * 16;
                let place = (u32::from(*issued) * 163 + u32::from(day)) % u32::from(PER_DAY_AND_SEX);
                *issued += 1;
                let sequence = place as u16 * 2 + if sex == Sex::Male { 1 } else { 2 };
                if let Ok(number) = ResidentNumber::compose(division.code, birth_date, sequence) {
                    return number;
                }
            }
            birth_date = days_later(birth_date, 1);
        }
    }
}

const PER_DAY_AND_SEX: u16 = 499;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jiff::civil::date;
    use trust::subject::resident_number::Sex;

    use super::{DIVISIONS, NumberOffice};

    #[test]
    fn a_day_that_is_used_up_runs_into_the_next() {
        let mut office = NumberOffice::default();
        let mut seen = HashSet::new();
        for index in 0..1000 {
            for sex in [Sex::Female, Sex::Male] {
                let number = office.issue(&DIVISIONS[0], date(1999, 12, 31), sex);
                let born = if index < 499 { date(1999, 12, 31) } else { date(2000, 1, 1) };
                let born = if index < 998 { born } else { date(2000, 1, 2) };
                assert_eq!((number.birth_date(), number.sex(), number.division()), (born, sex, "890101"));
                assert!(seen.insert(number));
            }
        }
    }
}
