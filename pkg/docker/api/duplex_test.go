package api_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/docker/api/types/container"
)

// talkingStore tells of progress before it has read the archive, whose end it finds
// at a mark: what pads it is left.
type talkingStore struct{ *enginetest.Images }

const endOfArchive = '$'

// sentAtOnce is more than the 256 KiB that net/http reads of what a handler leaves.
const sentAtOnce = 1 << 20

func (s talkingStore) LoadArchive(_ context.Context, r io.Reader, o spec.LoadOptions) error {
	o.Progress(spec.Progress{ID: "layer", Status: "Loading layer", Current: 1, Total: 2})
	text, err := bufio.NewReaderSize(r, 16).ReadString(endOfArchive)
	if err != nil {
		return err
	}
	if len(text) != 2*sentAtOnce+1 {
		return fmt.Errorf("%d bytes arrived", len(text))
	}
	o.Loaded(spec.LoadedImage{Image: enginetest.Image("x", "{}"), Names: []string{"late:1"}})
	return nil
}

// TestAnswerWhileBodyIsSent is what buildx does with a result: it sends the rest of
// the archive only as the builder makes it, and reads the answer meanwhile.
func TestAnswerWhileBodyIsSent(t *testing.T) {
	h := serveWith(t, func(c *engine.Config) { c.Images = talkingStore{enginetest.NewImages()} })
	part := bytes.Repeat([]byte("a"), sentAtOnce)
	r, w := io.Pipe()
	sent := make(chan error, 1)
	answered := make(chan struct{})
	go func() {
		defer w.Close()
		for _, p := range [][]byte{part, nil, part, {endOfArchive}, part} {
			if p == nil {
				<-answered
				continue
			}
			if _, err := w.Write(p); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/v1.51/images/load?quiet=0", r)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	first, err := in.ReadString('\n')
	if err != nil || !strings.Contains(first, "Loading layer") {
		t.Fatalf("first line %q %v", first, err)
	}
	close(answered)
	all, err := io.ReadAll(in)
	if err != nil || !strings.Contains(string(all), "Loaded image: late:1") {
		t.Errorf("answer %q %v", all, err)
	}
	if err := <-sent; err != nil {
		t.Errorf("the client's sending: %v", err)
	}
}

// TestBodyWithPadding: a body longer than what it packs is taken whole.
func TestBodyWithPadding(t *testing.T) {
	h := serve(t, false)
	id := h.create("box", container.Config{Image: "busybox"}, nil)
	padding := strings.Repeat("\x00", sentAtOnce)
	for _, c := range []struct {
		req, body string
		code      int
	}{
		{"POST /images/load?quiet=0", `[{"Names":["padded:1"],"Config":"{}"}]`, 200},
		{"POST /images/create?fromSrc=-&repo=bad*name", "", 400},
		{"PUT /containers/" + id + "/archive?path=/nowhere/at/all", "", 404},
	} {
		method, path, _ := strings.Cut(c.req, " ")
		body := &counted{r: strings.NewReader(c.body + padding)}
		req, err := http.NewRequestWithContext(t.Context(), method, h.url+"/v1.51"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Errorf("%s: %v", c.req, err)
			continue
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.code || resp.Close {
			t.Errorf("%s: %d %s %v, connection closed: %t", c.req, resp.StatusCode, answer, err, resp.Close)
		}
		if want := len(c.body) + len(padding); body.n != want {
			t.Errorf("%s: %d of %d bytes were taken", c.req, body.n, want)
		}
	}
}

// counted counts what was read; the transport is through with it when the answer is.
type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
