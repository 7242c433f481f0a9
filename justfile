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

# all benches but the soak: each prints its figures, some fail beyond what SPECIFICATION.md promises; about an hour
bench: bench-build
    cargo bench -p littoral-tests --bench deploy --bench worker --bench neighbour --bench key_value --bench handshakes
    cargo bench -p littoral-tests --bench peers --bench density

# beside wasmtime serve, workerd and bare hyper, which are installed into target/peers first; ONLY=cores,... for a part
bench-peers: bench-build
    cargo bench -p littoral-tests --bench peers

# ten thousand tenants on one node; TENANTS=... for fewer
bench-density: bench-build
    cargo bench -p littoral-tests --bench density

# half an hour under load; SECONDS=... for less
bench-soak: bench-build
    cargo bench -p littoral-tests --bench soak

[private]
bench-build:
    cargo build --release -p littorald -p control-api --bins

# part of the functional suite against the daemon for 64-bit ARM, in 39 bits of addresses under qemu; installs what it
# needs on Debian 12. Not part of CI: a first build takes 20 minutes and more
arm *tests:
    tests/aarch64/run {{tests}}

# the Debian package of this machine's architecture, into target/debian; needs cargo-deb
package *options:
    deploy/deb/build {{options}}

# the package in a Debian of its own, which is booted; needs root, debootstrap, systemd-container and cargo-deb
package-check *binaries:
    deploy/deb/check {{binaries}}

# units, rules, dashboard, what an image has, compose file and manifests; see deploy/README.md for what each needs
deploy-check binaries="target/debug":
    systemd/check
    deploy/prometheus/check
    deploy/container/check {{binaries}}
    POSTGRES_PASSWORD=any docker-compose -f deploy/compose.yaml config -q
    deploy/kubernetes/check

# the checked-in OpenAPI document and the generated pages, after a change to contract or configuration
update:
    UPDATE=1 UPDATE_README=1 cargo test -p control-api -p edge-config
