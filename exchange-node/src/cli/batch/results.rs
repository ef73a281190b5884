//! The results of a batch as a file that spreadsheet programs open as it is meant: UTF-8 with its mark, a long number stays
//! the text that it is, and nothing in a cell is a formula. Out of scope: where the results come from.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use proto::{
    exchange::v1::Verdict,
    office::v1::{BatchJob, BatchResult, BatchResultsRequest, State, batches_client::BatchesClient},
};
use tonic::transport::Channel;

use super::{
    Error, VerifyArgs,
    map::{Language, Map, Records},
};

/// The byte order mark, by which spreadsheet programs know UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Writes every row of the file with its result; how many there were.
pub(super) async fn write(
    args: &VerifyArgs,
    map: &Map,
    digest: &str,
    job: &BatchJob,
    batches: &mut BatchesClient<Channel>,
) -> Result<u64, Error> {
    let unwritable = |source: io::Error| Error::FileUnusable { doing: "write", path: args.output.clone(), source };
    if map.check(&args.file)? != digest {
        return Err(Error::Usage(format!("{} has changed meanwhile: run the command again", args.file.display())));
    }
    let mut name = args.output.clone().into_os_string();
    name.push(".part");
    // Whole or not at all: a file that looks finished is.
    let part = Unfinished(PathBuf::from(name));
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part.0).map_err(unwritable)?;
    let mut out = BufWriter::new(file);
    out.write_all(MARK).map_err(unwritable)?;
    let mut out = csv::Writer::from_writer(out);
    let csv_failed = |error: csv::Error| unwritable(io::Error::other(error));
    let Records { header, records, .. } = Records::open(&args.file)?;
    let keep = |cell: &str| if args.plain { cell.to_owned() } else { safe(cell) };
    let claims = map.claim_names();
    let columns =
        header.iter().map(|column| keep(column.trim_start_matches('\u{feff}'))).chain(titles(map.language(), &claims));
    out.write_record(columns).map_err(csv_failed)?;
    let mut page: std::vec::IntoIter<BatchResult> = Vec::new().into_iter();
    let mut row = 0;
    for record in records {
        let result = match page.next() {
            Some(result) => result,
            None => {
                let request = BatchResultsRequest { job: job.job.clone(), from_row: row };
                page = batches.results(request).await?.into_inner().results.into_iter();
                let missing =
                    || Error::Usage(format!("the job has no result for row {}: another file was handed in", row + 1));
                page.next().ok_or_else(missing)?
            }
        };
        let record = record?;
        let cells = record.iter().map(str::to_owned).chain(cells(map.language(), &claims, &result));
        out.write_record(cells.map(|cell| keep(&cell))).map_err(csv_failed)?;
        row += 1;
    }
    let out = out.into_inner().map_err(|error| unwritable(io::Error::other(error.to_string())))?;
    let file: File = out.into_inner().map_err(|error| unwritable(io::Error::other(error.to_string())))?;
    file.sync_all().map_err(unwritable)?;
    fs::rename(&part.0, &args.output).map_err(unwritable)?;
    Ok(row)
}

/// A file that is not whole yet, and goes where it never is.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where it was renamed there is nothing left.
        let _ = fs::remove_file(&self.0);
    }
}

fn titles(language: Language, claims: &[String]) -> Vec<String> {
    let (state, verdict, as_of, reason, receipt) = match language {
        Language::Zh => ("核验状态", "核验结论", "记录日期", "原因", "存证回执"),
        Language::En => ("state", "verdict", "record as of", "reason", "receipt"),
    };
    let verdicts = claims.iter().map(|claim| format!("{verdict}: {claim}"));
    std::iter::once(state.to_owned()).chain(verdicts).chain([as_of, reason, receipt].map(str::to_owned)).collect()
}

fn cells(language: Language, claims: &[String], result: &BatchResult) -> Vec<String> {
    let state = match (result.state(), language) {
        (State::Answered, Language::Zh) => "已答复",
        (State::Answered, Language::En) => "answered",
        (State::Refused, Language::Zh) => "被拒绝",
        (State::Refused, Language::En) => "refused",
        (_, Language::Zh) => "未答复",
        (_, Language::En) => "unanswered",
    };
    let verdict = |index: usize| {
        let found = result.verdicts.get(index).map(|claim| claim.verdict());
        match (found, language) {
            (Some(Verdict::Match), Language::Zh) => "一致",
            (Some(Verdict::Mismatch), Language::Zh) => "不一致",
            (Some(Verdict::NoRecord), Language::Zh) => "无记录",
            (Some(Verdict::Unavailable), Language::Zh) => "暂不能核验",
            (Some(Verdict::Match), Language::En) => "match",
            (Some(Verdict::Mismatch), Language::En) => "mismatch",
            (Some(Verdict::NoRecord), Language::En) => "no record",
            (Some(Verdict::Unavailable), Language::En) => "unavailable",
            (Some(Verdict::Unspecified) | None, _) => "",
        }
        .to_owned()
    };
    let reasons: Vec<&str> =
        result.verdicts.iter().map(|claim| claim.reason.as_str()).filter(|text| !text.is_empty()).collect();
    let reason = match &result.refusal {
        Some(refusal) => {
            let at = if refusal.field.is_empty() { String::new() } else { format!(" ({})", refusal.field) };
            format!("{}{at}: {}; {}", refusal.code, refusal.message, refusal.next_step)
        }
        None => reasons.join("; "),
    };
    std::iter::once(state.to_owned())
        .chain((0..claims.len()).map(verdict))
        .chain([result.record_as_of.clone(), reason, result.receipt.clone()])
        .collect()
}

/// From so many digits on a spreadsheet program makes 8.9E+17 of a number.
const LONG: usize = 11;

/// A cell that a spreadsheet program shows as the text that it is: a tab before a long number or one that begins with a zero, and
/// before what it would take for a date or a power of ten, as many case numbers look; an apostrophe before what would be a formula.
fn safe(cell: &str) -> String {
    let digits = cell.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits > 0 && cell.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'X' | b'x'));
    if is_number && (cell.len() >= LONG || (cell.len() > 1 && cell.starts_with('0'))) || is_mistaken(cell) {
        return format!("\t{cell}");
    }
    let rest = cell.trim_start_matches(['\t', '\r', '\n', ' ']);
    if rest.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) {
        return format!("'{rest}");
    }
    cell.to_owned()
}

/// Whether it looks like a power of ten (`12E34`), or like a date (`2026-11`, `3/4`) and is not one that is written in full, which
/// stays what it is.
fn is_mistaken(cell: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((digits, power)) = cell.split_once(['E', 'e']) {
        let power = power.strip_prefix(['+', '-']).unwrap_or(power);
        let digits = digits.split('.').collect::<Vec<_>>();
        return digits.len() <= 2 && digits.iter().all(|digits| is_digits(digits)) && is_digits(power);
    }
    let parts: Vec<&str> = cell.split(['-', '/']).collect();
    let is_full_date = parts.len() == 3 && parts[0].len() == 4 && cell.len() == 10 && !cell.contains('/');
    (2..=3).contains(&parts.len()) && parts.iter().all(|part| is_digits(part) && part.len() <= 4) && !is_full_date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_a_text_and_nothing_is_a_formula() {
        assert_eq!(safe("890101199003070011"), "\t890101199003070011");
        assert_eq!(safe("89010119900307001X"), "\t89010119900307001X");
        assert_eq!(safe("007"), "\t007");
        assert_eq!(safe("0"), "0");
        assert_eq!(safe("60000.50"), "60000.50");
        for mistaken in ["2026-11", "11-2026", "3/4", "2026-1-2", "12E34", "1.5e-3", "7e+12"] {
            assert_eq!(safe(mistaken), format!("\t{mistaken}"));
        }
        for plain in ["2026-11-30", "GZF-2026-0001", "2026-00001", "1-2-3-4", "E12", "12E", "12E3A", "-", "A-1"] {
            let safe = safe(plain);
            assert!(safe == plain || safe == "'-", "{plain}: {safe}");
        }
        assert_eq!(safe("=HYPERLINK(\"http://x\")"), "'=HYPERLINK(\"http://x\")");
        assert_eq!(safe("\t=1+1"), "'=1+1");
        for begin in ["+1", "-1", "@SUM(A1)", "＝1"] {
            assert!(safe(begin).starts_with('\''), "{begin}");
        }
        assert_eq!(safe("张三"), "张三");
        assert_eq!(safe(&safe("890101199003070011")), "\t890101199003070011", "read again it is the same");
    }

    #[test]
    fn a_result_has_a_cell_for_each_title_in_both_languages() {
        let claims = ["alive equals".to_owned(), "area between".to_owned()];
        let refused = BatchResult { row: 1, ..BatchResult::default() };
        for language in [Language::Zh, Language::En] {
            assert_eq!(titles(language, &claims).len(), cells(language, &claims, &refused).len());
        }
    }
}
