package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu"
)

// setup is a lab with one VCH, and a hypervisor for bare boots beside it.
type setup struct {
	bin, dir string
	env      []string
	vch      string // host:port
	key      string // file of the SSH key for the appliance
	hv       *qemu.Hypervisor
	console  chan net.Conn // of the next bare boot
}

var dockerHost = regexp.MustCompile(`DOCKER_HOST=(\S+)`)

func newSetup(ctx context.Context, o options) (_ *setup, err error) {
	dir, err := os.MkdirTemp("", "vicb")
	if err != nil {
		return nil, err
	}
	s := &setup{bin: o.bin, dir: dir, key: filepath.Join(dir, "key"), console: make(chan net.Conn, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		}
	}()
	if _, err := output(ctx, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.key); err != nil {
		return nil, err
	}
	if _, err := s.vic(ctx, "vic-lab", "up", "--state", s.state(), "--listen", freePort(), "--registry-listen", freePort()); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(s.state(), "lab.env"))
	if err != nil {
		return nil, err
	}
	registry := ""
	for _, line := range strings.Split(string(b), "\n") {
		k, v, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !ok {
			continue
		}
		v = strings.Trim(v, `'"`)
		s.env = append(s.env, k+"="+v)
		if k == "VIC_LAB_REGISTRY" {
			registry = v
		}
	}
	text, err := s.vic(ctx, "vic-machine", "create", "--name", "bench", "--bridge-network", "VCH Bridge", "--external-network", "VM Network",
		"--image-datastore", "mydatastore", "--registry-mirror", registry, "--debug-authorized-key", s.key+".pub")
	if err != nil {
		return nil, err
	}
	m := dockerHost.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("vic-machine create does not print DOCKER_HOST:\n%s", text)
	}
	s.vch = m[1]
	quiet := logrus.New()
	quiet.SetLevel(logrus.ErrorLevel)
	s.hv, err = qemu.New(qemu.Config{RunDir: filepath.Join(dir, "run"), ProbeISO: s.iso(), Dial: s.dialConsole, Log: logrus.NewEntry(quiet)})
	return s, err
}

func (s *setup) state() string { return filepath.Join(s.dir, "lab") }
func (s *setup) iso() string   { return filepath.Join(s.bin, "bootstrap.iso") }

func (s *setup) close(ctx context.Context) error {
	if s.hv != nil {
		s.hv.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	_, err := s.vic(ctx, "vic-lab", "down", "--state", s.state())
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *setup) vic(ctx context.Context, name string, args ...string) (string, error) {
	return output(ctx, s, filepath.Join(s.bin, name), args...)
}

func (s *setup) docker(ctx context.Context, args ...string) (string, error) {
	return output(ctx, s, "docker", append([]string{"-H", s.vch, "--tls", "--tlscacert", filepath.Join(s.dir, "bench-cert.pem")}, args...)...)
}

// engineTicks is the CPU time of vic-engine so far, in clock ticks.
func (s *setup) engineTicks(ctx context.Context) (int, error) {
	host, _, _ := strings.Cut(s.vch, ":")
	text, err := output(ctx, s, "ssh", "-q", "-i", s.key, "-p", "2222", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "BatchMode=yes", "root@"+host, "cat /proc/$(pidof vic-engine)/stat")
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(text, ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return 0, fmt.Errorf("stat of vic-engine: %q", text)
	}
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	return user + system, errors.Join(err1, err2)
}

// output runs a program and gives its stdout; a failure carries its stderr.
func output(ctx context.Context, s *setup, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if s != nil {
		cmd.Env, cmd.Dir = append(os.Environ(), s.env...), s.dir
	}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}

// consoleURI stands for the far end of a bare boot's console: us.
const consoleURI = "tcp://bench:1"

// dialConsole is the hypervisor's way to consoleURI.
func (s *setup) dialConsole(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	s.console <- far
	return near, nil
}

// bareBoot starts QEMU with the boot image and nothing else, on the lab's own
// arguments, and measures from the process's start to the first word of /init on
// the console.
func (s *setup) bareBoot(ctx context.Context) (time.Duration, error) {
	dir, err := os.MkdirTemp(s.dir, "bare")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	start := time.Now()
	vm, err := s.hv.Start(ctx, machine.Machine{ID: "bare", Name: "bare", UUID: uuid.NewString(), Dir: dir, CPUs: 1, MemoryMB: 256, CDROM: s.iso(),
		Serials: []machine.Serial{{}, {}, {URI: consoleURI}}}, mute{})
	if err != nil {
		return 0, err
	}
	defer func() { vm.Kill(); <-vm.Done() }()
	var console net.Conn
	select {
	case console = <-s.console:
		defer console.Close()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer context.AfterFunc(ctx, func() { _ = console.Close() })()
	if err := console.SetReadDeadline(start.Add(2 * time.Minute)); err != nil {
		return 0, err
	}
	lines := bufio.NewReader(console)
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if strings.Contains(line, "vic: ") {
			return time.Since(start), nil
		}
		if err != nil {
			return 0, fmt.Errorf("bare boot: init is not heard of: %w; the console says:\n%s", err, said.String())
		}
	}
}

// mute is a guest's other side that knows nothing.
type mute struct{}

func (mute) InfoGet(string) (string, bool) { return "", false }
func (mute) InfoSet(string, string) error  { return nil }
func (mute) Tools(bool)                    {}
func (mute) Addresses([]machine.GuestNIC)  {}
func (mute) Hostname(string)               {}

// series are measurements, printed as median (min-max).
type series []float64

func (s series) median() float64 {
	c := slices.Sorted(slices.Values(s))
	if len(c) == 0 {
		return 0
	}
	return (c[(len(c)-1)/2] + c[len(c)/2]) / 2
}

func (s series) String() string {
	if len(s) == 0 {
		return "none"
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f, n=%d)", s.median(), slices.Min(s), slices.Max(s), len(s))
}
