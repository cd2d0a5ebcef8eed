package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
)

// maxBody bounds the JSON bodies that are read, in bytes. dockerd has no limit;
// ours keeps a client from filling the appliance's memory.
const maxBody = 4 << 20

// decoder reads the body of a create request for docker's router.
type decoder struct{}

func (decoder) DecodeConfig(src io.Reader) (*container.Config, *container.HostConfig, *network.NetworkingConfig, error) {
	var w container.CreateRequest
	if err := decodeJSON(src, &w); err != nil {
		return nil, nil, nil, err
	}
	if w.Config == nil {
		return nil, nil, nil, badRequest("config cannot be empty in order to create a container")
	}
	if w.HostConfig == nil {
		w.HostConfig = &container.HostConfig{}
	}
	if w.NetworkingConfig == nil {
		w.NetworkingConfig = &network.NetworkingConfig{}
	}
	for name, ep := range w.NetworkingConfig.EndpointsConfig {
		if ep == nil { // docker's router follows the pointers
			w.NetworkingConfig.EndpointsConfig[name] = &network.EndpointSettings{}
		}
	}
	for _, u := range w.HostConfig.Ulimits {
		if u == nil {
			return nil, nil, nil, badRequest("invalid JSON: null in Ulimits")
		}
	}
	for k := range w.HostConfig.Sysctls {
		// docker's router would answer 500, or move it to an option that is refused.
		if part := strings.SplitN(k, ".", 5); len(part) == 5 && part[0] == "net" && strings.HasPrefix(part[3], "eth") {
			return nil, nil, nil, missing(fmt.Sprintf("sysctls of one interface (%s)", k))
		}
	}
	return w.Config, w.HostConfig, w.NetworkingConfig, nil
}

// decodeJSON reads exactly one JSON value.
func decodeJSON(src io.Reader, into any) error {
	limited := &io.LimitedReader{R: src, N: maxBody + 1}
	d := json.NewDecoder(limited)
	if err := d.Decode(into); err != nil {
		if limited.N <= 0 {
			return badRequest("invalid JSON: the request body is larger than %d MiB", maxBody>>20)
		}
		if errors.Is(err, io.EOF) {
			return badRequest("invalid JSON: got EOF while reading request body")
		}
		return badRequest("invalid JSON: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("unexpected content after JSON")
	}
	return nil
}

// request turns docker's types into the engine's, by way of their common JSON.
func request(c *container.Config, h *container.HostConfig, n *network.NetworkingConfig) (*engine.Request, error) {
	body, err := json.Marshal(container.CreateRequest{Config: c, HostConfig: h, NetworkingConfig: n})
	if err != nil {
		return nil, fmt.Errorf("encode create request: %w", err)
	}
	return engine.ParseRequest(body)
}

// convert fills into from a value with the same JSON.
func convert(from, into any) error {
	b, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return fmt.Errorf("convert %T to %T: %w", from, into, err)
	}
	return nil
}

// formFilters reads the query's filters.
func formFilters(r *http.Request) (engine.Filters, error) {
	a, err := filters.FromJSON(r.Form.Get("filters"))
	if err != nil {
		return nil, badRequest("%v", err)
	}
	return engineFilters(a), nil
}

func engineFilters(a filters.Args) engine.Filters {
	out := engine.Filters{}
	for _, k := range a.Keys() {
		out[k] = a.Get(k)
	}
	return out
}

func parseForm(r *http.Request) error {
	if err := r.ParseForm(); err != nil && !strings.HasPrefix(err.Error(), "mime:") {
		return badRequest("%v", err)
	}
	return nil
}
