package convert

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"callchain/config"
	_ "callchain/internal/testbench/seed"
)

func TestHandle(t *testing.T) {
	for in, want := range map[string]string{
		"parsoid":                   "parsoid",
		"CircleciBuildsDumpV2_avro": "circlecibuildsdumpv2_avro",
		"Trust & Safety":            "trust-safety",
		"  Extension:Echo (beta) ":  "extension-echo-beta",
		"Überwachung №5":            "überwachung-5",
		"a.b_c-d":                   "a.b_c-d",
		"--.--":                     "",
		"💥":                         "",
		"\x1b[31mred":               "31mred",
	} {
		if got := handle(in); got != want {
			t.Errorf("handle(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestHandlesAreShort(t *testing.T) {
	if got := handle(strings.Repeat("word ", 99)); len(got) > maxHandle || !strings.HasPrefix(got, "word-word-") {
		t.Errorf("handle of many words: %q", got)
	}
}

func TestUnwiki(t *testing.T) {
	for in, want := range map[string]string{
		"[[User:Kim|Kim]], [[User:Ada]]":                        "Kim, Ada",
		"[https://wiki.example.org/x Grace H.]<ref>2019</ref>":  "Grace H.",
		"'''bold''' and ''italic''":                             "bold and italic",
		"{{ll|Extension:Echo}}":                                 "Extension:Echo",
		"{{Team|name=x|Content Transform}}":                     "Content Transform",
		"{{Unassigned}}":                                        "Unassigned",
		"A<br/>B<br>C":                                          "A, B, C",
		"Trust &amp; Safety[1][2]":                              "Trust & Safety",
		"[docs](https://docs.example.org), **loud** and `code`": "docs, loud and code",
		"<!-- nobody --><span style=\"x\">Kim</span>":           "Kim",
		"'''[[Team:SRE|SRE]]'''":                                "SRE",
		"under_scored __init__":                                 "under_scored __init__",
		"":                                                      "",
	} {
		if got := unwiki(in); got != want {
			t.Errorf("unwiki(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseRef(t *testing.T) {
	for in, want := range map[string]string{
		"till":                 "group:here/till",
		"Group:Default/Till":   "group:default/till",
		"user:lena":            "user:here/lena",
		"money/till":           "group:money/till",
		"":                     "",
		"a:b:c":                "",
		"a/b/c":                "",
		"group:":               "",
		"/x":                   "",
		"petstore@example.com": "",
		"two words":            "",
	} {
		got := ""
		if r, ok := parseRef(in, "Group", "here"); ok {
			got = r.String()
		}
		if got != want {
			t.Errorf("parseRef(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whatever a text is, written as YAML and read again it is the same line.
func TestScalarsComeBack(t *testing.T) {
	for _, s := range []string{"null", "~", "yes", "1", "2026-01-01", "a: b", "a #b", "- a", "{a}", "it's", `"`, `\`, `'"\`, "https://x.example/a#b", "https://x.example/a: b", "*a", "&a", "!a", "%a", "@a", "`a", "[", "?", "| a", "> a", "=", "<<"} {
		comesBack(t, s)
	}
	rapid.Check(t, func(t *rapid.T) { comesBack(t, rapid.String().Draw(t, "text")) })
}

func comesBack(t rapid.TB, s string) {
	want := printable(s)
	if want == "" {
		return // written nowhere
	}
	data := fmt.Sprintf("services:\n  - name: x\n    state: active\n    description: %s  # why\n    aliases: [a, %s, b]  # why\n", scalar(s, false), scalar(s, true))
	c, ps := config.ParseCatalog([]config.File{{Name: "x", Data: []byte(data)}})
	if err := ps.Err(); err != nil {
		t.Fatalf("%q: %v\n%s", s, err, data)
	}
	got := c.Services[0]
	if got.Description.V != want || len(got.Aliases) != 3 || got.Aliases[1].V != want {
		t.Fatalf("%q came back as %q and %q\n%s", want, got.Description.V, got.Aliases, data)
	}
}

// A few lines may not become gigabytes, and a mapping may not merge itself for ever.
func TestHostileFiles(t *testing.T) {
	for name, tc := range map[string]struct {
		data []byte
		want string // of a problem; "" if any result is fine
	}{
		"aliases":        {aliasBomb(), "aliases expand to too much"},
		"a self merge":   {[]byte("&a\napiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: x}\n<<: *a\n"), ""},
		"a self list":    {[]byte("&a\n- *a\n- *a\n"), "want an entity"},
		"deep":           {[]byte(strings.Repeat("[", 200_000)), "not valid YAML"},
		"huge":           {make([]byte, MaxFile+1), "split it"},
		"binary":         {[]byte{0xff, 0xfe, 0, 1, 2}, "not valid YAML"},
		"no YAML at all": {[]byte("%YAML \x00"), "not valid YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Convert(Backstage, []config.File{{Name: "x", Data: tc.data}}, Options{})
			loads(t, got.Catalog)
			if tc.want != "" && !strings.Contains(got.Problems.Error(), tc.want) {
				t.Errorf("no problem says %q: %.500s", tc.want, got.Problems.Error())
			}
		})
	}
}

func aliasBomb() []byte {
	var b bytes.Buffer
	b.WriteString("- &all [" + strings.Repeat("x,", 1000) + "x]\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "- {apiVersion: backstage.io/v1alpha1, kind: Group, metadata: {name: g%d}, spec: {members: *all}}\n", i)
	}
	return b.Bytes()
}

// Only what is asked for is printed and counted.
func TestOnly(t *testing.T) {
	in := []config.File{{Name: "x.yaml", Data: []byte("apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: x}\nspec: {owner: till, lifecycle: production}\n")}}
	got := Convert(Backstage, in, Options{Only: []string{"services"}})
	if text := string(got.Catalog); strings.Contains(text, "teams:") || !strings.Contains(text, "development: till") || got.Teams != 0 || got.Services != 1 {
		t.Errorf("%d teams, %d services\n%s", got.Teams, got.Services, text)
	}
	loads(t, got.Catalog)
}

// The guide names what may be written.
func TestGuideNamesAll(t *testing.T) {
	data, err := os.ReadFile("../../../docs/import.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := underscored(string(data))
	words := slices.Concat(annotations[person], annotations[team], annotations[service], datadogKinds)
	for _, list := range ownerTypes {
		words = append(words, list...)
	}
	for word := range lifecycles {
		words = append(words, word)
	}
	for word := range headings {
		words = append(words, word)
	}
	for _, w := range words {
		w = strings.TrimSuffix(w, "s")
		if strings.HasPrefix(w, "owner.") {
			w = "owner.role"
		}
		if !strings.Contains(guide, w) {
			t.Errorf("docs/import.md does not name %s", w)
		}
	}
}
