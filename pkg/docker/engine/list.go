package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// ListOptions of List.
type ListOptions struct {
	All     bool
	Limit   int // the newest so many, running or not; 0 or less: no limit
	Filters Filters
}

var listFilters = []string{
	"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish",
	"since", "status", "volume",
}

var (
	stateWords  = []string{"created", "running", "paused", "restarting", "removing", "exited", "dead"}
	healthWords = []string{"none", "starting", "healthy", "unhealthy"}
)

// List gives containers, newest first, as ps shows them.
func (e *Engine) List(o ListOptions) ([]Info, error) {
	views := e.pl.Containers()
	f, err := e.listFilter(o, views)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(views, func(a, b spec.View) int { return b.Container.Created.Compare(a.Container.Created) })
	out := []Info{}
	skipping := f.before != ""
	named := map[string]string{} // what image names mean now
	for _, v := range views {
		if v.Status.Phase == spec.PhaseCreating {
			continue
		}
		id := v.Container.ID
		if skipping {
			skipping = id != f.before
			continue
		}
		if id == f.since {
			break
		}
		i := e.info(v)
		if !i.State.Running && !f.all && o.Limit <= 0 {
			continue
		}
		if !f.selects(&i) {
			continue
		}
		now, asked := named[i.ImageName]
		if !asked {
			if img, err := e.images.Resolve(i.ImageName); err == nil {
				now = img.ID
			}
			named[i.ImageName] = now
		}
		if now != v.Container.ImageID && v.Container.ImageID != "" {
			i.ImageName = v.Container.ImageID
		}
		out = append(out, i)
		if o.Limit > 0 && len(out) == o.Limit {
			break
		}
	}
	return out, nil
}

// listFilter is a checked ListOptions.
type listFilter struct {
	Filters
	all            bool
	exited         []int
	before, since  string // ids
	images         map[string]bool
	task           *bool
	publish, ports map[string]bool // "80/tcp"
}

func (e *Engine) listFilter(o ListOptions, views []spec.View) (*listFilter, error) {
	f := &listFilter{Filters: o.Filters, all: o.All || o.Filters.has("status")}
	if err := f.check(listFilters...); err != nil {
		return nil, err
	}
	for _, v := range f.Filters["exited"] {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, invalid("invalid filter 'exited=%s': %v", v, err)
		}
		f.exited = append(f.exited, n)
	}
	for _, v := range f.Filters["status"] {
		if !slices.Contains(stateWords, v) {
			return nil, invalid("invalid filter 'status=%s': invalid value for state (%s): must be one of %s", v, v, strings.Join(stateWords, ", "))
		}
	}
	for _, v := range f.Filters["health"] {
		if !slices.Contains(healthWords, v) {
			return nil, invalid("invalid filter 'health=%s': invalid value for health (%s): must be one of %s", v, v, strings.Join(healthWords, ", "))
		}
	}
	if f.has("is-task") {
		b, err := f.boolean("is-task", false)
		if err != nil {
			return nil, err
		}
		f.task = &b
	}
	var err error
	if f.before, err = pivot(f.Filters["before"], views); err != nil {
		return nil, err
	}
	if f.since, err = pivot(f.Filters["since"], views); err != nil {
		return nil, err
	}
	if f.has("ancestor") {
		f.images = map[string]bool{}
		for _, ref := range f.Filters["ancestor"] {
			if img, err := e.findImage(ref); err == nil {
				for _, id := range e.descendants(img) {
					f.images[id] = true
				}
			}
		}
	}
	if f.publish, err = portSet("publish", f.Filters["publish"]); err != nil {
		return nil, err
	}
	f.ports, err = portSet("expose", f.Filters["expose"])
	return f, err
}

// pivot resolves the last before or since value by id, name or prefix.
func pivot(values []string, views []spec.View) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	ref := values[len(values)-1]
	prefix := ""
	for _, v := range views {
		if v.Container.ID == ref || v.Container.Name == strings.TrimPrefix(ref, "/") {
			return v.Container.ID, nil
		}
		if prefix == "" && ref != "" && strings.HasPrefix(v.Container.ID, ref) {
			prefix = v.Container.ID
		}
	}
	if prefix == "" {
		return "", noSuchContainer(ref)
	}
	return prefix, nil
}

func portSet(key string, values []string) (map[string]bool, error) {
	var out map[string]bool
	for _, v := range values {
		if strings.Contains(v, ":") {
			return nil, invalid("filter for '%s' should not contain ':': %s", key, v)
		}
		ports, proto, ok := strings.Cut(v, "/")
		if !ok {
			proto = "tcp"
		}
		from, to, ranged := strings.Cut(ports, "-")
		a, err := strconv.ParseUint(from, 10, 16)
		b := a
		if err == nil && ranged {
			b, err = strconv.ParseUint(to, 10, 16)
		}
		if err != nil || b < a {
			return nil, invalid("error while looking up for %s %s: invalid port", key, v)
		}
		if out == nil {
			out = map[string]bool{}
		}
		for ; a <= b; a++ {
			out[fmt.Sprintf("%d/%s", a, proto)] = true
		}
	}
	return out, nil
}

func (f *listFilter) selects(i *Info) bool {
	c, s := &i.Container, &i.State
	switch {
	case !f.match("name", c.Name) && !f.match("name", "/"+c.Name),
		!f.match("id", c.ID),
		!f.labels(c.Labels),
		f.task != nil && *f.task, // no container belongs to a Swarm task
		!f.match("isolation", "default"),
		!f.match("status", s.Status),
		!f.exact("health", "none"),
		f.images != nil && !f.images[c.ImageID],
		len(f.exited) > 0 && (s.Running || s.StartedAt.IsZero() || !slices.Contains(f.exited, s.ExitCode)),
		f.has("volume") && !f.hasVolume(c),
		f.has("network") && !f.onNetwork(c),
		(len(f.publish) > 0 || len(f.ports) > 0) && !f.hasPort(i):
		return false
	}
	return true
}

func (f *listFilter) hasVolume(c *spec.Container) bool {
	for _, m := range c.Mounts {
		for _, want := range f.Filters["volume"] {
			if want == m.Path || want == m.Name && m.Name != "" || want == m.Source && m.Source != "" {
				return true
			}
		}
	}
	return false
}

func (f *listFilter) onNetwork(c *spec.Container) bool {
	for _, want := range f.Filters["network"] {
		if want == "none" && len(c.Endpoints) == 0 {
			return true
		}
		for _, ep := range c.Endpoints {
			if ep.Network == want || (want != "" && strings.HasPrefix(ep.NetworkID, want)) {
				return true
			}
		}
	}
	return false
}

// hasPort looks for a published port, or for an exposed one.
func (f *listFilter) hasPort(i *Info) bool {
	for _, ep := range i.Container.Endpoints {
		for _, p := range ep.Ports {
			host, inside, ok := strings.Cut(p, ":")
			_, proto, _ := strings.Cut(inside, "/")
			if ok && (f.publish[host+"/"+proto] || f.ports[inside]) {
				return true
			}
		}
	}
	for p := range i.Config.ExposedPorts {
		if i.State.Running && f.ports[p] {
			return true
		}
	}
	return false
}
