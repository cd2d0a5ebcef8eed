package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/lab/machine"
)

// noVMs is a hypervisor that runs nothing.
type noVMs struct{}

var _ machine.Hypervisor = noVMs{}

func (noVMs) Start(context.Context, machine.Machine, machine.Guest) (machine.Instance, error) {
	return nil, errors.New("no VMs here")
}

func (noVMs) Adopt(context.Context, machine.Machine, machine.Guest) (machine.Instance, error) {
	return nil, errors.New("no VMs here")
}

// terminal gives a Terminal over buffers and an environment.
func terminal(env map[string]string) (t Terminal, out, err *bytes.Buffer) {
	out, err = new(bytes.Buffer), new(bytes.Buffer)
	return Terminal{Out: out, Err: err, Env: func(k string) string { return env[k] }}, out, err
}

// running starts a lab the way serve announces it, without its machine room.
func running(t *testing.T, ctx context.Context) (state string, done <-chan error) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	state = t.TempDir()
	l, err := lab.New(lab.Config{StateDir: state, Listen: "127.0.0.1:0", Hypervisor: noVMs{}, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	end, over := make(chan error, 1), make(chan struct{})
	go func() {
		end <- l.Run(ctx)
		close(over)
	}()
	t.Cleanup(func() {
		cancel()
		<-over
	})
	select {
	case <-l.Ready():
	case <-over:
		t.Fatal(<-end)
	}
	term, _, _ := terminal(nil)
	o := &upOptions{mode: "esxi"}
	o.dir = state
	if err := announce(term, o, &taken{}, l, "http://registry.lab.test:5000"); err != nil {
		t.Fatal(err)
	}
	return state, end
}
