//go:build linux

// Command tether is /init of every VM of ours.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/vic-engine/vic/tether/system"
)

func main() {
	start := time.Now()
	fmt.Println("tether: start")
	must(system.MountAll(system.Pseudo()))
	k, err := system.Kmsg()
	must(err)
	fmt.Fprintf(k, "<1>vic: mounted after %v", time.Since(start))
	l, err := system.LoadModules("/lib/modules", false)
	for _, x := range l {
		fmt.Fprintf(k, "<1>vic: %s %v", x.File, x.Took)
	}
	must(err)
	fmt.Fprintf(k, "<1>vic: modules after %v", time.Since(start))
	must(system.PowerOff())
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "tether:", err)
		_ = system.PowerOff()
		select {}
	}
}
