// Package image brings images from registries and to them: it reads references, chooses
// the platform, and fetches manifests, configurations and layers, each verified
// by its digest. It also reads what an image configuration says.
//
// It keeps nothing: where blobs stay, which are there already, and what is made
// of them is the image store's business (portlayer/storage). Errors say what
// Docker says, as classes of containerd/errdefs. Credentials are sent to the
// registry that they are for and never to a mirror; they are in no error and
// no log.
//
// Start reading at Client.Resolve, Remote.Download and Client.Push.
package image
