//! The checks on a running node. Each is one function from what the node is made of to findings. Out of scope: what can be
//! seen from the folder alone, which is the parent's.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use host::tls::{Address, ConnectorOptions, PeerConnector};
use proto::admin::v1::Finding;
use tokio::{net::TcpStream, time::timeout};
use trust::{
    directory::{Directory, model::Node},
    ids::DepartmentId,
    key::Signer,
    reading::moment,
    refusal::Code,
    service::Review,
};

use super::{backup, directory, events, evidence, free_disk, key_files, ok, sources, span, warning, wrong};
use crate::{
    anchors::Trouble,
    notices::{self, Fate, Notice},
    parts::Parts,
    records::RecordsStatus,
    relay::way::ways_to,
    sources::folder::{FolderStatus, Handled, Outcome},
    view,
};

/// How long a port may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The registry vouches for its directory at least every 10 seconds; so much beside the skew is on the way.
const VOUCHING_MS: u64 = 15_000;

/// Examines a running node.
pub async fn examine(parts: &Arc<Parts>) -> Vec<Finding> {
    let now_ms = parts.clock.now_ms();
    let (mut findings, node, records) = {
        // Not held while ports are tried: the directory goes on.
        let seen = parts.view.seen();
        let directory = seen.directory();
        let mut findings = vec![clock(parts, directory, now_ms)];
        findings.extend(key_files(&parts.config.dir));
        findings.push(backup(&parts.config.dir, Some(now_ms)));
        findings.extend(keys(parts, directory, now_ms));
        let node = own_node(parts, directory).cloned();
        findings.push(certificate(node.as_ref(), parts.keys.tls().key_digest().as_bytes()));
        findings.extend(directory::examine(parts, directory, now_ms));
        findings.extend(services_asked(directory, &parts.config.department, now_ms));
        findings.extend(own_services(directory, &parts.config.department, now_ms));
        (findings, node, records(directory, parts, &parts.records.status(), now_ms))
    };
    findings.push(registry(parts).await);
    findings.extend(records);
    findings.extend(sources::examine(parts).await);
    findings.extend(parts.sources.folders().iter().filter_map(|watched| folder(&watched.status())));
    if let Err(fault) = parts.aliases.subjects() {
        findings.push(wrong("former numbers", fault, "import the table again: exchange-node records aliases FILE"));
    }
    findings.push(free_disk(&parts.config.dir, parts.config.limits.free_disk_mib));
    findings.push(peer_port(parts, node.as_ref()).await);
    findings.extend(relays(parts));
    findings.push(office_port(parts.addresses.office).await);
    findings.push(events::examine(&parts.events.list(), now_ms));
    findings.push(evidence::examine(parts).await);
    findings.push(anchors(parts));
    findings.extend(shared(parts).await);
    findings.push(evidence::history(parts));
    findings
}

fn own_node<'a>(parts: &Parts, directory: &'a Directory) -> Option<&'a Node> {
    directory.nodes_of(&parts.config.department).find(|node| node.node == parts.config.node)
}

fn clock(parts: &Parts, directory: &Directory, now_ms: u64) -> Finding {
    let skew_ms = directory.profile().clock_skew_ms;
    let vouched_ms = if parts.view.is_registry_reachable() { parts.view.verified_ms() } else { 0 };
    compare_clocks(now_ms, parts.view.highest_ms(), vouched_ms, skew_ms)
}

/// `vouched_ms` is when the registry last vouched for its directory by its own clock; 0 where it cannot be reached now.
fn compare_clocks(now_ms: u64, highest_ms: u64, vouched_ms: u64, skew_ms: u64) -> Finding {
    const CHECK: &str = "clock";
    const ADVICE: &str = "set the clock, and keep it right with NTP";
    if now_ms.saturating_add(skew_ms) < highest_ms {
        let behind = span(highest_ms - now_ms);
        let (here, verified) = (moment(now_ms), moment(highest_ms));
        let found =
            format!("the clock is {behind} behind a time that was verified: it says {here}, and that was {verified}");
        return wrong(CHECK, found, ADVICE);
    }
    let ahead_ms = now_ms.saturating_sub(vouched_ms);
    if vouched_ms != 0 && ahead_ms > skew_ms + VOUCHING_MS {
        let found = format!("the registry's newest checkpoint is {} old by this clock", span(ahead_ms));
        let advice = "find out which clock is right; where both are, the registry holds news back: call the authority";
        return warning(CHECK, found, advice);
    }
    if highest_ms == 0 {
        return ok(CHECK, "there is no verified time to compare it with yet");
    }
    ok(CHECK, format!("it is within {} of the registry's", span(skew_ms)))
}

fn keys(parts: &Parts, directory: &Directory, now_ms: u64) -> Vec<Finding> {
    let me = &parts.config.department;
    let key_id = *parts.keys.node().public_key().id();
    let node_key = match directory.node_key(me, &key_id, now_ms) {
        Ok(_) => ok("node key", format!("{key_id} is in the directory")),
        Err(Code::KeyUnknown) => wrong(
            "node key",
            format!("{key_id} is not in the directory, so nobody believes what this node signs"),
            "start the node with the registry reachable and the department's key in its folder, once",
        ),
        Err(code) => wrong("node key", format!("{key_id}: {}", code.message()), "add a new node key"),
    };
    let department_key = match parts.keys.department() {
        None => ok("department key", "it is kept elsewhere; statements are made where it is"),
        Some(signer) => match directory.key(signer.public_key().id()) {
            Some(key) if key.revoked.is_none() => {
                ok("department key", format!("{} is in the directory", signer.public_key().id()))
            }
            Some(_) => wrong(
                "department key",
                format!("{} was revoked", signer.public_key().id()),
                "add a new department key with another one, or with the recovery key",
            ),
            None => wrong(
                "department key",
                format!("{} is not in the directory", signer.public_key().id()),
                "bring the key that the department was admitted with, or add this one with that",
            ),
        },
    };
    let mut findings = vec![node_key, department_key];
    if let Some(reason) = directory.department(me).and_then(|department| department.suspended.as_ref()) {
        findings.push(wrong("department", format!("the authority has suspended it: {reason}"), "ask the authority"));
    }
    findings
}

fn certificate(published: Option<&Node>, held: &[u8; 32]) -> Finding {
    const CHECK: &str = "certificate";
    match published {
        Some(node) if node.next_tls_key == Some(*held) => {
            ok(CHECK, "it is being renewed: its key is the one that the directory names as the next")
        }
        Some(node) if node.tls_key == *held => ok(CHECK, "its key is the one that the directory names for this node"),
        Some(_) => wrong(
            CHECK,
            "its key is not the one that the directory names for this node, so no peer connects",
            "start the node with the registry reachable and the department's key in its folder, once",
        ),
        None => wrong(
            CHECK,
            "the directory does not say how this node is reached, so no peer connects",
            "start the node with the registry reachable and the department's key in its folder, once",
        ),
    }
}

async fn registry(parts: &Parts) -> Finding {
    const CHECK: &str = "registry";
    match parts.link.probe(Some(&parts.view)).await {
        Ok(()) => match parts.view.registry_behind() {
            Some(behind) if behind.cause != "listening" => warning(
                CHECK,
                format!("it can be reached, and signs nothing: {}", view::in_words(&behind)),
                "leave this node running: it tells the registry what it saw, and hands over what is lacking",
            ),
            _ => ok(CHECK, "it can be reached"),
        },
        Err(error) => warning(
            CHECK,
            format!("it cannot be reached: {error}"),
            "look at the network and at `registry` in node.toml; until the view's lifetime ends the node goes on without it",
        ),
    }
}

/// What became of the services that this department holds grants for.
fn services_asked(directory: &Directory, me: &DepartmentId, now_ms: u64) -> Vec<Finding> {
    let of_notice = |notice: Notice| {
        let check = format!("service {}", notice.service);
        let (grant, text) = (&notice.access.id, &notice.text);
        let next = match notice.successor {
            Some(major) => format!("apply for version {major}: exchange-node access apply --major {major} …"),
            None => "ask its provider what takes its place (`service show` says whom)".to_owned(),
        };
        match notice.fate {
            Fate::Ended(at_ms) => warning(&check, format!("ended on {}, grant {grant}: {text}", moment(at_ms)), next),
            Fate::Ends(at_ms) => warning(&check, format!("ends on {}, grant {grant}: {text}", moment(at_ms)), next),
            Fate::Suspended => {
                let found = format!("is suspended by its provider, grant {grant}: {text}");
                warning(&check, found, "wait until it is resumed, or ask its provider")
            }
        }
    };
    notices::of_grants(directory, me, now_ms).into_iter().map(of_notice).collect()
}

/// Own services that the authority has returned.
fn own_services(directory: &Directory, me: &DepartmentId, now_ms: u64) -> Vec<Finding> {
    let own = directory.services_of(me);
    let returned = own.filter_map(|service| match service.unapproved() {
        Some((_, _, Review::Returned { missing, .. })) if notices::state_word(service, now_ms) != "withdrawn" => {
            let check = format!("review of {} v{}", service.id.service, service.id.major);
            let found = format!("the authority has returned it: {}", missing.join("; "));
            Some(warning(&check, found, "put the description right, and publish it again (`service change FILE`)"))
        }
        _ => None,
    });
    returned.collect()
}

fn records(directory: &Directory, parts: &Parts, held: &[RecordsStatus], now_ms: u64) -> Vec<Finding> {
    directory
        .services_of(&parts.config.department)
        .filter(|service| notices::state_word(service, now_ms) != "withdrawn")
        // Those whose records are elsewhere are looked at there.
        .filter(|service| parts.sources.of_service(service).is_none())
        .map(|service| {
            let name = format!("{} v{}", service.id.service, service.id.major);
            let held =
                held.iter().find(|records| records.service == service.id.service && records.major == service.id.major);
            records_of(&name, service.id.service.as_str(), held)
        })
        .collect()
}

fn records_of(name: &str, service: &str, held: Option<&RecordsStatus>) -> Finding {
    let check = format!("records of {name}");
    let import = format!("import them: exchange-node records import {service} FILE");
    match held {
        None => warning(&check, "never imported: every question gets UNAVAILABLE", import),
        Some(RecordsStatus { fault: Some(fault), .. }) => wrong(&check, fault, import),
        Some(records) if records.quarantined_rows > 0 => {
            let place =
                records.quarantine_file.as_ref().map(|file| format!(" in {}", file.display())).unwrap_or_default();
            let found = format!(
                "{} rows; {} bad rows are set aside, and {} subjects answer UNAVAILABLE",
                records.rows, records.quarantined_rows, records.quarantined_subjects
            );
            warning(&check, found, format!("put the rows right that are set aside{place}, and import again"))
        }
        Some(records) => ok(&check, format!("{} rows of {} subjects", records.rows, records.subjects)),
    }
}

/// A folder of exports: what keeps it from being taken, and the last file where that was refused.
fn folder(status: &FolderStatus) -> Option<Finding> {
    let check = format!("folder of {}", status.service);
    if let Some(trouble) = &status.trouble {
        return Some(warning(
            &check,
            trouble,
            "see that the folder can be read, and what `records show` says of its files",
        ));
    }
    match &status.last {
        Some(Handled { name, outcome: Outcome::Refused, problems, .. }) => Some(warning(
            &check,
            format!("{name} was refused, and the records from before answer: {}", problems.join("; ")),
            "put the export right, and let it be written again",
        )),
        Some(Handled { name, .. }) => Some(ok(&check, format!("{name} is in use"))),
        None => Some(ok(&check, format!("nothing has landed in {} yet", status.folder.display()))),
    }
}

/// Connects to this node as another department's node would: at the address that the directory names.
async fn peer_port(parts: &Parts, published: Option<&Node>) -> Finding {
    const CHECK: &str = "peer port";
    let ways = match published {
        Some(node) => ways_to(node),
        None => vec![Arc::new(Address::new(parts.addresses.peer.to_string())) as _],
    };
    let named = ways.iter().map(|way| way.name().to_owned()).collect::<Vec<_>>().join(", ");
    let options = ConnectorOptions { attempt_timeout: PATIENCE };
    let tls = parts.keys.tls();
    let tls = tls.as_ref();
    let connector = match PeerConnector::over(ways, [tls.key_digest()], Some(tls), options) {
        Ok(connector) => connector,
        Err(error) => return wrong(CHECK, error.to_string(), "restore the TLS key from its backup"),
    };
    match connector.connect().await {
        Ok(_) => ok(CHECK, format!("this node answers at {named}")),
        Err(error) => wrong(
            CHECK,
            format!("{error}"),
            format!(
                "see that {named} (`advertise` in node.toml) leads to {} here: firewall, name, port",
                parts.addresses.peer
            ),
        ),
    }
}

/// Whether the node waits at each of its relays.
fn relays(parts: &Parts) -> Vec<Finding> {
    parts
        .relays
        .states()
        .into_iter()
        .map(|(relay, trouble)| {
            let check = format!("relay {relay}");
            match trouble {
                None => ok(&check, "this node waits there for calls"),
                Some(trouble) => wrong(
                    &check,
                    format!("this node does not wait there: {trouble}"),
                    "see that the relay runs, that its `departments` name this one or nobody, and that its `advertise` has this address",
                ),
            }
        })
        .collect()
}

/// Whether the evidence is anchored at the registry.
fn anchors(parts: &Parts) -> Finding {
    let anchorer = &parts.anchorer;
    let anchored = anchorer.book.last(&anchorer.evidence).map_or(0, |anchored| anchored.size);
    anchoring(anchorer.trouble(), anchored, parts.journal.size())
}

fn anchoring(trouble: Option<Trouble>, anchored: u64, size: u64) -> Finding {
    const CHECK: &str = "anchors";
    let so_far = format!("{anchored} of {size} evidence entries are anchored");
    match trouble {
        None => ok(CHECK, so_far),
        Some(Trouble { what, is_lasting: true }) => wrong(
            CHECK,
            format!("the evidence is not anchored any more ({so_far}): {what}"),
            "keep the folder as it is, compare with `exchange-node evidence anchors check`, and call the authority",
        ),
        Some(Trouble { what, is_lasting: false }) => warning(
            CHECK,
            format!("the evidence was not anchored at the last turn ({so_far}): {what}"),
            "it is tried again by itself; where it stays so, see that the registry can be reached and keeps its second log, and try `exchange-node evidence anchors now`",
        ),
    }
}

/// Whether the database is there that the department's nodes share.
async fn shared(parts: &Parts) -> Option<Finding> {
    const CHECK: &str = "shared database";
    let shared = parts.shared.as_ref()?;
    Some(match shared.check().await {
        Ok(()) => ok(CHECK, format!("{} is there: quotas and answers are shared", shared.place())),
        Err(error) => wrong(
            CHECK,
            format!("nothing is answered: {error}"),
            "bring the database back, or look at `shared` in node.toml; every question gets UNAVAILABLE until then",
        ),
    })
}

async fn office_port(address: SocketAddr) -> Finding {
    const CHECK: &str = "office port";
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => ok(CHECK, format!("it answers at {address}")),
        Ok(Err(error)) => {
            wrong(CHECK, format!("{address}: {error}"), "look at `office_listen` in node.toml, and restart")
        }
        Err(_) => wrong(CHECK, format!("{address} does not answer"), "look at the machine's load, and restart"),
    }
}

#[cfg(test)]
mod tests {
    use trust::fixture::{self, Fixture};

    use super::*;
    use crate::doctor::{OK, WARNING, WRONG};

    #[test]
    fn clocks_are_compared_both_ways() {
        let level = |now, highest, vouched| compare_clocks(now, highest, vouched, 60_000).level;
        assert_eq!(level(1_000_000, 1_000_000, 1_000_000), OK);
        assert_eq!(level(1_000_000, 1_060_000, 1_060_000), OK);
        assert_eq!(level(1_000_000, 1_060_001, 1_060_001), WRONG);
        assert_eq!(level(1_075_000, 1_000_000, 1_000_000), OK);
        assert_eq!(level(1_075_001, 1_000_000, 1_000_000), WARNING);
        // Without the registry an old word says nothing about the clock.
        assert_eq!(level(9_000_000, 1_000_000, 0), OK);
        assert_eq!(level(1_000_000, 0, 0), OK);
    }

    #[test]
    fn the_certificate_is_held_against_the_directory() {
        let fixture = Fixture::town();
        let node = fixture.directory.nodes().next().unwrap();
        let held = fixture::tls_key(node.department.as_str(), "1");
        assert_eq!(certificate(Some(node), &held).level, OK);
        assert_eq!(certificate(Some(node), &[0; 32]).level, WRONG);
        assert_eq!(certificate(None, &held).level, WRONG);
    }

    #[test]
    fn trouble_with_anchoring_is_told() {
        let level = |trouble| anchoring(trouble, 3, 5).level;
        let trouble = |is_lasting| Some(Trouble { what: "no".into(), is_lasting });
        assert_eq!(
            (level(None), level(trouble(false)), level(trouble(true))),
            (OK.into(), WARNING.into(), WRONG.into())
        );
        assert!(anchoring(trouble(true), 3, 5).found.contains("3 of 5"));
    }

    #[test]
    fn records_that_cost_answers_are_told() {
        let mut records = RecordsStatus {
            service: "s".parse().unwrap(),
            major: 1,
            fault: None,
            minor: 0,
            rows: 5,
            subjects: 4,
            quarantined_rows: 0,
            quarantined_subjects: 0,
            unattributed_rows: 0,
            imported_ms: 7,
            quarantine_file: None,
        };
        let level = |held: Option<&RecordsStatus>| records_of("s v1", "s", held).level;
        assert_eq!(level(None), WARNING);
        assert_eq!(level(Some(&records)), OK);
        records.quarantined_rows = 1;
        assert_eq!(level(Some(&records)), WARNING);
        records.fault = Some("other columns".into());
        assert_eq!(level(Some(&records)), WRONG);
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_is_wrong() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(office_port(address).await.level, OK);
        drop(listener);
        assert_eq!(office_port(address).await.level, WRONG);
    }
}
