// Command bench measures a VCH on a lab of its own and prints the figures as
// ratios to bare QEMU VMs with the same kernel and devices in the same run, with
// what they were measured on. It is a command and not a test: the machines it runs
// on are shared, and a figure is read by a person.
//
// `make bench` runs it; it needs what `make build isos` builds, and apt-get for
// the packages of fio and nft. -only chooses sections.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	var o options
	var only string
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs and boot images")
	flag.IntVar(&o.runs, "runs", 5, "pairs of a bare VM's figure and a container's")
	flag.StringVar(&only, "only", "", "sections to run, with commas between them (default all: "+sectionNames()+")")
	flag.IntVar(&o.containers, "containers", 200, "containers for docker ps")
	flag.IntVar(&o.running, "running", 50, "running containers for the idle engine; 0 leaves it out")
	flag.DurationVar(&o.idle, "idle", defaultIdle, "how long the idle engine is watched")
	flag.Parse()
	o.only = strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
