// Package tagging keeps vCenter's tags on containerVMs as their labels are, so that
// a distributed firewall can group them. A failure stops nothing: it is logged and
// tried again.
//
// Start reading at Tagger.Run.
package tagging
