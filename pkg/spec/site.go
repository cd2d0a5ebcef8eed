package spec

// Site is what `docker info` tells of the VCH's place besides Capacity.
type Site struct {
	// CPUUsedMHz and MemoryUsed (bytes) are what the pool's VMs use now, of
	// CPULimitMHz and MemoryLimit; 0: no limit of the pool's own.
	CPUUsedMHz, CPULimitMHz int64
	MemoryUsed, MemoryLimit int64
	// VolumeStores are the datastores of volumes, by label.
	VolumeStores []StoreSpace
	// Default are what a container gets that asks for nothing; RootMB is the
	// capacity of its own disk in MiB.
	DefaultCPUs                    int
	DefaultMemoryMB, DefaultRootMB int64
	// BridgeRange is the pool of bridge networks, BridgeWidth their prefix length.
	BridgeRange string
	BridgeWidth int
}

// StoreSpace is a volume store and the room that it has.
type StoreSpace struct {
	Label string
	// Place is the datastore's name, or the share's "nfs://host/path", whose
	// sizes (bytes) are not known and 0.
	Place          string
	Capacity, Free int64
	// Problem says why nothing is known; empty: it is.
	Problem string
}
