// Package builder puts a Docker engine's build endpoints in front of BuildKit: a
// buildkitd that runs somewhere else solves, this package translates.
//
//	b, err := builder.New(builder.Config{Dial: vm.Dial, Load: store, Log: log})
//	b.ServeControl(ctx, conn)           // what came in on POST /grpc
//	b.ServeSession(ctx, conn, headers)  // what came in on POST /session
//	b.Build(ctx, options, context, out) // classic POST /build
//
// Calls of clients are passed on as bytes, whatever their version, but for three:
// a solve whose result is to land among the engine's images (exporter "moby") asks
// buildkitd for an archive instead; that archive, which buildkitd would send to the
// client's session, goes to Config.Load; and a session of a client is joined to
// buildkitd through this process, since that is where both meet.
//
// It knows neither HTTP nor Docker's types nor where buildkitd runs.
//
// Start reading at Builder; the wire is in proxy.go, a classic build in build.go.
package builder
