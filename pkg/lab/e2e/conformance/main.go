// Command conformance runs scripts of Docker operations against a real dockerd and
// against vic on a lab, and prints every field in which vic's answers differ. What
// is meant to differ is in accepted.json, each with its reason; anything else is a
// failure, and so is an entry of the list that does not occur any more: each when all
// scripts are run, those of the scripts that are run when -run chooses some.
//
// `make conformance` runs it; it needs root, what `make build isos` builds, and what
// .ci/dockerd builds. ARGS="-run '^rm$' -keep" for a part, and for engines that stay
// for the next time. -record writes dockerd's answers to the scripts that make only
// raw requests, which TestRecorded holds the API to in `make test`.
//
// Start reading at run, then step in script.go, then any script in
// ../testdata/docker.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs and boot images")
	flag.StringVar(&o.dockerd, "dockerd", ".cache/dockerd/bin", "folder of dockerd and its parts")
	flag.StringVar(&o.scripts, "scripts", "pkg/lab/e2e/testdata/docker", "folder of the scripts")
	flag.StringVar(&o.state, "state", "", "folder for the engines' state (default: a temporary one)")
	flag.StringVar(&o.only, "run", "", "regular expression of the scripts' names (default: all)")
	flag.BoolVar(&o.keep, "keep", false, "leave the lab and its VCH in -state for the next run")
	flag.BoolVar(&o.memory, "memory", false, "vic's API on a port layer in memory instead of a lab: raw requests only, and quick")
	flag.BoolVar(&o.record, "record", false, "write dockerd's answers to "+recordedDir)
	flag.BoolVar(&o.verbose, "v", false, "print accepted differences too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}
