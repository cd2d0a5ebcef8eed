package tether

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"os"

	"github.com/vmware/govmomi/toolbox"

	"github.com/vic-engine/vic/pkg/guestinfo/rpci"
)

// guestInfoDNSName is the kind of SetGuestInfo that carries the host name
// (INFO_DNS_NAME of open-vm-tools' guestInfo).
const guestInfoDNSName = 1

// tools is what vSphere expects of VMware Tools: that they run, the guest's
// addresses and name, and soft power operations. Guest operations (running
// programs, files) are refused: who may use them is vSphere's matter, and exec
// and cp go through the engine.
type tools struct {
	rpc    *rpci.Client
	in     rpci.Channel
	svc    *toolbox.Service
	report func(error)
}

var errNoTools = errors.New("the hypervisor has no channel for requests to this guest")

func newTools(vm *VM) *tools {
	t := &tools{rpc: vm.rpc, report: func(err error) { vm.log.WithError(err).Debug("tools") }}
	in, out := vm.rpc.Channels()
	if in == nil {
		return t
	}
	stdlog.SetOutput(io.Discard) // the toolbox's own chatter
	t.in, t.svc = in, toolbox.NewService(in, out)
	for _, op := range []string{"Vix_1_Relayed_Command", "Vix_1_Mount_Volumes", "Vix_1_Send_Hgfs_Packet"} {
		t.svc.RegisterHandler(op, func([]byte) ([]byte, error) {
			return nil, errors.New("guest operations are not offered")
		})
	}
	t.svc.Power.Halt.Handler = func() error { vm.end.ask(false); return nil }
	t.svc.Power.Reboot.Handler = func() error { vm.end.ask(true); return nil }
	// Over the line that the toolbox polls there is one goroutine; what it would
	// send of itself is sent by us, so that its request channel has one user.
	t.svc.PrimaryIP = toolbox.DefaultIP
	return t
}

// run serves the hypervisor's requests until ctx ends.
func (t *tools) run(ctx context.Context) error {
	if t.svc == nil {
		return errNoTools
	}
	if err := t.svc.Start(); err != nil {
		return fmt.Errorf("tools: %w", err)
	}
	t.tell()
	<-ctx.Done()
	t.svc.Stop()
	_ = t.in.Stop()
	t.svc.Wait()
	return nil
}

// tell reports addresses and the host name as they are now.
func (t *tools) tell() {
	if name, err := os.Hostname(); err == nil {
		_, err = t.rpc.Command(string(toolbox.GuestInfoCommand(guestInfoDNSName, []byte(name))))
		t.note(err)
	}
	req, err := toolbox.GuestInfoNicInfoRequest()
	if err == nil {
		_, err = t.rpc.Command(string(req))
	}
	t.note(err)
}

func (t *tools) note(err error) {
	if err != nil {
		t.report(err)
	}
}
