package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/pflag"

	"github.com/vic-engine/vic/pkg/lab"
)

// Files of the state directory that are this program's. The rest are the lab's.
const (
	pidFile  = "lab.pid"
	logFile  = "lab.log"
	infoFile = "lab.json"
	envFile  = "lab.env"
)

// info is what the running lab says of itself, without secrets.
type info struct {
	Mode         string   `json:"mode"`
	PID          int      `json:"pid"`
	Target       string   `json:"target"` // host:port
	URL          string   `json:"url"`
	User         string   `json:"user"`
	Thumbprint   string   `json:"thumbprint"` // SHA-256
	PasswordFile string   `json:"password_file"`
	EnvFile      string   `json:"env_file"`
	Registry     string   `json:"registry_mirror,omitempty"` // as VCHs reach it
	Subnet       string   `json:"subnet"`
	Alias        string   `json:"alias,omitempty"` // where this computer has the guests' ports
	Datastores   []string `json:"datastores"`
	State        string   `json:"state"`
	Log          string   `json:"log"`
}

// stateOption is the flag that every verb has.
type stateOption struct{ dir string }

func (o *stateOption) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.dir, "state", "", "state directory (default: .vic-lab in $XDG_STATE_HOME or the home directory; env VIC_LAB_STATE)")
}

// path is the state directory, absolute.
func (o *stateOption) path(t Terminal) (string, error) {
	dir := o.dir
	if dir == "" {
		dir = t.Env("VIC_LAB_STATE")
	}
	if dir == "" {
		base := t.Env("XDG_STATE_HOME")
		if base == "" {
			base = t.Env("HOME")
		}
		if base == "" {
			return "", fmt.Errorf("no home directory: name a state directory with --state: %w", errdefs.ErrInvalidArgument)
		}
		dir = filepath.Join(base, ".vic-lab")
	}
	return filepath.Abs(dir)
}

// readInfo is what the lab of a state directory said when it came up.
// ErrNotFound: none is running.
func readInfo(state string) (info, error) {
	var i info
	if !lab.Running(state) {
		return i, fmt.Errorf("no lab runs in %s; start one with: vic-lab up: %w", state, errdefs.ErrNotFound)
	}
	b, err := os.ReadFile(filepath.Join(state, infoFile))
	if errors.Is(err, os.ErrNotExist) {
		return i, fmt.Errorf("the lab in %s is still coming up: %w", state, errdefs.ErrUnavailable)
	}
	if err != nil {
		return i, err
	}
	return i, json.Unmarshal(b, &i)
}

// writeInfo leaves what the other verbs, and people, need to find the lab.
func writeInfo(i info, password string) error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	if err := writePrivate(filepath.Join(i.State, envFile), []byte(environment(i, password))); err != nil {
		return err
	}
	return writePrivate(filepath.Join(i.State, infoFile), append(b, '\n'))
}

// environment is the file to source: only its owner may read it.
func environment(i info, password string) string {
	var b strings.Builder
	b.WriteString("# of vic-lab; holds the lab's password\n")
	known := filepath.Join(i.State, "known_hosts")
	for _, kv := range [][2]string{
		{"GOVC_URL", i.URL}, {"GOVC_USERNAME", i.User}, {"GOVC_PASSWORD", password}, {"GOVC_TLS_KNOWN_HOSTS", known},
		{"GOVC_PERSIST_SESSION", "false"}, {"GOVC_DATASTORE", i.Datastores[0]},
		{"VIC_MACHINE_TARGET", i.Target}, {"VIC_MACHINE_USER", i.User}, {"VIC_MACHINE_PASSWORD", password},
		{"VIC_MACHINE_THUMBPRINT", i.Thumbprint}, {"VIC_LAB_STATE", i.State}, {"VIC_LAB_REGISTRY", i.Registry},
	} {
		fmt.Fprintf(&b, "export %s='%s'\n", kv[0], strings.ReplaceAll(kv[1], "'", `'\''`))
	}
	return b.String()
}

func writePrivate(name string, b []byte) error {
	tmp := name + "~"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// readPID is the daemon's process id, 0 if none is noted.
func readPID(state string) int {
	b, err := os.ReadFile(filepath.Join(state, pidFile))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}
