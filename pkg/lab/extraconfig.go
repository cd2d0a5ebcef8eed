package lab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/vmx"
)

// setExtraConfig has vSphere's semantics: merged by key, an empty value
// deletes, and deleting what is not there changes nothing. The VM is locked.
func setExtraConfig(c *simulator.Context, o *simulator.VirtualMachine, set []types.BaseOptionValue) {
	cur := slices.Clone(o.Config.ExtraConfig)
	var changes []types.PropertyChange
	for _, s := range set {
		v := s.GetOptionValue()
		i := slices.IndexFunc(cur, func(b types.BaseOptionValue) bool { return b.GetOptionValue().Key == v.Key })
		name := (&mo.Field{Path: "config.extraConfig", Key: v.Key}).String()
		nv := &types.OptionValue{Key: v.Key, Value: v.Value}
		switch empty := v.Value == nil || v.Value == ""; {
		case empty && i < 0:
		case empty:
			cur = slices.Delete(cur, i, i+1)
			changes = append(changes, types.PropertyChange{Name: name, Op: types.PropertyChangeOpRemove})
		case i < 0:
			cur = append(cur, nv)
			changes = append(changes, types.PropertyChange{Name: name, Op: types.PropertyChangeOpAdd, Val: nv})
		default:
			cur[i] = nv
			changes = append(changes, types.PropertyChange{Name: name, Op: types.PropertyChangeOpAssign, Val: nv})
		}
	}
	if len(changes) > 0 {
		c.Update(o, append(changes, types.PropertyChange{Name: "config.extraConfig", Val: cur}))
	}
}

// splitExtraConfig parts what the simulator may see from the keys that are
// spells to it (SET.x sets a property, RUN.x runs docker, ip0 is an alias): the
// lab stores those itself, as plain keys. Deletions and duplicates are the
// lab's too.
func splitExtraConfig(in []types.BaseOptionValue) (plain, own []types.BaseOptionValue) {
	last := map[string]int{}
	for i, o := range in {
		last[o.GetOptionValue().Key] = i
	}
	for i, o := range in {
		v := o.GetOptionValue()
		switch {
		case last[v.Key] != i:
		case v.Value == nil, v.Value == "", v.Key == "ip0", strings.HasPrefix(v.Key, "SET."), strings.HasPrefix(v.Key, "RUN."):
			own = append(own, o)
		default:
			plain = append(plain, o)
		}
	}
	return plain, own
}

func checkOption(key string, value any) types.BaseMethodFault {
	if err := vmx.ValidKey(key); err != nil {
		return reason(&types.InvalidArgument{InvalidProperty: "configSpec.extraConfig"}, "%v", err)
	}
	if n := len(fmt.Sprint(value)); value != nil && n > maxValue {
		return reason(&types.InvalidArgument{InvalidProperty: "configSpec.extraConfig." + key},
			"the value of %s is %d bytes; at most %d are allowed", key, n, maxValue)
	}
	return nil
}

// checkExtraConfig refuses values and totals over the limits. cur is what the
// VM has.
func checkExtraConfig(cur, in []types.BaseOptionValue) types.BaseMethodFault {
	size := map[string]int{}
	for _, o := range cur {
		v := o.GetOptionValue()
		size[v.Key] = len(v.Key) + len(fmt.Sprint(v.Value))
	}
	for _, o := range in {
		if o == nil || o.GetOptionValue() == nil {
			return &types.InvalidArgument{InvalidProperty: "configSpec.extraConfig"}
		}
		v := o.GetOptionValue()
		if f := checkOption(v.Key, v.Value); f != nil {
			return f
		}
		size[v.Key] = len(v.Key) + len(fmt.Sprint(v.Value))
	}
	total := 0
	for _, n := range size {
		total += n
	}
	if total > maxConfig {
		return reason(&types.InvalidArgument{InvalidProperty: "configSpec.extraConfig"},
			"the configuration would be %d bytes; at most %d are allowed", total, maxConfig)
	}
	return nil
}
