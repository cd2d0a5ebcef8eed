// Package nfstest is an NFSv3 server in user space, for tests: one folder of this
// computer, given out as Export to whoever asks, as the user who runs the test. It is no server to be used otherwise: it checks no credentials.
//
// Start reading at Serve.
package nfstest
