package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// apiVersion is what raw requests speak; the client negotiates its own.
const apiVersion = "v1.51"

// stepTimeout bounds one step: a container on an emulated machine takes seconds.
const stepTimeout = 90 * time.Second

// target is an engine to run scripts on.
type target struct {
	name   string // dockerd or vic
	base   string // of URLs
	client *http.Client
	env    []string          // for the docker client
	vars   map[string]string // that scripts have from the beginning
}

// result is what one step gave.
type result struct {
	Line   int    `json:"line"`
	Step   string `json:"step"`
	Fields fields `json:"fields"`
}

// play runs a script on a target and gives what each step gave. What it leaves
// behind is removed.
func (t *target) play(ctx context.Context, s script) (out []result, err error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir), t.clean(ctx)) }()
	for _, f := range s.files {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f.Name)), f.Data, 0o600); err != nil {
			return nil, err
		}
	}
	p := player{t: t, dir: dir, vars: maps.Clone(t.vars)}
	if p.vars == nil {
		p.vars = map[string]string{}
	}
	for _, st := range s.steps {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		f, err := p.step(ctx, st)
		if err != nil {
			return nil, fmt.Errorf("%s: %s.txtar:%d: %s: %w", t.name, s.name, st.line, st.text, err)
		}
		if f != nil {
			out = append(out, result{st.line, st.text, f})
		}
	}
	return out, nil
}

type player struct {
	t    *target
	dir  string
	vars map[string]string
}

// step runs one step; no fields are nothing to compare.
func (p *player) step(ctx context.Context, st step) (fields, error) {
	args := make([]string, len(st.args))
	for i, a := range st.args {
		args[i] = os.Expand(a, func(name string) string {
			if v, ok := p.vars[name]; ok {
				return v
			}
			return "$" + name // JSON and regular expressions have dollars of their own
		})
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if !st.mod.await {
		f, _, err := p.once(ctx, st, args)
		return f, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		_, ok, err := p.once(ctx, st, args)
		switch {
		case ok:
			return fields{"await": "true"}, nil
		case err != nil && ctx.Err() == nil:
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fields{"await": "false"}, nil
		}
	}
}

// once runs a step and tells whether it succeeded.
func (p *player) once(ctx context.Context, st step, args []string) (fields, bool, error) {
	switch st.verb {
	case "sh":
		cmd := p.command(ctx, "sh", "-c", strings.Join(args, " "))
		if b, err := cmd.CombinedOutput(); err != nil {
			return nil, false, fmt.Errorf("%w\n%s", err, b)
		}
		return nil, true, nil
	case "docker":
		return p.docker(ctx, st, args)
	default:
		return p.api(ctx, st, args)
	}
}

func (p *player) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), p.t.env...)
	cmd.Env = append(cmd.Env, "HOME="+p.dir, "DOCKER_CONFIG="+filepath.Join(p.dir, ".docker"), "LC_ALL=C")
	for k, v := range p.vars {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.WaitDelay = time.Second
	return cmd
}

func (p *player) docker(ctx context.Context, st step, args []string) (fields, bool, error) {
	cmd := p.command(ctx, "docker", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if st.mod.stdin != "" {
		f, err := os.Open(filepath.Join(p.dir, filepath.Base(st.mod.stdin)))
		if err != nil {
			return nil, false, err
		}
		defer f.Close()
		cmd.Stdin = f
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, false, err
	}
	if ctx.Err() != nil {
		return fields{"exit": "none: not done after " + stepTimeout.String(), "stdout": lines(stdout.String(), st.mod.sorted),
			"stderr": lines(stderr.String(), st.mod.sorted)}, false, nil
	}
	if st.mod.let != "" {
		p.vars[st.mod.let] = strings.TrimSpace(stdout.String())
	}
	f := fields{"exit": strconv.Itoa(cmd.ProcessState.ExitCode()), "stderr": lines(stderr.String(), st.mod.sorted)}
	// What inspect and --format json print is compared like a body.
	text := bytes.TrimSpace(stdout.Bytes())
	if len(text) == 0 || text[0] != '{' && text[0] != '[' || flatten("json", text, st.mod.sorted, f) != nil {
		f["stdout"] = lines(stdout.String(), st.mod.sorted)
	}
	return st.mod.choose(f), err == nil, nil
}

func (p *player) api(ctx context.Context, st step, args []string) (fields, bool, error) {
	kind := "application/json"
	if args[0] == "-type" {
		if len(args) < 4 {
			return nil, false, errors.New("want api -type TYPE METHOD PATH [BODY]")
		}
		kind, args = args[1], args[2:]
	}
	body := ""
	if len(args) > 2 {
		body = args[2]
	}
	if name, ok := strings.CutPrefix(body, "@"); ok {
		b, err := os.ReadFile(filepath.Join(p.dir, filepath.Base(name)))
		if err != nil {
			return nil, false, err
		}
		body = string(b)
	}
	code, answer, err := p.t.request(ctx, args[0], args[1], kind, body)
	if err != nil {
		if ctx.Err() != nil {
			return fields{"status": "none: not done after " + stepTimeout.String()}, false, nil
		}
		return nil, false, err
	}
	if st.mod.let != "" {
		var v struct{ ID string }
		if err := json.Unmarshal(answer, &v); err != nil {
			return nil, false, fmt.Errorf("let %s: %w", st.mod.let, err)
		}
		p.vars[st.mod.let] = v.ID
	}
	f := fields{"status": strconv.Itoa(code)}
	if len(answer) > 0 && flatten("json", answer, st.mod.sorted, f) != nil {
		f["body"] = lines(string(answer), st.mod.sorted)
	}
	return st.mod.choose(f), code < 400, nil
}

// request sends a raw request. A path that names a version keeps it.
func (t *target) request(ctx context.Context, method, path, kind, body string) (int, []byte, error) {
	if !strings.HasPrefix(path, "/v") || strings.HasPrefix(path, "/volumes") || strings.HasPrefix(path, "/version") {
		path = "/" + apiVersion + path
	}
	req, err := http.NewRequestWithContext(ctx, method, t.base, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	// Paths that climb are sent as they are written.
	raw, query, _ := strings.Cut(path, "?")
	req.URL.Opaque, req.URL.RawQuery = raw, query
	if kind != "none" && body != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return resp.StatusCode, b, err
}

// clean removes all containers, and the networks and volumes that nothing uses.
func (t *target) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*stepTimeout)
	defer cancel()
	b, err := t.must(ctx, http.MethodGet, "/containers/json?all=1")
	if err != nil {
		return err
	}
	var list []struct{ ID string }
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("list what %s has: %w", t.name, err)
	}
	requests := [][2]string{}
	for _, c := range list {
		requests = append(requests, [2]string{http.MethodDelete, "/containers/" + c.ID + "?force=1&v=1"})
	}
	requests = append(requests, [2]string{http.MethodPost, "/networks/prune"},
		[2]string{http.MethodPost, "/volumes/prune?filters=%7B%22all%22:%7B%22true%22:true%7D%7D"})
	for _, r := range requests {
		if _, err := t.must(ctx, r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

// must sends a request that an engine in order grants.
func (t *target) must(ctx context.Context, method, path string) ([]byte, error) {
	code, b, err := t.request(ctx, method, path, "none", "")
	if err == nil && code >= 400 {
		err = errors.New(strings.TrimSpace(string(b)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s %s: status %d: %w", t.name, method, path, code, err)
	}
	return b, nil
}
