package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

func cpuByProc() map[string]float64 {
	out := map[string]float64{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		cl, err := os.ReadFile(d + "/cmdline")
		if err != nil || len(cl) == 0 {
			continue
		}
		args := strings.Split(string(cl), "\x00")
		name := filepath.Base(args[0])
		for i, a := range args {
			if a == "-name" && i+1 < len(args) {
				name += " " + args[i+1]
			}
		}
		tasks, _ := filepath.Glob(d + "/task/*/stat")
		for _, t := range tasks {
			b, err := os.ReadFile(t)
			if err != nil {
				continue
			}
			s := string(b)
			comm := s[strings.Index(s, "(")+1 : strings.LastIndex(s, ")")]
			f := strings.Fields(s[strings.LastIndex(s, ")")+2:])
			u, _ := strconv.ParseFloat(f[11], 64)
			k, _ := strconv.ParseFloat(f[12], 64)
			key := name
			if strings.HasPrefix(name, "qemu") {
				key += "/" + comm
			}
			out[key] += u + k
		}
	}
	return out
}

func withCPU(p probe, sum map[string]float64, mb *float64) probe {
	return func(ctx context.Context) (float64, error) {
		before := cpuByProc()
		r, err := p(ctx)
		after := cpuByProc()
		for k, v := range after {
			if d := v - before[k]; d > 0 {
				sum[k] += d
			}
		}
		*mb += r * 2
		return r, err
	}
}

func showCPU(what string, sum map[string]float64, mb float64) {
	var keys []string
	total := 0.0
	for k, v := range sum {
		keys = append(keys, k)
		total += v
	}
	sort.Slice(keys, func(i, j int) bool { return sum[keys[i]] > sum[keys[j]] })
	fmt.Printf("%s: %.0f ticks, %.0f MB: ticks per 100 MB\n", what, total, mb)
	for _, k := range keys {
		if sum[k] > total/500 {
			fmt.Printf("   %-60s %.2f\n", k, sum[k]/mb*100)
		}
	}
	fmt.Printf("   total %.2f\n", total/mb*100)
}
