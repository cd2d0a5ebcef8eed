package vsphere

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
)

// DatastoreConfig names a datastore and where imports are placed.
type DatastoreConfig struct {
	// Datacenter is its inventory path ("/ha-datacenter"); empty is the only one.
	Datacenter string
	// Name of the datastore, without brackets.
	Name string
	// Pool, Folder and Host are where ImportDisk makes its short-lived VM.
	// Only ImportDisk needs them; Folder may be empty (the datacenter's VM
	// folder), and Host where vSphere may choose.
	Pool, Folder, Host *types.ManagedObjectReference
	// Owner is whom CleanUpImports knows that VM by, such as a VCH's UUID; empty:
	// nobody.
	Owner string
}

// Datastore reads and writes files and disks on one datastore. All paths have
// the form "[name] folder/file". Safe for concurrent use.
type Datastore struct {
	s    *Session
	cfg  DatastoreConfig
	ds   *object.Datastore
	dc   *object.Datacenter
	vsan bool
	// browser never changes.
	browser *object.HostDatastoreBrowser
}

// Datastore finds a datastore.
func (s *Session) Datastore(ctx context.Context, cfg DatastoreConfig) (*Datastore, error) {
	f := find.NewFinder(s.vim, false)
	dcPath := cfg.Datacenter
	if dcPath == "" {
		dcPath = "*"
	}
	dc, err := f.Datacenter(ctx, dcPath)
	if err != nil {
		return nil, Classify(fmt.Errorf("find datacenter %s: %w", dcPath, err))
	}
	f.SetDatacenter(dc)
	ds, err := f.Datastore(ctx, cfg.Name)
	if err != nil {
		return nil, Classify(fmt.Errorf("find datastore %s: %w", cfg.Name, err))
	}
	browser, err := ds.Browser(ctx)
	if err != nil {
		return nil, Classify(fmt.Errorf("browse datastore %s: %w", cfg.Name, err))
	}
	d := &Datastore{s: s, cfg: cfg, ds: ds, dc: dc, browser: browser}
	kind, err := ds.Type(ctx)
	if err != nil {
		return nil, Classify(fmt.Errorf("read type of datastore %s: %w", cfg.Name, err))
	}
	d.vsan = strings.HasPrefix(strings.ToLower(string(kind)), "vsan")
	if cfg.Folder == nil {
		folders, err := dc.Folders(ctx)
		if err != nil {
			return nil, Classify(fmt.Errorf("find VM folder of %s: %w", dc.InventoryPath, err))
		}
		ref := folders.VmFolder.Reference()
		d.cfg.Folder = &ref
	}
	return d, nil
}

// Name of the datastore.
func (d *Datastore) Name() string { return d.cfg.Name }

// Reference of the datastore.
func (d *Datastore) Reference() types.ManagedObjectReference { return d.ds.Reference() }

// Path gives "[name] elem/elem".
func (d *Datastore) Path(elem ...string) string {
	p := object.DatastorePath{Datastore: d.cfg.Name, Path: path.Join(elem...)}
	return p.String()
}

// rel gives the part of p after "[name] ", and refuses other datastores.
func (d *Datastore) rel(p string) (string, error) {
	var dp object.DatastorePath
	if !dp.FromString(p) {
		return "", fmt.Errorf("%q is not a path of the form \"[datastore] folder/file\": %w", p, errdefs.ErrInvalidArgument)
	}
	if dp.Datastore != d.cfg.Name {
		return "", fmt.Errorf("%q is not on datastore %s: %w", p, d.cfg.Name, errdefs.ErrInvalidArgument)
	}
	return strings.Trim(path.Clean("/"+dp.Path), "/"), nil
}

// List gives the files and folders directly in dir.
func (d *Datastore) List(ctx context.Context, dir string) ([]spec.DatastoreEntry, error) {
	return d.search(ctx, dir, "*")
}

// Stat gives one file, folder or disk.
func (d *Datastore) Stat(ctx context.Context, p string) (spec.DatastoreEntry, error) {
	rel, err := d.rel(p)
	if err != nil {
		return spec.DatastoreEntry{}, err
	}
	if rel == "" {
		return spec.DatastoreEntry{Dir: true}, nil
	}
	name := path.Base(rel)
	found, err := d.search(ctx, d.Path(path.Dir(rel)), name)
	if err != nil {
		return spec.DatastoreEntry{}, err
	}
	for _, e := range found {
		if e.Name == name {
			return e, nil
		}
	}
	return spec.DatastoreEntry{}, fmt.Errorf("%s: file not found: %w", p, errdefs.ErrNotFound)
}

func (d *Datastore) search(ctx context.Context, dir, pattern string) ([]spec.DatastoreEntry, error) {
	rel, err := d.rel(dir)
	if err != nil {
		return nil, err
	}
	q := &types.HostDatastoreBrowserSearchSpec{
		Details:      &types.FileQueryFlags{FileType: true, FileSize: true, Modification: true},
		MatchPattern: []string{pattern},
	}
	t, err := d.browser.SearchDatastore(ctx, d.Path(rel), q)
	if err != nil {
		return nil, Classify(fmt.Errorf("list %s: %w", dir, err))
	}
	res, err := d.s.Wait(ctx, t.Reference())
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var out []spec.DatastoreEntry
	if r, ok := res.(types.HostDatastoreBrowserSearchResults); ok {
		for _, f := range r.File {
			out = append(out, entry(f))
		}
	}
	return out, nil
}

func entry(f types.BaseFileInfo) spec.DatastoreEntry {
	i := f.GetFileInfo()
	e := spec.DatastoreEntry{Name: path.Base(i.Path), Size: i.FileSize}
	if i.Modification != nil {
		e.Modified = i.Modification.UTC()
	}
	if _, e.Dir = f.(*types.FolderFileInfo); e.Dir {
		e.Size = 0
	}
	return e
}

// Mkdir makes dir and every missing folder above it. On vSAN a folder at the
// top is an object of its own, which only the namespace manager makes.
func (d *Datastore) Mkdir(ctx context.Context, dir string) error {
	rel, err := d.rel(dir)
	if err != nil || rel == "" {
		return err
	}
	if d.vsan {
		top, rest, _ := strings.Cut(rel, "/")
		_, err := object.NewDatastoreNamespaceManager(d.s.vim).CreateDirectory(ctx, d.ds, top, "")
		if err != nil {
			if err = Classify(fmt.Errorf("make folder %s: %w", dir, err)); !errdefs.IsAlreadyExists(err) {
				return err
			}
		}
		if rest == "" {
			return nil
		}
	}
	err = object.NewFileManager(d.s.vim).MakeDirectory(ctx, d.Path(rel), d.dc, true)
	if err = Classify(wrap(err, "make folder %s", dir)); errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Move renames a file, replacing the destination. Not for disks.
func (d *Datastore) Move(ctx context.Context, from, to string) error {
	src, dst, err := d.two(from, to)
	if err != nil {
		return err
	}
	t, err := object.NewFileManager(d.s.vim).MoveDatastoreFile(ctx, src, d.dc, dst, d.dc, true)
	return d.finish(ctx, t, err, "move %s to %s", from, to)
}

// Delete removes a file or a folder with all that is in it. That it is not
// there is not an error.
func (d *Datastore) Delete(ctx context.Context, p string) error {
	rel, err := d.rel(p)
	if err != nil {
		return err
	}
	if rel == "" {
		return fmt.Errorf("delete %s: will not delete a whole datastore: %w", p, errdefs.ErrInvalidArgument)
	}
	if d.vsan && !strings.Contains(rel, "/") {
		return d.deleteNamespace(ctx, rel)
	}
	t, err := object.NewFileManager(d.s.vim).DeleteDatastoreFile(ctx, d.Path(rel), d.dc)
	return absentIsFine(d.finish(ctx, t, err, "delete %s", p))
}

// deleteNamespace removes a folder at the top of a vSAN datastore. A file there
// is not a namespace, so that refusal means an ordinary delete.
func (d *Datastore) deleteNamespace(ctx context.Context, top string) error {
	var ds mo.Datastore
	if err := d.ds.Properties(ctx, d.ds.Reference(), []string{"summary.url"}, &ds); err != nil {
		return Classify(fmt.Errorf("delete %s: %w", d.Path(top), err))
	}
	url := strings.TrimSuffix(strings.TrimPrefix(ds.Summary.Url, "ds://"), "/") + "/" + top
	m := object.NewDatastoreNamespaceManager(d.s.vim)
	if id, err := m.ConvertNamespacePathToUuidPath(ctx, d.dc, url); err == nil {
		url = id
	}
	err := Classify(wrap(m.DeleteDirectory(ctx, d.dc, url), "delete %s", d.Path(top)))
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	t, ferr := object.NewFileManager(d.s.vim).DeleteDatastoreFile(ctx, d.Path(top), d.dc)
	if ferr = absentIsFine(d.finish(ctx, t, ferr, "delete %s", d.Path(top))); ferr != nil {
		return ferr
	}
	// The files are gone; a second try takes the empty namespace.
	return absentIsFine(Classify(wrap(m.DeleteDirectory(ctx, d.dc, url), "delete %s", d.Path(top))))
}

// Space gives the datastore's capacity and what is free, in bytes.
func (d *Datastore) Space(ctx context.Context) (capacity, free int64, err error) {
	// vCenter's figures may be half an hour old; a user who may not refresh
	// them still gets those.
	_, _ = methods.RefreshDatastore(ctx, d.s.vim, &types.RefreshDatastore{This: d.ds.Reference()})
	var ds mo.Datastore
	if err := d.ds.Properties(ctx, d.ds.Reference(), []string{"summary"}, &ds); err != nil {
		return 0, 0, Classify(fmt.Errorf("read space of datastore %s: %w", d.cfg.Name, err))
	}
	return ds.Summary.Capacity, ds.Summary.FreeSpace, nil
}

// two cleans two paths on this datastore.
func (d *Datastore) two(from, to string) (string, string, error) {
	if _, err := d.rel(from); err != nil {
		return "", "", err
	}
	return d.into(from, to)
}

// into cleans a path on any datastore of the datacenter, and one on this.
func (d *Datastore) into(from, to string) (string, string, error) {
	var dp object.DatastorePath
	if !dp.FromString(from) {
		return "", "", fmt.Errorf("%q is not a path of the form \"[datastore] folder/file\": %w", from, errdefs.ErrInvalidArgument)
	}
	dp.Path = strings.Trim(path.Clean("/"+dp.Path), "/")
	b, err := d.rel(to)
	if err != nil {
		return "", "", err
	}
	return dp.String(), d.Path(b), nil
}

// finish awaits a task whose start gave t and err.
func (d *Datastore) finish(ctx context.Context, t *object.Task, err error, format string, args ...any) error {
	if err != nil {
		return ctxErr(ctx, Classify(wrap(err, format, args...)))
	}
	if _, err = d.s.Wait(ctx, t.Reference()); err != nil {
		return fmt.Errorf(format+": %w", append(args, err)...)
	}
	return nil
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

func absentIsFine(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
