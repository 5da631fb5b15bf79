package lint

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"callchain/config"
)

// friday is the day of the documentation's examples.
var friday = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

const handbook = "../../../docs/lint.md"

// article is what docs/lint.md says of one code.
type article struct {
	title, severity string
	bad, good       string
}

var heading = regexp.MustCompile(`(?m)^### (CC\d{4}): (.*) \((error|warning)\)$`)

// readHandbook gives the articles by code, and the catalog they all stand beside.
func readHandbook(t testing.TB) (articles map[config.Code]article, base string) {
	t.Helper()
	data, err := os.ReadFile(handbook)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	base = yamlBlocks(doc[:strings.Index(doc, "\n## ")])[0]
	articles = map[config.Code]article{}
	found := heading.FindAllStringSubmatchIndex(doc, -1)
	for i, m := range found {
		end := len(doc)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		code := config.Code(doc[m[2]:m[3]])
		if _, twice := articles[code]; twice {
			t.Errorf("%s is documented twice", code)
		}
		body := doc[m[1]:end]
		blocks := yamlBlocks(body)
		if len(blocks) != 2 || !strings.Contains(body, "**Cure:**") {
			t.Fatalf("%s: want why, a cure and two examples, got %d examples", code, len(blocks))
		}
		articles[code] = article{doc[m[4]:m[5]], doc[m[6]:m[7]], blocks[0], blocks[1]}
	}
	return articles, base
}

func yamlBlocks(text string) []string {
	var out []string
	for _, part := range strings.Split(text, "```yaml\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		out = append(out, block)
	}
	return out
}

// loadConfig reads a part of callchain.yml, completed to one that loads.
func loadConfig(t testing.TB, text string) (*config.Config, config.File) {
	t.Helper()
	for key, rest := range map[string]string{
		"external_url":  "external_url: https://pager.example.org\n",
		"catalog_files": "catalog_files: [catalog.yml]\n",
		"alertmanager":  "alertmanager: {sources: [{name: main, token_file: token}]}\n",
		"notifiers":     "notifiers: {slack: {bot_token_file: bot, signing_secret_file: sign}, email: {smarthost: 'mail.example.org:587', from: pager@example.org, link_key_file: key}}\n",
		"routing":       "routing: {fallback_team: sre}\n",
	} {
		if !strings.Contains("\n"+text, "\n"+key+":") {
			text += rest
		}
	}
	file := filepath.Join(t.TempDir(), "callchain.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, ps := config.Load(file, config.Options{NoSecrets: true})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return c, config.File{Name: file, Data: []byte(text)}
}

// lintExample lints a block of the documentation beside its base. Two codes are
// disabled where they are not the point.
func lintExample(t testing.TB, base, block string, code config.Code) Result {
	in := Input{Now: friday}
	for _, c := range []config.Code{CodeNoSLO, CodeUnverified} {
		if c != code {
			in.Disabled = append(in.Disabled, c)
		}
	}
	catalog := block
	if rest, ok := strings.CutPrefix(block, "# callchain.yml\n"); ok {
		var own string
		own, catalog, _ = strings.Cut(rest, "# catalog.yml\n")
		in.Config, in.ConfigFile = loadConfig(t, own)
	}
	in.Files = []config.File{{Name: "base.yml", Data: []byte(base)}, {Name: "example.yml", Data: []byte(catalog)}}
	return Run(in)
}

// codes are those of the findings, except about the base: an example does not
// use all of it.
func codes(r Result) []config.Code {
	set := map[config.Code]bool{}
	for _, f := range r.Findings {
		if f.Pos.File != "base.yml" {
			set[f.Code] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func TestEveryCodeIsDocumented(t *testing.T) {
	articles, _ := readHandbook(t)
	for _, r := range Rules {
		a, ok := articles[r.Code]
		if !ok {
			t.Errorf("docs/lint.md does not tell %s, %s", r.Code, r.Title)
			continue
		}
		if a.title != r.Title || a.severity != r.Severity.String() {
			t.Errorf("%s is %q (%s) in docs/lint.md, %q (%s) here", r.Code, a.title, a.severity, r.Title, r.Severity)
		}
		delete(articles, r.Code)
	}
	for code := range articles {
		t.Errorf("docs/lint.md tells %s, which is no rule", code)
	}
}

// Every code that stands in the source is a rule: none is made that lint would
// not know.
func TestEveryCodeIsARule(t *testing.T) {
	quoted := regexp.MustCompile(`config\.Code = "(CC\d{4})"|Code +Code += +"(CC\d{4})"|Code = "(CC\d{4})"`)
	n := 0
	for _, dir := range []string{"../../../config", "../..", "..", "."} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if dir != "../../../config" && regexp.MustCompile(`ps\.(Errorf|Warnf)\(`).Match(data) {
				t.Errorf("%s makes a problem without a code", file)
			}
			for _, m := range quoted.FindAllStringSubmatch(string(data), -1) {
				code := config.Code(m[1] + m[2] + m[3])
				if _, ok := RuleFor(code); !ok {
					t.Errorf("%s makes %s, which is no rule", file, code)
				}
				n++
			}
		}
	}
	if n != len(Rules) {
		t.Errorf("the source names %d codes, and there are %d rules", n, len(Rules))
	}
}

func TestDocumentedExamples(t *testing.T) {
	articles, base := readHandbook(t)
	for _, r := range Rules {
		t.Run(string(r.Code), func(t *testing.T) {
			a := articles[r.Code]
			bad := lintExample(t, base, a.bad, r.Code)
			if got := codes(bad); !slices.Equal(got, []config.Code{r.Code}) {
				t.Errorf("the failing example gives %v, want %s alone:\n%s", got, r.Code, list(bad))
			}
			for _, f := range bad.Findings {
				if f.Code == r.Code && f.Severity != r.Severity {
					t.Errorf("severity %s, want %s", f.Severity, r.Severity)
				}
			}
			good := lintExample(t, base, a.good, r.Code)
			if got := codes(good); len(got) != 0 {
				t.Errorf("the passing example gives %v:\n%s", got, list(good))
			}
		})
	}
}

func list(r Result) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}
