//! Compiles `staffetta/v1/*.proto` with a compiler written in Rust: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=staffetta");
    let files = ["webhook", "command", "event", "dead"].map(|name| format!("staffetta/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["."])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
