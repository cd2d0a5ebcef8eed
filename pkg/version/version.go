// Package version tells which vic this is. It holds one value, set by the
// linker, and nothing else may set it.
package version

// Version is the release, set at link time by the Makefile.
var Version = "2.0.0-dev"
