// Package engine is Docker semantics on top of a port layer: names and
// prefixes, the merge of image and user configuration, restart policies,
// --rm, events, execs, and what inspect and ps show. It knows neither HTTP nor
// vSphere, and it does not import docker/docker: it declares the PortLayer,
// Networks and Images interfaces that it is given, and its own types carry Docker's JSON.
//
// What a container was created with is kept as JSON in the container's
// annotations (see Stored), so a new engine on the same port layer answers
// inspect as the old one did.
//
// Files of containers are files.go, images made of them commit.go; docs/files.md
// tells users of both. Networks are in network.go and netconnect.go, what a
// create request asks of them in endpoints.go and ports.go; docs/networks.md
// tells users what differs from Docker.
//
// Start reading at PortLayer, then Engine, then Create.
package engine
