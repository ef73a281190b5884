//! What is shown of the questions about a subject, to whom: officers and citizens see neither the officer who asked nor what
//! is under embargo; auditors see both. Out of scope: finding them (the parent).

use proto::{
    exchange::v1::{self as wire, answer::Outcome},
    office::v1::{AskedAbout, AskedAttribute, ListAskedResponse},
};
use trust::{
    directory::Directory,
    ids::Party,
    refusal::{Code, Refusal},
    subject::Subject,
};

use super::{Error, QuestionAt, SubjectLog};

/// How many are listed, where nobody says otherwise, and at most.
const USUALLY: u32 = 100;
const MOST: u32 = 500;

/// Who looks.
#[derive(Clone, Debug)]
pub(super) enum Viewer {
    /// An officer of the department, or an auditor.
    Officer { name: String, auditor: bool },
    /// A citizens' portal, by its key's name.
    Portal(String),
}

impl Viewer {
    fn is_auditor(&self) -> bool {
        matches!(self, Self::Officer { auditor: true, .. })
    }
}

/// What is looked for.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) subject: wire::Subject,
    pub(super) most: u32,
    pub(super) cursor: String,
}

impl SubjectLog {
    /// What a viewer may see, once the look-up is recorded. Blocks.
    pub(super) fn look(&self, viewer: &Viewer, look: &Look) -> Result<Result<ListAskedResponse, Refusal>, Error> {
        if let Viewer::Officer { name, auditor } = viewer {
            let named = if *auditor { &self.settings.auditors } else { &self.settings.officers };
            // An auditor may look as an officer too.
            let may = named.contains(name) || (!auditor && self.settings.auditors.contains(name));
            if name.is_empty() {
                return Ok(Err(Refusal::new(Code::OfficerMissing).at("officer")));
            }
            if !may {
                return Ok(Err(Refusal::new(Code::SubjectLogClosed).at("officer")));
            }
        }
        let seen = self.view.seen();
        let directory = seen.directory();
        let subject = match directory.profile().schemes.parse(&look.subject.scheme, &look.subject.value) {
            Ok(subject) => subject,
            // What is wrong with it would tell the number.
            Err(_) => return Ok(Err(Refusal::new(Code::SubjectMalformed).at("subject"))),
        };
        let Some(behind) = read_cursor(&look.cursor) else {
            return Ok(Err(Refusal::new(Code::MessageMalformed).at("cursor")));
        };
        let most = match look.most {
            0 => USUALLY,
            most => most.min(MOST),
        };
        let (now_ms, auditor) = (self.clock.now_ms(), viewer.is_auditor());
        let mut response = ListAskedResponse::default();
        let mut last = None;
        response.erased = self.each(&subject, &[], |at, of, question| {
            if behind.is_some_and(|behind| at >= behind) {
                return true;
            }
            if response.entries.len() >= most as usize {
                response.next_cursor = last.map(write_cursor).unwrap_or_default();
                return false;
            }
            if let Some(entry) = entry(directory, &question, of, auditor, now_ms) {
                response.entries.push(entry);
                last = Some(at);
            }
            true
        })?;
        self.record_look(viewer, &subject, response.entries.len())?;
        Ok(Ok(response))
    }

    fn record_look(&self, viewer: &Viewer, subject: &Subject, shown: usize) -> Result<(), Error> {
        match viewer {
            Viewer::Officer { name, auditor } => {
                self.record(if *auditor { "auditor" } else { "officer" }, name, subject, shown)
            }
            Viewer::Portal(name) => self.record("portal", name, subject, shown),
        }
    }
}

type At = (u64, usize, u64);

fn write_cursor((at_ms, source, index): At) -> String {
    format!("{at_ms}-{source}-{index}")
}

/// The place behind which a list goes on; `Some(None)` for its beginning.
fn read_cursor(text: &str) -> Option<Option<At>> {
    if text.is_empty() {
        return Some(None);
    }
    let mut parts = text.split('-');
    let at = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(Some(at))
}

/// What is shown of a question; nothing where an embargo holds, or where nobody vouched for whom it came from.
fn entry(directory: &Directory, question: &QuestionAt, of: &str, auditor: bool, now_ms: u64) -> Option<AskedAbout> {
    let request = &question.request;
    let newest = &question.answers.last()?.wire;
    if newest.recipient != request.sender {
        return None;
    }
    let sender: Party = request.sender.parse().ok()?;
    let embargo = embargo_ms(directory, request, &sender);
    if embargo > now_ms && !auditor {
        return None;
    }
    let known = directory.department(sender.department());
    let name = known.map(|known| known.name_at(request.issued_at_ms)).unwrap_or_default();
    let purpose = request.purpose.clone().unwrap_or_default();
    let (outcome, refusal_code, verdicts) = match &newest.outcome {
        Some(Outcome::Verdicts(verdicts)) => ("answered", String::new(), verdicts.verdicts.as_slice()),
        Some(Outcome::Deferral(_)) => ("deferred", String::new(), &[][..]),
        Some(Outcome::Refusal(refusal)) => ("refused", refusal.code.clone(), &[][..]),
        None => return None,
    };
    let attributes = request.claims.iter().enumerate().map(|(number, claim)| {
        let verdict = verdicts.get(number);
        AskedAttribute {
            attribute: claim.attribute.clone(),
            verdict: verdict.map_or(0, |verdict| verdict.verdict),
            disclosed: verdict.is_some_and(|verdict| verdict.disclosed.is_some()),
        }
    });
    Some(AskedAbout {
        asked_at_ms: request.issued_at_ms,
        department: sender.department().to_string(),
        department_name_zh: name.zh,
        department_name_en: name.en,
        service: request.service.clone(),
        major_version: request.service_version,
        item: purpose.item,
        scenario: purpose.scenario,
        legal_bases: purpose.legal_bases,
        case_number: request.case_number.clone(),
        attributes: attributes.collect(),
        outcome: outcome.to_owned(),
        refusal_code,
        corrected: !newest.correction.is_empty(),
        officer: if auditor { request.officer.clone() } else { String::new() },
        embargo_until_ms: if auditor { embargo } else { 0 },
        evidence_of: of.to_owned(),
    })
}

/// Until when a question is under embargo: as the provider's grants between the two for that service and purpose say now.
/// Where none says so there is none.
fn embargo_ms(directory: &Directory, request: &wire::Request, sender: &Party) -> u64 {
    let Ok(recipient) = request.recipient.parse::<Party>() else { return 0 };
    let purpose = request.purpose.as_ref();
    let item = purpose.map_or("", |purpose| purpose.item.as_str());
    let scenario = purpose.map_or("", |purpose| purpose.scenario.as_str());
    directory
        .access_between(recipient.department(), sender.department())
        .filter_map(|(_, access)| access.granted.as_ref())
        .filter(|granted| {
            granted.service == request.service
                && granted.major_version == request.service_version
                && granted.item == item
                && granted.scenario == scenario
        })
        .map(|granted| granted.embargo_until_ms)
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        assert_eq!(read_cursor(&write_cursor((5, 0, 7))), Some(Some((5, 0, 7))));
        assert_eq!(read_cursor(""), Some(None));
        for wrong in ["5", "5-0", "5-0-7-1", "a-0-1", "5-0-x"] {
            assert_eq!(read_cursor(wrong), None, "{wrong}");
        }
    }
}
