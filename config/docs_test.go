package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The reference names every key that the decoder reads.
func TestReferenceNamesEveryKey(t *testing.T) {
	doc := reference(t)
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() != "callchain/config" || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			key := f.Tag.Get("yaml")
			if key != "" && key != "-" && !strings.Contains(doc, key) {
				t.Errorf("docs/configuration.md and docs/catalog.md do not name %s of %s", key, typ.Name())
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Config]())
	walk(reflect.TypeFor[Catalog]())
	walk(reflect.TypeFor[Owner]())
	walk(reflect.TypeFor[Vacancy]())
}

func reference(t *testing.T) string {
	t.Helper()
	var doc strings.Builder
	for _, page := range []string{"../docs/configuration.md", "../docs/catalog.md"} {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		doc.Write(data)
	}
	return doc.String()
}

// The examples of the reference load.
func TestReferenceExamplesLoad(t *testing.T) {
	for i, part := range strings.Split(reference(t), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		var ps Problems
		if strings.HasPrefix(text, "services:") || strings.HasPrefix(text, "people:") {
			_, ps = ParseCatalog([]File{{"catalog.yml", []byte(text)}})
		} else {
			_, ps = parseConfig("callchain.yml", []byte(withBase(text)), Options{NoSecrets: true})
		}
		if len(ps) > 0 {
			t.Errorf("example %d:\n%v", i+1, ps)
		}
	}
}
