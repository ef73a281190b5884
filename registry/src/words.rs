//! What a statement says, in words, for the officer who is about to sign it on a machine without a network. Everything in
//! it is said: a sentence for what it does, and below it every field as it will stand in the directory.
//!
//! Out of scope: whether the statement is allowed; the registry has checked that, and every node will.

use proto::registry::v1::{Key, Statement, statement::Body};
use trust::{key::DescribedKey, reading::moment};

/// A statement in words: the first line says what it does.
pub fn lines(statement: &Statement) -> Vec<String> {
    let mut lines = vec![sentence(statement)];
    lines.push(format!("made: {}", moment(statement.stated_at_ms)));
    lines.push(format!("about: {}", statement.object));
    let follows = match statement.predecessor.as_slice() {
        [] => "nothing: it is the first about this".to_owned(),
        digest => data_encoding::HEXLOWER.encode(digest),
    };
    lines.push(format!("follows: {follows}"));
    if let Some(decision) = &statement.decision {
        let second = match decision.second_officer.as_str() {
            "" => String::new(),
            second => format!(" and {second}"),
        };
        lines.push(format!("decided by officer {}{second}, on document {}", decision.officer, decision.document));
    }
    if let Some(body) = &statement.body {
        lines.push("in full:".to_owned());
        lines.extend(format!("{body:#?}").lines().map(|line| format!("  {line}")));
    }
    lines
}

fn sentence(statement: &Statement) -> String {
    let exchange = &statement.exchange_id;
    match &statement.body {
        Some(Body::DepartmentAdmitted(body)) => {
            let name = body.name.as_ref().map_or("", |name| &name.zh);
            format!(
                "ADMITS the department {} ({name}, credit code {}) to {exchange}, with the first key {} and the recovery key {}",
                body.department,
                body.uscc,
                key(body.first_key.as_ref()),
                key(body.recovery_key.as_ref())
            )
        }
        Some(Body::DepartmentSuspended(body)) => {
            format!("SUSPENDS the department {}: it neither asks nor answers. Reason: {}", body.department, body.reason)
        }
        Some(Body::DepartmentResumed(body)) if body.reason.is_empty() => {
            format!("RESUMES the suspended department {}", body.department)
        }
        Some(Body::DepartmentResumed(body)) => {
            format!("RESUMES the suspended department {}. Reason: {}", body.department, body.reason)
        }
        Some(Body::KeyRevoked(body)) => {
            format!("REVOKES the key {} of the department {}. Reason: {}", body.key_id, body.department, body.reason)
        }
        Some(Body::RegistryAnnounced(body)) => {
            let next = match body.next_tls_key.as_slice() {
                [] => String::new(),
                digest => format!(", and soon {}", data_encoding::HEXLOWER.encode(digest)),
            };
            format!(
                "SAYS WHERE THE REGISTRY IS: {}, with the TLS key {}{next}",
                body.addresses.join(", "),
                data_encoding::HEXLOWER.encode(&body.tls_key)
            )
        }
        Some(Body::AuthorityKeyChanged(body)) => format!(
            "CHANGES THE AUTHORITY'S OWN KEY to {}. Both keys must sign. Reason: {}",
            key(body.authority_key.as_ref()),
            body.reason
        ),
        Some(Body::LogKeyChanged(body)) => {
            let lost = if body.lost.is_empty() { String::new() } else { format!(" The key before it: {}", body.lost) };
            format!(
                "CHANGES THE KEY OF THE DIRECTORY'S LOG to {}. Reason: {}.{lost}",
                key(body.log_key.as_ref()),
                body.reason
            )
        }
        // Kinds that other rooms make: their fields below say it all.
        Some(body) => format!("STATES in {exchange}: {}", name(body)),
        None => "A statement of a kind that this version does not know".to_owned(),
    }
}

/// The kind's name, as the statement's own form begins.
fn name(body: &Body) -> String {
    let shown = format!("{body:?}");
    shown.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

fn key(key: Option<&Key>) -> String {
    match key.map(DescribedKey::from_wire) {
        Some(Ok(described)) => described.key.to_string(),
        _ => "(a key that cannot be read)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::v1 as wire;
    use trust::fixture::Fixture;

    use super::*;

    #[test]
    fn everything_that_is_signed_is_said() {
        let fixture = Fixture::town();
        let body = Body::KeyRevoked(wire::KeyRevoked {
            department: "housing".into(),
            key_id: "5b".repeat(32),
            reason: "the machine was stolen".into(),
        });
        let mut statement = fixture.statement(body, &format!("key/{}", "5b".repeat(32)));
        statement.decision = Some(wire::OfficialDecision {
            officer: "77".into(),
            document: "2026-12".into(),
            second_officer: "78".into(),
        });
        let said = lines(&statement).join("\n");
        for part in
            ["REVOKES the key 5b5b", "housing", "the machine was stolen", "officer 77 and 78", "2026-12", "key_id:"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        // A kind without a sentence of its own is told by its name and its fields.
        let body = Body::ItemPublished(wire::ItemPublished { item: "公租房申请".into(), ..Default::default() });
        let said = lines(&fixture.statement(body, "item/housing/公租房申请")).join("\n");
        assert!(said.starts_with("STATES in ninghe: ItemPublished") && said.contains("公租房申请"), "{said}");
    }
}
