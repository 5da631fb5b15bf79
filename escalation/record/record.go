// Package record is how incidents, groups and facts are written into a store:
// CBOR (RFC 8949) under the names of their json tags, compressed with a
// dictionary of what such records usually say.
//
// The first byte of a record tells its form. "{" is JSON, as callchain wrote it
// in the beginning: it is still read. Whoever changes anything about a form, the
// dictionary too, adds another one; what stands in a store must stay readable.
//
// What a field means, and which version of callchain wrote it, is not this
// package's business: a field that a reader does not know is passed over.
package record

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/s2"
)

// The forms of a record.
const (
	plainJSON  = '{'
	packedCBOR = 1
)

// maxSize bounds what a record may unfold to, so that one that was tampered with
// cannot take all memory. It is what stores accept at most.
const maxSize = 32 << 20

// maxElements of one list: some webhooks of 64 MiB may end one minute's alerts.
// An element of one byte may take some hundred in memory.
const maxElements = 1 << 20

//go:embed dictionary.bin
var dictionaryBytes []byte

var (
	dictionary = s2.MakeDict(dictionaryBytes, nil)
	enc        = must(cbor.EncOptions{
		// Equal values have equal bytes: that is how the engine sees that nothing changed.
		Sort: cbor.SortBytewiseLexical,
		Time: cbor.TimeRFC3339Nano,
	}.EncMode())
	dec = must(cbor.DecOptions{
		UTF8:             cbor.UTF8DecodeInvalid, // an odd label must not make a record unreadable
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxElements,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Encode returns v as it is stored. Equal values have equal bytes.
func Encode(v any) ([]byte, error) {
	plain, err := enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	if len(plain) > maxSize {
		return nil, fmt.Errorf("encode a record: it has %d bytes, at most %d can be read again", len(plain), maxSize)
	}
	data := make([]byte, 1+s2.MaxEncodedLen(len(plain)))
	data[0] = packedCBOR
	return data[:1+len(dictionary.Encode(data[1:], plain))], nil
}

// Decode reads what Encode wrote, and JSON, into the struct that v points to.
func Decode(data []byte, v any) error {
	if len(data) > 0 && data[0] == plainJSON {
		if err := json.Unmarshal(data, v); err != nil {
			return fmt.Errorf("decode a record: %w", err)
		}
		return nil
	}
	plain, err := unpack(data)
	if err != nil {
		return err
	}
	if err := dec.Unmarshal(plain, v); err != nil {
		return fmt.Errorf("decode a record: %w", err)
	}
	return nil
}

func unpack(data []byte) ([]byte, error) {
	switch {
	case len(data) == 0:
		return nil, errors.New("decode a record: it is empty")
	case data[0] != packedCBOR:
		return nil, fmt.Errorf("decode a record: it was written by a newer callchain (form %d), or by something else", data[0])
	}
	n, err := s2.DecodedLen(data[1:])
	if err == nil && n > maxSize {
		err = fmt.Errorf("it claims %d bytes, at most %d are legal", n, maxSize)
	}
	if err != nil {
		return nil, fmt.Errorf("decode a record: %w", err)
	}
	plain, err := dictionary.Decode(nil, data[1:])
	if err != nil {
		return nil, fmt.Errorf("decode a record: %w", err)
	}
	return plain, nil
}

// Text returns a record in a form for people, with nothing left out: JSON as it
// is, else CBOR's diagnostic notation.
func Text(data []byte) (string, error) {
	if len(data) > 0 && data[0] == plainJSON {
		return string(data), nil
	}
	plain, err := unpack(data)
	if err != nil {
		return "", err
	}
	text, err := cbor.Diagnose(plain)
	if err != nil {
		return "", fmt.Errorf("decode a record: %w", err)
	}
	return text, nil
}
