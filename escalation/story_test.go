package escalation

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"callchain/config"
	"callchain/routing"
)

var update = flag.Bool("update", false, "rewrite the stories with what happens now; then read the difference")

// TestStories plays the stories in testdata: a command at the beginning of a
// line, what it causes indented below it. Commands:
//
//	fire NAME label=value ...      an alert fires; the group is its alertname
//	fires NAME n label=value ...   n alerts of one group, instance=1..n, in one webhook
//	resolve NAME label=value ...   it is over
//	+5m                            time passes; what becomes due is done
//	ack WHO [take over]            somebody acknowledges (of the youngest open incident)
//	escalate WHO, close WHO        likewise, as do:
//	unack WHO, still WHO           the acknowledgement is taken back, or renewed
//	snooze WHO 30m [take over]     nobody is paged for so long
//	to WHO TARGET                  somebody escalates to a role, team or person
//	reassign WHO TARGET [take over]
//	declare WHO URGENCY
//	page WHO SERVICE text ...      somebody pages by hand
//	note WHO text ...
//	disown WHO RIGHT why ...       "wrong owner"; RIGHT may be -
//	fault CHANNEL WHO VERDICT TEXT from now on the channel answers so; WHO may be *
//	works                          all faults are over
//	silence WHO 1h why             Alertmanager keeps all of it quiet, as does: inhibit
//	loud                           it does not any more
//	forget                         Alertmanager knows no alert any more
//	lose NAME label=value ...      Alertmanager has an alert of which it never told
//	restart                        one of the Alertmanagers starts anew
//	away, back                     one of them cannot be reached, and again
//	ask                            a round of asking them
//	witness                        from now on they are asked before somebody is woken
//	show                           the incidents
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/stories/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			common, err := txtar.ParseFile("testdata/common.txtar")
			if err != nil {
				t.Fatal(err)
			}
			files := slices.DeleteFunc(slices.Clone(common.Files), func(f txtar.File) bool {
				return slices.ContainsFunc(ar.Files, func(o txtar.File) bool { return o.Name == f.Name })
			})
			all := &txtar.Archive{Files: append(files, ar.Files...)}
			i := slices.IndexFunc(ar.Files, func(f txtar.File) bool { return f.Name == "story" })
			got := play(t, compile(t, all), string(ar.Files[i].Data))
			if *update {
				ar.Files[i].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(ar.Files[i].Data), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("the story goes otherwise (-told +happened); run with -update and read it:\n%s", diff)
			}
		})
	}
}

func play(t *testing.T, env Env, story string) string {
	var out bytes.Buffer
	w := newWorld(env)
	w.log = func(format string, args ...any) {
		fmt.Fprintf(&out, "    %s  %s\n", w.now.Format("15:04:05"), fmt.Sprintf(format, args...))
	}
	starts := map[string]time.Time{}
	for line := range strings.Lines(story) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "    ") {
			continue
		}
		out.WriteString(line + "\n")
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if d, ok := strings.CutPrefix(words[0], "+"); ok {
			dur, err := time.ParseDuration(d)
			if err != nil {
				t.Fatal(err)
			}
			w.wait(dur)
			continue
		}
		w.command(t, words, starts)
	}
	return out.String()
}

func (w *world) command(t *testing.T, words []string, starts map[string]time.Time) {
	youngest := func() string {
		best := ""
		for id, inc := range w.incs {
			if best == "" || inc.OpenedAt > w.incs[best].OpenedAt || inc.OpenedAt == w.incs[best].OpenedAt && id > best {
				best = id
			}
		}
		return best
	}
	answer := func(a Answer) {
		switch a.Kind {
		case Done:
		case Already:
			w.log("(already acknowledged by %s)", a.By.Handle)
		default:
			if a.Why != "" {
				w.log("(%s: %s)", a.Kind, a.Why)
				return
			}
			w.log("(%s)", a.Kind)
		}
	}
	by := func() Actor { return Actor{Handle: words[1], Via: "slack"} }
	rest := func(from int) string { return strings.Join(words[min(from, len(words)):], " ") }
	switch words[0] {
	case "unack":
		answer(w.do(youngest(), Unacknowledge{By: by()}))
	case "still":
		answer(w.do(youngest(), StillOn{By: by()}))
	case "snooze":
		d, err := time.ParseDuration(words[2])
		if err != nil {
			t.Fatal(err)
		}
		answer(w.do(youngest(), Snooze{By: by(), Until: At(w.now.Add(d)), TakeOver: len(words) > 3}))
	case "to":
		answer(w.do(youngest(), EscalateTo{By: by(), To: words[2]}))
	case "reassign":
		answer(w.do(youngest(), Reassign{By: by(), To: words[2], TakeOver: len(words) > 3}))
	case "declare":
		answer(w.do(youngest(), Declare{By: by(), Urgency: config.Urgency(words[2])}))
	case "page":
		w.commit(NewByHand("00-hand", routing.Target{Subject: "service:" + words[2], Service: words[2]}, config.Page, rest(3), by(), w.now, w.env))
	case "note":
		answer(w.do(youngest(), Remark{By: by(), Text: rest(2)}))
	case "disown":
		answer(w.do(youngest(), Disown{By: by(), Right: strings.TrimPrefix(words[2], "-"), Reason: rest(3)}))
	case "fire", "resolve":
		key := strings.Join(words[1:], " ")
		if words[0] == "fire" {
			starts[key] = w.now
		}
		a := alert(words[0] == "fire", words[1:], starts[key], w.now)
		w.webhook(routing.Webhook{GroupLabels: map[string]string{"alertname": words[1]}, Alerts: []routing.WebhookAlert{a}})
	case "fires":
		var n int
		if _, err := fmt.Sscan(words[2], &n); err != nil {
			t.Fatal(err)
		}
		wh := routing.Webhook{GroupLabels: map[string]string{"alertname": words[1]}}
		for i := range n {
			wh.Alerts = append(wh.Alerts, alert(true, append([]string{words[1], fmt.Sprintf("instance=%d", i+1)}, words[3:]...), w.now, time.Time{}))
		}
		w.webhook(wh)
	case "ack":
		answer(w.do(youngest(), Acknowledge{By: Actor{Handle: words[1], Via: "slack"}, TakeOver: len(words) > 2}))
	case "escalate":
		answer(w.do(youngest(), Escalate{By: Actor{Handle: words[1], Via: "slack"}}))
	case "close":
		answer(w.do(youngest(), ResolveByHand{By: Actor{Handle: words[1], Via: "api"}}))
	case "fault":
		v := slices.Index([]string{"sent", "retry", "ambiguous", "refused", "down", "gone"}, words[3])
		if v < 0 {
			t.Fatalf("no verdict %q", words[3])
		}
		w.faults = append(w.faults, fault{words[1], words[2], Verdict(v), strings.Join(words[4:], " ")})
	case "works":
		w.faults = nil
	case "silence":
		d, err := time.ParseDuration(words[2])
		if err != nil {
			t.Fatal(err)
		}
		w.am.quiet, w.am.silence = true, Silence{By: words[1], Ends: At(w.now.Add(d)), Comment: strings.Join(words[3:], " ")}
	case "inhibit":
		w.am.inhibits = true
	case "loud":
		w.am.quiet, w.am.inhibits = false, false
	case "forget":
		clear(w.am.alerts)
	case "lose":
		w.am.alerts[alert(true, words[1:], w.now, time.Time{}).Fingerprint] = Sight{Receivers: []string{"callchain"}}
	case "restart":
		w.am.since = w.now
	case "away", "back":
		w.am.away = words[0] == "away"
	case "witness":
		w.witness = true
	case "ask":
		w.ask()
	case "show":
		for _, id := range sortedIDs(w.incs) {
			inc := w.incs[id]
			w.log("%s %s, urgency %s, %d firing, risks %v", inc.Subject, inc.State, inc.Urgency, inc.Firing(), inc.Risks)
			if inc.Held || inc.Stale {
				w.log("held %v, stale %v", inc.Held, inc.Stale)
			}
			if inc.Flapping() {
				w.log("flapping")
			}
		}
	default:
		t.Fatalf("no command %q", words[0])
	}
}

func sortedIDs(m map[string]Incident) []string {
	var ids []string
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		if m[a].OpenedAt != m[b].OpenedAt {
			return int(m[a].OpenedAt - m[b].OpenedAt)
		}
		return strings.Compare(a, b)
	})
	return ids
}
