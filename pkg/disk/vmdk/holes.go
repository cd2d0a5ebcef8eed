package vmdk

import "io"

// holes answers whether a part of a sparse file is known to hold nothing. It
// is asked in ascending order and keeps only the next run of data.
type holes struct {
	// next gives the first run of data at or after off; ok is false when that
	// cannot be told, and then everything counts as data.
	next       func(off int64) (start, end int64, ok bool)
	start, end int64
	size       int64
}

func newHoles(src io.ReaderAt, size int64) *holes {
	return &holes{next: dataRuns(src, size), size: size}
}

func (h *holes) covers(from, to int64) bool {
	if h.next == nil {
		return false
	}
	if from >= h.end {
		start, end, ok := h.next(from)
		if !ok || end <= from {
			h.next = nil
			return false
		}
		h.start, h.end = start, end
	}
	return to <= h.start
}
