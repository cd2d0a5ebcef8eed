package image

import "strings"

// isForeign tells whether a layer of this media type is not kept by registries
// but fetched from the addresses in the manifest, and must not be pushed.
func isForeign(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.foreign.") ||
		strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.")
}
