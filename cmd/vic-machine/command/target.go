package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/vic-engine/vic/pkg/install"
)

// targetOptions are the flags that say where to work and as whom.
type targetOptions struct {
	target, user, password, thumbprint string
	force                              bool
}

func (o *targetOptions) addFlags(f *pflag.FlagSet, force string) {
	f.StringVarP(&o.target, "target", "t", "", "ESXi host or vCenter: [user[:password]@]host[:port][/datacenter], %-escapes as in a URL (env VIC_MACHINE_TARGET)")
	f.StringVarP(&o.user, "user", "u", "", "user at the target (env VIC_MACHINE_USER)")
	f.StringVarP(&o.password, "password", "p", "", "password; better in the environment, or asked for (env VIC_MACHINE_PASSWORD)")
	f.StringVar(&o.thumbprint, "thumbprint", "", "SHA-256 or SHA-1 thumbprint of the target's certificate (env VIC_MACHINE_THUMBPRINT)")
	f.BoolVarP(&o.force, "force", "f", false, force)
}

// prompt is the question of the terminal, in words that scripts wait for.
const prompt = "Please enter ESX or vCenter password: "

// resolve fills in the environment and asks for the password if nobody gave it.
func (o targetOptions) resolve(t Terminal, log *logrus.Entry) (install.Target, error) {
	or := func(v, env string) string {
		if v != "" {
			return v
		}
		return t.Env(env)
	}
	target := or(o.target, "VIC_MACHINE_TARGET")
	p, err := install.ParseTarget(target, o.user, o.password)
	if err != nil && o.user == "" && t.Env("VIC_MACHINE_USER") != "" {
		p, err = install.ParseTarget(target, t.Env("VIC_MACHINE_USER"), o.password)
	}
	if err != nil {
		return install.Target{}, err
	}
	p.Thumbprint = or(o.thumbprint, "VIC_MACHINE_THUMBPRINT")
	if p.PasswordSet {
		return p, nil
	}
	if env := t.Env("VIC_MACHINE_PASSWORD"); env != "" {
		p.Password, p.PasswordSet = env, true
		return p, nil
	}
	p.Password, err = askPassword(t, log)
	p.PasswordSet = err == nil
	return p, err
}

// askPassword asks on the terminal, or reads the first line of a pipe.
func askPassword(t Terminal, log *logrus.Entry) (string, error) {
	none := fmt.Errorf("no password: give VIC_MACHINE_PASSWORD, or --password, or run this on a terminal: %w", errdefs.ErrUnauthenticated)
	f, ok := t.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		if t.In == nil {
			return "", none
		}
		log.Info(prompt)
		line, err := bufio.NewReader(t.In).ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line == "" && err != nil {
			if !errors.Is(err, io.EOF) {
				return "", fmt.Errorf("read the password: %w", err)
			}
			return "", none
		}
		return line, nil
	}
	// Where the log is not seen, the question must be.
	if out, ok := t.Out.(*os.File); !ok || !term.IsTerminal(int(out.Fd())) {
		fmt.Fprint(t.Err, prompt)
	}
	log.Info(prompt)
	b, err := term.ReadPassword(int(f.Fd()))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(b), nil
}
