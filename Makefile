# Two commands are all a newcomer needs, on a bare Debian 12 with git, make, gcc and Rust:
#
#   make run     the whole switch with two banks, and its first payment     (ARGS="--port-offset 100" go to `pix up`)
#   make test    everything that is tested
#
# Builds go to target/, or to $CARGO_TARGET_DIR when it is set.

SHELL := /bin/sh
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BINARIES := -p pix -p spi -p dict -p settlement -p bank -p virtual -p loadtest

.DEFAULT_GOAL := help
.PHONY: help run test docs fuzz lint fmt deny down purge parts test-parts clean

help:
	@sed -n 's/^#   \(make .*\)/\1/p' Makefile
	@echo "also: make docs lint fuzz fmt deny down purge clean"

run: parts
	$(CARGO) build --locked --release $(BINARIES)
	@exec $(TARGET)/release/pix up $(ARGS)

# TEST="-p spi" or TEST="-E 'test(audit)'" narrows what runs.
test: test-parts
	@CARGO="$(CARGO)" scripts/run-tests $(TEST)

# The workspace's build scripts link, and so need the C compiler that the parts come with.
lint: test-parts
	@$(CARGO) fmt --version >/dev/null 2>&1 || { echo "make lint: rustfmt is missing: install it with \`rustup component add rustfmt\`." >&2; exit 1; }
	@$(CARGO) clippy --version >/dev/null 2>&1 || { echo "make lint: clippy is missing: install it with \`rustup component add clippy\`." >&2; exit 1; }
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# Writes docs/metrics.md and docs/configuration.md from the services' own tables.
docs: test-parts
	UPDATE_DOCS=1 CARGO="$(CARGO)" scripts/run-tests reference::

# FUZZ_SECONDS=600 for longer than a minute a target.
fuzz:
	@scripts/fuzz

fmt:
	$(CARGO) fmt --all

# Licences, banned crates and sources need no network; advisories do and run where cargo-deny can fetch them.
deny:
	$(CARGO) deny --locked check bans licenses sources

down:
	$(TARGET)/release/pix down $(ARGS)

purge:
	$(TARGET)/release/pix down --purge $(ARGS)

parts:
	@scripts/install-parts run

test-parts:
	@scripts/install-parts test

clean:
	$(CARGO) clean
