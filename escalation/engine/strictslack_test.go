package engine

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/internal/testbench/strictslack"
	"callchain/notifiers"
	"callchain/notifiers/slack"
	"callchain/routing"
)

// newWorkspace is a Slack as strict as Slack, without a network.
func newWorkspace(t *testing.T) *strictslack.Slack {
	return strictslack.NewHandler(t, strictslack.Config{
		Users: []strictslack.User{{ID: "U01ANA"}, {ID: "U01BEN"}, {ID: "U01GUS"}, {ID: "U01VIC"}},
		Channels: []strictslack.Channel{
			{ID: "C01INC", Name: "incidents", Member: true}, {ID: "C01OPS", Name: "ops", Member: true}, {ID: "C01SRE", Name: "sre", Member: true},
			{ID: "C01HELP", Name: "helpers", Member: true},
		},
	})
}

func appOf(t *testing.T, ws *strictslack.Slack) *slack.Notifier {
	return slack.New(slack.Config{
		APIURL: "http://slack.test/api/", Channel: "#incidents", HTTPClient: &http.Client{Transport: ws.RoundTripper()},
		Token: func() (string, error) { return ws.BotToken, nil },
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

// startOver starts an engine that pages over a workspace and by mail.
func startOver(t *testing.T, st store.Store, ws *strictslack.Slack, email *fake, catalogue string) *bench {
	t.Helper()
	channels := map[string]Channel{notifiers.Slack: appOf(t, ws)}
	if email != nil {
		channels[notifiers.Email] = email
	}
	e := New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, snapshotOf(t, configuration, catalogue, channels))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	wg.Go(func() { _ = e.RunProbes(ctx) })
	b := &bench{Engine: e, email: email, stop: func() { cancel(); wg.Wait() }}
	t.Cleanup(b.stop)
	return b
}

// A process that is killed after Slack took the page and before it could say so:
// the next one, another process, finds the page and does not send it again.
func TestKilledAfterSlackAccepted(t *testing.T) {
	for name, fault := range map[string]strictslack.Fault{"the page was taken": strictslack.HangAfter, "it was not": strictslack.HangBefore} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st, ws := mem.New(), newWorkspace(t)
				ws.Always("chat.postMessage", fault)
				dying := st.Open()
				a := startOver(t, dying, ws, &fake{}, catalogue)
				if err := a.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				dying.Inject(func(string) (bool, error) { return false, errors.New("it is dead") })
				ws.Heal()
				b := startOver(t, st.Open(), ws, nil, catalogue)
				time.Sleep(15 * time.Second)
				for _, to := range []string{"U01ANA", "#ops"} {
					if all := ws.Messages(to); len(slices.DeleteFunc(all, func(m strictslack.Message) bool { return m.ThreadTS != "" })) != 1 {
						t.Errorf("%s has %d messages; want one", to, len(all))
					}
				}
				ana := ws.Messages("U01ANA")[0]
				if _, ok := ana.Button("ack"); !ok {
					t.Error("the page has no button")
				}
				if looked := len(ws.Calls("conversations.history")); looked == 0 {
					t.Error("nobody looked")
				}
				duplicates := testutil.ToFloat64(b.metrics.duplicatePages.WithLabelValues(unknownOutcome))
				said := strings.Contains(ana.Said(), "twice")
				found := name == "the page was taken"
				if found == (duplicates > 0) || found == said {
					t.Errorf("counted %v duplicates, the page says that it may come twice: %v", duplicates, said)
				}
				if found && ana.Edits == 0 {
					t.Error("the page that was found shows for ever what was known when it was sent")
				}
			})
		})
	}
}

// An answer that is lost on its way: the page, the board and the reminder are found
// at the next try, and nobody gets anything twice.
func TestLostAnswers(t *testing.T) {
	for name, fault := range map[string]strictslack.Fault{
		"cut": strictslack.CutAfter, "502": strictslack.Status5xxAfter(502), "a page of a proxy's": strictslack.HTMLAfter, "no answer": strictslack.HangAfter,
		"half an answer": strictslack.CutJSON,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ws := newWorkspace(t)
				ws.Fault("chat.postMessage", fault, fault)
				b := startOver(t, mem.New(), ws, nil, catalogue)
				if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				ws.Fault("chat.postMessage", fault) // of the next reminder
				time.Sleep(6 * time.Minute)
				seen := map[string]int{}
				for _, m := range append(ws.Messages("U01ANA"), ws.Messages("#ops")...) {
					if id, ok := m.Metadata.EventPayload["d"].(string); ok && (m.ThreadTS == "" || m.Channel == "D01ANA") {
						seen[id]++
					}
				}
				if len(seen) < 3 {
					t.Errorf("%d messages; want a page, a board and a reminder", len(seen))
				}
				for id, n := range seen {
					if n != 1 {
						t.Errorf("%s is there %d times", id, n)
					}
				}
				if n := testutil.ToFloat64(b.metrics.duplicatePages.WithLabelValues(unknownOutcome)); n != 0 {
					t.Errorf("counted %v duplicates", n)
				}
			})
		})
	}
}

// A revoked token takes no page and no time from anybody: SPEC 8.
func TestRevokedToken(t *testing.T) {
	for _, code := range []string{"token_revoked", "account_inactive"} {
		synctest.Test(t, func(t *testing.T) {
			ws, email := newWorkspace(t), &fake{}
			ws.Revoke(code)
			b := startOver(t, mem.New(), ws, email, catalogue)
			began := time.Now()
			for _, name := range []string{"Answered", "StillOpen"} {
				if err := b.Webhook(t.Context(), "main", webhook(name, "parsoid", "page", true, began)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Second)
			if got := email.pages(); !slices.Equal(got, []string{"ana", "ana"}) {
				t.Errorf("after two seconds mailed %v; want ana for both", got)
			}
			if told := noticesTo(email, "sre@example.org"); len(told) != 1 || !strings.Contains(string(told[0].Body), code) {
				t.Errorf("callchain's own team is told %+v", told)
			}
			if up := testutil.ToFloat64(b.metrics.channelUp.WithLabelValues("slack")); up != 0 {
				t.Errorf("callchain_channel_up is %v", up)
			}

			before := len(ws.Calls("auth.test"))
			time.Sleep(time.Minute)
			if n := len(ws.Calls("auth.test")) - before; n != 6 {
				t.Errorf("probed %d times in a minute; want every 10 s", n)
			}
			if n := len(ws.Calls("chat.postMessage")); n > 8 {
				t.Errorf("%d messages were tried while it is known that Slack does not work", n)
			}

			list, _, _ := b.Incidents(t.Context(), Filter{})
			for _, inc := range list {
				if inc.GroupLabels["alertname"] == "Answered" {
					if _, _, err := b.Do(t.Context(), inc.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ana", Via: "email"}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			// The step keeps its time: ben after 25 minutes, as if nothing were wrong.
			time.Sleep(time.Until(began.Add(25*time.Minute - time.Second)))
			if got := email.pages(); slices.Contains(got, "ben") {
				t.Errorf("mailed %v before the time", got)
			}
			time.Sleep(3 * time.Second)
			if got := email.pages(); !slices.Contains(got, "ben") {
				t.Errorf("mailed %v; want ben after 25 minutes", got)
			}

			ws.Revoke("")
			time.Sleep(25 * time.Second)
			for who, want := range map[string]int{"U01ANA": 1, "U01BEN": 1} {
				all := ws.Messages(who)
				pages := slices.DeleteFunc(all, func(m strictslack.Message) bool { return m.ThreadTS != "" })
				if len(pages) != want || !strings.Contains(pages[0].Said(), "StillOpen") {
					t.Errorf("%s: after it works again %d pages; want the one that is still due", who, len(pages))
				}
			}
			if up := testutil.ToFloat64(b.metrics.channelUp.WithLabelValues("slack")); up != 1 {
				t.Errorf("callchain_channel_up is %v", up)
			}
		})
	}
}

func noticesTo(f *fake, address string) []notifiers.Text {
	var out []notifiers.Text
	for _, d := range f.all() {
		if d.Kind == notifiers.Notice && d.Address == address {
			out = append(out, *d.Notice)
		}
	}
	return out
}

// Without chat:write Slack is down although auth.test answers: nobody believes the
// probe and tries the same again every ten seconds.
func TestScopeIsTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws, email := newWorkspace(t), &fake{}
		ws.Grant("users:read")
		b := startOver(t, mem.New(), ws, email, catalogue)
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if got := email.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("mailed %v", got)
		}
		if n := len(ws.Calls("chat.postMessage")); n > 5 {
			t.Errorf("tried %d times without the scope", n)
		}
		ws.Grant("chat:write")
		time.Sleep(25 * time.Second)
		if all := ws.Messages("U01ANA"); len(all) == 0 {
			t.Error("the page did not come when the scope was granted")
		}
	})
}

// An archived board: what it should have shown goes to the common channel, the
// wrong reference is a risk, callchain's own team is told once.
func TestArchivedBoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws, email := newWorkspace(t), &fake{}
		ws.SetChannel(strictslack.Channel{ID: "C01OPS", Name: "ops", Member: true, Archived: true})
		b := startOver(t, mem.New(), ws, email, catalogue)
		for _, name := range []string{"Slow", "Slower"} {
			if err := b.Webhook(t.Context(), "main", webhook(name, "parsoid", "page", true, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		boards := 0
		for _, m := range ws.Messages("#incidents") {
			if m.ThreadTS == "" {
				boards++
			}
		}
		if boards != 2 {
			t.Errorf("%d boards on #incidents; want both", boards)
		}
		list, _, _ := b.Incidents(t.Context(), Filter{})
		for _, inc := range list {
			if !slices.Contains(inc.Risks, routing.RiskMissingReference) {
				t.Errorf("risks %v", inc.Risks)
			}
			if !slices.ContainsFunc(inc.Timeline, func(e escalation.Entry) bool { return strings.Contains(e.Text, "archived") }) {
				t.Error("the timeline does not say why the board is elsewhere")
			}
		}
		today := b.Now().UTC().Format(time.DateOnly)
		facts, err := b.Facts(t.Context(), today, today)
		recorded := 0
		for _, f := range facts {
			recorded += f.RiskCounts[routing.RiskMissingReference]
		}
		if err != nil || recorded != 2 {
			t.Errorf("recorded %+v, %v; want the risk of both incidents", facts, err)
		}
		if told := noticesTo(email, "sre@example.org"); len(told) != 1 || !strings.Contains(told[0].Title, "#ops") {
			t.Errorf("told %+v; want once, of #ops", told)
		}
	})
}

// The board of callchain's own team is archived: it is told all the same.
func TestOwnBoardIsArchived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := newWorkspace(t)
		ws.SetChannel(strictslack.Channel{ID: "C01SRE", Name: "sre", Member: true, Archived: true})
		b := startOver(t, mem.New(), ws, nil, catalogue)
		if err := b.Notice(t.Context(), Notice{Key: "k", Title: "Something is wrong", Body: "It is."}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		var titles []string
		for _, m := range ws.Messages("#incidents") {
			titles = append(titles, strings.SplitN(m.Said(), "\n", 2)[0])
		}
		slices.Sort(titles)
		if !slices.Equal(titles, []string{"Slack takes no messages for #sre", "Something is wrong"}) {
			t.Errorf("#incidents says %q", titles)
		}
	})
}

// A deactivated member: another channel carries the page; without one the next step
// follows within seconds, and that nobody could reach them is a risk.
func TestDeactivatedMember(t *testing.T) {
	t.Run("with mail", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ws, email := newWorkspace(t), &fake{}
			ws.SetUser(strictslack.User{ID: "U01ANA", Deleted: true})
			b := startOver(t, mem.New(), ws, email, strings.Replace(catalogue, "slack: U01ANA", "slack: U01ANA, contact: [slack]", 1))
			if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			if got := email.pages(); !slices.Equal(got, []string{"ana"}) {
				t.Errorf("mailed %v; want ana, who lists Slack alone", got)
			}
			if inc := only(t, b.Engine); slices.Contains(inc.Risks, routing.RiskUnreachable) {
				t.Errorf("risks %v; she was reached", inc.Risks)
			}
			if told := noticesTo(email, "sre@example.org"); len(told) != 1 || !strings.Contains(string(told[0].Body), "deactivated") {
				t.Errorf("told %+v", told)
			}
		})
	})
	t.Run("without", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ws := newWorkspace(t)
			ws.SetUser(strictslack.User{ID: "U01ANA", Deleted: true})
			b := startOver(t, mem.New(), ws, nil, catalogue)
			began := time.Now()
			if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, began)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			if len(ws.Messages("U01BEN")) == 0 {
				t.Error("ben is not paged although ana cannot be reached")
			}
			if inc := only(t, b.Engine); !slices.Contains(inc.Risks, routing.RiskUnreachable) {
				t.Errorf("risks %v", inc.Risks)
			}
		})
	})
}

// A confidential incident whose board others read too is shown on the common one.
func TestConfidentialBoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := newWorkspace(t)
		ws.SetChannel(strictslack.Channel{ID: "C01OPS", Name: "ops", Member: true, External: true})
		b := startOver(t, mem.New(), ws, &fake{}, catalogue)
		w := webhook("Stolen", "parsoid", "page", true, time.Now())
		w.Alerts[0].Labels["security"] = "true"
		if err := b.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		for _, channel := range []string{"#ops", "#helpers"} {
			if all := ws.Messages(channel); len(all) != 0 {
				t.Errorf("%s shows %q", channel, all[0].Said())
			}
		}
		if len(ws.Messages("#incidents")) == 0 || len(ws.Messages("U01ANA")) == 0 {
			t.Error("the organisation's own people are not shown it")
		}
		if inc := only(t, b.Engine); slices.Contains(inc.Risks, routing.RiskMissingReference) {
			t.Errorf("risks %v: the catalog is not wrong", inc.Risks)
		}
	})
}
