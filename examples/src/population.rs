//! The demo town's people: families, work, homes and papers, consistent with each other across all departments, made
//! from a seed. The departments' records (CSV) and the demo's applicants are drawn from one `Population`.
//!
//! What holds of every population (the tests prove each line):
//! - everybody is made up: numbers are valid (GB 11643), distinct, and in the fictional province 89;
//! - a married couple is married on both sides, on the same day; who married again was divorced or widowed before;
//! - who was born within the last thirty years here has a mother and a father in the register and a birth certificate;
//! - who died has a death certificate, and neither wages, contributions, allowance nor property after it;
//! - **an absent fact has no row**: no marriage row for who never married, no property row for who owns none, no death
//!   row for the living, no allowance row for who receives none.
//!
//! Out of scope: realistic statistics, and any wish to be good data for research. Shares are chosen so that a small
//! town already has somebody of every kind.

mod cast;
mod families;
mod livelihood;
mod names;
mod places;
mod random;
mod registers;
mod visitors;

use jiff::civil::Date;
use trust::subject::resident_number::ResidentNumber;

pub use self::cast::{Applicant, Cast};
pub use self::places::{DIVISIONS, Division};
use self::random::Random;
pub use self::registers::Register;
pub use self::visitors::{DEGREE_CERTIFICATE, Family, Visitors};

/// The seed of the town that the demo starts; tests pin that town.
pub const DEMO_SEED: u64 = 20_261_123;

/// The day the demo's town is described as of. It is fixed, so that the same seed shows the same people next year.
pub const DEMO_REFERENCE_DATE: Date = jiff::civil::date(2026, 11, 23);

/// The largest population that can be made: beyond it the days would run out of numbers.
pub const MOST_RESIDENTS: usize = 5_000_000;

/// How many full years before the reference date have tax and social insurance records.
pub const YEARS_OF_RECORDS: i16 = 2;

/// A made-up town.
#[derive(Debug)]
pub struct Population {
    residents: Vec<Resident>,
    reference_date: Date,
}

impl Population {
    /// Makes a town of exactly `residents` people (some of them dead by now) as it stands on `reference_date`.
    ///
    /// Equal arguments give equal towns, on every machine.
    ///
    /// # Errors
    /// [`PopulationError::TooManyResidents`] over [`MOST_RESIDENTS`], and [`PopulationError::ReferenceDateOutOfRange`].
    pub fn generate(seed: u64, residents: usize, reference_date: Date) -> Result<Self, PopulationError> {
        if residents > MOST_RESIDENTS {
            return Err(PopulationError::TooManyResidents { residents });
        }
        if !(2000..=2150).contains(&reference_date.year()) {
            return Err(PopulationError::ReferenceDateOutOfRange { reference_date });
        }
        let mut residents = families::settle(seed, residents, reference_date);
        livelihood::provide(Random::new(seed, "livelihood"), &mut residents, reference_date);
        Ok(Self { residents, reference_date })
    }

    /// Everybody in the resident register, the dead included, in no particular order.
    #[must_use]
    pub fn residents(&self) -> &[Resident] {
        &self.residents
    }

    /// The person at `index`.
    #[must_use]
    pub fn resident(&self, index: ResidentIndex) -> &Resident {
        &self.residents[index.0]
    }

    /// The day the town is described as of.
    #[must_use]
    pub fn reference_date(&self) -> Date {
        self.reference_date
    }

    /// The last full year before the reference date: the newest period with tax and social insurance records, such as
    /// `"2025"`.
    #[must_use]
    pub fn last_full_year(&self) -> String {
        last_full_year(self.reference_date).to_string()
    }

    /// The people of the demo: see [`Cast`].
    ///
    /// # Errors
    /// [`PopulationError::CastIncomplete`] where the town is too small to have somebody for each part. From 2,000
    /// residents on, nearly every seed has one; [`DEMO_SEED`] has one at 300 already.
    pub fn cast(&self) -> Result<Cast, PopulationError> {
        Cast::choose(self)
    }

    /// The people at the windows of the town's five items.
    ///
    /// # Errors
    /// [`PopulationError::CastIncomplete`] where the town is too small to have somebody for each window.
    pub fn visitors(&self) -> Result<Visitors, PopulationError> {
        Visitors::choose(self)
    }
}

/// Why there is no such town.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PopulationError {
    /// Nobody in the town fits one of the demo's parts.
    #[error("the town has nobody to play `{part}`: make it larger (2,000 residents or more) or take another seed")]
    CastIncomplete {
        /// The part, by the name of its field in [`Cast`] or [`Visitors`].
        part: &'static str,
    },
    /// The town's calendar covers reference dates from 2000 to 2150.
    #[error("the reference date {reference_date} is not between 2000 and 2150")]
    ReferenceDateOutOfRange {
        /// The date asked for.
        reference_date: Date,
    },
    /// More residents than there are numbers for.
    #[error("{residents} residents are more than the {MOST_RESIDENTS} there are numbers for")]
    TooManyResidents {
        /// The number asked for.
        residents: usize,
    },
}

/// One person, with what each department keeps about them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resident {
    /// The resident identity number; it states birth date and sex.
    pub number: ResidentNumber,
    /// The full name, family name first.
    pub name: String,
    /// Where the person lives (or lived).
    pub home: &'static Division,
    /// The day of death, for the dead.
    pub died_on: Option<Date>,
    /// The birth certificate, for who was born here within the last thirty years.
    pub birth: Option<Birth>,
    /// What the marriage register holds, oldest first. Empty: never married.
    pub marital_events: Vec<MaritalEvent>,
    /// What was paid to the tax office, by year, oldest first.
    pub taxes: Vec<TaxPayment>,
    /// Contributions to social insurance, by year, oldest first.
    pub insurance: Vec<Contribution>,
    /// The division of each property owned. Empty: owns none.
    pub properties: Vec<&'static Division>,
    /// The subsistence allowance, for who receives it.
    pub allowance: Option<Allowance>,
}

impl Resident {
    /// What the marriage register says now: its latest event, or never married.
    #[must_use]
    pub fn marital_status(&self) -> MaritalStatus {
        self.marital_events.last().map_or(MaritalStatus::Single, |event| event.status)
    }

    /// Husband or wife, for who is married now.
    #[must_use]
    pub fn spouse(&self) -> Option<ResidentIndex> {
        self.marital_events.last().and_then(|event| event.spouse)
    }

    /// Income from work in `year` in fen (hundredths of a yuan), or `None` without any income tax record.
    #[must_use]
    pub fn income(&self, year: i16) -> Option<u64> {
        let incomes = self.taxes.iter().filter(|tax| tax.year == year).filter_map(|tax| tax.income);
        incomes.fold(None, |sum, income| Some(sum.unwrap_or(0) + income))
    }

    /// Months of contributions to the pension scheme in `year`, over all employers.
    #[must_use]
    pub fn pension_months(&self, year: i16) -> u8 {
        let of_year = |contribution: &&Contribution| contribution.scheme == "pension" && contribution.year == year;
        self.insurance.iter().filter(of_year).map(|contribution| contribution.months).sum()
    }

    fn is_alive(&self) -> bool {
        self.died_on.is_none()
    }
}

/// A person's place in [`Population::residents`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResidentIndex(usize);

/// A birth certificate (出生医学证明).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Birth {
    /// The certificate's number: `A` and nine digits.
    pub certificate_number: String,
    /// The mother.
    pub mother: ResidentIndex,
    /// The father, who was the mother's husband on the day.
    pub father: ResidentIndex,
}

/// A marital status, as the service description enumerates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaritalStatus {
    /// Divorced, and not married again.
    Divorced,
    /// Married.
    Married,
    /// Never married; the register holds no row for it.
    Single,
    /// Widowed, and not married again.
    Widowed,
}

impl MaritalStatus {
    /// The value as records and claims spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Divorced => "divorced",
            Self::Married => "married",
            Self::Single => "single",
            Self::Widowed => "widowed",
        }
    }
}

/// One row of the marriage register for one person.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MaritalEvent {
    /// The status from that day on.
    pub status: MaritalStatus,
    /// Husband or wife, in a wedding's row alone: who is divorced or widowed has none.
    pub spouse: Option<ResidentIndex>,
    /// The day of the wedding, the divorce, or the spouse's death.
    pub registered_on: Date,
    /// Where it was registered.
    pub office: &'static str,
}

/// One tax of one year.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaxPayment {
    /// The year it was due for.
    pub year: i16,
    /// `individual_income`, one for each employer, or `deed` on buying property.
    pub tax_type: &'static str,
    /// Whether it was paid in full.
    pub paid: bool,
    /// The income it was levied on, in fen; none for `deed`.
    pub income: Option<u64>,
}

/// One employer's contributions to one social insurance scheme in one year.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Contribution {
    /// `pension` or `medical`.
    pub scheme: &'static str,
    /// The year.
    pub year: i16,
    /// Months paid, 1 to 12.
    pub months: u8,
    /// The employer's unified social credit code; none where the self-employed pay for themselves.
    pub employer: Option<std::sync::Arc<str>>,
}

/// A subsistence allowance (最低生活保障) that is being paid.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Allowance {
    /// `urban` or `rural`.
    pub category: &'static str,
    /// Since when.
    pub from: Date,
}

fn last_full_year(reference_date: Date) -> i16 {
    reference_date.year() - 1
}

/// `date` moved by `days`; the ends of the calendar hold it.
fn days_later(date: Date, days: i64) -> Date {
    date.saturating_add(jiff::Span::new().days(days))
}

/// The same day `years` later; 28 February stands in for a missing 29th.
fn years_later(date: Date, years: i64) -> Date {
    date.saturating_add(jiff::Span::new().years(years))
}

#[cfg(test)]
mod tests;
