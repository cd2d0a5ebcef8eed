// Package archive is what tether does with a container's files for the engine:
// tell about one, put them into a tar and take them out of one, list and pack
// what differs from the image. It has Docker's semantics of paths, links and
// names in archives.
//
// All of it runs in a process of its own, tether started once more with the verb
// Verb, which sees the container's root as its own: whatever links, devices or
// hard links a root or an archive has, nothing leads out of it, and what goes
// wrong ends that process and not PID 1.
//
//	job := archive.Job{FileRequest: q, Root: "/run/vic/root", Upper: …, Lower: …}
//	err := archive.Run(ctx, reaper, job, stdin, stdout)     // in tether
//	os.Exit(archive.Main(os.Args[2:]))                      // in that process
//
// Streams are deflated both ways, see tetherproto.FileHandler. It must not know of
// lines or of the container beyond the Job. docs/files.md tells users what it
// means for them.
//
// Start reading at Main in child_linux.go, then pack_linux.go and unpack_linux.go.
package archive
