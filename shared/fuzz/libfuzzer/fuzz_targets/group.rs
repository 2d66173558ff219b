//! The target `group` under libFuzzer.
#![no_main]

use fuzz::allocation::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::run_named("group", data));
