//! Medians with their spread, the table, and `summary.json`.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};

use super::load::Point;

/// What was measured at one place with so many in flight, over all rounds.
#[derive(Default)]
pub struct Series(Vec<Point>);

/// Which series: what was asked, of how many records, with how many in flight.
pub type Key = (&'static str, usize, usize);

/// All series of a run.
#[derive(Default)]
pub struct Figures(BTreeMap<Key, Series>);

impl Figures {
    /// Adds a point.
    pub fn add(&mut self, key: Key, point: Point) {
        self.0.entry(key).or_default().0.push(point);
    }

    /// The median of a figure.
    pub fn median(&self, key: Key, figure: impl Fn(&Point) -> f64) -> f64 {
        self.spread(key, figure).map_or(f64::NAN, |(_, median, _)| median)
    }

    /// The median of the ratios of two series, round by round.
    pub fn ratio(&self, over: Key, under: Key, figure: impl Fn(&Point) -> f64) -> f64 {
        let (Some(over), Some(under)) = (self.0.get(&over), self.0.get(&under)) else { return f64::NAN };
        let mut ratios: Vec<f64> =
            over.0.iter().zip(&under.0).map(|(over, under)| figure(over) / figure(under)).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn spread(&self, key: Key, figure: impl Fn(&Point) -> f64) -> Option<(f64, f64, f64)> {
        let mut values: Vec<f64> = self.0.get(&key)?.0.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        Some((*values.first()?, values[values.len() / 2], *values.last()?))
    }

    /// The table for people: median (lowest to highest) of each series.
    pub fn table(&self) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_header(["what", "records", "in flight", "requests/s", "p50 ms", "p99 ms"]);
        for key in self.0.keys() {
            let cell = |figure: fn(&Point) -> f64, decimals: usize| {
                self.spread(*key, figure).map_or_else(String::new, |(low, median, high)| {
                    format!("{median:.decimals$} ({low:.decimals$} to {high:.decimals$})")
                })
            };
            let records = if key.1 == 0 { "-".to_owned() } else { key.1.to_string() };
            table.add_row([
                key.0.to_owned(),
                records,
                key.2.to_string(),
                cell(|point| point.per_second, 0),
                cell(|point| point.p50_ms, 2),
                cell(|point| point.p99_ms, 2),
            ]);
        }
        table
    }

    /// Every series, for the summary.
    pub fn points(&self) -> Value {
        let points = self.0.keys().map(|key| {
            json!({
                "what": key.0, "records": key.1, "in_flight": key.2,
                "per_second": self.median(*key, |point| point.per_second),
                "p50_ms": self.median(*key, |point| point.p50_ms),
                "p99_ms": self.median(*key, |point| point.p99_ms),
                "rounds": self.0[key].0.len(),
            })
        });
        points.collect()
    }
}

/// Puts figures into `target/bench/summary.json`, beside those of other benchmarks.
pub fn write(path: &Path, figures: Map<String, Value>) -> anyhow::Result<()> {
    let mut summary: Map<String, Value> =
        std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    summary.extend(figures);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(&summary)? + "\n")?;
    Ok(())
}
