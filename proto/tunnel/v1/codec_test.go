package tunnelv1_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

// countingPool knows how many of its buffers are out.
type countingPool struct{ out atomic.Int64 }

func (p *countingPool) Get(length int) *[]byte {
	p.out.Add(1)
	buffer := make([]byte, length, max(length, 2048))
	return &buffer
}

func (p *countingPool) Put(*[]byte) { p.out.Add(-1) }

// arrive makes buffers of a message as they come from the network, cut into parts.
func (p *countingPool) arrive(message []byte, part int) mem.BufferSlice {
	var slice mem.BufferSlice
	for len(message) > 0 {
		n := min(part, len(message))
		buffer := p.Get(n)
		copy(*buffer, message[:n])
		slice = append(slice, mem.NewBuffer(buffer, p))
		message = message[n:]
	}
	return slice
}

func plain(raw *tunnelv1.RawReply) *tunnelv1.LaneReply {
	return &tunnelv1.LaneReply{Head: raw.Head, Body: raw.Body.Materialize(), End: raw.End}
}

func samples() []*tunnelv1.LaneReply {
	head := &tunnelv1.Head{Status: 200, ContentType: "text/plain", ContentEncoding: "gzip", ContentLength: 5000}
	end := &tunnelv1.End{Code: tunnelv1.End_BROKEN, Reason: "it broke"}
	body := bytes.Repeat([]byte("0123456789"), 500)
	return []*tunnelv1.LaneReply{
		{}, {Head: head}, {Body: body}, {End: end}, {Head: head, End: end},
		{Head: head, Body: body, End: end}, {Head: &tunnelv1.Head{}, Body: body[:1], End: &tunnelv1.End{}},
	}
}

// A RawReply and a LaneReply are the same on the wire, and all buffers come back.
func TestRawReplyIsALaneReply(t *testing.T) {
	t.Parallel()
	codec, pool := tunnelv1.Codec(), new(countingPool)
	for i, want := range samples() {
		raw := &tunnelv1.RawReply{Head: want.GetHead(), End: want.GetEnd(), Body: pool.arrive(want.GetBody(), 1300)}
		sent, err := codec.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		var got tunnelv1.LaneReply
		if err := codec.Unmarshal(sent, &got); err != nil || !proto.Equal(&got, want) {
			t.Errorf("%d: sent %v, arrived %v (%v)", i, want, &got, err)
		}
		sent.Free()

		encoded, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []int{1, 7, 16, 1024, 16 << 10} {
			data := pool.arrive(encoded, part)
			var raw tunnelv1.RawReply
			err := codec.Unmarshal(data, &raw)
			data.Free() // as gRPC does
			if err != nil || !proto.Equal(plain(&raw), want) {
				t.Errorf("%d in parts of %d: sent %v, arrived %v (%v)", i, part, want, plain(&raw), err)
			}
			raw.Free()
		}
	}
	if n := pool.out.Load(); n != 0 {
		t.Errorf("%d buffers did not come back", n)
	}
}

func TestRawReplyRefuses(t *testing.T) {
	t.Parallel()
	field := func(number protowire.Number, value ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
	}
	for name, message := range map[string][]byte{
		"two heads":       append(field(1), field(1)...),
		"two bodies":      append(field(2, 1), field(2, 2)...),
		"two ends":        append(field(3), field(3)...),
		"no field":        field(0),
		"another type":    protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 1),
		"a huge field":    protowire.AppendVarint(protowire.AppendVarint(nil, 1<<32), 1),
		"a group":         protowire.AppendTag(nil, 9, protowire.StartGroupType),
		"a cut length":    field(2, 1, 2, 3)[:4],
		"a cut tag":       {0x80},
		"a huge length":   protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.BytesType), 1<<63),
		"a malformed end": field(3, 0xff),
		"a bad string":    field(1, append([]byte{0x12, 0x01}, 0xff)...),
		"what comes late": append(field(2, 1, 2), 0x80),
	} {
		pool := new(countingPool)
		data := pool.arrive(message, 3)
		raw := tunnelv1.RawReply{}
		if err := tunnelv1.Codec().Unmarshal(data, &raw); err == nil {
			t.Errorf("%s: taken as %v", name, plain(&raw))
		}
		data.Free()
		if n := pool.out.Load(); n != 0 {
			t.Errorf("%s: %d buffers did not come back", name, n)
		}
	}
}

// What a RawReply takes, protobuf takes alike.
func FuzzRawReply(f *testing.F) {
	for _, sample := range samples() {
		encoded, err := proto.Marshal(sample)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded, 5)
	}
	f.Add(protowire.AppendVarint(protowire.AppendTag(nil, 12, protowire.VarintType), 300), 1)
	f.Fuzz(func(t *testing.T, message []byte, part int) {
		pool := new(countingPool)
		data := pool.arrive(message, max(part, 1))
		var raw tunnelv1.RawReply
		err := tunnelv1.Codec().Unmarshal(data, &raw)
		data.Free()
		if err == nil {
			var want tunnelv1.LaneReply
			if err := proto.Unmarshal(message, &want); err != nil {
				t.Errorf("taken, but %v", err)
			}
			got := plain(&raw)
			if fmt.Sprint(got.GetHead(), got.GetEnd()) != fmt.Sprint(want.GetHead(), want.GetEnd()) || !bytes.Equal(got.GetBody(), want.GetBody()) {
				t.Errorf("taken as %v, not %v", got, &want)
			}
		}
		raw.Free()
		if n := pool.out.Load(); n != 0 {
			t.Errorf("%d buffers did not come back", n)
		}
	})
}
