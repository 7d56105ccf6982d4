# Kalam. `make help` lists the targets. Everything a target needs beyond Go, make and git it installs itself:
# a C/C++ compiler (for DuckDB and the SQL parser), kcat, strace and redis-server with apt when they are missing and one is root.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
JOBS    ?= 2
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
BIN     := bin/kalam

LINT_VERSION := v2.15.0
LINT         := .tools/golangci-lint-$(LINT_VERSION)

DATA_VERSION := 3.2.1
DATA         := .cache/vega-datasets-$(DATA_VERSION)

# need installs Debian packages when a command is missing: $(call need,command,packages)
define need
	@command -v $(1) >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing $(2)"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(2) >/dev/null; \
	  else echo "$(1) is missing: install $(2)" >&2; exit 1; fi; }
endef

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: compiler
compiler:
	$(call need,gcc,gcc libc6-dev)
	$(call need,g++,g++)

.PHONY: kcat
kcat:
	$(call need,kcat,kcat)

# RUNLEVEL=1 keeps the package from starting a server of its own.
.PHONY: redis
redis: export RUNLEVEL = 1
redis:
	$(call need,redis-server,redis-server)
.PHONY: strace
strace:
	$(call need,strace,strace)

.PHONY: build
build: compiler ## build bin/kalam
	$(GO) build -p $(JOBS) -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/kalam

.PHONY: demo
demo: build data ## run the main job on real data, check every count, stop
	$(GO) run ./cmd/kalam-demo -binary $(BIN) -dataset $(DATA)/package/data

.PHONY: test
test: build kcat redis strace ## run all tests
	KALAM_BINARY=$(CURDIR)/$(BIN) $(GO) test -p $(JOBS) -timeout 12m ./...

.PHONY: lint
lint: compiler $(LINT) ## run the linters and check that go.mod is tidy
	$(LINT) run ./...
	$(GO) mod tidy -diff
	@! $(GO) mod graph | grep -q ' github.com/cockroachdb/pebble@v1' || { echo "pebble v1 in the module graph breaks the Raft library" >&2; exit 1; }

.PHONY: format
format: $(LINT) ## format all Go files
	$(LINT) fmt ./...

.PHONY: bench
bench: build data ## measure the paths of docs/benchmarks.md; takes minutes
	$(GO) run ./bench -binary $(BIN) -dataset $(DATA)/package/data

# SHORT=1: fewer faults, under four minutes. ONLY=kill-leader,... runs those; SEED= repeats what was drawn; NODES=1 runs one server.
NODES ?= 3
SEED  ?= 0

.PHONY: chaos
chaos: build ## break servers, networks and disks under load, and judge what clients were told; needs root
	$(call need,ip,iproute2)
	$(call need,nft,nftables)
	$(GO) build -p $(JOBS) -o bin/kalam-chaos ./cmd/kalam-chaos
	bin/kalam-chaos -binary $(BIN) -nodes $(NODES) -seed $(SEED) $(if $(SHORT),-short) $(if $(ONLY),-only $(ONLY))

.PHONY: data
data: $(DATA)

# The public data sets are fetched once. Without a network the committed excerpt serves instead.
$(DATA):
	@mkdir -p .cache
	@rm -rf $(DATA).part && mkdir -p $(DATA).part
	@if command -v npm >/dev/null && (cd $(DATA).part && npm pack --silent vega-datasets@$(DATA_VERSION) >/dev/null 2>&1); then \
	  tar xzf $(DATA).part/*.tgz -C $(DATA).part && rm $(DATA).part/*.tgz && mv $(DATA).part $(DATA); \
	else rm -rf $(DATA).part; echo "vega-datasets cannot be fetched (no npm or no network): using the committed excerpt"; fi

$(LINT):
	GOBIN=$(CURDIR)/.tools GOFLAGS=-p=$(JOBS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv .tools/golangci-lint $@

.PHONY: clean
clean: ## remove what was built; keeps fetched data and tools
	rm -rf bin
