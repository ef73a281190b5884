//! Packed rows.
