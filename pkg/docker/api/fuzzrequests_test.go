package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
)

// bodyRoutes take a body. X is a container that is there, N a network, E an exec.
func bodyRoutes() []string {
	return []string{
		"POST /containers/create", "POST /containers/X/exec", "POST /containers/X/update", "POST /containers/X/start", "POST /containers/X/wait?condition=next-exit",
		"POST /exec/E/start", "POST /networks/create", "POST /networks/N/connect", "POST /networks/N/disconnect", "POST /volumes/create", "POST /auth",
		"POST /images/create?fromImage=busybox", "POST /images/create?fromSrc=-&repo=fuzz", "POST /images/load", "POST /commit?container=X", "POST /build",
		"PUT /containers/X/archive?path=/",
	}
}

// queryRoutes take a query that says what to answer, or how.
func queryRoutes() []string {
	return []string{
		"GET /containers/json", "GET /containers/X/json", "GET /containers/X/logs", "GET /containers/X/top", "GET /containers/X/stats", "GET /containers/X/archive",
		"HEAD /containers/X/archive", "GET /containers/X/changes", "POST /containers/X/resize", "POST /containers/X/rename", "POST /containers/X/kill", "POST /containers/X/attach",
		"POST /containers/prune", "GET /exec/E/json", "POST /exec/E/resize", "GET /images/json", "GET /images/busybox/json", "GET /images/busybox/history",
		"POST /images/busybox/tag", "GET /images/search", "GET /images/get", "POST /images/busybox/push", "POST /images/prune", "GET /networks", "GET /networks/N",
		"POST /networks/prune", "GET /volumes", "POST /volumes/prune", "GET /system/df", "GET /info", "GET /version", "GET /_ping", "POST /build",
	}
}

// raw is the API behind a connection of its own for each request.
type raw struct {
	*harness
	names *strings.Replacer
}

// serveRaw has what the routes above name: a container that was never started, so
// that no request streams for ever.
func serveRaw(f *testing.F) raw {
	f.Helper()
	h := serve(f, false)
	for _, name := range []string{"fuzzed", "runs"} {
		if _, err := h.c.ContainerCreate(h.ctx, &container.Config{Image: "busybox", Cmd: []string{"sleep", "1h"}}, nil, nil, nil, name); err != nil {
			f.Fatal(err)
		}
	}
	if err := h.c.ContainerStart(h.ctx, "runs", container.StartOptions{}); err != nil {
		f.Fatal(err)
	}
	x, err := h.c.ContainerExecCreate(h.ctx, "runs", container.ExecOptions{Cmd: []string{"true"}})
	if err != nil {
		f.Fatal(err)
	}
	return raw{h, strings.NewReplacer("/X", "/fuzzed", "=X", "=fuzzed", "/N", "/bridge", "/E", "/"+x.ID)}
}

// ask sends bytes as they are and wants an answer that is none of an internal error.
// Only the beginning of what comes back is read: some routes stream.
func (r raw) ask(t *testing.T, request, rest string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request+rest); err != nil {
		return // refused before all was sent: the answer is lost with it
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q%.200q: no answer: %v", request, rest, err)
	}
	// Not closed: that would read a stream to its end. The connection's end is enough.
	if resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented {
		if strings.HasPrefix(request, "PUT ") && resp.StatusCode == http.StatusInternalServerError {
			return // a body that is no tar: dockerd's status for it
		}
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		t.Fatalf("%q%.200q: %s %s", request, rest, resp.Status, b)
	}
}

// line makes a request's first line, or "" where the fuzzer's text would end it.
func (r raw) line(route, query string) string {
	if strings.ContainsFunc(query, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return ""
	}
	method, path, _ := strings.Cut(r.names.Replace(route), " ")
	if query != "" {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		path += sep + query
	}
	return method + " /v1.51" + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
}

func FuzzBodies(f *testing.F) {
	r := serveRaw(f)
	for i := range bodyRoutes() {
		f.Add(uint(i), "application/json", `{"Cmd":["x"],"Image":"busybox","Container":"X","Name":"fuzz","Detach":true,"username":"u"}`)
		f.Add(uint(i), "", "")
		f.Add(uint(i), "application/json", "null")
		f.Add(uint(i), "application/x-tar", "no tar")
	}
	f.Fuzz(func(t *testing.T, route uint, kind, body string) {
		list := bodyRoutes()
		if strings.ContainsAny(kind, "\r\n") {
			return
		}
		r.ask(t, r.line(list[route%uint(len(list))], ""), fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s", kind, len(body), body))
	})
}

func FuzzQueries(f *testing.F) {
	r := serveRaw(f)
	for i := range queryRoutes() {
		f.Add(uint(i), "all=1&size=x&limit=-1&filters={%22until%22:[%22x%22]}")
		f.Add(uint(i), "stdout=1&tail=x&since=-1.5&until=9999999999999999999&path=../../etc&signal=0&h=-1&w=99999999999")
		f.Add(uint(i), "%zz&;&=&filters=%00")
		f.Add(uint(i), "stream=0&one-shot=1&ps_args=-x&repo=a:b:c&tag=@&type=x&names=%2e%2e%2f&platform={")
	}
	f.Fuzz(func(t *testing.T, route uint, query string) {
		list := queryRoutes()
		if line := r.line(list[route%uint(len(list))], query); line != "" {
			r.ask(t, line, "\r\n")
		}
	})
}

func FuzzPaths(f *testing.F) {
	r := serveRaw(f)
	for _, p := range []string{"/containers/../../etc/passwd", "/v9.9/version", "/v1.51/", "//", "/v1.51/containers/%00/json", "/images/a%2f..%2f..%2fb/json", "/volumes/%2e%2e", "*", "/exec//json"} {
		f.Add("GET", p)
		f.Add("DELETE", p)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		odd := func(c rune) bool { return c <= ' ' || c >= 0x7f }
		if path == "" || path[0] != '/' || method == "" || strings.ContainsFunc(path, odd) || strings.ContainsFunc(method, odd) ||
			strings.Contains(path, "events") || strings.Contains(path, "/attach") {
			return // the first line of HTTP is net/http's; what streams is in TestStreamsEnd
		}
		r.ask(t, method+" "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", "\r\n")
	})
}

func FuzzRegistryAuth(f *testing.F) {
	r := serveRaw(f)
	f.Add("e30=")
	f.Add("eyJ1c2VybmFtZSI6NX0=")
	f.Add("no base64")
	f.Fuzz(func(t *testing.T, header string) {
		if strings.ContainsFunc(header, func(c rune) bool { return c < ' ' || c >= 0x7f }) {
			return
		}
		for _, route := range []string{"POST /images/create?fromImage=busybox", "POST /images/busybox/push", "POST /auth"} {
			r.ask(t, r.line(route, ""), "X-Registry-Auth: "+header+"\r\nX-Registry-Config: "+header+"\r\nContent-Length: 0\r\n\r\n")
		}
	})
}

// FuzzHijacked sends what a client might after the upgrade of an attach, on a
// terminal and without: it comes back from cat, or ends the session, and the engine
// goes on.
func FuzzHijacked(f *testing.F) {
	h := serve(f, false)
	for name, tty := range map[string]bool{"plain": false, "tty": true} {
		if _, err := h.c.ContainerCreate(h.ctx, &container.Config{Image: "busybox", Cmd: []string{"cat"}, OpenStdin: true, Tty: tty}, nil, nil, nil, name); err != nil {
			f.Fatal(err)
		}
		if err := h.c.ContainerStart(h.ctx, name, container.StartOptions{}); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(true, []byte{16, 17})
	f.Add(true, []byte("x\x10y\x10\x11"))
	f.Add(false, []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, tty bool, stdin []byte) {
		name := map[bool]string{false: "plain", true: "tty"}[tty]
		a, err := h.c.ContainerAttach(h.ctx, name, container.AttachOptions{Stream: true, Stdin: true, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = a.Conn.Write(stdin)
		a.Close()
		i, err := h.c.ContainerInspect(h.ctx, name)
		if err != nil || !i.State.Running {
			t.Fatalf("after %q: %+v, %v", stdin, i.State, err)
		}
	})
}

// TestStreamsEnd: when the client of a stream goes, the engine's work for it ends,
// and the container goes on. Pulls are in TestPullStopsWithItsClient.
func TestStreamsEnd(t *testing.T) {
	h := serve(t, false)
	id := h.run("streams", "trap")
	exec, err := h.c.ContainerExecCreate(h.ctx, id, container.ExecOptions{Cmd: []string{"cat"}, AttachStdin: true, AttachStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, request := range map[string]string{
		"events":      "GET /events",
		"logs":        "GET /containers/streams/logs?stdout=1&follow=1",
		"attach":      "POST /containers/streams/attach?stream=1&stdout=1&stdin=1",
		"wait":        "POST /containers/streams/wait",
		"wait next":   "POST /containers/streams/wait?condition=next-exit",
		"wait remove": "POST /containers/streams/wait?condition=removed",
		"exec":        "POST /exec/" + exec.ID + "/start",
	} {
		t.Run(name, func(t *testing.T) {
			h.T = t
			http.DefaultClient.CloseIdleConnections()
			h.c.Close()
			before := settled()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			method, path, _ := strings.Cut(request, " ")
			body := ""
			if name == "exec" {
				body = "{}"
			}
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(h.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			fmt.Fprintf(conn, "%s /v1.51%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
			resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%v %v", resp, err)
			}
			if n := runtime.NumGoroutine(); n <= before {
				t.Fatalf("%d goroutines serve, %d before: nothing to end", n, before)
			}
			conn.Close()
			if name == "exec" { // Docker's execs outlive their client; this one ends with its input
				h.until("the exec's end", func() bool {
					i, err := h.c.ContainerExecInspect(h.ctx, exec.ID)
					return err == nil && !i.Running
				})
				h.c.Close()
			}
			looks := 0
			h.until("the end of what the stream needed", func() bool {
				if looks++; name == "attach" && looks%100 == 1 { // a client may close its side and go on reading: only output tells
					_ = h.c.ContainerKill(h.ctx, id, "USR1")
					h.c.Close()
				}
				return runtime.NumGoroutine() <= before
			})
			if i, err := h.c.ContainerInspect(h.ctx, id); err != nil || !i.State.Running {
				t.Errorf("the container: %+v, %v", i.State, err)
			}
		})
	}
}

// settled is the number of goroutines once it does not fall any more.
func settled() int {
	n := runtime.NumGoroutine()
	for range 100 {
		runtime.Gosched()
		time.Sleep(time.Millisecond)
		if m := runtime.NumGoroutine(); m < n {
			n = m
		}
	}
	return n
}
