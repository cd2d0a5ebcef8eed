package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vic-engine/vic/pkg/install"
	"github.com/vic-engine/vic/pkg/version"
)

// Terminal is where a command reads and writes.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer
	// Env reads an environment variable.
	Env func(string) string
}

// Execute runs one command line and gives the exit code: 0, or 1 with the error
// as the last line.
func Execute(ctx context.Context, args []string, t Terminal) int {
	root := Root(t)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	out := t.Err
	if logsToOut(cmd) {
		out = t.Out
	}
	failed(newLog(out, 0), strings.TrimPrefix(cmd.CommandPath(), root.Name()), install.Plain(err))
	return 1
}

// failed prints an error: what is more than one line first, the verdict last.
func failed(log *logrus.Entry, verb, text string) {
	lines := strings.Split(text, "\n")
	if len(lines) > 1 {
		for _, line := range lines {
			log.Error(line)
		}
	}
	log.Error("--------------------")
	log.Errorf("%s%s failed: %s", program(), verb, strings.TrimSuffix(lines[0], ":"))
}

// program is vic-machine's name on this operating system, as it is shipped.
func program() string { return "vic-machine-" + runtime.GOOS }

// Root is the command with all its verbs.
func Root(t Terminal) *cobra.Command {
	root := &cobra.Command{
		Use:           "vic-machine",
		Short:         "Make, list and remove Virtual Container Hosts on vSphere",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(t.In)
	root.SetOut(t.Out)
	root.SetErr(t.Err)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newCreate(t), newDelete(t), newLs(t), newInspect(t), newVolume(t), newTraceflow(t), newVersion())
	return root
}

// flagError says which flag is unknown, and no more: what was typed may be a
// password that went astray.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	name := "--" + unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		name = "-" + unknown.GetSpecifiedName()
	}
	return fmt.Errorf("unknown flag %s: see %s --help: %w", name, cmd.CommandPath(), errdefs.ErrInvalidArgument)
}

// noArgs refuses arguments without repeating them, for the same reason.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("unknown argument after the flags: %s takes none, and values with spaces need quotes: %w", cmd.CommandPath(), errdefs.ErrInvalidArgument)
}

// logsToOut tells the verbs whose log is their output.
func logsToOut(cmd *cobra.Command) bool {
	return cmd.Name() == "create" || cmd.Name() == "delete"
}

func newLog(w io.Writer, debug int) *logrus.Entry {
	l := logrus.New()
	l.SetOutput(w)
	l.SetFormatter(install.Formatter{})
	if debug > 0 {
		l.SetLevel(logrus.DebugLevel)
	}
	return logrus.NewEntry(l)
}

// dockerCA is the file that a docker client takes as its CA by default.
func dockerCA(env func(string) string) string {
	for _, name := range []string{"DOCKER_CERT_PATH", "DOCKER_CONFIG"} {
		if dir := env(name); dir != "" {
			return filepath.Join(dir, "ca.pem")
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".docker", "ca.pem")
}

func newEnv(t Terminal, out io.Writer, log *logrus.Entry) (install.Env, error) {
	dir, err := os.Getwd()
	if err != nil {
		return install.Env{}, fmt.Errorf("find the working directory: %w", err)
	}
	return install.Env{
		Log: log, Out: out, Dir: dir, DockerCA: dockerCA(t.Env), Now: time.Now, Version: version.Version,
		Dial: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}, nil
}

// findISO looks for a boot image beside the program, in ./bin and here. It gives an empty
// path when there is none.
func findISO(name string) string {
	var dirs []string
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(exe))
	}
	for _, dir := range append(dirs, "bin", ".") {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
