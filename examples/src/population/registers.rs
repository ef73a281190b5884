//! What each department's register holds of the town, as CSV: one file for each data service, sorted by subject, in
//! the columns of the service's description (`examples/town/services`).
//!
//! UTF-8 with a header and LF line ends. Booleans are `true` and `false`, dates `YYYY-MM-DD`, money has two decimals,
//! and an empty cell is a value that the row does not have.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::{MaritalEvent, Population, Resident};

/// A register, named for the data service that answers from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Register {
    /// Birth certificates; the one register whose subject is a certificate, not a person.
    BirthCertificate,
    /// Death certificates.
    DeathCertificate,
    /// Marriage registration.
    MarriageRegistration,
    /// Property ownership.
    PropertyOwnership,
    /// The resident register.
    ResidentIdentity,
    /// Social insurance contributions.
    SocialInsurance,
    /// Subsistence allowances.
    SubsistenceAllowance,
    /// Taxes paid.
    TaxPaid,
}

impl Register {
    /// Every register, in the order of their names.
    pub const ALL: [Self; 8] = [
        Self::BirthCertificate,
        Self::DeathCertificate,
        Self::MarriageRegistration,
        Self::PropertyOwnership,
        Self::ResidentIdentity,
        Self::SocialInsurance,
        Self::SubsistenceAllowance,
        Self::TaxPaid,
    ];

    /// The id of the data service.
    #[must_use]
    pub const fn service(self) -> &'static str {
        match self {
            Self::BirthCertificate => "birth-certificate",
            Self::DeathCertificate => "death-certificate",
            Self::MarriageRegistration => "marriage-registration",
            Self::PropertyOwnership => "property-ownership",
            Self::ResidentIdentity => "resident-identity",
            Self::SocialInsurance => "social-insurance",
            Self::SubsistenceAllowance => "subsistence-allowance",
            Self::TaxPaid => "tax-paid",
        }
    }

    /// The name of the register's file: the service's id and `.csv`.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{}.csv", self.service())
    }

    /// The columns; the first is the subject's.
    #[must_use]
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::BirthCertificate => &["certificate_no", "birth_date", "mother_resident_id", "mother_name"],
            Self::DeathCertificate => &["resident_id", "name", "deceased", "died_on"],
            Self::MarriageRegistration => {
                &["resident_id", "marital_status", "spouse_resident_id", "registered_on", "registry_office"]
            }
            Self::PropertyOwnership => &["resident_id", "region", "has_property"],
            Self::ResidentIdentity => &["resident_id", "name", "alive"],
            Self::SocialInsurance => {
                &["resident_id", "scheme", "period", "insured", "months_paid", "employer_uscc", "record_as_of"]
            }
            Self::SubsistenceAllowance => &["resident_id", "name", "active", "category", "from"],
            Self::TaxPaid => &["resident_id", "period", "tax_type", "paid", "annual_income", "record_as_of"],
        }
    }
}

impl Population {
    /// Writes one register and returns the number of its rows, the header not counted.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, register: Register, out: impl Write) -> io::Result<u64> {
        let mut table = Table { writer: csv::Writer::from_writer(out), rows: 0 };
        table.writer.write_record(register.columns())?;
        if register == Register::BirthCertificate {
            self.write_births(&mut table)?;
        } else {
            let mut by_number: Vec<&Resident> = self.residents.iter().collect();
            by_number.sort_unstable_by(|one, other| one.number.cmp(&other.number));
            for resident in by_number {
                self.write_rows(register, resident, &mut table)?;
            }
        }
        table.writer.flush()?;
        Ok(table.rows)
    }

    /// Writes each register into its own file in `folder`, which must exist, and returns their numbers of rows.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_all(&self, folder: &Path) -> io::Result<Vec<(Register, u64)>> {
        let write = |register: Register| {
            let file = BufWriter::new(File::create(folder.join(register.file_name()))?);
            Ok((register, self.write(register, file)?))
        };
        Register::ALL.into_iter().map(write).collect()
    }

    fn write_births(&self, table: &mut Table<impl Write>) -> io::Result<()> {
        // Certificates are numbered in the order of the residents, so this is sorted already.
        for resident in &self.residents {
            if let Some(birth) = &resident.birth {
                let mother = self.resident(birth.mother);
                let born = resident.number.birth_date().to_string();
                table.row(&[&birth.certificate_number, &born, mother.number.as_str(), &mother.name])?;
            }
        }
        Ok(())
    }

    fn write_rows(&self, register: Register, resident: &Resident, table: &mut Table<impl Write>) -> io::Result<()> {
        let number = resident.number.as_str();
        match register {
            Register::BirthCertificate => {}
            Register::DeathCertificate => {
                if let Some(died) = resident.died_on {
                    table.row(&[number, &resident.name, "true", &died.to_string()])?;
                }
            }
            Register::MarriageRegistration => {
                for event in &resident.marital_events {
                    table.row(&self.marriage_row(number, event))?;
                }
            }
            Register::PropertyOwnership => {
                for place in &resident.properties {
                    table.row(&[number, place.code, "true"])?;
                }
            }
            Register::ResidentIdentity => table.row(&[number, &resident.name, boolean(resident.is_alive())])?,
            Register::SocialInsurance => {
                let as_of = self.end_of_last_month();
                for paid in &resident.insurance {
                    let (year, months) = (paid.year.to_string(), paid.months.to_string());
                    let employer = paid.employer.as_deref().unwrap_or_default();
                    table.row(&[number, paid.scheme, &year, "true", &months, employer, &as_of])?;
                }
            }
            Register::SubsistenceAllowance => {
                if let Some(allowance) = &resident.allowance {
                    table.row(&[number, &resident.name, "true", allowance.category, &allowance.from.to_string()])?;
                }
            }
            Register::TaxPaid => {
                let as_of = self.end_of_last_month();
                for tax in &resident.taxes {
                    let income = tax.income.map(decimal).unwrap_or_default();
                    let year = tax.year.to_string();
                    table.row(&[number, &year, tax.tax_type, boolean(tax.paid), &income, &as_of])?;
                }
            }
        }
        Ok(())
    }

    fn marriage_row<'a>(&'a self, number: &'a str, event: &'a MaritalEvent) -> [std::borrow::Cow<'a, str>; 5] {
        let spouse = event.spouse.map_or("", |spouse| self.resident(spouse).number.as_str());
        let registered_on = event.registered_on.to_string();
        [number.into(), event.status.as_str().into(), spouse.into(), registered_on.into(), event.office.into()]
    }

    /// Taxation and social insurance close their books monthly.
    fn end_of_last_month(&self) -> String {
        super::days_later(self.reference_date.first_of_month(), -1).to_string()
    }
}

struct Table<W: Write> {
    writer: csv::Writer<W>,
    rows: u64,
}

impl<W: Write> Table<W> {
    fn row(&mut self, cells: &[impl AsRef<str>]) -> io::Result<()> {
        self.rows += 1;
        self.writer.write_record(cells.iter().map(AsRef::as_ref)).map_err(io::Error::from)
    }
}

const fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Yuan with two decimals.
fn decimal(fen: u64) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn money_has_two_decimals() {
        assert_eq!(decimal(4_800_000), "48000.00");
        assert_eq!(decimal(5), "0.05");
    }
}
