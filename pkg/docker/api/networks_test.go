package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
	"github.com/google/go-cmp/cmp"
)

func (h *harness) network(name string, o network.CreateOptions) string {
	h.Helper()
	r, err := h.c.NetworkCreate(h.ctx, name, o)
	if err != nil {
		h.Fatalf("network create %s: %v", name, err)
	}
	return r.ID
}

// front is a network with all that can be said of one.
func (h *harness) front() string {
	return h.network("front", network.CreateOptions{
		Driver: "bridge", Attachable: true, Labels: map[string]string{"tier": "front"}, Options: map[string]string{"com.docker.network.driver.mtu": "1500", "mine": "x"},
		IPAM: &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{
			Subnet: "10.1.0.0/24", IPRange: "10.1.0.128/25", Gateway: "10.1.0.254", AuxAddress: map[string]string{"printer": "10.1.0.200"},
		}}},
	})
}

// web runs on front with an address, an alias and ports.
func (h *harness) web() string {
	h.Helper()
	r, err := h.c.ContainerCreate(h.ctx, &container.Config{Image: "busybox", Cmd: []string{"sleep", "1h"}, Hostname: "www", ExposedPorts: nat.PortSet{"80/tcp": {}, "443/tcp": {}}},
		&container.HostConfig{NetworkMode: "front", PortBindings: nat.PortMap{"80/tcp": {{HostPort: "8080"}, {HostIP: "192.0.2.1", HostPort: ""}}, "53/udp": {{}}}},
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			"front": {Aliases: []string{"site"}, IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: "10.1.0.130"}},
		}}, nil, "web")
	if err != nil {
		h.Fatal(err)
	}
	h.start(r.ID)
	return r.ID
}

func (h *harness) get(path string) string {
	h.Helper()
	code, body := h.do(http.MethodGet, "/v1.51"+path, "")
	if code != http.StatusOK {
		h.Fatalf("GET %s: %d %s", path, code, body)
	}
	return body
}

func TestNetworkGoldens(t *testing.T) {
	h := serve(t, false)
	front := h.front()
	web := h.web()
	mask := func(s string) string { return strings.ReplaceAll(s, front, "FRONT") }
	h.golden("network-full.json", mask(h.get("/networks/front?verbose=true")), web)
	var i struct{ NetworkSettings json.RawMessage }
	if err := json.Unmarshal([]byte(h.get("/containers/web/json")), &i); err != nil {
		t.Fatal(err)
	}
	h.golden("network-settings.json", mask(string(i.NetworkSettings)), web)
	var list []struct{ Ports json.RawMessage }
	if err := json.Unmarshal([]byte(h.get("/containers/json")), &list); err != nil {
		t.Fatal(err)
	}
	h.golden("ps-ports.json", string(list[0].Ports), web)
}

// TestNetwork6: what is shown of IPv6.
func TestNetwork6(t *testing.T) {
	h := serve(t, false)
	on := true
	h.network("six", network.CreateOptions{EnableIPv6: &on, IPAM: &network.IPAM{Config: []network.IPAMConfig{
		{Subnet: "10.6.0.0/24"}, {Subnet: "fd00:6::/64", IPRange: "fd00:6::/80", Gateway: "fd00:6::9", AuxAddress: map[string]string{"printer": "fd00:6::7"}},
	}}})
	r, err := h.c.ContainerCreate(h.ctx, &container.Config{Image: "busybox", Cmd: []string{"sleep", "1h"}},
		&container.HostConfig{NetworkMode: "six", PortBindings: nat.PortMap{"80/tcp": {{HostPort: "8080"}}, "81/tcp": {{HostIP: "::", HostPort: "81"}}}},
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"six": {IPAMConfig: &network.EndpointIPAMConfig{IPv6Address: "fd00:6::42"}}}}, nil, "web")
	if err != nil {
		t.Fatal(err)
	}
	h.start(r.ID)
	n, err := h.c.NetworkInspect(h.ctx, "six", network.InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []network.IPAMConfig{{Subnet: "10.6.0.0/24", Gateway: "10.6.0.1"},
		{Subnet: "fd00:6::/64", IPRange: "fd00:6::/80", Gateway: "fd00:6::9", AuxAddress: map[string]string{"printer": "fd00:6::7"}}}
	if d := cmp.Diff(want, n.IPAM.Config); d != "" || !n.EnableIPv6 || !n.EnableIPv4 || n.Containers[r.ID].IPv6Address != "fd00:6::42/64" {
		t.Errorf("%+v, IPAM (-want +got):\n%s", n, d)
	}
	i, err := h.c.ContainerInspect(h.ctx, "web")
	if err != nil {
		t.Fatal(err)
	}
	ep := i.NetworkSettings.Networks["six"]
	if ep.GlobalIPv6Address != "fd00:6::42" || ep.GlobalIPv6PrefixLen != 64 || ep.IPv6Gateway != "fd00:6::9" ||
		ep.IPAMConfig == nil || ep.IPAMConfig.IPv6Address != "fd00:6::42" || ep.IPAMConfig.IPv4Address != "" || ep.IPAddress == "" {
		t.Errorf("%+v", ep)
	}
	if d := cmp.Diff(nat.PortMap{"80/tcp": {{HostIP: "0.0.0.0", HostPort: "8080"}, {HostIP: "::", HostPort: "8080"}}, "81/tcp": {{HostIP: "::", HostPort: "81"}}}, i.NetworkSettings.Ports); d != "" {
		t.Errorf("ports (-want +got):\n%s", d)
	}
	// Without a subnet one is chosen, and no address of it can be asked for.
	h.network("any", network.CreateOptions{Options: map[string]string{"com.docker.network.enable_ipv6": "true"}})
	if n, err = h.c.NetworkInspect(h.ctx, "any", network.InspectOptions{}); err != nil || !n.EnableIPv6 || len(n.IPAM.Config) != 2 || !strings.HasPrefix(n.IPAM.Config[1].Subnet, "fd00:") {
		t.Errorf("%+v, %v", n, err)
	}
	err = h.c.NetworkConnect(h.ctx, "any", "web", &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv6Address: "fd00::99"}})
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "user configured subnets") {
		t.Errorf("%v", err)
	}
	if err = h.c.NetworkConnect(h.ctx, "any", "web", nil); err != nil {
		t.Error(err)
	}
	if i, err = h.c.ContainerInspect(h.ctx, "web"); err != nil || i.NetworkSettings.Networks["any"].GlobalIPv6Address == "" {
		t.Errorf("%+v, %v", i.NetworkSettings, err)
	}
}

func TestNetworkStatuses(t *testing.T) {
	h := serve(t, false)
	front := h.front()
	h.network("auto", network.CreateOptions{})
	h.network("inner", network.CreateOptions{Internal: true})
	web := h.web()
	h.create("lone", container.Config{Cmd: []string{"sleep", "1h"}}, &container.HostConfig{NetworkMode: "none"})
	h.create("idle", container.Config{Cmd: []string{"sleep", "1h"}}, nil)
	ipam := func(c string) string { return `{"Name":"x","IPAM":{"Config":[` + c + `]}}` }
	for _, c := range []struct {
		request, body string
		code          int
		want          string
	}{
		{"POST /networks/create", `{}`, 400, "invalid name: name is empty"},
		{"POST /networks/create", `{"Name":"a/b"}`, 400, "invalid network name (a/b)"},
		{"POST /networks/create", ``, 400, "EOF"},
		{"POST /networks/create", `{"Name":"front","CheckDuplicate":true}`, 409, "network with name front already exists"},
		{"POST /networks/create", `{"Name":"bridge"}`, 403, "operation is not permitted on predefined bridge network"},
		{"POST /networks/create", `{"Name":"host"}`, 403, "operation is not permitted on predefined host network"},
		{"POST /networks/create", `{"Name":"x","Driver":"host"}`, 403, `only one instance of \"host\" network is allowed`},
		{"POST /networks/create", `{"Name":"x","Driver":"overlay"}`, 501, `network driver \"overlay\"`},
		{"POST /networks/create", `{"Name":"x","Driver":"macvlan"}`, 501, `network driver \"macvlan\"`},
		{"POST /networks/create", `{"Name":"x","EnableIPv4":false}`, 501, "--ipv4=false"},
		{"POST /networks/create", `{"Name":"x","Options":{"com.docker.network.enable_ipv4":"0"}}`, 501, "--ipv4=false"},
		{"POST /networks/create", `{"Name":"x","Options":{"com.docker.network.enable_ipv6":"maybe"}}`, 400, `driver-opt \"com.docker.network.enable_ipv6\" is not a valid bool`},
		{"POST /networks/create", `{"Name":"x","Scope":"swarm"}`, 501, "--scope swarm"},
		{"POST /networks/create", `{"Name":"x","Ingress":true}`, 501, "--ingress"},
		{"POST /networks/create", `{"Name":"x","ConfigOnly":true}`, 501, "--config-only"},
		{"POST /networks/create", `{"Name":"x","ConfigFrom":{"Network":"y"}}`, 501, "--config-from"},
		{"POST /networks/create", `{"Name":"x","IPAM":{"Driver":"dhcp"}}`, 501, "--ipam-driver"},
		{"POST /networks/create", `{"Name":"x","IPAM":{"Options":{"a":"b"}}}`, 501, "--ipam-opt"},
		{"POST /networks/create", `{"Name":"x","Options":{"com.docker.network.bridge.enable_icc":"false"}}`, 501, "com.docker.network.bridge.enable_icc=false"},
		{"POST /networks/create", ipam(`{"Subnet":"10.9.0.1/24"}`), 400, "invalid subnet 10.9.0.1/24: it should be 10.9.0.0/24"},
		{"POST /networks/create", ipam(`{"Subnet":"10.9.0.0/24","Gateway":"10.8.0.1"}`), 400, "invalid gateway 10.8.0.1: parent subnet 10.9.0.0/24 doesn't contain this address"},
		{"POST /networks/create", ipam(`{"Gateway":"10.8.0.1"}`), 400, "invalid CIDR block notation"},
		{"POST /networks/create", ipam(`{"Subnet":"10.9.0.0/32"}`), 400, "no room"},
		{"POST /networks/create", ipam(`{"Subnet":"fd00::/64"}`), 400, "--subnet fd00::/64"},
		{"POST /networks/create", ipam(`{"Subnet":"10.9.0.0/24"},{"Subnet":"10.10.0.0/24"}`), 501, "second subnet"},
		{"POST /networks/create", `{"Name":"x","EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fd00::/64"},{"Subnet":"fd01::/64"}]}}`, 501, "second subnet"},
		{"POST /networks/create", `{"Name":"x","EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fd00::/64","Gateway":"fd01::1"}]}}`, 400, "invalid gateway fd01::1: parent subnet fd00::/64"},
		{"POST /networks/create", `{"Name":"x","EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fd00::/127"}]}}`, 400, "no room"},
		{"POST /networks/create", ipam(`{"Subnet":"10.1.0.0/16"}`), 403, "Pool overlaps with other one on this address space"},
		{"GET /networks/front?verbose=maybe", "", 400, "invalid value for verbose: maybe"},
		{"GET /networks/front?scope=swarm", "", 404, "network front not found"},
		{"GET /networks?filters={%22type%22:[%22odd%22]}", "", 400, "invalid filter: 'type'='odd'"},
		{"GET /networks?filters={%22dangling%22:[%22odd%22]}", "", 400, "invalid filter 'dangling=[odd]'"},
		{"DELETE /networks/none", "", 403, "none is a pre-defined network and cannot be removed"},
		{"DELETE /networks/front", "", 403, `network front has active endpoints (name:\"web\" id:\"`},
		{"POST /networks/nope/connect", `{"Container":"web"}`, 404, "network nope not found"},
		{"POST /networks/auto/connect", `{"Container":"nope"}`, 404, "No such container: nope"},
		{"POST /networks/auto/connect", `{}`, 400, "invalid name or ID supplied"},
		{"POST /networks/none/connect", `{"Container":"web"}`, 400, "private (none) mode"},
		{"POST /networks/host/connect", `{"Container":"web"}`, 501, "host networking"},
		{"POST /networks/front/connect", `{"Container":"lone"}`, 400, "private (none) mode"},
		{"POST /networks/" + front[:12] + "/connect", `{"Container":"` + web[:12] + `"}`, 403, "endpoint with name web already exists in network front"},
		{"POST /networks/auto/connect", `{"Container":"web","EndpointConfig":{"IPAMConfig":{"IPv4Address":"172.17.0.9"}}}`, 400, "user configured subnets"},
		{"POST /networks/auto/connect", `{"Container":"web","EndpointConfig":{"MacAddress":"00:50:56:00:00:01"}}`, 501, "--mac-address"},
		{"POST /networks/auto/disconnect", `{"Container":"web","Force":true}`, 404, fmt.Sprintf("container %s is not connected to network auto", web)},
		{"POST /networks/none/disconnect", `{"Container":"lone"}`, 501, "network none"},
		{"POST /networks/front/connect", `{"Container":"idle","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.1.0.130"}}}`, 409, "already in use"},
		{"POST /networks/front/connect", `{"Container":"idle","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.1.0.131"},"Aliases":["i"],"Links":["web:w"]}}`, 200, ""},
		{"POST /networks/front/connect", `{"Container":"idle"}`, 403, "endpoint with name idle already exists in network front"},
		{"POST /networks/front/disconnect", `{"Container":"idle"}`, 200, ""},
		{"DELETE /networks/inner", "", 204, ""},
		{"POST /networks/prune", "", 200, `"NetworksDeleted":["auto"]`},
		{"POST /networks/prune?filters={%22dangling%22:[%22true%22]}", "", 400, "invalid filter 'dangling'"},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		code, body := h.do(method, "/v1.51"+path, c.body)
		if code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s\nwant %d %s", c.request, c.body, code, body, c.code, c.want)
		}
	}
}

func TestNetworkLists(t *testing.T) {
	h := serve(t, false)
	front := h.front()
	h.network("auto", network.CreateOptions{Labels: map[string]string{"tier": "back"}})
	h.web()
	names := func(pairs ...string) string {
		f := filters.NewArgs()
		for _, p := range pairs {
			k, v, _ := strings.Cut(p, "=")
			f.Add(k, v)
		}
		list, err := h.c.NetworkList(h.ctx, network.ListOptions{Filters: f})
		if err != nil {
			return err.Error()
		}
		var out []string
		for _, n := range list {
			out = append(out, n.Name)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct{ filter, want string }{
		{"", "bridge front auto none"}, {"name=o", "front auto none"}, {"id=" + front[:5], "front"}, {"driver=null", "none"}, {"driver=bridge", "bridge front auto"},
		{"label=tier", "front auto"}, {"label=tier=back", "auto"}, {"type=custom", "front auto"}, {"type=builtin", "bridge none"}, {"scope=swarm", ""},
		{"dangling=true", "auto"}, {"dangling=false", "bridge front none"},
	} {
		got := names()
		if c.filter != "" {
			got = names(c.filter)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.filter, got, c.want)
		}
	}
	ps := func(key, value string) int {
		list, err := h.c.ContainerList(h.ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg(key, value))})
		if err != nil {
			t.Errorf("%s=%s: %v", key, value, err)
		}
		return len(list)
	}
	for _, c := range []struct {
		key, value string
		want       int
	}{
		{"network", "front", 1}, {"network", front, 1}, {"network", "auto", 0}, {"publish", "8080", 1}, {"publish", "8000-8100/tcp", 1}, {"publish", "8080/udp", 0},
		{"expose", "443", 1}, {"expose", "80", 1}, {"expose", "8080", 0}, {"expose", "53/udp", 1},
	} {
		if got := ps(c.key, c.value); got != c.want {
			t.Errorf("ps --filter %s=%s: %d, want %d", c.key, c.value, got, c.want)
		}
	}
}

// TestConnectRunning goes through the life of a container on two networks, as
// inspect and the events show it.
func TestConnectRunning(t *testing.T) {
	h := serve(t, false)
	h.front()
	inner := h.network("inner", network.CreateOptions{Internal: true})
	var mu sync.Mutex
	var seen []string
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	go func() {
		_ = h.e.Events(ctx, engine.EventOptions{Filters: engine.Filters{"type": {"network"}}}, func() { close(ready) }, func(ev engine.Event) error {
			mu.Lock()
			defer mu.Unlock()
			if ev.Action == "create" {
				return nil // of the networks above, told late
			}
			text := ev.Action + " " + ev.Attributes["name"] + " " + ev.Attributes["type"]
			if ev.Attributes["container"] != "" {
				text += " container"
			}
			seen = append(seen, text)
			return nil
		})
	}()
	<-ready
	web := h.web()
	if err := h.c.NetworkConnect(h.ctx, "inner", "web", &network.EndpointSettings{Aliases: []string{"w"}}); err != nil {
		t.Fatal(err)
	}
	i, err := h.c.ContainerInspect(h.ctx, web)
	if err != nil {
		t.Fatal(err)
	}
	ep := i.NetworkSettings.Networks["inner"]
	if ep == nil || ep.NetworkID != inner || ep.Gateway != "" || ep.IPAddress == "" || !slices.Equal(ep.DNSNames, []string{"web", "w", web[:12], "www"}) {
		t.Errorf("endpoint on inner: %+v", ep)
	}
	if first := i.NetworkSettings.Networks["front"]; ep != nil && ep.MacAddress != first.MacAddress {
		t.Errorf("MAC addresses %s and %s: want one NIC", ep.MacAddress, first.MacAddress)
	}
	if err := h.c.NetworkDisconnect(h.ctx, inner, "web", false); err != nil {
		t.Fatal(err)
	}
	if err := h.c.ContainerRemove(h.ctx, "web", container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"front", "inner"} {
		if err := h.c.NetworkRemove(h.ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"connect front bridge container", "connect inner bridge container", "disconnect inner bridge container", "disconnect front bridge container", "destroy front bridge", "destroy inner bridge"}
	h.until("the last event", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) >= len(want)
	})
	mu.Lock()
	defer mu.Unlock()
	if d := cmp.Diff(want, seen); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

// TestPortsFollow: a container's ports are published by the network that has a
// way out, whichever it is on.
func TestPortsFollow(t *testing.T) {
	h := serve(t, false)
	h.network("inner", network.CreateOptions{Internal: true})
	h.network("outer", network.CreateOptions{})
	id := h.create("box", container.Config{Cmd: []string{"sleep", "1h"}}, &container.HostConfig{NetworkMode: "inner", PortBindings: nat.PortMap{"80/tcp": {{HostPort: "8080"}}, "81/tcp": {{}}}})
	h.start(id)
	published := func(want int) {
		t.Helper()
		i, err := h.c.ContainerInspect(h.ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, b := range i.NetworkSettings.Ports {
			n += len(b)
		}
		if n != want {
			t.Errorf("ports %v: want %d", i.NetworkSettings.Ports, want)
		}
	}
	for _, step := range []struct {
		connect bool
		network string
		want    int
	}{{true, "outer", 2}, {false, "inner", 2}, {false, "outer", 0}, {true, "inner", 0}, {true, "bridge", 2}} {
		var err error
		if step.connect {
			err = h.c.NetworkConnect(h.ctx, step.network, id, nil)
		} else {
			err = h.c.NetworkDisconnect(h.ctx, step.network, id, false)
		}
		if err != nil {
			t.Fatal(err)
		}
		published(step.want)
	}
}

func TestSeveralEndpoints(t *testing.T) {
	h := serve(t, false)
	h.front()
	h.network("auto", network.CreateOptions{})
	const body = `{"Image":"busybox","Cmd":["true"],"NetworkingConfig":{"EndpointsConfig":{"front":{},"auto":{}}}}`
	if code, text := h.do("POST", "/v1.43/containers/create", body); code != 400 || !strings.Contains(text, "Container cannot be created with multiple network endpoints") {
		t.Errorf("version 1.43: %d %s", code, text)
	}
	code, text := h.do("POST", "/v1.44/containers/create?name=both", body)
	if code != 201 {
		t.Fatalf("version 1.44: %d %s", code, text)
	}
	i, err := h.c.ContainerInspect(h.ctx, "both")
	if err != nil {
		t.Fatal(err)
	}
	if n := i.NetworkSettings.Networks; len(n) != 2 || n["front"] == nil || n["auto"] == nil {
		t.Errorf("networks: %+v", n)
	}
}

func TestLegacyLink(t *testing.T) {
	h := serve(t, false)
	db := h.create("db", container.Config{Cmd: []string{"sleep", "1h"}}, nil)
	app := h.create("app", container.Config{Cmd: []string{"sleep", "1h"}}, &container.HostConfig{Links: []string{"db:store"}})
	if err := h.c.ContainerStart(h.ctx, app, container.StartOptions{}); err == nil || !strings.Contains(err.Error(), "Cannot link to a non running container: /db AS /app/store") {
		t.Errorf("start with a link to what does not run: %v", err)
	}
	h.start(db)
	h.start(app)
	v, err := h.f.Container(app)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"store:172.16.0.2", db[:12] + ":172.16.0.2", "db:172.16.0.2"}, v.Container.Hosts); d != "" {
		t.Errorf("hosts (-want +got):\n%s", d)
	}
}

// FuzzNetworkCreateBody and the next one: no body may crash the server or be
// answered with an internal error.
func FuzzNetworkCreateBody(f *testing.F) {
	h := serve(f, false)
	f.Add(`{"Name":"x","IPAM":{"Config":[{"Subnet":"10.0.0.0/24","Gateway":"10.0.0.1","AuxiliaryAddresses":{"a":"10.0.0.2"}}]},"Options":{"a":"b"},"Labels":null}`)
	f.Add(`{"Name":"x","IPAM":{"Config":[{},null]},"ConfigFrom":null}`)
	f.Add(`{"Name":"x","IPAM":{"Config":[{"Subnet":"0.0.0.0/0"}]},"EnableIPv4":true}`)
	f.Fuzz(func(t *testing.T, body string) { send(t, h, "POST", "/v1.51/networks/create", body) })
}

func FuzzNetworkConnectBody(f *testing.F) {
	h := serve(f, false)
	if _, err := h.c.ContainerCreate(h.ctx, &container.Config{Image: "busybox", Cmd: []string{"true"}}, nil, nil, nil, "box"); err != nil {
		f.Fatal(err)
	}
	if _, err := h.c.NetworkCreate(h.ctx, "net", network.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Add(`{"Container":"box","EndpointConfig":{"Aliases":["a"],"Links":["b:c"],"IPAMConfig":{"IPv4Address":"1.2.3.4"}}}`)
	f.Add(`{"Container":"box","EndpointConfig":null}`)
	f.Add(`{"Container":"box","Force":true}`)
	f.Fuzz(func(t *testing.T, body string) {
		send(t, h, "POST", "/v1.51/networks/net/connect", body)
		send(t, h, "POST", "/v1.51/networks/net/disconnect", body)
	})
}

func TestNetworkPruneFilters(t *testing.T) {
	h := serve(t, false)
	h.network("kept", network.CreateOptions{Labels: map[string]string{"keep": "yes"}})
	h.network("used", network.CreateOptions{})
	h.network("free", network.CreateOptions{})
	h.create("idle", container.Config{Cmd: []string{"true"}}, &container.HostConfig{NetworkMode: "used"})
	for _, c := range []struct {
		filter filters.Args
		want   []string
	}{
		{filters.NewArgs(filters.Arg("until", "1h")), []string{}},
		{filters.NewArgs(filters.Arg("label", "nope")), []string{}},
		{filters.NewArgs(filters.Arg("label!", "keep=yes")), []string{"free"}},
		{filters.NewArgs(), []string{"kept"}},
	} {
		r, err := h.c.NetworksPrune(h.ctx, c.filter)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, r.NetworksDeleted); d != "" {
			t.Errorf("%v (-want +got):\n%s", c.filter, d)
		}
	}
}

// TestRenameOnNetwork: a new name is the one that others find at once.
func TestRenameOnNetwork(t *testing.T) {
	h := serve(t, false)
	h.front()
	web := h.web()
	if err := h.c.ContainerRename(h.ctx, web, "shop"); err != nil {
		t.Fatal(err)
	}
	i, err := h.c.ContainerInspect(h.ctx, web)
	if err != nil {
		t.Fatal(err)
	}
	if got := i.NetworkSettings.Networks["front"].DNSNames; len(got) == 0 || got[0] != "shop" || slices.Contains(got, "web") {
		t.Errorf("names: %q", got)
	}
	n, err := h.c.NetworkInspect(h.ctx, "front", network.InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n.Containers[web].Name != "shop" {
		t.Errorf("network inspect: %+v", n.Containers)
	}
}
