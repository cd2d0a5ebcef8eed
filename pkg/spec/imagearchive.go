package spec

// LoadOptions of loading an archive of images.
type LoadOptions struct {
	// Platform ("linux/amd64"): only the images for it; empty: all, and of an
	// image for several platforms the VCH's own.
	Platform string
	// Unnamed leaves out the names that the archive gives its images.
	Unnamed bool
	// Progress, when set, hears of each layer that is new.
	Progress func(Progress)
	// Loaded, when set, hears of each image as soon as it is there.
	Loaded func(LoadedImage)
}

// LoadedImage is one image of an archive that was loaded.
type LoadedImage struct {
	Image Image
	// Names are those that the archive gave it ("app:1").
	Names []string
	// Lost are the images that had one of the names before: ids by name.
	Lost map[string]string
}

// SaveOptions of saving images to an archive.
type SaveOptions struct {
	// Platform that every image must be for; empty: any.
	Platform string
	// Saving, when set, is called once all images are found, before the first
	// byte, with their ids.
	Saving func(ids []string)
}
