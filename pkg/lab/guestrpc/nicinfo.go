package guestrpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// nicInfo is what the lab keeps of a guest's NIC list.
type nicInfo struct {
	nics     []machine.GuestNIC
	hostname string
}

// Bounds of the list, from open-vm-tools' nicinfo.x.
const (
	maxNICs  = 16
	maxAddrs = 2048
)

var errShort = errors.New("list ends too early")

// decodeNICInfo reads the XDR form (RFC 4506) of open-vm-tools' GuestNicProto,
// version 3. A reader of its own, since the guest chooses the lengths: nothing is
// allocated that the data does not cover.
func decodeNICInfo(data []byte) (nicInfo, error) {
	x := &xdr{b: data}
	if v := x.uint(); x.err == nil && v != 3 {
		return nicInfo{}, fmt.Errorf("version %d of the NIC list", v)
	}
	var info nicInfo
	if !x.present() {
		return info, x.err
	}
	for range x.count(maxNICs) {
		info.nics = append(info.nics, x.nic())
	}
	for range x.count(maxAddrs) { // routes
		x.typedAddress()
		x.uint()
		if x.present() {
			x.typedAddress()
		}
		x.uint()
		x.uint()
		x.uint()
	}
	info.hostname = x.settings()
	return info, x.err
}

// xdr is a cursor; after the first error every read gives zero.
type xdr struct {
	b   []byte
	err error
}

func (x *xdr) fail(err error) {
	if x.err == nil {
		x.err = err
	}
	x.b = nil
}

func (x *xdr) uint() uint32 {
	if len(x.b) < 4 {
		x.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint32(x.b)
	x.b = x.b[4:]
	return v
}

func (x *xdr) present() bool { return x.uint() != 0 }

// count reads an array's length; each element takes at least 4 bytes.
func (x *xdr) count(most uint32) uint32 {
	n := x.uint()
	if n > most || int(n) > len(x.b)/4 {
		x.fail(fmt.Errorf("list of %d entries: %w", n, errShort))
		return 0
	}
	return n
}

func (x *xdr) bytes() []byte {
	n := x.uint()
	padded := (uint64(n) + 3) &^ 3
	if padded > uint64(len(x.b)) {
		x.fail(errShort)
		return nil
	}
	v := x.b[:n]
	x.b = x.b[padded:]
	return v
}

func (x *xdr) typedAddress() netip.Addr {
	x.uint() // the length tells the family as well
	a, _ := netip.AddrFromSlice(x.bytes())
	return a
}

func (x *xdr) nic() machine.GuestNIC {
	n := machine.GuestNIC{MAC: string(x.bytes())}
	if mac, err := net.ParseMAC(n.MAC); err == nil {
		n.MAC = mac.String()
	} else {
		x.fail(errors.New("NIC without a MAC address"))
	}
	for range x.count(maxAddrs) {
		a := x.typedAddress()
		bits := x.uint()
		for range 2 { // origin, status
			if x.present() {
				x.uint()
			}
		}
		if p := netip.PrefixFrom(a, int(min(bits, 1024))); p.IsValid() {
			n.Addresses = append(n.Addresses, p.String())
		}
	}
	x.settings()
	return n
}

// settings reads what follows a NIC as well as the whole list.
func (x *xdr) settings() (hostname string) {
	if x.present() {
		hostname = x.dns()
	}
	if x.present() { // WINS
		x.typedAddress()
		x.typedAddress()
	}
	for range 2 { // DHCPv4, DHCPv6
		if x.present() {
			x.uint()
			x.bytes()
		}
	}
	return hostname
}

// dns reads a resolver's settings and returns the host's name.
func (x *xdr) dns() (hostname string) {
	if x.present() {
		hostname = string(x.bytes())
	}
	if x.present() {
		x.bytes() // domain
	}
	for range x.count(maxAddrs) {
		x.typedAddress()
	}
	if x.present() {
		x.bytes() // search list
	}
	return hostname
}
