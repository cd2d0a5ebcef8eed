package install

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/json"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/install/certs"
)

func ref(kind, value string) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: kind, Value: value}
}

func obj(kind, value, path string) Object {
	return Object{Ref: ref(kind, value), Path: path, Name: path[strings.LastIndexByte(path, '/')+1:]}
}

// article is the host of the article: a standalone ESXi with the bridge there.
func article() (CreateOptions, Site) {
	host := obj("HostSystem", "ha-host", "/ha-datacenter/host/esxi01.think-v.com/esxi01.think-v.com")
	on := []types.ManagedObjectReference{host.Ref}
	return CreateOptions{
			Target: Target{Host: "esxi01.think-v.com", User: "root", Password: "secret", Thumbprint: "AA:BB"},
			Name:   "VCH001", BridgeNetwork: "VCH Bridge", ExternalNetwork: "VM Network", ImageDatastore: "mydatastore",
		}, Site{
			Datacenter: obj("Datacenter", "ha-datacenter", "/ha-datacenter"), Datacenters: []string{"ha-datacenter"},
			VMFolder: obj("Folder", "ha-folder-vm", "/ha-datacenter/vm"),
			Computes: []Compute{{
				Object: obj("ComputeResource", "ha-compute-res", "/ha-datacenter/host/esxi01.think-v.com"),
				Root:   obj("ResourcePool", "ha-root-pool", "/ha-datacenter/host/esxi01.think-v.com/Resources"),
				Hosts:  []Host{{Object: host, Up: true}},
			}},
			Datastores: []Datastore{{Object: obj("Datastore", "ds-1", "/ha-datacenter/datastore/mydatastore"), Accessible: true, Hosts: on}},
			Networks: []Network{
				{Object: obj("Network", "net-1", "/ha-datacenter/network/VM Network"), Hosts: on},
				{Object: obj("Network", "net-2", "/ha-datacenter/network/VCH Bridge"), Hosts: on},
			},
			Switches: []string{"vSwitch0"}, SerialLicense: true,
		}
}

// lines renders messages with the formatter at a fixed time.
func render(t *testing.T, messages []string) string {
	t.Helper()
	var b bytes.Buffer
	for _, m := range messages {
		line, err := Formatter{}.Format(&logrus.Entry{Level: logrus.InfoLevel, Message: m, Time: time.Date(2016, 8, 6, 19, 52, 0, 0, time.UTC)})
		must(t, err)
		b.Write(line)
	}
	return b.String()
}

var stamp = regexp.MustCompile(`(?m)^INFO\[[^\]]*\] *`)

// words drops times and indentation, which the articles do not show.
func words(s string) []string {
	return strings.Split(strings.TrimSpace(stamp.ReplaceAllString(s, "")), "\n")
}

// TestArticleCreate holds create to the transcript of the 0.4 article.
func TestArticleCreate(t *testing.T) {
	o, site := article()
	c, findings, problems := Resolve(o, site, files{}, "uuid", "0.4")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	e, err := o.TLS.endpoint(o.Name, t.TempDir(), certs.Pair{}, time.Now())
	must(t, err)
	lines := append([]string{"Please enter ESX or vCenter password:", "### Installing VCH ####"}, e.log...)
	lines = append(lines, "Validating supplied configuration")
	for _, f := range findings {
		lines = append(lines, f.Text)
	}
	for _, s := range c.Plan() {
		lines = append(lines, s.Log...)
	}
	lines = append(lines, c.Report("VCH_IP", e)...)
	got := render(t, lines)
	golden(t, "article-create.txt", got)
	want, err := os.ReadFile("testdata/transcript-0.4-create.txt")
	must(t, err)
	if d := cmp.Diff(words(string(want)), words(got)); d != "" {
		t.Errorf("not the article's transcript (-article +got):\n%s", d)
	}
}

// TestArticleDelete holds delete to the transcript of the 0.4 article.
func TestArticleDelete(t *testing.T) {
	o, site := article()
	c, _, _ := Resolve(o, site, files{}, "uuid", "0.4")
	lines := []string{"Please enter ESX or vCenter password:", "### Removing VCH ####"}
	for _, s := range deletePlan(Appliance{VCH: c.VCH, Path: "/ha-datacenter/vm/VCH001"}, false) {
		lines = append(lines, s.Log...)
	}
	got := render(t, append(lines, "Completed successfully"))
	want, err := os.ReadFile("testdata/transcript-0.4-delete.txt")
	must(t, err)
	if d := cmp.Diff(words(string(want)), words(got)); d != "" {
		t.Errorf("not the article's transcript (-article +got):\n%s", d)
	}
}

func TestHint(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	e := Endpoint{CertFile: "./VCH001-cert.pem"}
	if h := e.hint(ca); !strings.Contains(h, ca) || !strings.HasSuffix(h, `--tlscacert="./VCH001-cert.pem"`) {
		t.Errorf("hint %q", h)
	}
	if h := (Endpoint{Off: true, CertFile: "x"}).hint(ca); h != "" {
		t.Errorf("hint without TLS: %q", h)
	}
	must(t, os.WriteFile(ca, nil, 0o600))
	if h := e.hint(ca); h != "" {
		t.Errorf("hint though the file is there: %q", h)
	}
}

func specJSON(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetDiscriminator("_type", "_value", 0)
	must(t, e.Encode(v))
	return b.String()
}

func TestApplianceSpec(t *testing.T) {
	o, site := article()
	site.MissingDir, o.ImageDatastore = "images", "mydatastore/images/vic"
	c, _, problems := Resolve(o, site, files{}, "6c0bd7f8-0000-4000-8000-000000000001", "0.4")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	c.VCH.Password, c.VCH.ServerKey, c.VCH.AttachKey = "hidden", "hidden", "hidden"
	s, err := ApplianceSpec(c)
	must(t, err)
	text := specJSON(t, s)
	golden(t, "appliance.json", text)
	if strings.Contains(text, "hidden") {
		t.Error("a secret is in the new VM's configuration")
	}

	made := Made{VM: ref("VirtualMachine", "7"), HomeDir: "[mydatastore] 0c1d-uuid", MACs: []string{"00:50:56:00:00:01", "00:50:56:00:00:02"},
		Devices: object.VirtualDeviceList{cdrom(3000, 200, "[mydatastore] VCH001"), serial(9000, "[mydatastore] VCH001")}}
	u, err := ApplianceUpdate(c, made)
	must(t, err)
	golden(t, "appliance-update.json", specJSON(t, u))
	made.HomeDir = c.VCH.HomeDir
	if u, err = ApplianceUpdate(c, made); err != nil || len(u.DeviceChange) != 0 {
		t.Errorf("an update of devices that are right: %v %v", u.DeviceChange, err)
	}
}

func TestDistributedAndOpaqueNICs(t *testing.T) {
	for _, n := range []Network{{Kind: Distributed, Switch: "sw", Key: "dvportgroup-1"}, {Kind: Opaque, OpaqueID: "id", OpaqueType: "nsx.LogicalSwitch"}} {
		switch b := nic(-1, NIC{Network: n, Slot: 224}).Backing.(type) {
		case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
			if b.Port.SwitchUuid != "sw" || b.Port.PortgroupKey != "dvportgroup-1" {
				t.Errorf("%+v", b)
			}
		case *types.VirtualEthernetCardOpaqueNetworkBackingInfo:
			if b.OpaqueNetworkId != "id" || b.OpaqueNetworkType != "nsx.LogicalSwitch" {
				t.Errorf("%+v", b)
			}
		default:
			t.Errorf("backing %T", b)
		}
	}
}

func TestFormatter(t *testing.T) {
	at := time.Date(2016, 8, 6, 21, 52, 0, 5, time.FixedZone("", 7200))
	for _, c := range []struct {
		e    logrus.Entry
		want string
	}{
		{logrus.Entry{Level: logrus.InfoLevel, Message: "### Installing VCH ####"}, "INFO[2016-08-06T19:52:00Z] ### Installing VCH ####\n"},
		{logrus.Entry{Level: logrus.WarnLevel, Message: "  x \n"}, "WARN[2016-08-06T19:52:00Z]   x\n"},
		{logrus.Entry{Level: logrus.ErrorLevel, Message: "x", Data: logrus.Fields{"b": 2, "a": "1"}}, "ERRO[2016-08-06T19:52:00Z] x a=1 b=2\n"},
	} {
		c.e.Time = at
		got, err := Formatter{}.Format(&c.e)
		if err != nil || string(got) != c.want {
			t.Errorf("%q %v, want %q", got, err, c.want)
		}
	}
}
