# Everything that a person or CI does with this repository is a target here. Longer logic lives in
# .ci/ and integration/tools/. `make help` lists the targets.
SHELL         := bash
.SHELLFLAGS   := -eu -o pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS     += --no-print-directory

TAGS     := seccomp,netgo,osusergo
UNIT      = $(addsuffix /...,$(wildcard ./pkg ./packages ./installer ./ui ./cmd ./integration/tools ./integration/history))
RUN      ?= .
SEEDS    ?= 1000
FUZZTIME ?= 10s
ARGS     ?=
VULNDB   ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the one static binary, bin/dcos
	@.ci/need build
	CGO_ENABLED=1 go build -trimpath -buildvcs=false -tags '$(TAGS)' -o bin/dcos \
		-ldflags "-s -w $$(.ci/stamp) -linkmode external -extldflags '-static -no-pie'" ./cmd/dcos

test: lint unit sim short ## what CI runs: lint, unit tests, simulator, short integration

lint: imports metrics cross ## formatting, analysers, import rule, command line for other systems
	@.ci/need build
	$$(.ci/tool golangci-lint) run --allow-parallel-runners --build-tags $(TAGS) ./...

fmt: ## format every Go file as the linter wants it
	$$(.ci/tool golangci-lint) fmt ./...

imports: ## layout, import rule, package kinds, file sizes
	go test -count=1 -run '^TestImports' ./integration

cross: ## the command line builds without cgo for other systems
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 go build -o /dev/null ./cmd/dcos
	CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go build -o /dev/null ./cmd/dcos

unit: ## unit tests with the race detector
	@.ci/need build
	go test -race -tags '$(TAGS)' $(UNIT)

sim: build ## the simulator over SEEDS seeds, with the planted bugs
	bin/dcos sim --seeds $(SEEDS) --minutes 10 --mutants

short: ## the integration tests that CI runs
	@$(MAKE) integration RUN='^Test(Spine|Core)'

integration: build ## black-box tests of bin/dcos: make integration RUN='^TestX' (needs root)
	@.ci/need test browser
	@go build -o bin/proof ./integration/tools/proof
	@bin/proof -run '$(RUN)'

bench: build ## measured against the budgets: make bench ARGS=--json
	bin/dcos bench $(ARGS)

fuzz: ## every fuzz target for FUZZTIME
	.ci/fuzz $(FUZZTIME) $(UNIT)

ui: ## the web files in ui/dist, which the binary embeds
	@.ci/need ui
	npm --prefix ui ci
	npm --prefix ui run pack

up: build ## a one-machine cluster with hello-world; Ctrl-C stops it all
	bin/dcos dev --with hello-world

metrics: ## how the code measures against the house style
	@go run ./integration/tools/metrics

vuln: ## known vulnerabilities in what is linked: make vuln VULNDB=/path/to/vulndb
	@test -d '$(VULNDB)' || { echo 'make vuln needs VULNDB=DIR, an unpacked copy of the Go vulnerability database'; exit 2; }
	$$(.ci/tool govulncheck) -db 'file://$(abspath $(VULNDB))' -tags $(TAGS) ./...

release: ## snapshot of the release archives, checksums and SBOM in dist/
	@.ci/need build release
	.ci/release

.PHONY: help build test lint fmt imports cross unit sim short integration bench fuzz ui up metrics vuln release
