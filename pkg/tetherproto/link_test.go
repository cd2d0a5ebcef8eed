package tetherproto

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fault damages what is written to one direction of a line.
type fault struct {
	net.Conn
	mu      *sync.Mutex // guards rng
	rng     *rand.Rand
	drop    float64 // chance per 512 bytes that some bytes vanish
	corrupt float64 // … that a byte changes
	noise   float64 // … that foreign bytes come before
}

func (f *fault) Write(b []byte) (int, error) {
	f.mu.Lock()
	var out []byte
	for rest := b; len(rest) > 0; rest = rest[min(len(rest), 512):] {
		out = append(out, f.damage(bytes.Clone(rest[:min(len(rest), 512)]))...)
	}
	f.mu.Unlock()
	if len(out) > 0 {
		if _, err := f.Conn.Write(out); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (f *fault) damage(out []byte) []byte {
	if f.rng.Float64() < f.corrupt {
		out[f.rng.IntN(len(out))] ^= byte(1 + f.rng.IntN(255))
	}
	if f.rng.Float64() < f.drop {
		at := f.rng.IntN(len(out))
		n := min(1+f.rng.IntN(64), len(out)-at)
		out = append(out[:at], out[at+n:]...)
	}
	if f.rng.Float64() < f.noise {
		junk := make([]byte, f.rng.IntN(40))
		for i := range junk {
			junk[i] = byte(f.rng.Uint32())
		}
		out = append(junk, out...)
	}
	return out
}

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

// line is a guest and an engine joined by pipes that come and go.
type line struct {
	t        *testing.T
	ctx      context.Context
	seed     uint64
	bad      fault
	listener *Listener
	wg       sync.WaitGroup

	mu   sync.Mutex // guards what follows
	link *Link      // the engine's
	cut  func()
	got  chan *Link // new links of the engine
	// again: a connection that ends is made anew, as vSphere does.
	again bool
}

func newLine(t *testing.T, bad fault) *line {
	ctx, cancel := context.WithCancel(context.Background())
	l := &line{
		t: t, ctx: ctx, bad: bad, got: make(chan *Link, 10),
		listener: NewListener(LinkConfig{ContainerID: "cafe", BootID: "b1"}),
	}
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		cancel()
		l.wg.Wait()
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if runtime.NumGoroutine() <= before {
				return
			}
		}
		buf := make([]byte, 1<<16)
		t.Errorf("goroutines are left over:\n%s", buf[:runtime.Stack(buf, true)])
	})
	return l
}

// connect joins the two sides by a new pipe, cutting the one before.
func (l *line) connect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut != nil {
		l.cut()
	}
	l.seed++
	mine := l.seed
	a, b := net.Pipe()
	wrap := func(c net.Conn, n uint64) *Stream {
		f := l.bad
		f.mu, f.Conn, f.rng = new(sync.Mutex), c, rand.New(rand.NewPCG(l.seed, n))
		return NewStream(&f)
	}
	guest, engine := wrap(a, 1), wrap(b, 2)
	l.cut = func() { a.Close(); b.Close() }
	l.wg.Go(func() {
		_ = l.listener.Serve(l.ctx, guest)
		l.mu.Lock()
		ended := l.again && l.seed == mine && l.ctx.Err() == nil
		l.mu.Unlock()
		if ended {
			l.connect()
		}
	})
	l.wg.Go(func() { l.engine(engine) })
}

// engine is what the concentrator does with a new connection.
func (l *line) engine(s *Stream) {
	defer s.Close()
	hello, err := Greet(l.ctx, s)
	for err == nil {
		l.mu.Lock()
		link := l.link
		if link == nil || !link.Matches(hello) {
			if link != nil {
				link.fail(ErrReset)
			}
			link = NewLink(LinkConfig{KeepAlive: patience})
			l.link = link
			l.got <- link
		}
		l.mu.Unlock()
		err = link.Run(l.ctx, s, &hello)
		var changed *PeerChanged
		if !errors.As(err, &changed) {
			return
		}
		hello, err = changed.Hello, nil
	}
}

func (l *line) accept() *Link {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	link, err := l.listener.Accept(ctx)
	if err != nil {
		l.t.Fatal("accept:", err)
	}
	return link
}

func pattern(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// transfer sends data both ways at once and compares.
func transfer(t *testing.T, a, b *Link, size int, meanwhile func()) {
	t.Helper()
	var wg sync.WaitGroup
	send := func(l *Link, data []byte) {
		wg.Go(func() {
			_ = l.SetWriteDeadline(time.Now().Add(patience))
			if n, err := l.Write(data); err != nil || n != len(data) {
				l.mu.Lock()
				t.Errorf("write: %d of %d, %v: base %d next %d limit %d cwnd %d waiting %d synced %v rto %v at %v wake %d",
					n, len(data), err, l.base, l.next, l.limit, l.cwnd, len(l.sent), l.synced, l.rto, l.rtoAt, len(l.wake))
				l.mu.Unlock()
			}
		})
	}
	receive := func(l *Link, want []byte) {
		wg.Go(func() {
			got := make([]byte, len(want))
			_ = l.SetReadDeadline(time.Now().Add(patience))
			n, err := io.ReadFull(l, got)
			if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
				t.Errorf("received %d of %d bytes, equal %v: %v", n, len(want), bytes.Equal(got, want), err)
			}
		})
	}
	up, down := pattern(size, 1), pattern(size, 2)
	send(a, up)
	send(b, down)
	receive(b, up)
	receive(a, down)
	if meanwhile != nil {
		wg.Go(meanwhile)
	}
	wg.Wait()
}

func TestBytesArriveOnAGoodLine(t *testing.T) {
	l := newLine(t, fault{})
	l.connect()
	guest, engine := l.accept(), <-l.got
	transfer(t, guest, engine, 1<<20, nil)
	if d := guest.Stalled(); d > time.Second {
		t.Errorf("stalled for %v with nothing to send", d)
	}
}

func TestBytesArriveOnABadLine(t *testing.T) {
	l := newLine(t, fault{drop: 0.02, corrupt: 0.02, noise: 0.02})
	l.connect()
	guest, engine := l.accept(), <-l.got
	transfer(t, guest, engine, 128<<10, nil)
}

func TestLinkSurvivesCuts(t *testing.T) {
	l := newLine(t, fault{drop: 0.005})
	l.again = true
	l.connect()
	guest, engine := l.accept(), <-l.got
	transfer(t, guest, engine, 2<<20, func() {
		for range 8 {
			time.Sleep(10 * time.Millisecond)
			l.connect()
		}
	})
	if guest.Err() != nil || engine.Err() != nil || len(l.got) != 0 {
		t.Errorf("the link did not survive: %v %v", guest.Err(), engine.Err())
	}
}

func TestEngineRestarts(t *testing.T) {
	l := newLine(t, fault{})
	l.connect()
	guest, engine := l.accept(), <-l.got
	transfer(t, guest, engine, 100<<10, nil)

	// A new process of the engine knows nothing of the link.
	l.mu.Lock()
	l.link = nil
	l.mu.Unlock()
	l.connect()
	guest2, engine2 := l.accept(), <-l.got
	if _, err := guest.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("the guest's old link: %v", err)
	}
	transfer(t, guest2, engine2, 100<<10, nil)
	engine.fail(net.ErrClosed)
}

func TestGuestReboots(t *testing.T) {
	l := newLine(t, fault{})
	l.connect()
	guest, engine := l.accept(), <-l.got
	transfer(t, guest, engine, 10<<10, nil)

	l.mu.Lock()
	l.listener = NewListener(LinkConfig{ContainerID: "cafe", BootID: "b2"})
	l.mu.Unlock()
	l.connect()
	guest2, engine2 := l.accept(), <-l.got
	if _, err := engine.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("the engine's old link: %v", err)
	}
	transfer(t, guest2, engine2, 10<<10, nil)
	guest.fail(net.ErrClosed)
}

func TestGuestRebootsOnTheSameConnection(t *testing.T) {
	l := newLine(t, fault{})
	a, b := net.Pipe()
	l.wg.Go(func() { l.engine(NewStream(b)) })
	ctx1, kill := context.WithCancel(l.ctx)
	keep := &uncloseable{Conn: a, gone: make(chan struct{})}
	done := make(chan struct{})
	stream := NewStream(keep)
	go func() { defer close(done); _ = l.listener.Serve(ctx1, stream) }()
	guest, engine := l.accept(), <-l.got
	transfer(t, guest, engine, 10<<10, nil)
	kill()
	<-done
	<-stream.dead
	_ = a.SetDeadline(time.Time{})

	l.listener = NewListener(LinkConfig{ContainerID: "cafe", BootID: "b2"})
	l.wg.Go(func() { _ = l.listener.Serve(l.ctx, NewStream(a)) })
	guest2, engine2 := l.accept(), <-l.got
	<-engine.Done()
	transfer(t, guest2, engine2, 10<<10, nil)
	guest.fail(net.ErrClosed)
}

// uncloseable is a UART: the guest that used it goes, the line stays.
type uncloseable struct {
	net.Conn
	gone chan struct{}
}

func (u *uncloseable) Close() error {
	close(u.gone)
	_ = u.Conn.SetReadDeadline(time.Now())
	_ = u.Conn.SetWriteDeadline(time.Now())
	return nil
}

func (u *uncloseable) Read(b []byte) (int, error) {
	n, err := u.Conn.Read(b)
	select {
	case <-u.gone:
		return n, io.EOF
	default:
		return n, err
	}
}

// The clock stands still while anybody works: Close does not wait for ever.
func TestCloseDeliversEverything(t *testing.T) { synctest.Test(t, testCloseDeliversEverything) }

func testCloseDeliversEverything(t *testing.T) {
	l := newLine(t, fault{drop: 0.01})
	l.connect()
	guest, engine := l.accept(), <-l.got
	data := pattern(60<<10, 3)
	if _, err := guest.Write(data); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { defer close(closed); _ = guest.Close() }()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(engine, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("after close: equal %v, %v", bytes.Equal(got, data), err)
	}
	<-closed
	if _, err := guest.Write(data); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	// The peer sees the end, by the close frame or by the guest's next link.
	if _, err := engine.Read(got); err == nil {
		t.Error("the engine's link lives on")
	}
	_ = l.accept()
}

func TestSlowReaderBoundsMemory(t *testing.T) {
	l := newLine(t, fault{})
	l.connect()
	guest, engine := l.accept(), <-l.got
	data := pattern(400<<10, 4)
	done := make(chan error, 1)
	go func() { _, err := guest.Write(data); done <- err }()
	select {
	case err := <-done:
		t.Fatalf("400 KiB were taken with nobody reading: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	engine.mu.Lock()
	held := len(engine.recv)
	engine.mu.Unlock()
	if held > receiveBuffer {
		t.Errorf("%d bytes held", held)
	}
	got := make([]byte, len(data))
	if _, err := io.ReadFull(engine, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("equal %v: %v", bytes.Equal(got, data), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The clock stands still while anybody works: what passes is waited for in vain.
func TestLatencyOfOneByte(t *testing.T) { synctest.Test(t, testLatencyOfOneByte) }

func testLatencyOfOneByte(t *testing.T) {
	l := newLine(t, fault{})
	l.connect()
	guest, engine := l.accept(), <-l.got
	go func() { _, _ = io.Copy(guest, guest) }()
	b := make([]byte, 1)
	start := time.Now()
	for range 200 {
		if _, err := engine.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(engine, b); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("200 round trips took %v", took)
	}
	guest.fail(net.ErrClosed)
}

func TestSilentStreamIsGivenUp(t *testing.T) {
	a, b := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, b) }()
	link := NewLink(LinkConfig{KeepAlive: 10 * time.Millisecond})
	hello := Hello{Version: Version, ContainerID: "x", From: 7, To: link.local, Window: 1000}
	err := link.Run(context.Background(), NewStream(a), &hello)
	if !errors.Is(err, ErrSilent) {
		t.Errorf("got %v", err)
	}
	b.Close()
}

func TestDeadlines(t *testing.T) {
	link := NewLink(LinkConfig{})
	_ = link.SetDeadline(time.Now().Add(5 * time.Millisecond))
	_, err := link.Read(make([]byte, 1))
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("read: %v", err)
	}
	if _, err = link.Write(make([]byte, sendBuffer+1)); !errors.As(err, &timeout) {
		t.Errorf("write: %v", err)
	}
	_ = link.SetDeadline(time.Time{})
	_ = link.Close()
}

func TestProbeHasNoTelnetBytes(t *testing.T) {
	if bytes.IndexByte(Probe(), 0xff) >= 0 {
		t.Errorf("% x", Probe())
	}
}

func TestFrameCutShortHidesNothing(t *testing.T) {
	long := (&frame{typ: frameData, payload: pattern(maxPayload, 9)}).append(nil)
	for _, cut := range []int{1, headerSize - 1, headerSize, headerSize + 1, headerSize + 4, 1000, len(long) - 1} {
		a, b := net.Pipe()
		r := newFrameReader(b)
		go func() {
			for _, c := range append(bytes.Clone(long[:cut]), Probe()...) {
				if _, err := a.Write([]byte{c}); err != nil { // as a UART gives them
					return
				}
			}
		}()
		_ = b.SetReadDeadline(time.Now().Add(patience))
		if f, _, err := r.next(); err != nil || f.typ != frameProbe {
			t.Errorf("cut at %d: %+v, %v", cut, f, err)
		}
		a.Close()
	}
}

func FuzzFrames(f *testing.F) {
	good := (&frame{typ: frameData, tag: 1, seq: 2, ack: 3, window: 4, payload: []byte("hello")}).append(nil)
	f.Add(good)
	f.Add(append([]byte("SeaBIOS (version 1.16)\r\n\xa7\x5e"), good...))
	f.Add(append(good[:20:20], good...))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newFrameReader(bytes.NewReader(data))
		for {
			fr, _, err := r.next()
			if err != nil {
				break
			}
			if !bytes.Contains(data, fr.append(nil)) && !bytes.Contains(data, fr.payload) {
				t.Fatalf("frame %+v is not in the input", fr)
			}
			_, _ = parseHello(fr.payload)
		}
		// Whatever came before, three sound frames in a row are found.
		all := append(bytes.Clone(data), bytes.Repeat(good, maxFrame/len(good)+2)...)
		r = newFrameReader(bytes.NewReader(all))
		found := 0
		for {
			fr, _, err := r.next()
			if err != nil {
				break
			}
			if string(fr.payload) == "hello" {
				found++
			}
		}
		if found < 1 {
			t.Fatal("no resync")
		}
	})
}

func FuzzLinkHandle(f *testing.F) {
	f.Add(byte(3), uint32(0), uint32(0), uint32(100), "data")
	f.Add(byte(5), uint32(0), uint32(10), uint32(100), "")
	f.Fuzz(func(t *testing.T, typ byte, seq, ack, window uint32, payload string) {
		link := NewLink(LinkConfig{})
		hello := Hello{Version: Version, From: 7, To: link.local, Window: 500}
		link.takeOver(&running{})
		if err := link.handle(hello.frame(), false); err != nil {
			t.Fatal(err)
		}
		if _, err := link.Write([]byte(strings.Repeat("x", 1000))); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, _ = link.collect(nil, time.Now())
			_ = link.handle(frame{typ: frameType(typ), tag: link.tag, seq: seq, ack: ack, window: window, payload: []byte(payload)}, false)
			if len(link.recv) > receiveBuffer || after(link.base, link.next) || int(link.next-link.base) > len(link.sent) {
				t.Fatalf("state broken: %d %d %d", link.base, link.next, len(link.sent))
			}
		}
	})
}
