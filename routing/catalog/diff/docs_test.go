package diff

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"callchain/config"
	"callchain/routing/catalog"
)

// The examples of docs/ownership.md say what the comparison says. Blocks are
// marked: shared, before, after (perhaps "replacing TEAM" of the shared ones), and
// the text that follows is a part of what is printed.
func TestOwnershipExamples(t *testing.T) {
	data, err := os.ReadFile("../../../docs/ownership.md")
	if err != nil {
		t.Fatal(err)
	}
	var shared, before, after, replaced string
	checked := 0
	for _, part := range strings.Split(string(data), "\n```")[1:] {
		info, body, _ := strings.Cut(part, "\n")
		switch {
		case info == "yaml shared":
			shared = body
		case info == "yaml before":
			before = body
		case strings.HasPrefix(info, "yaml after"):
			after, replaced = body, strings.TrimPrefix(strings.TrimPrefix(info, "yaml after"), " replacing ")
		case info == "text":
			checked++
			with := shared
			if replaced != "" {
				var kept []string
				for line := range strings.Lines(shared) {
					if !strings.Contains(line, "{name: "+replaced+",") {
						kept = append(kept, line)
					}
				}
				with = strings.Join(kept, "")
			}
			read := func(name, shared, text string) *Side {
				return Read([]config.File{{Name: "shared.yml", Data: []byte(shared)}, {Name: name, Data: []byte(text)}})
			}
			r := Compare(read("before.yml", shared, before), read("after.yml", with, after), Options{Now: now})
			for line := range strings.Lines(body) {
				if !strings.Contains(r.Text(), strings.TrimRight(line, "\n")) {
					t.Errorf("example %d does not print %q:\n%s", checked, line, r.Text())
				}
			}
		}
	}
	if checked < 5 {
		t.Errorf("%d examples checked", checked)
	}
}

// The two tables of docs/ownership.md are the policy's.
func TestOwnershipTables(t *testing.T) {
	data, err := os.ReadFile("../../../docs/ownership.md")
	if err != nil {
		t.Fatal(err)
	}
	needs, moves := 0, 0
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "*`")
		}
		from := config.State(cells[0])
		switch {
		case len(cells) == 7 && known(from): // state, what it is, five roles
			needs++
			for i, r := range config.Roles {
				need := catalog.Requirement(from, r)
				if from != config.Unowned && (need == catalog.Required) != strings.HasPrefix(cells[i+2], "required") || (need == catalog.NotApplicable) != (cells[i+2] == "-") {
					t.Errorf("%s in %s is %v, the page says %q", r, from, need, cells[i+2])
				}
			}
		case len(cells) == 8 && (known(from) || from == "new"):
			moves++
			if from == "new" {
				from = none
			}
			for i, to := range append(append([]config.State{}, config.States...), none) {
				want := map[Severity]string{Info: "usual", Warning: "rare", Error: "no"}[judge(from, to).severity]
				if from == to {
					want = ""
				}
				if cells[i+1] != want {
					t.Errorf("%q to %q is %q, the page says %q", from, to, want, cells[i+1])
				}
			}
		}
	}
	if needs != len(config.States) || moves != len(config.States)+1 {
		t.Errorf("found %d states and %d rows of moves", needs, moves)
	}
}

// docs/catalog-review.md explains every code, and no other; its pipelines are YAML.
func TestReviewPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/catalog-review.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("diff.go")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`CC1[0-9]{3}`)
	explained, known := map[string]bool{}, map[string]bool{}
	for _, c := range code.FindAllString(string(page), -1) {
		explained[c] = true
	}
	for _, c := range code.FindAllString(string(source), -1) {
		if known[c] {
			t.Errorf("%s stands twice in diff.go", c)
		}
		known[c] = true
		if !explained[c] {
			t.Errorf("%s is not explained", c)
		}
	}
	for c := range explained {
		if !known[c] {
			t.Errorf("%s is explained, but never said", c)
		}
	}
	for i, part := range strings.Split(string(page), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		var pipeline map[string]any
		if err := yaml.Unmarshal([]byte(text), &pipeline); err != nil {
			t.Errorf("pipeline %d: %v", i+1, err)
		}
	}
}
