package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/store"
)

// boundThroughput is the least that a container may have of what a bare VM with
// the same devices has.
const boundThroughput = 0.9

// flowTime is how long one measurement of a network or a disk takes: short, as
// many pairs tell more than few on a machine that others use too.
const flowTime = 2 * time.Second

// pairsPerRun makes of options.runs the number of pairs.
const pairsPerRun = 3

// probe measures once, in MB/s.
type probe func(context.Context) (float64, error)

// compare pairs measurements of a bare VM and a container, one after the other,
// and prints both and their ratio, with a bound if it is to be kept. The order
// changes from pair to pair. The ratio of the best of each, which the machine's
// other work disturbed least, is printed beside.
func compare(ctx context.Context, o options, out io.Writer, what string, bound float64, bare, vic probe) error {
	var b, v, ratio series
	for i := range pairsPerRun * o.runs {
		pair := []probe{bare, vic}
		first := i % 2
		var got [2]float64
		for _, n := range []int{first, 1 - first} {
			rate, err := pair[n](ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			got[n] = rate
		}
		b, v, ratio = append(b, got[0]), append(v, got[1]), append(ratio, got[1]/got[0])
	}
	judged := ""
	if bound > 0 {
		judged = "   " + verdict(ratio.median() >= bound, "at least %.1f", bound)
	}
	fmt.Fprintf(out, "%s\n  bare VM     %s MB/s\n  container   %s MB/s\n  ratio       %s%s\n  of the best %.2f\n", what, b, v, ratio, judged, slices.Max(v)/slices.Max(b))
	return nil
}

func rate(text string, err error) (float64, error) {
	if err != nil {
		return 0, err
	}
	var r float64
	if _, err := fmt.Sscanf(strings.TrimSpace(text), "%f MB/s", &r); err != nil || r <= 0 {
		return 0, fmt.Errorf("no rate: %q", text)
	}
	return r, nil
}

// send measures from a bare VM.
func (b *bare) send(to string) probe {
	return func(ctx context.Context) (float64, error) {
		return rate(b.run(ctx, fmt.Sprintf("chroot /image flow send %s %s", to, flowTime)))
	}
}

// send measures from a container.
func (s *setup) send(container, to string) probe {
	return func(ctx context.Context) (float64, error) {
		return rate(s.docker(ctx, "exec", container, "flow", "send", to, flowTime.String()))
	}
}

// The addresses of bare VMs on their bridge, as containers have them.
const (
	bareSinkIP   = "172.30.0.2"
	bareSourceIP = "172.30.0.3"
	bareRouterIP = "172.30.0.1"
	flowPort     = 5001
)

func bareMAC(n int) string { return fmt.Sprintf("00:50:56:00:0b:%02x", n) }

// onBridge is a VM with a card on the bare bridge.
func (s *setup) onBridge(ctx context.Context, name string, n int, ip string) (*bare, error) {
	b, err := s.room.start(ctx, machine.Machine{Name: name, Disks: []machine.Disk{s.imageDisk},
		NICs: []machine.NIC{{Network: bareBridge, MAC: bareMAC(n), Slot: 192}}})
	if err != nil {
		return nil, err
	}
	if _, err := b.run(ctx, "ip addr add "+ip+"/16 dev eth0 && ip link set eth0 up && ip link set lo up"); err != nil {
		b.kill()
		return nil, err
	}
	return b, nil
}

// bridgeFlow is container to container on one bridge network, while it is the
// only one, and then while there is another, against which guests filter.
func bridgeFlow(ctx context.Context, s *setup, o options, out io.Writer) (err error) {
	if err := s.needImage(ctx); err != nil {
		return err
	}
	sink, err := s.onBridge(ctx, "sink", 2, bareSinkIP)
	if err != nil {
		return err
	}
	defer sink.kill()
	source, err := s.onBridge(ctx, "source", 3, bareSourceIP)
	if err != nil {
		return err
	}
	defer source.kill()
	if _, err := sink.run(ctx, fmt.Sprintf("chroot /image flow listen :%d >/dev/null 2>&1 &", flowPort)); err != nil {
		return err
	}
	for _, args := range [][]string{{"--name", "bench-sink", benchImage, "flow", "listen", fmt.Sprintf(":%d", flowPort)}, {"--name", "bench-source", benchImage, "sleep", "100000"}} {
		// With the right to see its own filter.
		if _, err := s.docker(ctx, append([]string{"run", "-d", "--cap-add", "NET_ADMIN"}, args...)...); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, s.remove(ctx, "bench-sink", "bench-source")) }()
	ip, err := s.docker(ctx, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "bench-sink")
	if err != nil {
		return err
	}
	bareTo, to := fmt.Sprintf("%s:%d", bareSinkIP, flowPort), fmt.Sprintf("%s:%d", strings.TrimSpace(ip), flowPort)
	if err := compare(ctx, o, out, "container to container, one network", boundThroughput, source.send(bareTo), s.send("bench-source", to)); err != nil {
		return err
	}
	if _, err := s.docker(ctx, "network", "create", "bench-other"); err != nil {
		return err
	}
	defer func() {
		_, e := s.docker(context.WithoutCancel(ctx), "network", "rm", "bench-other")
		err = errors.Join(err, e)
	}()
	for _, c := range []string{"bench-sink", "bench-source"} {
		if err := s.filters(ctx, c); err != nil {
			return err
		}
	}
	return compare(ctx, o, out, "container to container, guests filter as there are two networks", boundThroughput, source.send(bareTo), s.send("bench-source", to))
}

// filters waits until a container's guest filters, of which it is told when there is
// another network.
func (s *setup) filters(ctx context.Context, container string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := s.docker(ctx, "exec", container, "nft", "list", "tables", "netdev")
		if err == nil && strings.Contains(text, "table netdev vic_") {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not filter: %w: %s", container, errors.Join(ctx.Err(), err), text)
		}
	}
}

func (s *setup) remove(ctx context.Context, containers ...string) error {
	_, err := s.docker(context.WithoutCancel(ctx), append([]string{"rm", "-f"}, containers...)...)
	return err
}

// outsideFlow is container to a server outside, through the VCH. Bare is a VM
// behind another bare VM that masquerades, with as many processors and as much
// memory as the VCH's; a VM on the outer network itself is printed too.
func outsideFlow(ctx context.Context, s *setup, o options, out io.Writer) (err error) {
	if err := s.needImage(ctx); err != nil {
		return err
	}
	port, stop, err := s.hostSink(ctx)
	if err != nil {
		return err
	}
	defer stop()
	cpus, memory, err := s.applianceSize(ctx)
	if err != nil {
		return err
	}
	router, err := s.room.start(ctx, machine.Machine{Name: "router", CPUs: cpus, MemoryMB: memory, Disks: []machine.Disk{s.imageDisk},
		NICs: []machine.NIC{{Network: bareExternal, MAC: bareMAC(9), Slot: 192}, {Network: bareBridge, MAC: bareMAC(1), Slot: 224}}})
	if err != nil {
		return err
	}
	defer router.kill()
	for _, c := range []string{
		"modules " + demandNAT + " && ip link set lo up && ip link set eth0 up && ip link set eth1 up && echo 1 >/proc/sys/net/ipv4/ip_forward",
		fmt.Sprintf("ip addr add %s dev eth0 && ip addr add %s/16 dev eth1 && ip route add default via %s",
			netip.PrefixFrom(s.room.routerAddr(), 24), bareRouterIP, s.room.plan.Gateway()),
		"chroot /image nft 'add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; add rule ip nat post oifname eth0 masquerade'",
	} {
		if _, err := router.run(ctx, c); err != nil {
			return err
		}
	}
	source, err := s.onBridge(ctx, "inner", 4, bareSourceIP)
	if err != nil {
		return err
	}
	defer source.kill()
	if _, err := source.run(ctx, "ip route add default via "+bareRouterIP); err != nil {
		return err
	}
	if _, err := s.docker(ctx, "run", "-d", "--name", "bench-out", benchImage, "sleep", "100000"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove(ctx, "bench-out")) }()
	host, err := s.labHost()
	if err != nil {
		return err
	}
	bareTo, to := fmt.Sprintf("%s:%s", s.room.plan.Host(), port), fmt.Sprintf("%s:%s", host, port)
	fmt.Fprintf(out, "VCH and bare router: %d processors, %d MiB\n", cpus, memory)
	if err := compare(ctx, o, out, "container to outside; bare: through a VM that masquerades", boundThroughput, source.send(bareTo), s.send("bench-out", to)); err != nil {
		return err
	}
	return compare(ctx, o, out, "container to outside; bare: from the outer network, without a hop (for comparison)", 0, router.send(bareTo), s.send("bench-out", to))
}

// hostSink runs flow on this computer.
func (s *setup) hostSink(ctx context.Context) (port string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, filepath.Join(s.dir, "flow"), "listen", "127.0.0.1:0")
	text, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return "", nil, err
	}
	stop = func() { cancel(); _ = cmd.Wait() }
	line, err := bufio.NewReader(text).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("flow says nothing: %w", err)
	}
	a, err := netip.ParseAddrPort(strings.TrimSpace(line))
	return fmt.Sprint(a.Port()), stop, err
}

// volumeFlow is fio on a volume: against a bare VM with a copy of the new
// volume's disk, mounted as mount does it.
func volumeFlow(ctx context.Context, s *setup, o options, out io.Writer) (err error) {
	if err := s.needImage(ctx); err != nil {
		return err
	}
	if _, err := s.docker(ctx, "volume", "create", "--opt", "Capacity=1GB", "bench-volume"); err != nil {
		return err
	}
	defer func() {
		_, e := s.docker(context.WithoutCancel(ctx), "volume", "rm", "bench-volume")
		err = errors.Join(err, e)
	}()
	mine := filepath.Join(s.dir, "volume")
	theirs := filepath.Join(s.state(), "datastores", "datastore2", "volumes", "volumes", "bench-volume")
	if _, err := output(ctx, nil, "cp", "-r", "--sparse=always", theirs, mine); err != nil {
		return err
	}
	disk := filepath.Join(mine, "bench-volume.vmdk")
	// With its extent, as the lab opens it: QEMU's code for VMDKs is half as fast.
	b, err := s.room.start(ctx, machine.Machine{Name: "disk", Disks: []machine.Disk{s.imageDisk, {Path: disk, Unit: 1, Extent: store.PlainExtent(disk)}}})
	if err != nil {
		return err
	}
	defer b.kill()
	if _, err := b.run(ctx, "mount -t ext4 $(disk 1) /image/data"); err != nil {
		return err
	}
	if _, err := s.docker(ctx, "run", "-d", "--name", "bench-disk", "-v", "bench-volume:/data", benchImage, "sleep", "100000"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove(ctx, "bench-disk")) }()
	bareRun := func(ctx context.Context, args []string) (string, error) {
		return b.run(ctx, "chroot /image "+strings.Join(args, " "))
	}
	vicRun := func(ctx context.Context, args []string) (string, error) {
		return s.docker(ctx, append([]string{"exec", "bench-disk"}, args...)...)
	}
	// The whole file is written first: what is measured allocates nothing.
	for _, run := range []func(context.Context, []string) (string, error){bareRun, vicRun} {
		if _, err := run(ctx, fio("write", "1m", 0)); err != nil {
			return err
		}
	}
	for _, w := range []struct{ what, mode, block string }{
		{"volume, random write of 4 KiB", "randwrite", "4k"}, {"volume, random read of 4 KiB", "randread", "4k"},
		{"volume, write of 1 MiB", "write", "1m"}, {"volume, read of 1 MiB", "read", "1m"},
	} {
		args := fio(w.mode, w.block, flowTime)
		if err := compare(ctx, o, out, w.what, boundThroughput, fioProbe(bareRun, args), fioProbe(vicRun, args)); err != nil {
			return err
		}
	}
	return nil
}

// fio gives its arguments: past the page cache, 16 requests at a time; no limit
// is the whole file once.
func fio(mode, block string, limit time.Duration) []string {
	args := []string{"fio", "--name=bench", "--filename=/data/file", "--size=128m", "--rw=" + mode, "--bs=" + block, "--direct=1",
		"--ioengine=libaio", "--iodepth=16", "--output-format=json"}
	if limit > 0 {
		args = append(args, "--time_based", fmt.Sprintf("--runtime=%d", int(limit.Seconds())))
	}
	return args
}

func fioProbe(run func(context.Context, []string) (string, error), args []string) probe {
	return func(ctx context.Context) (float64, error) {
		text, err := run(ctx, args)
		if err != nil {
			return 0, err
		}
		return fioRate(text)
	}
}

// fioRate reads fio's JSON, before which it may say other things.
func fioRate(text string) (float64, error) {
	var r struct {
		Jobs []struct {
			Read, Write struct {
				BW int64 `json:"bw_bytes"`
			}
		}
	}
	_, body, ok := strings.Cut(text, "{")
	if err := json.NewDecoder(strings.NewReader("{" + body)).Decode(&r); !ok || err != nil || len(r.Jobs) != 1 {
		return 0, fmt.Errorf("fio says %q, which is no result of one job", text)
	}
	n := r.Jobs[0].Read.BW + r.Jobs[0].Write.BW
	if n <= 0 {
		return 0, fmt.Errorf("fio did nothing: %q", text)
	}
	return float64(n) / 1e6, nil
}
