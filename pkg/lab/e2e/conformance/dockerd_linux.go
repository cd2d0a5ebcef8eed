package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// oracle is a real dockerd in namespaces of its own: network, so that it changes no
// interface of this computer, mounts and processes, so that nothing outlives it.
type oracle struct {
	cmd      *exec.Cmd
	dir      string
	registry net.Listener
	ended    chan error // of one
}

// startTimeout bounds the start of dockerd and its containerd.
const startTimeout = time.Minute

// startDockerd starts the engine that .ci/dockerd builds, with dir for its state. The
// registry on this computer's loopback has the same name there as in the lab. It
// needs root.
func startDockerd(ctx context.Context, bin, dir, registry string) (_ *target, _ *oracle, err error) {
	if os.Geteuid() != 0 {
		return nil, nil, errors.New("dockerd needs root")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	host, port, err := net.SplitHostPort(registry)
	if err != nil {
		return nil, nil, fmt.Errorf("registry: %w", err)
	}
	local := net.JoinHostPort("127.0.0.1", port)
	sock := filepath.Join(dir, "docker.sock")
	for _, old := range []string{"pid", "exec"} { // of one that was killed
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
			return nil, nil, err
		}
	}
	for name, text := range map[string]string{"none.json": "{}", "hosts": "127.0.0.1 localhost " + host + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, nil, err
		}
	}
	log, err := os.Create(filepath.Join(dir, "dockerd.log"))
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	// Image ids are digests of configurations, as they are with dockerd 28, whose API
	// this is; nothing of this computer's firewall is touched.
	cmd := exec.Command("sh", "-c", `mount --make-rprivate / && mount -t proc proc /proc && mount --bind "$0" /etc/hosts && exec "$@"`, filepath.Join(dir, "hosts"),
		filepath.Join(bin, "dockerd"), "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "-H", "unix://"+sock, "--iptables=false", "--ip6tables=false",
		"--feature", "containerd-snapshotter=false", "--registry-mirror", "http://"+registry, "--insecure-registry", registry, "--config-file", filepath.Join(dir, "none.json"))
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	o := &oracle{cmd: cmd, dir: dir, ended: make(chan error, 1)}
	started := make(chan error, 1)
	go func() {
		// The parent whose death ends the child is the thread that started it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			o.ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, nil, fmt.Errorf("start dockerd: %w", err)
	}
	defer func() {
		if err != nil {
			text, _ := os.ReadFile(log.Name())
			err = errors.Join(fmt.Errorf("%w\n%s", err, text), o.close())
		}
	}()
	if o.registry, err = listenIn(cmd.Process.Pid, local); err != nil {
		return nil, nil, err
	}
	go forward(o.registry, local)
	t := &target{name: "dockerd", base: "http://docker", env: []string{"DOCKER_HOST=unix://" + sock}, client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", sock)
		}}}}
	return t, o, o.await(ctx, t)
}

// await waits until the engine answers.
func (o *oracle) await(ctx context.Context, t *target) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := t.must(ctx, http.MethodGet, "/_ping")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case end := <-o.ended:
			o.ended <- end
			return fmt.Errorf("dockerd ended: %w", errors.Join(end, err))
		case <-ctx.Done():
			return fmt.Errorf("dockerd does not answer: %w", err)
		}
	}
}

// close ends dockerd in order, or else its whole process namespace.
func (o *oracle) close() error {
	if o.registry != nil {
		_ = o.registry.Close()
	}
	_ = o.cmd.Process.Signal(syscall.SIGTERM)
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	select {
	case <-o.ended:
		return nil
	case <-limit.C:
		err := o.cmd.Process.Kill()
		<-o.ended
		return errors.Join(errors.New("dockerd did not end by itself"), err)
	}
}

// listenIn listens on a loopback address of another process's network namespace.
func listenIn(pid int, addr string) (l net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread is in another namespace and ends with this.
		runtime.LockOSThread()
		l, err = listenHere(pid, addr)
	}()
	<-done
	if err != nil {
		return nil, fmt.Errorf("registry in dockerd's network: %w", err)
	}
	return l, nil
}

func listenHere(pid int, addr string) (net.Listener, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return nil, err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return nil, fmt.Errorf("lo up: %w", err)
	}
	return net.Listen("tcp", addr)
}

// forward joins each connection with one to addr in our own namespace, until the
// listener closes.
func forward(l net.Listener, addr string) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer near.Close()
			far, err := net.Dial("tcp", addr)
			if err != nil {
				return // dockerd sees the end, and says so
			}
			defer far.Close()
			go func() {
				_, _ = io.Copy(far, near)
				_ = far.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(near, far)
		}()
	}
}
