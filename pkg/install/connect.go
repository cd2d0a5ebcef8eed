package install

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/soap"

	"github.com/vic-engine/vic/pkg/vsphere"
)

// logoutTimeout bounds the end of a session, which nobody waits for gladly.
const logoutTimeout = 10 * time.Second

// Connect logs in to the target. A server whose certificate does not verify is
// refused with its thumbprint unless t names that, or force takes it as seen.
// The target that is returned has the thumbprint of the server in any case, so
// that the appliance can pin it.
func Connect(ctx context.Context, t Target, force bool, log *logrus.Entry) (*vsphere.Session, Target, error) {
	cfg := vsphere.Config{URL: t.URL().String(), User: t.User, Password: t.Password, Thumbprint: t.Thumbprint, Log: log}
	s, err := vsphere.Dial(ctx, cfg)
	var ce *vsphere.CertificateError
	if errors.As(err, &ce) && ce.Want == "" && force {
		log.Warnf("The certificate of %s is not trusted; --force takes it as seen, thumbprint %s", t.Host, ce.Thumbprint)
		cfg.Thumbprint = ce.Thumbprint
		s, err = vsphere.Dial(ctx, cfg)
	}
	if err != nil {
		return nil, t, explain(t, err)
	}
	t.Thumbprint = cfg.Thumbprint
	if t.Thumbprint == "" {
		if t.Thumbprint, err = verifiedThumbprint(ctx, t); err != nil {
			logout(ctx, s, log)
			return nil, t, err
		}
	}
	return s, t, nil
}

// explain says what an administrator can do about a failed login.
func explain(t Target, err error) error {
	var ce *vsphere.CertificateError
	switch {
	case errors.As(err, &ce) && ce.Want != "":
		return fmt.Errorf("the certificate of %s has the thumbprint %s (SHA-1 %s), not the one of --thumbprint: if that is the right server, give its thumbprint: %w",
			t.Host, ce.Thumbprint, ce.SHA1, errdefs.ErrPermissionDenied)
	case errors.As(err, &ce):
		return fmt.Errorf("the certificate of %s cannot be verified (%v): compare its thumbprint with the server's console, then add --thumbprint=%s (or --force to take any): %w",
			t.Host, ce.Reason, ce.Thumbprint, errdefs.ErrPermissionDenied)
	case errdefs.IsUnauthorized(err):
		return fmt.Errorf("%s does not accept the user %q with this password: check --user and --password: %w", t.Host, t.User, errdefs.ErrUnauthenticated)
	}
	return fmt.Errorf("connect to --target %s: %w", t.Host, err)
}

// verifiedThumbprint reads the thumbprint of a server that verifies.
func verifiedThumbprint(ctx context.Context, t Target) (string, error) {
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}, NetDialer: &net.Dialer{}}
	c, err := d.DialContext(ctx, "tcp", t.Address())
	if err != nil {
		return "", fmt.Errorf("read the certificate of %s: %w", t.Host, err)
	}
	defer c.Close()
	return soap.ThumbprintSHA256(c.(*tls.Conn).ConnectionState().PeerCertificates[0]), nil
}

// logout ends the session even when ctx is over: vSphere allows few of them.
func logout(ctx context.Context, s *vsphere.Session, log *logrus.Entry) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTimeout)
	defer cancel()
	if err := s.Logout(late); err != nil {
		log.WithError(err).Debug("log out")
	}
}
