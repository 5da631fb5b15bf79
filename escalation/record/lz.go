package record

import (
	"encoding/binary"
	"errors"
	"sync"
)

// Records are compressed in the layout of LZ4 blocks, with the dictionary as what
// came before. It is done here because a compressor for short texts needs little,
// and because the libraries for it keep 64 kB on the stack: to grow that for
// every new goroutine costs more than the compressing does.

const (
	minMatch  = 4
	lastBytes = 5     // that are never part of a match
	lastMatch = 12    // no match begins nearer to the end
	farthest  = 65535 // back from where a match begins
	hashBits  = 12
)

// places is where four bytes were last seen, by their hash.
type places [1 << hashBits]int32

func hashOf(x uint32) uint32 { return x * 2654435761 >> (32 - hashBits) }

// inDictionary is what places are before a block begins.
var inDictionary = func() *places {
	var p places
	for i := 0; i+minMatch <= len(dictionary); i++ {
		p[hashOf(binary.LittleEndian.Uint32(dictionary[i:]))] = int32(i)
	}
	return &p
}()

var tables = sync.Pool{New: func() any { return new(places) }}

// compress appends the block for what follows the dictionary in window.
func compress(dst, window []byte) []byte {
	seen, _ := tables.Get().(*places)
	defer tables.Put(seen)
	*seen = *inDictionary
	from, i := len(dictionary), len(dictionary)
	for i <= len(window)-lastMatch {
		four := binary.LittleEndian.Uint32(window[i:])
		h := hashOf(four)
		at := int(seen[h])
		seen[h] = int32(i)
		if i-at > farthest || binary.LittleEndian.Uint32(window[at:]) != four {
			i += 1 + (i-from)>>6 // what does not repeat is passed over ever faster
			continue
		}
		for i > from && at > 0 && window[i-1] == window[at-1] {
			i, at = i-1, at-1
		}
		n := minMatch
		for i+n < len(window)-lastBytes && window[i+n] == window[at+n] {
			n++
		}
		dst = sequence(dst, window[from:i], n-minMatch)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(i-at))
		dst = length(dst, n-minMatch)
		i += n
		from = i
		if i <= len(window)-lastMatch {
			seen[hashOf(binary.LittleEndian.Uint32(window[i-2:]))] = int32(i - 2)
		}
	}
	return sequence(dst, window[from:], 0)
}

// sequence begins one: literals, and how long the match after them is.
func sequence(dst, literals []byte, match int) []byte {
	dst = append(dst, byte(min(len(literals), 15)<<4|min(match, 15)))
	dst = length(dst, len(literals))
	return append(dst, literals...)
}

// length is what does not fit into four bits.
func length(dst []byte, n int) []byte {
	if n < 15 {
		return dst
	}
	for n -= 15; n >= 255; n -= 255 {
		dst = append(dst, 255)
	}
	return append(dst, byte(n))
}

var errBlock = errors.New("the block is damaged")

// decompress appends what a block stands for to window, which ends with the
// dictionary, or with what was read so far.
func decompress(window, block []byte, size int) ([]byte, error) {
	end := len(window) + size
	number := func(n int) (int, bool) {
		if n < 15 {
			return n, true
		}
		for len(block) > 0 {
			b := block[0]
			block = block[1:]
			if n += int(b); b < 255 {
				return n, true
			}
		}
		return 0, false
	}
	for len(block) > 0 {
		token := block[0]
		block = block[1:]
		n, ok := number(int(token >> 4))
		if !ok || n > len(block) || n > end-len(window) {
			return nil, errBlock
		}
		window = append(window, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			break // the last one has no match
		}
		if len(block) < 2 {
			return nil, errBlock
		}
		back := int(binary.LittleEndian.Uint16(block))
		block = block[2:]
		n, ok = number(int(token & 15))
		n += minMatch
		if !ok || back == 0 || back > len(window) || n > end-len(window) {
			return nil, errBlock
		}
		for at := len(window) - back; n > 0; {
			// It may reach into what it makes: then that repeats.
			piece := window[at:min(at+n, len(window))]
			window = append(window, piece...)
			at, n = at+len(piece), n-len(piece)
		}
	}
	if len(window) != end {
		return nil, errBlock
	}
	return window, nil
}
