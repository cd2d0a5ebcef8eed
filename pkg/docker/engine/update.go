package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/vic-engine/vic/pkg/spec"
)

// updatable are the fields of HostConfig that update may change, RestartPolicy
// apart.
func updatable() []string {
	return []string{"CpuShares", "NanoCpus", "CpuPeriod", "CpuQuota", "CpusetCpus", "CpusetMems", "Memory", "MemorySwap",
		"MemoryReservation", "KernelMemory", "BlkioWeight", "CpuRealtimePeriod", "CpuRealtimeRuntime", "PidsLimit"}
}

// Update changes resources and the restart policy of a container, running or not:
// host is a HostConfig in Docker's JSON, of which the fields count that are not zero
// (of PidsLimit any number). It gives warnings for the user.
func (e *Engine) Update(ctx context.Context, ref string, host json.RawMessage) ([]string, error) {
	v, err := e.controllable(ref, "changing a container's resources or restart policy (update)")
	if err != nil {
		return nil, err
	}
	id := v.Container.ID
	cannot := func(err error) error { return fmt.Errorf("Cannot update container %s: %w", id, err) } //nolint:staticcheck // Docker's words
	if v.Status.Phase == spec.PhaseRemoving || v.Status.Phase == spec.PhaseDead {
		return nil, cannot(conflict(`container is marked for removal and cannot be "update"`))
	}
	var change HostConfig
	var given map[string]json.RawMessage
	if err := json.Unmarshal(host, &change); err != nil {
		return nil, invalid("invalid JSON: %v", err)
	}
	if err := json.Unmarshal(host, &given); err != nil {
		return nil, invalid("invalid JSON: %v", err)
	}
	warnings, err := checkUpdate(given, &change)
	if err != nil {
		return nil, err
	}
	var mhz int64
	if changesCPU(&change) {
		if mhz, err = e.cpuSpeed(ctx); err != nil {
			return nil, cannot(err)
		}
	}
	stopped := e.countsAsStopped(id, change.RestartPolicy)
	var more []string
	err = e.controls.Reshape(ctx, id, func(c *spec.Container) error {
		var err error
		more, err = applyUpdate(c, given, &change, mhz)
		if stopped { // there may have been no policy for which it counted
			setAnnotation(c, AnnotationStopped, "true")
		}
		return err
	})
	if err != nil {
		return nil, cannot(err)
	}
	e.containerEvent(v, "update", nil)
	return append(warnings, more...), nil
}

// checkUpdate checks what does not depend on the container.
func checkUpdate(given map[string]json.RawMessage, change *HostConfig) ([]string, error) {
	fields := map[string]any{}
	for _, name := range updatable() {
		var v any
		if raw, ok := given[name]; ok {
			if err := json.Unmarshal(raw, &v); err != nil {
				return nil, invalid("invalid JSON: %s: %v", name, err)
			}
			fields["HostConfig."+name] = v
		}
	}
	warnings, err := checkOptions(fields)
	if err != nil {
		return nil, err
	}
	alone := *change
	if alone.Memory == 0 {
		alone.MemorySwap = 0 // with the memory that the container has
	}
	if _, _, err := resources(&alone, 0); err != nil {
		return nil, err
	}
	if change.RestartPolicy.Name != "" || change.RestartPolicy.MaximumRetryCount != 0 {
		if err := change.RestartPolicy.check(); err != nil {
			return nil, err
		}
	}
	return warnings, nil
}

func changesCPU(h *HostConfig) bool {
	return h.NanoCPUs != 0 || h.CPUQuota != 0 || h.CPUPeriod != 0 || h.CpusetCpus != ""
}

// applyUpdate changes a container: its spec, and the create request that inspect
// shows. It is pure.
func applyUpdate(c *spec.Container, given map[string]json.RawMessage, change *HostConfig, mhz int64) ([]string, error) {
	text := c.Annotations[AnnotationCreate]
	if text == "" {
		return nil, conflict("the create request of the container is not known: only its VM can be changed, in vSphere")
	}
	s, err := decodeStored(text)
	if err != nil {
		return nil, err
	}
	if err := compatible(&s.host, change); err != nil {
		return nil, err
	}
	was := s.host
	if s.HostConfig, err = mergeHost(s.HostConfig, given, change); err != nil {
		return nil, err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode create request: %w", err)
	}
	now, err := decodeStored(string(b))
	if err != nil {
		return nil, err
	}
	setAnnotation(c, AnnotationCreate, string(b))
	res, warnings, err := resources(&now.host, mhz)
	if err != nil {
		return nil, err
	}
	// Only what changes: an administrator may have given the VM more meanwhile.
	if now.host.Memory != was.Memory {
		c.Resources.MemoryMB = res.MemoryMB
	}
	if changesCPU(change) {
		c.Resources.CPUs, c.Resources.CPULimitMHz = res.CPUs, res.CPULimitMHz
	}
	if now.host.CPUShares != was.CPUShares {
		c.Resources.CPUShares = res.CPUShares
	}
	if now.host.MemoryReservation != was.MemoryReservation {
		c.Resources.ReservationMB = res.ReservationMB
	}
	c.Limits, err = limits(&now.host)
	return warnings, err
}

// compatible refuses a change that contradicts what the container has, in Docker's
// words.
func compatible(have, change *HostConfig) error {
	switch {
	case change.NanoCPUs > 0 && have.CPUPeriod > 0:
		return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case change.NanoCPUs > 0 && have.CPUQuota > 0:
		return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case change.CPUPeriod > 0 && have.NanoCPUs > 0:
		return conflict("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case change.CPUQuota > 0 && have.NanoCPUs > 0:
		return conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	case change.Memory > have.MemorySwap && have.MemorySwap > 0 && change.MemorySwap == 0:
		return conflict("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	case change.RestartPolicy.restarts() && have.AutoRemove:
		return conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
	}
	return nil
}

// mergeHost puts the fields that are given into a host configuration.
func mergeHost(host json.RawMessage, given map[string]json.RawMessage, change *HostConfig) (json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(host, &m); err != nil {
		return nil, fmt.Errorf("read host configuration: %w", err)
	}
	if m == nil {
		m = map[string]json.RawMessage{}
	}
	for _, name := range updatable() {
		raw, ok := given[name]
		if !ok {
			continue
		}
		switch string(raw) {
		case "null", `""`:
			continue
		case "0":
			if name != "PidsLimit" {
				continue
			}
		}
		m[name] = raw
	}
	if change.RestartPolicy.Name != "" {
		m["RestartPolicy"] = given["RestartPolicy"]
	}
	return json.Marshal(m)
}
