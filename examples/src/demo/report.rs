//! What the demo shows of its cases: a table for people and a summary for machines; and whether it came out as it must.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

use super::{
    evidence::EvidenceChecked,
    handling::{Case, Ending, Fact},
    operations::Operation,
};

/// The summary that `--json` writes.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// One for each applicant, in the order they were handled.
    pub applicants: Vec<ApplicantSummary>,
    /// Every exported bundle was found sound.
    pub evidence_verified: bool,
    /// The altered copy was found out.
    pub tampering_detected: bool,
    /// How many certificates nobody had to fetch: facts that the office accepts.
    pub certificates_not_asked_for: usize,
    /// What came of the town's five items at their windows, and of the commitments, in this order.
    pub items: Vec<Operation>,
    /// What operators and the authority did, in this order.
    pub operations: Vec<Operation>,
    /// How long the demo took, in milliseconds.
    pub elapsed_ms: u64,
}

/// One applicant in the summary.
#[derive(Clone, Debug, Serialize)]
pub struct ApplicantSummary {
    /// The name, which is made up.
    pub name: String,
    /// The facts, in the order of the guide.
    pub facts: Vec<FactSummary>,
}

/// One fact in the summary.
#[derive(Clone, Debug, Serialize)]
pub struct FactSummary {
    /// The paper once asked for.
    pub proof: String,
    /// The service that answers instead, `<department>/<service>`.
    pub service: String,
    /// `MATCH`, `MISMATCH`, `NO_RECORD`, `UNAVAILABLE` or `REFUSED`.
    pub verdict: &'static str,
    /// No row was found, and the provider declares what that means.
    pub by_absence: bool,
    /// Whether the office relies on it in place of the paper.
    pub accepted: bool,
    /// How long the office waited.
    pub milliseconds: f64,
    /// Finds the evidence again.
    pub receipt: String,
}

impl Summary {
    /// Sums the demo up.
    #[must_use]
    pub fn of(
        cases: &[Case],
        evidence: &EvidenceChecked,
        items: Vec<Operation>,
        operations: Vec<Operation>,
        elapsed_ms: u64,
    ) -> Self {
        let fact = |fact: &Fact| FactSummary {
            proof: fact.proof.name.clone(),
            service: fact.proof.path(),
            verdict: fact.ending.verdict(),
            by_absence: fact.ending == Ending::Match { by_absence: true },
            accepted: fact.is_accepted,
            milliseconds: (fact.milliseconds * 1000.0).round() / 1000.0,
            receipt: fact.receipt.clone(),
        };
        let applicant =
            |case: &Case| ApplicantSummary { name: case.name.clone(), facts: case.facts.iter().map(fact).collect() };
        Self {
            applicants: cases.iter().map(applicant).collect(),
            evidence_verified: evidence.is_verified,
            tampering_detected: evidence.is_tampering_detected,
            certificates_not_asked_for: cases
                .iter()
                .flat_map(|case| &case.facts)
                .filter(|fact| fact.is_accepted)
                .count(),
            items,
            operations,
            elapsed_ms,
        }
    }

    /// What did not come out as the demo promises, each in a sentence.
    #[must_use]
    pub fn surprises(&self) -> Vec<String> {
        let mut surprises = Vec::new();
        for (applicant, exception) in self.applicants.iter().zip(EXCEPTIONS) {
            for fact in &applicant.facts {
                let expected = exception.filter(|(service, _)| *service == fact.service);
                let expected = expected.map_or("MATCH", |(_, verdict)| verdict);
                if fact.verdict != expected {
                    let FactSummary { proof, verdict, .. } = fact;
                    surprises.push(format!("{}: {proof} came out as {verdict}, not {expected}", applicant.name));
                } else if fact.verdict == "MATCH" && !fact.accepted {
                    surprises.push(format!("{}: {} was not accepted", applicant.name, fact.proof));
                }
            }
        }
        if !self.evidence_verified {
            surprises.push("the exported evidence was not found sound".to_owned());
        }
        if !self.tampering_detected {
            surprises.push("the altered copy of the evidence was not found out".to_owned());
        }
        surprises.extend(
            self.items
                .iter()
                .chain(&self.operations)
                .filter(|operation| !operation.done)
                .map(|operation| format!("{}: {}", operation.name, operation.said)),
        );
        surprises
    }
}

/// What must not match, for each applicant in turn.
const EXCEPTIONS: [Option<(&str, &str)>; 4] = [
    None,
    Some(("taxation/tax-paid", "MISMATCH")),
    Some(("human-resources/social-insurance", "NO_RECORD")),
    Some(("taxation/tax-paid", "UNAVAILABLE")),
];

/// The table of one case, in at most `width` columns, where there is a limit.
#[must_use]
pub fn table(case: &Case, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(["proof once asked for", "department that answers", "verdict", "ms", "evidence receipt"]);
    for fact in &case.facts {
        let department = fact.proof.department;
        table.add_row([
            Cell::new(format!("{}\n{}", fact.proof.name, fact.proof.gloss)),
            Cell::new(format!("{}\n{}", department.name, department.name_en)),
            Cell::new(format!("{}\n{}", fact.ending.verdict(), plainly(fact))),
            Cell::new(format!("{:.1}", fact.milliseconds)).set_alignment(CellAlignment::Right),
            Cell::new(&fact.receipt),
        ]);
    }
    // A number that is broken over two lines cannot be copied.
    for column in [MILLISECONDS, RECEIPT] {
        if let Some(column) = table.column_mut(column) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

const MILLISECONDS: usize = 3;
const RECEIPT: usize = 4;

/// The verdict in plain words.
fn plainly(fact: &Fact) -> String {
    match &fact.ending {
        Ending::Match { by_absence: false } => "the record says so".to_owned(),
        Ending::Match { by_absence: true } if fact.is_accepted => "no entry in a complete register".to_owned(),
        Ending::Match { by_absence: true } => "by absence: not accepted without a match of identity".to_owned(),
        Ending::Mismatch => "the record says otherwise".to_owned(),
        Ending::NoRecord => "nothing on file: neither yes nor no".to_owned(),
        Ending::Refused(code) => format!("refused: {code}"),
        Ending::Unavailable(reason) => format!("no answer ({reason}): says nothing of the person"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::handling::tests::facts;

    const MATCH: Ending = Ending::Match { by_absence: false };

    fn case(exception: Option<(usize, Ending)>) -> Case {
        let mut endings = vec![MATCH; 6];
        endings[2] = Ending::Match { by_absence: true };
        if let Some((place, ending)) = exception {
            endings[place] = ending;
        }
        Case { name: "宁小河".to_owned(), number: "GZF-2026-0001".to_owned(), facts: facts(&endings) }
    }

    fn cases() -> Vec<Case> {
        let unavailable = Ending::Unavailable("unreachable".to_owned());
        vec![
            case(None),
            case(Some((3, Ending::Mismatch))),
            case(Some((4, Ending::NoRecord))),
            case(Some((3, unavailable))),
        ]
    }

    fn sound() -> EvidenceChecked {
        EvidenceChecked { is_verified: true, is_tampering_detected: true, ..EvidenceChecked::default() }
    }

    #[test]
    fn what_must_come_out_is_no_surprise() {
        let summary = Summary::of(&cases(), &sound(), Vec::new(), Vec::new(), 5);
        assert_eq!(summary.surprises(), Vec::<String>::new());
        assert_eq!(summary.certificates_not_asked_for, 21);
    }

    #[test]
    fn whatever_else_comes_out_is_one() {
        let mut wrong = cases();
        wrong[3] = case(Some((3, Ending::Mismatch)));
        wrong[0] = case(Some((0, Ending::Refused("GRANT_MISSING".to_owned()))));
        let failed = Operation { name: "commitment_broken", done: false, said: "it is still open".to_owned() };
        let surprises = Summary::of(&wrong, &EvidenceChecked::default(), vec![failed], Vec::new(), 5).surprises();
        assert_eq!(surprises.len(), 6, "{surprises:?}");
        assert!(surprises[0].contains("REFUSED, not MATCH"));
        // Without a match of identity an absence is not accepted.
        assert!(surprises[1].contains("无房证明 was not accepted"));
        assert!(surprises[2].contains("MISMATCH, not UNAVAILABLE"));
        assert_eq!(surprises[5], "commitment_broken: it is still open");
    }

    #[test]
    fn a_narrow_terminal_gets_a_narrow_table() {
        let width = |line: &str| line.chars().map(|letter| if letter > '\u{2fff}' { 2 } else { 1 }).sum::<usize>();
        let widest = |limit| table(&case(None), limit).lines().map(width).max().unwrap();
        assert!(widest(None) > 100);
        assert!(widest(Some(78)) <= 78);
        assert!(table(&case(None), Some(78)).contains("7-0011223344556677"));
    }

    #[test]
    fn the_summary_has_the_promised_keys() {
        let json = serde_json::to_value(Summary::of(&cases(), &sound(), Vec::new(), Vec::new(), 5)).unwrap();
        let fact = &json["applicants"][1]["facts"][3];
        assert_eq!((fact["proof"].as_str(), fact["service"].as_str()), (Some("收入证明"), Some("taxation/tax-paid")));
        assert_eq!((fact["verdict"].as_str(), fact["milliseconds"].as_f64()), (Some("MISMATCH"), Some(1.25)));
        assert_eq!(
            (json["evidence_verified"].as_bool(), json["tampering_detected"].as_bool()),
            (Some(true), Some(true))
        );
        assert_eq!((json["certificates_not_asked_for"].as_u64(), json["elapsed_ms"].as_u64()), (Some(21), Some(5)));
    }

    #[test]
    fn the_table_tells_every_verdict_plainly() {
        let tables: String = cases().iter().map(|case| table(case, None)).collect();
        for words in
            ["身份及户籍证明", "no entry in a complete register", "MISMATCH", "neither yes nor no", "(unreachable)"]
        {
            assert!(tables.contains(words), "{words} is missing in\n{tables}");
        }
    }
}
