package rpci

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Channel has the methods of govmomi's toolbox.Channel.
type Channel interface {
	Start() error
	Stop() error
	Send([]byte) error
	Receive() ([]byte, error)
}

// Channels gives what toolbox.NewService wants: in carries requests of the host
// (TCLO), out those of the guest (RPCI, shared with the client's own requests).
// Over virtio the Receive of in blocks until the host asks something, so the
// service does not poll; Stop it by closing the client or stopping in, which
// unblocks. Without a TCLO channel in is nil.
func (c *Client) Channels() (in, out Channel) {
	if c.tclo != nil {
		in = c.tclo()
	}
	return in, &outChannel{c: c}
}

// outChannel sends the toolbox's requests through the client, one at a time (the
// toolbox calls it from one goroutine).
type outChannel struct {
	c     *Client
	reply []byte
}

func (o *outChannel) Start() error { return nil }
func (o *outChannel) Stop() error  { return nil }

func (o *outChannel) Send(msg []byte) (err error) {
	o.reply, err = o.c.t.roundTrip(msg)
	return err
}

func (o *outChannel) Receive() ([]byte, error) {
	if o.reply == nil {
		return nil, fmt.Errorf("no request was sent: %w", errdefs.ErrFailedPrecondition)
	}
	reply := o.reply
	o.reply = nil
	return reply, nil
}
