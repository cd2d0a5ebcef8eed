package registry

import (
	"net/http"
	"strings"
)

// damage spoils a byte of each layer read from the named repositories.
// Configs are blobs as well, and left whole.
func damage(repos []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, repo := range repos {
			if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v2/"+repo+"/blobs/sha256:") {
				w = &spoiler{ResponseWriter: w}
			}
		}
		next.ServeHTTP(w, r)
	})
}

type spoiler struct {
	http.ResponseWriter
	begun bool
}

// Write changes the last byte of a gzip stream's first write: the header stays
// good, so a client must compare digests, or fail at the checksum, to notice.
func (s *spoiler) Write(b []byte) (int, error) {
	if s.begun || len(b) == 0 || b[0] == '{' {
		s.begun = true
		return s.ResponseWriter.Write(b)
	}
	s.begun = true
	c := append([]byte(nil), b...)
	c[len(c)-1] ^= 0xff
	return s.ResponseWriter.Write(c)
}
