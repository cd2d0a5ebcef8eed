package system

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
)

// ResolvConf is the text of /etc/resolv.conf.
func ResolvConf(servers, search, options []string) string {
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}

// HostsConfig is what /etc/hosts says besides localhost.
type HostsConfig struct {
	Hostname, Domainname string
	// Addresses of the host itself, in CIDR or plain form.
	Addresses []string
	// Extra entries are "name:address", as Docker's --add-host; the address
	// "host-gateway" stands for Gateway.
	Extra   []string
	Gateway string
}

// Hosts is the text of /etc/hosts, with the lines and their order as Docker
// writes them.
func Hosts(c HostsConfig) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\n" +
		"ff00::\tip6-mcastprefix\n" +
		"ff02::1\tip6-allnodes\n" +
		"ff02::2\tip6-allrouters\n")
	for _, e := range c.Extra {
		name, addr, ok := strings.Cut(e, ":")
		if !ok {
			continue
		}
		if addr == "host-gateway" {
			addr = c.Gateway
		}
		addr = strings.Trim(addr, "[]")
		if net.ParseIP(addr) != nil {
			fmt.Fprintf(&b, "%s\t%s\n", addr, name)
		}
	}
	names := c.Hostname
	if c.Domainname != "" {
		names = c.Hostname + "." + c.Domainname + " " + c.Hostname
	}
	for _, a := range c.Addresses {
		if a, _, _ = strings.Cut(a, "/"); a != "" && names != "" {
			fmt.Fprintf(&b, "%s\t%s\n", a, names)
		}
	}
	return b.String()
}

// MergeHosts is what /etc/hosts becomes when we would write after and had written
// before, while somebody in the container may have written current: lines that
// were ours go, and those of others stay.
func MergeHosts(current, before, after string) string {
	if current == before {
		return after
	}
	ours := map[string]bool{}
	for l := range strings.Lines(before + after) {
		ours[strings.TrimSuffix(l, "\n")] = true
	}
	var b strings.Builder
	b.WriteString(after)
	for l := range strings.Lines(current) {
		if l = strings.TrimSuffix(l, "\n"); !ours[l] {
			b.WriteString(l + "\n")
		}
	}
	return b.String()
}

// announcement is the frame by which a card says which address it has: an ARP
// request for its own (RFC 5227, section 3), or a neighbour's answer that nobody
// asked for (RFC 4861, section 7.2.6).
func announcement(mac, cidr string) ([]byte, error) {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return nil, fmt.Errorf("%q is not the address of a card", mac)
	}
	text, _, _ := strings.Cut(cidr, "/")
	addr := net.ParseIP(text)
	if addr == nil {
		return nil, fmt.Errorf("%q is not an IP address", cidr)
	}
	ip := addr.To4()
	if ip == nil {
		return advertisement(hw, addr), nil
	}
	return slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []byte(hw), []byte{0x08, 0x06},
		[]byte{0, 1, 0x08, 0, 6, 4, 0, 1}, []byte(hw), []byte(ip), make([]byte, 6), []byte(ip)), nil
}

// advertisement goes to all nodes (ff02::1) and replaces what they know.
func advertisement(hw net.HardwareAddr, ip net.IP) []byte {
	const override = 0x20
	all := net.IP{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	icmp := slices.Concat([]byte{neighbourAnswer, 0, 0, 0, override, 0, 0, 0}, []byte(ip), []byte{2, 1}, []byte(hw))
	// Of the addresses, the length, the protocol and the message (RFC 8200, 8.1).
	binary.BigEndian.PutUint16(icmp[2:], checksum(slices.Concat([]byte(ip), []byte(all), []byte{0, 0, 0, byte(len(icmp)), 0, 0, 0, protoICMP6}, icmp)))
	return slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 1}, []byte(hw), []byte{0x86, 0xdd},
		[]byte{0x60, 0, 0, 0, 0, byte(len(icmp)), protoICMP6, 255}, []byte(ip), []byte(all), icmp)
}

// checksum is the Internet's (RFC 1071), of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// sysctlPath is the file below /proc/sys of a kernel parameter: dots separate,
// and a slash stands for a dot within a name (net.ipv4.conf.eth0/100.forwarding).
func sysctlPath(name string) (string, error) {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		p = strings.ReplaceAll(p, "/", ".")
		if p == "" || p == "." || p == ".." || strings.ContainsRune(p, 0) {
			return "", fmt.Errorf("sysctl %q: not a name of a kernel parameter", name)
		}
		parts[i] = p
	}
	return strings.Join(parts, "/"), nil
}
