// Command clients runs Docker clients that nobody here wrote, unmodified and at
// fixed versions, against a VCH on a lab of its own: the docker CLI of two majors,
// Compose, docker-py, dockerode, and Testcontainers for Go and Node. Each has a
// script of ordinary use in testdata that prints a line for each step; the command
// adds up and ends with "N passed, M failed". It is no part of `make test`: the
// clients come from package registries.
//
// `make clients` runs it, after .ci/clients has installed the clients; it needs what
// `make build isos` builds, and what .ci/buildkit and .ci/buildx do. -only chooses
// clients, and -against takes the engine of DOCKER_HOST instead of a lab. What was
// run is in docs/clients.md.
//
// Start reading at clients.go.
package main
