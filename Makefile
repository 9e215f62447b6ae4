# `make demo` shows it, `make test` proves it. Each installs what it needs (libpcap-dev).

CARGO ?= cargo
SUDO  := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
HAVE_PCAP := $(wildcard /usr/include/pcap/pcap.h /usr/local/include/pcap/pcap.h)

.PHONY: demo test accuracy liveness rivals lint fmt bench peers counter deps

demo: deps
	$(CARGO) build --release --locked
	target/release/syncscope demo

# The tests that make namespaces and capture need the privileges of the demo; those that this
# machine cannot run print SKIPPED with the reason, and fail where CI=true.
test: deps counter
	$(CARGO) test --locked

# Every scenario over the lab, scored against the link's own log; tshark and tcptrace beside it.
# About 20 minutes on 2 cores; `make accuracy ONLY="loss3 --seeds 2"` for less.
accuracy: deps rivals
	$(CARGO) test --locked --test accuracy -- $(or $(ONLY),--all)

# What a run does when its link or its peer goes, beside rsync; links that are cut. About 2 minutes.
liveness: deps peers
	$(CARGO) test --locked --test liveness -- --all

lint: deps
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# The delta engine beside memcpy, two crates and two programs; whole pushes beside rsync's daemon; what
# recording costs. About 5 minutes; `make bench BENCH="--mib 32"` for less, `BENCH=--check` fails below a mark.
bench: deps peers rivals
	$(CARGO) bench --locked --bench delta -- $(BENCH)
	$(CARGO) bench --locked --bench against_rsync -- $(BENCH)
	$(CARGO) bench --locked --bench recording
	$(CARGO) bench --locked --bench analysis -- $(BENCH)

deps:
ifeq ($(HAVE_PCAP),)
	@echo "installing libpcap-dev (needed to build)"
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libpcap-dev
endif
	@command -v $(CARGO) >/dev/null || { echo "no Rust toolchain: install one from https://rustup.rs"; exit 2; }

counter:
	@command -v valgrind >/dev/null || { \
	  echo "installing valgrind (to count instructions)"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind; }

peers:
	@command -v rsync >/dev/null && command -v rdiff >/dev/null || { \
	  echo "installing rsync and rdiff (to compare with)"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rsync rdiff; }

rivals:
	@command -v tshark >/dev/null && command -v tcptrace >/dev/null || { \
	  echo "installing tshark and tcptrace (to compare with)"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends tshark tcptrace; }
