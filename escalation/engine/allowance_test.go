package engine

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"callchain/escalation"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
)

// most is how many of the instants are within a time.
func most(at []time.Time, within time.Duration) (n int) {
	for i := range at {
		j := i
		for j < len(at) && at[j].Sub(at[i]) < within {
			j++
		}
		n = max(n, j-i)
	}
	return n
}

// Two processes keep to one allowance: of edits, of messages, and of each
// conversation. What says that nothing need be done any more comes before the rest,
// and all of it comes.
func TestAllowanceIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		catalogue, services := owners()
		st := mem.New()
		slack := &fake{takes: 30 * time.Millisecond}
		engines := []*bench{
			startOf(t, st.Open(), unlimited, catalogue, slack, &fake{}),
			startOf(t, st.Open(), unlimited, catalogue, slack, &fake{}),
		}
		began := time.Now()
		const many = 60
		hooks := func(firing bool) {
			t.Helper()
			for i := range many {
				if err := engines[i%2].Webhook(t.Context(), "main", numbered(i, services[i], firing, began)); err != nil {
					t.Fatal(err)
				}
			}
		}
		hooks(true)
		time.Sleep(2 * time.Minute)
		var posts []time.Time
		talks := map[string][]time.Time{}
		pages := 0
		for _, d := range slack.all() {
			if !d.Edit {
				posts = append(posts, d.at)
				talks[d.Address] = append(talks[d.Address], d.at)
			}
			if d.Kind == notifiers.Page && !d.Edit {
				pages++
			}
		}
		if pages != many {
			t.Errorf("%d pages; want %d", pages, many)
		}
		// Two processes may spend a burst each before they hear of each other.
		if got, want := most(posts, 20*time.Second), 2*postRate.Burst+int(20*time.Second/postRate.Every); got > want {
			t.Errorf("%d messages within 20 s; want at most %d", got, want)
		}
		for to, at := range talks {
			if got, want := most(at, 10*time.Second), 2*talkRate.Burst+11; got > want {
				t.Errorf("%d messages to %s within 10 s; want at most %d", got, to, want)
			}
		}

		time.Sleep(time.Minute)
		before := len(slack.all())
		hooks(false)
		time.Sleep(6 * time.Minute)
		var edits []time.Time
		over := map[string]bool{}
		lastPage, lastBoard := time.Time{}, time.Time{}
		for _, d := range slack.all()[before:] {
			if !d.Edit {
				continue
			}
			edits = append(edits, d.at)
			if d.Incident.State != notifiers.Resolved {
				continue
			}
			over[fmt.Sprint(d.Kind, d.Incident.ID)] = true
			if d.Kind == notifiers.Page {
				lastPage = d.at
			} else {
				lastBoard = d.at
			}
		}
		if len(over) != 2*many {
			t.Errorf("%d messages say that it is resolved; want all %d", len(over), 2*many)
		}
		if got, want := most(edits, time.Minute), 2*editRate.Burst+int(time.Minute/editRate.Every); got > want {
			t.Errorf("%d edits within a minute; want at most %d", got, want)
		}
		if !lastPage.Before(lastBoard) {
			t.Errorf("the last page says so after %v, the last board after %v; want people first", lastPage.Sub(began), lastBoard.Sub(began))
		}
	})
}

// What Slack says about waiting to one process holds for the other.
func TestHoldsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		slack := &fake{}
		var refused time.Time
		slack.answer = func(m notifiers.Message) notifiers.Result {
			if m.Kind == notifiers.Board && m.Address == "#ops" && refused.IsZero() {
				refused = time.Now()
				return notifiers.Result{Verdict: notifiers.Retry, After: 40 * time.Second, Err: errors.New("rate limited")}
			}
			return notifiers.Result{}
		}
		a, b := start(t, st.Open(), slack, &fake{}), start(t, st.Open(), slack, &fake{})
		began := time.Now()
		if err := a.Webhook(t.Context(), "main", numbered(0, "parsoid", true, began)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(hearEvery + time.Second) // who is idle has heard of it by then
		second := time.Now()
		if err := b.Webhook(t.Context(), "main", numbered(1, "parsoid", true, began)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		boards := 0
		for _, d := range slack.all() {
			if d.Kind == notifiers.Board && d.Address == "#ops" && !d.Edit {
				boards++
				if after := d.at.Sub(refused); after < 40*time.Second {
					t.Errorf("a board's message %v after Slack asked for 40 s", after)
				}
			}
			if d.Kind == notifiers.Page && !d.Edit && d.at.Sub(second) > 3*time.Second {
				t.Errorf("a page had to wait %v for a board", d.at.Sub(second))
			}
		}
		if boards != 2 {
			t.Errorf("%d boards; want both", boards)
		}
	})
}

// A small change that was put off does not hold up the great one that follows.
func TestAnswerOvertakesSmallEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slack := &fake{}
		b := start(t, mem.New(), slack, &fake{})
		began := time.Now()
		if err := b.Webhook(t.Context(), "main", numbered(0, "parsoid", true, began)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		b.allowance.mu.Lock()
		b.allowance.known = b.allowance.known.Spend(edits, editRate, 6, escalation.At(b.Now()))
		b.allowance.mu.Unlock()
		w := numbered(0, "parsoid", true, began)
		w.Alerts[0].Fingerprint, w.Alerts[0].Labels["instance"] = 99, "two"
		if err := b.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		inc := only(t, b.Engine)
		edited := func() (states []notifiers.State) {
			for _, d := range slack.all() {
				if d.Kind == notifiers.Page && d.Edit {
					states = append(states, d.Incident.State)
				}
			}
			return states
		}
		if got := edited(); len(got) != 0 {
			t.Fatalf("edits are scarce, and one more alert is shown at once: %v", got)
		}
		if _, _, err := b.Do(t.Context(), inc.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ana"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		if got := edited(); len(got) != 1 || got[0] != notifiers.Acknowledged {
			t.Errorf("4 s after the acknowledgement the page was edited to %v", got)
		}
	})
}
