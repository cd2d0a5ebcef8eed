package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func TestClassify(t *testing.T) {
	vm := types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-42"}
	for _, tc := range []struct {
		fault types.BaseMethodFault
		is    func(error) bool
		text  string
	}{
		{&types.InvalidLogin{}, errdefs.IsUnauthorized, "incorrect user name or password"},
		{&types.NotAuthenticated{}, errdefs.IsUnauthorized, "not authenticated"},
		{&types.NoPermission{Object: &vm, PrivilegeId: "VirtualMachine.Interact.PowerOn"}, errdefs.IsPermissionDenied, "privilege VirtualMachine.Interact.PowerOn is missing on VirtualMachine:vm-42"},
		{&types.RestrictedVersion{}, errdefs.IsPermissionDenied, "licence"},
		{&types.DuplicateName{Name: "VCH001"}, errdefs.IsAlreadyExists, `"VCH001" is already in use`},
		{&types.AlreadyExists{Name: "x"}, errdefs.IsAlreadyExists, "already exists: x"},
		{&types.FileAlreadyExists{FileFault: types.FileFault{File: "[ds] a"}}, errdefs.IsAlreadyExists, "[ds] a"},
		{&types.NotFound{}, errdefs.IsNotFound, "not found"},
		{&types.ManagedObjectNotFound{Obj: vm}, errdefs.IsNotFound, "vm-42"},
		{&types.FileNotFound{FileFault: types.FileFault{File: "[ds] a"}}, errdefs.IsNotFound, "[ds] a"},
		{&types.TaskInProgress{}, errdefs.IsConflict, "another task"},
		{&types.ResourceInUse{Name: "disk"}, errdefs.IsConflict, "in use: disk"},
		{&types.FileLocked{FileFault: types.FileFault{File: "[ds] a"}}, errdefs.IsConflict, "locked"},
		{&types.ConcurrentAccess{}, errdefs.IsAborted, "changed by someone else"},
		{&types.InvalidPowerState{ExistingState: "poweredOn"}, errdefs.IsFailedPrecondition, "poweredOn"},
		{&types.InvalidHostState{}, errdefs.IsFailedPrecondition, "InvalidHostState"},
		{&types.ToolsUnavailable{}, errdefs.IsFailedPrecondition, "tools"},
		{&types.NoDiskSpace{Datastore: "ds"}, errdefs.IsResourceExhausted, `datastore "ds"`},
		{&types.InsufficientMemoryResourcesFault{}, errdefs.IsResourceExhausted, "InsufficientMemoryResourcesFault"},
		{&types.HostNotConnected{}, errdefs.IsUnavailable, "HostNotConnected"},
		{&types.HostCommunication{}, errdefs.IsUnavailable, "HostCommunication"},
		{&types.InvalidArgument{InvalidProperty: "config.name"}, errdefs.IsInvalidArgument, "config.name"},
		{&types.InvalidName{}, errdefs.IsInvalidArgument, "InvalidName"},
		{&types.NotSupported{}, errdefs.IsNotImplemented, "NotSupported"},
		{&types.MethodDisabled{}, errdefs.IsNotImplemented, "disabled"},
		{&types.RequestCanceled{}, errdefs.IsCanceled, "cancelled"},
		{&types.SystemError{}, errdefs.IsUnknown, "SystemError"},
	} {
		name := faultName(tc.fault)
		local := &types.LocalizedMethodFault{Fault: tc.fault, LocalizedMessage: "Words of the server."}
		sf := &soap.Fault{Code: "ServerFaultCode", String: "Words of the server."}
		sf.Detail.Fault = tc.fault
		for form, err := range map[string]error{
			"task": task.Error{LocalizedMethodFault: local},
			"soap": soap.WrapSoapFault(sf),
			"vim":  soap.WrapVimFault(tc.fault),
		} {
			got := Classify(fmt.Errorf("do a thing to x: %w", err))
			if !tc.is(got) {
				t.Errorf("%s as %s: class of %v", name, form, got)
			}
			if !strings.HasPrefix(got.Error(), "do a thing to x: ") || !strings.Contains(got.Error(), tc.text) {
				t.Errorf("%s as %s: text %q, want it to hold %q", name, form, got, tc.text)
			}
			var fe *FaultError
			if !errors.As(got, &fe) || faultName(fe.Fault()) != name {
				t.Errorf("%s as %s: fault is not kept", name, form)
			}
			if again := Classify(got); again != got {
				t.Errorf("%s as %s: classified twice: %v", name, form, again)
			}
		}
	}
}

func TestClassifyOthers(t *testing.T) {
	if Classify(nil) != nil {
		t.Error("nil has a class")
	}
	for _, err := range []error{context.Canceled, fmt.Errorf("x: %w", context.DeadlineExceeded)} {
		if Classify(err) != err {
			t.Errorf("%v is changed", err)
		}
	}
	refused := &url.Error{Op: "Post", URL: "https://host/sdk", Err: syscall.ECONNREFUSED}
	if err := Classify(fmt.Errorf("connect: %w", refused)); !errdefs.IsUnavailable(err) {
		t.Errorf("class of %v", err)
	}
	plain := errors.New("plain")
	if Classify(plain) != plain {
		t.Error("an error that is not vSphere's is changed")
	}
}
