package guestinfo

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/curve25519"
	"golang.org/x/crypto/nacl/box"

	"github.com/vic-engine/vic/pkg/spec"
)

const sealedPrefix = "sealed:v1:"

// PublicKey is the half of a seal key that anyone may know; PrivateKey stays on
// the appliance's scratch disk. Both are X25519.
type (
	PublicKey  [32]byte
	PrivateKey [32]byte
)

// GenerateSealKey makes a new key.
func GenerateSealKey() (PrivateKey, error) {
	_, priv, err := box.GenerateKey(rand.Reader)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("generate seal key: %w", err)
	}
	return PrivateKey(*priv), nil
}

// Public gives the public half.
func (k PrivateKey) Public() PublicKey {
	var pub PublicKey
	out, err := curve25519.X25519(k[:], curve25519.Basepoint)
	if err != nil { // only for a low-order point, which the base point is not
		return pub
	}
	copy(pub[:], out)
	return pub
}

// String hides the key from logs.
func (k PrivateKey) String() string { return "(private key)" }

// GoString hides the key from logs.
func (k PrivateKey) GoString() string { return k.String() }

// Text is the form that is stored on the scratch disk: base64.
func (k PrivateKey) Text() string { return base64.StdEncoding.EncodeToString(k[:]) }

// String is the value of KeySealKey: base64.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// ParsePublicKey reads the value of KeySealKey.
func ParsePublicKey(text string) (PublicKey, error) {
	k, err := parseKey(text)
	return PublicKey(k), err
}

// ParsePrivateKey reads what PrivateKey.Text gave.
func ParsePrivateKey(text string) (PrivateKey, error) {
	k, err := parseKey(text)
	return PrivateKey(k), err
}

func parseKey(text string) (k [32]byte, err error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(raw) != len(k) {
		return k, fmt.Errorf("seal key: want 32 bytes in base64: %w", errdefs.ErrInvalidArgument)
	}
	copy(k[:], raw)
	return k, nil
}

// Seal encrypts secret so that only the owner of key can read it.
func Seal(secret string, key PublicKey) (string, error) {
	raw, err := box.SealAnonymous(nil, []byte(secret), (*[32]byte)(&key), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return sealedPrefix + base64.StdEncoding.EncodeToString(raw), nil
}

// Unseal decrypts what Seal made. The error never shows the value.
func Unseal(value string, key PrivateKey) (string, error) {
	raw, ok := sealedBytes(value)
	if !ok {
		return "", fmt.Errorf("unseal: value is not sealed: %w", errdefs.ErrInvalidArgument)
	}
	pub := key.Public()
	out, ok := box.OpenAnonymous(nil, raw, (*[32]byte)(&pub), (*[32]byte)(&key))
	if !ok {
		return "", fmt.Errorf("unseal: sealed for another key, or changed: %w", errdefs.ErrPermissionDenied)
	}
	return string(out), nil
}

// IsSealed reports whether value has the form that Seal gives.
func IsSealed(value string) bool {
	_, ok := sealedBytes(value)
	return ok
}

func sealedBytes(value string) ([]byte, bool) {
	text, ok := strings.CutPrefix(value, sealedPrefix)
	if !ok {
		return nil, false
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	return raw, err == nil && len(raw) >= box.AnonymousOverhead
}

// SealVCH gives v with its secrets sealed for key; empty and already sealed ones
// stay as they are.
func SealVCH(v spec.VCH, key PublicKey) (spec.VCH, error) {
	for _, s := range []*string{&v.Password, &v.ServerKey, &v.AttachKey} {
		if *s == "" || IsSealed(*s) {
			continue
		}
		sealed, err := Seal(*s, key)
		if err != nil {
			return spec.VCH{}, err
		}
		*s = sealed
	}
	return v, nil
}

// UnsealVCH gives v with its sealed secrets in clear, for vic-engine's eyes only.
func UnsealVCH(v spec.VCH, key PrivateKey) (spec.VCH, error) {
	secrets := []struct {
		key   string
		value *string
	}{{KeyPassword, &v.Password}, {KeyServerKey, &v.ServerKey}, {KeyAttachKey, &v.AttachKey}}
	for _, s := range secrets {
		if *s.value == "" {
			continue
		}
		clear, err := Unseal(*s.value, key)
		if err != nil {
			return spec.VCH{}, fmt.Errorf("%s: %w", s.key, err)
		}
		*s.value = clear
	}
	return v, nil
}
