// Package enginetest is a port layer and an image store in memory, for tests
// of the engine and of the API. A container's process is a goroutine with
// pipes (see Program); its stdin, output, signals and terminal size are real
// in every way that the engine can see. It must not be used by the product.
//
// Start reading at New, then Program.
package enginetest
