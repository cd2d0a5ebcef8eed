package guestinfo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// encodeValue gives the text of the field that p points to, and "" when the
// field is not set.
func encodeValue(p any) (string, error) {
	switch v := p.(type) {
	case *string:
		return encodeText(*v)
	case *spec.MountType:
		return encodeText(string(*v))
	case *bool:
		if !*v {
			return "", nil
		}
		return "true", nil
	case *int:
		return encodeInt(int64(*v)), nil
	case *int64:
		return encodeInt(*v), nil
	case *time.Time:
		if v.IsZero() {
			return "", nil
		}
		return v.UTC().Format(time.RFC3339Nano), nil
	case *[]string:
		if len(*v) == 0 {
			return "", nil
		}
		return encodeJSON(*v, *v...)
	case *map[string]string:
		if len(*v) == 0 {
			return "", nil
		}
		all := make([]string, 0, 2*len(*v))
		for k, s := range *v {
			all = append(all, k, s)
		}
		return encodeJSON(*v, all...)
	case *map[string]spec.Rlimit:
		return encodeRlimits(*v)
	}
	return "", fmt.Errorf("field of type %T: %w", p, errdefs.ErrInternal)
}

// decodeValue sets the field that p points to from its text.
func decodeValue(text string, p any) (err error) {
	switch v := p.(type) {
	case *string:
		*v, err = decodeText(text)
	case *spec.MountType:
		var s string
		s, err = decodeText(text)
		*v = spec.MountType(s)
	case *bool:
		*v, err = strconv.ParseBool(text)
	case *int:
		*v, err = strconv.Atoi(text)
	case *int64:
		*v, err = strconv.ParseInt(text, 10, 64)
	case *time.Time:
		var t time.Time
		t, err = time.Parse(time.RFC3339Nano, text)
		*v = t.UTC()
	case *[]string:
		err = json.Unmarshal([]byte(text), v)
	case *map[string]string:
		err = json.Unmarshal([]byte(text), v)
	case *map[string]spec.Rlimit:
		err = decodeRlimits(text, v)
	default:
		return fmt.Errorf("field of type %T: %w", p, errdefs.ErrInternal)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// typeName is the type of a field in the words of the key table.
func typeName(p any) string {
	switch p.(type) {
	case *bool:
		return "bool"
	case *int, *int64:
		return "integer"
	case *time.Time:
		return "time (RFC 3339, UTC)"
	case *[]string:
		return "JSON list"
	case *map[string]string, *map[string]spec.Rlimit:
		return "JSON map"
	}
	return "text"
}

func encodeInt(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// encodeText gives plain text, or a JSON string where plain text would not
// survive the way through XML, the .vmx file and RPCI: control characters, a
// space at either end, and a leading quote (which marks the JSON form).
func encodeText(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errUTF8()
	}
	if s == "" || !strings.ContainsFunc(s, fragile) && s[0] != '"' && strings.TrimSpace(s) == s {
		return s, nil
	}
	return encodeJSON(s)
}

func decodeText(text string) (string, error) {
	if !strings.HasPrefix(text, `"`) {
		return text, nil
	}
	var s string
	err := json.Unmarshal([]byte(text), &s)
	return s, err
}

// fragile are the characters that XML 1.0 cannot hold or parsers normalise.
func fragile(r rune) bool {
	return r < 0x20 || r == 0x7f || r == 0xfffe || r == 0xffff
}

// encodeJSON marshals v, readable (no \u0026 for &) and free of characters that
// XML cannot hold. texts are the strings within v: JSON would silently replace
// what is not UTF-8 in them, so that is refused.
func encodeJSON(v any, texts ...string) (string, error) {
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return "", errUTF8()
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	out := strings.TrimSuffix(b.String(), "\n")
	return strings.NewReplacer("\ufffe", `\ufffe`, "\uffff", `\uffff`, "\x7f", `\u007f`).Replace(out), nil
}

func errUTF8() error {
	return fmt.Errorf("not valid UTF-8: %w", errdefs.ErrInvalidArgument)
}

// encodeRlimits gives {"nofile":[soft,hard]}.
func encodeRlimits(m map[string]spec.Rlimit) (string, error) {
	if len(m) == 0 {
		return "", nil
	}
	pairs := make(map[string][2]int64, len(m))
	names := make([]string, 0, len(m))
	for name, l := range m {
		pairs[name] = [2]int64{l.Soft, l.Hard}
		names = append(names, name)
	}
	return encodeJSON(pairs, names...)
}

func decodeRlimits(text string, to *map[string]spec.Rlimit) error {
	var pairs map[string][2]int64
	if err := json.Unmarshal([]byte(text), &pairs); err != nil {
		return err
	}
	m := make(map[string]spec.Rlimit, len(pairs))
	for name, p := range pairs {
		m[name] = spec.Rlimit{Soft: p[0], Hard: p[1]}
	}
	*to = m
	return nil
}
