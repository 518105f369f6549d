# The everyday commands of hoplab. `ci/just RECIPE` installs what is missing
# first, then does the same as `just RECIPE`.

# Arguments reach a recipe as "$@", so spaces and quotes in them survive.
set positional-arguments := true

# List the recipes
default:
    @just --list --unsorted

# Build a lab, send its traffic and judge every hop: `just lab bookinfo --backend legacy`
[no-exit-message]
lab NAME *ARGS: _build
    @"${CARGO_TARGET_DIR:-target}/release/hoplab" run "$@"

# Run any verb of hoplab: `just hoplab --help`
[no-exit-message]
hoplab *ARGS: _build
    @"${CARGO_TARGET_DIR:-target}/release/hoplab" "$@"

# Open a shell in a pod of a running lab: `just shell reviews-v1`
[no-exit-message]
shell POD *ARGS: _build
    @"${CARGO_TARGET_DIR:-target}/release/hoplab" shell "$@"

# Say what this machine can and can't do, and how to repair it
[no-exit-message]
doctor *ARGS: _build
    @"${CARGO_TARGET_DIR:-target}/release/hoplab" doctor "$@"

# Run all tests; arguments go to `cargo test`. Four tests per processor at once: a lab waits more than it works
test *ARGS:
    RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((4 * $(getconf _NPROCESSORS_ONLN)))}" cargo test --workspace "$@"

# The whole matrix in the kernel: every lab file, configuration and profile, backend, family and variant: `just regress --partition count:1/4 --junit junit.xml`
[no-exit-message]
regress *ARGS: _build
    @"${CARGO_TARGET_DIR:-target}/release/hoplab" run --all scenarios/labs --quiet --profiles \
        --configurations scenarios/configurations/goldens.txt --configurations scenarios/configurations/gaps.txt "$@"

# Run a verb of hoplab as an ordinary user, whom root makes up for it: `just as-user run --all scenarios/labs`
[no-exit-message]
as-user *ARGS: _build
    @HOPLAB="${CARGO_TARGET_DIR:-target}/release/hoplab" ci/as-user "$@"

# Run the tests that need no namespaces and no iptables
test-pure:
    cargo test -p hoplab --lib
    cargo test -p hoplab-proxies

# Format the code
fmt:
    cargo fmt --all

# Check the format of the code
fmt-check:
    cargo fmt --all --check

# Run clippy; every warning is an error
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Check what builds without Linux and without labs: the pure modules and verbs
pure:
    cargo clippy -p hoplab --no-default-features --all-targets -- -D warnings
    cargo test -p hoplab --no-default-features --lib --quiet

# Build the documentation; every warning is an error
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Fuzz every reader of rules and of evidence for a bounded time: `just fuzz 60` for 60 seconds each
fuzz *ARGS:
    @fuzz/run "$@"

# Everything a change has to pass
check: fmt-check lint pure doc test

# Compare the time of the bookinfo lab with a plain shell script, then time the pure half: `just bench --runs 30`
[no-exit-message]
bench *ARGS:
    @ci/bench "$@"
    @just bench-rules

# How labs grow: time and memory for 6, 50 and 200 pods
[no-exit-message]
bench-pods *ARGS:
    @ci/bench-pods "$@"

# Twenty labs at once, a hundred times up and down, fifty kills at random moments: nothing may be left
[no-exit-message]
soak *ARGS:
    @ci/soak "$@"

# Rules a second the readers take, packets a second the model follows; needs no Linux
[no-exit-message]
bench-rules *ARGS:
    cargo bench -p hoplab --no-default-features --bench rules -- "$@"

# Events a second that a trace takes before it loses some, and from a packet to its line; in namespaces of its own
[no-exit-message]
bench-trace *ARGS:
    cargo test -p hoplab --release --test trace --test trace_process -- --ignored --nocapture --test-threads 1 speed "$@"

# Silent when there is nothing to build; a word when it takes longer than a moment.
_build:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release --quiet -p hoplab &
    build=$!
    for _ in {1..20}; do
        kill -0 "$build" 2>/dev/null || break
        sleep 0.1
    done
    if kill -0 "$build" 2>/dev/null; then
        echo "building hoplab in release mode; the first time takes two minutes or so" >&2
    fi
    wait "$build"
