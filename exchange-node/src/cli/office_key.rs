//! `office-key`: how the department's own office systems sign in at the office port, until when, and for what. Out of scope:
//! what the department itself may ask, which grants decide.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use host::period::Period;
use proto::admin::v1::{
    AddOfficeKeyRequest, AddOfficeKeyResponse, ListOfficeKeysRequest, OfficeKey, OfficeKeyLimits,
    RemoveOfficeKeyRequest, RotateOfficeKeyRequest, offices_client::OfficesClient,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
};

/// The commands about office systems' keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes an API key for an office system, which is shown once; or lets it in by its client certificate.
    #[command(
        after_help = "Examples:\n  exchange-node office-key add housing-desk\n  exchange-node office-key add housing-desk --valid-for 365d --service civil-affairs/marriage-registration --item 公租房申请\n  exchange-node office-key add desk-2 --certificate desk-2.pem\n  exchange-node office-key add citizens-portal --portal"
    )]
    Add(AddArgs),
    /// Makes a new API key of the same system with the same limits. The old one goes on until the overlap ends.
    #[command(after_help = "Example:\n  exchange-node office-key rotate 0a1b2c3d --overlap 7d --valid-for 365d")]
    Rotate {
        /// The id of the old key.
        #[arg(value_name = "ID")]
        id: String,
        /// How long the old key goes on, such as `7d` or `12h`.
        #[arg(long, value_name = "PERIOD", default_value = "7d")]
        overlap: Period,
        /// How long the new key counts; left out, it has no end.
        #[arg(long, value_name = "PERIOD")]
        valid_for: Option<Period>,
    },
    /// Lists the office systems that may sign in, until when, and for what.
    #[command(after_help = "Example:\n  exchange-node office-key list")]
    List,
    /// Removes a key or certificate; it counts no more at once.
    #[command(after_help = "Example:\n  exchange-node office-key remove 0a1b2c3d")]
    Remove {
        /// The key's id.
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// What a new key needs.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The office system's name: lower-case letters, digits and hyphens.
    #[arg(value_name = "SYSTEM")]
    system: String,
    /// How long it counts, such as `365d`; left out, it has no end.
    #[arg(long, value_name = "PERIOD")]
    valid_for: Option<Period>,
    /// A service that it may ask, `<department>/<service>`, or `<department>` for all of its; may be given more than once.
    /// Left out, it may ask all that the department's grants cover.
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
    /// A public service item that it may be used for; may be given more than once. Left out, it may be used for all.
    #[arg(long = "item", value_name = "ITEM")]
    items: Vec<String>,
    /// Its client certificate, PEM: it signs in by the certificate's key, and no API key is made.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// For a citizens' portal: the key opens who asked about a subject, and nothing else.
    #[arg(long, conflicts_with_all = ["services", "items", "certificate"])]
    portal: bool,
}

pub(super) async fn run(command: Command, folder: &Folder, output: Output, now_ms: u64) -> Result<Exit, Error> {
    let mut offices = OfficesClient::new(folder.channel().await?);
    match command {
        Command::Add(args) => add(args, &mut offices, output, now_ms).await?,
        Command::Rotate { id, overlap, valid_for } => {
            let request = RotateOfficeKeyRequest {
                id: id.clone(),
                old_expires_at_ms: after(now_ms, overlap),
                expires_at_ms: valid_for.map_or(0, |period| after(now_ms, period)),
            };
            let old_ends = output::moment(request.old_expires_at_ms);
            let made = offices.rotate_office_key(request).await?.into_inner();
            output
                .show(&made_json(&made), || format!("{}\nThe old key {id} counts until {old_ends}.", made_text(&made)));
        }
        Command::List => {
            let keys = offices.list_office_keys(ListOfficeKeysRequest {}).await?.into_inner().keys;
            output.show(&json!({ "keys": keys.iter().map(key_json).collect::<Vec<_>>() }), || match keys.as_slice() {
                [] => "No office system may sign in: `office-key add SYSTEM` makes a key.".to_owned(),
                keys => {
                    output::table(["id", "system", "by", "added", "ends", "services", "items"], keys.iter().map(row))
                }
            });
        }
        Command::Remove { id } => {
            offices.remove_office_key(RemoveOfficeKeyRequest { id: id.clone() }).await?;
            output.show(&json!({ "id": id, "removed": true }), || format!("The key {id} counts no more."));
        }
    }
    Ok(Exit::Done)
}

async fn add(args: AddArgs, offices: &mut OfficesClient<Channel>, output: Output, now_ms: u64) -> Result<(), Error> {
    let AddArgs { system, valid_for, services, items, certificate, portal } = args;
    let certificate = match &certificate {
        Some(path) => {
            let read = CertificateDer::from_pem_file(path);
            let read = read.map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
            read.as_ref().to_vec()
        }
        None => Vec::new(),
    };
    let limits =
        OfficeKeyLimits { limits_services: !services.is_empty(), services, limits_items: !items.is_empty(), items };
    let request = AddOfficeKeyRequest {
        system,
        expires_at_ms: valid_for.map_or(0, |period| after(now_ms, period)),
        limits: Some(limits),
        certificate,
        portal,
    };
    let made = offices.add_office_key(request).await?.into_inner();
    output.show(&made_json(&made), || made_text(&made));
    Ok(())
}

fn after(now_ms: u64, period: Period) -> u64 {
    let ms = u64::try_from(period.duration().as_millis()).unwrap_or(u64::MAX);
    now_ms.saturating_add(ms)
}

fn made_json(made: &AddOfficeKeyResponse) -> Value {
    json!({ "id": made.id, "system": made.system, "key": made.key, "expires_at_ms": made.expires_at_ms })
}

fn made_text(made: &AddOfficeKeyResponse) -> String {
    let (id, system) = (made.id.clone(), made.system.clone());
    let ends = ends(made.expires_at_ms);
    if made.key.is_empty() {
        let pairs = output::pairs([("id", id), ("system", system), ("ends", ends)]);
        return format!("{pairs}\nIt signs in with this certificate, and needs no key beside it.");
    }
    let pairs = output::pairs([("id", id), ("system", system), ("ends", ends), ("key", made.key.clone())]);
    format!("{pairs}\nKeep the key now: it is not shown again. Send it as \"authorization: Bearer <key>\".")
}

fn key_json(key: &OfficeKey) -> Value {
    let limits = key.limits.clone().unwrap_or_default();
    json!({
        "id": key.id,
        "system": key.system,
        "added_ms": key.added_ms,
        "expires_at_ms": key.expires_at_ms,
        "certificate_key": key.certificate_key,
        "portal": key.portal,
        "services": limits.limits_services.then_some(limits.services),
        "items": limits.limits_items.then_some(limits.items),
    })
}

fn row(key: &OfficeKey) -> [String; 7] {
    let limits = key.limits.clone().unwrap_or_default();
    let list = |limited: bool, list: Vec<String>| if limited { list.join(", ") } else { "all".to_owned() };
    [
        key.id.clone(),
        key.system.clone(),
        match (key.portal, key.certificate_key.is_empty()) {
            (true, _) => "key of a citizens' portal",
            (false, true) => "key",
            (false, false) => "certificate",
        }
        .to_owned(),
        output::moment(key.added_ms),
        ends(key.expires_at_ms),
        if key.portal { "none".to_owned() } else { list(limits.limits_services, limits.services) },
        if key.portal { "none".to_owned() } else { list(limits.limits_items, limits.items) },
    ]
}

fn ends(at_ms: u64) -> String {
    if at_ms == 0 { "never".to_owned() } else { output::moment(at_ms) }
}
