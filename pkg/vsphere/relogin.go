package vsphere

import (
	"context"
	"reflect"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// relogin is the session as a round tripper: a call that finds the session gone
// is made once more after a login.
type relogin Session

func (r *relogin) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	s := (*Session)(r)
	seen := s.Logins()
	err := s.vim.Client.RoundTrip(ctx, req, res)
	if !sessionLost(err, res) {
		return err
	}
	if err := s.again(ctx, seen); err != nil {
		return err
	}
	v := reflect.ValueOf(res).Elem()
	v.Set(reflect.Zero(v.Type()))
	return s.vim.Client.RoundTrip(ctx, req, res)
}

// sessionLost looks at a call's outcome. Property reads without a session do
// not always fail: each property may be missing instead, for that reason.
func sessionLost(err error, res soap.HasFault) bool {
	if err != nil {
		_, ok := faultOf(err).(*types.NotAuthenticated)
		return ok
	}
	switch b := res.(type) {
	case *methods.RetrievePropertiesBody:
		return b.Res != nil && missingSession(b.Res.Returnval)
	case *methods.RetrievePropertiesExBody:
		return b.Res != nil && b.Res.Returnval != nil && missingSession(b.Res.Returnval.Objects)
	}
	return false
}

func missingSession(objects []types.ObjectContent) bool {
	for _, o := range objects {
		for _, m := range o.MissingSet {
			if _, ok := m.Fault.Fault.(*types.NotAuthenticated); ok {
				return true
			}
		}
	}
	return false
}

// lostCollector tells that a collector went with its session.
func lostCollector(err error) bool {
	switch f := faultOf(err).(type) {
	case *types.ManagedObjectNotFound:
		return strings.Contains(f.Obj.Type, "Collector")
	case *types.NotAuthenticated:
		return true
	}
	return false
}
