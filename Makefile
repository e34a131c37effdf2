# make demo   build, and analyse a capture that ships with the source
# make test   all tests
# make lab    make the failures afresh with real proxies (root) and check every verdict
# make browser  try the HTML report in headless Chromium (300 MB to install)
# make bench  time it beside its peers on captures made here (root); BENCH=--help says what can be set
# make bench-live  why502 live beside tcpdump under load (root); LIVE='--seconds 600', LIVE=--help
# make instructions          compare the instructions it needs with the recorded ones
# make instructions-update   record them anew
# Each installs what it lacks through apt-get, with sudo when not root.

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := demo
.PHONY: demo test lab browser bench bench-live instructions instructions-update install
.PHONY: build-deps test-deps lab-deps browser-deps bench-deps instructions-deps rust

DEMO := captures/demo/nginx-demo-lb.pcap
BENCH_DIR ?= target/bench
BENCH ?=
LIVE ?=
LAB_OUT ?= $(or $(TMPDIR),/tmp)/why502-lab
RUST_NEEDED := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

demo: build-deps
	@cargo build --release --locked
	echo
	echo '$$ why502 $(DEMO)'
	$(or $(CARGO_TARGET_DIR),target)/release/why502 --no-progress $(DEMO)

test: test-deps
	cargo test --locked --no-fail-fast

lab: lab-deps
	if [ "$$(id -u)" != 0 ]; then echo "make lab needs root for its network namespaces: sudo make lab" >&2; exit 1; fi
	rm -rf '$(LAB_OUT)'
	python3 tests/lab/lab.py --out '$(LAB_OUT)'
	WHY502_LAB='$(LAB_OUT)' cargo test --locked --test truth verdicts -- --nocapture
	WHY502_LAB='$(LAB_OUT)' cargo test --locked --test health logs -- --nocapture

browser: browser-deps
	WHY502_SKIP=never cargo test --locked --test browser -- --nocapture

bench: bench-deps
	if [ "$$(id -u)" != 0 ]; then echo "make bench needs root for its network namespace: sudo make bench" >&2; exit 1; fi
	python3 benches/peers/bench.py --dir '$(BENCH_DIR)' $(BENCH)

bench-live: bench-deps
	if [ "$$(id -u)" != 0 ]; then echo "make bench-live needs root for its network namespace: sudo make bench-live" >&2; exit 1; fi
	python3 benches/peers/live.py --dir '$(BENCH_DIR)' $(LIVE)

instructions: instructions-deps
	python3 benches/instructions.py

instructions-update: instructions-deps
	python3 benches/instructions.py --update

install: build-deps
	cargo install --locked --path .

rust:
	@if ! command -v cargo >/dev/null; then
	  echo "why502 is built with Rust $(RUST_NEEDED) or newer, and there is no cargo here. Install it from https://rustup.rs" >&2
	  exit 1
	fi
	have=$$(rustc --version | sed -E 's/^rustc ([0-9]+\.[0-9]+).*/\1/')
	if [ "$$(printf '%s\n' '$(RUST_NEEDED)' "$$have" | sort -V | head -n 1)" != '$(RUST_NEEDED)' ]; then
	  echo "why502 needs Rust $(RUST_NEEDED) or newer, this is $$have. Update with: rustup update stable" >&2
	  exit 1
	fi

# install_missing COMMAND:PACKAGE... installs the packages whose command (or file) is not there.
define install_missing
	missing=""
	for pair in $(1); do
	  what=$${pair%%:*} package=$${pair#*:}
	  if [ ! -e "$$what" ] && ! command -v "$$what" >/dev/null && [ ! -x "/usr/sbin/$$what" ]; then missing="$$missing $$package"; fi
	done
	if [ -n "$$missing" ]; then
	  if ! command -v apt-get >/dev/null; then
	    echo "please install:$$missing (this machine has no apt-get)" >&2
	    exit 1
	  fi
	  sudo=""; if [ "$$(id -u)" != 0 ]; then sudo="sudo"; fi
	  echo "installing$$missing"
	  $$sudo apt-get update -qq
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null
	fi
endef

build-deps: rust
	@$(call install_missing,cc:build-essential /usr/include/pcap/pcap.h:libpcap-dev)

test-deps: build-deps
	@$(call install_missing,tshark:tshark editcap:wireshark-common tcpdump:tcpdump nginx:nginx-light haproxy:haproxy ip:iproute2 nft:nftables sysctl:procps openssl:openssl tmux:tmux python3:python3)

bench-deps: build-deps
	@$(call install_missing,tshark:tshark editcap:wireshark-common tcpdump:tcpdump tcptrace:tcptrace nginx:nginx-light wrk:wrk ip:iproute2 sysctl:procps gzip:gzip zstd:zstd python3:python3)

instructions-deps: build-deps
	@$(call install_missing,valgrind:valgrind python3:python3)

browser-deps: build-deps
	@$(call install_missing,chromium:chromium python3:python3)

lab-deps: test-deps
	@$(call install_missing,apache2:apache2-bin curl:curl wget:wget nc:netcat-openbsd)
