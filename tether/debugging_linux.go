package tether

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/proc"
)

const (
	debugAddress = ":22"
	debugHostKey = stateDir + "/ssh_host_ed25519_key"
	shellFile    = "/bin/sh"
)

// serveDebugging opens SSH for the owner of key (authorized_keys form): commands
// and a shell, as root, with or without a terminal.
func serveDebugging(ctx context.Context, vm *VM, key string) error {
	allowed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key))
	if err != nil {
		return fmt.Errorf("debug key: %w", err)
	}
	host, err := debugSigner()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", debugAddress)
	if err != nil {
		return fmt.Errorf("debugging: %w", err)
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if string(k.Marshal()) != string(allowed.Marshal()) {
			return nil, errors.New("not the debug key of this VCH")
		}
		return nil, nil
	}}
	cfg.AddHostKey(host)
	vm.log.WithField("key", ssh.FingerprintSHA256(host.PublicKey())).Info("debugging through SSH on port 22")
	d := &debugServer{vm: vm, cfg: cfg}
	vm.goes(func() { d.serve(ctx, l) })
	return nil
}

// debugSigner keeps the host key on the scratch disk, or in memory without one.
func debugSigner() (ssh.Signer, error) {
	if text, err := os.ReadFile(debugHostKey); err == nil {
		return ssh.ParsePrivateKey(text)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("debug host key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "vic appliance")
	if err != nil {
		return nil, fmt.Errorf("debug host key: %w", err)
	}
	if err := writeSecret(debugHostKey, pem.EncodeToMemory(block)); err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
}

type debugServer struct {
	vm  *VM
	cfg *ssh.ServerConfig
	wg  sync.WaitGroup
}

func (d *debugServer) serve(ctx context.Context, l net.Listener) {
	defer d.wg.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil {
				d.vm.log.WithError(err).Error("debugging ended")
			}
			return
		}
		d.wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			d.connection(conn)
		})
	}
}

func (d *debugServer) connection(conn net.Conn) {
	defer conn.Close()
	log := d.vm.log.WithField(spec.FieldRemote, conn.RemoteAddr())
	c, channels, requests, err := ssh.NewServerConn(conn, d.cfg)
	if err != nil {
		log.WithError(err).Warn("debugging refused")
		return
	}
	log.Info("debugging")
	go ssh.DiscardRequests(requests)
	for n := range channels {
		if n.ChannelType() != "session" {
			_ = n.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		ch, reqs, err := n.Accept()
		if err != nil {
			break
		}
		d.wg.Go(func() { (&debugSession{vm: d.vm, ch: ch, log: log}).serve(reqs) })
	}
	_ = c.Wait() // how it ended is no news
}

// debugSession is one shell or command.
type debugSession struct {
	vm      *VM
	ch      ssh.Channel
	log     *logrus.Entry
	process spec.Process
	running *proc.Process
}

// serve obeys the channel's requests (RFC 4254, 6).
func (s *debugSession) serve(reqs <-chan *ssh.Request) {
	defer s.ch.Close()
	s.process = spec.Process{Path: shellFile, Dir: "/", OpenStdin: true, Privileged: true, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}}
	var wg sync.WaitGroup
	for r := range reqs {
		ok := s.request(r, &wg)
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
	}
	if s.running != nil {
		_ = s.running.Signal("SIGHUP") // the client is gone
	}
	wg.Wait()
}

func (s *debugSession) request(r *ssh.Request, wg *sync.WaitGroup) bool {
	switch r.Type {
	case "env":
		var e struct{ Name, Value string }
		if ssh.Unmarshal(r.Payload, &e) != nil || e.Name == "" {
			return false
		}
		s.process.Env = append(s.process.Env, e.Name+"="+e.Value)
		return true
	case "pty-req":
		var p struct {
			Term                      string
			Cols, Rows, Width, Height uint32
			Modes                     string
		}
		if ssh.Unmarshal(r.Payload, &p) != nil {
			return false
		}
		s.process.TTY, s.process.Rows, s.process.Cols = true, int(p.Rows), int(p.Cols)
		s.process.Env = append(s.process.Env, "TERM="+p.Term)
		return true
	case "window-change":
		var p struct{ Cols, Rows, Width, Height uint32 }
		if ssh.Unmarshal(r.Payload, &p) != nil || s.running == nil {
			return false
		}
		return s.running.Resize(int(p.Rows), int(p.Cols)) == nil
	case "signal":
		var p struct{ Name string }
		if ssh.Unmarshal(r.Payload, &p) != nil || s.running == nil {
			return false
		}
		return s.running.Signal("SIG"+p.Name) == nil
	case "exec":
		var p struct{ Command string }
		if ssh.Unmarshal(r.Payload, &p) != nil {
			return false
		}
		s.process.Args = []string{"-c", p.Command}
		return s.start(wg)
	case "shell":
		return s.start(wg)
	}
	return false
}

func (s *debugSession) start(wg *sync.WaitGroup) bool {
	if s.running != nil {
		return false
	}
	p, err := proc.Start(s.vm.reaper, proc.Options{Root: "/", Process: s.process})
	if err != nil {
		s.log.WithError(err).Warn("debugging")
		return false
	}
	s.running = p
	go func() { // ends with the channel
		_, _ = io.Copy(p.Stdin(), s.ch)
		_ = p.Stdin().Close()
	}()
	wg.Go(func() {
		var out sync.WaitGroup
		out.Go(func() { _, _ = io.Copy(s.ch, p.Stdout()) })
		if !s.process.TTY {
			out.Go(func() { _, _ = io.Copy(s.ch.Stderr(), p.Stderr()) })
		}
		<-p.Done()
		out.Wait()
		_, _ = s.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(p.Status().Code)}))
		_ = s.ch.Close()
		p.Release()
	})
	return true
}
