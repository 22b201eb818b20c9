.DEFAULT_GOAL := help

TOOLS := bin/tools
FOLDERS := $(wildcard autoscale cmd consumers loadtest services)
TOOLMOD := -modfile=.ci/tools.mod
# The race detector needs a C compiler; go env knows whether there is one.
RACE = $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## File a sample firm of 300 companies, everything in one process
	go run ./cmd/springtide demo

.PHONY: dev
dev: ## Run everything in one process, durable in springtide-data
	go run ./cmd/springtide dev

.PHONY: build
build: ## Build bin/springtide
	go build -trimpath -o bin/springtide ./cmd/springtide

.PHONY: test
test: ## All tests with the race detector, on real Kafka and Redis where they can be had
	@test -n "$(RACE)" || echo "*** NO C COMPILER: TESTING WITHOUT THE RACE DETECTOR" >&2
	.ci/with-services go test $(RACE) -timeout 20m ./...

.PHONY: test-short e2e
test-short: ## The quick tests, embedded servers only
	go test -short ./...
e2e: ## The board in a headless Chromium, which it installs where it can; pictures in .screenshots
	.ci/browser

.PHONY: bench chaos
bench: ## One table: acknowledgements, filings/s, processor time, on embedded and real servers
	.ci/with-services go test -run '^$$' -bench '^BenchmarkSystem$$' -benchtime 1x -timeout 15m ./cmd/internal/e2e
chaos: build ## Kill everything while clients file (CHAOS='--duration 10m --seed 1')
	@test -e .services/kafka/libs/stamp || { .ci/services up; .ci/services down; }
	bin/springtide chaos $(CHAOS)

.PHONY: fuzz tools
fuzz: ## Every fuzz target for FUZZTIME (20s) each
	.ci/fuzz
tools: ## Build the linters and generators into bin/tools (minutes, the first time)
	go build $(TOOLMOD) -o $(TOOLS)/ tool

.PHONY: lint lint-format lint-go lint-proto
lint: lint-format lint-go lint-proto ## Formatting, linters, protos (make -k lint: all of them)
lint-format: tools
	@files=$$($(TOOLS)/gofumpt -l $(FOLDERS)) && test -z "$$files" || \
	  { printf 'not formatted, run make fmt:\n%s\n' "$$files"; exit 1; }
lint-go: tools
	$(TOOLS)/golangci-lint run ./...
lint-proto: tools
	$(TOOLS)/buf lint proto

.PHONY: fmt
fmt: tools ## Format the Go code
	$(TOOLS)/gofumpt -l -w $(FOLDERS)

.PHONY: generate
generate: ## Generate the Go code of proto/
	.ci/generate

.PHONY: check-generated
check-generated: ## Fail if the generated code is not what the protos say
	.ci/generate --check

.PHONY: services services-down
services: ## Start a real Kafka and Redis on loopback ports
	.ci/services up
services-down: ## Stop them and wait until they are gone
	.ci/services down

.PHONY: clean
clean: ## Remove everything that was built, fetched or stored
	.ci/services wipe
	rm -rf bin .services
