// Package events keeps what is in memory true to vSphere, and tells who wants
// to know what changed.
//
// There is one reconciler. It subscribes to the events of the VMs' folder, then
// reads everything, then follows changes one VM at a time; it reads everything
// again after the feed was lost and every few minutes. Events are hints: what a
// container is, is decided by whoever reads its VM (portlayer/exec), not here.
// It must not know what a container is made of.
//
// Start reading at Reconciler.Run; Bus is the publishing side.
package events
