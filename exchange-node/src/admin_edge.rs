//! admin_edge
