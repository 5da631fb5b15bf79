# callchain's tasks. Each target installs what it needs and is not there yet:
# programs below .cache, and only for tests some of Debian's packages (as root).
# build and demo need Go alone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .cache/bin

# How long one fuzz target runs, and which do (a regular expression over "package
# target"; all of them when empty); how many cases each rapid property tries.
FUZZTIME ?= 20s
FUZZ ?=
RAPID_CHECKS ?= 10000
# How many seeds of the simulation test-long runs.
SEEDS ?= 50000
# Which packages test, fuzz and bench look at, and further flags for go test.
PKG ?= ./...
TESTFLAGS ?=
# How often bench runs each benchmark, and how long those that count operations
# take; those of internal/bench take the seconds that they need. With these it
# ends in less than ten minutes; one number says little on a busy machine, so use
# a higher COUNT for what is compared.
COUNT ?= 1
BENCHTIME ?= 300ms

# What "callchain version" and callchain_build_info say.
VERSION_PKG := github.com/prometheus/common/version
VERSION  = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
BRANCH   = $(shell git rev-parse --abbrev-ref HEAD 2>/dev/null || echo unknown)
# The commit's date, not today's: the same commit builds the same bytes.
BUILDDATE = $(shell git log -1 --format=%cd --date=format:%Y%m%d-%H:%M:%S 2>/dev/null || echo unknown)
LDFLAGS = -s -w \
	-X $(VERSION_PKG).Version=$(VERSION) \
	-X $(VERSION_PKG).Revision=$(REVISION) \
	-X $(VERSION_PKG).Branch=$(BRANCH) \
	-X $(VERSION_PKG).BuildDate=$(BUILDDATE)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## all of callchain on this machine, with an inbox in place of Slack and mail
	@./callchain demo

.PHONY: build
build: ## ./callchain: one static, stripped binary
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o callchain ./cmd/callchain

.PHONY: test
test: ## all tests, with the race detector, against real neighbours
	.ci/setup test
	$(BIN)/gotestsum --format pkgname --hide-summary=skipped -- \
		-race -shuffle=on -timeout 20m $(TESTFLAGS) $(PKG)

.PHONY: test-long
test-long: ## the same with more incidents, then many more seeds and cases of every property, then longer fuzzing
	.ci/setup test
	CALLCHAIN_CHAOS=1000 $(BIN)/gotestsum --format pkgname -- -race -shuffle=on -timeout 60m -count=1 $(TESTFLAGS) $(PKG)
	go test -count=1 -timeout 12h -run '^TestSeeds$$' -v ./escalation/engine/sim -seeds $(SEEDS) | grep -v '^ *=== '
	.ci/properties $(RAPID_CHECKS) $(PKG)
	.ci/fuzz 2m $(PKG)

.PHONY: fuzz
fuzz: ## every fuzz target, or those that FUZZ picks, for FUZZTIME (20s)
	FUZZ='$(FUZZ)' .ci/fuzz $(FUZZTIME) $(PKG)

.PHONY: lint
lint: ## format, vet, golangci-lint, modules, what no file may say
	.ci/setup lint
	.ci/lint

.PHONY: bench
bench: ## every benchmark, COUNT times
	.ci/setup test
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -count $(COUNT) -timeout 60m $(TESTFLAGS) $(PKG)

.PHONY: clean
clean: ## remove what was built and installed here
	rm -rf .cache callchain
