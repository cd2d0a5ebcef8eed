// Package admin serves what operations want of a VCH on port 2378: a page that
// says how it is, its logs, and metrics in Prometheus's text form. It shows
// state, and changes none; it never shows a secret.
//
// Start reading at New.
package admin
