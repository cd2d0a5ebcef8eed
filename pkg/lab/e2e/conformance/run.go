package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// recordedDir holds dockerd's answers, a file a script, from the project's folder.
const recordedDir = "pkg/lab/e2e/conformance/testdata/dockerd"

type options struct {
	bin, dockerd, scripts, state, only string
	keep, memory, record, verbose      bool
}

// images are what the scripts find on both engines.
var images = []string{"busybox:latest", "hello-world:latest", "web:latest"}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	list, err := readAccepted(acceptedJSON)
	if err != nil {
		return err
	}
	scripts, err := chosen(o)
	if err != nil {
		return err
	}
	if o.state == "" {
		if o.keep {
			return errors.New("-keep needs -state")
		}
		// Short: sockets are below it.
		if o.state, err = os.MkdirTemp("", "vicc"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.state)) }()
	}
	dockerd, vic, done, err := engines(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	total := tally{met: map[int]bool{}}
	for _, s := range scripts {
		want, err := dockerd.play(ctx, s)
		if err != nil {
			return err
		}
		if o.record && s.rawOnly() {
			if err := record(s, want); err != nil {
				return err
			}
		}
		got, err := vic.play(ctx, s)
		if err != nil {
			return err
		}
		before := total
		if err := total.add(s.name, list, want, got); err != nil {
			return err
		}
		report(out, s.name, before, total, o.verbose)
	}
	gone := 0
	if !o.memory {
		var names []string
		for _, s := range scripts {
			names = append(names, s.name)
		}
		for _, i := range stale(list, total.met, names, o.only == "") {
			gone++
			fmt.Fprintf(out, "accepted.json: entry %d does not occur: %s\n", i+1, list[i])
		}
	}
	fmt.Fprintf(out, "%d same, %d accepted, %d different\n", total.same, len(total.accepted), len(total.different))
	if len(total.different) > 0 || gone > 0 {
		return fmt.Errorf("%d fields differ, %d accepted differences do not occur", len(total.different), gone)
	}
	return nil
}

// report prints what a script added to the tally.
func report(out io.Writer, name string, before, after tally, verbose bool) {
	fresh, accepted := after.different[len(before.different):], after.accepted[len(before.accepted):]
	fmt.Fprintf(out, "%s: %d same, %d accepted, %d different\n", name, after.same-before.same, len(accepted), len(fresh))
	print := func(list []difference, mark string) {
		step := ""
		for _, d := range list {
			if w := d.where(); w != step {
				step = w
				fmt.Fprintln(out, step)
			}
			fmt.Fprintf(out, "\t%s%s\n", mark, d)
		}
	}
	print(fresh, "")
	if verbose {
		print(accepted, "accepted: ")
	}
}

// chosen are the scripts to run.
func chosen(o options) ([]script, error) {
	re, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	scripts, err := readScripts(o.scripts)
	if err != nil {
		return nil, err
	}
	scripts = slices.DeleteFunc(scripts, func(s script) bool { return !re.MatchString(s.name) || o.memory && !s.rawOnly() })
	if len(scripts) == 0 {
		return nil, fmt.Errorf("no script in %s is called like %q", o.scripts, o.only)
	}
	return scripts, nil
}

// engines starts both, with the same images, and gives what ends them.
func engines(ctx context.Context, o options) (dockerd, vic *target, _ func() error, err error) {
	var undo []func() error
	done := func() (err error) {
		for _, f := range slices.Backward(undo) {
			err = errors.Join(err, f())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, done())
		}
	}()
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return nil, nil, nil, err
	}
	state, err := filepath.Abs(o.state)
	if err != nil {
		return nil, nil, nil, err
	}
	daemon, err := filepath.Abs(o.dockerd)
	if err != nil {
		return nil, nil, nil, err
	}
	l, err := startLab(ctx, bin, state, !o.memory)
	if err != nil {
		return nil, nil, nil, err
	}
	if !o.keep {
		undo = append(undo, func() error { return l.close(ctx) })
	}
	dockerd, real, err := startDockerd(ctx, daemon, filepath.Join(state, "dockerd"), l.registry)
	if err != nil {
		return nil, nil, nil, err
	}
	undo = append(undo, real.close)
	both := []*target{dockerd}
	if o.memory {
		var end func() error
		if vic, end, err = inMemory(ctx); err != nil {
			return nil, nil, nil, err
		}
		undo = append(undo, end)
	} else {
		if vic, err = l.target(); err != nil {
			return nil, nil, nil, err
		}
		both = append(both, vic)
	}
	for _, t := range both {
		t.vars = map[string]string{"REGISTRY": l.registry} // a registry that both reach by this name
		for _, image := range images {
			text, err := t.must(ctx, "POST", "/images/create?fromImage="+image)
			if err == nil { // a pull that fails has said 200 by then
				_, err = t.must(ctx, "GET", "/images/"+image+"/json")
			}
			if err != nil {
				return nil, nil, nil, fmt.Errorf("pull %s: %w\n%s", image, err, text)
			}
		}
	}
	return dockerd, vic, done, nil
}

func recordedFile(dir, script string) string { return filepath.Join(dir, script+".json") }

func record(s script, results []result) error {
	b, err := json.MarshalIndent(results, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(recordedDir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(recordedFile(recordedDir, s.name), append(b, '\n'), 0o644)
}
