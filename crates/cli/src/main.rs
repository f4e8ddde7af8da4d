//! t
mod config;
mod units;
fn main() {}
