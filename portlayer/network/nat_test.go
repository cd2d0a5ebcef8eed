package network

import (
	"net"
	"testing"

	"github.com/containerd/errdefs"
)

func TestInterfaceByMAC(t *testing.T) {
	mac, _ := net.ParseMAC("00:50:56:aa:bb:01")
	all := []net.Interface{{Name: "lo"}, {Name: "eth1", HardwareAddr: mac}}
	if i, err := interfaceByMAC(all, "00:50:56:AA:BB:01"); err != nil || i.Name != "eth1" {
		t.Errorf("%v, %v", i.Name, err)
	}
	for _, m := range []string{"", "00:50:56:aa:bb:02"} {
		if _, err := interfaceByMAC(all, m); !errdefs.IsNotFound(err) {
			t.Errorf("%q: %v", m, err)
		}
	}
}
