# What to run. `make` alone lists it.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help needs build check test format lint unit quick heavy simulation readme docs-current docs bench bench-parts fuzz
.PHONY: cluster conformance clusters-begin clusters public-begin public image image-test sbom bench-cluster bench-cores suites soak deny
# Measured times are among the tests: one after the other, whatever -j says.
.NOTPARALLEL:

# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60
# Leaks would be looked for after each input of a gateway, whose threads allocate meanwhile: ten times as slow. Slow targets do not grow their
# inputs from nothing either.
FUZZ_OPTIONS = $$(case $$target in http2_head) echo -detect_leaks=0 -len_control=0 -max_len=1500;; stream) echo -len_control=0;; esac)
FUZZ_TARGETS = $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

needs:
	@tools/needs

build: needs ## the program, target/release/headgate
	cargo build --release

check: needs format lint unit quick ## format, lints, unit tests, a quick run end to end

test: needs clusters-begin public-begin format lint unit quick public clusters heavy readme docs-current ## everything; what CI runs
	@if [ -e $(NOT_RUN) ]; then cat $(NOT_RUN); fi

format:
	cargo fmt --all --check

# The second: tests that are part of no `cargo test` are no part of all targets.
lint:
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	cargo clippy --package headgate-e2e --test heavy --test soak --test functions --test cluster --quiet -- -D warnings

# Simulations are among these: a thousand seeds for the backend, random walks for functions and the scaler.
unit:
	cargo test --workspace --exclude headgate-e2e --quiet

# Examples, structure, the program as users start it, and as attackers find it.
quick:
	cargo build --quiet
	cargo test -p headgate-e2e --test structure --test chart --test units --test examples --test standalone --test attacks --quiet

# Where a machine cannot have clusters, `make test` says so first and last, and goes on without them. Where it can, Kubernetes is
# built meanwhile; its log is target/cluster-build.log, and a failed build is tried again, and told, where it is needed.
NOT_RUN = target/not-run
clusters-begin:
	@mkdir -p target
	@rm -f $(NOT_RUN)
	@if tools/needs cluster 2>target/needs-cluster; then \
	    nice e2e/cluster/up --build-only >target/cluster-build.log 2>&1 </dev/null & \
	else \
	    { echo "not run: make conformance, make cluster"; sed 's/^/  /' target/needs-cluster; } | tee $(NOT_RUN); \
	fi

clusters:
	@if [ -e $(NOT_RUN) ]; then cat $(NOT_RUN); else \
	    $(MAKE) --no-print-directory conformance REPORT=target/conformance.yaml; \
	    $(MAKE) --no-print-directory cluster; \
	fi

cluster: ## a real Kubernetes on this machine: the chart, routes under load, outages; root, Go
	@tools/needs cluster
	cargo build --quiet
	cargo test -p headgate-e2e --test cluster --test functions --no-run --quiet
	e2e/cluster/fresh --set openfunction.crds=true --set ingress.enabled=true -- e2e/cluster/in e2e/cluster/stories

# The report of a release is kept in conformance/.
REPORT ?= conformance/experimental-$(VERSION)-default-report.yaml
VERSION = $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
conformance: ## the official tests of Gateway API in a real Kubernetes; root, Go
	@tools/needs cluster
	cargo build --quiet
	FEATURES=auto REPORT=$(REPORT) VERSION=$(VERSION) e2e/cluster/fresh e2e/cluster/conformance

# Minutes: bodies of 100 MB, thousands of reloads under load, what a warm request costs.
heavy:
	cargo build --quiet
	cargo test -p headgate-e2e --test heavy --quiet
	cargo build --workspace --exclude headgate-e2e --bins --tests --quiet # what `unit` selects: alone it would be built anew with other features of libraries
	"$${CARGO_TARGET_DIR:-target}/debug/headgate-bench" guard

# Those that take seconds, and whose verdict no busy machine changes, are a part of `make test`. Where a machine cannot have them, it says so first, and where they would run.
PUBLIC = h2spec grpc websocket
public-begin:
	@tools/needs suites 2>target/needs-suites || { echo "not run: public suites ($(PUBLIC))"; sed 's/^/  /' target/needs-suites; }

public:
	@if [ -s target/needs-suites ]; then echo "not run: public suites ($(PUBLIC))"; sed 's/^/  /' target/needs-suites; else \
	    e2e/suites/install; \
	    e2e/suites/run $(PUBLIC); \
	fi

suites: ## public suites of HTTP/2, gRPC, WebSocket, TLS and slow clients; Go, Python, and root for the rest
	@tools/needs suites
	cargo build --quiet
	e2e/suites/install
	e2e/suites/run

# The report is SOAK_REPORT.txt and SOAK_REPORT.json; SOAK_SEED repeats a schedule.
SOAK_MINUTES ?= 30
SOAK_REPORT ?= target/soak
soak: needs ## half load for SOAK_MINUTES (30) with toxics, kills, reloads and cold starts; writes SOAK_REPORT (target/soak)
	SOAK_MINUTES=$(SOAK_MINUTES) SOAK_REPORT=$(abspath $(SOAK_REPORT)) cargo test --release --package headgate-e2e --test soak -- --nocapture

simulation:
	cargo test -p headgate-gateway --test simulation

# The README's commands, as a newcomer types them, from an empty home.
readme:
	cargo test -p headgate-e2e --test readme --quiet

# Documents that are made from tables in code, and documentation comments.
docs-current:
	cargo test -p headgate-gateway --lib --quiet docs
	cargo test -p headgate-functions --test docs --quiet
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

docs: needs ## write docs/failures.md, docs/limits.md, docs/functions.md and docs/benchmarks.md anew
	UPDATE_DOCS=1 cargo test -p headgate-gateway --lib --quiet docs
	UPDATE_DOCS=1 cargo test -p headgate-functions --test docs --quiet
	UPDATE_DOCS=1 cargo test -p headgate-bench --quiet page

IMAGE ?= headgate:dev
image: ## the container image IMAGE (headgate:dev), by docker, podman or buildah
	tools/image $(IMAGE)

image-test: ## the image's last stage, built and started; root, buildah
	e2e/image/try

sbom: ## what the program is made of, as CycloneDX: target/headgate.cdx.json
	@tools/needs sbom
	cargo cyclonedx --manifest-path headgate/Cargo.toml --format json --target $$(rustc -vV | sed -n 's/^host: //p')
	@mkdir -p target
	mv headgate/headgate.cdx.json target/
	@find . -name '*.cdx.json' -not -path './target/*' -delete # one of each crate

deny: ## licences, duplicates, origins and advisories of everything that is depended on
	@tools/needs deny
	cargo deny check

bench: needs ## the program against its goals and beside other gateways; writes benches/results and docs/benchmarks.md
	tools/peers
	cargo build --profile dist --package headgate --package headgate-bench
	target/dist/headgate-bench all
	target/dist/headgate-bench page

bench-cluster: needs ## the program in a real Kubernetes on this machine; root, Go
	@tools/needs cluster
	cargo build --profile dist --package headgate --package headgate-bench
	for part in cluster gateway-api-bench gateway-api-bench-sets; do \
	    HEADGATE=target/dist/headgate e2e/cluster/fresh -- e2e/cluster/in target/dist/headgate-bench $$part || exit; \
	done
	target/dist/headgate-bench page

# Beside the threads there have to be processors for clients and origins: 48 for all of it. It claims nothing and writes no page.
bench-cores: needs ## requests a second and CPU time of a request by 1 to 16 threads, where there are processors; writes benches/results
	cargo build --profile dist --package headgate --package headgate-bench
	target/dist/headgate-bench cores

bench-parts: needs ## benchmarks of matching and of translation
	cargo bench --package headgate-routing --package headgate-bench --benches

fuzz: ## each fuzz target for FUZZ_SECONDS (60)
	@tools/needs fuzz
	cargo test --manifest-path fuzz/Cargo.toml --lib --quiet # the oracles, and what seeds are there for
	for target in $(FUZZ_TARGETS); do \
	    mkdir -p target/fuzz/$$target; \
	    cargo +nightly fuzz run $$target target/fuzz/$$target fuzz/corpus/$$target -- \
	        -max_total_time=$(FUZZ_SECONDS) $(FUZZ_OPTIONS); \
	done
