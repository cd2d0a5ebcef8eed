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
	return s.wait(ctx, ref, true)
}

// wait is Wait; without look, of a task that will not have ended yet.
func (s *Session) wait(ctx context.Context, ref types.ManagedObjectReference, look bool) (types.AnyType, error) {
	info, err := s.waitTask(ctx, ref, look)
	if err != nil && ctx.Err() != nil {
		late, cancel := cleanup(ctx)
		defer cancel()
		// It may have ended meanwhile, or not be cancelable; either way its
		// end decides.
		_, _ = methods.CancelTask(late, s.vim, &types.CancelTask{This: ref})
		if info, err = s.waitTask(late, ref, true); err != nil {
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
// are first looked at, so that one read comes before any collector: look.
func (s *Session) waitTask(ctx context.Context, ref types.ManagedObjectReference, look bool) (*types.TaskInfo, error) {
	for ; ; look = true {
		if look {
			var t mo.Task
			if err := property.DefaultCollector(s.vim).RetrieveOne(ctx, ref, []string{"info"}, &t); err != nil {
				return nil, fmt.Errorf("read task %s: %w", ref.Value, err)
			}
			if ended(t.Info.State) {
				return &t.Info, nil
			}
		}
		info, err := s.followTask(ctx, ref)
		if err == nil && info != nil {
			return info, nil
		}
		if err != nil && !lostCollector(err) {
			return nil, fmt.Errorf("wait for task %s: %w", ref.Value, err)
		}
	}
}

func ended(s types.TaskInfoState) bool {
	return s == types.TaskInfoStateSuccess || s == types.TaskInfoStateError
}

// followTask waits for a task's end. No info: it has ended, and must be read.
func (s *Session) followTask(ctx context.Context, ref types.ManagedObjectReference) (info *types.TaskInfo, err error) {
	pc, err := s.borrow(ctx)
	if err != nil {
		return nil, err
	}
	filter := new(property.WaitFilter).Add(ref, ref.Type, []string{"info"})
	filter.Spec.ReportMissingObjectsInResults = types.NewBool(true)
	f, err := pc.CreateFilter(ctx, filter.CreateFilter)
	if err != nil {
		s.dropCollector(ctx, pc)
		return nil, err
	}
	info, err = s.awaitEnd(ctx, pc, ref)
	if err != nil {
		s.dropCollector(ctx, pc)
		return nil, err
	}
	s.giveBack(ctx, pc, f)
	return info, nil
}

// awaitEnd reads updates until one shows that the task has ended. A server may
// send info whole or by its parts.
func (s *Session) awaitEnd(ctx context.Context, pc *property.Collector, ref types.ManagedObjectReference) (*types.TaskInfo, error) {
	version := ""
	for {
		res, err := methods.WaitForUpdatesEx(ctx, s.vim, &types.WaitForUpdatesEx{
			This: pc.Reference(), Version: version,
			Options: &types.WaitOptions{MaxWaitSeconds: types.NewInt32(maxWait)},
		})
		if err != nil {
			return nil, err
		}
		set := res.Returnval
		if set == nil {
			continue
		}
		version = set.Version
		for _, fs := range set.FilterSet {
			for _, o := range fs.ObjectSet {
				if o.Obj != ref {
					continue
				}
				if o.Kind == types.ObjectUpdateKindLeave {
					return nil, Classify(fmt.Errorf("wait for %s: %w", ref.Value, notFound(ref)))
				}
				for _, c := range o.ChangeSet {
					switch v := c.Val.(type) {
					case types.TaskInfo:
						if ended(v.State) {
							return &v, nil
						}
					case types.TaskInfoState:
						if ended(v) {
							return nil, nil
						}
					}
				}
			}
		}
	}
}

// idleCollectors is how many collectors are kept for the next task: to make and
// end one are two calls, as many as a short task takes itself.
const idleCollectors = 4

// borrow gives a collector without filters.
func (s *Session) borrow(ctx context.Context) (*property.Collector, error) {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		pc := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		return pc, nil
	}
	s.mu.Unlock()
	return property.DefaultCollector(s.vim).Create(ctx)
}

// giveBack keeps a collector whose filter is not needed any more. Nobody waits
// for that but Logout.
func (s *Session) giveBack(ctx context.Context, pc *property.Collector, f *property.Filter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return // it ends with the session
	}
	s.wg.Go(func() {
		late, cancel := cleanup(ctx)
		defer cancel()
		if err := f.Destroy(late); err != nil {
			_ = pc.Destroy(late)
			return
		}
		s.mu.Lock()
		if len(s.idle) < idleCollectors {
			s.idle = append(s.idle, pc)
			pc = nil
		}
		s.mu.Unlock()
		if pc != nil {
			_ = pc.Destroy(late)
		}
	})
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
