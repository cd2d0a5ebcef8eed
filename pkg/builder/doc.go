// Package builder puts a Docker engine's build endpoints in front of BuildKit: a
// buildkitd that runs somewhere else solves, this package translates.
//
//	b, err := builder.New(builder.Config{Start: vm.Start, Dial: vm.Dial, Load: store, …})
//	b.ServeControl(ctx, conn)           // what came in on POST /grpc
//	u, err := b.Use(ctx)                // buildkitd runs and answers
//	u.ServeSession(ctx, conn, headers)  // what came in on POST /session
//	u.Build(ctx, options, out)          // classic POST /build
//
// Calls of clients are passed on as bytes, whatever their version, but for these:
// a solve whose result is to land among the engine's images (exporter "moby") asks
// buildkitd for an archive instead; that archive, which buildkitd would send to the
// client's session, goes to Config.Load; a session of a client is joined to
// buildkitd through this process, since that is where both meet; and a Dockerfile's
// frontend is told of the images that only the store has, which buildkitd then reads
// over the session (local.go, frontend.go).
//
// It knows neither HTTP nor Docker's types nor where buildkitd runs.
//
// docs/build.md tells users. Start reading at Builder; the wire is in proxy.go, a
// classic build in build.go.
package builder
