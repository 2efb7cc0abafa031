#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    alleycat::fuzz_targets::record(bytes);
});
