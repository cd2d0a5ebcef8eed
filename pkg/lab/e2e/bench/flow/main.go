// Command flow measures one TCP connection. It is static and small, so that it
// runs in a container, in a bare VM and on this computer alike.
//
//	flow listen ADDRESS          takes what comes; prints its address first
//	flow send ADDRESS DURATION   sends for so long, and prints MB/s
//
// The receiver counts, and the time is from the first byte sent until the
// receiver has said how many arrived: what waits in buffers does not count twice.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// block is what is written at once, as iperf3 does it for TCP.
const block = 128 << 10

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "flow:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "listen":
		l, err := net.Listen("tcp", args[1])
		if err != nil {
			return err
		}
		fmt.Fprintln(out, l.Addr())
		return serve(l)
	case len(args) == 3 && args[0] == "send":
		d, err := time.ParseDuration(args[2])
		if err != nil || d <= 0 {
			return fmt.Errorf("duration %q: want one like 5s", args[2])
		}
		rate, err := send(args[1], d)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%.3f MB/s\n", rate)
		return nil
	}
	return fmt.Errorf("usage: flow listen ADDRESS | flow send ADDRESS DURATION")
}

// serve counts for one sender after the other, until l is closed.
func serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go count(c)
	}
}

func count(c net.Conn) {
	defer c.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, block))
	if err == nil {
		_, _ = fmt.Fprintln(c, n) // a sender that has gone asks no more
	}
}

// send gives the rate in MB/s.
func send(addr string, d time.Duration) (float64, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	buf := make([]byte, block)
	start := time.Now()
	if err := c.SetDeadline(start.Add(d + time.Minute)); err != nil {
		return 0, err
	}
	for time.Since(start) < d {
		if _, err := c.Write(buf); err != nil {
			return 0, err
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	text, err := bufio.NewReader(c).ReadString('\n')
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("the receiver does not say what it got: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the receiver says %q", text)
	}
	return float64(n) / took.Seconds() / 1e6, nil
}
