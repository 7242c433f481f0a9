# Recipes for people; CI runs .ci/run, which does the same and installs what it needs.

# what CI runs
check:
    cargo fmt --all --check
    tests/guests/build --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo deny check
    cargo test --workspace --locked

# a node with a demo tenant
run *arguments:
    cargo run --release --bin littorald -- dev {{arguments}}

# one suite, for instance: just suite functional
suite name *arguments:
    cargo test -p littoral-tests --test {{name}} {{arguments}}

# what SPECIFICATION.md promises in figures: each prints them, and fails beyond what is promised
bench:
    cargo build --release -p littorald -p control-api --bins
    cargo bench -p littoral-tests

# part of the functional suite against the daemon for 64-bit ARM, in 39 bits of addresses under qemu; installs what it
# needs on Debian 12. Not part of CI: a first build takes 20 minutes and more
arm *tests:
    tests/aarch64/run {{tests}}

# the checked-in OpenAPI document and the generated pages, after a change to contract or configuration
update:
    UPDATE=1 UPDATE_README=1 cargo test -p control-api -p edge-config
