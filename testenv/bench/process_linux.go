package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// diesWithUs keeps a Ctrl-C for ourselves, so that we stop our children in
// order, and lets the kernel end them if we cannot.
func diesWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// cpu is the time that all threads of the process have run, user and system, by
// the kernel's clock for it: exact to the nanosecond, where /proc counts ticks.
func (p *process) cpu() (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.pid())<<3|scheduled, &t); err != nil {
		return 0, fmt.Errorf("reading CPU clock of %s: %w", p.name, err)
	}
	return time.Duration(t.Nano()), nil
}

// ownCPU is the same of this process.
func ownCPU() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("reading own CPU clock: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// machineCPU is what all processes have used, in steps of 10 ms, and what the
// machine's host has taken.
func machineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the machine's CPU: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var ticks int64
	for i, field := range strings.Fields(line) {
		switch i {
		case 1, 2, 3, 6, 7, 8: // user, nice, system, irq, softirq, steal
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading the machine's CPU: %w", err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// memory is what a process holds, in bytes.
type memory struct {
	peak, resident, private int64
}

func (p *process) memory() (memory, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		return memory{}, fmt.Errorf("reading memory of %s: %w", p.name, err)
	}
	defer file.Close()
	var m memory
	fields := map[string]*int64{"VmHWM": &m.peak, "VmRSS": &m.resident, "RssAnon": &m.private}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if into, ok := fields[name]; ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err != nil {
				return memory{}, fmt.Errorf("reading memory of %s: %w", p.name, err)
			}
			*into = kib << 10
		}
	}
	return m, nil
}

// limitReceiving keeps the kernel's buffer of a socket small.
func limitReceiving(fd uintptr, bytes int) {
	_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
}

// sleepUntil is exact to some 60 us, where the runtime's timers of an idle
// program are to a millisecond. The caller's thread sleeps.
func sleepUntil(t time.Time) {
	for {
		left := time.Until(t)
		if left <= 0 {
			return
		}
		pause := unix.NsecToTimespec(int64(left))
		_ = unix.Nanosleep(&pause, nil) // interrupted: sleeps the rest
	}
}
