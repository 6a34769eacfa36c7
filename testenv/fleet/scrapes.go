package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// scrapes are those of a while, of a sample of the routes at a steady rate. A
// route that has not answered yet is not back; from its first answer on it must.
type scrapes struct {
	mu        sync.Mutex
	back      map[string]bool
	latencies []time.Duration
	first     time.Time
	failures  map[string]int
	away      int // asked for, and not back yet
}

// scrapeAll scrapes until ctx ends, and waits for what is under way.
func scrapeAll(ctx context.Context, client *http.Client, base string, o options) *scrapes {
	s := &scrapes{back: make(map[string]bool), failures: make(map[string]int)}
	var sample []string
	for range 500 {
		sample = append(sample, routePath(rand.IntN(o.sessions), rand.IntN(o.routes)))
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ticker := time.NewTicker(time.Second / time.Duration(o.scrapes))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return s
		case <-ticker.C:
			path := sample[rand.IntN(len(sample))]
			wg.Go(func() { s.scrape(client, base, path) })
		}
	}
}

func (s *scrapes) scrape(client *http.Client, base, path string) {
	s.mu.Lock()
	back := s.back[path]
	s.mu.Unlock()
	begun := time.Now()
	outcome := get(client, base+path)
	took := time.Since(begun)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case outcome == "":
		if s.first.IsZero() {
			s.first = time.Now()
		}
		s.back[path] = true
		s.latencies = append(s.latencies, took)
	case back:
		s.failures[outcome]++
	default:
		s.away++
	}
}

// get is one scrape: "" or what became of it.
func get(client *http.Client, url string) string {
	response, err := client.Get(url)
	if err != nil {
		return fmt.Sprintf("%T", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return "cut"
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Sprint(response.StatusCode, " ", response.Header.Get("Sallyport-Outcome"))
	}
	return ""
}

// quantile is of the answered ones.
func (s *scrapes) quantile(q float64) time.Duration {
	if len(s.latencies) == 0 {
		return 0
	}
	slices.Sort(s.latencies)
	return s.latencies[int(q*float64(len(s.latencies)-1))]
}
