package portlayer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"

	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/network"
)

// nothingLeaks checks that what there is on vSphere, in the appliance and at
// the guests' is what containers, networks and volumes have, and nothing else.
func (s *site) nothingLeaks(p *PortLayer) {
	s.t.Helper()
	s.consistent(p)
	var names, running []string
	for _, v := range p.Containers() {
		names = append(names, v.Container.ID)
		if network.Running(&v) {
			running = append(running, v.Container.ID)
		}
	}
	slices.Sort(names)
	slices.Sort(running)
	s.same("VMs", names, s.vms())
	s.same("folders of containers", names, containerFolders(s.t, s.store))
	// A mark goes a moment after its create.
	s.eventuallySame("marks of creates", nil, func() []string { return list(s.t, filepath.Join(s.dir("creating"))) })
	s.eventuallySame("running guests", running, s.hyp.running)
	s.eventuallySame("published ports", s.wantedPorts(p), s.nats.published)

	volumes, warnings := p.Volumes().Volumes()
	var want []string
	for _, v := range volumes {
		if v.Unavailable == "" {
			want = append(want, v.Name)
		}
	}
	if len(warnings) > 0 {
		s.t.Errorf("volumes: %q", warnings)
	}
	slices.Sort(want)
	var whole, files []string
	for _, name := range list(s.t, s.volumes) {
		if strings.HasPrefix(name, ".") || len(list(s.t, filepath.Join(s.volumes, name))) == 0 {
			// Blank disks, which volumes are copied from; or a folder that another
			// VCH may be about to use, and the next create of the name does.
			continue
		}
		files = append(files, name)
		if _, err := os.Stat(filepath.Join(s.volumes, name, name+".vmdk")); err == nil {
			whole = append(whole, name)
		}
		if _, err := os.Stat(filepath.Join(s.volumes, name, "creating.json")); err == nil {
			s.t.Errorf("volume %s is marked as in the making", name)
		}
	}
	s.same("disks of volumes", want, whole)
	if len(files) != len(volumes) {
		s.t.Errorf("folders of volumes %q, volumes %+v", files, volumes)
	}
}

func (s *site) same(what string, want, got []string) {
	s.t.Helper()
	if d := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); d != "" {
		s.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func (s *site) eventuallySame(what string, want []string, got func() []string) {
	s.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !slices.Equal(want, got()) {
		select {
		case <-tick.C:
		case <-deadline:
			s.same(what, want, got())
			return
		}
	}
}

// wantedPorts are those of running containers, as the appliance has them.
func (s *site) wantedPorts(p *PortLayer) []string {
	var out []string
	for _, v := range p.Containers() {
		if !network.Running(&v) {
			continue
		}
		for _, e := range v.Container.Endpoints {
			a, _, _ := strings.Cut(e.IP, "/")
			for _, port := range e.Ports {
				out = append(out, port+">"+a)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (n *nats) published() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, p := range n.nat.Ports {
		out = append(out, p.Publication.String()+">"+p.To.String())
	}
	slices.Sort(out)
	return out
}

// running are the containers whose guest is on.
func (h *hypervisor) running() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for id, t := range h.last {
		if t.ctx.Err() == nil {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// dir is a folder of the VCH on the image datastore.
func (s *site) dir(name string) string {
	return filepath.Join(s.store, "VCH001", "VIC", s.cfg.VCH.UUID, name)
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func containerFolders(t *testing.T, store string) []string {
	t.Helper()
	var out []string
	for _, name := range list(t, store) {
		if len(name) == 64 {
			out = append(out, name)
		}
	}
	return out
}

// admin is a session of an administrator.
func (s *site) admin() *vsphere.Session {
	s.t.Helper()
	v := s.cfg.VCH
	se, err := vsphere.Dial(s.t.Context(), vsphere.Config{URL: v.Target, User: v.User, Password: v.Password, Thumbprint: v.Thumbprint})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = se.Logout(context.Background()) })
	return se
}

// vms are the names of all VMs.
func (s *site) vms() []string {
	var out []string
	for _, vm := range s.machines() {
		out = append(out, vm.Name())
	}
	slices.Sort(out)
	return out
}

func (s *site) machines() []*object.VirtualMachine {
	s.t.Helper()
	if s.session == nil {
		s.session = s.admin()
	}
	f := find.NewFinder(s.session.Client())
	dc, err := f.DefaultDatacenter(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := f.SetDatacenter(dc).VirtualMachineList(s.t.Context(), "*")
	var none *find.NotFoundError
	if err != nil && !errors.As(err, &none) {
		s.t.Fatal(err)
	}
	return all
}
