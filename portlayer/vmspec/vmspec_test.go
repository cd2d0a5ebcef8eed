package vmspec

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/types"
	vimxml "github.com/vmware/govmomi/vim25/xml"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const id = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58"

func hello() spec.Container {
	return spec.Container{
		ID: id, Name: "jolly_panini", Repo: "hello-world",
		ImageID: "sha256:" + strings.Repeat("ab", 32),
		Created: time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC),
		VCH:     "564d1f3b-7d3e-4b1f-8c9a-0d6f5e4c3b2a",
		Process: spec.Process{Path: "/hello", TTY: true, Attach: true},
		Root:    spec.Root{ImageDisk: "[mydatastore] VIC/vch/images/abab.vmdk", SizeMB: 8192},
		Endpoints: []spec.Endpoint{{
			Network: "bridge", NetworkID: "b1", PortGroup: "VCH Bridge",
			IP: "172.16.0.2/16", Gateway: "172.16.0.1",
		}},
		AuthorizedKey: "ssh-ed25519 AAAA",
	}
}

func esxi() Env {
	return Env{
		Datastore: "mydatastore", Ref: types.ManagedObjectReference{Type: "Datastore", Value: "ds-1"},
		BootstrapISO: "[mydatastore] VCH001/bootstrap.iso", BootstrapRef: types.ManagedObjectReference{Type: "Datastore", Value: "ds-1"},
		Line: "tcp://10.118.0.10:8080",
		Networks: map[string]types.BaseVirtualDeviceBackingInfo{
			"VCH Bridge": &types.VirtualEthernetCardNetworkBackingInfo{
				VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VCH Bridge"},
			},
		},
	}
}

func vcenter() Env {
	e := esxi()
	dvpg := func(key string) types.BaseVirtualDeviceBackingInfo {
		return &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
			Port: types.DistributedVirtualSwitchPortConnection{SwitchUuid: "50 0a", PortgroupKey: key},
		}
	}
	e.Networks = map[string]types.BaseVirtualDeviceBackingInfo{"VCH Bridge": dvpg("dvportgroup-1"), "DMZ": dvpg("dvportgroup-2")}
	return e
}

func TestBuildGolden(t *testing.T) {
	full := hello()
	full.Resources = spec.Resources{CPUs: 2, MemoryMB: 510, CPULimitMHz: 1500, CPUShares: 512, ReservationMB: 128}
	full.Labels = map[string]string{"a": "b|c"}
	full.Annotations = map[string]string{"docker": `{"x":1}`}
	full.Process.Args = []string{"-c", "echo a | wc -l"}
	full.Mounts = []spec.Mount{
		{Name: "data", Type: spec.MountVolume, Path: "/data", Source: "[mydatastore] volumes/data/data.vmdk"},
		{Type: spec.MountTmpfs, Path: "/run", Options: "size=1m"},
		{Name: "logs", Type: spec.MountVolume, Path: "/logs", Source: "[mydatastore] volumes/logs/logs.vmdk", ReadOnly: true},
	}
	full.Endpoints = append(full.Endpoints, spec.Endpoint{Network: "dmz", PortGroup: "DMZ", MAC: "00:50:56:AA:BB:CC"})

	for name, tc := range map[string]struct {
		c   spec.Container
		env Env
	}{
		"esxi-hello":   {hello(), esxi()},
		"vcenter-full": {full, vcenter()},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Arrange(tc.c)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Build(c, tc.env)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, render(t, s))
			decoded, err := guestinfo.DecodeContainer(guestinfo.FromMap(options(s)))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c, decoded); d != "" {
				t.Errorf("the keys do not give the container back:\n%s", d)
			}
		})
	}
}

func options(s types.VirtualMachineConfigSpec) map[string]string {
	m := map[string]string{}
	for _, o := range s.ExtraConfig {
		kv := o.GetOptionValue()
		m[kv.Key] = kv.Value.(string)
	}
	return m
}

// render gives the spec as the client sends it, one line per value; keys of
// extraConfig on a line each.
func render(t *testing.T, s types.VirtualMachineConfigSpec) string {
	t.Helper()
	var raw bytes.Buffer
	extra := s.ExtraConfig
	s.ExtraConfig = nil
	if err := vimxml.NewEncoder(&raw).Encode(s); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	depth, text := 0, ""
	d := xml.NewDecoder(&raw)
	for {
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			fmt.Fprintf(&out, "\n%s%s", strings.Repeat("  ", depth), tok.Name.Local)
			for _, a := range tok.Attr {
				if a.Name.Local == "type" {
					fmt.Fprintf(&out, " (%s)", a.Value)
				}
			}
			depth, text = depth+1, ""
		case xml.CharData:
			text = string(tok)
		case xml.EndElement:
			depth--
			if text != "" {
				fmt.Fprintf(&out, " = %q", text)
			}
			text = ""
		}
	}
	for _, o := range extra {
		kv := o.GetOptionValue()
		fmt.Fprintf(&out, "\n  extraConfig %s = %q", kv.Key, kv.Value)
	}
	return strings.TrimPrefix(out.String(), "\n") + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s differs (-update rewrites it):\n%s", file, d)
	}
}

func TestArrange(t *testing.T) {
	c := hello()
	for i := range 13 {
		c.Mounts = append(c.Mounts, spec.Mount{Type: spec.MountVolume, Path: "/v", Source: fmt.Sprint(i)})
	}
	c.Mounts = append(c.Mounts, spec.Mount{Type: spec.MountTmpfs, Path: "/t"}, spec.Mount{Type: spec.MountVolume, Path: "/again", Source: "3"})
	a, err := Arrange(c)
	if err != nil {
		t.Fatal(err)
	}
	var units []int
	for _, m := range a.Mounts {
		units = append(units, m.Unit)
	}
	if d := cmp.Diff([]int{2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 0, 5}, units); d != "" {
		t.Errorf("units:\n%s", d)
	}
	if c.Mounts[0].Unit != 0 {
		t.Error("Arrange changed its argument")
	}
	c.Mounts = append(c.Mounts, spec.Mount{Type: spec.MountVolume, Path: "/v", Source: "one too many"})
	if _, err := Arrange(c); !errdefs.IsInvalidArgument(err) {
		t.Errorf("14 volumes: %v", err)
	}
	c.Mounts = nil
	c.Endpoints = nil
	for i := range 11 {
		c.Endpoints = append(c.Endpoints, spec.Endpoint{PortGroup: fmt.Sprint(i)})
	}
	if _, err := Arrange(c); !errdefs.IsInvalidArgument(err) {
		t.Errorf("11 networks: %v", err)
	}
}

// Networks that share a port group share one NIC.
func TestOneNICPerPortGroup(t *testing.T) {
	c := hello()
	c.Endpoints = []spec.Endpoint{
		{Network: "bridge", PortGroup: "VCH Bridge"},
		{Network: "dmz", PortGroup: "VM Network", MAC: "00:50:56:00:00:02"},
		{Network: "app", PortGroup: "VCH Bridge", MAC: "00:50:56:00:00:01"},
	}
	c, err := Arrange(c)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range c.Endpoints {
		got = append(got, fmt.Sprint(e.PCISlot, " ", e.MAC))
	}
	if want := []string{"192 00:50:56:00:00:01", "224 00:50:56:00:00:02", "192 00:50:56:00:00:01"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	env := esxi()
	env.Networks["VM Network"] = env.Networks["VCH Bridge"]
	s, err := Build(c, env)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, d := range s.DeviceChange {
		if _, ok := d.GetVirtualDeviceConfigSpec().Device.(*types.VirtualVmxnet3); ok {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d NICs, want 2", n)
	}
}

func TestBuildRefuses(t *testing.T) {
	c := hello()
	c.Endpoints[0].PortGroup = "none"
	if _, err := Build(c, esxi()); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "none") {
		t.Errorf("unknown port group: %v", err)
	}
	c = hello()
	c.Process.Env = []string{"A=" + strings.Repeat("x", guestinfo.MaxValue)}
	var le *guestinfo.LimitError
	if _, err := Build(c, esxi()); !errors.As(err, &le) || le.Option != "--env" {
		t.Errorf("too large: %v", err)
	}
}

func TestBIOSUUID(t *testing.T) {
	a := BIOSUUID("564d1f3b-7d3e-4b1f-8c9a-0d6f5e4c3b2a", id)
	if a != BIOSUUID("564d1f3b-7d3e-4b1f-8c9a-0d6f5e4c3b2a", id) || a == BIOSUUID("other", id) {
		t.Error("UUID is not a function of VCH and container")
	}
}
