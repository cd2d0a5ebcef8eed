package engine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

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

// List gives containers, newest first, as ps shows them; without their execs.
// What it gives is shared and must not be changed.
func (e *Engine) List(o ListOptions) ([]*Info, error) {
	rows, err := e.rows(o)
	if err != nil {
		return nil, err
	}
	out := make([]*Info, 0, len(rows))
	for _, r := range rows {
		out = append(out, &r.Info)
	}
	return out, nil
}

// ListEncoded is List with each container in the caller's form, which is kept as
// long as nothing in its Info changes. So there can be one form only: encode must
// be a pure function, the same in all calls. The bytes must not be changed.
func (e *Engine) ListEncoded(o ListOptions, encode func(*Info) ([]byte, error)) ([][]byte, error) {
	rows, err := e.rows(o)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, 0, len(rows))
	for _, r := range rows {
		r.once.Do(func() { r.encoded, r.err = encode(&r.Info) })
		if r.err != nil {
			return nil, r.err
		}
		out = append(out, r.encoded)
	}
	return out, nil
}

// row is one container in a list. What it says never changes: when it is not
// true any more there is another row.
type row struct {
	Info
	of         *spec.View // what Info was made of
	restarting bool
	health     string // as filters know it
	name       string // the image's as given, before it meant another image

	once    sync.Once // guards what follows
	encoded []byte
	err     error
}

// rows gives the containers that the options select.
func (e *Engine) rows(o ListOptions) ([]*row, error) {
	views := e.pl.Snapshots()
	f, err := e.listFilter(o, views)
	if err != nil {
		return nil, err
	}
	kept := e.keptRows(views)
	out, fresh := []*row{}, []*row{}
	skipping := f.before != ""
	named := map[string]string{} // what image names mean now
	now := e.clock.Now()
	for n, v := range views {
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
		r := kept[n].row
		if r == nil || r.of != v || r.restarting != kept[n].restarting || r.health != (State{Health: kept[n].health}).healthFilter() {
			r = e.newRow(v, kept[n])
		}
		if !r.State.Running && !f.all && o.Limit <= 0 {
			continue
		}
		if !f.selects(&r.Info) {
			continue
		}
		r = r.at(r.State.Text(now), e.imageName(r, named))
		if r != kept[n].row {
			fresh = append(fresh, r)
		}
		out = append(out, r)
		if o.Limit > 0 && len(out) == o.Limit {
			break
		}
	}
	e.keepRows(fresh, views)
	return out, nil
}

func (e *Engine) newRow(v *spec.View, k keptRow) *row {
	i := e.describe(*v, k.restarting, k.health)
	return &row{Info: i, of: v, restarting: k.restarting, health: i.State.healthFilter(), name: i.ImageName}
}

// at is the row with what may change though the container does not: the text
// that tells the time, and the image's name.
func (r *row) at(text, image string) *row {
	if text == r.StatusText && image == r.ImageName {
		return r
	}
	n := &row{Info: r.Info, of: r.of, restarting: r.restarting, health: r.health, name: r.name}
	n.StatusText, n.ImageName = text, image
	return n
}

// imageName is the IMAGE column of ps. named keeps what names mean for one list.
func (e *Engine) imageName(r *row, named map[string]string) string {
	id, asked := named[r.name]
	if !asked {
		if img, err := e.images.Resolve(r.name); err == nil {
			id = img.ID
		}
		named[r.name] = id
	}
	if id != r.Container.ImageID && r.Container.ImageID != "" {
		return r.Container.ImageID
	}
	return r.name
}

// keptRow is what is known of a container when a list begins.
type keptRow struct {
	row        *row // nil: none
	restarting bool
	health     *Health
}

func (e *Engine) keptRows(views []*spec.View) []keptRow {
	out := make([]keptRow, len(views))
	e.mu.Lock()
	defer e.mu.Unlock()
	for n, v := range views {
		id := v.Container.ID
		t := e.tracked[id]
		out[n] = keptRow{e.rowsByID[id], t != nil && t.restarting, e.healthOf(id)}
	}
	return out
}

// keepRows keeps rows for the next list, and drops those of containers that are
// gone. A list that is older than another may put back what it saw: the next
// one sees that it is old.
func (e *Engine) keepRows(fresh []*row, views []*spec.View) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range fresh {
		e.rowsByID[r.Container.ID] = r
	}
	if len(e.rowsByID) <= len(views) && len(e.stored) <= len(views) {
		return
	}
	there := make(map[string]bool, len(views))
	for _, v := range views {
		there[v.Container.ID] = true
	}
	maps.DeleteFunc(e.rowsByID, func(id string, _ *row) bool { return !there[id] })
	// Who looked at a container while it went may have put this back.
	maps.DeleteFunc(e.stored, func(id string, _ storedEntry) bool { return !there[id] })
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

func (e *Engine) listFilter(o ListOptions, views []*spec.View) (*listFilter, error) {
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
func pivot(values []string, views []*spec.View) (string, error) {
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
		!f.exact("health", s.healthFilter()),
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

// hasPort looks for a published port, or for an exposed one, of a container that
// runs.
func (f *listFilter) hasPort(i *Info) bool {
	if !i.State.Running || i.State.Restarting {
		return false
	}
	for _, p := range i.AllPorts() {
		if f.publish[fmt.Sprintf("%d/%s", p.HostPort, p.Proto)] || f.ports[fmt.Sprintf("%d/%s", p.Port, p.Proto)] {
			return true
		}
	}
	for p := range i.Config.ExposedPorts {
		if !strings.Contains(p, "/") {
			p += "/tcp"
		}
		if f.ports[p] {
			return true
		}
	}
	return false
}
