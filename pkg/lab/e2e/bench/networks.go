package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// boundConnect bounds making a network and connecting a running container to it.
const boundConnect = 150 * time.Millisecond

// api is one connection to the VCH, without the start of a docker client.
type api struct {
	s      *setup
	client *http.Client
}

func (s *setup) api() api {
	// A lab's certificate is self-signed.
	return api{s, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
}

func (a api) close() { a.client.CloseIdleConnections() }

// do is a request of the Docker API; body and answer are JSON, or nil.
func (a api) do(ctx context.Context, method, path string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+a.s.vch+"/v1.51"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: the VCH answers %s: %s", method, path, res.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// connectTime makes a network and connects a running container to it, and takes
// both back: as the first network besides the default one, from which on guests
// filter, and as a further one.
func connectTime(ctx context.Context, s *setup, o options, out io.Writer) (err error) {
	if _, err := s.docker(ctx, "run", "-d", "--name", "bench-connect", "busybox", "sleep", "100000"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove(ctx, "bench-connect")) }()
	a := s.api()
	defer a.close()
	if err := connects(ctx, a, o, out, "the first network besides the default one"); err != nil {
		return err
	}
	if err := a.do(ctx, http.MethodPost, "/networks/create", map[string]string{"Name": "bench-keep"}, nil); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, a.do(context.WithoutCancel(ctx), http.MethodDelete, "/networks/bench-keep", nil, nil))
	}()
	return connects(ctx, a, o, out, "a further network")
}

func connects(ctx context.Context, a api, o options, out io.Writer, what string) error {
	container := map[string]string{"Container": "bench-connect"}
	var create, connect, both series
	for i := range 2*o.runs + 1 {
		start := time.Now()
		if err := a.do(ctx, http.MethodPost, "/networks/create", map[string]string{"Name": "bench-net"}, nil); err != nil {
			return err
		}
		made := time.Since(start)
		if err := a.do(ctx, http.MethodPost, "/networks/bench-net/connect", container, nil); err != nil {
			return err
		}
		all := time.Since(start)
		if err := errors.Join(a.do(ctx, http.MethodPost, "/networks/bench-net/disconnect", container, nil),
			a.do(ctx, http.MethodDelete, "/networks/bench-net", nil, nil)); err != nil {
			return err
		}
		if i > 0 { // the first opens the connection, and loads the guest's filter
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			create, connect, both = append(create, ms(made)), append(connect, ms(all-made)), append(both, ms(all))
		}
	}
	fmt.Fprintf(out, "%s\n  create                         %s ms\n  connect a running container    %s ms\n  both                           %s ms   %s\n", what, create, connect, both,
		verdict(both.median() <= float64(boundConnect.Milliseconds()), "at most %d ms", boundConnect.Milliseconds()))
	return nil
}
