#!/bin/sh
# Fuzzes each target under fuzz/ for FUZZ_SECONDS (60), and prints the number of inputs. Works on stable Rust: it looks
# for broken properties and panics. The project has no unsafe code, so a sanitizer would find little.
# New inputs stay in fuzz/grown/, beside the committed corpus. Inputs that break a property go to fuzz/artifacts/.
set -eu
cd "$(dirname "$0")/.."
fuzz=${CARGO_FUZZ:-cargo-fuzz}
"$fuzz" build --sanitizer none --no-cfg-fuzzing
for target in ${TARGETS:-$(ls fuzz/corpus)}; do
    mkdir -p "fuzz/grown/$target"
    log="fuzz/grown/$target.log"
    if ! "$fuzz" run --sanitizer none --no-cfg-fuzzing "$target" "fuzz/grown/$target" "fuzz/corpus/$target" -- \
        -dict=fuzz/words.dict -max_total_time="${FUZZ_SECONDS:-60}" -print_final_stats=1 >"$log" 2>&1; then
        tail -n 60 "$log"
        exit 1
    fi
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, $(grep -c . "$log") lines in $log"
done
