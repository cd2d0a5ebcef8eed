package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateDoc = flag.Bool("update-doc", false, "write accepted.json's section of docs/compatibility.md")

const (
	scriptsDir = "../testdata/docker"
	docFile    = "../../../../docs/compatibility.md"
)

// TestRecorded holds the API, on a port layer in memory, to what a real dockerd
// answered to the same raw requests: every field that is not in accepted.json is
// the same. `make conformance ARGS=-record` asks dockerd anew.
func TestRecorded(t *testing.T) {
	list := acceptedList(t)
	scripts, err := readScripts(scriptsDir)
	if err != nil {
		t.Fatal(err)
	}
	played := 0
	for _, s := range scripts {
		if !s.rawOnly() {
			continue
		}
		played++
		t.Run(s.name, func(t *testing.T) {
			b, err := os.ReadFile(recordedFile("testdata/dockerd", s.name))
			if errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%v: `make conformance ARGS=-record` writes it", err)
			}
			var want []result
			if err == nil {
				err = json.Unmarshal(b, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			vic, end, err := inMemory(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := end(); err != nil {
					t.Error(err)
				}
			})
			got, err := vic.play(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			sum := tally{met: map[int]bool{}}
			if err := sum.add(s.name, list, want, got); err != nil {
				t.Fatalf("%v: `make conformance ARGS=-record` asks dockerd anew", err)
			}
			for _, d := range sum.different {
				t.Errorf("%s\n\t%s", d.where(), d)
			}
			if sum.same == 0 {
				t.Error("nothing is the same: the comparison is broken")
			}
		})
	}
	if played < 6 {
		t.Errorf("%d scripts of raw requests alone in %s, want 6 or more", played, scriptsDir)
	}
}

// TestAcceptedDoc: docs/compatibility.md shows the list as it is.
func TestAcceptedDoc(t *testing.T) {
	doc, err := os.ReadFile(filepath.FromSlash(docFile))
	if err != nil {
		t.Fatal(err)
	}
	want, err := replaceSection(string(doc), acceptedList(t))
	if err != nil {
		t.Fatal(err)
	}
	if *updateDoc {
		if err := os.WriteFile(docFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(want, string(doc)); d != "" {
		t.Errorf("docs/compatibility.md is not what accepted.json says (-update-doc writes it):\n%s", d)
	}
}

func acceptedList(t *testing.T) []acceptance {
	t.Helper()
	list, err := readAccepted(acceptedJSON)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
