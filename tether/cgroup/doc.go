// Package cgroup holds a container's processes in a control group (cgroup v2):
// limits, freezing, and the notice of a kill for want of memory. It works on the
// files of a mounted hierarchy and must not mount it, start processes or know of
// sessions; what the group has used is read by package gauge.
//
// Two groups are made, one in the other:
//
//	/sys/fs/cgroup/vic            what the VM has for the container; tether is not in it
//	/sys/fs/cgroup/vic/container  the container: its limits, and what it sees as /sys/fs/cgroup
//
// The outer one keeps a little memory back, so that a container that wants all of
// it is ended by the limit of its group and not by a guest that starves.
//
// docs/resources.md tells users what the limits do. Start reading at Make.
package cgroup
