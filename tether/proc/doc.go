// Package proc runs processes for tether: user, environment, working directory
// and program are looked up in the container's root as Docker does it, the
// process gets a terminal or pipes, and its end is collected by one Reaper that
// also reaps what PID 1 inherits. It must not know of sessions, lines or logs.
//
//	reaper := proc.NewReaper(log)   // nil reaper: each process is waited for alone (tests, tools)
//	go reaper.Run(ctx)              // owns wait4(-1); do not use os/exec beside it, use proc.Start or proc.Output
//	p, err := proc.Start(reaper, proc.Options{Root: "/run/root", Process: spec})
//	// err is a *spec.StartError with 127, 126 or 125 and Docker's words
//	p.Pid(); p.Stdin(); p.Stdout(); p.Stderr(); p.Resize(rows, cols); p.Signal("SIGTERM")
//	<-p.Done(); p.Status()          // spec.ExitStatus
//	out, err := proc.Output(ctx, reaper, "/bin/mkfs", args...)  // a helper program, combined output
//
// Start reading at Start.
package proc
