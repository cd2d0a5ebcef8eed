package lab

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/store"
)

// fileObj is the FileManager.
type fileObj struct {
	*simulator.FileManager
	l *Lab
}

func (m *fileObj) MakeDirectory(ctx *simulator.Context, req *types.MakeDirectory) soap.HasFault {
	body := &methods.MakeDirectoryBody{}
	_, dir, fault := m.l.where(ctx, req.Datacenter, req.Name)
	if fault == nil {
		mkdir := os.Mkdir
		if req.CreateParentDirectories != nil && *req.CreateParentDirectories {
			mkdir = os.MkdirAll
		}
		if err := mkdir(dir, 0o700); os.IsExist(err) {
			fault = &types.FileAlreadyExists{FileFault: types.FileFault{File: req.Name}}
		} else if os.IsNotExist(err) {
			fault = &types.FileNotFound{FileFault: types.FileFault{File: req.Name}}
		} else if err != nil {
			fault = reason(&types.CannotCreateFile{FileFault: types.FileFault{File: req.Name}}, "%v", err)
		}
	}
	if fault != nil {
		body.Fault_ = simulator.Fault(faultText(fault), fault)
		return body
	}
	body.Res = &types.MakeDirectoryResponse{}
	return body
}

// lockedTree refuses a file or folder of which a running VM uses something.
func (l *Lab) lockedTree(root string) types.BaseMethodFault {
	var fault types.BaseMethodFault
	_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && fault == nil {
			fault = l.lockedFile(p)
		}
		return nil
	})
	return fault
}

func (m *fileObj) DeleteDatastoreFileTask(ctx *simulator.Context, req *types.DeleteDatastoreFile_Task) soap.HasFault {
	return &methods.DeleteDatastoreFile_TaskBody{Res: &types.DeleteDatastoreFile_TaskResponse{
		Returnval: m.l.task(ctx, m.FileManager, "deleteDatastoreFile", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			ds, file, fault := m.l.where(c, req.Datacenter, req.Name)
			if fault != nil {
				return nil, fault
			}
			if !exists(file) {
				return nil, m.l.missing(file)
			}
			if filepath.Clean(file) == filepath.Clean(ds.Summary.Url) {
				return nil, &types.InvalidArgument{InvalidProperty: "name"}
			}
			if fault := m.l.lockedTree(file); fault != nil {
				return nil, fault
			}
			if err := os.RemoveAll(file); err != nil {
				return nil, reason(&types.CannotDeleteFile{FileFault: types.FileFault{File: req.Name}}, "%v", err)
			}
			m.l.measure(c, ds)
			return nil, nil
		})}}
}

// target checks where a file is to go, and makes room with force.
func (l *Lab) target(file string, force *bool) types.BaseMethodFault {
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return l.missing(filepath.Dir(file))
	}
	if !exists(file) {
		return nil
	}
	if force == nil || !*force {
		return &types.FileAlreadyExists{FileFault: types.FileFault{File: l.shown(file)}}
	}
	if fault := l.lockedTree(file); fault != nil {
		return fault
	}
	if err := os.RemoveAll(file); err != nil {
		return l.fileFault(file, err)
	}
	return nil
}

func (m *fileObj) MoveDatastoreFileTask(ctx *simulator.Context, req *types.MoveDatastoreFile_Task) soap.HasFault {
	return &methods.MoveDatastoreFile_TaskBody{Res: &types.MoveDatastoreFile_TaskResponse{
		Returnval: m.l.task(ctx, m.FileManager, "moveDatastoreFile", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			_, src, fault := m.l.where(c, req.SourceDatacenter, req.SourceName)
			if fault != nil {
				return nil, fault
			}
			_, dst, fault := m.l.where(c, other(req.DestinationDatacenter, req.SourceDatacenter), req.DestinationName)
			if fault != nil {
				return nil, fault
			}
			if !exists(src) {
				return nil, m.l.missing(src)
			}
			if fault := firstOf(m.l.lockedTree(src), m.l.target(dst, req.Force)); fault != nil {
				return nil, fault
			}
			if err := os.Rename(src, dst); err != nil {
				return nil, m.l.fileFault(src, err)
			}
			return nil, nil
		})}}
}

func (m *fileObj) CopyDatastoreFileTask(ctx *simulator.Context, req *types.CopyDatastoreFile_Task) soap.HasFault {
	return &methods.CopyDatastoreFile_TaskBody{Res: &types.CopyDatastoreFile_TaskResponse{
		Returnval: m.l.task(ctx, m.FileManager, "copyDatastoreFile", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			_, src, fault := m.l.where(c, req.SourceDatacenter, req.SourceName)
			if fault != nil {
				return nil, fault
			}
			ds, dst, fault := m.l.where(c, other(req.DestinationDatacenter, req.SourceDatacenter), req.DestinationName)
			if fault != nil {
				return nil, fault
			}
			fi, err := os.Stat(src)
			if err != nil {
				return nil, m.l.missing(src)
			}
			if fault := m.l.room(ds, allocated(src)); fault != nil {
				return nil, fault
			}
			if fault := m.l.target(dst, req.Force); fault != nil {
				return nil, fault
			}
			if err := copyTree(c, src, dst, fi); err != nil {
				return nil, m.l.fileFault(dst, err)
			}
			m.l.measure(c, ds)
			return nil, nil
		})}}
}

func copyTree(c *simulator.Context, src, dst string, fi os.FileInfo) error {
	if !fi.IsDir() {
		return store.CopyFile(c, src, dst)
	}
	return filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(dst, rel), 0o700)
		}
		return store.CopyFile(c, p, filepath.Join(dst, rel))
	})
}
