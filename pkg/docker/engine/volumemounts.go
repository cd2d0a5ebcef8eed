package engine

import (
	"context"
	"errors"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// volumePlan is a volume that a container is to have.
type volumePlan struct {
	spec.Mount
	// Request makes the volume if it is not there.
	Request spec.VolumeRequest
	// FromImage: without a default store the path stays on the container's disk.
	FromImage bool
	// Inherited ones exist: volumes of another container, or no volume at all.
	Inherited bool
}

// planInput is all that planVolumes needs besides the request.
type planInput struct {
	// UserVolumes are those of the request (-v PATH), before the image's came to
	// them; what else Config.Volumes has is the image's.
	UserVolumes map[string]struct{}
	// Find resolves a container, for --volumes-from, and tells which of its
	// volumes are anonymous.
	Find func(ref string) (v spec.View, anonymous []string, err error)
	// Socket: the Docker API's socket may be bound.
	Socket bool
}

// planVolumes gives the volumes that a request asks for, by destination. It is
// pure. All problems are reported together. What is said more clearly replaces
// the rest: --volumes-from gives way to -v and --mount, an image's volume to all.
func planVolumes(r *Request, in planInput) ([]volumePlan, error) {
	h := &r.HostConfig
	plans := map[string]volumePlan{}
	var errs []error
	for _, text := range h.VolumesFrom {
		errs = append(errs, inherit(plans, text, in))
	}
	taken := map[string]bool{}
	for dst := range h.Tmpfs {
		taken[path.Clean(dst)] = true
	}
	for _, m := range h.Mounts {
		if m.Type == "tmpfs" {
			taken[path.Clean(m.Target)] = true
		}
	}
	add := func(p volumePlan, err error) {
		if err == nil && taken[p.Path] {
			err = invalid("Duplicate mount point: %s", p.Path)
		}
		if err != nil {
			errs = append(errs, err)
			return
		}
		taken[p.Path] = true
		plans[p.Path] = p
	}
	for _, raw := range h.Binds {
		if p, is, err := bindSocket(raw, in.Socket); is {
			add(p, err)
			continue
		}
		s, err := parseVolumeSpec(raw)
		add(volumePlan{
			Mount:   spec.Mount{Type: spec.MountVolume, Name: s.Name, Path: s.Path, ReadOnly: s.ReadOnly, NoCopy: s.NoCopy},
			Request: spec.VolumeRequest{Name: s.Name, Driver: h.VolumeDriver, Anonymous: s.Name == ""},
		}, err)
	}
	for i := range h.Mounts {
		if h.Mounts[i].Type != "tmpfs" { // those are tmpfsMounts'
			add(planMount(&h.Mounts[i], in.Socket))
		}
	}
	for _, dst := range slices.Sorted(maps.Keys(r.Config.Volumes)) {
		_, user := in.UserVolumes[dst]
		at, err := mountPath(dst)
		if err == nil && (taken[at] || plans[at].Path != "") {
			continue
		}
		add(volumePlan{
			Mount:   spec.Mount{Type: spec.MountVolume, Path: at},
			Request: spec.VolumeRequest{Driver: h.VolumeDriver, Anonymous: true}, FromImage: !user,
		}, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	out := make([]volumePlan, 0, len(plans))
	for _, dst := range slices.Sorted(maps.Keys(plans)) {
		out = append(out, plans[dst])
	}
	return out, nil
}

func inherit(plans map[string]volumePlan, text string, in planInput) error {
	ref, readOnly, err := parseVolumesFrom(text)
	if err != nil {
		return err
	}
	v, anonymous, err := in.Find(ref)
	if err != nil {
		// As a 404 a client would take it for the image, and pull.
		return invalid("volumes from %s: %v", ref, err)
	}
	for _, m := range v.Container.Mounts {
		switch m.Type {
		case spec.MountTmpfs:
			continue
		case spec.MountSocket:
			p, err := socketPlan(m.Source, m.Path, m.ReadOnly || readOnly, in.Socket)
			if err != nil {
				return err
			}
			plans[m.Path] = p
			continue
		}
		plans[m.Path] = volumePlan{
			Mount:   spec.Mount{Type: m.Type, Name: m.Name, Path: m.Path, SubPath: m.SubPath, ReadOnly: m.ReadOnly || readOnly, NoCopy: true},
			Request: spec.VolumeRequest{Name: m.Name, Anonymous: slices.Contains(anonymous, m.Name)}, Inherited: true,
		}
	}
	return nil
}

// planMount is one --mount.
func planMount(m *MountRequest, socket bool) (volumePlan, error) {
	bad := func(format string, a ...any) (volumePlan, error) {
		return volumePlan{}, invalid("invalid mount config for type %q: %v", m.Type, invalid(format, a...))
	}
	switch m.Type {
	case "volume":
	case "bind":
		if isDockerSocket(m.Source) {
			return mountSocket(m, socket)
		}
		return volumePlan{}, notImplemented("not supported: bind mount of %s (--mount type=bind): %s", m.Source, whyNoBinds)
	case "image", "npipe", "cluster":
		return volumePlan{}, notImplemented("not supported: mounts of type %q (--mount): this version mounts volumes and tmpfs", m.Type)
	default:
		return bad("mount type unknown")
	}
	dst, err := mountPath(m.Target)
	if err != nil {
		return bad("%v", err)
	}
	if isSet(m.BindOptions) {
		return bad("field BindOptions must not be specified")
	}
	if isSet(m.ImageOptions) {
		return bad("field ImageOptions must not be specified")
	}
	p := volumePlan{
		Mount:   spec.Mount{Type: spec.MountVolume, Name: m.Source, Path: dst, ReadOnly: m.ReadOnly},
		Request: spec.VolumeRequest{Name: m.Source, Anonymous: m.Source == ""},
	}
	if m.ReadOnly && m.Source == "" {
		return bad("must not set ReadOnly mode when using anonymous volumes")
	}
	o := m.VolumeOptions
	if o == nil {
		return p, nil
	}
	p.NoCopy, p.Request.Labels = o.NoCopy, o.Labels
	if d := o.DriverConfig; d != nil {
		p.Request.Driver, p.Request.Options = d.Name, d.Options
	}
	if o.Subpath != "" {
		switch {
		case m.Source == "":
			return bad("must not set Subpath when using anonymous volumes")
		case strings.ContainsRune(o.Subpath, 0) || path.IsAbs(o.Subpath) || !filepath.IsLocal(o.Subpath):
			return bad("subpath must be a relative path within the volume")
		}
		p.SubPath = path.Clean(o.Subpath)
	}
	return p, nil
}

// planned gives the volumes that a create asks for. One that has no name yet
// gets one, and from here to unplan none of them is removed.
func (e *Engine) planned(id string, r *Request, user map[string]struct{}) ([]volumePlan, error) {
	plans, err := planVolumes(r, planInput{UserVolumes: user, Find: e.findWithVolumes, Socket: e.socket})
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range plans {
		p := &plans[i]
		if p.Type == spec.MountSocket {
			continue
		}
		if p.Name == "" {
			if p.Name, err = newID(); err != nil {
				return nil, err
			}
			p.Request.Name = p.Name
		}
		names = append(names, p.Name)
	}
	if len(names) > 0 {
		e.mu.Lock()
		e.making[id] = names
		e.mu.Unlock()
	}
	return plans, nil
}

// unplan ends what planned began: the container has the volumes, or nobody.
func (e *Engine) unplan(id string) {
	e.mu.Lock()
	delete(e.making, id)
	e.mu.Unlock()
}

func (e *Engine) findWithVolumes(ref string) (spec.View, []string, error) {
	v, err := e.find(ref)
	if err != nil {
		return v, nil, err
	}
	return v, e.storedOf(v).Anonymous, nil
}

// mountVolumes makes the volumes that are not there and adds the mounts to c.
// undo removes the anonymous ones it made.
func (e *Engine) mountVolumes(ctx context.Context, c *spec.Container, plans []volumePlan) (anonymous, warnings []string, undo func(), err error) {
	var made []string
	undo = func() {
		if len(made) == 0 {
			return
		}
		e.unplan(c.ID)
		ctx, cancel := e.detach(ctx)
		defer cancel()
		for _, name := range made {
			if err := e.dropVolume(ctx, name); err != nil && !errdefs.IsNotFound(err) {
				e.log.WithField(spec.FieldVolume, name).WithError(err).Warn("remove the anonymous volume of a container that was not made")
			}
		}
	}
	var kept []string
	for _, p := range plans {
		if !p.Inherited {
			if e.vols == nil && !p.FromImage {
				return nil, nil, undo, errNoVolumes()
			}
			keep, err := e.ensure(ctx, p, &made)
			if err != nil {
				return nil, nil, undo, err
			}
			if keep {
				kept = append(kept, p.Path)
				continue
			}
		}
		if p.Request.Anonymous {
			anonymous = append(anonymous, p.Name)
		}
		c.Mounts = append(c.Mounts, p.Mount)
	}
	slices.SortStableFunc(c.Mounts, func(a, b spec.Mount) int { return strings.Compare(a.Path, b.Path) })
	if len(kept) > 0 {
		warnings = append(warnings, `the VCH has no volume store labelled "default": `+strings.Join(kept, ", ")+" of the image is kept on the container's own disk")
	}
	return anonymous, warnings, undo, nil
}

// ensure makes the volume of a plan if it is not there. keep says that it is
// the image's and has no store.
func (e *Engine) ensure(ctx context.Context, p volumePlan, made *[]string) (keep bool, err error) {
	if e.vols == nil {
		return true, nil
	}
	_, is, err := e.makeVolume(ctx, p.Request)
	switch {
	case err == nil:
		if is && p.Request.Anonymous {
			*made = append(*made, p.Name)
		}
		return false, nil
	case errdefs.IsNotFound(err) && p.FromImage && (p.Request.Driver == "" || slices.Contains(VolumeDrivers(), p.Request.Driver)):
		return true, nil
	case errdefs.IsNotFound(err):
		return false, invalid("%v", err) // not 404: a client would pull the image
	}
	return false, err
}

// anonymousOf are the anonymous volumes of a container.
func (e *Engine) anonymousOf(id string) []string {
	v, err := e.pl.Container(id)
	if err != nil || e.vols == nil {
		return nil
	}
	var out []string
	have := e.storedOf(v).Anonymous
	for _, m := range v.Container.Mounts {
		if slices.Contains(have, m.Name) && !slices.Contains(out, m.Name) {
			out = append(out, m.Name)
		}
	}
	return out
}

// dropAnonymous removes the volumes of a container that is gone. One that
// another container has stays, which is no error.
func (e *Engine) dropAnonymous(ctx context.Context, names []string) {
	for _, name := range names {
		if err := e.dropVolume(ctx, name); err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) {
			e.log.WithField(spec.FieldVolume, name).WithError(err).Warn("remove the anonymous volume of a removed container")
		}
	}
}

// MountInfo is one mount of a volume, or bind of the socket, as clients see it.
type MountInfo struct {
	spec.Mount
	Driver      string // of a volume
	Mode        string // of -v, as given
	Propagation string // of a bind
}

func (e *Engine) mountInfos(v spec.View, s *Stored) []MountInfo {
	var out []MountInfo
	for _, m := range v.Container.Mounts {
		if m.Type == spec.MountTmpfs {
			continue // Docker shows --tmpfs in HostConfig only
		}
		if m.Type == spec.MountSocket {
			mode, how := boundMode(s, m.Path)
			out = append(out, MountInfo{Mount: m, Mode: mode, Propagation: how})
			continue
		}
		i := MountInfo{Mount: m, Driver: e.volumeDriver(m.Name)}
		for _, raw := range s.host.Binds {
			if b, err := parseVolumeSpec(raw); err == nil && b.Path == m.Path {
				i.Mode = b.Mode
			}
		}
		out = append(out, i)
	}
	return out
}
