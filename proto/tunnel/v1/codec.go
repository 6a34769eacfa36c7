package tunnelv1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto" // registers the codec, too
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// RawReply is a LaneReply whose body stays in the buffers it is in, where
// protobuf would copy it twice on either side. Its bytes are the same: either
// side may use the one or the other. It needs Codec.
type RawReply struct {
	Head *Head
	// Body passes to gRPC when it is sent; who receives it frees it.
	Body mem.BufferSlice
	End  *End
}

// Free gives the body's buffers back. What was read of them is no longer valid.
func (r *RawReply) Free() {
	r.Body.Free()
	r.Body = nil
}

// Codec encodes the messages of the tunnel: protobuf, and RawReply besides. Both
// sides need it as their forced codec.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(protocodec.Name)} }

type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.(*RawReply); ok {
		return raw.marshal()
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if raw, ok := v.(*RawReply); ok {
		return raw.unmarshal(data)
	}
	return c.CodecV2.Unmarshal(data, v)
}

// The fields of LaneReply. A test compares them with the schema.
const (
	headField = 1
	bodyField = 2
	endField  = 3
)

// marshal puts the body last, so that all else is one buffer before it.
func (r *RawReply) marshal() (mem.BufferSlice, error) {
	var err error
	lead := make([]byte, 0, 96)
	if r.Head != nil {
		lead, err = appendMessage(lead, headField, r.Head)
	}
	if r.End != nil && err == nil {
		lead, err = appendMessage(lead, endField, r.End)
	}
	if err != nil {
		return nil, err
	}
	length := r.Body.Len()
	if length == 0 {
		return mem.BufferSlice{mem.SliceBuffer(lead)}, nil
	}
	lead = protowire.AppendTag(lead, bodyField, protowire.BytesType)
	lead = protowire.AppendVarint(lead, uint64(length))
	return append(mem.BufferSlice{mem.SliceBuffer(lead)}, r.Body...), nil
}

func appendMessage(b []byte, field protowire.Number, m proto.Message) ([]byte, error) {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(proto.Size(m)))
	return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
}

// unmarshal is stricter than protobuf: a field comes once. On an error nothing is
// kept.
func (r *RawReply) unmarshal(data mem.BufferSlice) error {
	*r = RawReply{}
	in := data.Reader()
	defer in.Close()
	for in.Remaining() > 0 {
		if err := r.field(data, in); err != nil {
			r.Free()
			return fmt.Errorf("a lane's reply: %w", err)
		}
	}
	return nil
}

func (r *RawReply) field(data mem.BufferSlice, in *mem.Reader) error {
	tag, err := binary.ReadUvarint(in)
	if err != nil {
		return err
	}
	field, wire := protowire.DecodeTag(tag)
	if !field.IsValid() {
		return errors.New("a field with an invalid number")
	}
	if wire != protowire.BytesType {
		return skip(in, field, wire)
	}
	length, err := binary.ReadUvarint(in)
	if err != nil {
		return err
	}
	if length > uint64(in.Remaining()) {
		return io.ErrUnexpectedEOF
	}
	switch {
	case field == headField && r.Head == nil:
		r.Head = new(Head)
		return readMessage(in, int(length), r.Head)
	case field == endField && r.End == nil:
		r.End = new(End)
		return readMessage(in, int(length), r.End)
	case field == bodyField && r.Body == nil:
		r.Body = cut(data, data.Len()-in.Remaining(), int(length))
	case field <= endField:
		return errors.New("a field twice")
	}
	_, err = in.Discard(int(length))
	return err
}

func readMessage(in *mem.Reader, length int, m proto.Message) error {
	encoded := make([]byte, length)
	if _, err := io.ReadFull(in, encoded); err != nil {
		return err
	}
	return proto.Unmarshal(encoded, m)
}

// cut is the part of data from there on. It never returns nil.
func cut(data mem.BufferSlice, from, length int) mem.BufferSlice {
	part := make(mem.BufferSlice, 0, len(data))
	for _, buffer := range data {
		n := min(buffer.Len()-from, length)
		if n > 0 {
			part = append(part, buffer.Slice(from, from+n))
			length -= n
		}
		from = max(from-buffer.Len(), 0)
	}
	return part
}

// skip passes over a field that a later version may have.
func skip(in *mem.Reader, field protowire.Number, wire protowire.Type) error {
	switch {
	case field <= endField:
		return errors.New("a field of another type")
	case wire == protowire.VarintType:
		_, err := binary.ReadUvarint(in)
		return err
	case wire == protowire.Fixed32Type || wire == protowire.Fixed64Type:
		n := protowire.SizeFixed32()
		if wire == protowire.Fixed64Type {
			n = protowire.SizeFixed64()
		}
		_, err := in.Discard(n)
		return err
	}
	return errors.New("a field of an unknown type")
}
