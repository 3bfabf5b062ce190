//! The `chela` binary.
fn main() {}
