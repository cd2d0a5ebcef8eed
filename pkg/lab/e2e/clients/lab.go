package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// lab is a lab with one VCH that clients verify, and that lets containers have its
// socket.
type lab struct {
	bin, dir string
	of       []string // the lab's variables
	env      []string // what clients need to know
}

// downTimeout bounds the lab's end.
const downTimeout = 2 * time.Minute

var fromHere = regexp.MustCompile(`from here (127\.118\.\d+)\.0/24`)

// newLab starts a lab and creates the VCH, or leaves nothing.
func newLab(ctx context.Context, bin string, progress io.Writer) (_ *lab, err error) {
	dir, err := os.MkdirTemp("", "vicc")
	if err != nil {
		return nil, err
	}
	l := &lab{bin: bin, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close(context.WithoutCancel(ctx)))
		}
	}()
	fmt.Fprintln(progress, "starting a lab and a VCH …")
	text, err := l.run(ctx, "vic-lab", "up", "--state", l.state(), "--listen", freePort(), "--registry-listen", freePort())
	if err != nil {
		return nil, err
	}
	m := fromHere.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("vic-lab up does not print the network:\n%s", text)
	}
	address := m[1] + ".10" // the first that the lab's DHCP gives
	if l.of, err = variables(filepath.Join(l.state(), "lab.env")); err != nil {
		return nil, err
	}
	text, err = l.run(ctx, "vic-machine", "create", "--name", "VCH001", "--bridge-network", "VCH Bridge", "--external-network", "VM Network",
		"--image-datastore", "mydatastore", "--volume-store", "datastore2/volumes:default", "--registry-mirror", l.variable("VIC_LAB_REGISTRY"),
		"--tls-cname", address, "--docker-socket")
	if err != nil {
		return nil, err
	}
	if !strings.Contains(text, "DOCKER_HOST="+address+":2376") {
		return nil, fmt.Errorf("the VCH is not at %s, for which its certificate is:\n%s", address, text)
	}
	registry := strings.TrimPrefix(l.variable("VIC_LAB_REGISTRY"), "http://")
	here, _, err := net.SplitHostPort(registry)
	if err != nil {
		return nil, err
	}
	l.env = []string{"REGISTRY=" + registry, "HERE=" + here, "DOCKER_HOST=tcp://" + address + ":2376", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=" + filepath.Join(dir, "VCH001")}
	return l, nil
}

func (l *lab) state() string { return filepath.Join(l.dir, "lab") }

// close ends the lab with all that is in it.
func (l *lab) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	_, err := l.run(ctx, "vic-lab", "down", "--state", l.state())
	return errors.Join(err, os.RemoveAll(l.dir))
}

// run runs a program of ours and gives all that it prints.
func (l *lab) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(l.bin, name), args...)
	cmd.Env, cmd.Dir = append(os.Environ(), l.of...), l.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w (make build isos makes it)\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

func (l *lab) variable(key string) string {
	for _, kv := range l.of {
		if k, v, _ := strings.Cut(kv, "="); k == key {
			return v
		}
	}
	return ""
}

// variables reads the lab's environment file.
func variables(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, line := range strings.Split(string(b), "\n") {
		k, v, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if ok && !strings.HasPrefix(k, "#") {
			out = append(out, k+"="+strings.Trim(v, `'"`))
		}
	}
	return out, nil
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}
