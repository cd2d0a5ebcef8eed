package spec

// PushOptions of one push.
type PushOptions struct {
	Credentials
	// Platform that the image must be for; empty: any.
	Platform string
	Progress func(Progress)
}

// Credentials are what a registry is shown. The zero value is nobody.
type Credentials struct {
	Username string
	Password string
	// Token is an identity token, given instead of a password.
	Token string
	// RegistryToken is one that is shown to the registry as it is.
	RegistryToken string
}

// Pushed is what a push brought to the registry.
type Pushed struct {
	Tag    string
	Digest string
	Size   int // bytes of the manifest
}

// RemoteImage is what a registry tells of a reference.
type RemoteImage struct {
	Digest    string
	MediaType string
	Size      int64 // of the manifest or index
	// Platforms that it is for.
	Platforms []RemotePlatform
}

// RemotePlatform is a platform in a registry's words.
type RemotePlatform struct {
	OS, Architecture, Variant, OSVersion string
	OSFeatures                           []string
}

// FoundRepository is one that a search found.
type FoundRepository struct {
	Name, Description string
	Stars             int
	Official          bool
}
