package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/config"
	"callchain/escalation/engine"
	"callchain/escalation/store/mem"
	"callchain/internal/testbench"
	"callchain/internal/testbench/strictslack"
	"callchain/notifiers/slack"
)

// TestChannelsAreLookedAt: callchain's own team is told of a channel that needs
// somebody when that begins, and not again at every look.
func TestChannelsAreLookedAt(t *testing.T) {
	ws := strictslack.New(t, strictslack.Config{Channels: []strictslack.Channel{
		{ID: "C01INC", Name: "incidents", Member: true}, {ID: "C01SRE", Name: "sre", Member: true}, {ID: "C01OPS", Name: "ops", Member: true},
	}})
	dir := t.TempDir()
	for name, text := range map[string]string{
		"token": ws.BotToken, "secret": "0123456789abcdef0123456789abcdef",
		"callchain.yml": `
external_url: https://callchain.example.org
catalog_files: [catalog.yml]
alertmanager: {sources: [{name: main, anonymous: true}]}
routing: {fallback_team: sre}
notifiers: {slack: {api_url: "` + ws.APIURL + `", bot_token_file: token, signing_secret_file: secret, channel: "#incidents"}}
`, "catalog.yml": `
people: [{name: ana, slack: U01ANA}]
teams:
  - {name: sre, members: [ana], slack_channel: "#sre"}
  - {name: ops, members: [ana], slack_channel: "#ops"}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := load(filepath.Join(dir, "callchain.yml"), config.Options{})
	if err := l.own.Err(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	var wires wiring
	snap, err := wires.snapshot(l, log)
	if err != nil {
		t.Fatal(err)
	}
	st := mem.New()
	var done []chan struct{}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	engines := make([]*engine.Engine, 2) // two replicas
	for i := range engines {
		engines[i] = engine.New(engine.Config{Store: st.Open(), Registerer: prometheus.NewRegistry(), Logger: log}, snap)
		ended := make(chan struct{})
		done = append(done, ended)
		go func() { defer close(ended); _ = engines[i].Run(ctx) }()
	}
	defer func() {
		stop()
		for _, d := range done {
			<-d
		}
	}()
	state := [2]map[slack.Trouble]bool{}
	look := func() {
		for i, eng := range engines {
			state[i] = lookAtChannels(ctx, eng, wires.current.Load(), state[i], log)
		}
	}
	said := func() (titles []string) {
		for _, m := range ws.Messages("#sre") {
			titles = append(titles, strings.SplitN(m.Said(), "\n", 2)[0])
		}
		slices.Sort(titles)
		return titles
	}
	look()
	if got := said(); len(got) != 0 {
		t.Errorf("told of %q while all is well", got)
	}
	ws.SetChannel(strictslack.Channel{ID: "C01OPS", Name: "ops", Member: true, Archived: true})
	ws.SetChannel(strictslack.Channel{ID: "C01INC", Name: "outages", Was: []string{"incidents"}, Member: true})
	want := []string{"Slack: #incidents needs somebody", "Slack: #ops needs somebody"}
	for range 3 {
		look()
		testbench.Eventually(t, 10*time.Second, "two notices", func() bool { return len(said()) >= len(want) })
	}
	if got := said(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q, once", got, want)
	}
}
