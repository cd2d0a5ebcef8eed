// Package attach is the serial concentrator: it accepts the network serial ports
// of containerVMs, finds out whose each is, and gives the port layer a Session
// for each container. A connection may be a raw stream or VMware's telnet
// extension (vSPC); the first bytes tell. It must not know vSphere: host keys
// come through Config.HostKey, and nothing here starts or stops a VM.
//
//	srv, err := attach.New(attach.Config{Signer: s, HostKey: lookup, Report: report, Log: entry})
//	go srv.Serve(ctx, listener)
//	sess, err := srv.Session(ctx, id)     // blocks until that container's line is up
//	pid, err := sess.Release(ctx)         // *spec.StartError when the program cannot run
//	err = sess.Attach(ctx, streams)
//	exit, err := sess.Exec(ctx, execID, process, streams, started)
//	err = sess.Signal(ctx, execID, "SIGTERM"); err = sess.Resize(ctx, execID, rows, cols)
//	err = sess.Follow(ctx, after, each)   // live log frames after a position
//	<-sess.Done()                         // the session is over (guest gone, engine or guest began anew)
//	srv.Drop(id)                          // forget a container that is off
//
// A cut of the network does not end a Session: operations wait and resume when
// the host dials again. It ends when the guest rebooted, or by Drop.
//
// Start reading at Server.
package attach
