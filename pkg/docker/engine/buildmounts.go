package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// tmpfsMounts joins --tmpfs and --mount type=tmpfs, in order of destination.
func tmpfsMounts(h *HostConfig) ([]spec.Mount, error) {
	byPath := map[string]string{}
	add := func(dst, opts string) error {
		if !path.IsAbs(dst) {
			return invalid("invalid mount path: '%s' mount path must be absolute", dst)
		}
		dst = path.Clean(dst)
		if dst == "/" {
			return invalid("invalid specification: destination can't be '/'")
		}
		if _, twice := byPath[dst]; twice {
			return invalid("Duplicate mount point: %s", dst)
		}
		byPath[dst] = opts
		return checkTmpfs(dst, opts)
	}
	for dst, opts := range h.Tmpfs {
		if err := add(dst, opts); err != nil {
			return nil, err
		}
	}
	for _, m := range h.Mounts {
		if m.Type != "tmpfs" {
			continue // planVolumes'
		}
		if m.Source != "" {
			return nil, invalid("invalid mount config for type \"tmpfs\": field Source must not be specified")
		}
		if err := add(m.Target, tmpfsOptions(m)); err != nil {
			return nil, err
		}
	}
	out := make([]spec.Mount, 0, len(byPath))
	for dst, opts := range byPath {
		readOnly := false
		for _, o := range strings.Split(opts, ",") {
			readOnly = readOnly || o == "ro"
		}
		out = append(out, spec.Mount{Type: spec.MountTmpfs, Path: dst, Options: opts, ReadOnly: readOnly})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out, nil
}

// checkTmpfs refuses options that the guest would refuse, when it is too late. Their
// values are the kernel's to judge.
func checkTmpfs(dst, opts string) error {
	flags := []string{
		"", "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync", "atime", "noatime", "diratime",
		"nodiratime", "relatime", "strictatime",
	}
	values := []string{"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}
	for _, o := range strings.Split(opts, ",") {
		k, _, hasValue := strings.Cut(o, "=")
		if hasValue && !slices.Contains(values, k) || !hasValue && !slices.Contains(flags, o) {
			return invalid("invalid tmpfs option %q of %s", o, dst)
		}
	}
	return nil
}

func tmpfsOptions(m MountRequest) string {
	var opts []string
	if m.ReadOnly {
		opts = append(opts, "ro")
	}
	if o := m.TmpfsOptions; o != nil {
		if o.SizeBytes > 0 {
			opts = append(opts, fmt.Sprintf("size=%d", o.SizeBytes))
		}
		if o.Mode != 0 {
			opts = append(opts, fmt.Sprintf("mode=%o", o.Mode))
		}
		for _, kv := range o.Options {
			opts = append(opts, strings.Join(kv, "="))
		}
	}
	return strings.Join(opts, ",")
}

func isDefaultNetwork(mode string) bool { return mode == "" || mode == "default" || mode == "bridge" }

// checkHost checks the values of host options that are honoured in part.
func checkHost(r *Request) error {
	h := &r.HostConfig
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, invalid(format, a...)) }
	if f, _ := r.fields["HostConfig.Runtime"].(string); f != "" && f != Runtime && f != "runc" {
		bad("unknown or invalid runtime name: %s", f)
	}
	if f, _ := r.fields["HostConfig.Isolation"].(string); f != "" && f != "default" {
		bad("invalid isolation '%s' on linux", f)
	}
	if f, _ := r.fields["HostConfig.UsernsMode"].(string); f != "" && f != "host" {
		bad("invalid USER mode: %s", f)
	}
	if err := h.RestartPolicy.check(); err != nil {
		errs = append(errs, err)
	}
	if h.AutoRemove && h.RestartPolicy.restarts() {
		bad("can't create 'AutoRemove' container with restart policy")
	}
	for _, e := range h.ExtraHosts {
		name, addr, ok := cutHost(e)
		if !ok || name == "" {
			bad("bad format for add-host: %q", e)
		} else if _, err := netip.ParseAddr(addr); err != nil && addr != "host-gateway" {
			bad("invalid IP address in add-host: %q", addr)
		} else if addr == "host-gateway" {
			errs = append(errs, notImplemented("not supported: host-gateway in --add-host: a containerVM has no host to reach"))
		}
	}
	for _, d := range h.DNS {
		if _, err := netip.ParseAddr(d); err != nil {
			bad("invalid DNS server address: %q", d)
		}
	}
	if h.ShmSize < 0 {
		bad("SHM size can not be less than 0")
	}
	if _, ok := h.Annotations[""]; ok {
		bad("invalid Annotations: the empty string is not permitted as an annotation key")
	}
	if t := r.Config.StopTimeout; t != nil && *t < -1 {
		bad("invalid stop timeout: %d", *t)
	}
	return errors.Join(errs...)
}

// cutHost splits "name:address" (or "name=address"), where the address may be
// an IPv6 one.
func cutHost(e string) (name, addr string, ok bool) {
	if i := strings.IndexAny(e, "=:"); i >= 0 {
		return e[:i], strings.Trim(e[i+1:], "[]"), true
	}
	return "", "", false
}
