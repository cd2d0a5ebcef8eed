package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/spec"
)

// memory is a datastore that can be made to stop at any call.
type memory struct {
	files map[string][]byte
	left  int // calls until it stops; negative: never
}

var errStop = errors.New("the engine was killed")

func (m *memory) call() error {
	if m.left == 0 {
		return errStop
	}
	m.left--
	return nil
}

func (m *memory) Put(_ context.Context, p string, r io.Reader, _ int64) error {
	if err := m.call(); err != nil {
		return err
	}
	b, err := io.ReadAll(r)
	m.files[p] = b
	return err
}

func (m *memory) Get(_ context.Context, p string, _ int64) (io.ReadCloser, int64, error) {
	if err := m.call(); err != nil {
		return nil, 0, err
	}
	b, ok := m.files[p]
	if !ok {
		return nil, 0, errdefs.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (m *memory) List(_ context.Context, dir string) ([]spec.DatastoreEntry, error) {
	var out []spec.DatastoreEntry
	for _, p := range slices.Sorted(maps.Keys(m.files)) {
		if name, ok := strings.CutPrefix(p, dir+"/"); ok {
			out = append(out, spec.DatastoreEntry{Name: name})
		}
	}
	return out, m.call()
}

func (m *memory) Mkdir(context.Context, string) error { return m.call() }

func (m *memory) Move(_ context.Context, from, to string) error {
	if err := m.call(); err != nil {
		return err
	}
	m.files[to] = m.files[from]
	delete(m.files, from)
	return nil
}

func (m *memory) Delete(_ context.Context, p string) error {
	if err := m.call(); err != nil {
		return err
	}
	delete(m.files, p)
	return nil
}

func TestStore(t *testing.T) {
	m := &memory{files: map[string][]byte{}, left: -1}
	s := NewStore(m, "[ds] VIC/u/networks")
	n := spec.Network{
		ID: "b", Name: "net", Driver: "bridge", Subnet: "10.0.0.0/24", Gateway: "10.0.0.1", IPRange: "10.0.0.0/25", Internal: true,
		Reserved: map[string]string{"x": "10.0.0.9"}, Labels: map[string]string{"l": "1"}, Options: map[string]string{"o": "2"}, Created: time.Unix(5, 0).UTC(),
	}
	old := spec.Network{ID: "z", Name: "old", Subnet: "10.1.0.0/24", Created: time.Unix(1, 0).UTC()}
	for _, n := range []spec.Network{n, old} {
		if err := s.Save(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	all, damaged, err := s.Load(t.Context())
	if err != nil || len(damaged) > 0 {
		t.Fatal(damaged, err)
	}
	if d := cmp.Diff([]spec.Network{old, n}, all); d != "" {
		t.Error(d)
	}
	if err := s.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if all, _, _ := s.Load(t.Context()); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

// Killed before any call of a save, a network is there as a whole or not at all.
func TestStoreKilled(t *testing.T) {
	for left := range 4 {
		m := &memory{files: map[string][]byte{}, left: left}
		s := NewStore(m, "[ds] n")
		err := s.Save(t.Context(), spec.Network{ID: "a", Name: "net", Subnet: "10.0.0.0/24"})
		m.left = -1
		all, damaged, lerr := s.Load(t.Context())
		if lerr != nil || len(damaged) != 0 || (err == nil) != (len(all) == 1) || len(m.files) != len(all) {
			t.Errorf("%d calls: save %v, then %d networks, %v, %v, files %q", left, err, len(all), damaged, lerr, slices.Collect(maps.Keys(m.files)))
		}
	}
}

func TestStoreDamaged(t *testing.T) {
	m := &memory{files: map[string][]byte{}, left: -1}
	s := NewStore(m, "d")
	if err := s.Save(t.Context(), spec.Network{ID: "a", Name: "net", Subnet: "10.0.0.0/24"}); err != nil {
		t.Fatal(err)
	}
	whole := m.files["d/a.json"]
	m.files["d/cut.json"] = whole[:len(whole)*2/3]
	m.files["d/empty.json"] = nil
	m.files["d/other.json"] = whole
	m.files["d/newer.json"] = []byte(`{"Version": 99}`)
	m.files["d/README"] = []byte("x")
	all, damaged, err := s.Load(t.Context())
	if err != nil || len(all) != 1 || len(damaged) != 4 {
		t.Fatalf("%+v, %+v, %v", all, damaged, err)
	}
	if d := damaged[0]; d.ID != "cut" || d.Name != "net" || d.Subnet.String() != "10.0.0.0/24" || d.Err == nil {
		t.Errorf("%+v", d)
	}
	if len(m.files) != 6 {
		t.Error("a file was removed")
	}
	st := bridge(t, Config{})
	st.Damaged = damaged[:1]
	if _, err := st.Find("net"); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged network: %v", err)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"Version":1,"Network":{"ID":"a","Name":"n","Subnet":"10.0.0.0/24"}}`))
	f.Add([]byte(`{"Name": "x", "Subnet": "1/"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, d := parseRecord("a", b, nil)
		if (d == nil) != (n.ID == "a") {
			t.Errorf("%+v, %v", n, d)
		}
		if d == nil {
			if _, err := newScope(n); err != nil {
				t.Error(fmt.Errorf("%q: %w", b, err))
			}
		}
	})
}
