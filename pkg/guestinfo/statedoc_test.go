package guestinfo

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateDoc = flag.Bool("update-doc", false, "rewrite the table of keys in docs/state.md")

// TestStateDoc holds the table of keys in docs/state.md to the code.
func TestStateDoc(t *testing.T) {
	const open, end = "<!-- keys -->\n", "<!-- /keys -->"
	name := filepath.Join("..", "..", "docs", "state.md")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), open)
	have, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %s…%s", name, strings.TrimSpace(open), end)
	}
	want := keyTable()
	if *updateDoc {
		if err := os.WriteFile(name, []byte(head+open+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("docs/state.md is not what the code says (run this test with -update-doc):\n%s", d)
	}
}

func keyTable() string {
	var b strings.Builder
	b.WriteString("| key | of | type | writer | meaning |\n|---|---|---|---|---|\n")
	for _, k := range Keys() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", strings.ReplaceAll(k.Key, "|", `\|`), k.VM, k.Type, k.Writer, k.Doc)
	}
	return b.String()
}
