// Package nfs is what vic knows of NFS: how a share is named (Share), the options
// that a guest's kernel mounts it with, and a small NFSv3 client in user space
// that makes and removes the folders of volumes.
//
// The client is for few and small files. It is not a mount: the appliance's kernel
// never parses what a server sends, a server that hangs holds up one request until
// its context ends and no process in the kernel, and no privileges are needed but
// a low port. It speaks NFSv3 with MOUNTv3 over TCP (RFC 1813, RFC 5531),
// which every server has; locks are not used.
//
// Start reading at share.go and client.go; rpc.go and xdr.go are the wire.
package nfs
