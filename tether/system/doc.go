// Package system is every system call of PID 1 in a VM of ours: mounts, kernel
// modules, disks by SCSI address, network links and their packet filter, DHCP,
// host files, sysctls, power. Each function does one thing and says in its error what it was doing
// to what. It must not know containers, guestinfo or the order of the boot:
// that is package tether's.
//
// What is not a system call (the texts of resolv.conf and hosts, the parsing of
// kernel files) is in files without _linux and tested as tables.
//
// Start reading at mounts_linux.go; the packet filter of bridge
// networks is filter.go, that of container networks trust.go.
package system
