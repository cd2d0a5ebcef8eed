// Package images builds the lab's OCI images, without docker and byte for byte
// the same from the same inputs.
//
//	imgs, err := images.Build(ctx, images.Config{Dir: cacheDir, Log: log})
//	// "library/hello-world:latest", "library/busybox:latest", "library/web:latest"
//
// The programs inside are static: hello, web and reaper are Go sources in this module,
// compiled by the go command unless Config.Programs names binaries made before;
// busybox is Debian's busybox-static. Results are kept in Dir under a hash of
// their inputs, so a second Build only reads.
//
// It must not push or serve: package registry does.
//
// Start reading at build.go.
package images
