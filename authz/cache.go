package authz

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

const (
	defaultCacheEntries = 65_536
	// cacheEntryBytes is what an entry may take on average. A typical one, of two
	// identities and a path, takes a third of that.
	cacheEntryBytes = 1 << 10
	// maxCacheKeyBytes keeps a scraper from filling the cache with few, long queries.
	maxCacheKeyBytes = 4 << 10
	// entryOverhead is what an entry takes beside its key and reasons: the decision,
	// its ID and the map's share (measured: 230 B).
	entryOverhead = 256

	cacheShards = 8
)

// cache keeps the decisions on scrapes, by what the policy can see of them. It is
// part of one policy, so a new policy starts with none. Each shard has two
// generations: a full young one becomes the old one, whose decisions move back when
// they are asked for and are dropped otherwise. That bounds it, and lets no flood of
// odd scrapes drive out what is asked for all the time.
type cache struct {
	by     fields
	seed   maphash.Seed
	shards []cacheShard
}

type cacheShard struct {
	mu         sync.Mutex
	young, old map[string]*cacheEntry
	bytes      int // of young
	maxEntries int // per generation
	maxBytes   int // per generation
}

type cacheEntry struct {
	key      string
	decision Decision
}

// newCache makes a cache of about that many entries for a policy that can read by,
// or none where the time of a decision is part of it.
func newCache(by fields, entries int) *cache {
	if entries <= 0 || by&fieldNow != 0 {
		return nil
	}
	n := cacheShards
	if entries < 1024 {
		n = 1 // so that a small bound is kept to the entry
	}
	c := &cache{by: by, seed: maphash.MakeSeed(), shards: make([]cacheShard, n)}
	for i := range c.shards {
		s := &c.shards[i]
		s.maxEntries = max(1, entries/n/2)
		s.maxBytes = s.maxEntries * cacheEntryBytes
		s.young = make(map[string]*cacheEntry)
	}
	return c
}

func (c *cache) get(key []byte) (Decision, bool) {
	s := c.shard(key)
	s.mu.Lock()
	e := s.young[string(key)]
	if e == nil {
		if e = s.old[string(key)]; e != nil {
			s.put(e)
		}
	}
	s.mu.Unlock()
	if e == nil {
		return Decision{}, false
	}
	d := e.decision
	d.Reasons = slices.Clone(d.Reasons)
	return d, true
}

// put keeps d. A scrape decision has no labels.
func (c *cache) put(key []byte, d Decision) {
	if len(key) > maxCacheKeyBytes {
		return
	}
	d.Reasons, d.Labels = slices.Clone(d.Reasons), nil
	s := c.shard(key)
	s.mu.Lock()
	s.put(&cacheEntry{key: string(key), decision: d})
	s.mu.Unlock()
}

func (c *cache) shard(key []byte) *cacheShard {
	return &c.shards[maphash.Bytes(c.seed, key)%uint64(len(c.shards))]
}

func (s *cacheShard) put(e *cacheEntry) {
	if old := s.young[e.key]; old != nil {
		s.bytes -= old.size()
		delete(s.young, e.key)
	}
	if len(s.young) >= s.maxEntries || s.bytes+e.size() > s.maxBytes && len(s.young) > 0 {
		s.old, s.young, s.bytes = s.young, make(map[string]*cacheEntry), 0
	}
	s.young[e.key] = e
	s.bytes += e.size()
}

func (e *cacheEntry) size() int {
	n := entryOverhead + len(e.key)
	for _, r := range e.decision.Reasons {
		n += len(r) + 16
	}
	return n
}

// appendKey writes the fields of in that are in by, each with its length, so that no
// two inputs have one key unless the policy sees them alike.
func (in *ScrapeInput) appendKey(key []byte, by fields) []byte {
	for _, f := range [...]struct {
		field fields
		value string
	}{
		{fieldProxyID, in.Proxy.ID},
		{fieldProxyTrustDomain, in.Proxy.TrustDomain},
		{fieldScraperID, in.Scraper.ID},
		{fieldScraperKind, in.Scraper.Kind},
		{fieldScraperTrustDomain, in.Scraper.TrustDomain},
		{fieldScraperRemoteIP, in.Scraper.RemoteIP},
		{fieldPath, in.Route.Path},
		{fieldOwner, in.Route.Owner},
	} {
		if by&f.field != 0 {
			key = appendText(key, f.value)
		}
	}
	if by&fieldScraperSegments != 0 {
		key = appendTexts(key, in.Scraper.Segments)
	}
	if by&fieldSegments != 0 {
		key = appendTexts(key, in.Route.Segments)
	}
	if by&fieldTimeout != 0 {
		key = binary.AppendVarint(key, int64(in.Request.Timeout/time.Millisecond))
	}
	// No function value here: with one, the caller's buffer would move to the heap.
	var room [16]string
	if by&fieldLabels != 0 {
		names := sortedNames(room[:0], in.Route.Labels)
		key = binary.AppendUvarint(key, uint64(len(names)))
		for _, name := range names {
			key = appendText(appendText(key, name), in.Route.Labels[name])
		}
	}
	if by&fieldQuery != 0 {
		names := sortedNames(room[:0], in.Request.Query)
		key = binary.AppendUvarint(key, uint64(len(names)))
		for _, name := range names {
			key = appendTexts(appendText(key, name), in.Request.Query[name])
		}
	}
	return key
}

func appendText(key []byte, s string) []byte {
	return append(binary.AppendUvarint(key, uint64(len(s))), s...)
}

func appendTexts(key []byte, list []string) []byte {
	key = binary.AppendUvarint(key, uint64(len(list)))
	for _, s := range list {
		key = appendText(key, s)
	}
	return key
}

func sortedNames[V any](names []string, m map[string]V) []string {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
