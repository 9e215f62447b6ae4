# `make demo` shows it, `make test` proves it. Each installs what it needs (libpcap-dev).

CARGO ?= cargo
SUDO  := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
HAVE_PCAP := $(wildcard /usr/include/pcap/pcap.h /usr/local/include/pcap/pcap.h)

.PHONY: demo test lint fmt bench deps

demo: deps
	$(CARGO) build --release --locked
	target/release/syncscope demo

# The tests that make namespaces and capture need the privileges of the demo; those that this
# machine cannot run print SKIPPED with the reason, and fail where CI=true.
test: deps
	$(CARGO) test --locked

lint: deps
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

bench: deps
	$(CARGO) bench --locked --bench '*'

deps:
ifeq ($(HAVE_PCAP),)
	@echo "installing libpcap-dev (needed to build)"
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libpcap-dev
endif
	@command -v $(CARGO) >/dev/null || { echo "no Rust toolchain: install one from https://rustup.rs"; exit 2; }
