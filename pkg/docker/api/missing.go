package api

import (
	"context"
	"net/http"
)

// notSupported is the handler of a route that is known and not there.
func notSupported(what string) handler {
	return func(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
		return missing(what)
	}
}

// missingRoutes are the endpoints of the API that this version does not have.
// Those of docker's routers answer in their backends.
func (s *server) missingRoutes() []route {
	var out []route
	add := func(what string, routes ...string) {
		for _, r := range routes {
			method, path := cutRoute(r)
			out = append(out, route{method, path, notSupported(what)})
		}
	}
	add("checkpoints", "GET /containers/{name:.*}/checkpoints", "POST /containers/{name:.*}/checkpoints",
		"DELETE /containers/{name}/checkpoints/{checkpoint}")
	add("plugins", "GET /plugins/{name:.*}/json", "GET /plugins/privileges", "DELETE /plugins/{name:.*}", "POST /plugins/{name:.*}/enable",
		"POST /plugins/{name:.*}/disable", "POST /plugins/pull", "POST /plugins/{name:.*}/push", "POST /plugins/{name:.*}/upgrade",
		"POST /plugins/{name:.*}/set", "POST /plugins/create")
	add("Swarm", "POST /swarm/init", "POST /swarm/join", "POST /swarm/leave", "GET /swarm", "GET /swarm/unlockkey", "POST /swarm/update",
		"POST /swarm/unlock")
	add("Swarm services", "GET /services", "GET /services/{id}", "POST /services/create", "POST /services/{id}/update", "DELETE /services/{id}",
		"GET /services/{id}/logs")
	add("Swarm nodes", "GET /nodes", "GET /nodes/{id}", "DELETE /nodes/{id}", "POST /nodes/{id}/update")
	add("Swarm tasks", "GET /tasks", "GET /tasks/{id}", "GET /tasks/{id}/logs")
	add("Swarm secrets", "GET /secrets", "POST /secrets/create", "DELETE /secrets/{id}", "GET /secrets/{id}", "POST /secrets/{id}/update")
	add("Swarm configs", "GET /configs", "POST /configs/create", "DELETE /configs/{id}", "GET /configs/{id}", "POST /configs/{id}/update")
	return out
}

func cutRoute(r string) (method, path string) {
	for i := range r {
		if r[i] == ' ' {
			return r[:i], r[i+1:]
		}
	}
	return http.MethodGet, r
}
