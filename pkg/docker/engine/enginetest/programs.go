package enginetest

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// Program is a process: it runs until it returns its exit code. It must end
// soon after Killed is closed.
type Program func(p *Proc) int

// Proc is what a Program sees of the world.
type Proc struct {
	Args           []string
	Process        spec.Process
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Signals        <-chan string
	Killed         <-chan struct{}
	Resized        <-chan struct{}

	p *process
}

// Size is the terminal's size.
func (p *Proc) Size() (rows, cols int) {
	p.p.mu.Lock()
	defer p.p.mu.Unlock()
	return p.p.rows, p.p.cols
}

// Standard gives the programs that tests use.
func Standard() map[string]Program {
	return map[string]Program{
		"true":   func(*Proc) int { return 0 },
		"false":  func(*Proc) int { return 1 },
		"echo":   echo,
		"exit":   func(p *Proc) int { n, _ := strconv.Atoi(p.Args[0]); return n },
		"cat":    cat,
		"both":   both,
		"env":    func(p *Proc) int { fmt.Fprintln(p.Stdout, strings.Join(p.Process.Env, "\n")); return 0 },
		"sleep":  sleep,
		"trap":   trap,
		"deaf":   deaf,
		"size":   size,
		"lines":  lines,
		"sh":     shell,
		"noexec": nil,
	}
}

// deaf says which signals it does not listen to, until it is killed.
func deaf(p *Proc) int {
	for {
		select {
		case s := <-p.Signals:
			fmt.Fprintln(p.Stdout, "deaf to", s)
		case <-p.Killed:
			return 137
		}
	}
}

func echo(p *Proc) int {
	fmt.Fprintln(p.Stdout, strings.Join(p.Args, " "))
	return 0
}

func cat(p *Proc) int {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(p.Stdout, p.Stdin)
	}()
	select {
	case <-done:
		return 0
	case <-p.Signals:
		return 143
	case <-p.Killed:
		return 137
	}
}

// both writes one line to each of stdout and stderr.
func both(p *Proc) int {
	fmt.Fprintln(p.Stdout, "to stdout")
	fmt.Fprintln(p.Stderr, "to stderr")
	return 0
}

// sleep runs for a duration ("1h", or seconds), or until a signal.
func sleep(p *Proc) int {
	d, err := time.ParseDuration(p.Args[0])
	if err != nil {
		n, _ := strconv.Atoi(p.Args[0])
		d = time.Duration(n) * time.Second
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return 0
	case <-p.Signals:
		return 143
	case <-p.Killed:
		return 137
	}
}

// trap prints each signal, and exits with 0 on TERM.
func trap(p *Proc) int {
	fmt.Fprintln(p.Stdout, "ready")
	for {
		select {
		case s := <-p.Signals:
			fmt.Fprintln(p.Stdout, "got", s)
			if s == "SIGTERM" {
				return 0
			}
		case <-p.Killed:
			return 137
		}
	}
}

// size prints the terminal's size at each change, and ends on stdin's end.
func size(p *Proc) int {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, p.Stdin)
		close(ended)
	}()
	for {
		select {
		case <-p.Resized:
			r, c := p.Size()
			fmt.Fprintf(p.Stdout, "%d %d\r\n", r, c)
		case <-ended:
			return 0
		case <-p.Killed:
			return 137
		}
	}
}

// lines N prints that many numbered lines, every third to stderr.
func lines(p *Proc) int {
	n, _ := strconv.Atoi(p.Args[0])
	for i := 1; i <= n; i++ {
		w := p.Stdout
		if i%3 == 0 {
			w = p.Stderr
		}
		fmt.Fprintf(w, "line %d\n", i)
	}
	return 0
}

// shell reads commands, one a line: "echo words", "exit N". It ends with stdin.
func shell(p *Proc) int {
	code := make(chan int, 1)
	go func() {
		in := bufio.NewScanner(p.Stdin)
		in.Split(splitLines)
		for in.Scan() {
			word, rest, _ := strings.Cut(in.Text(), " ")
			switch word {
			case "echo":
				fmt.Fprintf(p.Stdout, "%s\r\n", rest)
			case "exit":
				n, _ := strconv.Atoi(rest)
				code <- n
				return
			}
		}
		code <- 0
	}()
	select {
	case n := <-code:
		return n
	case <-p.Killed:
		return 137
	}
}

// splitLines takes both ends of line, since a raw terminal sends \r.
func splitLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := strings.IndexAny(string(data), "\r\n"); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
