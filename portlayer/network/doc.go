// Package network decides which networks there are, which addresses and host
// ports containers have on them, and what follows from that for the appliance
// and for guests.
//
// All bridge networks share one port group. The appliance is their router: its
// NIC there has every network's gateway address, and its packet filter lets
// nothing pass between networks, nothing out of internal ones, and in from
// outside only to published ports, by IPv6 as by IPv4. As the networks share a
// wire, each guest hears only its peers and the router once there is more than one
// network.
//
// Container networks (external.go) are port groups that the appliance is not on:
// here they have addresses and cards, and neither routes, ports nor names.
//
// Everything but Store, Place and ListenARP is a pure function of State, a value,
// and of the containers: rules, forwards, flows that they end, peers, names,
// addresses that somebody else claims. Networks are kept as files of
// the image datastore; addresses, MAC addresses and ports nowhere but in the
// containers' own configuration, from which they are taken again at a restart. It
// makes no NIC and no port group, and runs no program.
//
// Start reading at State, Create and Allocate; then Rules for the router, which
// nat_linux.go gives to the kernel, and Update for the guests.
package network
