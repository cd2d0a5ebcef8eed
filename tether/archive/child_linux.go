package archive

import (
	"bufio"
	"compress/flate"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vic-engine/vic/pkg/spec"
)

// Main is the process: args are those after Verb, stdin and stdout the streams of
// the operation, stderr gets a failure. It gives the exit status.
func Main(args []string) int {
	err := child(args, os.Stdin, os.Stdout)
	if err == nil {
		return 0
	}
	_ = json.NewEncoder(os.Stderr).Encode(failureOf(err)) // who does not read it is gone
	return 1
}

func child(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("%s: want one argument, have %d", Verb, len(args))
	}
	var j Job
	if err := json.Unmarshal([]byte(args[0]), &j); err != nil {
		return fmt.Errorf("%s: %w", Verb, err)
	}
	if err := enter(j); err != nil {
		return err
	}
	return deflating(out, func(w io.Writer) error { return do("/", j, in, w) })
}

// deflating calls f with a writer whose output is compressed to out. When f fails
// the last block is missing, so that nobody takes the rest for the whole.
func deflating(out io.Writer, f func(io.Writer) error) error {
	b := bufio.NewWriterSize(out, 64<<10)
	z, err := flate.NewWriter(b, flate.BestSpeed)
	if err != nil {
		return err
	}
	if err := f(z); err != nil {
		return errors.Join(err, z.Flush(), b.Flush())
	}
	return errors.Join(z.Close(), b.Flush())
}

// do does the job on the files below root, which is "/" but in tests.
func do(root string, j Job, in io.Reader, out io.Writer) error {
	f := files{root}
	switch j.Op {
	case spec.FileOpStat:
		st, err := f.stat(absolute(j.Path))
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(st)
	case spec.FileOpGet:
		return f.get(absolute(j.Path), out)
	case spec.FileOpPut:
		z := flate.NewReader(bufio.NewReaderSize(in, 64<<10))
		if err := f.put(j, z); err != nil {
			return err
		}
		// Zeros may follow the end of a tar; who sends them must get to their end.
		if _, err := io.Copy(io.Discard, z); err != nil {
			return fmt.Errorf("read the end of the archive: %w", err)
		}
		return nil
	case spec.FileOpChanges:
		e := json.NewEncoder(out)
		return f.changes(func(c spec.FileChange) error { return e.Encode(c) })
	case spec.FileOpExport:
		return f.export(out)
	case spec.FileOpLayer:
		return f.layer(out)
	}
	return fmt.Errorf("unknown operation %q", j.Op)
}
