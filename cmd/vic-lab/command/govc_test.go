package command

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
)

func TestGovc(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	state, _ := running(t, ctx)
	// govc writes to this process's stdout and reads its environment.
	for _, k := range []string{"GOVC_URL", "GOVC_USERNAME", "GOVC_PASSWORD", "GOVC_TLS_KNOWN_HOSTS", "GOVC_PERSIST_SESSION", "GOVC_DATASTORE"} {
		t.Setenv(k, "")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	term, _, errs := terminal(map[string]string{"VIC_LAB_STATE": state})
	code := Execute(ctx, []string{"govc", "ls", "/ha-datacenter/datastore"}, term)
	os.Stdout = stdout
	_ = w.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 || !strings.Contains(string(out), "/ha-datacenter/datastore/mydatastore") {
		t.Errorf("govc: %d %q %s", code, out, errs)
	}
	none, _, errs := terminal(map[string]string{"VIC_LAB_STATE": t.TempDir()})
	if code := Execute(ctx, []string{"govc", "about"}, none); code == 0 || !strings.Contains(errs.String(), "no lab runs") {
		t.Errorf("no lab: %d %s", code, errs)
	}
}
