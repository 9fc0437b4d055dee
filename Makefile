# Klaxon's build. `make` alone lists the targets; CONTRIBUTING.md explains them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Found once and handed down: a commit during a long run must not change it halfway.
ifndef VERSION
export VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
endif
PROGRAMS := operator pusher broker klaxon
# The image's reference; given together with KUBECONFIG, `make e2e` uses that
# cluster and this image instead of building its own.
IMAGE ?=
OWN_IMAGE := klaxon.test/klaxon:$(subst +,_,$(VERSION))
CA_CERTS ?= /etc/ssl/certs/ca-certificates.crt
# A count, not a time: when a time is over, go test now and then fails with
# "context deadline exceeded" though nothing was found.
FUZZTIME ?= 20000x
TESTFLAGS ?=
E2EFLAGS ?= -v -ginkgo.v
BENCHFLAGS ?=
CHAOSFLAGS ?=

# Programs, tools, linters and the test cluster are built with the same settings,
# so that they share compiled packages. Tests are not: -race needs cgo.
STATIC := CGO_ENABLED=0 GOFLAGS=-trimpath
TOOL := $(STATIC) go tool -modfile=tools/go.mod
LINT := $(STATIC) go tool -modfile=$(CURDIR)/tools/lint/go.mod golangci-lint
SUPPLY := $(STATIC) go tool -modfile=$(CURDIR)/tools/supply/go.mod
HELM := $(STATIC) go tool -modfile=tools/helm/go.mod helm
ASSETS := $(CURDIR)/test/cluster/bin
GENERATED := api/v1alpha1/zz_generated.deepcopy.go config/crd/bases config/rbac/role.yaml \
	charts/klaxon/templates/crds.yaml charts/klaxon/templates/_generated.tpl docs/api.md

##@ Use
.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Serve config/samples on this machine, no cluster needed
	bin/klaxon serve -f config/samples

##@ Build
.PHONY: build
build: ## Build the programs, static, into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ $(PROGRAMS:%=./cmd/%)

.PHONY: image
image: build tools ## Build the image as an OCI archive, bin/klaxon.tar, without Docker
	@[[ -e $(CA_CERTS) ]] || { echo "no CA certificates at $(CA_CERTS): install ca-certificates, or set CA_CERTS" >&2; exit 1; }
	bin/tools/image -t $(OWN_IMAGE) -o bin/klaxon.tar -entrypoint /klaxon \
		-label org.opencontainers.image.title=klaxon \
		-label org.opencontainers.image.version=$(VERSION) \
		-label org.opencontainers.image.revision=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
		-label org.opencontainers.image.licenses=Apache-2.0 \
		$(foreach p,$(PROGRAMS),bin/$(p)=/$(p)) $(CA_CERTS)=/etc/ssl/certs/ca-certificates.crt
	@ls -l bin/klaxon.tar | awk '{printf "$(OWN_IMAGE)  %.1f MiB\n", $$5 / 1048576}'

.PHONY: generate
generate: tools ## Write all generated files anew (deepcopy, CRDs, RBAC, chart, API reference)
	$(TOOL) controller-gen object:headerFile=tools/boilerplate.go.txt paths=./api/...
	$(TOOL) controller-gen crd:maxDescLen=400 paths=./api/... output:crd:dir=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=klaxon-operator paths=./controllers/... output:rbac:dir=config/rbac
	bin/tools/chart
	bin/tools/apidoc config/crd/bases/*.yaml >docs/api.md

.PHONY: golden
golden: ## Rewrite the golden files; read the diff
	go test ./controllers/compile ./controllers/render -update

.PHONY: tools
tools: ## Build the project's own small tools into bin/tools/
	@$(STATIC) go build -C tools -o $(CURDIR)/bin/tools/ ./apidoc ./chart ./image

.PHONY: clean
clean: ## Remove what was built, except the test cluster's programs
	rm -rf bin

.PHONY: sbom
sbom: ## List what each program links, as CycloneDX, in bin/sbom/
	@mkdir -p bin/sbom
	@for p in $(PROGRAMS); do $(SUPPLY) cyclonedx-gomod app -json -output bin/sbom/$$p.cdx.json -main cmd/$$p . && ls bin/sbom/$$p.cdx.json; done

##@ Check
.PHONY: verify
verify: ## Fail when a generated file is not up to date
	@old=$$(mktemp -d); trap 'rm -rf "$$old"' EXIT; cp -r --parents $(GENERATED) "$$old"; \
	$(MAKE) generate; \
	for f in $(GENERATED); do diff -r "$$old/$$f" "$$f" || bad=1; done; \
	[[ -z $${bad:-} ]] || { echo 'generated files were not up to date: commit what "make generate" wrote' >&2; exit 1; }

.PHONY: licenses
licenses: ## Fail when a program links a module of a licence that is not among these
	@mkdir -p bin; $(SUPPLY) go-licenses check --allowed_licenses=Apache-2.0,BSD-2-Clause,BSD-3-Clause,ISC,MIT $(PROGRAMS:%=./cmd/%) 2>bin/licenses.log || \
		{ cat bin/licenses.log >&2; exit 1; }

.PHONY: vuln
vuln: ## Look for known vulnerabilities of what is linked; asks vuln.go.dev
	@$(SUPPLY) govulncheck $(if $(GOVULNDB),-db $(GOVULNDB)) $(PROGRAMS:%=./cmd/%) || { echo 'vulnerabilities, see above; or the database could not be reached: set GOVULNDB to the URL of a copy of it' >&2; exit 1; }

.PHONY: lint
lint: verify licenses ## Lint code, imports, scripts and the chart
	$(STATIC) go vet -tags e2e ./...
	$(LINT) run --allow-parallel-runners ./...
	cd tools && $(LINT) run --allow-parallel-runners ./...
	cd test/bench && $(LINT) run --allow-parallel-runners ./...
	for s in test/cluster/*.sh test/cluster/node/*.sh .ci/run; do bash -n "$$s"; done
	$(HELM) lint --strict --quiet charts/klaxon
	go test -count 1 ./test

.PHONY: test
test: envtest fuzz clients ## Run all tests that need no node, with the race detector
	cd test/bench && go test -race -count 1 ./...
	KUBEBUILDER_ASSETS=$(ASSETS) go test -race -count 1 -timeout 20m $(TESTFLAGS) ./...

.PHONY: clients
clients: build test/clients/node_modules/.package-lock.json ## Test with npm's clients and a real browser
	. test/cluster/env.sh; [[ -n $${CHROMIUM:-} ]] || need chromium=chromium
	cd test/clients && npm test

test/clients/node_modules/.package-lock.json: test/clients/package-lock.json
	cd test/clients && npm ci --no-fund --no-audit
	@touch $@

test/bench/peers/socketio/node_modules/.package-lock.json: test/bench/peers/socketio/package-lock.json
	cd test/bench/peers/socketio && npm ci --no-fund --no-audit
	@touch $@

.PHONY: fuzz
fuzz: ## Fuzz every parser for FUZZTIME (20000 inputs)
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' api cmd controllers pusher | sed 's#/[^/]*_test.go:[0-9]*:func# #' | \
	while read -r package target; do \
		echo "fuzz $$package $$target"; \
		go test "./$$package" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x | grep -v '^fuzz: elapsed'; \
	done

.PHONY: e2e
e2e: test/clients/node_modules/.package-lock.json ## Test a whole install on a real node (or on KUBECONFIG with IMAGE)
ifeq ($(IMAGE),)
	test/cluster/build.sh
	$(MAKE) image
	go test -c -tags e2e -o /dev/null ./test/e2e
	KLAXON_CLUSTER_LOGS=$(CURDIR)/bin/e2e-logs KLAXON_E2E_DIRECT=1 KLAXON_E2E_IMAGE=$(OWN_IMAGE) \
	KLAXON_E2E_HELM=$$($(HELM:helm=-n helm)) KLAXON_E2E_KUBECTL=$(ASSETS)/kubectl GOPROXY=off \
		test/cluster/with.sh --image bin/klaxon.tar go test -tags e2e -count 1 -timeout 30m ./test/e2e $(E2EFLAGS)
else
	@[[ -n "$${KUBECONFIG:-}" ]] || { echo 'set KUBECONFIG too: which cluster may the tests use?' >&2; exit 1; }
	test/cluster/build.sh kubectl
	KLAXON_E2E_IMAGE=$(IMAGE) KLAXON_E2E_HELM=$$($(HELM:helm=-n helm)) KLAXON_E2E_KUBECTL=$(ASSETS)/kubectl \
		go test -tags e2e -count 1 -timeout 30m ./test/e2e $(E2EFLAGS)
endif

.PHONY: chaos
chaos: build ## Break pushers and brokers, and account for every event (root; CHAOSFLAGS="-h" lists faults)
	@$(STATIC) go build -o bin/chaos/ ./test/chaos
	bin/chaos/chaos $(CHAOSFLAGS)

.PHONY: envtest
envtest: ## Build etcd, kube-apiserver and kubectl for tests, if missing
	@test/cluster/build.sh envtest

.PHONY: ci
ci: lint test e2e ## All of the above, as .ci/run does

##@ Measure
.PHONY: bench
bench: build ## Compare with the least that any server must do (BENCHFLAGS="-h" lists what can be set)
	@$(STATIC) go build -C test/bench -o $(CURDIR)/bin/bench/ ./floor ./run
	bin/bench/run $(BENCHFLAGS)

.PHONY: bench-peers
bench-peers: build test/bench/peers/socketio/node_modules/.package-lock.json ## Compare with other servers too
	@$(STATIC) go build -C test/bench -o $(CURDIR)/bin/bench/ ./floor ./peers/gorilla ./run
	bin/bench/run -servers floor,klaxon,gorilla,socketio $(BENCHFLAGS)

##@ Test cluster
.PHONY: cluster
cluster: image ## Start the single-node cluster with the image loaded
	test/cluster/build.sh
	test/cluster/up.sh
	test/cluster/load-image.sh bin/klaxon.tar

.PHONY: cluster-down
cluster-down: ## Stop it and remove its state
	test/cluster/down.sh
