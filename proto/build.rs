//! Compiles the `.proto` files with protox, so that no `protoc` has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const FILES: &[&str] = &[
    "exchange/v1/envelope.proto",
    "exchange/v1/verification.proto",
    "exchange/v1/evidence.proto",
    "exchange/v1/exchange.proto",
    "exchange/v1/bulk.proto",
    "exchange/v1/relay.proto",
    "exchange/v1/custody.proto",
    "exchange/v1/correction.proto",
    "exchange/v1/notices.proto",
    "registry/v1/statement.proto",
    "registry/v1/history.proto",
    "registry/v1/registry.proto",
    "registry/v1/catalogue.proto",
    "registry/v1/anchors.proto",
    "registry/v1/witness.proto",
    "registry/v1/alerts.proto",
    "office/v1/office.proto",
    "office/v1/cases.proto",
    "office/v1/corrections.proto",
    "office/v1/subject_log.proto",
    "office/v1/notices.proto",
    "office/v1/bulk.proto",
    "office/v1/items.proto",
    "admin/v1/node.proto",
    "admin/v1/office.proto",
    "admin/v1/node_evidence.proto",
    "admin/v1/events.proto",
    "admin/v1/node_history.proto",
    "admin/v1/registry.proto",
    "admin/v1/registry_evidence.proto",
    "admin/v1/nodes.proto",
    "admin/v1/departments.proto",
    "admin/v1/supervision.proto",
    "admin/v1/services.proto",
    "admin/v1/items.proto",
    "admin/v1/sources.proto",
    "admin/v1/access.proto",
    "admin/v1/tasks.proto",
    "admin/v1/corrections.proto",
    "admin/v1/subject_log.proto",
    "admin/v1/subscriptions.proto",
    "admin/v1/directory_view.proto",
    "admin/v1/node_keys.proto",
    "admin/v1/records.proto",
    "admin/v1/registry_keys.proto",
    "admin/v1/registry_history.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from("proto");
    for file in FILES {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES.iter().copied(), [&root])?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin"), descriptors.encode_to_vec())?;
    let services = env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure().build_client(services).build_server(services).compile_fds(descriptors)?;
    Ok(())
}
