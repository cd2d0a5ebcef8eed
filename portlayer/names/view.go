package names

import (
	"net/netip"

	"github.com/sirupsen/logrus"
)

// View is what is known on one network.
type View struct {
	// Network is its name: "web" is also found as "web.<Network>".
	Network string
	// Listen is the gateway address that is asked. A network with two (IPv4 and
	// IPv6) has two views with the same records.
	Listen netip.Addr
	// Subnet is where askers come from; others are refused.
	Subnet netip.Prefix
	// Internal networks have no way out, neither have their questions.
	Internal bool
	// Search are domains that are taken off a name before it is looked for, as
	// a resolver puts them on. May be empty.
	Search  []string
	Records []Record
}

// Record is one container on a network, or one link to it.
type Record struct {
	// Owner is the container's id. Records with the same owner in several views
	// make one asker of its addresses.
	Owner string
	// For, not empty, is the id of the one container that sees this record: a
	// link. Addrs are then the target's, and Owner may be empty.
	For string
	// Names are all without a trailing dot and of any case: name, 12 digits of
	// the id, host name if it is to be found, aliases.
	Names []string
	Addrs []netip.Addr
	// PTR is the answer to a reverse question for Addrs: "web.frontend". Empty:
	// there is none.
	PTR string
}

// Config of a server.
type Config struct {
	// Upstreams gives the servers that other questions go to, "192.0.2.53" or
	// "192.0.2.53:53", in the order they are tried. It is called for each
	// question. Nil, or nothing in it: such questions fail.
	Upstreams func() []string
	// Port to listen on; 0 is 53. Tests that want any free port use AnyPort.
	Port int
	Log  *logrus.Entry
}

// AnyPort as Config.Port lets the system choose a port for each address.
const AnyPort = -1

// Stats counts what a server did since it was made.
type Stats struct {
	Questions uint64 // taken
	Local     uint64 // answered from the views
	Cached    uint64 // answered from the cache
	Forwarded uint64 // asked of an upstream
	Failed    uint64 // forwarded without an answer, or not for a limit
	Refused   uint64 // from outside the network
}
