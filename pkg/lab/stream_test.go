package lab

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"net/url"
	"strings"

	"github.com/vmware/govmomi/nfc"
)

// leaseURL is where a lease's first disk goes, with "*" filled in.
func (r *rig) leaseURL(info *nfc.LeaseInfo) *url.URL {
	r.t.Helper()
	u, err := url.Parse(strings.Replace(info.DeviceUrl[0].Url, "*", r.l.URL().Host, 1))
	r.must(err)
	return u
}

// streamOptimized is a VMDK with one grain, at sector lba.
func streamOptimized(capacity, lba int64, grain []byte) []byte {
	le := binary.LittleEndian
	h := make([]byte, 128*512)
	copy(h, "KDMV")
	le.PutUint32(h[8:], 1<<16|1<<17)
	le.PutUint64(h[12:], uint64(capacity/512))
	le.PutUint64(h[20:], 128)
	le.PutUint64(h[28:], 1)
	le.PutUint64(h[36:], 20)
	le.PutUint64(h[64:], 128)
	le.PutUint16(h[77:], 1)
	copy(h[512:], "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRDONLY 1 SPARSE \"x.vmdk\"\n")
	b := bytes.NewBuffer(h)
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(grain)
	_ = w.Close()
	m := make([]byte, 12)
	le.PutUint64(m, uint64(lba))
	le.PutUint32(m[8:], uint32(z.Len()))
	b.Write(m)
	b.Write(z.Bytes())
	b.Write(make([]byte, (512-b.Len()%512)%512))
	b.Write(make([]byte, 512)) // end of stream
	return b.Bytes()
}
