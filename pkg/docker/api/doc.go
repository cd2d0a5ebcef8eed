// Package api is the Docker Engine API (1.51, clients from 1.24) over
// pkg/docker/engine: routes, JSON and HTTP statuses, and nothing else. The
// routers for containers, system and volumes are docker/docker's, over our
// backends; those for images, networks, logs, events and login are ours, and
// what is missing has a route that says so with 501.
//
// It is the only package that imports docker/docker, which is frozen at API
// 1.51: moving to its successor touches this package alone. It makes no
// decision about containers.
//
// Start reading at New, then backend.go.
package api
