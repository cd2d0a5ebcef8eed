package engine

import (
	"path"
	"slices"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/docker/go-connections/nat"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/sys/signal"
)

// changeInstructions are those of a Dockerfile that may change an image's
// configuration by commit and import, as in moby's builder/dockerfile.
var changeInstructions = []string{
	"cmd", "entrypoint", "env", "expose", "healthcheck", "label", "onbuild", "stopsignal", "user", "volume", "workdir",
}

// ApplyChanges applies Dockerfile instructions (the `--change` of commit and
// import) to an image's configuration. One that is wrong is ErrInvalidArgument;
// the configuration is then half changed and of no use.
func ApplyChanges(c *dockerspec.DockerOCIImageConfig, changes []string) error {
	text := strings.Join(changes, "\n")
	if strings.TrimSpace(text) == "" {
		return nil
	}
	file, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return invalid("change: %v", err)
	}
	lex := shell.NewLex(file.EscapeToken)
	cmdSet := false
	for _, n := range file.AST.Children {
		if !slices.Contains(changeInstructions, strings.ToLower(n.Value)) {
			return invalid("%s is not a valid change command", n.Value)
		}
		cmd, err := instructions.ParseCommand(n)
		if err != nil {
			return invalid("change: %v", err)
		}
		env := shell.EnvsFromSlice(c.Env)
		if x, ok := cmd.(instructions.SupportsSingleWordExpansion); ok {
			err := x.Expand(func(word string) (string, error) {
				s, _, err := lex.ProcessWord(word, env)
				return s, err
			})
			if err != nil {
				return invalid("change: %v", err)
			}
		}
		if x, ok := cmd.(*instructions.ExposeCommand); ok {
			if err := expandPorts(x, lex, env); err != nil {
				return invalid("change: %v", err)
			}
		}
		if err := applyChange(c, cmd, &cmdSet); err != nil {
			return err
		}
	}
	return nil
}

// expandPorts lets a variable hold several ports, as Docker does.
func expandPorts(x *instructions.ExposeCommand, lex *shell.Lex, env shell.EnvGetter) error {
	var out []string
	for _, p := range x.Ports {
		words, err := lex.ProcessWords(p, env)
		if err != nil {
			return err
		}
		out = append(out, words...)
	}
	x.Ports = out
	return nil
}

func applyChange(c *dockerspec.DockerOCIImageConfig, cmd instructions.Command, cmdSet *bool) error {
	switch x := cmd.(type) {
	case *instructions.CmdCommand:
		c.Cmd, c.ArgsEscaped = changedCommand(x.ShellDependantCmdLine, c.Shell) //nolint:staticcheck // false on Linux, and Docker writes it
		*cmdSet = *cmdSet || len(x.CmdLine) > 0
	case *instructions.EntrypointCommand:
		c.Entrypoint, c.ArgsEscaped = changedCommand(x.ShellDependantCmdLine, c.Shell) //nolint:staticcheck // as above
		if !*cmdSet {
			c.Cmd = nil
		}
	case *instructions.EnvCommand:
		for _, e := range x.Env {
			i := slices.IndexFunc(c.Env, func(have string) bool { return strings.HasPrefix(have, e.Key+"=") })
			if i < 0 {
				c.Env = append(slices.Clone(c.Env), e.String())
				continue
			}
			c.Env = slices.Clone(c.Env)
			c.Env[i] = e.String()
		}
	case *instructions.LabelCommand:
		c.Labels = copied(c.Labels)
		for _, l := range x.Labels {
			c.Labels[l.Key] = l.Value
		}
	case *instructions.ExposeCommand:
		ports, _, err := nat.ParsePortSpecs(x.Ports)
		if err != nil {
			return invalid("change: EXPOSE %s: %v", strings.Join(x.Ports, " "), err)
		}
		c.ExposedPorts = copied(c.ExposedPorts)
		for p := range ports {
			c.ExposedPorts[string(p)] = struct{}{}
		}
	case *instructions.VolumeCommand:
		c.Volumes = copied(c.Volumes)
		for _, v := range x.Volumes {
			if v == "" {
				return invalid("VOLUME specified can not be an empty string")
			}
			c.Volumes[v] = struct{}{}
		}
	case *instructions.HealthCheckCommand:
		c.Healthcheck = x.Health
	case *instructions.OnbuildCommand:
		c.OnBuild = append(slices.Clone(c.OnBuild), x.Expression)
	case *instructions.StopSignalCommand:
		if _, err := signal.ParseSignal(x.Signal); err != nil {
			return invalid("%v", err)
		}
		c.StopSignal = x.Signal
	case *instructions.UserCommand:
		c.User = x.User
	case *instructions.WorkdirCommand:
		// A relative one goes on from the one before.
		c.WorkingDir = path.Join("/", c.WorkingDir, x.Path)
		if path.IsAbs(x.Path) {
			c.WorkingDir = path.Clean(x.Path)
		}
	}
	return nil
}

// changedCommand is a command as the configuration has it: one that is not given
// as a JSON list runs in the shell.
func changedCommand(x instructions.ShellDependantCmdLine, sh []string) ([]string, bool) {
	if !x.PrependShell {
		return x.CmdLine, false
	}
	if len(sh) == 0 {
		sh = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(sh), x.CmdLine...), false
}

func copied[V any](m map[string]V) map[string]V {
	out := make(map[string]V, len(m)+1)
	for k, v := range m {
		out[k] = v
	}
	return out
}
