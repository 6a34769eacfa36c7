package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 5 * time.Second
	maxOutput    = 64 << 10
)

// process is a program under measurement, or one that serves it.
type process struct {
	name string
	addr string // where it listens, once that is known
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu     sync.Mutex
	output bytes.Buffer
	grown  chan struct{} // closed when output has grown
}

// start starts a program with these variables and no others but PATH and HOME.
func start(name string, env []string, program string, args ...string) (*process, error) {
	p := &process{name: name, done: make(chan struct{}), grown: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = diesWithUs()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is of interest only to whom waits for its output
	}()
	return p, nil
}

// Write keeps the beginning of what the process says.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if room := maxOutput - p.output.Len(); room > 0 {
		p.output.Write(b[:min(room, len(b))])
	}
	close(p.grown)
	p.grown = make(chan struct{})
	return len(b), nil
}

// said returns what the process has said, and what is closed when that grows.
func (p *process) said() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String(), p.grown
}

// await waits until the process has said what matches, and returns its first
// group.
func (p *process) await(ctx context.Context, pattern string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	compiled := regexp.MustCompile(pattern)
	for {
		text, grown := p.said()
		if found := compiled.FindStringSubmatch(text); found != nil {
			return found[len(found)-1], nil
		}
		select {
		case <-grown:
		case <-p.done:
			if text, _ := p.said(); !compiled.MatchString(text) {
				return "", fmt.Errorf("%s ended without saying %q: %s", p.name, pattern, text)
			}
		case <-ctx.Done():
			return "", fmt.Errorf("%s has not said %q: %w: %s", p.name, pattern, ctx.Err(), text)
		}
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process, kindly at first. One that has ended before is a fault,
// and so is one that must be killed.
func (p *process) stop() error {
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		text, _ := p.said()
		return fmt.Errorf("%s has ended by itself: %s", p.name, text)
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	patience := time.NewTimer(stopTimeout)
	defer patience.Stop()
	select {
	case <-p.done:
		return nil
	case <-patience.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	return errors.New(p.name + " did not stop and was killed")
}
