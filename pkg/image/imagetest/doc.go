// Package imagetest has a registry for tests, real but able to misbehave, and
// makes images for it.
//
// Start reading at Start.
package imagetest
