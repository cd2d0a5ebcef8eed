package spec

import "time"

// DatastoreEntry is one file or folder of a datastore.
type DatastoreEntry struct {
	// Name is the last element of the path, without folder or slash.
	Name string
	// Size in bytes; 0 for a folder. For a disk it is that of the descriptor or
	// of the data, whichever the datastore shows: never trust it for disks.
	Size     int64
	Dir      bool
	Modified time.Time
}
