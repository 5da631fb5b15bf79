package record

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestCompress(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(dice.Uint32())
		}
		return b
	}
	cases := map[string][]byte{
		"nothing":              {},
		"one run":              bytes.Repeat([]byte{'a'}, 100_000),
		"a long period":        bytes.Repeat(noise(70_000), 3), // further back than a match reaches
		"periods":              bytes.Repeat(noise(300), 50),
		"noise":                noise(5000),
		"the dictionary":       dictionary,
		"its end":              dictionary[len(dictionary)-20:],
		"noise, then one of 4": append(noise(20), dictionary[100:104]...),
		"text":                 []byte(strings.Repeat("step 1 of 3: paged ana (on call of ops); ", 20)),
	}
	for n := range 300 { // every length of literals and matches around where they take another byte
		cases["literals "+string(rune(n))] = slices.Concat(noise(n), bytes.Repeat([]byte("ab"), n), noise(n%20))
	}
	for name, plain := range cases {
		window := slices.Concat(dictionary, plain)
		block := compress(nil, window)
		got, err := decompress(slices.Clone(dictionary), block, len(plain))
		if err != nil || !bytes.Equal(got[len(dictionary):], plain) {
			t.Errorf("%s: %d bytes come back as %d, %v", name, len(plain), len(got)-len(dictionary), err)
		}
		if limit := len(plain) + len(plain)/255 + 16; len(block) > limit {
			t.Errorf("%s: %d bytes became %d", name, len(plain), len(block))
		}
		for _, size := range []int{len(plain) - 1, len(plain) + 1} {
			if _, err := decompress(slices.Clone(dictionary), block, size); err == nil {
				t.Errorf("%s: %d bytes pass for %d", name, len(plain), size)
			}
		}
	}
}
