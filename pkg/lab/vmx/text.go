package vmx

import (
	"bufio"
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Encode renders keys and values, sorted by key, empty values left out.
func Encode(kv map[string]string) []byte {
	keys := make([]string, 0, len(kv))
	for k, v := range kv {
		if v != "" {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys) // ".encoding" comes first, as it must
	var b bytes.Buffer
	for _, k := range keys {
		fmt.Fprintf(&b, "%s = \"%s\"\n", k, Quote(kv[k]))
	}
	return b.Bytes()
}

// Quote escapes a value: quotes, bars, number signs and control characters
// become |HH. Bytes over 0x7F stay, the file being UTF-8.
func Quote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"', c == '|', c == '#', c < 0x20, c == 0x7f:
			fmt.Fprintf(&b, "|%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Unquote is Quote's inverse. A bar without two hexadecimal digits stands for
// itself.
func Unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '|' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// ValidKey refuses what a line could not hold.
func ValidKey(key string) error {
	bad := key == "" || len(key) > 1024 || key != strings.TrimSpace(key) || key[0] == '#'
	for i := 0; i < len(key) && !bad; i++ {
		bad = key[i] < 0x20 || key[i] == 0x7f || key[i] == '"' || key[i] == '='
	}
	if bad {
		return fmt.Errorf("configuration key %.80q: %w", key, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Decode reads a .vmx file. Blank lines and comments are skipped; the last of
// equal keys wins.
func Decode(text []byte) (map[string]string, error) {
	kv := map[string]string{}
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, 4<<20)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
			return nil, fmt.Errorf("line %d: want key = \"value\": %w", n, errdefs.ErrInvalidArgument)
		}
		if err := ValidKey(k); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		kv[k] = Unquote(v[1 : len(v)-1])
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return kv, nil
}
