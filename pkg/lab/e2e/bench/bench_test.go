package main

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestChosen(t *testing.T) {
	all, err := chosen(nil)
	if err != nil || len(all) != len(sections()) {
		t.Errorf("%d sections, %v", len(all), err)
	}
	some, err := chosen([]string{"volume", "run"})
	if err != nil || len(some) != 2 || some[0].name != "run" || some[1].name != "volume" {
		t.Errorf("%v, %v", some, err)
	}
	if _, err := chosen([]string{"run", "speed"}); err == nil || !strings.Contains(err.Error(), `"speed"`) || !strings.Contains(err.Error(), "bridge,outside") {
		t.Errorf("unknown section: %v", err)
	}
}

func TestSeries(t *testing.T) {
	if s := (series{3, 1, 2}); s.median() != 2 || s.String() != "2.00 (1.00-3.00, n=3)" {
		t.Errorf("%v", s)
	}
	if s := (series{4, 1, 2, 3}); s.median() != 2.5 {
		t.Errorf("%v", s.median())
	}
	if s := (series{}); s.median() != 0 || s.String() != "none" {
		t.Errorf("%v", s)
	}
}

func TestQuantile(t *testing.T) {
	s := series{10, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for q, want := range map[float64]float64{0: 1, 0.1: 1, 0.5: 5, 0.9: 9, 0.91: 10, 1: 10} {
		if got := s.quantile(q); got != want {
			t.Errorf("%v of %v: %v, want %v", q, s, got, want)
		}
	}
	if got := (series{}).quantile(0.9); got != 0 {
		t.Errorf("of none: %v", got)
	}
}

func TestRates(t *testing.T) {
	if r, err := rate("12.500 MB/s\n", nil); err != nil || r != 12.5 {
		t.Errorf("%v, %v", r, err)
	}
	for _, bad := range []string{"", "fast", "0.000 MB/s", "-1 MB/s"} {
		if r, err := rate(bad, nil); err == nil {
			t.Errorf("%q is %v", bad, r)
		}
	}
	const said = "fio: a note\n" + `{"fio version": "fio-3.33", "jobs": [{"jobname": "bench", "read": {"bw_bytes": 0}, "write": {"bw_bytes": 12500000}}]}` + "\n"
	if r, err := fioRate(said); err != nil || r != 12.5 {
		t.Errorf("%v, %v", r, err)
	}
	for _, bad := range []string{"", "fio: no such file", `{"jobs": []}`, `{"jobs": [{"read": {"bw_bytes": 0}}]}`, `{"jobs": [`} {
		if r, err := fioRate(bad); err == nil {
			t.Errorf("%q is %v", bad, r)
		}
	}
}

func TestFio(t *testing.T) {
	if a := fio("write", "1m", 0); slices.Contains(a, "--time_based") || !slices.Contains(a, "--direct=1") {
		t.Errorf("%q", a)
	}
	if a := fio("read", "4k", 2*time.Second); !slices.Contains(a, "--runtime=2") || !slices.Contains(a, "--bs=4k") {
		t.Errorf("%q", a)
	}
}

func TestLibraryPackages(t *testing.T) {
	const text = "fio\n  Depends: libaio1\n |Depends: <libc6>\nlibaio1\nlibc6:any\npython3\nzlib1g\nlibaio1\n<debconf-2.0>\n"
	if got := libraryPackages(text, []string{"fio"}); !slices.Equal(got, []string{"fio", "libaio1", "zlib1g"}) {
		t.Errorf("%q", got)
	}
}

func TestReadOf(t *testing.T) {
	a, b := fstest.MapFS{"lib/x": {Data: []byte("a")}}, fstest.MapFS{"usr/lib/y": {Data: []byte("b")}, "lib/x": {Data: []byte("b")}}
	trees := []fs.FS{a, b}
	if got, err := readOf(trees, "lib/y", "usr/lib/y"); err != nil || string(got) != "b" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := readOf(trees, "lib/x"); err != nil || string(got) != "a" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := readOf(trees, "lib/z", "usr/lib/z"); err == nil || !strings.Contains(err.Error(), "lib/z or usr/lib/z") {
		t.Errorf("%v", err)
	}
}

// What bare VMs boot is what containers boot, without what is ours.
func TestBareManifest(t *testing.T) {
	m := bareManifest()
	for _, f := range m.Files {
		if f.Program != "" {
			t.Errorf("%s is ours", f.Path)
		}
	}
	for _, x := range m.Modules {
		if strings.HasPrefix(x.Name, "nf") && x.Demand == "" {
			t.Errorf("%s is loaded without being asked for", x.Name)
		}
	}
}

func TestRequestTime(t *testing.T) {
	const metrics = `# TYPE vic_api_request_seconds summary
vic_api_request_seconds_sum{method="POST",route="/networks/create"} 0.0625
vic_api_request_seconds_count{method="POST",route="/networks/create"} 2
vic_api_request_seconds_sum{method="POST",route="/networks/{id:.*}/connect"} 1.5e-01
vic_api_request_seconds_sum{method="GET",route="/networks/create"} nonsense
`
	for _, tc := range []struct {
		method, route string
		want          time.Duration
	}{
		{"POST", routeCreate, 62500 * time.Microsecond}, {"POST", routeConnect, 150 * time.Millisecond}, {"GET", routeCreate, 0}, {"DELETE", routeConnect, 0},
	} {
		if got := requestTime(metrics, tc.method, tc.route); got != tc.want {
			t.Errorf("%s %s: %v", tc.method, tc.route, got)
		}
	}
}
