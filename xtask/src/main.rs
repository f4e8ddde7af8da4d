//! Tidegate's own tools.
fn main() {}
