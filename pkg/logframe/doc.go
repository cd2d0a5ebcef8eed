// Package logframe is the framing of a container's output in the file that the
// VM writes by itself through a file-backed serial port, and on the control line
// when the engine follows it live. A frame carries the run (one per boot of the
// container), a sequence number within the run, the stream, the time and the
// data, with a checksum. A reader finds the next frame after torn writes and
// foreign bytes. The package must not know where the bytes come from.
//
//	w := logframe.NewWriter(tty, run)            // tether; one Write per frame
//	frame, err := w.Write(spec.Stdout, now, data)
//	r := logframe.NewReader(file)                // engine; from any offset
//	f, err := r.Next()                           // io.EOF at the end
//	off := r.Offset()                            // where to go on reading later
//
// Start reading at Frame.
package logframe
