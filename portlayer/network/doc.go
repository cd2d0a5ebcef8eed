// Package network decides which addresses containers have and gives the
// appliance its place on the bridge network: its gateway address, forwarding
// and masquerading to the external network.
//
// Addresses are a pure function of what is leased; leases are kept nowhere but
// in the containers' own configuration, from which they are taken again at a
// restart. It makes no NIC and no port group, and runs no program.
//
// Start reading at State and Allocate; the appliance's part is in nat_linux.go.
package network
