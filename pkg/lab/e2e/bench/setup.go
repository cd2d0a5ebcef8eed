package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// setup is a lab with one VCH, and a hypervisor for bare boots beside it.
type setup struct {
	bin, dir string
	env      []string
	vch      string // host:port
	key      string // file of the SSH key for the appliance
	registry string // host:port
	room     *room
	lab      *exec.Cmd
	ended    chan error // of one: the lab's end

	imageDisk machine.Disk // of benchImage, when needImage was called
}

var dockerHost = regexp.MustCompile(`DOCKER_HOST=(\S+)`)

func newSetup(ctx context.Context, o options) (_ *setup, err error) {
	dir, err := os.MkdirTemp("", "vicb")
	if err != nil {
		return nil, err
	}
	s := &setup{bin: o.bin, dir: dir, key: filepath.Join(dir, "key"), registry: freePort()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		}
	}()
	if _, err := output(ctx, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.key); err != nil {
		return nil, err
	}
	b, err := s.startLab(ctx)
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
		"--image-datastore", "mydatastore", "--volume-store", "datastore2/volumes:default", "--registry-mirror", registry, "--debug-authorized-key", s.key+".pub")
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
	s.room, err = newRoom(dir, s.iso(), logrus.NewEntry(quiet))
	return s, err
}

// startLab starts the lab and gives its variables. It runs in the foreground:
// Linux shares the processors among sessions first (autogroups), and the lab's
// VMs and bare ones must have the same share.
func (s *setup) startLab(ctx context.Context) ([]byte, error) {
	s.lab = exec.Command(filepath.Join(s.bin, "vic-lab"), "up", "--foreground", "--state", s.state(), "--listen", freePort(), "--registry-listen", s.registry)
	log, err := os.Create(filepath.Join(s.dir, "lab.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.lab.Stdout, s.lab.Stderr, s.lab.Dir = log, log, s.dir
	s.ended = make(chan error, 1)
	if err := s.lab.Start(); err != nil {
		return nil, err
	}
	go func() { s.ended <- s.lab.Wait() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(filepath.Join(s.state(), "lab.env"))
		if err == nil && len(b) > 0 {
			return b, nil
		}
		select {
		case <-tick.C:
		case err := <-s.ended:
			s.ended <- err
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("vic-lab up ended: %w\n%s", err, text)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *setup) state() string { return filepath.Join(s.dir, "lab") }
func (s *setup) iso() string   { return filepath.Join(s.bin, "bootstrap.iso") }

func (s *setup) close(ctx context.Context) error {
	if s.room != nil {
		s.room.close()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var err error
	if s.ended != nil {
		_, err = s.vic(ctx, "vic-lab", "down", "--state", s.state())
		select {
		case <-s.ended:
		case <-ctx.Done():
			err = errors.Join(err, ctx.Err(), s.lab.Process.Kill())
		}
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *setup) vic(ctx context.Context, name string, args ...string) (string, error) {
	return output(ctx, s, filepath.Join(s.bin, name), args...)
}

func (s *setup) docker(ctx context.Context, args ...string) (string, error) {
	return output(ctx, s, "docker", append([]string{"-H", s.vch, "--tls", "--tlscacert", filepath.Join(s.dir, "bench-cert.pem")}, args...)...)
}

// needImage makes benchImage known to the VCH, once, and finds its disk.
func (s *setup) needImage(ctx context.Context) error {
	if s.imageDisk.Path != "" {
		return nil
	}
	if err := s.pushImage(ctx); err != nil {
		return err
	}
	if _, err := s.docker(ctx, "pull", "-q", benchImage); err != nil {
		return err
	}
	id, err := s.docker(ctx, "image", "inspect", "-f", "{{.Id}}", benchImage)
	if err != nil {
		return err
	}
	hex := strings.TrimPrefix(strings.TrimSpace(id), "sha256:")
	// docs/state.md has the places of the image datastore.
	found, err := filepath.Glob(filepath.Join(s.state(), "datastores", "mydatastore", "VIC", "*", "images", hex, hex+".vmdk"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("disk of image %s: found %q: %w", benchImage, found, errors.Join(err, errdefs.ErrNotFound))
	}
	s.imageDisk = machine.Disk{Path: found[0], Nonpersistent: true}
	return nil
}

// appliance runs a command in the VCH's appliance.
func (s *setup) appliance(ctx context.Context, command string) (string, error) {
	host, _, _ := strings.Cut(s.vch, ":")
	return output(ctx, s, "ssh", "-q", "-i", s.key, "-p", "2222", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "BatchMode=yes", "root@"+host, command)
}

// engineTicks is the CPU time of vic-engine so far, in clock ticks.
func (s *setup) engineTicks(ctx context.Context) (int, error) {
	text, err := s.appliance(ctx, "cat /proc/$(pidof vic-engine)/stat")
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

// applianceSize is the VCH's hardware: its processors, and its memory in MiB.
func (s *setup) applianceSize(ctx context.Context) (cpus int, memoryMB int64, err error) {
	text, err := s.appliance(ctx, "grep -c ^processor /proc/cpuinfo; grep MemTotal /proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	var kib int64
	if _, err := fmt.Sscanf(text, "%d\nMemTotal: %d kB", &cpus, &kib); err != nil {
		return 0, 0, fmt.Errorf("size of the VCH: %q: %w", text, err)
	}
	// The kernel counts without itself.
	const step = 128 << 10
	return cpus, (kib + step - 1) / step * step >> 10, nil
}

// labHost is this computer as the lab's guests see it.
func (s *setup) labHost() (netip.Addr, error) {
	host, _, _ := strings.Cut(s.vch, ":")
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("address of the VCH: %w", err)
	}
	b := a.As4()
	b[0], b[3] = 10, 2 // 127.118.N.x stands for 10.118.N.x
	return netip.AddrFrom4(b), nil
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

// bareBoot starts QEMU with the boot image and nothing else, on the lab's own
// arguments, and measures from the process's start to the first word of /init on
// the console.
func (s *setup) bareBoot(ctx context.Context) (time.Duration, error) {
	dir, err := os.MkdirTemp(s.dir, "bare")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	uri, far := s.room.line()
	start := time.Now()
	vm, err := s.room.hv.Start(ctx, machine.Machine{ID: "bare", Name: "bare", UUID: uuid.NewString(), Dir: dir, CPUs: 1, MemoryMB: 256, CDROM: s.iso(),
		Serials: []machine.Serial{{}, {}, {URI: uri}}}, mute{})
	if err != nil {
		return 0, err
	}
	defer func() { vm.Kill(); <-vm.Done() }()
	var console net.Conn
	select {
	case console = <-far:
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
