//go:build !linux

package main

import (
	"context"
	"errors"
)

type oracle struct{}

func startDockerd(context.Context, string, string, string) (*target, *oracle, error) {
	return nil, nil, errors.New("dockerd runs on Linux")
}

func (*oracle) close() error { return nil }
