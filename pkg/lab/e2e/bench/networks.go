package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// boundConnect bounds making a network and connecting a running container to it, by
// the VCH's own clock.
const boundConnect = 150 * time.Millisecond

// api asks the VCH over connections that are kept, without the start of a docker client.
type api struct {
	s      *setup
	client *http.Client
}

func (s *setup) api() api {
	// A lab's certificate is self-signed.
	return api{s, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: execsAtOnce}}}
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

// The routes that are measured, as the VCH's metrics name them.
const (
	routeCreate  = "/networks/create"
	routeConnect = "/networks/{id:.*}/connect"
)

// inVCH gives the time that the VCH has taken so far for requests of a route, from
// their arrival until their answers were written, by its own account. What it costs
// to carry a request there and back, and TLS, is not in it.
func (a api) inVCH(ctx context.Context) (func(route string) time.Duration, error) {
	host, _, _ := strings.Cut(a.s.vch, ":")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(host, "2378")+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics of the VCH: %s", res.Status)
	}
	text, err := io.ReadAll(res.Body)
	return func(route string) time.Duration { return requestTime(string(text), http.MethodPost, route) }, err
}

// requestTime finds the sum for a route in the text of metrics; none yet is 0.
func requestTime(metrics, method, route string) time.Duration {
	prefix := fmt.Sprintf("vic_api_request_seconds_sum{method=%q,route=%q} ", method, route)
	for line := range strings.Lines(metrics) {
		if text, ok := strings.CutPrefix(line, prefix); ok {
			if v, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil {
				return time.Duration(v * float64(time.Second))
			}
		}
	}
	return 0
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
	var client, inside struct{ create, connect, both series }
	for i := range 2*o.runs + 1 {
		before, err := a.inVCH(ctx)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := a.do(ctx, http.MethodPost, "/networks/create", map[string]string{"Name": "bench-net"}, nil); err != nil {
			return err
		}
		made := time.Since(start)
		if err := a.do(ctx, http.MethodPost, "/networks/bench-net/connect", container, nil); err != nil {
			return err
		}
		all := time.Since(start)
		after, err := a.inVCH(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(a.do(ctx, http.MethodPost, "/networks/bench-net/disconnect", container, nil),
			a.do(ctx, http.MethodDelete, "/networks/bench-net", nil, nil)); err != nil {
			return err
		}
		if i > 0 { // the first opens the connection, and loads the guest's filter
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			client.create, client.connect, client.both = append(client.create, ms(made)), append(client.connect, ms(all-made)), append(client.both, ms(all))
			a, b := after(routeCreate)-before(routeCreate), after(routeConnect)-before(routeConnect)
			if a <= 0 || b <= 0 {
				return fmt.Errorf("the VCH counts %v for %s and %v for %s", a, routeCreate, b, routeConnect)
			}
			inside.create, inside.connect, inside.both = append(inside.create, ms(a)), append(inside.connect, ms(b)), append(inside.both, ms(a+b))
		}
	}
	fmt.Fprintf(out, "%s, in ms                 in the VCH                      at the client\n", what)
	fmt.Fprintf(out, "  create                      %-31s %s\n", inside.create, client.create)
	fmt.Fprintf(out, "  connect a running container %-31s %s\n", inside.connect, client.connect)
	fmt.Fprintf(out, "  both                        %-31s %s   %s\n", inside.both, client.both,
		verdict(inside.both.median() <= float64(boundConnect.Milliseconds()), "at most %d ms in the VCH", boundConnect.Milliseconds()))
	return nil
}
