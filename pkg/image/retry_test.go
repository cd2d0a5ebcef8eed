package image

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 120 ": 2 * time.Minute, "-3": 0, "soon": 0, "0": 0, "99999999999999": 365 * 24 * time.Hour,
		"Fri, 01 May 2026 12:01:30 GMT": 90 * time.Second, "Fri, 01 May 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("7")
	f.Add("Fri, 01 May 2026 12:01:30 GMT")
	f.Fuzz(func(t *testing.T, header string) {
		if d := retryAfter(header, time.Unix(0, 0)); d < 0 {
			t.Error(d)
		}
	})
}

// TestBusyRegistry: one that has too much to do is asked again when it says, whatever
// the request was; one that wants to be left alone for long is not asked in vain, and
// the user is told how long.
func TestBusyRegistry(t *testing.T) {
	const manifest = `{"manifests":[]}`
	for name, c := range map[string]struct {
		path   string // of what is refused
		status int
		after  string
		times  int // that it is refused
		asked  int // requests for it
		is     func(error) bool
		text   string
	}{
		"ping":       {"/v2/", 503, "", 2, 3, errdefs.IsNotFound, "no matching manifest"},
		"manifest":   {"/v2/a/manifests/latest", 429, "1", 1, 2, errdefs.IsNotFound, "no matching manifest"},
		"for long":   {"/v2/a/manifests/latest", 429, "3600", 9, 1, errdefs.IsResourceExhausted, "toomanyrequests (it wants to be asked again in 1h0m0s)"},
		"overloaded": {"/v2/a/manifests/latest", 503, "7200", 9, 1, errdefs.IsUnavailable, "503 Service Unavailable (it wants to be asked again in 2h0m0s)"},
		"for good":   {"/v2/", 403, "", 9, 1, errdefs.IsNotFound, "pull access denied"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == c.path {
					if asked++; asked <= c.times {
						if c.after != "" {
							w.Header().Set("Retry-After", c.after)
						}
						w.WriteHeader(c.status)
						return
					}
				}
				w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
				_, _ = io.WriteString(w, manifest)
			}))
			defer srv.Close()
			log := logrus.New()
			log.SetOutput(io.Discard)
			client, err := NewClient(ClientConfig{Log: logrus.NewEntry(log), Backoff: func(int) time.Duration { return 0 }})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ref, err := ParseReference(strings.TrimPrefix(srv.URL, "http://") + "/a")
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = client.Resolve(context.Background(), ref, "", Auth{})
			if !c.is(err) || !strings.Contains(err.Error(), c.text) || asked != c.asked {
				t.Errorf("asked %d times: %v", asked, err)
			}
			if c.after == "1" && time.Since(began) < time.Second {
				t.Errorf("asked again after %s", time.Since(began))
			}
		})
	}
}

// TestConnectAsksOthers: a mirror that is busy is passed over, and what cannot be
// reached is not tried again.
func TestConnectAsksOthers(t *testing.T) {
	pings := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		pings++
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	log := logrus.New()
	log.SetOutput(io.Discard)
	client, err := NewClient(ClientConfig{Log: logrus.NewEntry(log), Mirrors: []string{srv.URL}, Backoff: func(int) time.Duration {
		t.Error("it waits")
		return 0
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	e, err := client.endpoint(strings.TrimPrefix(srv.URL, "http://"), "a", true, Auth{})
	if err != nil {
		t.Fatal(err)
	}
	e.mirror = true
	if err := client.connect(context.Background(), e); err == nil || errors.Is(err, errFinal) || pings != 1 {
		t.Errorf("%d pings: %v", pings, err)
	}
	srv.Close()
	if e, err = client.endpoint(strings.TrimPrefix(srv.URL, "http://"), "a", true, Auth{}); err != nil {
		t.Fatal(err)
	}
	if err := client.connect(context.Background(), e); err == nil || errors.Is(err, errFinal) {
		t.Errorf("one that is gone: %v", err)
	}
}

func TestRetrying(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "", 250 * time.Millisecond: "", time.Second: "Retrying in 1 second", 7600 * time.Millisecond: "Retrying in 8 seconds"} {
		if got := retrying(d); got != want {
			t.Errorf("%s: %q", d, got)
		}
	}
}
