//! The wire: the `.proto` files under `proto/` and the types made from them. Nothing else lives here; what a message
//! means, and how it is checked, is in `trust`.
//!
//! Without the feature `grpc` the crate has messages only. With it come the clients and servers of the services.

#![allow(missing_docs, unreachable_pub, clippy::all)]
// The comments of the .proto files are plain text.
#![allow(rustdoc::invalid_html_tags, rustdoc::bare_urls, rustdoc::broken_intra_doc_links)]

/// Node to node.
pub mod exchange {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/exchange.v1.rs"));
    }
}

/// The registry's port and the directory's statements.
pub mod registry {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/registry.v1.rs"));
    }
}

/// Office systems to their own node.
pub mod office {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/office.v1.rs"));
    }
}

/// Operators to their own running program, over its admin socket.
pub mod admin {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/admin.v1.rs"));
    }
}

/// The compiled descriptors of all files, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
