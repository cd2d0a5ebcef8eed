package system

import (
	"fmt"
	"strconv"
	"strings"
)

// maxCPU is the last that a kernel of ours can have (CONFIG_NR_CPUS).
const maxCPU = 8191

// parseSet reads a set of numbers as the kernel writes it, "0-2,4\n".
func parseSet(text string) ([]int, error) {
	var out []int
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		b := a
		if err == nil && ranged {
			b, err = strconv.Atoi(to)
		}
		if err != nil || a < 0 || b < a || b > maxCPU {
			return nil, fmt.Errorf("%q is no set of numbers", text)
		}
		for ; a <= b; a++ {
			out = append(out, a)
		}
	}
	return out, nil
}
