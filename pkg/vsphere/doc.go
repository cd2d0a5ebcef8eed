// Package vsphere is the project's only shell around govmomi: one session that
// checks the server's certificate against a pinned thumbprint, stays alive and
// logs in again when it is lost; waiting for tasks; vSphere's faults as classes
// of containerd/errdefs; a datastore's files and disks; and the feed of events
// that tells which VM changed.
//
// It knows nothing of containers, images or VCHs, keeps no inventory of its
// own, never watches a view over many objects (its cost grows with each of
// them) and never puts a password into an error or a log.
//
// Start reading at Dial, then Classify, Datastore and Watch.
package vsphere
