package network

import (
	"testing"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Everything goes to the kernel in one transaction, each rule once.
func TestOneTransaction(t *testing.T) {
	four, six := Rules(wanted(t)["full"]), Rules6(wanted(t)["full"])
	var begins, ends, added int
	c, err := nftables.New(nftables.WithTestDial(func(req []netlink.Message) ([]netlink.Message, error) {
		for _, m := range req {
			switch m.Header.Type {
			case unix.NFNL_MSG_BATCH_BEGIN:
				begins++
			case unix.NFNL_MSG_BATCH_END:
				ends++
			case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE:
				added++
			}
		}
		return req, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	fillTable(c, "eth1", nftables.TableFamilyIPv4, four)
	fillTable(c, "eth1", nftables.TableFamilyIPv6, six)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if begins != 1 || ends != 1 || added != len(four)+len(six) {
		t.Errorf("%d transactions begun, %d ended, %d rules; want 1, 1, %d", begins, ends, added, len(four)+len(six))
	}
}
