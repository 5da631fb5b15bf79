package schema

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"callchain/config"
)

func compile(t *testing.T, schema []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json") // checks it against draft-07's own schema
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// document is a YAML file as an editor's language server sees it: dates are text.
func document(t *testing.T, data []byte) any {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil {
		t.Fatal(err)
	}
	var plain func(n *yaml.Node)
	plain = func(n *yaml.Node) {
		if n.ShortTag() == "!!timestamp" {
			n.Tag = "!!str"
		}
		for _, c := range n.Content {
			plain(c)
		}
	}
	plain(&n)
	var v any
	if err := n.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestExamples: every configuration and catalog of this repository is what its schema wants.
func TestExamples(t *testing.T) {
	configs, catalogs := compile(t, Config), compile(t, Catalog)
	count := 0
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".yml" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var keys map[string]yaml.Node
		if err := yaml.Unmarshal(data, &keys); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		has := func(key string) bool { _, ok := keys[key]; return ok }
		schema := catalogs
		switch {
		case has("catalog_files"), has("alertmanager"):
			schema = configs
		case !has("services") && !has("teams") && !has("people"), has("kind"):
			return nil // of another program
		}
		count++
		if err := schema.Validate(document(t, data)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 8 {
		t.Errorf("found only %d examples", count)
	}
}

// TestAgrees: what config accepts the schemas accept, and what they can see
// that config refuses they refuse. The cases are config's own.
func TestAgrees(t *testing.T) {
	for file, schema := range map[string]*jsonschema.Schema{"config.txtar": compile(t, Config), "catalog.txtar": compile(t, Catalog)} {
		ar, err := txtar.ParseFile("../testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, f := range ar.Files {
			want[f.Name] = string(f.Data)
		}
		for _, f := range ar.Files {
			name, ok := strings.CutSuffix(f.Name, ".yml")
			if !ok {
				continue
			}
			said := want[name+".want"]
			data := string(f.Data)
			if file == "config.txtar" && !strings.Contains(data, "# alone") && !strings.Contains(data, "catalog_files:") {
				data += "\ncatalog_files: [catalog.yml]\n"
			}
			var v any
			if yaml.Unmarshal([]byte(data), &v) != nil || v == nil {
				continue // no schema is asked about a file that is no YAML
			}
			t.Run(name, func(t *testing.T) {
				err := schema.Validate(document(t, []byte(data)))
				if err != nil && !strings.Contains(said, "error:") && !strings.Contains(said, "is missing") {
					t.Errorf("config accepts it, the schema says: %v", err)
				}
				if err == nil && (strings.Contains(said, "unknown key") || strings.Contains(said, ": want one of ")) {
					t.Errorf("the schema accepts it, config says:\n%s", said)
				}
			})
		}
	}
}

// TestWords: the schemas offer exactly the words that config knows.
func TestWords(t *testing.T) {
	for path, list := range words {
		if len(list) == 0 {
			continue
		}
		data := ""
		for i, key := range strings.Split(path, ".") {
			name := strings.TrimSuffix(key, "[]")
			switch {
			case strings.Count(path, ".") == i && name != key:
				data += name + ": [wrong]"
			case strings.Count(path, ".") == i:
				data += name + ": wrong"
			case name != key:
				data += name + ": [{"
			default:
				data += name + ": {"
			}
		}
		for i := strings.Count(path, ".") - 1; i >= 0; i-- {
			if strings.HasSuffix(strings.Split(path, ".")[i], "[]") {
				data += "}]"
			} else {
				data += "}"
			}
		}
		file := filepath.Join(t.TempDir(), "callchain.yml")
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		_, ps := config.Load(file, config.Options{NoSecrets: true})
		if all := "want one of " + strings.Join(list, ", "); !strings.Contains(ps.Error(), all) {
			t.Errorf("%s: want %q in\n%v", path, all, ps)
		}
	}
}
