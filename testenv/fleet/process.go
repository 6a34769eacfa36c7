package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// memory is what a process holds, in bytes.
type memory struct {
	rss, anonymous int64 // as the kernel counts
	heap, stacks   int64 // in use, as the Go runtime counts
	goroutines     int64
	descriptors    int64
}

// memoryOf reads a process's memory; m are its own metrics.
func memoryOf(pid int, m metrics) (memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	kib := func(name string) int64 {
		_, rest, _ := strings.Cut(string(status), "\n"+name+":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return 0
		}
		n, _ := strconv.ParseInt(fields[0], 10, 64)
		return n << 10
	}
	return memory{
		rss: kib("VmRSS"), anonymous: kib("RssAnon"),
		heap: int64(m["go_memstats_heap_inuse_bytes"]), stacks: int64(m["go_memstats_stack_inuse_bytes"]),
		goroutines: int64(m["go_goroutines"]), descriptors: int64(m["process_open_fds"]),
	}, nil
}

// minus is the growth since before.
func (m memory) minus(before memory) memory {
	return memory{
		rss: m.rss - before.rss, anonymous: m.anonymous - before.anonymous,
		heap: m.heap - before.heap, stacks: m.stacks - before.stacks,
		goroutines: m.goroutines - before.goroutines, descriptors: m.descriptors - before.descriptors,
	}
}

// cpuOf is the processor time that a process has used, 0 when it is gone.
func cpuOf(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything; the times are the 14th and 15th.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 wherever Linux runs
	return time.Duration(user+system) * tick
}
