package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const defaultIdle = 30 * time.Second

// Bounds of the figures, printed beside them.
const (
	boundRunRatio = 1.5
	boundRunPlus  = 500 * time.Millisecond
	boundPS       = 20 * time.Millisecond
	boundIdle     = 2.0 // percent of a core
	boundMemory   = 48  // MiB
)

type options struct {
	bin                       string
	runs, containers, running int
	idle                      time.Duration
	only                      []string // sections; empty: all
}

// section is one group of figures, which can be had alone.
type section struct {
	name string
	run  func(context.Context, *setup, options, io.Writer) error
}

func sections() []section {
	return []section{
		{"run", runTime}, {"memory", guestMemory}, {"ps", psTime}, {"network", connectTime}, {"exec", execTime}, {"bridge", bridgeFlow}, {"outside", outsideFlow},
		{"volume", volumeFlow}, {"idle", idleEngine},
	}
}

func sectionNames() string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return strings.Join(names, ",")
}

// chosen gives the sections that are wanted, in their order.
func chosen(only []string) ([]section, error) {
	all := sections()
	for _, name := range only {
		if !slices.ContainsFunc(all, func(s section) bool { return s.name == name }) {
			return nil, fmt.Errorf("section %q: want some of %s", name, sectionNames())
		}
	}
	if len(only) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(all, func(s section) bool { return !slices.Contains(only, s.name) }), nil
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	todo, err := chosen(o.only)
	if err != nil {
		return err
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	o.bin = bin
	describe(ctx, out)
	s, err := newSetup(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(context.WithoutCancel(ctx))) }()

	for _, x := range todo {
		if err := x.run(ctx, s, o, out); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
	}
	return nil
}

// describe prints what the figures were measured on.
func describe(ctx context.Context, out io.Writer) {
	cpu := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, l := range strings.Split(string(b), "\n") {
			if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
				cpu = strings.TrimSpace(v)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	version, _ := output(ctx, nil, "qemu-system-x86_64", "--version")
	version, _, _ = strings.Cut(version, "\n")
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(out, "load before: %s\n", strings.TrimSpace(string(load)))
	fmt.Fprintf(out, "machine: %s, %d cores, Linux %s, %s, %s\n", cpu, runtime.NumCPU(), strings.TrimSpace(string(kernel)), version, runtime.Version())
}

// runTime pairs a bare boot to init with `docker run --rm busybox true`.
func runTime(ctx context.Context, s *setup, o options, out io.Writer) error {
	if _, err := s.docker(ctx, "run", "--rm", "busybox", "true"); err != nil { // brings the image
		return err
	}
	if _, err := s.bareBoot(ctx); err != nil { // finds out which accelerator works
		return err
	}
	var bare, full, ratio series
	for range o.runs {
		b, err := s.bareBoot(ctx)
		if err != nil {
			return err
		}
		start := time.Now()
		if _, err := s.docker(ctx, "run", "--rm", "busybox", "true"); err != nil {
			return err
		}
		f := time.Since(start)
		bare, full, ratio = append(bare, b.Seconds()), append(full, f.Seconds()), append(ratio, (f-boundRunPlus).Seconds()/b.Seconds())
	}
	fmt.Fprintf(out, "bare boot of bootstrap.iso to init       %s s\n", bare)
	fmt.Fprintf(out, "docker run --rm busybox true             %s s\n", full)
	fmt.Fprintf(out, "(docker run - 0.5 s) / bare boot         %s   %s\n", ratio, verdict(ratio.median() <= boundRunRatio, "at most %.1f", boundRunRatio))
	return nil
}

// guestMemory is what a booted containerVM uses, its process a shell's sleep.
func guestMemory(ctx context.Context, s *setup, _ options, out io.Writer) error {
	text, err := s.docker(ctx, "run", "--rm", "busybox", "cat", "/proc/meminfo")
	if err != nil {
		return err
	}
	kb := map[string]int{}
	for _, l := range strings.Split(text, "\n") {
		if f := strings.Fields(l); len(f) >= 2 {
			kb[strings.TrimSuffix(f[0], ":")], _ = strconv.Atoi(f[1])
		}
	}
	if kb["MemTotal"] == 0 {
		return fmt.Errorf("no MemTotal in the guest's meminfo: %q", text)
	}
	used := (kb["MemTotal"] - kb["MemAvailable"]) / 1024
	fmt.Fprintf(out, "guest memory used after boot             %d MiB of %d   %s\n", used, kb["MemTotal"]/1024, verdict(used <= boundMemory, "at most %d", boundMemory))
	return nil
}

// psTime makes containers and asks for their list over one connection.
func psTime(ctx context.Context, s *setup, o options, out io.Writer) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	start := time.Now()
	for range o.containers {
		g.Go(func() error {
			_, err := s.docker(gctx, "create", "--label", "bench=ps", "busybox", "true")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	fmt.Fprintf(out, "docker create, 4 at a time               %.0f ms each\n", float64(time.Since(start).Milliseconds())/float64(max(1, o.containers)))
	client := s.api()
	defer client.close()
	var times series
	for i := range 22 {
		start := time.Now()
		var list []json.RawMessage
		if err := client.do(ctx, http.MethodGet, "/containers/json?all=1", nil, &list); err != nil {
			return err
		}
		if len(list) < o.containers {
			return fmt.Errorf("%d containers are listed, of %d", len(list), o.containers)
		}
		if i >= 2 { // the first opens the connection
			times = append(times, float64(time.Since(start).Microseconds())/1000)
		}
	}
	fmt.Fprintf(out, "GET /containers/json, %d containers     %s ms   %s\n", o.containers, times, verdict(times.median() <= float64(boundPS.Milliseconds()), "at most %d ms", boundPS.Milliseconds()))
	ids, err := s.docker(ctx, "ps", "-aq", "--filter", "label=bench=ps")
	if err != nil {
		return err
	}
	_, err = s.docker(ctx, append([]string{"rm"}, strings.Fields(ids)...)...)
	return err
}

// idleEngine is the CPU time that vic-engine takes while containers run and
// nobody asks anything, by the appliance's own accounts.
func idleEngine(ctx context.Context, s *setup, o options, out io.Writer) error {
	if o.running == 0 {
		return nil
	}
	for range o.running {
		if _, err := s.docker(ctx, "run", "-d", "--memory", "96m", "--label", "bench=idle", "busybox", "sleep", "100000"); err != nil {
			return err
		}
	}
	before, err := s.engineTicks(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	select {
	case <-time.After(o.idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := s.engineTicks(ctx)
	if err != nil {
		return err
	}
	const ticksPerSecond = 100 // USER_HZ of Linux on x86
	percent := float64(after-before) / ticksPerSecond / time.Since(start).Seconds() * 100
	fmt.Fprintf(out, "vic-engine idle, %d running containers   %.2f %% of a core over %s   %s\n", o.running, percent, o.idle, verdict(percent < boundIdle, "under %.0f %%", boundIdle))
	ids, err := s.docker(ctx, "ps", "-q", "--filter", "label=bench=idle")
	if err != nil {
		return err
	}
	_, err = s.docker(ctx, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
	return err
}

func verdict(ok bool, format string, bound any) string {
	word := "holds"
	if !ok {
		word = "DOES NOT HOLD"
	}
	return "(" + fmt.Sprintf(format, bound) + ": " + word + ")"
}
