package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// lab is a lab with one VCH; both stay when it is left.
type lab struct {
	bin, dir string
	env      []string
	registry string // host:port, where host is the lab's name for this computer
	vch      string // host:port
}

var dockerHost = regexp.MustCompile(`DOCKER_HOST=(\S+)`)

// startLab starts a lab with its state in dir, or finds it there running, and with
// vch a VCH on it.
func startLab(ctx context.Context, bin, dir string, vch bool) (*lab, error) {
	l := &lab{bin: bin, dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := l.run(ctx, "vic-lab", "up", "--state", l.state(), "--listen", freePort(), "--registry-listen", freePort()); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(l.state(), "lab.env"))
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		k, v, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !ok || strings.HasPrefix(k, "#") {
			continue
		}
		v = strings.Trim(v, `'"`)
		l.env = append(l.env, k+"="+v)
		if k == "VIC_LAB_REGISTRY" {
			l.registry = strings.TrimPrefix(v, "http://")
		}
	}
	if !vch {
		return l, nil
	}
	if l.vch, err = l.find(ctx); err == nil {
		return l, nil
	}
	text, err := l.run(ctx, "vic-machine", "create", "--name", "conformance", "--bridge-network", "VCH Bridge", "--external-network", "VM Network",
		"--image-datastore", "mydatastore", "--volume-store", "datastore2/volumes:default", "--registry-mirror", "http://"+l.registry, "--insecure-registry", l.registry)
	if err != nil {
		return nil, err
	}
	m := dockerHost.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("vic-machine create does not print DOCKER_HOST:\n%s", text)
	}
	l.vch = m[1]
	return l, nil
}

// find gives the address of the VCH that an earlier run left.
func (l *lab) find(ctx context.Context) (string, error) {
	text, err := l.run(ctx, "vic-machine", "inspect", "--name", "conformance")
	if err != nil {
		return "", err
	}
	m := dockerHost.FindStringSubmatch(text)
	if m == nil {
		return "", errors.New("no DOCKER_HOST")
	}
	return m[1], nil
}

func (l *lab) state() string { return filepath.Join(l.dir, "lab") }

func (l *lab) target() (*target, error) {
	cert := filepath.Join(l.dir, "conformance-cert.pem")
	if _, err := os.Stat(cert); err != nil {
		return nil, err
	}
	// The client reads ca.pem of this folder.
	if err := os.Symlink(cert, filepath.Join(l.dir, "ca.pem")); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return &target{
		name: "vic", base: "https://" + l.vch,
		env:    []string{"DOCKER_HOST=tcp://" + l.vch, "DOCKER_TLS=1", "DOCKER_CERT_PATH=" + l.dir},
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, // a lab of ours
	}, nil
}

// close ends the lab and removes it.
func (l *lab) close(ctx context.Context) error {
	_, err := l.run(context.WithoutCancel(ctx), "vic-lab", "down", "--state", l.state())
	return err
}

// run runs a program of ours and gives all that it prints.
func (l *lab) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(l.bin, name), args...)
	cmd.Env, cmd.Dir = append(os.Environ(), l.env...), l.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.String())
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
