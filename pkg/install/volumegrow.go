package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/install/certs"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// maxAnswer bounds what is read of the engine's answer, in bytes.
const maxAnswer = 1 << 20

// GrowOptions are the wishes of vic-machine volume grow.
type GrowOptions struct {
	Read   ReadOptions
	Name   string // of the VCH
	Volume string
	Size   string // the new size, "20GB"
	// CertDir has cert.pem and key.pem, for a VCH whose clients must show a
	// certificate; empty: ./NAME, where create put them.
	CertDir string
	// Dial reaches the VCH; nil is the system's.
	Dial Dialer
}

func (o GrowOptions) check() (bytes int64, err error) {
	var errs []error
	if o.Volume == "" {
		errs = append(errs, issuef("--volume", "name the volume to grow"))
	}
	mb, err := ParseMB(o.Size)
	switch {
	case o.Size == "":
		errs = append(errs, issuef("--size", "give the size that the volume is to have, as in 20GB"))
	case err != nil:
		errs = append(errs, issuef("--size", "%s", Plain(err)))
	case mb == 0 || mb > 1<<40:
		errs = append(errs, issuef("--size", "%q: a volume cannot have this size", o.Size))
	}
	return mb << 20, errors.Join(errs...)
}

// GrowVolume makes a volume of a VCH larger, through its engine, which knows
// what container has the disk. It gives the size it has then, in bytes.
func GrowVolume(ctx context.Context, o GrowOptions, log *logrus.Entry) (int64, error) {
	want, err := o.check()
	if err != nil {
		return 0, err
	}
	var got int64
	err = with(ctx, o.Read, log, func(ctx context.Context, s *vsphere.Session) error {
		a, err := Find(ctx, s, o.Name)
		if err != nil {
			return err
		}
		if a.State.Power != types.VirtualMachinePowerStatePoweredOn || a.State.Address == "" {
			return fmt.Errorf("VCH %s is not running (%s): its engine grows volumes: %w", o.Name, a.status(), errdefs.ErrFailedPrecondition)
		}
		client, base, err := o.engine(a)
		if err != nil {
			return err
		}
		got, err = askGrow(ctx, client, base, o.Volume, want)
		return err
	})
	return got, err
}

// engine gives a client that talks to this VCH's engine and no other server.
func (o GrowOptions) engine(a Appliance) (*http.Client, string, error) {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	tr := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	e := Endpoint{Off: a.VCH.ServerCert == ""}
	base := "http://" + net.JoinHostPort(a.State.Address, e.port())
	if e.Off {
		return &http.Client{Transport: tr}, base, nil
	}
	var pair certs.Pair
	if a.VCH.ClientCAs != "" {
		dir := o.CertDir
		if dir == "" {
			dir = a.VCH.Name
		}
		var cerr, kerr error
		pair.Cert, cerr = os.ReadFile(filepath.Join(dir, "cert.pem"))
		pair.Key, kerr = os.ReadFile(filepath.Join(dir, "key.pem"))
		if err := errors.Join(cerr, kerr); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil, "", issuef("--tls-cert-path", "clients of VCH %s must show a certificate, and there is no cert.pem with key.pem in %s: name their folder", o.Name, dir)
			}
			return nil, "", fmt.Errorf("client certificate: %w", err)
		}
	}
	cfg, err := certs.Pinned([]byte(a.VCH.ServerCert), pair)
	if err != nil {
		return nil, "", fmt.Errorf("certificates of VCH %s: %w", o.Name, err)
	}
	tr.TLSClientConfig = cfg
	return &http.Client{Transport: tr}, "https" + strings.TrimPrefix(base, "http"), nil
}

func askGrow(ctx context.Context, c *http.Client, base, volume string, want int64) (int64, error) {
	body, err := json.Marshal(map[string]int64{"Capacity": want})
	if err != nil {
		return 0, err
	}
	text, err := ask(ctx, c, base+"/vic/volumes/"+url.PathEscape(volume)+"/grow", body, "grow volumes")
	if err != nil {
		return 0, err
	}
	var v struct {
		Status struct {
			CapacityBytes int64 `json:"capacityBytes"`
		}
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return 0, fmt.Errorf("the engine's answer: %w", err)
	}
	return v.Status.CapacityBytes, nil
}

// ask sends JSON to the engine and gives its answer. what is what an engine cannot
// do that does not know the path.
func ask(ctx context.Context, c *http.Client, url string, body []byte, what string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the engine: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the engine's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, refused(res, text, what)
	}
	return text, nil
}

// refused is the engine's own message, if it gave one.
func refused(res *http.Response, text []byte, what string) error {
	var m struct{ Message string }
	if json.Unmarshal(text, &m) != nil || m.Message == "" {
		m.Message = "the engine answers " + res.Status
	}
	var class error = errdefs.ErrUnknown
	switch res.StatusCode {
	case http.StatusNotFound:
		class = errdefs.ErrNotFound
		if m.Message == "page not found" {
			m.Message = "the VCH's version cannot " + what + ": make it anew with this version's vic-machine"
		}
	case http.StatusBadRequest:
		class = errdefs.ErrInvalidArgument
	case http.StatusConflict:
		class = errdefs.ErrConflict
	}
	return &engineError{m.Message, class}
}

// engineError has the engine's text, to which nothing is to be added.
type engineError struct {
	text  string
	class error
}

func (e *engineError) Error() string { return e.text }
func (e *engineError) Unwrap() error { return e.class }
