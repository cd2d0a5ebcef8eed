package lab

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// tuneHost makes a host look like the computer the lab runs on.
func (l *Lab) tuneHost(c *simulator.Context, h *simulator.HostSystem) {
	cpus, mem, mhz, model := int16(runtime.NumCPU()), memTotal(), int32(2400), "virtual CPU"
	if s := procField("/proc/cpuinfo", "model name"); s != "" {
		model = s
	}
	if f, err := strconv.ParseFloat(procField("/proc/cpuinfo", "cpu MHz"), 64); err == nil {
		mhz = int32(f)
	}
	hw := *h.Hardware
	hw.SystemInfo.Vendor, hw.SystemInfo.Model = "vic", "Lab"
	hw.MemorySize = mem
	hw.CpuInfo = types.HostCpuInfo{NumCpuPackages: 1, NumCpuCores: cpus, NumCpuThreads: cpus, Hz: int64(mhz) * 1e6}
	h.Hardware = &hw

	s := h.Summary.Hardware
	s.Vendor, s.Model, s.CpuModel = "vic", "Lab", model
	s.CpuMhz, s.NumCpuPkgs, s.NumCpuCores, s.NumCpuThreads, s.MemorySize = mhz, 1, cpus, cpus, mem
	s.Uuid = hw.SystemInfo.Uuid
	h.Summary.Config.Port = 443
	about := c.Map.Get(vimService).(*simulator.ServiceInstance).Content.About
	about.Name, about.FullName = "VMware ESXi", "VMware ESXi "+version+" build-"+build
	about.ApiType, about.ProductLineId, about.OsType = "HostAgent", "embeddedEsx", "vmnix-x86"
	h.Summary.Config.Product = &about
	h.Config.Product = about
	h.Runtime.ConnectionState = types.HostSystemConnectionStateConnected
	h.Runtime.PowerState = types.HostSystemPowerStatePoweredOn
	h.Summary.QuickStats = types.HostListSummaryQuickStats{}
	h.Config.Firewall = firewallOff(h.Config.Firewall)
	if ref := h.ConfigManager.FirewallSystem; ref != nil {
		fs := simulator.NewHostFirewallSystem(&h.HostSystem)
		fs.Self = *ref
		fs.FirewallInfo = firewallOff(fs.FirewallInfo)
		c.Map.Put(fs)
	}
	l.manage(c, h)
	sum := summaryOf(c, h)
	if sum != nil {
		sum.TotalCpu, sum.TotalMemory = mhz*int32(cpus), mem
		sum.NumCpuCores, sum.NumCpuThreads = cpus, cpus
		sum.EffectiveCpu, sum.EffectiveMemory = sum.TotalCpu, mem>>20
		sum.NumHosts, sum.NumEffectiveHosts = 1, 1
		sum.OverallStatus = types.ManagedEntityStatusGreen
	}
}

// firewallOff: the lab's host has no firewall, and says so.
func firewallOff(info *types.HostFirewallInfo) *types.HostFirewallInfo {
	out := &types.HostFirewallInfo{}
	if info != nil {
		out.Ruleset = append(out.Ruleset, info.Ruleset...)
	}
	open := true
	out.DefaultPolicy = types.HostFirewallDefaultPolicy{IncomingBlocked: types.NewBool(!open), OutgoingBlocked: types.NewBool(!open)}
	return out
}

// manage gives vmk0 the management address, wherever it is shown.
func (l *Lab) manage(c *simulator.Context, h *simulator.HostSystem) {
	ip := &types.HostIpConfig{IpAddress: l.cfg.ManagementIP.String(), SubnetMask: net.IP(net.CIDRMask(24, 32)).String()}
	for i := range h.Config.Network.Vnic {
		h.Config.Network.Vnic[i].Spec.Ip = ip
	}
	set := func(nc []types.VirtualNicManagerNetConfig) []types.VirtualNicManagerNetConfig {
		out := append([]types.VirtualNicManagerNetConfig(nil), nc...)
		for i := range out {
			out[i].CandidateVnic = append([]types.HostVirtualNic(nil), out[i].CandidateVnic...)
			for j := range out[i].CandidateVnic {
				out[i].CandidateVnic[j].Spec.Ip = ip
			}
		}
		return out
	}
	if m := h.Config.VirtualNicManagerInfo; m != nil {
		m.NetConfig = set(m.NetConfig)
	}
	if ref := h.ConfigManager.VirtualNicManager; ref != nil {
		if m, ok := c.Map.Get(*ref).(*simulator.HostVirtualNicManager); ok {
			m.Info.NetConfig = set(m.Info.NetConfig)
		}
	}
}

func memTotal() int64 {
	s := strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB")
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 8 << 30
	}
	return n << 10
}

// procField reads the first "name : value" of a file of /proc, "" without it.
func procField(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(b), "\n") {
		k, v, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
