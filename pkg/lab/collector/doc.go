// Package collector is a property collector for govmomi's simulator that reads
// a task only while the task is locked.
//
// The simulator's own answers a client which waits for a task's whole "info"
// by reading the task when a part of it, "info.state", has changed. It does so
// without the task's lock, while the task's goroutine may be writing: the race
// detector sees it, and a client can get a state of one moment with the result
// of another.
//
// It keeps changes of objects from collectors that have no filter for them. The
// simulator's own wakes at every change of anything, and then collects, copies and
// compares all that its filters are for: with a few clients that wait, most of the
// computer's time.
//
// It also ends every wait of a collector that is destroyed, and keeps the
// devices of a reconfiguration apart from those of its event, and the summary of a
// resource pool apart from that of every other pool of the process, and has collectors
// of past events and tasks come and go under their managers' locks.
//
// What it must not do: show clients anything but what the simulator would.
//
// Start reading at Collector.
package collector
