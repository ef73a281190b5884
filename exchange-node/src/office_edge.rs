//! office_edge
