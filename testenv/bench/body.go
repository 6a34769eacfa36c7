package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strconv"
)

// body is what a target exposes, in the text format.
type body struct {
	name   string
	size   int  // about, in bytes, before any compression
	gzip   bool // whether the target also has it compressed
	length bool // whether the target says its length in any case
}

// bodies are what there is to scrape. The small one is a little program's, the
// medium one a usual exporter's, the large one a cluster's, the huge one a
// mistake that must not hurt. Those of known length are as exporters send them
// that are not written in Go.
var bodies = []body{
	{name: "small", size: 2_000, gzip: true},
	{name: "medium", size: 100_000, gzip: true},
	{name: "large", size: 5_000_000, gzip: true},
	{name: "huge", size: 50_000_000},
	{name: "medium-known", size: 100_000, length: true},
	{name: "large-known", size: 5_000_000, length: true},
}

// path is the same at the target, the base and the proxy.
func (b body) path() string { return "/team-a/node/" + b.name }

// plain makes the exposition, the same each time: the process that serves it and
// the one that compares make it each for themselves.
func (b body) plain() []byte {
	out := make([]byte, 0, b.size+200)
	for series := 0; len(out) < b.size; series++ {
		family := series / 20
		if series%20 == 0 {
			out = fmt.Appendf(out, "# HELP bench_family_%d_total Things that happened.\n# TYPE bench_family_%d_total counter\n", family, family)
		}
		out = fmt.Appendf(out, `bench_family_%d_total{code="%d",handler="/api/v1/%d",method="get"} `, family, 200+series%20, series%7)
		out = strconv.AppendFloat(out, float64(series*7919%1_000_003)*1.37, 'g', -1, 64)
		out = append(out, '\n')
	}
	return out
}

// encoded makes the exposition as it crosses the wire.
func (b body) encoded(coding string) ([]byte, error) {
	if coding != codingGzip {
		return b.plain(), nil
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b.plain()); err != nil {
		return nil, fmt.Errorf("compressing %s body: %w", b.name, err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compressing %s body: %w", b.name, err)
	}
	return out.Bytes(), nil
}

// Content codings that a scraper asks for.
const (
	codingGzip  = "gzip"
	codingPlain = "identity"
)

func bodyNamed(name string) body {
	for _, b := range bodies {
		if b.name == name {
			return b
		}
	}
	panic("no body is named " + name)
}
