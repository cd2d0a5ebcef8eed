//go:build vm

package tether_test

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
	"github.com/vic-engine/vic/pkg/spec"
)

func vch(debugKey ssh.PublicKey) spec.VCH {
	return spec.VCH{
		Name: "VCH 001", UUID: "42000000-0000-0000-0000-000000000001", Target: "https://10.118.0.2:8989/sdk", User: "root",
		DebugKey: string(ssh.MarshalAuthorizedKey(debugKey)),
		Networks: map[string]spec.VCHNetwork{
			"external": {PortGroup: "VM Network", MAC: "00:50:56:00:00:01"},
			"client":   {PortGroup: "VM Network", MAC: "00:50:56:00:00:01"},
			"bridge":   {PortGroup: "VCH Bridge", MAC: "00:50:56:00:00:02"},
		},
	}
}

// TestAppliance boots one appliance twice: the first time it makes its disk and
// key and waits, the second time it finds its secrets and runs the engine.
func TestAppliance(t *testing.T) {
	signer := signerOf(t)
	scratch := filepath.Join(t.TempDir(), "scratch")
	blank(t, scratch, false)
	lan := network(t)
	v := vch(signer.PublicKey())
	o := qemutest.Options{ISO: built.appliance, MemoryMB: 512, Console: 0, Network: lan, Ports: 1,
		Disks: []machine.Disk{{Path: vmdk(t, scratch)}},
		NICs: []machine.NIC{{Network: "VM Network", MAC: "00:50:56:00:00:01", Slot: 192},
			{Network: "VCH Bridge", MAC: "00:50:56:00:00:02", Slot: 224}}}
	var err error
	if o.GuestInfo, err = guestinfo.EncodeVCH(v); err != nil {
		t.Fatal(err)
	}

	vm := qemutest.Boot(t, o)
	vm.Expect(`formatting the scratch disk`, limit)
	vm.Expect(`waiting for secrets from vic-machine: \[guestinfo./connect/password guestinfo./attach/key\]`, limit)
	key, err := guestinfo.ParsePublicKey(vm.Guest.Keys()[guestinfo.KeySealKey])
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"external", "client"} {
		if ip := vm.Guest.Keys()[guestinfo.AssignedIPKey(role)]; !strings.HasPrefix(ip, "10.118.0.") {
			t.Errorf("address on %s: %q", role, ip)
		}
	}
	if err := vm.ShutdownGuest(); err != nil {
		t.Fatal(err)
	}
	vm.WaitOff(limit)

	v.Password, v.AttachKey = "the secret", "another secret"
	if v, err = guestinfo.SealVCH(v, key); err != nil {
		t.Fatal(err)
	}
	if o.GuestInfo, err = guestinfo.EncodeVCH(v); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	vm = qemutest.Boot(t, o)
	vm.Expect(`engine --config /run/vic/vch.json --set-clock begins`, limit)
	t.Logf("engine starts after %v", time.Since(begin).Round(time.Millisecond))
	vm.Expect(`nameserver 10.118.0.1`, limit)
	vm.Expect(`program ended.*exit status 3`, limit)
	vm.Expect(`(?s)exit status 3.*engine --config`, limit)
	if strings.Contains(vm.Text(), "formatting") || strings.Contains(vm.Text(), "the secret") {
		t.Error("formatted again, or a secret on the console")
	}
	ip, _, _ := strings.Cut(vm.Guest.Keys()[guestinfo.AssignedIPKey("external")], "/")
	conn, err := lan.Dial(t.Context(), "tcp", ip+":22")
	if err != nil {
		t.Fatal(err)
	}
	debugShell(t, conn, ip, signer)
	if err := vm.ShutdownGuest(); err != nil {
		t.Fatal(err)
	}
	vm.Expect(`engine ends`, limit)
	vm.WaitOff(limit)
}

// TestForeignScratchDisk: a disk with something else on it is never formatted.
func TestForeignScratchDisk(t *testing.T) {
	scratch := filepath.Join(t.TempDir(), "scratch")
	blank(t, scratch, false)
	writeAt(t, scratch, 512, "LABELONE precious data")
	signer := signerOf(t)
	keys, err := guestinfo.EncodeVCH(vch(signer.PublicKey()))
	if err != nil {
		t.Fatal(err)
	}
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.appliance, MemoryMB: 512, Console: 0, Network: network(t), Ports: 1,
		GuestInfo: keys, Disks: []machine.Disk{{Path: vmdk(t, scratch)}},
		NICs: []machine.NIC{{Network: "VM Network", MAC: "00:50:56:00:00:01", Slot: 192},
			{Network: "VCH Bridge", MAC: "00:50:56:00:00:02", Slot: 224}}})
	vm.Expect(`stays up for debugging.*neither blank nor ext4`, limit)
	vm.Guest.Wait(t, "failed state", limit, func() bool {
		return strings.HasPrefix(vm.Guest.Keys()[guestinfo.KeyEngineState], "FAILED: appliance: scratch disk")
	})
}

// debugShell runs a command and a shell with a terminal.
func debugShell(t *testing.T, conn net.Conn, ip string, signer ssh.Signer) {
	t.Helper()
	defer conn.Close()
	c, chans, reqs, err := ssh.NewClientConn(conn, ip, &ssh.ClientConfig{User: "root",
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(c, chans, reqs)
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.CombinedOutput("id -u; df /var/lib/vic | grep -c sda; exit 5")
	exit, ok := err.(*ssh.ExitError)
	if !ok || exit.ExitStatus() != 5 || string(out) != "0\n1\n" {
		t.Errorf("command: %q %v", out, err)
	}
	if s, err = client.NewSession(); err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("vt100", 33, 99, nil); err != nil {
		t.Fatal(err)
	}
	in, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	screen, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "tty; exit 6\n"); err != nil {
		t.Fatal(err)
	}
	out, err = io.ReadAll(screen)
	if err != nil || !strings.Contains(string(out), "/dev/pts/") {
		t.Errorf("shell: %q %v", out, err)
	}
	if exit, ok := s.Wait().(*ssh.ExitError); !ok || exit.ExitStatus() != 6 {
		t.Errorf("shell ended with %v", exit)
	}
}
