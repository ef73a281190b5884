//! Whether somebody could tell from how long an answer takes that a person has a record: as many questions about people who have
//! one as about people who have none, in turn, in one run. Out of scope: that both take the same steps, which
//! `who_exists_and_who_does_not_take_the_same_path` shows.

use std::path::Path;

use anyhow::{Context, ensure};
use jiff::civil::date;
use proto::{
    exchange::v1::{Subject, Verdict},
    office::v1::VerifyRequest,
};
use serde_json::{Map, json};
use trust::subject::resident_number::ResidentNumber;

use super::{places::Place, summary};

/// How many people have a record.
const RECORDS: usize = 1000;

/// So many pairs of questions come before any is measured.
const BEFORE: usize = 50;

/// How far the two medians may lie apart: on a shared machine nothing finer can be told.
const APART: f64 = 0.25;

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How many questions of each kind.
    #[arg(long = "questions", default_value_t = 1000)]
    questions: usize,
}

/// Measures, and puts the figure into the summary.
///
/// # Errors
///
/// Where the two can be told apart, too.
pub async fn run(options: &Options, summary: &Path) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("bench").tempdir()?;
    let place = Place::start(&dir.path().join("town"), RECORDS).await?;
    let office = place.town.office("housing").await?;
    let mut took = [Vec::new(), Vec::new()];
    for number in 0..BEFORE + options.questions {
        let known = place.office_request(number as u64);
        let subject = Subject { scheme: "resident_id".into(), value: nobody(number)? };
        let unknown = VerifyRequest { subject: Some(subject), ..known.clone() };
        for (which, request) in [known, unknown].into_iter().enumerate() {
            let answer = office.verify(request).await?;
            let verdict = answer.verdicts.first().context("a verdict")?.verdict();
            ensure!((verdict == Verdict::NoRecord) == (which == 1), "{verdict:?} for number {number} of kind {which}");
            if number >= BEFORE {
                took[which].push(answer.elapsed_ms);
            }
        }
    }
    let [exists, not] = took.map(|mut took| {
        took.sort_by(f64::total_cmp);
        took.get(took.len() / 2).copied().unwrap_or(f64::NAN)
    });
    let over = not / exists;
    println!(
        "median of {} answers: {exists:.3} ms about who has a record, {not:.3} ms about who has none ({over:.3} times; 1 ± {APART} wanted)",
        options.questions
    );
    summary::write(summary, Map::from_iter([("absence_over_existence".to_owned(), json!(over))]))?;
    ensure!((over - 1.0).abs() < APART, "the two can be told apart");
    Ok(())
}

/// A made-up person who is older than anybody in the register.
fn nobody(number: usize) -> anyhow::Result<String> {
    let sequence = u16::try_from(number % 999)? + 1;
    let day = date(1910, 1, 1).checked_add(jiff::Span::new().days(i64::try_from(number / 999)?))?;
    Ok(ResidentNumber::compose("890101", day, sequence).context("a number")?.into_string())
}
