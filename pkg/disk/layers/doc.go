// Package layers joins the layers of an image, as tar streams, into the one
// tree of files that a container sees, and writes that tree as one tar stream.
//
// It reads every layer twice, headers first and contents later, and keeps only
// headers in memory. Layers come from registries and may be hostile: every
// name is resolved inside the tree, and how much memory a set of headers may
// take is bounded. It touches no filesystem and needs no privilege.
//
// What decides in each case is the OCI image specification ("Image Layer
// Filesystem Changeset") and, where that is silent, what Docker does.
//
// Start reading at Merge.
package layers
