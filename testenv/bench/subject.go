package main

import (
	"context"
	"errors"
	"time"
)

// subject is what is measured: two hops between scraper and target.
type subject struct {
	name         string
	addr         string // the scraper's side
	outer, inner *process
}

// between makes the address under which the two hops meet of the one that
// listens: itself, or that of something in between.
type between func(addr string) (string, error)

func directly(addr string) (string, error) { return addr, nil }

// starter starts a subject; there is one for each column of the table.
type starter func(ctx context.Context, between between) (*subject, error)

// cpu is what both hops have used.
func (s *subject) cpu() (time.Duration, error) {
	outer, err := s.outer.cpu()
	if err != nil {
		return 0, err
	}
	inner, err := s.inner.cpu()
	return outer + inner, err
}

// memory is what both hops hold together.
func (s *subject) memory() (memory, error) {
	outer, err := s.outer.memory()
	if err != nil {
		return memory{}, err
	}
	inner, err := s.inner.memory()
	return memory{
		peak: outer.peak + inner.peak, resident: outer.resident + inner.resident, private: outer.private + inner.private,
	}, err
}

func (s *subject) stop() error { return errors.Join(s.inner.stop(), s.outer.stop()) }
