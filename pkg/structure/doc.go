// Package structure holds no code: its tests read the source of the whole
// project and keep its shape. They say which package may import which, and
// that every package explains itself.
//
// Start reading at TestImports.
package structure
