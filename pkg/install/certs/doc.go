// Package certs makes and reads the certificates of a VCH's TLS endpoint. It
// only turns values into PEM and back; which files they go to is decided by
// its caller.
//
// Start reading at SelfSigned and NewAuthority.
package certs
