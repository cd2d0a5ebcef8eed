package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// boundExec bounds an exec without a terminal, from its creation until its stream
// has ended and its exit code is known.
const boundExec = 60 * time.Millisecond

// execsAtOnce is how many are run side by side.
const execsAtOnce = 20

// The routes of an exec, as the VCH's metrics name them.
const (
	routeExecCreate = "/containers/{name:.*}/exec"
	routeExecStart  = "/exec/{name:.*}/start"
)

// execTime runs execs in a running container over connections that are there
// already, and beside each what an exec is made of: a call over the line that
// starts nothing, and the start of a program as the guest's own shell does it.
func execTime(ctx context.Context, s *setup, o options, out io.Writer) (err error) {
	if _, err := s.docker(ctx, "run", "-d", "--name", "bench-exec", "busybox", "sleep", "100000"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove(ctx, "bench-exec")) }()
	a := s.api()
	defer a.close()
	var client, inside, start, line, forks, ratio series
	for i := range 8*o.runs + 2 {
		before, err := a.inVCH(ctx)
		if err != nil {
			return err
		}
		took, err := a.exec(ctx, "bench-exec", "echo", "hello")
		if err != nil {
			return err
		}
		after, err := a.inVCHAfter(ctx, routeExecStart, before)
		if err != nil {
			return err
		}
		empty := time.Now()
		if err := a.do(ctx, http.MethodPost, "/containers/bench-exec/kill?signal=WINCH", nil, nil); err != nil {
			return err
		}
		call := time.Since(empty)
		fork, err := a.forkTime(ctx)
		if err != nil {
			return err
		}
		if i < 2 { // these open connections and read files that are read again
			continue
		}
		vch := after(routeExecCreate) - before(routeExecCreate) + after(routeExecStart) - before(routeExecStart)
		client, inside = append(client, milliseconds(took)), append(inside, milliseconds(vch))
		start = append(start, milliseconds(after(routeExecStart)-before(routeExecStart)))
		line, forks = append(line, milliseconds(call)), append(forks, milliseconds(fork))
		ratio = append(ratio, vch.Seconds()/(call+fork).Seconds())
	}
	fmt.Fprintf(out, "exec of echo, in ms           median                          p90\n")
	fmt.Fprintf(out, "  in the VCH                  %-31s %.2f   %s\n", inside, inside.quantile(0.9),
		verdict(inside.median() <= milliseconds(boundExec), "p50 at most %d ms in the VCH", boundExec.Milliseconds()))
	fmt.Fprintf(out, "  of it, start to end         %-31s %.2f\n", start, start.quantile(0.9))
	fmt.Fprintf(out, "  at the client               %-31s %.2f\n", client, client.quantile(0.9))
	fmt.Fprintf(out, "  a call over the line        %-31s %.2f\n", line, line.quantile(0.9))
	fmt.Fprintf(out, "  a program, by its shell     %-31s %.2f\n", forks, forks.quantile(0.9))
	fmt.Fprintf(out, "  in the VCH / these two      %-31s %.2f\n", ratio, ratio.quantile(0.9))
	return a.execsSideBySide(ctx, o.runs, out)
}

// execsSideBySide runs many at once, each on a connection of its own.
func (a api) execsSideBySide(ctx context.Context, runs int, out io.Writer) error {
	var each, all series
	for i := range runs + 1 {
		times, took, err := a.execsOnce(ctx)
		if err != nil {
			return err
		}
		if i == 0 { // opens the connections of the other requests
			continue
		}
		each, all = append(each, times...), append(all, milliseconds(took))
	}
	fmt.Fprintf(out, "  each of %d at once          %-31s %.2f\n", execsAtOnce, each, each.quantile(0.9))
	fmt.Fprintf(out, "  all %d of them              %-31s %.2f\n", execsAtOnce, all, all.quantile(0.9))
	return nil
}

func (a api) execsOnce(ctx context.Context) (series, time.Duration, error) {
	conns := make([]net.Conn, execsAtOnce)
	for i := range conns {
		c, err := a.dial(ctx)
		if err != nil {
			return nil, 0, err
		}
		defer c.Close()
		conns[i] = c
	}
	times := make(series, execsAtOnce)
	g, gctx := errgroup.WithContext(ctx)
	begin := time.Now()
	for i, c := range conns {
		g.Go(func() error {
			d, _, err := a.execOn(gctx, c, "bench-exec", "echo", "hello")
			times[i] = milliseconds(d)
			return err
		})
	}
	err := g.Wait()
	return times, time.Since(begin), err
}

// exec runs a command, checks that it wrote something and ended well, and gives
// how long that took. The connection that its stream takes is opened before.
func (a api) exec(ctx context.Context, container string, command ...string) (time.Duration, error) {
	d, _, err := a.execOutput(ctx, container, command...)
	return d, err
}

func (a api) execOutput(ctx context.Context, container string, command ...string) (time.Duration, []byte, error) {
	conn, err := a.dial(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close()
	return a.execOn(ctx, conn, container, command...)
}

// dial opens a connection for one stream.
func (a api) dial(ctx context.Context) (net.Conn, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // as in api
	return d.DialContext(ctx, "tcp", a.s.vch)
}

func (a api) execOn(ctx context.Context, conn net.Conn, container string, command ...string) (time.Duration, []byte, error) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	begin := time.Now()
	var made struct{ ID string }
	body := map[string]any{"Cmd": command, "AttachStdout": true, "AttachStderr": true}
	if err := a.do(ctx, http.MethodPost, "/containers/"+container+"/exec", body, &made); err != nil {
		return 0, nil, err
	}
	said, err := startExec(conn, made.ID)
	if err != nil {
		return 0, nil, err
	}
	var state struct {
		Running  bool
		ExitCode *int
	}
	if err := a.do(ctx, http.MethodGet, "/exec/"+made.ID+"/json", nil, &state); err != nil {
		return 0, nil, err
	}
	took := time.Since(begin)
	if state.Running || state.ExitCode == nil || *state.ExitCode != 0 || len(said) == 0 {
		return 0, nil, fmt.Errorf("exec of %q: %+v, output %q", command, state, said)
	}
	return took, said, nil
}

// startExec starts an exec on a connection of its own and gives its stream, still
// with its headers.
func startExec(conn net.Conn, id string) ([]byte, error) {
	b, err := json.Marshal(map[string]bool{"Detach": false})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, "https://vch/v1.51/exec/"+id+"/start", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("start of exec %s: the VCH answers %s: %s", id, res.Status, said)
	}
	return said, err
}

// forkTime is how long the guest takes to start a program, by its own clock.
func (a api) forkTime(ctx context.Context) (time.Duration, error) {
	const programs = 10
	const script = `a=$(cut -d" " -f1 /proc/uptime); for i in 1 2 3 4 5 6 7 8 9 10; do /bin/echo x >/dev/null; done; echo "from $a to $(cut -d" " -f1 /proc/uptime)"`
	_, said, err := a.execOutput(ctx, "bench-exec", "sh", "-c", script)
	if err != nil {
		return 0, err
	}
	_, text, _ := strings.Cut(string(said), "from ")
	var from, to float64
	if _, err := fmt.Sscanf(text, "%f to %f", &from, &to); err != nil {
		return 0, fmt.Errorf("times of the guest: %q: %w", said, err)
	}
	return time.Duration((to - from) / programs * float64(time.Second)), nil
}

// inVCHAfter is inVCH once a request more than before is counted for a route: the
// end of a stream may be seen before its request is.
func (a api) inVCHAfter(ctx context.Context, route string, before func(string) time.Duration) (func(string) time.Duration, error) {
	for range 100 {
		now, err := a.inVCH(ctx)
		if err != nil || now(route) > before(route) {
			return now, err
		}
	}
	return nil, fmt.Errorf("the VCH counts no request for %s", route)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantile is the smallest measurement that the share q of all do not exceed.
func (s series) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	c := slices.Sorted(slices.Values(s))
	return c[max(0, int(math.Ceil(q*float64(len(c))))-1)]
}
