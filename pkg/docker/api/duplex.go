package api

import (
	"fmt"
	"io"
	"net/http"
)

// maxLeftOver is how much of a body is read for nothing, in bytes.
const maxLeftOver = 64 << 20

// readAll lets a handler answer while its client still sends, and gives what is to
// be called when the handler is through with the body: it reads what is left, such as
// the padding of a tar. Without the first, net/http throws away up to 256 KiB of the
// body at the first byte of an answer, and then closes the connection; without the
// second, a client's transport takes the end of the answer for the end of its own
// sending, which then fails.
func readAll(w http.ResponseWriter, r *http.Request) (rest func(), err error) {
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		return nil, fmt.Errorf("answer during a request: %w", err)
	}
	return func() { _, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxLeftOver)) }, nil
}
