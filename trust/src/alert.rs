//! What a node tells the authority of a department's asking: kinds, departments and counts, signed by the node. Never a
//! subject, a value, a case or an officer: the message has no room for any. Out of scope: what looks wrong, and where it
//! is kept.

use proto::{exchange::v1::Envelope, registry::v1::EventReport};

use crate::{
    directory::Directory,
    envelope::EnvelopeError,
    ids::{DepartmentId, NodeId},
    node_message,
    question::refuse_envelope,
    refusal::{Code, Refusal},
};

/// The largest report in bytes.
pub const LARGEST_REPORT: usize = 16 * 1024;

/// The most events of one report.
pub const MOST_EVENTS: usize = 100;

/// A report whose node and content were checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The department whose node told it.
    pub department: DepartmentId,
    /// The node.
    pub node: NodeId,
    /// What it told.
    pub told: EventReport,
}

/// Opens a report: by a node of the directory, of now, with nothing in it but what belongs there.
///
/// # Errors
/// What is wrong, and where.
pub fn open(directory: &Directory, envelope: &Envelope, now_ms: u64) -> Result<Report, Refusal> {
    let malformed = |field: &str| Refusal::new(Code::MessageMalformed).at(field);
    let named = |told: &EventReport| Ok((told.department.parse()?, told.node.parse()?));
    let opened = node_message::open(directory, envelope, LARGEST_REPORT, named, |key| key.counts(now_ms, None));
    let (department, node, told) = opened.map_err(|error| match error {
        node_message::Error::Envelope(EnvelopeError::KeyUnknown) => Refusal::new(Code::KeyUnknown).at("signatures"),
        node_message::Error::Envelope(error) => refuse_envelope(&error),
        node_message::Error::Key(code) => Refusal::new(code).at("signatures"),
        node_message::Error::Named(error) => malformed("department").because(error),
    })?;
    if told.exchange_id != directory.exchange().as_str() {
        return Err(Refusal::new(Code::ExchangeWrong).at("exchange_id"));
    }
    let skew_ms = directory.profile().clock_skew_ms;
    if told.at_ms > now_ms.saturating_add(skew_ms) {
        return Err(Refusal::new(Code::RequestFromFuture).at("at_ms"));
    }
    // An hour: whoever kept an old report could only say again what was said.
    if told.at_ms.saturating_add(3_600_000) < now_ms {
        return Err(Refusal::new(Code::RequestTooOld).at("at_ms"));
    }
    if told.events.is_empty() || told.events.len() > MOST_EVENTS {
        return Err(malformed("events").because(format!("1 to {MOST_EVENTS}")));
    }
    for (index, event) in told.events.iter().enumerate() {
        let is_kind = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        if event.kind.is_empty() || event.kind.len() > 32 || !event.kind.bytes().all(is_kind) {
            return Err(malformed(&format!("events[{index}].kind")));
        }
        let known = event.department.parse().ok().filter(|id: &DepartmentId| directory.department(id).is_some());
        if known.is_none() {
            return Err(Refusal::new(Code::DepartmentUnknown).at(format!("events[{index}].department")));
        }
        let day: Option<jiff::civil::Date> = event.day.parse().ok();
        if day.is_none_or(|day| day.to_string() != event.day) {
            return Err(malformed(&format!("events[{index}].day")));
        }
    }
    Ok(Report { department, node, told })
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::EventCount;

    use super::*;
    use crate::{
        envelope,
        fixture::{Fixture, NOW_MS, key},
    };

    fn report() -> EventReport {
        let event = EventCount {
            kind: "many_subjects".into(),
            department: "housing".into(),
            day: "2026-01-01".into(),
            count: 51,
        };
        EventReport {
            exchange_id: "ninghe".into(),
            department: "civil-affairs".into(),
            node: "1".into(),
            at_ms: NOW_MS,
            events: vec![event],
        }
    }

    fn opened(fixture: &Fixture, report: &EventReport, signer: &str) -> Result<Report, (Code, String)> {
        let envelope = envelope::seal(report, &key(signer)).0;
        open(&fixture.directory, &envelope, NOW_MS).map_err(|refusal| (refusal.code, refusal.field))
    }

    #[test]
    fn a_node_tells_under_its_own_key_and_nobody_else_does() {
        let fixture = Fixture::town();
        let told = opened(&fixture, &report(), "civil-affairs node 1").unwrap();
        assert_eq!((told.department.as_str(), told.node.as_str(), told.told), ("civil-affairs", "1", report()));
        for signer in ["housing node 1", "civil-affairs", "authority", "stranger"] {
            assert_eq!(opened(&fixture, &report(), signer).unwrap_err().1, "signatures", "{signer}");
        }
    }

    #[test]
    fn a_report_has_no_room_for_anything_but_counts() {
        let fixture = Fixture::town();
        type Change<'a> = (&'a str, &'a dyn Fn(&mut EventReport));
        let changes: [Change<'_>; 9] = [
            ("exchange_id", &|report| report.exchange_id = "elsewhere".into()),
            ("at_ms", &|report| report.at_ms += 120_000),
            ("at_ms", &|report| report.at_ms -= 3_700_000),
            ("events", &|report| report.events.clear()),
            ("events", &|report| report.events = vec![report.events[0].clone(); 101]),
            ("events[0].kind", &|report| report.events[0].kind = "890101199003070011".into()),
            ("events[0].kind", &|report| report.events[0].kind = "a".repeat(33)),
            ("events[0].department", &|report| report.events[0].department = "nobody".into()),
            ("events[0].day", &|report| report.events[0].day = "2026-1-1".into()),
        ];
        for (field, change) in changes {
            let mut report = report();
            change(&mut report);
            assert_eq!(opened(&fixture, &report, "civil-affairs node 1").unwrap_err().1, field);
        }
    }
}
