package rpci

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// The places where Open looks.
const (
	SocketPath = "/run/vic/rpci.sock"
	PortRPCI   = "vic.rpci"
	PortTCLO   = "vic.tclo"
)

// requestTimeout bounds one request. The hypervisor answers in milliseconds; a
// guest must not hang for ever in its power-off because nobody does.
const requestTimeout = 10 * time.Second

// ErrRefused is in every error of a command that the hypervisor answered with a
// failure ("0 reason").
var ErrRefused = errors.New("refused by the hypervisor")

// transport sends one message and gives its answer. It is safe for concurrent use.
type transport interface {
	roundTrip(msg []byte) ([]byte, error)
	Close() error
}

// Client reads and writes guestinfo. It is safe for concurrent use.
type Client struct {
	t    transport
	tclo func() Channel // nil when there is none
	name string
}

// Places are the paths that Open probes, relative to the file system's root. The
// zero value means the usual ones.
type Places struct {
	Dev    string // default /dev
	Sys    string // default /sys
	Socket string // default SocketPath
	// NoBackdoor leaves the backdoor out.
	NoBackdoor bool
}

// Open finds the way to the hypervisor. In a VM that has none it is
// ErrUnavailable.
func Open() (*Client, error) { return OpenAt(Places{}) }

// OpenAt is Open with other paths.
func OpenAt(p Places) (*Client, error) {
	if p.Dev == "" {
		p.Dev = "/dev"
	}
	if p.Sys == "" {
		p.Sys = "/sys"
	}
	if p.Socket == "" {
		p.Socket = SocketPath
	}
	if !p.NoBackdoor && haveBackdoor() {
		t, err := newBackdoor()
		if err != nil {
			return nil, fmt.Errorf("open the VMware backdoor: %w", err)
		}
		return &Client{t: t, tclo: newBackdoorTCLO, name: "backdoor"}, nil
	}
	if path := findPort(p, PortRPCI); path != "" {
		t, err := newPort(path)
		if err != nil {
			return nil, err
		}
		c := &Client{t: t, name: path}
		if tclo := findPort(p, PortTCLO); tclo != "" {
			c.tclo = func() Channel { return newPortTCLO(tclo) }
		}
		return c, nil
	}
	if _, err := os.Stat(p.Socket); err == nil {
		return Dial(p.Socket), nil
	}
	return nil, fmt.Errorf("no VMware backdoor, no virtio port %s, no socket %s: %w", PortRPCI, p.Socket, errdefs.ErrUnavailable)
}

// Dial gives a client of the socket at path; it connects at the first request
// and again after an error.
func Dial(path string) *Client {
	return &Client{t: &socket{path: path}, name: path}
}

// findPort gives the device of a virtio-serial port by its name, or "". udev
// makes links in /dev/virtio-ports; without udev the kernel's own name is in /sys.
func findPort(p Places, name string) string {
	link := filepath.Join(p.Dev, "virtio-ports", name)
	if _, err := os.Stat(link); err == nil {
		return link
	}
	entries, err := os.ReadDir(filepath.Join(p.Sys, "class", "virtio-ports"))
	if err != nil {
		return ""
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(p.Sys, "class", "virtio-ports", e.Name(), "name"))
		if err == nil && strings.TrimSpace(string(text)) == name {
			return filepath.Join(p.Dev, e.Name())
		}
	}
	return ""
}

// Transport names what Open found, for logs.
func (c *Client) Transport() string { return c.name }

// Close ends the client; requests under way fail.
func (c *Client) Close() error { return c.t.Close() }

// Command sends one RPCI command and gives the text of its answer. A refusal is
// an error with ErrRefused. The error never shows the command's arguments, which
// may be sensitive.
func (c *Client) Command(cmd string) (string, error) {
	ok, text, err := c.command(cmd)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", fmt.Errorf("rpci %s: %q: %w", firstWords(cmd), text, ErrRefused)
	}
	return text, nil
}

func (c *Client) command(cmd string) (ok bool, text string, err error) {
	reply, err := c.t.roundTrip([]byte(cmd))
	if err != nil {
		return false, "", fmt.Errorf("rpci %s: %w", firstWords(cmd), err)
	}
	head, rest, _ := bytes.Cut(reply, []byte{' '})
	rest = bytes.TrimSuffix(rest, []byte{0})
	switch string(head) {
	case "1":
		return true, string(rest), nil
	case "0":
		return false, string(rest), nil
	}
	return false, "", fmt.Errorf("rpci %s: malformed answer %.20q: %w", firstWords(cmd), reply, errdefs.ErrDataLoss)
}

// noValue is how VMware answers info-get of a key that does not exist.
const noValue = "No value found"

// Get reads a key by its full name ("guestinfo./common/id"). ok is false when it
// does not exist or is empty.
func (c *Client) Get(key string) (value string, ok bool, err error) {
	ok, value, err = c.command("info-get " + key)
	if err != nil {
		return "", false, err
	}
	if ok {
		return value, value != "", nil
	}
	if value == noValue || value == "" {
		return "", false, nil
	}
	return "", false, fmt.Errorf("rpci info-get %s: %q: %w", key, value, ErrRefused)
}

// Set writes a key by its full name; an empty value unsets it.
func (c *Client) Set(key, value string) error {
	_, err := c.Command("info-set " + key + " " + value)
	return err
}

// firstWords names a command in errors: its verb and, of info-get and info-set,
// the key.
func firstWords(cmd string) string {
	words := strings.SplitN(cmd, " ", 3)
	if strings.HasPrefix(words[0], "info-") && len(words) > 1 {
		return words[0] + " " + words[1]
	}
	return words[0]
}
