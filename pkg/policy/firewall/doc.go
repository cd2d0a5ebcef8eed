// Package firewall has the rules of policies in the terms of nftables: a table of
// its own, the same in a guest, which judges what it sends and hears, and in a
// router, which judges what passes through it. The ruleset is made by a pure
// function; the kernel's side is a thin shell around it.
//
// It must not know containers or labels: it gets addresses.
//
// Start reading at New.
package firewall
