package storage_test

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPruneWhilePulling: an image that has come but has no name yet is in the eyes of
// a prune one that nobody wants. It stays, as it gets its name.
func TestPruneWhilePulling(t *testing.T) {
	d := newDocker(t)
	ref := d.push("app", []string{"a=1"})
	pruned := make(chan string, 1)
	prune := sync.OnceFunc(func() {
		go func() {
			code, body := d.do("POST", "/images/prune", nil)
			if code != 200 {
				t.Errorf("%d %s", code, body)
			}
			pruned <- body
		}()
		select {
		case body := <-pruned: // it does not wait for the pull
			pruned <- body
		case <-time.After(100 * time.Millisecond): // it does
		}
	})
	d.ds.Before = func(_ context.Context, op, path string) error {
		if op == "Move" && len(d.List()) == 1 { // the list of names comes to its place
			prune()
		}
		return nil
	}
	d.want("pull", d.stream("POST", "/images/create?fromImage="+url.QueryEscape(ref), nil), "Downloaded newer image")
	if body := <-pruned; strings.Contains(body, "Deleted\":\"") {
		t.Errorf("pruned: %s", body)
	}
	d.ds.Before = nil
	img, err := d.Resolve(ref)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.file(img.ID, "a"); got != "1" {
		t.Errorf("%q", got)
	}
}
