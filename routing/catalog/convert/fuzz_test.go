package convert

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"callchain/config"
)

// FuzzConvert: whatever a file holds, the import ends; what comes out is a
// catalog that loads, every problem stands in the file, and every guess that is
// noted is marked in the catalog and the other way round.
func FuzzConvert(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files(ar) {
			for i := range Formats {
				f.Add(byte(i), file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		from := Formats[int(which)%len(Formats)]
		file := config.File{Name: "in.yaml", Data: data}
		from.Holds(file)
		got := Convert(from, []config.File{file}, Options{Since: day})
		loads(t, got.Catalog)
		for _, p := range got.Problems {
			if p.Pos.File != "in.yaml" || p.Pos.Line < 1 || p.Text == "" {
				t.Errorf("a problem without place or text: %v", p)
			}
		}
		for _, n := range got.Notes {
			if n.Pos.File != "in.yaml" || n.Pos.Line < 1 || n.Text == "" {
				t.Errorf("a note without place or text: %v", n)
			}
		}
	})
}
