#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncscope_fuzz::targets::seal(data));
