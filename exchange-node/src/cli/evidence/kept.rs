//! Evidence that is kept for predecessors: taking it over, listing, showing, exporting. Out of scope: keeping it (`custody`).

use std::path::Path;

use proto::admin::v1::{
    ExportKeptEvidenceRequest, KeptEvidence, ListKeptEvidenceRequest, TakeEvidenceOverRequest,
    successions_client::SuccessionsClient,
};
use serde_json::{Value, json};
use tonic::transport::Channel;
use trust::evidence::Receipt;

use super::super::{
    Error, Exit,
    node::Folder,
    output::{self, Output},
    verify,
};

/// A bundle may be larger than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

pub(super) async fn take_over(from: &Path, folder: &Folder, output: Output) -> Result<Exit, Error> {
    // The node may run in another folder than the one this command was given in.
    let from = std::path::absolute(from).map_err(|source| Error::FileUnusable {
        doing: "read",
        path: from.to_owned(),
        source,
    })?;
    let request = TakeEvidenceOverRequest { folder: from.display().to_string() };
    let kept = client(folder).await?.take_evidence_over(request).await?.into_inner();
    output.show(&kept_json(&kept), || {
        format!(
            "The evidence of {}, node {}, is kept here: {} entries, each read again, root {}.\nThe folder {} was left as it is.",
            kept.department,
            kept.node,
            kept.entries,
            kept.root,
            from.display()
        )
    });
    Ok(Exit::Done)
}

pub(super) async fn list(folder: &Folder, output: Output) -> Result<Exit, Error> {
    let kept = client(folder).await?.list_kept_evidence(ListKeptEvidenceRequest {}).await?.into_inner().kept;
    let machine: Vec<Value> = kept.iter().map(kept_json).collect();
    output.show(&json!({ "kept": machine }), || match kept.as_slice() {
        [] => "No evidence is kept for a predecessor.".to_owned(),
        kept => {
            let rows = kept.iter().map(|kept| {
                let (entries, without) = (kept.entries.to_string(), kept.without_message.to_string());
                [kept.department.clone(), kept.node.clone(), entries, without, output::moment(kept.taken_ms)]
            });
            output::table(["department", "node", "entries", "without a message", "taken over"], rows)
        }
    });
    Ok(Exit::Done)
}

pub(super) async fn show(receipt: &Receipt, of: &str, folder: &Folder, output: Output) -> Result<Exit, Error> {
    let shown = client(folder).await?.show_kept_evidence(request(receipt, of)).await?.into_inner();
    Ok(verify::show(output, &shown))
}

pub(super) async fn bundle(receipt: &Receipt, of: &str, folder: &Folder) -> Result<Vec<u8>, Error> {
    Ok(client(folder).await?.export_kept_evidence(request(receipt, of)).await?.into_inner().bundle)
}

/// `DEPARTMENT` stands for its node 1.
fn request(receipt: &Receipt, of: &str) -> ExportKeptEvidenceRequest {
    let (department, node) = of.split_once('/').unwrap_or((of, "1"));
    ExportKeptEvidenceRequest { department: department.to_owned(), node: node.to_owned(), receipt: receipt.to_string() }
}

async fn client(folder: &Folder) -> Result<SuccessionsClient<Channel>, Error> {
    Ok(SuccessionsClient::new(folder.channel().await?).max_decoding_message_size(LARGEST_ANSWER))
}

fn kept_json(kept: &KeptEvidence) -> Value {
    json!({
        "department": kept.department,
        "node": kept.node,
        "entries": kept.entries,
        "root": kept.root,
        "without_message": kept.without_message,
        "taken_ms": kept.taken_ms,
    })
}
