package vsphere

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
)

// policyCategory is of policies that people make for disks (PbmProfileCategoryEnum).
const policyCategory = string(pbmtypes.PbmProfileCategoryEnumREQUIREMENT)

// StoragePolicy finds the id of a storage policy by its name, which is compared
// exactly, for a disk on d. An unknown name is ErrInvalidArgument with those there are,
// a datastore that cannot hold to it ErrInvalidArgument, and a host without
// vCenter, which has no policies, ErrNotImplemented.
func (d *Datastore) StoragePolicy(ctx context.Context, name string) (id string, err error) {
	if !d.s.IsVC() {
		return "", fmt.Errorf("storage policy %q: %s is a host without vCenter, which has no storage policies: %w", name, d.s.target.Host, errdefs.ErrNotImplemented)
	}
	c, err := pbm.NewClient(ctx, d.s.vim)
	if err != nil {
		return "", Classify(fmt.Errorf("storage policies of %s: %w", d.s.target.Host, err))
	}
	ids, err := c.QueryProfile(ctx, pbmtypes.PbmProfileResourceType{ResourceType: string(pbmtypes.PbmProfileResourceTypeEnumSTORAGE)}, policyCategory)
	if err != nil {
		return "", Classify(fmt.Errorf("list storage policies: %w", err))
	}
	var names []string
	if len(ids) > 0 {
		profiles, err := c.RetrieveContent(ctx, ids)
		if err != nil {
			return "", Classify(fmt.Errorf("read storage policies: %w", err))
		}
		for _, p := range profiles {
			b := p.GetPbmProfile()
			if b.Name == name {
				id = b.ProfileId.UniqueId
			}
			names = append(names, b.Name)
		}
	}
	if id == "" {
		sort.Strings(names)
		return "", fmt.Errorf("there is no storage policy %q; there are %q: %w", name, names, errdefs.ErrInvalidArgument)
	}
	return id, d.holds(ctx, c, name, id)
}

// holds asks whether the datastore can hold to a policy.
func (d *Datastore) holds(ctx context.Context, c *pbm.Client, name, id string) error {
	ref := d.ds.Reference()
	res, err := c.CheckRequirements(ctx, []pbmtypes.PbmPlacementHub{{HubType: ref.Type, HubId: ref.Value}}, nil,
		[]pbmtypes.BasePbmPlacementRequirement{&pbmtypes.PbmPlacementCapabilityProfileRequirement{ProfileId: pbmtypes.PbmProfileId{UniqueId: id}}})
	if err != nil {
		return Classify(fmt.Errorf("check storage policy %q: %w", name, err))
	}
	for _, r := range res {
		var why []string
		for _, e := range r.Error {
			why = append(why, e.LocalizedMessage)
		}
		if r.Hub.HubId == ref.Value && len(why) > 0 {
			return fmt.Errorf("datastore %s cannot hold to storage policy %q: %s: %w", d.cfg.Name, name, strings.Join(why, ", "), errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
