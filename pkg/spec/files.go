package spec

import (
	"io/fs"
	"time"
)

// FileStat is what is told of one file of a container.
type FileStat struct {
	// Name is the last element of the path that was asked for: "." and "/" are
	// kept.
	Name    string      `json:"name"`
	Size    int64       `json:"size"`
	Mode    fs.FileMode `json:"mode"`
	ModTime time.Time   `json:"mtime"`
	// LinkTarget is where a symbolic link leads in the end, as an absolute path
	// of the container; empty for anything else.
	LinkTarget string `json:"linkTarget"`
}

// ChangeKind is what became of a file of the image.
type ChangeKind uint8

// The kinds, with the numbers that Docker's API has for them.
const (
	FileModified ChangeKind = iota
	FileAdded
	FileDeleted
)

// FileChange is one difference between a container's files and its image's.
type FileChange struct {
	Path string     `json:"path"`
	Kind ChangeKind `json:"kind"`
}

// FileOp is what is to be done with a container's files.
type FileOp string

// The operations. Paths are the container's, absolute, and may end in "/" or
// "/.", which means the folder that a link leads to, or what is in a folder.
const (
	FileOpStat    FileOp = "stat"    // the FileStat of Path
	FileOpGet     FileOp = "get"     // the FileStat of Path, then a tar of it
	FileOpPut     FileOp = "put"     // a tar into the folder Path
	FileOpChanges FileOp = "changes" // FileChanges
	FileOpExport  FileOp = "export"  // a tar of everything, without what is mounted
	FileOpLayer   FileOp = "layer"   // a tar of what differs from the image, as OCI has it
)

// FileRequest is one operation.
type FileRequest struct {
	Op   FileOp `json:"op"`
	Path string `json:"path,omitempty"` // of stat, get and put

	// Of put: refuse to replace a folder by something else, or the reverse.
	NoOverwriteDirNonDir bool `json:"noOverwriteDirNonDir,omitempty"`
	// Of put: everything belongs to the container's user, not to whom the tar says.
	CopyUIDGID bool `json:"copyUIDGID,omitempty"`
}
