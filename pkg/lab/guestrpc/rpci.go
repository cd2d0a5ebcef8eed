package guestrpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// ServeRPCI answers the guest's requests on conn, one at a time, until conn or
// ctx ends; it closes conn. The end of the stream is no error.
func (h *Host) ServeRPCI(ctx context.Context, conn io.ReadWriteCloser) error {
	defer conn.Close()
	defer closeWith(ctx, conn)()
	r := bufio.NewReader(conn)
	for {
		req, err := ReadFrame(r)
		switch {
		case ctx.Err() != nil, errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read guest request: %w", err)
		}
		if err := WriteFrame(conn, h.Answer(req)); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("answer guest request: %w", err)
		}
	}
}

// reply texts as a VMX says them.
const (
	unknownCommand = "Unknown command"
	noValue        = "No value found"
	denied         = "Permission denied"
	badArgs        = "Invalid arguments"
)

// Answer carries out one RPCI request and returns its reply: "1 " and a value,
// or "0 " and a reason.
func (h *Host) Answer(req []byte) []byte {
	name, args, _ := bytes.Cut(req, []byte{' '})
	value, err := h.dispatch(string(bytes.TrimRight(name, "\x00")), args)
	if err != nil {
		return append([]byte("0 "), err.Error()...)
	}
	return append([]byte("1 "), value...)
}

func (h *Host) dispatch(name string, args []byte) (string, error) {
	switch {
	case name == "info-get":
		return h.infoGet(args)
	case name == "info-set":
		return "", h.infoSet(args)
	case name == "SetGuestInfo":
		return "", h.setGuestInfo(args)
	case name == "log":
		h.log.WithField("guest", printable(args)).Info("guest log")
		return "", nil
	case name == "tools.os.statechange.status":
		return "", h.stateChange(args)
	case name == "tools.set.version", name == "tools.set.versiontype", strings.HasPrefix(name, "tools.capability."):
		h.setCapability(name, args)
		return "", nil
	case strings.HasPrefix(name, "vmx.capability."):
		// The guest announces or asks for a feature of the channel; all of
		// those that its library has work here.
		return "", nil
	}
	return "", errors.New(unknownCommand)
}

func (h *Host) infoGet(args []byte) (string, error) {
	key := string(bytes.TrimRight(args, " \x00"))
	if !strings.HasPrefix(key, "guestinfo.") {
		return "", errors.New(denied)
	}
	v, ok := h.guest.InfoGet(key)
	if !ok {
		return "", errors.New(noValue)
	}
	return v, nil
}

func (h *Host) infoSet(args []byte) error {
	key, value, _ := bytes.Cut(args, []byte{' '})
	if !bytes.HasPrefix(key, []byte("guestinfo.")) || len(key) == len("guestinfo.") {
		return errors.New(denied)
	}
	return h.guest.InfoSet(string(key), string(value))
}

// Kinds of SetGuestInfo, from open-vm-tools' guestInfo.h; govmomi/toolbox sends
// version 3 of the NIC list as kind 9, open-vm-tools as kind 10.
const (
	infoDNSName   = 1
	infoIPAddress = 2
	infoNICs      = 9
	infoNICs3     = 10
)

// setGuestInfo takes " KIND DATA". Kinds that the lab shows nowhere are taken
// and forgotten.
func (h *Host) setGuestInfo(args []byte) error {
	kindText, data, _ := bytes.Cut(bytes.TrimLeft(args, " "), []byte{' '})
	kind, err := strconv.Atoi(string(kindText))
	if err != nil {
		return errors.New(badArgs)
	}
	switch kind {
	case infoDNSName:
		name := string(bytes.TrimRight(data, "\x00"))
		if name == "" || len(name) > 255 {
			return errors.New(badArgs)
		}
		h.guest.Hostname(name)
	case infoIPAddress:
		ip, err := netip.ParseAddr(string(bytes.TrimRight(data, "\x00")))
		if err != nil {
			return errors.New(badArgs)
		}
		// The oldest form names no NIC.
		h.guest.Addresses([]machine.GuestNIC{{Addresses: []string{netip.PrefixFrom(ip, ip.BitLen()).String()}}})
	case infoNICs, infoNICs3:
		info, err := decodeNICInfo(data)
		if err != nil {
			h.log.WithError(err).Warn("guest sent a NIC list that can't be read")
			return errors.New(badArgs)
		}
		h.guest.Addresses(info.nics)
		if info.hostname != "" {
			h.guest.Hostname(info.hostname)
		}
	default:
		if kind < 1 || kind > 64 {
			return errors.New(badArgs)
		}
	}
	return nil
}

// setCapability remembers name=args; a guest can't make the table grow without
// bound.
func (h *Host) setCapability(name string, args []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.caps[name]; !known && (len(h.caps) >= 128 || len(name)+len(args) > 1024) {
		return
	}
	h.caps[name] = string(bytes.TrimRight(args, " \x00"))
}

// stateChange takes "RESULT STATE": whether the tools could begin the change of
// power state that they were asked for.
func (h *Host) stateChange(args []byte) error {
	var ok, state int
	if _, err := fmt.Sscan(string(bytes.TrimRight(args, "\x00")), &ok, &state); err != nil {
		return errors.New(badArgs)
	}
	h.mu.Lock()
	ch := h.changes[state]
	h.mu.Unlock()
	if ch != nil {
		select {
		case ch <- ok == 1:
		default: // already told
		}
	}
	return nil
}

// printable makes a guest's text safe for a log line.
func printable(b []byte) string {
	const most = 1024
	if len(b) > most {
		b = b[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b), "?"))
}
