// Package record is how incidents, groups and facts are written into a store:
// CBOR (RFC 8949) under the names of their json tags, compressed (LZ4) with a
// dictionary of what such records usually say.
//
// The first byte of a record tells its form. "{" is JSON, as callchain wrote it
// in the beginning: it is still read. Whoever changes anything about a form, the
// dictionary too, adds another one; what stands in a store must stay readable.
//
// What a field means is not this package's business. A field that a reader does
// not know is passed over, and Over keeps it: so an older callchain may change what
// a newer one wrote and lose nothing of it.
package record

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// The forms of a record.
const (
	plainJSON  = '{'
	packedCBOR = 1
)

// ErrNewer is a record of a form that this callchain does not know yet. Forms are
// less than a space: what begins with a letter is not of ours.
var ErrNewer = errors.New("it was written by a newer callchain")

// maxSize bounds what a record may unfold to, so that one that was tampered with
// cannot take all memory. It is what stores accept at most.
const maxSize = 32 << 20

// maxElements of one list: some webhooks of 64 MiB may end one minute's alerts.
// An element of one byte may take some hundred in memory.
const maxElements = 1 << 20

//go:embed dictionary.bin
var dictionary []byte

var (
	enc = must(cbor.EncOptions{
		// Equal values have equal bytes: that is how the engine sees that nothing changed.
		Sort: cbor.SortBytewiseLexical,
		Time: cbor.TimeRFC3339Nano,
	}.UserBufferEncMode())
	options = cbor.DecOptions{
		UTF8:             cbor.UTF8DecodeInvalid, // an odd label must not make a record unreadable
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxElements,
		DefaultMapType:   reflect.TypeFor[map[string]any](),
	}
	dec    = must(options.DecMode())
	strict = must(func() (cbor.DecMode, error) {
		o := options
		o.ExtraReturnErrors = cbor.ExtraDecErrorUnknownField
		return o.DecMode()
	}())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// scratch is memory for one record while it is read or written.
type scratch struct {
	window bytes.Buffer // the dictionary and the plain record
	data   []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// done gives it back, unless one huge record would keep all its memory.
func (s *scratch) done() {
	if s.window.Cap() < 1<<16 && cap(s.data) < 1<<16 {
		scratches.Put(s)
	}
}

// Encode returns v as it is stored. Equal values have equal bytes.
func Encode(v any) ([]byte, error) {
	s, _ := scratches.Get().(*scratch)
	defer s.done()
	s.window.Reset()
	s.window.Write(dictionary)
	if err := enc.MarshalToBuffer(v, &s.window); err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	size := s.window.Len() - len(dictionary)
	if size > maxSize {
		return nil, fmt.Errorf("encode a record: it has %d bytes, at most %d can be read again", size, maxSize)
	}
	s.data = binary.AppendUvarint(append(s.data[:0], packedCBOR), uint64(size))
	s.data = compress(s.data, s.window.Bytes())
	return slices.Clone(s.data), nil
}

// Decode reads what Encode wrote, and JSON, into the struct that v points to.
func Decode(data []byte, v any) error {
	_, err := read(data, v, dec)
	return err
}

// Read is Decode. foreign tells that the record has fields that v has no place for;
// of JSON it does not, which no newer callchain writes.
func Read(data []byte, v any) (foreign bool, err error) {
	unknown := (*cbor.UnknownFieldError)(nil)
	if foreign, err = read(data, v, strict); errors.As(err, &unknown) {
		return read(data, v, dec)
	}
	return foreign, err
}

// read decodes with one of the modes; foreign tells that it was not the strict one.
func read(data []byte, v any, mode cbor.DecMode) (foreign bool, err error) {
	if len(data) > 0 && data[0] == plainJSON {
		if err := json.Unmarshal(data, v); err != nil {
			return false, fmt.Errorf("decode a record: %w", err)
		}
		return false, nil
	}
	s, _ := scratches.Get().(*scratch)
	defer s.done()
	plain, err := s.unpack(data)
	if err != nil {
		return false, err
	}
	// What it makes has copies of its own.
	if err := mode.Unmarshal(plain, v); err != nil {
		return false, fmt.Errorf("decode a record: %w", err)
	}
	return mode == dec, nil
}

// unpack returns the plain record; it is overwritten when s is used again.
func (s *scratch) unpack(data []byte) ([]byte, error) {
	switch {
	case len(data) == 0:
		return nil, errors.New("decode a record: it is empty")
	case data[0] > packedCBOR && data[0] < ' ':
		return nil, fmt.Errorf("decode a record: %w (form %d)", ErrNewer, data[0])
	case data[0] != packedCBOR:
		return nil, fmt.Errorf("decode a record: something else than callchain wrote it (form %d)", data[0])
	}
	size, n := binary.Uvarint(data[1:])
	if n <= 0 || size > maxSize {
		return nil, fmt.Errorf("decode a record: it claims %d bytes, at most %d are legal", size, maxSize)
	}
	window, err := decompress(append(s.data[:0], dictionary...), data[1+n:], int(size))
	if err != nil {
		return nil, fmt.Errorf("decode a record: %w", err)
	}
	s.data = window
	return window[len(dictionary):], nil
}

// Text returns a record in a form for people, with nothing left out: JSON as it
// is, else CBOR's diagnostic notation.
func Text(data []byte) (string, error) {
	if len(data) > 0 && data[0] == plainJSON {
		return string(data), nil
	}
	plain, err := new(scratch).unpack(data)
	if err != nil {
		return "", err
	}
	text, err := cbor.Diagnose(plain)
	if err != nil {
		return "", fmt.Errorf("decode a record: %w", err)
	}
	return text, nil
}
