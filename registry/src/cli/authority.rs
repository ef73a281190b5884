//! `registry authority …`: what the authority signs on a machine without a network, and changes of its key. `show`,
//! `sign` and `new-key` need no registry: they run where the authority's key is.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use host::{files, random::SystemRandom};
use prost::Message;
use proto::{
    admin::v1::{self as wire, registry_keys_client::RegistryKeysClient},
    exchange::v1::Envelope,
};
use serde_json::{Value, json};
use tonic::transport::Channel;
use trust::key::{PublicKey, Signer, SigningKey};

use super::{
    Cli,
    operate::{Failure, Shown, channel, said},
};
use crate::{
    carried::{Carried, CarriedStatement},
    keys, words,
};

/// `registry authority …`.
#[derive(Debug, Subcommand)]
pub enum AuthorityCommand {
    /// List the statements that wait for the authority's signature, because its key is not on this machine.
    #[command(after_help = "Example:\n  registry authority waiting")]
    Waiting,
    /// Write them to a file that is carried to the authority's key.
    #[command(after_help = "Example:\n  registry authority export-request -o request.json")]
    ExportRequest {
        /// The file to write; one that exists is left as it is.
        #[arg(short, long, value_name = "FILE", default_value = "authority-request.json")]
        output: PathBuf,
    },
    /// Say in words what is in such a file, without signing. Needs no running registry.
    #[command(after_help = "Example:\n  registry authority show request.json")]
    Show {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Sign what is in the file, each statement after it was said in words. Runs where the authority's key is.
    #[command(
        after_help = "Example:\n  registry authority sign request.json --key authority.key -o signed.json\n  registry authority sign request.json --key authority.key --key authority-new.key -o signed.json"
    )]
    Sign {
        /// The file that was carried here.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The file of the authority's private key; for a change of that key, give the old and the new one.
        #[arg(long = "key", value_name = "KEYFILE", required = true)]
        keys: Vec<PathBuf>,
        /// The file to write, to be carried back; one that exists is left as it is.
        #[arg(short, long, value_name = "FILE", default_value = "authority-signed.json")]
        output: PathBuf,
        /// Sign everything without asking. Whoever uses this has read the file with `show`.
        #[arg(long)]
        yes: bool,
    },
    /// Bring in what was signed there.
    #[command(after_help = "Example:\n  registry authority submit signed.json")]
    Submit {
        /// The file that was carried back.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Forget a statement that waits: it will not be said.
    #[command(after_help = "Example:\n  registry authority drop 0011223344556677")]
    Drop {
        /// Its id, as `waiting` shows it.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Make a new authority key where the authority's key is kept. Needs no registry.
    #[command(after_help = "Example:\n  registry authority new-key authority-new.key")]
    NewKey {
        /// The file to write; only its owner can read it.
        #[arg(value_name = "KEYFILE")]
        file: PathBuf,
    },
    /// Change the authority's key. Old and new one both sign: whoever trusts either can follow to the other.
    #[command(
        after_help = "Example:\n  registry authority rotate --reason \"yearly change\"\n  registry authority rotate --new-key 5f0c…(64 hex digits) --reason \"yearly change\""
    )]
    Rotate {
        /// Why; it stands in the directory.
        #[arg(long)]
        reason: String,
        /// The new public key, as `new-key` has shown it, where the authority's key is not on this machine.
        #[arg(long, value_name = "PUBLICKEY")]
        new_key: Option<String>,
    },
}

pub(super) async fn run(cli: &Cli, command: &AuthorityCommand) -> Result<Shown, Failure> {
    match command {
        AuthorityCommand::Waiting => Ok(shown(&waiting(cli).await?)),
        AuthorityCommand::ExportRequest { output } => {
            let carried = waiting(cli).await?;
            if carried.statements.is_empty() {
                return Ok(Shown {
                    json: json!({ "statements": 0 }),
                    text: "Nothing waits for the authority's signature.".to_owned(),
                });
            }
            create(output, &carried.to_text())?;
            let file = output.display().to_string();
            let count = carried.statements.len();
            let facts = [
                ("statements", count.to_string()),
                ("file", file.clone()),
                (
                    "next",
                    format!("carry it to the authority's key; there: registry authority sign {file} --key KEYFILE"),
                ),
            ];
            Ok(Shown::facts(&facts, json!({ "statements": count, "file": file })))
        }
        AuthorityCommand::Show { file } => Ok(shown(&read(file)?)),
        AuthorityCommand::Sign { file, keys, output, yes } => sign(file, keys, output, *yes),
        AuthorityCommand::Submit { file } => submit(cli, file).await,
        AuthorityCommand::Drop { id } => {
            let request = wire::DropWaitingRequest { id: id.clone() };
            let object = client(cli).await?.drop_waiting(request).await?.into_inner().object;
            let text = format!("The statement {id} about {object} waits no more.");
            Ok(Shown { json: json!({ "dropped": id, "object": object }), text })
        }
        AuthorityCommand::NewKey { file } => {
            let key = keys::make_signing_key(file, &SystemRandom).map_err(Failure::failed)?;
            let public = key.public_key().to_string();
            let facts = [
                ("key file", file.display().to_string()),
                ("public key", public.clone()),
                ("next", format!("registry authority rotate --new-key {public} --reason TEXT")),
            ];
            Ok(Shown::facts(&facts, json!({ "file": file.display().to_string(), "public_key": public })))
        }
        AuthorityCommand::Rotate { reason, new_key } => {
            let request = wire::RotateAuthorityKeyRequest {
                reason: reason.clone(),
                new_public_key: new_key.clone().unwrap_or_default(),
            };
            let rotated = client(cli).await?.rotate_authority_key(request).await?.into_inner();
            Ok(said(&[("key_id", rotated.key)], rotated.index, &rotated.waiting))
        }
    }
}

/// What waits at the running registry.
async fn waiting(cli: &Cli) -> Result<Carried, Failure> {
    let listed = client(cli).await?.list_waiting(wire::ListWaitingRequest {}).await?.into_inner();
    let statements = listed.waiting.iter().map(|waiting| {
        let envelope = Envelope::decode(waiting.envelope.as_slice()).map_err(Failure::failed)?;
        CarriedStatement::read(envelope).map_err(Failure::failed)
    });
    Ok(Carried {
        exchange: listed.exchange_id.parse().map_err(Failure::failed)?,
        authority_key: listed.authority_key.parse::<PublicKey>().map_err(Failure::failed)?,
        statements: statements.collect::<Result<_, _>>()?,
    })
}

/// What is in it, in words.
fn shown(carried: &Carried) -> Shown {
    let statements: Vec<Value> = carried
        .statements
        .iter()
        .map(|carried| {
            let lines = words::lines(&carried.statement);
            json!({
                "id": carried.id,
                "object": carried.object.to_string(),
                "says": lines.first(),
                "signatures": carried.envelope.signatures.len(),
            })
        })
        .collect();
    let text = match carried.statements.as_slice() {
        [] => "Nothing waits for the authority's signature.".to_owned(),
        all => all.iter().map(said_in_words).collect::<Vec<_>>().join("\n\n"),
    };
    let json = json!({
        "exchange": carried.exchange.as_str(),
        "authority_key": carried.authority_key.to_string(),
        "statements": statements,
    });
    Shown { json, text }
}

fn said_in_words(carried: &CarriedStatement) -> String {
    format!("{}  {}", carried.id, words::lines(&carried.statement).join("\n    "))
}

fn sign(file: &Path, key_files: &[PathBuf], output: &Path, yes: bool) -> Result<Shown, Failure> {
    let mut carried = read(file)?;
    let keys = key_files.iter().map(|file| keys::read_signing_key(file));
    let keys = keys.collect::<Result<Vec<SigningKey>, _>>().map_err(|error| Failure::Usage(error.to_string()))?;
    carried.check_keys(&keys).map_err(|error| Failure::Usage(error.to_string()))?;
    // Before anything is signed: a file that cannot be written would be a signature in vain.
    if output.exists() {
        return Err(exists(output));
    }
    let mut signed = Vec::new();
    for position in 0..carried.statements.len() {
        let one = &carried.statements[position];
        if yes || confirmed(one)? {
            signed.push(one.id.clone());
            carried.sign(position, &keys).map_err(Failure::failed)?;
        }
    }
    carried.statements.retain(|one| signed.contains(&one.id));
    if carried.statements.is_empty() {
        return Ok(Shown { json: json!({ "signed": signed }), text: "Nothing was signed.".to_owned() });
    }
    create(output, &carried.to_text())?;
    let file = output.display().to_string();
    let facts = [
        ("signed", signed.len().to_string()),
        ("file", file.clone()),
        ("next", format!("carry it back to the registry; there: registry authority submit {file}")),
    ];
    Ok(Shown::facts(&facts, json!({ "signed": signed, "file": file })))
}

/// Says a statement in words, and asks. Only the whole word signs.
fn confirmed(carried: &CarriedStatement) -> Result<bool, Failure> {
    let mut terminal = io::stderr();
    let asked = writeln!(terminal, "{}\nSign this? Type yes: ", said_in_words(carried));
    asked.and_then(|()| terminal.flush()).map_err(Failure::failed)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(Failure::failed)?;
    Ok(answer.trim() == "yes")
}

async fn submit(cli: &Cli, file: &Path) -> Result<Shown, Failure> {
    let carried = read(file)?;
    let envelopes = carried.statements.iter().map(|one| one.envelope.encode_to_vec()).collect();
    let request = wire::SubmitSignedRequest { envelopes };
    let outcomes = client(cli).await?.submit_signed(request).await?.into_inner().outcomes;
    let lines = outcomes.iter().map(|outcome| match (&outcome.refused, outcome.made_again.as_str()) {
        (Some(refusal), _) => {
            format!("{}  {}: REFUSED ({}): {}", outcome.id, outcome.object, refusal.code, refusal.message)
        }
        (None, "") => format!("{}  {}: statement {} of the directory", outcome.id, outcome.object, outcome.index),
        (None, again) => format!(
            "{}  {}: something else was said about it meanwhile; it waits again as {again}",
            outcome.id, outcome.object
        ),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let json: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let refused = outcome.refused.as_ref();
            json!({
                "id": outcome.id,
                "object": outcome.object,
                "statement": outcome.index,
                "refused": refused.map(|refusal| refusal.code.clone()),
                "made_again": outcome.made_again,
            })
        })
        .collect();
    if let Some(refusal) = outcomes.iter().find_map(|outcome| outcome.refused.as_ref()) {
        return Err(Failure::Refused {
            code: refusal.code.clone(),
            field: refusal.field.clone(),
            message: format!("{}\n{text}", refusal.message),
        });
    }
    Ok(Shown { json: json!({ "outcomes": json }), text })
}

fn read(file: &Path) -> Result<Carried, Failure> {
    let named = |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| named(&error))?;
    Carried::parse(&text).map_err(|error| named(&error))
}

fn create(file: &Path, text: &str) -> Result<(), Failure> {
    files::create_file(file, text.as_bytes(), files::PUBLIC_MODE).map_err(|error| match error {
        files::Error::Exists { .. } => exists(file),
        error => Failure::failed(error),
    })
}

fn exists(file: &Path) -> Failure {
    Failure::Usage(format!("{} exists already: nothing was changed", file.display()))
}

async fn client(cli: &Cli) -> Result<RegistryKeysClient<Channel>, Failure> {
    Ok(RegistryKeysClient::new(channel(cli).await?).max_decoding_message_size(32 * 1024 * 1024))
}
