//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vic-engine/vic/pkg/nfs/nfstest"
)

// startNFS starts an NFS server on this computer, and gives the volume store that
// it is for VCHs: the lab's name for this computer is registry.lab.test.
func (f *fixture) startNFS(t *testing.T) string {
	t.Helper()
	f.nfsDir = t.TempDir()
	s, err := nfstest.Serve(f.nfsDir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.nfs, f.nfsPort = s, s.Port()
	t.Cleanup(func() {
		if f.nfs != nil {
			_ = f.nfs.Close()
		}
	})
	return fmt.Sprintf("nfs://registry.lab.test%s?uid=%d&gid=%d&port=%d:nfs", nfstest.Export, os.Getuid(), os.Getgid(), f.nfsPort)
}

// nfsServer is the command `nfs stop` or `nfs start`.
func (f *fixture) nfsServer(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case !neg && len(args) == 1 && args[0] == "stop" && f.nfs != nil:
		ts.Check(f.nfs.Close())
		f.nfs = nil
	case !neg && len(args) == 1 && args[0] == "start" && f.nfs == nil:
		s, err := nfstest.Serve(f.nfsDir, fmt.Sprintf("127.0.0.1:%d", f.nfsPort))
		ts.Check(err)
		f.nfs = s
	default:
		ts.Fatalf("usage: nfs stop|start, one after the other")
	}
}
