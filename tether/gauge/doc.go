// Package gauge reads what a container uses: the files of its control group, and
// procfs. It changes nothing, starts nothing, and must not know of sessions or of
// Docker's forms.
//
// Start reading at Reader.Stats, then Reader.Processes.
package gauge
