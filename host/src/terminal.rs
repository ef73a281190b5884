//! What commands print for people: tables, lists of facts, progress. Out of scope: what is said, and JSON.

use std::{borrow::Cow, time::Duration};

use comfy_table::{Cell, ColumnConstraint, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A table with a header. A column in which nobody has anything to say is left out: it would only make the table wider.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header.map(Cell::new));
    table.add_rows(rows);
    for column in 0..table.column_count() {
        let is_empty = table.row_count() > 0
            && table.column_cells_iter(column).all(|cell| cell.is_none_or(|cell| cell.content().is_empty()));
        if let Some(column) = table.column_mut(column).filter(|_| is_empty) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
    // Padding at the ends of lines is noise in files and diffs.
    table.trim_fmt()
}

/// A table of names and values, without those that are empty.
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let rows = facts.into_iter().filter(|(_, value)| !value.is_empty());
    table.add_rows(rows.map(|(name, value)| [name.to_owned(), value]));
    table.trim_fmt()
}

/// A bar on standard error that says how far something has come; it shows nothing where standard error is no terminal.
/// The unit names what is counted.
pub fn progress(doing: impl Into<Cow<'static, str>>, of: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr());
    let template = format!("{{msg}} [{{bar:30}}] {{human_pos}} of {{human_len}} {unit} {{per_sec}} {{eta}}");
    bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(doing);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_takes_two_columns() {
        let table = table(["name", "state"], [["婚姻登记核验".into(), "ok".into()], ["abc".into(), "正常".into()]]);
        let widths: Vec<usize> = table
            .lines()
            .map(|line| line.chars().map(|character| if character > '\u{2fff}' { 2 } else { 1 }).sum())
            .collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let told = table(["verdict", "note"], [["MATCH".into(), String::new()]]);
        assert!(told.contains("MATCH") && !told.contains("note"), "{told}");
        assert!(table(["verdict", "note"], []).contains("note"));
        let told = facts([("name", "民政局".into()), ("notice", String::new())]);
        assert!(told.contains("民政局") && !told.contains("notice"), "{told}");
    }

    #[test]
    fn progress_is_counted() {
        let bar = progress("verifying", 10, "statements");
        bar.set_position(4);
        assert_eq!((bar.position(), bar.length()), (4, Some(10)));
        bar.finish_and_clear();
    }
}
