//go:build !linux

package main

// kernelVersion is not known where vic-engine is only compiled.
func kernelVersion() string { return "" }
