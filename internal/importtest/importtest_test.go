package importtest

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheHouse(t *testing.T) {
	broken, err := Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

// TestPlantedViolations plants one file into an empty house and wants the check
// to say so, or to be content.
func TestPlantedViolations(t *testing.T) {
	for _, c := range []struct {
		name, file, src string
		want            string // "" for none
	}{
		{"config is a leaf", "config/x.go", `import _ "callchain/routing"`, "config must not import callchain/routing"},
		{"routing knows no incidents", "routing/catalog/x.go", `import _ "callchain/escalation"`, "must not import callchain/escalation"},
		{"routing knows its own folders", "routing/x.go", `import _ "callchain/routing/oncall"`, ""},
		{"escalation knows no store", "escalation/x.go", `import _ "callchain/escalation/store"`, "must not import callchain/escalation/store"},
		{"escalation knows no channel", "escalation/x.go", `import _ "callchain/notifiers"`, "must not import callchain/notifiers"},
		{"escalation knows routing", "escalation/x.go", `import _ "callchain/routing/catalog"`, ""},
		{"the engine knows the contract", "escalation/engine/x.go", `import _ "callchain/escalation/store"`, ""},
		{"the engine knows no implementation", "escalation/engine/x.go", `import _ "callchain/escalation/store/bolt"`, "must not import callchain/escalation/store/bolt"},
		{"nor a channel", "escalation/engine/x.go", `import _ "callchain/notifiers/slack"`, "must not import callchain/notifiers/slack"},
		{"its tests may", "escalation/engine/x_test.go", `import _ "callchain/escalation/store/mem"`, ""},
		{"a store knows no incident", "escalation/store/bolt/x.go", `import _ "callchain/escalation"`, "must not import callchain/escalation"},
		{"a channel knows no other", "notifiers/email/x.go", `import _ "callchain/notifiers/slack"`, "must not import callchain/notifiers/slack"},
		{"messages know no routing", "notifiers/x.go", `import _ "callchain/routing"`, "must not import callchain/routing"},
		{"the server knows no main", "internal/server/x.go", `import _ "callchain/cmd/callchain"`, "must not import callchain/cmd/callchain"},
		{"the look at the surroundings knows no engine", "internal/online/x.go", `import _ "callchain/escalation/engine"`, "must not import callchain/escalation/engine"},
		{"main knows all", "cmd/callchain/x.go", `import _ "callchain/escalation/store/bolt"`, ""},
		{"main starts no test bench", "cmd/callchain/x.go", `import _ "callchain/internal/testbench"`, "for tests only"},
		{"nor a store its suite", "escalation/store/bolt/x.go", `import _ "callchain/escalation/store/storetest"`, "for tests only"},
		{"a suite knows its contract", "escalation/store/storetest/x.go", `import _ "callchain/escalation/store"`, ""},
		{"everything has a place", "internal/utils/x.go", ``, "internal/utils is not in the table"},

		{"slack-go is wrapped", "notifiers/email/x.go", `import _ "github.com/slack-go/slack/slackutilsx"`, "only notifiers/slack/... does"},
		{"in its own place", "notifiers/slack/x.go", `import _ "github.com/slack-go/slack"`, ""},
		{"the inbox speaks no Slack", "notifiers/inbox/x.go", `import _ "github.com/slack-go/slack"`, "must not import github.com/slack-go/slack"},
		{"tests may speak it", "cmd/callchain/x_test.go", `import _ "github.com/slack-go/slack"`, ""},
		{"go-mail is wrapped", "internal/server/x.go", `import _ "github.com/wneessen/go-mail"`, "only notifiers/email/... does"},
		{"Alertmanager's matchers", "routing/x.go", `import _ "github.com/prometheus/alertmanager/matcher/parse"`, ""},
		{"Alertmanager's configuration", "routing/x_test.go", `import _ "github.com/prometheus/alertmanager/config"`, "nobody imports github.com/prometheus/alertmanager/config"},

		{"routing has no network", "routing/x.go", `import _ "net/http"`, "routing is pure and must not import net/http"},
		{"routing may parse", "routing/x.go", `import _ "net/url"`, ""},
		{"routing has no files", "routing/oncall/x.go", `import _ "os"`, "pure and must not import os"},
		{"escalation has no logger", "escalation/x.go", `import _ "log/slog"`, "pure and must not import log/slog"},
		{"escalation throws no dice", "escalation/x.go", `import _ "math/rand/v2"`, "pure and must not import math/rand/v2"},
		{"the engine may log", "escalation/engine/x.go", `import _ "log/slog"`, ""},
		{"escalation has no clock", "escalation/x.go", "import \"time\"\nvar now = time.Now", "escalation is pure and must not use time.Now"},
		{"under no other name", "routing/report/x.go", "import clock \"time\"\nvar _ = clock.NewTimer(1)", "must not use time.NewTimer"},
		{"nor without one", "routing/report/x.go", "import . \"time\"", "must not import time into its own names"},
		{"durations are fine", "escalation/x.go", "import \"time\"\nvar d = time.Second", ""},
		{"so are other fields called After", "escalation/x.go", "import \"time\"\nvar b = time.Time{}.After(time.Time{})", ""},
		{"its tests have a clock", "escalation/x_test.go", "import \"time\"\nvar now = time.Now", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			broken, err := Check(fstest.MapFS{c.file: {Data: []byte("package x\n" + c.src)}})
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if len(broken) > 0 {
					t.Errorf("complains: %q", broken)
				}
				return
			}
			if len(broken) != 1 || !strings.Contains(broken[0], c.want) || !strings.HasPrefix(broken[0], c.file+":") {
				t.Errorf("got %q, want one that says %q", broken, c.want)
			}
		})
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	broken, err := Check(fstest.MapFS{
		".cache/npm/x.go":          {Data: []byte("not Go")},
		"config/testdata/bad/x.go": {Data: []byte("not Go")},
	})
	if err != nil || len(broken) > 0 {
		t.Errorf("got %q, %v", broken, err)
	}
}
