package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/docker/api"
	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
)

// inMemory serves vic's API, as it is, on a port layer in memory, and gives what
// ends it. Its one image is busybox.
func inMemory(ctx context.Context) (*target, func() error, error) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	fake, volumes := enginetest.New(), enginetest.NewVolumes("default")
	e, err := engine.New(engine.Config{PortLayer: fake, Networks: fake, Controls: fake, Volumes: volumes, Images: enginetest.NewImages(), Log: logrus.NewEntry(log)})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	handler, err := api.New(api.Config{Engine: e, Log: logrus.NewEntry(log), Context: ctx, Name: "conformance"})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	<-e.Ready()
	srv := httptest.NewServer(handler)
	end := func() error {
		cancel()
		srv.CloseClientConnections()
		srv.Close()
		return <-done
	}
	return &target{name: "vic", base: srv.URL, client: &http.Client{}}, end, nil
}
