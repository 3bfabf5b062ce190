//! Prints docs/config.md.

#[allow(clippy::print_stdout)]
fn main() {
    print!("{}", chela_config::reference_markdown());
}
