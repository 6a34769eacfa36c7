# Everything here needs Go and nothing else: the tools are pinned in go.mod and
# come from the Go module proxy.

GO        ?= go
BENCH     ?=
BENCHTIME ?= 1s
FUZZTIME  ?= 20s
FIPS      ?= ./...
SOAK      ?= 5m
# Without gRPC's own request log, which nobody reads and which links text/template:
# with that the linker keeps every method there is, and the agent is 2 MB larger.
TAGS      ?= grpcnotrace
SESSIONS  ?= 10000
ROUTES    ?= 20
PLATFORMS ?= linux/amd64 linux/arm64 linux/arm/v7 linux/riscv64 darwin/arm64 windows/amd64
ENGINE    ?= docker
IMAGE     ?= sallyport
TAG       ?= dev

BUILD := CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -ldflags=-s

.DEFAULT_GOAL := help
.PHONY: help build dist images demo test fips soak fleet lint proto readme screenshots bench microbench fuzz govulncheck clean

help: ## print this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## put sallyport-proxy, sallyport-agent and sallyport into ./bin, linked statically
	$(BUILD) -o bin/ ./cmd/...

dist: ## put the three programs for each of PLATFORMS into ./dist, with their checksums
	@rm -rf dist
	@set -e; for platform in $(PLATFORMS); do \
		os=$${platform%%/*}; arch=$${platform#*/}; arm=; \
		case $$arch in */v*) arm=$${arch#*/v}; arch=$${arch%/*};; esac; \
		echo "$$platform"; mkdir -p "dist/$$os-$$arch"; \
		GOOS=$$os GOARCH=$$arch GOARM=$$arm $(BUILD) -o "dist/$$os-$$arch/" ./cmd/...; \
	done
	@cd dist && sha256sum */* > SHA256SUMS

images: ## build the container images IMAGE/proxy, /agent and /tool:TAG with ENGINE (docker or podman)
	@for target in proxy agent tool; do \
		$(ENGINE) build -f deploy/container/Containerfile --target $$target -t $(IMAGE)/$$target:$(TAG) \
			--build-arg VERSION="$$(git describe --tags --always --dirty)" --build-arg REVISION="$$(git rev-parse HEAD)" . || exit 1; \
	done

demo: ## show the whole thing on this machine, and stay up until Ctrl-C
	@$(BUILD) -o bin/ ./cmd/sallyport
	@./bin/sallyport demo

test: ## run every test under the race detector (with Debian's prometheus and chromium installed, by them too)
	$(GO) test -race -timeout 10m ./...

fips: ## run the tests under GODEBUG=fips140=only, which panics at any algorithm that FIPS 140 does not approve
	GODEBUG=fips140=only $(GO) test -timeout 10m $(FIPS)

soak: ## run agents under certificates of seconds, CAs that change and Workload APIs that fail, for SOAK=5m
	SOAK=$(SOAK) $(GO) test -run '^Test(Fleet)?Soak$$$$' -v -timeout 60m ./testenv

fleet: ## measure what SESSIONS=10000 agents of ROUTES=20 cost a proxy, and how they come back to it; needs as many descriptors
	$(GO) run ./testenv/fleet -sessions $(SESSIONS) -routes $(ROUTES)

lint: ## check formatting, go.mod, go vet and staticcheck
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not formatted by gofmt:"; echo "$$files"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

proto: ## write the Go code of the wire contract again (a test fails when it differs)
	$(GO) run ./proto/generate .

readme: ## write the README's tables from the code again (a test fails when they differ)
	UPDATE_README=1 $(GO) test -p 1 -count=1 -run Readme ./...

screenshots: ## take the dashboard's pictures again, with chromium
	UPDATE_SCREENSHOTS=1 $(GO) test -count=1 -run '^TestDashboard$$' ./testenv

bench: ## compare with two plain reverse proxies and print the table; BENCH= takes flags, such as -short or -rows
	$(GO) run ./testenv/bench $(BENCH)

microbench: ## run go test's benchmarks; BENCHTIME=1s, compare two runs with go tool benchstat
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -timeout 30m ./...

fuzz: ## run each fuzz target for FUZZTIME=20s
	@grep -rn --include='*_test.go' -oE '^func Fuzz[A-Za-z0-9_]+' . | sort | while IFS=: read -r file _ name; do \
		$(GO) test -run '^$$' -fuzz "^$${name#func }\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")" || exit 1; \
	done

govulncheck: ## look for known vulnerabilities; fetches their database, so not part of lint
	$(GO) tool govulncheck ./...

clean: ## remove ./bin and ./dist
	rm -rf bin dist
