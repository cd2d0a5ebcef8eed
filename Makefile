# vic: the two commands are `make run` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(shell .ci/deps path):$(PATH)
export CGO_ENABLED ?= 0

VERSION ?= 2.0.0
LDFLAGS := -s -w -X github.com/vic-engine/vic/pkg/version.Version=$(VERSION)
GOBUILD := go build -trimpath -ldflags '$(LDFLAGS)'
SOURCES := go.mod go.sum $(shell find cmd pkg portlayer tether isos -type f ! -name '*_test.go' ! -path '*/testdata/*')
# The race detector needs cgo; CI asks for it. Tests with VMs go without: what they
# test are the programs as built, and emulated VMs want the processor.
RACE = $(if $(CI),CGO_ENABLED=1 go test -race -modfile "$$(.ci/race)",go test)
PKGS := ./cmd/... ./pkg/... ./portlayer/... ./tether/... ./isos/...
# The packages with tests that boot VMs.
VMPKGS = $(addprefix ./,$(sort $(dir $(shell grep -rlE '^//go:build (vm|e2e)' --include='*_test.go' isos pkg portlayer tether))))

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install what is missing on a Debian/Ubuntu machine
	@.ci/deps

build: deps bin/vic-lab bin/vic-machine bin/vic-isos bin/images ## build the programs for this machine

bin/vic-%: $(SOURCES)
	$(GOBUILD) -o $@ ./cmd/vic-$*

bin/images: bin/vic-lab ## (built images of the lab's registry)
	bin/vic-lab images --out $@

isos: deps bin/bootstrap.iso bin/appliance.iso ## build the two boot images

bin/bootstrap.iso bin/appliance.iso &: $(SOURCES) bin/vic-isos
	bin/vic-isos build --out bin --version $(VERSION) all

machines: deps ## build vic-machine for linux, darwin and windows
	for os in linux darwin windows; do \
	  GOOS=$$os GOARCH=amd64 $(GOBUILD) -o bin/vic-machine-$$os$$([ $$os = windows ] && echo .exe) ./cmd/vic-machine || exit 1; done

run: build isos ## start the lab, create a VCH, run hello-world
	@.ci/hello

lab: build isos ## start the lab and print how to use it
	bin/vic-lab up

bin/docker-buildx bin/images/buildkit/of &: .ci/buildkit .ci/buildx pkg/lab/images/buildkit/go.sum bin/images ## (what tests of docker build need)
	.ci/buildkit
	.ci/buildx

test: deps build isos bin/docker-buildx bin/images/buildkit/of ## every test: pure, simulator, real VMs, docker client
	$(if $(CI),.ci/race >/dev/null)
	$(RACE) -timeout 20m $(PKGS)
	go test -tags vm,e2e -p 1 -timeout 30m $(VMPKGS)

lint: deps ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l cmd pkg portlayer tether isos | tee -a /dev/stderr)"
	go vet -tags vm,e2e $(PKGS)
	# Older Docker clients need the deprecated fields; VMware's RPC replies and
	# Docker's messages are capitalised.
	go run honnef.co/go/tools/cmd/staticcheck@v0.7.0 -checks inherit,-SA1019,-ST1005,-ST1008 $(PKGS)

fuzz: deps ## every fuzz target for FUZZTIME (default 20s) each
	.ci/fuzz $(or $(FUZZTIME),20s)

bench: build isos ## speed, as ratios to bare VMs; ARGS="-only bridge" for a part
	go run ./pkg/lab/e2e/bench $(ARGS)

conformance: build isos ## the same scripts on a real dockerd and on vic; ARGS="-run images" for a part; needs root
	@.ci/dockerd >/dev/null
	go run ./pkg/lab/e2e/conformance $(ARGS)

clients: build isos bin/docker-buildx bin/images/buildkit/of ## run other people's Docker clients; ARGS="-only compose" for one
	@.ci/clients
	@go run ./pkg/lab/e2e/clients $(ARGS)

clean: ## remove what was built
	rm -rf bin .cache

.PHONY: help deps build isos machines run lab test lint fuzz bench conformance clients clean
