// Package storagetest has a datastore for tests, a folder that behaves like one
// of vSphere's, and the suite that every Datastore must pass.
//
// Start reading at Run and Dir.
package storagetest
