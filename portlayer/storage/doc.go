// Package storage keeps images and volumes on datastores. Of images: manifests, configurations and
// compressed layers by digest, one flattened read-only disk per image, and the
// blank read-write disks that containers' disks are copied from.
//
// Everything it knows is on the datastore. At start it lists the image store's
// folder and has the whole state again; nothing is kept on the appliance but
// files being worked on, on its scratch disk.
//
// It must not know of containers or VMs (who uses an image is the engine's
// business) and must not import govmomi: it reaches the datastore through the
// Datastore interface declared here.
//
// Volumes are disks of their own, in stores that may be on other datastores and
// outlive the VCH; docs/volumes.md says what users may expect of them.
//
// docs/images.md says what users may expect of images: Pull, Put, LoadArchive,
// SaveArchive and Push bring them in and out.
//
// Start reading at Images, Volumes and Datastore.
package storage
