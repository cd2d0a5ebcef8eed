package vsphere

import (
	"io"
	"sync/atomic"
)

// counter is a reader that knows how much was read; n may be read meanwhile.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
