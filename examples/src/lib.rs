//! examples

pub mod population;
pub mod services;
