// Package spec is the vocabulary that the engine, the port layer and the guest
// share: containers, processes, mounts, endpoints, exit statuses, and the names
// of log fields. It has no behaviour beyond Validate and imports nothing of the
// project, so that every other package may use it.
//
// Start reading at Container.
package spec
