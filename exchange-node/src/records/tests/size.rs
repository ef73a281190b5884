//! Many records: shuffled or sorted, they are all found. Time and memory are printed, not judged.

use std::io::{Read, Write};
use std::time::Instant;

use super::*;

/// How many rows; set `RECORDS_TEST_ROWS` for more.
fn rows() -> u32 {
    std::env::var("RECORDS_TEST_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(200_000)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A file made while it is read, so that it takes no memory.
struct Made {
    next: u32,
    rows: u32,
    stride: u32,
    pending: Vec<u8>,
    at: usize,
}

impl Read for Made {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.pending.len() && self.next < self.rows {
            self.pending.clear();
            self.at = 0;
            for _ in 0..500.min(self.rows - self.next) {
                // A stride without a common factor with the number of rows visits each once.
                let index =
                    u32::try_from(u64::from(self.next) * u64::from(self.stride) % u64::from(self.rows)).unwrap();
                writeln!(self.pending, "{},890101,true,{index}", number(index))?;
                self.next += 1;
            }
        }
        let count = buffer.len().min(self.pending.len() - self.at);
        buffer[..count].copy_from_slice(&self.pending[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn import(stride: u32) {
    let (fixture, service) = (Fixture::new(), service(PROPERTY));
    let (rows, header) = (rows(), b"resident_id,region,has_property,year\n".as_slice());
    let input = header.chain(Made { next: 0, rows, stride, pending: Vec::new(), at: 0 });
    let (began, before, peak) = (Instant::now(), resident_kib(), Mutex::new(0));
    let progress = |_| {
        let mut peak = peak.lock().unwrap();
        *peak = resident_kib().max(*peak);
    };
    let report = fixture.records.import(&service, Format::Csv, false, input, &progress, 0).unwrap();
    assert_eq!((report.rows, report.subjects), (u64::from(rows), u64::from(rows)));
    println!(
        "{rows} rows, stride {stride}: imported in {:?}; resident {before} KiB before, {} KiB at most, {} KiB after",
        began.elapsed(),
        peak.into_inner().unwrap(),
        resident_kib(),
    );
    let fixture = fixture.reopen();
    let (began, looked_up) = (Instant::now(), 20_000);
    for index in (0..looked_up).map(|n| u32::try_from(u64::from(n) * 7_919 % u64::from(rows)).unwrap()) {
        assert_eq!(fixture.column(&service, index, &[("region", "890101")], "year"), [index.to_string()]);
    }
    println!("{looked_up} lookups: {:?} each; resident {} KiB", began.elapsed() / looked_up, resident_kib());
    assert_eq!(fixture.column(&service, rows + 7, &[], "year").len(), 0);
}

#[test]
fn many_records_in_any_order_are_all_found() {
    import(7_919);
}

#[test]
fn many_records_in_order_are_all_found() {
    import(1);
}
