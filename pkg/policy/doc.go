// Package policy is microsegmentation: rules between groups of containers that
// are chosen by label. It reads rules (network labels, policy files), resolves
// groups to addresses as containers come and go, and says which rule decides on a
// packet. All of it is pure; package firewall below it has the terms of nftables
// and the kernel.
//
// A rule is a line of text:
//
//	[PRIORITY] allow|deny PROTOCOL[/PORTS] from GROUP to GROUP
//
//	PRIORITY  0 to 65535, the smaller is asked first; 1000 when there is none
//	PROTOCOL  tcp, udp, icmp, any; PORTS of the destination go with tcp and udp:
//	          80  or  80,443,8000-8999
//	GROUP     any, or label selectors, all of which hold: tier=frontend  or
//	          tier=frontend,app  (key=value, or a key with any value)
//
// The first rule that matches a connection decides; what none matches is allowed.
// A connection is judged as a whole, by its beginning: answers pass with it.
//
// docs/networks.md tells users of it. Start reading at Parse and Set.For.
package policy
