// Package tetherproto is the control line between the engine's concentrator and
// tether: what goes over serial0. It works over any byte stream and must not
// open, dial or accept one.
//
// Two layers. The link layer turns a stream that may lose, corrupt and cut (a
// UART behind a TCP connection that vMotion replaces) into a reliable net.Conn:
// frames with sequence number, acknowledgement, window and checksums; a Hello at
// each new stream names the container and the boot and resumes where the other
// side stopped. When either side has lost its state (a restart of vic-engine, a
// reboot of the guest), a new Link begins and the old one ends with ErrReset.
//
//	guest:  l := NewListener(...); go l.Serve(ctx, tty); link, err := l.Accept(ctx)
//	engine: s := NewStream(conn); hello, err := Greet(ctx, s)
//	        link := NewLink(...); err := link.Run(ctx, s, &hello)
//
// On a link runs SSH, tether being the server, with keys pinned both ways. Each
// operation is a channel of its own (vic-call, vic-attach, vic-exec, vic-log,
// vic-files), so that a slow one holds up no other; the guest's reports are global
// requests, and a container's connections to a socket of the engine channels that
// the guest opens (vic-relay, relay.go).
// All payloads are JSON with unknown fields ignored, the names carry a version,
// and what is unknown is refused without ending the connection.
//
//	guest:  sc, err := ServeConn(ctx, link, ServerConfig{...}, handler)
//	engine: c, err := NewClient(ctx, link, ClientConfig{...})
//
// Start reading at Link (link.go), then Handler (server.go) and Client.
package tetherproto
