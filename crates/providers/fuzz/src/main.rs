//! libFuzzer's door to the parser of webhooks. `cargo xtask fuzz` runs it.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use staffetta_providers_fuzz::{check, mutate};

fuzz_target!(|body: &[u8]| check(body));

// Half of the inputs are changed as JSON, half as bytes.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match mutate(&data[..size], seed).filter(|body| body.len() <= max_size) {
        Some(body) => {
            data[..body.len()].copy_from_slice(&body);
            body.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});
