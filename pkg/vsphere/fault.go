package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// FaultError is an error of vSphere with its class and a text for people.
type FaultError struct {
	class error
	text  string
	err   error
}

func (e *FaultError) Error() string { return e.text }

// Unwrap gives the class of containerd/errdefs and the original error.
func (e *FaultError) Unwrap() []error { return []error{e.class, e.err} }

// Fault is the vSphere fault at the bottom, or nil for a transport error.
func (e *FaultError) Fault() types.BaseMethodFault { return faultOf(e.err) }

// Classify is the one place where errors of govmomi become classes:
//
//	InvalidLogin, NotAuthenticated                        ErrUnauthenticated
//	NoPermission, RestrictedVersion, licence faults       ErrPermissionDenied
//	DuplicateName, AlreadyExists, FileAlreadyExists       ErrAlreadyExists
//	NotFound, ManagedObjectNotFound, FileNotFound         ErrNotFound
//	TaskInProgress, ResourceInUse, FileLocked             ErrConflict
//	ConcurrentAccess                                      ErrAborted (read again, retry)
//	InvalidPowerState and other InvalidState, tools gone  ErrFailedPrecondition
//	MemoryHotPlugNotSupported, CpuHotPlugNotSupported     ErrFailedPrecondition
//	NoDiskSpace, Insufficient…                            ErrResourceExhausted
//	host not connected, unreachable, busy                 ErrUnavailable
//	InvalidArgument, InvalidName, InvalidType             ErrInvalidArgument
//	NotSupported, NotImplemented, MethodDisabled          ErrNotImplemented
//	RequestCanceled                                       context.Canceled
//
// Any other fault is ErrUnknown. Texts that wrap the error are kept, with the
// fault's own part replaced by what people need. An error that has a class
// already, or that is a context's, is returned as it is.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	var done *FaultError
	if errors.As(err, &done) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var cert *CertificateError
	if errors.As(err, &cert) {
		return cert
	}
	if bottom, f := bottomFault(err); f != nil {
		class, text := classOf(f, faultMessage(bottom))
		return &FaultError{class: class, text: replaceTail(err, bottom, text), err: err}
	}
	if isFindNotFound(err) {
		return &FaultError{class: errdefs.ErrNotFound, text: err.Error(), err: err}
	}
	var ue *url.Error
	var ne net.Error
	if errors.As(err, &ue) || errors.As(err, &ne) {
		return &FaultError{class: errdefs.ErrUnavailable, text: err.Error(), err: err}
	}
	return err
}

func isFindNotFound(err error) bool {
	var nf *find.NotFoundError
	var dnf *find.DefaultNotFoundError
	return errors.As(err, &nf) || errors.As(err, &dnf)
}

// hasFault is what all of govmomi's fault errors have.
type hasFault interface {
	error
	Fault() types.BaseMethodFault
}

func faultOf(err error) types.BaseMethodFault {
	_, f := bottomFault(err)
	return f
}

func bottomFault(err error) (error, types.BaseMethodFault) {
	var h hasFault
	if err == nil || !errors.As(err, &h) {
		return nil, nil
	}
	if f := h.Fault(); f != nil {
		return h, pointer(f)
	}
	return h, &types.MethodFault{}
}

// pointer gives the fault as a pointer, the form that type switches here use.
func pointer(f types.BaseMethodFault) types.BaseMethodFault {
	v := reflect.ValueOf(f)
	if v.Kind() == reflect.Pointer {
		return f
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	if b, ok := p.Interface().(types.BaseMethodFault); ok {
		return b
	}
	return f
}

func faultMessage(err error) string {
	if soap.IsSoapFault(err) {
		if f := soap.ToSoapFault(err); f != nil && f.String != "" {
			return f.String
		}
	}
	return err.Error()
}

// replaceTail keeps the words that wrap bottom and puts text in its place.
func replaceTail(err, bottom error, text string) string {
	head, ok := strings.CutSuffix(err.Error(), bottom.Error())
	if !ok || head == "" {
		return text
	}
	return head + text
}

func faultName(f types.BaseMethodFault) string {
	t := reflect.TypeOf(f)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

// classOf gives a fault's class and text; msg is vSphere's own, localised.
func classOf(f types.BaseMethodFault, msg string) (error, string) {
	switch f := f.(type) {
	case *types.InvalidLogin:
		return errdefs.ErrUnauthenticated, "incorrect user name or password"
	case *types.NotAuthenticated:
		return errdefs.ErrUnauthenticated, "the vSphere session is not authenticated"
	case *types.NoPermission:
		return errdefs.ErrPermissionDenied, noPermission(f)
	case *types.RestrictedVersion, *types.LicenseRestricted:
		return errdefs.ErrPermissionDenied, "the licence of the host does not allow changes through the vSphere API"
	case *types.DuplicateName:
		return errdefs.ErrAlreadyExists, fmt.Sprintf("the name %q is already in use", f.Name)
	case *types.AlreadyExists:
		return errdefs.ErrAlreadyExists, named("already exists", f.Name, msg)
	case *types.FileAlreadyExists:
		return errdefs.ErrAlreadyExists, named("file already exists", f.File, msg)
	case *types.FileNotFound:
		return errdefs.ErrNotFound, named("file not found", f.File, msg)
	case *types.ManagedObjectNotFound:
		return errdefs.ErrNotFound, named("no such object in vSphere", f.Obj.Value, msg)
	case *types.NotFound:
		return errdefs.ErrNotFound, withName("not found", f, msg)
	case *types.TaskInProgress:
		return errdefs.ErrConflict, "another task is in progress on the object"
	case *types.ResourceInUse:
		return errdefs.ErrConflict, named("in use", f.Name, msg)
	case *types.FileLocked:
		return errdefs.ErrConflict, named("file is locked by another VM", f.File, msg)
	case *types.ConcurrentAccess:
		return errdefs.ErrAborted, "the object was changed by someone else meanwhile"
	case *types.NoDiskSpace:
		return errdefs.ErrResourceExhausted, fmt.Sprintf("no space left on datastore %q", f.Datastore)
	case *types.InvalidPowerState:
		return errdefs.ErrFailedPrecondition, fmt.Sprintf("the VM is %s, which does not allow this", f.ExistingState)
	case *types.ToolsUnavailable:
		return errdefs.ErrFailedPrecondition, "the guest's tools do not run"
	case *types.MemoryHotPlugNotSupported, *types.CpuHotPlugNotSupported:
		return errdefs.ErrFailedPrecondition, withName("the VM cannot change so while it is on", f, msg)
	case *types.RequestCanceled:
		return context.Canceled, "the task was cancelled"
	case *types.Timedout:
		return errdefs.ErrUnavailable, withName("vSphere timed out", f, msg)
	case *types.InvalidArgument:
		return errdefs.ErrInvalidArgument, named("vSphere refused the argument", f.InvalidProperty, msg)
	case *types.MethodDisabled:
		return errdefs.ErrNotImplemented, "vSphere has disabled this operation on the object"
	case *types.NotSupported, *types.NotImplemented:
		return errdefs.ErrNotImplemented, withName("not supported by this server", f, msg)
	}
	return classOfFamily(f, msg)
}

// classOfFamily goes by the fault's base type, for the many that only add
// detail to one above.
func classOfFamily(f types.BaseMethodFault, msg string) (error, string) {
	text := withName("vSphere", f, msg)
	switch f.(type) {
	case *types.HostInventoryFull: // a licence fault by type, and no matter of rights
		return errdefs.ErrUnavailable, text
	case types.BaseNoPermission, types.BaseNotEnoughLicenses:
		return errdefs.ErrPermissionDenied, text
	case types.BaseInsufficientResourcesFault, *types.FileTooLarge, *types.InsufficientStorageSpace, *types.InsufficientDisks:
		return errdefs.ErrResourceExhausted, text
	case types.BaseHostConnectFault, types.BaseHostCommunication, *types.HostNotConnected, *types.NetworkDisruptedAndConfigRolledBack,
		*types.HostConfigFailed:
		return errdefs.ErrUnavailable, text
	case types.BaseResourceInUse:
		return errdefs.ErrConflict, text
	case types.BaseInvalidState:
		return errdefs.ErrFailedPrecondition, text
	case *types.InvalidName, *types.InvalidDatastorePath, *types.InvalidDatastore, *types.InvalidType, *types.InvalidRequest:
		return errdefs.ErrInvalidArgument, text
	case types.BaseNotSupported:
		return errdefs.ErrNotImplemented, text
	}
	return errdefs.ErrUnknown, text
}

func noPermission(f *types.NoPermission) string {
	what := "permission denied"
	if f.PrivilegeId != "" {
		what += ": privilege " + f.PrivilegeId + " is missing"
	}
	if f.Object != nil {
		what += " on " + f.Object.String()
	}
	return what
}

func named(what, name, msg string) string {
	if name == "" {
		if msg == "" {
			return what
		}
		return what + ": " + msg
	}
	return fmt.Sprintf("%s: %s", what, name)
}

// withName says what happened in vSphere's words, with the fault's name, which
// is what people search for.
func withName(what string, f types.BaseMethodFault, msg string) string {
	name := faultName(f)
	if msg == "" || msg == name {
		return what + ": " + name
	}
	return fmt.Sprintf("%s: %s (%s)", what, msg, name)
}
