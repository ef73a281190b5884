//! `init`: runs the initialisation and says what was done and what comes next. Out of scope: doing it (`crate::init`).

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use host::{clock::Clock, random::Random};
use serde_json::json;

use super::{Exit, InitArgs, output::Output};
use crate::{
    init::{self, Error, InitOptions, JoinOptions, Joined},
    publish,
};

/// Makes a node: keys, admission, configuration.
pub async fn init(
    args: InitArgs,
    dir: Option<PathBuf>,
    json: bool,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Exit {
    let output = Output::new(json);
    let InitArgs { token_file, join, address, relay, office_address, offer, node } = args;
    let dir = dir.unwrap_or_else(|| ".".into());
    let office_address = office_address.unwrap_or_else(|| beside(address.first().map_or("", String::as_str)));
    let token_file = match (token_file, join) {
        (Some(token_file), _) => token_file,
        (None, Some(invitation)) => {
            let options = JoinOptions { invitation, addresses: address, relays: relay, office_address, dir, offer };
            return joined(output, init::join(&options, random.as_ref()));
        }
        // One of the two is required.
        (None, None) => return Exit::Usage,
    };
    let options = InitOptions { token_file, addresses: address, relays: relay, office_address, node, dir };
    // Told as it happens: it takes a moment, and where it ends early the last line says how far it came.
    let mut said = |line: String| output.say(&line);
    match init::init(&options, clock, random, &mut said).await {
        Ok(done) => {
            let start = format!("exchange-node serve --config {}", done.config.display());
            let machine = json!({
                "department": done.department,
                "admitted_at": done.admitted_at,
                "config": done.config,
                "recovery_key": done.recovery_key,
                "node_published": done.node_published,
                "next": start,
            });
            output.show(&machine, || {
                let recovery = done.recovery_key.display();
                format!(
                    "the recovery key {recovery} belongs into the department's safe, not on this machine\nnext: {start}"
                )
            });
            Exit::Done
        }
        Err(error) => output.fail_with(exit_of(&error), &error.to_string()),
    }
}

fn joined(output: Output, outcome: Result<Joined, Error>) -> Exit {
    match outcome {
        Ok(done) => {
            let add = format!("exchange-node node add {}", done.offer.display());
            let start = format!("exchange-node serve --config {}", done.config.display());
            let machine = json!({
                "department": done.department,
                "node": done.node.as_str(),
                "config": done.config,
                "offer": done.offer,
                "next": [add, start],
            });
            output.show(&machine, || {
                format!(
                    "keys are in {}\nthe offer of node {} of {} is in {}: it holds no secret\nnext: on a running node of the department: {add}\n      then here: {start}",
                    done.config.parent().unwrap_or(std::path::Path::new(".")).join("keys").display(),
                    done.node,
                    done.department,
                    done.offer.display()
                )
            });
            Exit::Done
        }
        Err(error) => output.fail_with(exit_of(&error), &error.to_string()),
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Refused(_) | Error::Publish(publish::Error::Refused(_)) => Exit::Refused,
        Error::Unreachable(_) | Error::Publish(publish::Error::Unreachable(_)) => Exit::Unreachable,
        Error::AddressMalformed { .. }
        | Error::AddressMissing
        | Error::Invitation(_)
        | Error::AnotherNode { .. }
        | Error::Config(_)
        | Error::Token { .. }
        | Error::TokenUnreadable { .. } => Exit::Usage,
        _ => Exit::Failure,
    }
}

/// The office port that goes with a peer address: one above it on loopback, or any free one.
fn beside(address: &str) -> SocketAddr {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or(0);
    SocketAddr::from((Ipv4Addr::LOCALHOST, if port == 0 { 0 } else { port.checked_add(1).unwrap_or(0) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_failed_tells_the_exit_code() {
        assert_eq!(exit_of(&Error::Unreachable("no route".into())), Exit::Unreachable);
        assert_eq!(exit_of(&Error::Publish(publish::Error::Unreachable("no route".into()))), Exit::Unreachable);
        let refusal = trust::refusal::Refusal::new(trust::refusal::Code::MacWrong).to_wire();
        assert_eq!(exit_of(&Error::Refused(refusal)), Exit::Refused);
        assert_eq!(exit_of(&Error::AddressMalformed { address: "x".into() }), Exit::Usage);
        assert_eq!(exit_of(&Error::DirectoryLate), Exit::Failure);
    }

    #[test]
    fn the_office_port_stands_beside_the_other() {
        for (address, office) in [
            ("127.0.0.1:7443", "127.0.0.1:7444"),
            ("[::1]:7453", "127.0.0.1:7454"),
            ("h:65535", "127.0.0.1:0"),
            ("h:0", "127.0.0.1:0"),
        ] {
            assert_eq!(beside(address).to_string(), office, "{address}");
        }
    }
}
