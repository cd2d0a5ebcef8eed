// Command reaper is the program of the lab's image testcontainers/ryuk: it stands
// in for Testcontainers' own reaper, whose image cannot be had offline, and speaks
// its protocol. A client connects to port 8080 and sends lines of labels, each
// answered with ACK; when no client is left for a while, what carries the labels is
// removed over /var/run/docker.sock.
//
// reaper get PATH prints what the Docker API answers there, for tests of the
// socket.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	d := docker{&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", env("DOCKER_SOCKET", "/var/run/docker.sock"))
	}}}}
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "get":
		err = d.do(ctx, http.MethodGet, os.Args[2], os.Stdout)
	case len(os.Args) == 1:
		err = serve(ctx, d)
	default:
		err = fmt.Errorf("usage: reaper [get PATH]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "reaper:", err)
		os.Exit(1)
	}
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// clients are who keeps the labels alive.
type clients struct {
	mu     sync.Mutex // guards what follows
	labels map[string]url.Values
	count  int
	change chan struct{} // has one value when count or labels changed
}

func (c *clients) add(n int) {
	c.mu.Lock()
	c.count += n
	c.mu.Unlock()
	select {
	case c.change <- struct{}{}:
	default:
	}
}

// serve waits for clients, and for them to go; then it removes what is theirs.
func serve(ctx context.Context, d docker) error {
	first, err := time.ParseDuration(env("RYUK_CONNECTION_TIMEOUT", "60s"))
	if err != nil {
		return err
	}
	again, err := time.ParseDuration(env("RYUK_RECONNECTION_TIMEOUT", "10s"))
	if err != nil {
		return err
	}
	if err := d.do(ctx, http.MethodGet, "/_ping", io.Discard); err != nil {
		return err
	}
	l, err := net.Listen("tcp", ":"+env("RYUK_PORT", "8080"))
	if err != nil {
		return err
	}
	defer l.Close()
	c := &clients{labels: map[string]url.Values{}, change: make(chan struct{}, 1)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.add(1)
			go func() {
				defer c.add(-1)
				defer conn.Close()
				c.talk(conn)
			}()
		}
	}()
	fmt.Println("Started!", l.Addr())
	wait := time.NewTimer(first)
	defer wait.Stop()
	for {
		select {
		case <-c.change:
			c.mu.Lock()
			n := c.count
			c.mu.Unlock()
			if n == 0 {
				wait.Reset(again)
			} else {
				wait.Stop()
			}
		case <-wait.C:
			return c.reap(ctx, d)
		case <-ctx.Done():
			return c.reap(context.WithoutCancel(ctx), d)
		}
	}
}

func (c *clients) talk(conn net.Conn) {
	in := bufio.NewScanner(conn)
	for in.Scan() {
		text := strings.TrimSpace(in.Text())
		if text == "" {
			continue
		}
		q, err := url.ParseQuery(text)
		if err != nil {
			fmt.Fprintln(conn, "NAK")
			continue
		}
		c.mu.Lock()
		c.labels[text] = q
		c.mu.Unlock()
		fmt.Fprintln(conn, "ACK")
		fmt.Println("client", conn.RemoteAddr(), "keeps", text)
	}
}

// reap removes everything with the labels, containers first.
func (c *clients) reap(ctx context.Context, d docker) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range c.labels {
		filter, err := json.Marshal(q)
		if err != nil {
			return err
		}
		f := "filters=" + url.QueryEscape(string(filter))
		for _, kind := range []struct{ list, remove string }{
			{"/containers/json?all=1&" + f, "/containers/%s?force=1&v=1"}, {"/networks?" + f, "/networks/%s"}, {"/volumes?" + f, "/volumes/%s?force=1"},
		} {
			names, err := d.list(ctx, kind.list)
			if err != nil {
				return err
			}
			for _, name := range names {
				if name == os.Getenv("HOSTNAME") || strings.HasPrefix(name, hostname()) {
					continue
				}
				fmt.Println("removing", fmt.Sprintf(kind.remove, name))
				if err := d.do(ctx, http.MethodDelete, fmt.Sprintf(kind.remove, name), io.Discard); err != nil {
					fmt.Println(err)
				}
			}
		}
	}
	fmt.Println("Finished!")
	return nil
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "none"
	}
	return name
}

type docker struct{ *http.Client }

// do copies the answer's body; a status that is no success is an error.
func (d docker) do(ctx context.Context, method, path string, to io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, nil)
	if err != nil {
		return err
	}
	r, err := d.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
		return fmt.Errorf("%s %s: %s: %s", method, path, r.Status, strings.TrimSpace(string(text)))
	}
	_, err = io.Copy(to, r.Body)
	return err
}

// list gives the names or ids of a list of containers, networks or volumes.
func (d docker) list(ctx context.Context, path string) ([]string, error) {
	var b strings.Builder
	if err := d.do(ctx, http.MethodGet, path, &b); err != nil {
		return nil, err
	}
	type thing struct{ ID, Name string }
	var list []thing
	if strings.HasPrefix(path, "/volumes") {
		var v struct{ Volumes []thing }
		if err := json.Unmarshal([]byte(b.String()), &v); err != nil {
			return nil, err
		}
		list = v.Volumes
	} else if err := json.Unmarshal([]byte(b.String()), &list); err != nil {
		return nil, err
	}
	var out []string
	for _, t := range list {
		switch {
		case t.ID != "":
			out = append(out, t.ID)
		case t.Name != "":
			out = append(out, t.Name)
		}
	}
	return out, nil
}
