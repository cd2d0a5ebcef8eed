// Package session runs one container's process in the guest and joins it to the
// world: its output goes to the log and to every attached client, clients feed
// its stdin, exec processes run beside it, and the control line is served. It
// must not mount, configure networks or power off: tether's boot steps do.
//
//	m, err := session.New(session.Config{
//		Container: c,                 // spec.Container from guestinfo
//		BootID:    id,                // as in guestinfo..tether.bootid
//		HostKey:   signer,            // ssh.Signer made at this boot, reported BEFORE ServeLine
//		Reaper:    reaper,
//		Log:       logTTY,            // io.Writer: ttyS1, framed by session
//		Reporter:  rpciReporter,      // writes guestinfo: session.GuestinfoReporter(client)
//		Logger:    entry,
//	})
//	go m.ServeLine(ctx, open)         // as early as possible: the line comes up while disks are mounted
//	exit, err := m.Run(ctx, "/run/root", group) // when the root is ready: starts the process, returns when all is reported
//
// open is func() (io.ReadWriteCloser, error); session.OpenLine("/dev/ttyS0")
// opens a serial port raw. Run returns after the output is drained to the log and
// the clients, and the exit is in guestinfo and on the line (bounded in time), so
// that tether may power off. m.Stop(ctx) delivers the stop signal (soft
// power-off), m.Signal any other. m.ReportAddresses tells the engine addresses.
// m.Fail(err) reports a boot that failed as an exit with code 125.
//
// Start reading at Manager.Run.
package session
