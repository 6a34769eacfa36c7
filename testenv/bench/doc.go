// Command bench compares Sallyport with the base: two hops of the standard
// library's reverse proxy with HTTP/2 over mutual TLS 1.3 between them, which is
// what somebody writes who needs a scrape carried over and nothing else.
//
//	go run ./testenv/bench            # or make bench
//	go run ./testenv/bench -rows 'small .* c16' -reps 9 -for 3s
//	go run ./testenv/bench -against ../main/bin
//
// All of it runs as real processes on loopback: one target, the base's two hops,
// sallyport-proxy and sallyport-agent built as make build does, with mutual TLS on
// both sides, the default policy, metrics, audit log and admin listeners. Scrapers
// live in this process and are the same for both: they speak HTTP/1.1 over mutual
// TLS 1.3, as Prometheus does.
//
// Each row is measured several times, base and sallyport in turn, so that what
// the machine does besides falls upon both. The table gives the medians, the ratio
// of the medians, and the lowest and the highest ratio of a repetition. Figures of
// two runs, or of two machines, say little; ratios do, and those of CPU the most:
// rates and latencies want a machine that does nothing else, and each row says on
// standard error how much of it others took.
//
// CPU is what the kernel's clocks of the two processes say, divided by the scrapes
// that were done meanwhile. Peak memory is the kernel's high-water mark of both
// together, in processes that have done nothing else. Of each body the length is
// checked always, its bytes each sixteenth time. It needs Linux.
//
// With -short it takes a quarter of a minute, compares each byte, and fails if
// memory, the tunnel's bytes or the longest stall is over its bound; how fast
// anything is it does not judge.
package main
