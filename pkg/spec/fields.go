package spec

// Names of log fields, so that the same thing has the same name in every log.
const (
	FieldContainer = "container"
	FieldVM        = "vm"
	FieldImage     = "image"
	FieldExec      = "exec"
	FieldNetwork   = "network"
	FieldVolume    = "volume"
	FieldVCH       = "vch"
	FieldTask      = "task"
	FieldStep      = "step"
	FieldRemote    = "remote"
	FieldPath      = "path"
	FieldDuration  = "took"
)
