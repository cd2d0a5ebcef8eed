package command

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
)

func TestStatus(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	state, _ := running(t, ctx)
	term, out, errs := terminal(map[string]string{"VIC_LAB_STATE": state})
	if code := Execute(ctx, []string{"status", "-o", "json"}, term); code != 0 {
		t.Fatalf("status: %d %s", code, errs)
	}
	var s status
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if !s.Running || s.Lab.Mode != "esxi" || len(s.Datastores) != 2 || s.Datastores[1].Name != "mydatastore" || s.Datastores[1].Capacity == 0 {
		t.Errorf("status %s", out)
	}
	out.Reset()
	if code := Execute(ctx, []string{"status"}, term); code != 0 || !strings.Contains(out.String(), "mydatastore") {
		t.Errorf("text: %d %s", code, out)
	}
	if code := Execute(ctx, []string{"status", "-o", "xml"}, term); code == 0 {
		t.Error("-o xml is accepted")
	}
	none, out, _ := terminal(map[string]string{"VIC_LAB_STATE": t.TempDir()})
	if code := Execute(ctx, []string{"status", "-o", "json"}, none); code != 0 || !strings.Contains(out.String(), `"running": false`) {
		t.Errorf("no lab: %d %s", code, out)
	}
}
