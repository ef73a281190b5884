//! What the demo leaves its reader with when the town keeps running: how to ask it something, whom to ask about for each
//! verdict, and how to stop it.

use std::path::Path;

use super::guide::Guide;
use crate::{
    harness::Town,
    population::{Cast, Population, Resident},
};

/// What there is to tell about a town that keeps running.
#[derive(Debug)]
pub struct Farewell<'a> {
    /// The town.
    pub town: &'a Town,
    /// The people in it.
    pub population: &'a Population,
    /// The four applicants.
    pub cast: &'a Cast,
    /// The guide of the item that the grants are for.
    pub guide: &'a Guide,
    /// The department that asks.
    pub office: &'a str,
}

impl Farewell<'_> {
    /// The instructions, with commands that work as they stand.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { town, cast, guide, office, .. } = self;
        let dir = town.dir();
        let period = self.population.last_full_year();
        let basis = guide.legal_bases().first().map(String::as_str).unwrap_or_default();
        let taxation = town.node(TAXATION).id().map(|id| id.to_string()).unwrap_or_default();
        let nobody = without_income(self.population).unwrap_or_default();
        let ids: Vec<String> = town
            .nodes()
            .map(|node| node.id())
            .chain([town.registry().id()])
            .flatten()
            .map(|id| id.to_string())
            .collect();
        format!(
            "The town keeps running in {dir}. To ask it something as the housing office's operator:

  export PATH={programs}:$PATH EXCHANGE_DIR={office_dir}
  exchange-node verify taxation/tax-paid --claim 'annual_income<=60000' --input period={period} \\
    --input tax_type=individual_income --item {item} --basis '{basis}' --case GZF-2026-0101 --officer 1024

It asks whom the question is about. Made-up people, one for each verdict:

  MATCH        {all_true}   earns no more than 60,000
  MISMATCH     {earns_more}   earns more
  NO_RECORD    {nobody}   has paid no income tax
  UNAVAILABLE  {tax_stopped}   after the taxation node was stopped: kill {taxation}
               (start it again: exchange-node serve --config {taxation_config} &)

The receipt it prints finds the evidence again:

  exchange-node evidence show RECEIPT
  exchange-node evidence export RECEIPT -o answer.bundle
  exchange-node evidence verify answer.bundle --authority {authority}

More to try: `exchange-node service list`, `exchange-node access list`, `exchange-node doctor`, `exchange-node --help`.
To stop the town, and to remove its folder:

  kill {ids}
  rm -r {dir}
",
            dir = dir.display(),
            programs = town.programs().dir().display(),
            office_dir = dir.join(office).display(),
            item = guide.item(),
            all_true = cast.all_true.resident_number,
            earns_more = cast.earns_more.resident_number,
            tax_stopped = cast.tax_stopped.resident_number,
            taxation_config = config(dir, TAXATION),
            authority = town.authority_key(),
            ids = ids.join(" "),
        )
    }
}

/// The number of somebody alive who has no income tax record in the last full year.
fn without_income(population: &Population) -> Option<String> {
    let year = population.last_full_year().parse().ok()?;
    let fits = |who: &&Resident| who.died_on.is_none() && who.income(year).is_none();
    population.residents().iter().find(fits).map(|found| found.number.as_str().to_owned())
}

fn config(dir: &Path, department: &str) -> String {
    dir.join(department).join("node.toml").display().to_string()
}

const TAXATION: &str = "taxation";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::{DEMO_REFERENCE_DATE, DEMO_SEED};

    #[test]
    fn somebody_has_no_income_record() {
        let town = Population::generate(DEMO_SEED, 2000, DEMO_REFERENCE_DATE).unwrap();
        let number = without_income(&town).unwrap();
        let mut records = Vec::new();
        town.write(crate::population::Register::TaxPaid, &mut records).unwrap();
        let records = String::from_utf8(records).unwrap();
        let income = format!("{number},{},individual_income", town.last_full_year());
        assert!(!records.contains(&income));
    }
}
