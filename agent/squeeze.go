package agent

import (
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
)

const (
	// minSqueeze is the smallest body that is worth compressing, in bytes: it
	// leaves in one packet anyway.
	minSqueeze   = 1024
	squeezeLevel = gzip.BestSpeed
)

var squeezers = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(io.Discard, squeezeLevel)
	if err != nil {
		panic(err) // the level is a constant that exists
	}
	return w
}}

// squeezeBody sends src through gzip. buf holds its first n bytes, err is how
// reading them ended.
func squeezeBody(out *reply, src io.Reader, buf *[chunkBytes]byte, n int, err error) error {
	w := squeezers.Get().(*gzip.Writer)
	defer squeezers.Put(w)
	w.Reset(out)
	for {
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		if err != nil {
			break
		}
		n, err = fill(src, buf[:])
	}
	if err != io.EOF {
		// Without its trailer the compressed stream is visibly cut, too.
		return err
	}
	return w.Close()
}
