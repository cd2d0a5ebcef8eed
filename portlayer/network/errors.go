package network

// hidden gives an error its class without its text: users see these errors.
type hidden struct{ class error }

func (hidden) Error() string   { return "" }
func (h hidden) Unwrap() error { return h.class }
