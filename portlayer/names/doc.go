// Package names is the VCH's DNS server for containers: on port 53 of every
// bridge network's gateway address it turns names of containers into their
// addresses, and passes on what it does not know.
//
// What it knows is given to it whole, as one View per network, and kept nowhere.
// The network is the one whose gateway was asked; the container that asks is
// known by its source address, so that it also sees the other networks it is on
// and the links that only it has. Who is not of the network gets REFUSED.
//
// As in Docker: records live 600 seconds; a name without an IPv6 address has an
// empty answer for AAAA; a name of one label that no container has is forwarded
// like any other, since the appliance's own domain may know it; "name.network"
// is a name too; and what is forwarded goes to the appliance's servers, never
// to one that a container chose. A container whose networks are all internal
// gets SERVFAIL for everything that is not a container: nothing of it may leave,
// not even in a question.
//
// Unlike Docker, a reverse question for an address of a network of the asker is
// answered here also when nobody has the address.
//
// The package knows no vSphere and makes no address: who calls Set has put the
// gateway addresses on the NIC, or Run tries again until they are there.
//
// Start reading at View and answer.
package names
