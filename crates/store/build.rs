//! A migration that is added makes the crate build again: the compiler sees only those that it has already read.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
