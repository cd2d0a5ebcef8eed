package main

import (
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/builder"
	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"
)

// newBuilder puts docker build together: a container of the engine's in which
// buildkitd runs, and what speaks with it.
func newBuilder(vch spec.VCH, eng *engine.Engine, log *logrus.Entry) (*engine.BuilderVM, *builder.Builder, error) {
	vm, err := eng.NewBuilderVM(engine.BuilderConfig{
		Image: vch.BuilderImage, MemoryMB: vch.BuilderMemoryMB, CPUs: vch.BuilderCPUs,
		Cache: vch.VolumeStores["default"] != "",
		Registries: engine.Registries{
			Mirrors: vch.RegistryMirrors, Insecure: vch.InsecureRegistries, CAs: vch.RegistryCAs,
		},
	})
	if err != nil {
		return nil, nil, err
	}
	b, err := builder.New(builder.Config{
		Start: vm.Start, Dial: vm.Dial, Exists: vm.Exists, Load: eng.LoadBuilt, Tag: eng.TagBuilt,
		Local: eng.LocalImages, Blob: eng.ImageBlob, Log: log,
	})
	return vm, b, err
}
