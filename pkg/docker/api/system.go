package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/backend"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/pkg/ioutils"
)

func (s *server) systemRoutes() []route {
	return []route{
		// Ours, because docker's handler spins when it is cut off.
		{http.MethodGet, "/events", s.getEvents},
		// Ours, because docker's answers 500 to wrong JSON.
		{http.MethodPost, "/auth", s.postAuth},
		{http.MethodGet, "/plugins", s.getPlugins},
	}
}

// getPlugins: there are none, which is an answer that clients can use.
func (s *server) getPlugins(_ context.Context, w http.ResponseWriter, _ *http.Request, _ map[string]string) error {
	return httputils.WriteJSON(w, http.StatusOK, []types.Plugin{})
}

// getEvents streams events. A reader that is cut off sees a broken connection,
// never a stream that seems whole.
func (s *server) getEvents(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	now := s.e.Time().Now()
	since, err := engine.ParseTime(r.Form.Get("since"), now)
	if err != nil {
		return err
	}
	until, err := engine.ParseTime(r.Form.Get("until"), now)
	if err != nil {
		return err
	}
	if !until.IsZero() && until.Before(since) {
		return badRequest("`since` time (%s) cannot be after `until` time (%s)", r.Form.Get("since"), r.Form.Get("until"))
	}
	f, err := formFilters(r)
	if err != nil {
		return err
	}
	out := ioutils.NewWriteFlusher(w)
	defer out.Close()
	enc := json.NewEncoder(out)
	ready := func() {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		out.Flush()
	}
	err = s.e.Events(ctx, engine.EventOptions{Since: since, Until: until, Filters: f}, ready, func(ev engine.Event) error {
		return enc.Encode(message(ev))
	})
	if errors.Is(err, engine.ErrEventsLost) {
		s.Log.WithField("remote", r.RemoteAddr).Warn("events: reader cut off, it was too slow or the engine stopped")
		panic(http.ErrAbortHandler) // net/http's way to break a connection
	}
	if err != nil && out.Flushed() {
		return nil // the client went
	}
	return err
}

func message(ev engine.Event) events.Message {
	m := events.Message{
		Type: events.Type(ev.Type), Action: events.Action(ev.Action), Actor: events.Actor{ID: ev.ID, Attributes: ev.Attributes},
		Scope: "local", Time: ev.Time.Unix(), TimeNano: ev.Time.UnixNano(),
	}
	//nolint:staticcheck // old clients read what is set here
	switch ev.Type {
	case "container":
		m.Status, m.ID, m.From = ev.Action, ev.ID, ev.Attributes["image"]
	case "image":
		m.Status, m.ID = ev.Action, ev.ID
	}
	return m
}

// systemBackend serves docker's system router.
type systemBackend struct{ *server }

func (b systemBackend) SystemVersion(context.Context) (types.Version, error) {
	details := map[string]string{
		"ApiVersion": Version, "MinAPIVersion": MinVersion, "Arch": runtime.GOARCH, "Os": "linux", "GoVersion": runtime.Version(),
		"GitCommit": b.Commit, "BuildTime": b.BuildTime, "KernelVersion": b.KernelVersion, "Experimental": "false",
	}
	v := types.Version{
		Version: b.Version, APIVersion: Version, MinAPIVersion: MinVersion, GitCommit: b.Commit, GoVersion: runtime.Version(), Os: "linux",
		Arch: runtime.GOARCH, BuildTime: b.BuildTime, KernelVersion: b.KernelVersion,
		Components: []types.ComponentVersion{{Name: "Engine", Version: b.Version, Details: details}},
	}
	v.Platform.Name = "vic"
	return v, nil
}

// SystemInfo never fails, because docker's router answers null when it does.
func (b systemBackend) SystemInfo(ctx context.Context) (*system.Info, error) {
	i := b.e.SystemInfo(ctx)
	c := i.Capacity
	info := &system.Info{
		ID: b.ID, Name: b.Name, Containers: i.Containers, ContainersRunning: i.Running, ContainersPaused: i.Paused, ContainersStopped: i.Stopped, Images: i.Images,
		Driver: storageDriver, DriverStatus: driverStatus(c, i.Site, i.DockerSocket), MemoryLimit: true, CPUCfsPeriod: true, CPUCfsQuota: true, CPUShares: true, CPUSet: true, PidsLimit: true,
		IPv4Forwarding: true, Debug: b.Debug, NFd: openFiles(), NGoroutines: runtime.NumGoroutine(), NEventsListener: i.EventReaders, SystemTime: b.e.Time().Now().Format(time.RFC3339Nano),
		LoggingDriver: "json-file", CgroupDriver: "none", CgroupVersion: "2", OperatingSystem: c.ProductName, OSVersion: c.ProductVersion,
		OSType: "linux", Architecture: "x86_64", IndexServerAddress: registryIndex, NCPU: c.CPUs, MemTotal: c.MemoryBytes,
		DockerRootDir: "/var/lib/vic", Labels: []string{}, ServerVersion: b.Version, DefaultRuntime: engine.Runtime,
		Runtimes: map[string]system.RuntimeWithStatus{engine.Runtime: {}}, Isolation: "", InitBinary: "tether",
		SecurityOptions: []string{}, Warnings: i.Warnings, CDISpecDirs: []string{},
		Plugins:            system.PluginsInfo{Volume: engine.VolumeDrivers(), Network: drivers(i.Networks), Log: engine.LogDrivers()},
		RegistryConfig:     b.registryConfig(),
		LiveRestoreEnabled: true, // containers outlive the engine
		KernelVersion:      b.KernelVersion, DefaultAddressPools: addressPools(i.Site),
	}
	info.Swarm.LocalNodeState = "inactive"
	return info, nil
}

// openFiles are the file descriptors that the engine has open; -1 where nothing tells.
func openFiles() int {
	l, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(l) - 1 // that of the folder itself
}

func (b systemBackend) SystemDiskUsage(ctx context.Context, o backend.DiskUsageOptions) (*backend.DiskUsage, error) {
	out := &backend.DiskUsage{}
	if o.Images {
		u, err := b.imageUsage()
		if err != nil {
			return nil, err
		}
		out.Images = u
	}
	if o.Containers {
		list, err := b.summaries(ctx, engine.ListOptions{All: true}, true, true)
		if err != nil {
			return nil, err
		}
		out.Containers = containerUsage(list)
	}
	if o.Volumes {
		u, err := b.volumeUsage()
		if err != nil {
			return nil, err
		}
		out.Volumes = u
	}
	return out, nil
}

// SubscribeToEvents and the two below it are not called: their routes are ours.
func (systemBackend) SubscribeToEvents(time.Time, time.Time, filters.Args) ([]events.Message, chan interface{}) {
	return nil, make(chan interface{})
}

func (systemBackend) UnsubscribeFromEvents(chan interface{}) {}

func (systemBackend) AuthenticateToRegistry(context.Context, *registry.AuthConfig) (string, string, error) {
	return "", "", missing("login through docker's own route")
}
