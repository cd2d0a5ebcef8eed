package portlayer

import (
	"context"

	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/tetherproto"
	"github.com/vic-engine/vic/portlayer/attach"
	"github.com/vic-engine/vic/portlayer/exec"
)

// concentrator is the serial concentrator as package exec wants it.
type concentrator struct {
	*attach.Server
}

func (c concentrator) Session(ctx context.Context, id string) (exec.Line, error) {
	s, err := c.Server.Session(ctx, id)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// hostKey is asked by the concentrator about a guest that said Hello.
func (p *PortLayer) hostKey(ctx context.Context, id string) (ssh.PublicKey, error) {
	m, err := p.manage()
	if err != nil {
		return nil, err
	}
	return m.HostKey(ctx, id)
}

// report takes what guests say of themselves.
func (p *PortLayer) report(id string, r tetherproto.Report) {
	m, err := p.manage()
	if err != nil {
		return // nobody is served before it is there
	}
	switch r.Kind {
	case tetherproto.ReportStarted:
		m.OnStarted(id, r.PID)
	case tetherproto.ReportExited:
		m.OnExited(id, r.Exit)
	case tetherproto.ReportAddresses:
		m.OnAddresses(id, r.Addresses)
		if len(p.router.policySet()) > 0 {
			p.router.kick() // groups have the addresses that their members have
		}
	case tetherproto.ReportOOM:
		m.OnOOM(id)
	case tetherproto.ReportPaused:
		m.OnPaused(id, r.Paused)
	}
}
