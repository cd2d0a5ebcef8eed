// Package command is vic-machine's command line: one file per verb, each with
// its options, their flags and a run function. It turns what was typed into
// pkg/install's options and prints; it decides nothing about vSphere. The log
// of create and delete is their output and goes to stdout, as it always did;
// ls, inspect and version print a result to stdout and log to stderr.
//
// Start reading at Execute in root.go.
package command
