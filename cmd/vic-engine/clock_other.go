//go:build !linux

package main

import "github.com/vic-engine/vic/portlayer"

// systemClock is none where vic-engine is only compiled.
func systemClock() portlayer.Clock { return nil }
