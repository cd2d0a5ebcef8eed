// Package buildkit is a module of its own that pins what the lab's image
// moby/buildkit is built from: buildkitd and buildctl, and runc. Nothing imports
// it; .ci/buildkit builds the programs. The product itself needs BuildKit's
// protocol alone, of the version in the main go.mod.
//
// Start reading at programs.go.
package buildkit
