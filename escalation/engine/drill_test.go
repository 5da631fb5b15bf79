package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
	"callchain/routing"
)

// A drill walks the real chain with its real waits, and every message says what
// it is.
func TestDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		parsoid := routing.Target{Subject: "service:parsoid", Service: "parsoid"}
		by := escalation.Actor{Handle: "gus"}
		// The bubble begins at midnight.
		if _, err := b.Drill(t.Context(), parsoid, config.Page, by, false); !errors.Is(err, ErrAtNight) || !strings.Contains(err.Error(), "ana (00:00 in UTC)") {
			t.Fatalf("at night: %v", err)
		}
		time.Sleep(9 * time.Hour)
		inc, err := b.Drill(t.Context(), parsoid, config.Page, by, false)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(25*time.Minute - time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("before the wait is over: %v; want ana", got)
		}
		time.Sleep(2 * time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana", "ben"}) {
			t.Errorf("after it: %v; want ana, ben", got)
		}
		if _, _, err := b.Do(t.Context(), inc.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ben"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if got := only(t, b.Engine); got.State != escalation.Resolved || len(got.Risks) > 0 {
			t.Errorf("answered: %s, risks %v", got.Summary(), got.Risks)
		}
		if got := b.slack.pages(); len(got) != 2 {
			t.Errorf("paged after the answer: %v", got)
		}
		kinds := map[notifiers.Kind]bool{}
		for _, d := range append(b.slack.all(), b.email.all()...) {
			kinds[d.Kind] = true
			said := notifiers.Headline(d.Message)
			if d.Kind == notifiers.Thread {
				said = notifiers.Sentence(d.Message)
				for line := range strings.Lines(said) {
					if !strings.Contains(line, "drill: ") {
						t.Errorf("a line of the thread does not say what it is: %q", line)
					}
				}
				continue
			}
			if !strings.Contains(said, "DRILL parsoid") || !strings.Contains(notifiers.Sentence(d.Message), "DRILL parsoid") {
				t.Errorf("a %s does not say what it is: %q", d.Kind, said)
			}
		}
		for _, kind := range []notifiers.Kind{notifiers.Page, notifiers.Board, notifiers.Thread, notifiers.Reminder, notifiers.Told} {
			if !kinds[kind] {
				t.Errorf("no %s was sent", kind)
			}
		}
		if n := facts(t, b.Engine); n > 0 {
			t.Errorf("%d facts of the report are of a drill", n)
		}
	})
}
