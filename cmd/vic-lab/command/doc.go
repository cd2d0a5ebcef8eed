// Package command holds the verbs of vic-lab, one file each: up starts the lab in
// a process of its own (daemon.go), which assembles it (assemble.go); status, env
// and down find that process through the state directory.
//
// Start reading at Root, then up.go.
package command
