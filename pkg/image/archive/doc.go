// Package archive reads and writes archives of images: those of `docker save`
// (manifest.json) and OCI layouts (index.json). What is written is both at once,
// as Docker writes since 25.0: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
//
// It reads an archive from a stream once, whatever the order of its files is,
// and keeps their contents in one file that the caller gives; no name in an
// archive ever becomes a path. It knows nothing of stores: what images are made
// of an archive is the business of portlayer/storage.
//
// Start reading at Read and Write.
package archive
