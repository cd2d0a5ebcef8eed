package vsphere

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// maxWait bounds one wait for updates, in seconds, so that a connection which
// died without a word is noticed.
const maxWait = 300

// Wait blocks until a task has ended and gives its result; a failed task is a
// classified error. When ctx ends first, the task is asked to stop and, for up
// to half a minute, its end is awaited: a caller that undoes things must know
// what there is to undo. The error is then ctx's if the task did not succeed,
// and if it did, Wait succeeds.
func (s *Session) Wait(ctx context.Context, ref types.ManagedObjectReference) (types.AnyType, error) {
	info, err := s.waitTask(ctx, ref)
	if err != nil && ctx.Err() != nil {
		late, cancel := cleanup(ctx)
		defer cancel()
		// It may have ended meanwhile, or not be cancelable; either way its
		// end decides.
		_, _ = methods.CancelTask(late, s.vim, &types.CancelTask{This: ref})
		if info, err = s.waitTask(late, ref); err != nil {
			return nil, ctxErr(ctx, Classify(err))
		}
	}
	if err != nil {
		return nil, Classify(err)
	}
	if info.State == types.TaskInfoStateError {
		err := Classify(&task.Error{LocalizedMethodFault: info.Error, Description: info.Description})
		return nil, ctxErr(ctx, err)
	}
	return info.Result, nil
}

// waitTask gives the info of the ended task. Many tasks have ended when they
// are first looked at, so that one read comes before any collector.
func (s *Session) waitTask(ctx context.Context, ref types.ManagedObjectReference) (*types.TaskInfo, error) {
	for {
		var t mo.Task
		if err := property.DefaultCollector(s.vim).RetrieveOne(ctx, ref, []string{"info"}, &t); err != nil {
			return nil, fmt.Errorf("read task %s: %w", ref.Value, err)
		}
		if ended(t.Info.State) {
			return &t.Info, nil
		}
		err := s.watchOne(ctx, ref, "info.state", func(v types.AnyType) bool {
			state, _ := v.(types.TaskInfoState)
			return ended(state)
		})
		if err != nil && !lostCollector(err) {
			return nil, fmt.Errorf("wait for task %s: %w", ref.Value, err)
		}
	}
}

func ended(s types.TaskInfoState) bool {
	return s == types.TaskInfoStateSuccess || s == types.TaskInfoStateError
}

// watchOne follows one property of one object until done says true.
func (s *Session) watchOne(ctx context.Context, ref types.ManagedObjectReference, prop string, done func(types.AnyType) bool) error {
	pc, err := property.DefaultCollector(s.vim).Create(ctx)
	if err != nil {
		return err
	}
	defer s.dropCollector(ctx, pc)
	filter := new(property.WaitFilter).Add(ref, ref.Type, []string{prop})
	filter.Spec.ReportMissingObjectsInResults = types.NewBool(true)
	if _, err := pc.CreateFilter(ctx, filter.CreateFilter); err != nil {
		return err
	}
	version := ""
	for {
		res, err := methods.WaitForUpdatesEx(ctx, s.vim, &types.WaitForUpdatesEx{
			This: pc.Reference(), Version: version,
			Options: &types.WaitOptions{MaxWaitSeconds: types.NewInt32(maxWait)},
		})
		if err != nil {
			return err
		}
		set := res.Returnval
		if set == nil {
			continue
		}
		version = set.Version
		for _, fs := range set.FilterSet {
			for _, o := range fs.ObjectSet {
				if o.Kind == types.ObjectUpdateKindLeave {
					return Classify(fmt.Errorf("wait for %s: %w", ref.Value, notFound(ref)))
				}
				for _, c := range o.ChangeSet {
					if c.Name == prop && done(c.Val) {
						return nil
					}
				}
			}
		}
	}
}

// dropCollector ends a collector of this session. A server may go on with a
// wait whose client has left, so that is cancelled first; at the latest the
// collector ends with the session, so that errors do not matter.
func (s *Session) dropCollector(ctx context.Context, pc *property.Collector) {
	late, cancel := cleanup(ctx)
	defer cancel()
	if ctx.Err() != nil {
		_ = pc.CancelWaitForUpdates(late)
	}
	_ = pc.Destroy(late)
}

func notFound(ref types.ManagedObjectReference) error {
	return soap.WrapVimFault(&types.ManagedObjectNotFound{Obj: ref})
}
