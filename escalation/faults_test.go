package escalation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"callchain/routing"
)

// envWith is the organisation of the stories with something added below "routing:".
func envWith(t *testing.T, more string) Env {
	t.Helper()
	ar, err := txtar.ParseFile("testdata/common.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i := range ar.Files {
		if ar.Files[i].Name == "callchain.yml" {
			ar.Files[i].Data = []byte(strings.Replace(string(ar.Files[i].Data), "routing:\n", "routing:\n"+more, 1))
		}
	}
	return compile(t, ar)
}

const officeHours = `
  urgency:
    - {match: ['kind="office"'], urgency: page, active_time_intervals: [{times: [{start_time: "10:00", end_time: "18:00"}]}]}
`

func hook(as ...routing.WebhookAlert) routing.Webhook { return routing.Webhook{Alerts: as} }

func firing(words ...string) routing.WebhookAlert { return alert(true, words, epoch, time.Time{}) }

func theOne(t *testing.T, w *world) Incident {
	t.Helper()
	if len(w.incs) != 1 {
		t.Fatalf("%d incidents; want one", len(w.incs))
	}
	var one Incident
	for _, inc := range w.incs {
		one = inc
	}
	return one
}

func find(t *testing.T, inc Incident, kind DeliveryKind, channel string) Delivery {
	t.Helper()
	for _, d := range inc.Deliveries {
		if d.Kind == kind && d.Channel == channel && !d.ReadOnly {
			return d
		}
	}
	t.Fatalf("no %s over %s", kind, channel)
	return Delivery{}
}

// However long a channel is away, what the incident needs comes when it is back:
// for an alert that wakes nobody the board is all that anybody gets.
func TestBoardsOutliveAnOutage(t *testing.T) {
	for _, severity := range []string{"warning", "page"} {
		w := newWorld(commonEnv(t))
		w.faults = []fault{{"slack", "*", VerdictDown, "token_revoked"}}
		w.webhook(hook(firing("A", "service=parsoid", "severity="+severity)))
		w.wait(20 * time.Minute)
		w.faults = nil
		w.wait(15 * time.Second)
		inc := theOne(t, w)
		if d := find(t, inc, BoardDelivery, "slack"); d.Reached == 0 {
			t.Errorf("%s: the board is lost: %+v", severity, d)
		}
		if d := find(t, inc, ThreadDelivery, "slack"); d.Done == 0 {
			t.Errorf("%s: the thread is lost: %+v", severity, d)
		}
	}
}

// An alert that has come to count for more than its incident closed with was
// never answered: at its next repeat somebody is paged.
func TestRisesAfterItsIncidentClosed(t *testing.T) {
	w := newWorld(envWith(t, officeHours))
	later := firing("B", "service=parsoid", "kind=office")
	w.webhook(hook(firing("A", "service=parsoid", "severity=page"), later))
	w.wait(5 * time.Minute)
	w.webhook(hook(alert(false, []string{"A", "service=parsoid", "severity=page"}, epoch, w.now), later))
	before := len(w.pages)
	w.wait(50 * time.Minute)
	w.webhook(hook(later))
	if len(w.pages) != before {
		t.Error("paged before its hours")
	}
	w.wait(10 * time.Minute)
	w.webhook(hook(later))
	w.wait(time.Minute)
	if len(w.pages) == before {
		t.Error("it counts as a page since 10:00 and still fires; nobody was paged")
	}
}

// An alert that is to be looked at again is, whatever number of others there are.
func TestReviewsBeyondWhatIsShown(t *testing.T) {
	w := newWorld(envWith(t, officeHours))
	var as []routing.WebhookAlert
	for i := range MaxShown {
		as = append(as, firing("A", "service=parsoid", "severity=warning", fmt.Sprint("i=", i)))
	}
	w.webhook(hook(append(as, firing("B", "service=parsoid", "kind=office"))...))
	w.wait(2 * time.Hour)
	if len(w.pages) == 0 {
		t.Error("nobody was paged at 10:00")
	}
}

// What somebody closed stays closed; something new is something new.
func TestClosedByHandStaysClosed(t *testing.T) {
	w := newWorld(commonEnv(t))
	a := firing("A", "service=parsoid", "severity=page")
	w.webhook(hook(a))
	w.wait(time.Minute)
	w.do(theOne(t, w).ID, ResolveByHand{By: Actor{Handle: "ana"}})
	before := len(w.pages)
	w.wait(time.Minute)
	w.webhook(hook(a, alert(true, []string{"B", "service=parsoid", "severity=warning"}, w.now, time.Time{})))
	w.wait(time.Minute)
	if len(w.pages) > before {
		t.Errorf("a warning after closing by hand paged %v", w.pages[before:])
	}
	if len(w.incs) != 2 {
		t.Errorf("%d incidents; want the closed one and one for the warning", len(w.incs))
	}
}

// A mail whose success is told late has arrived: it is not sent again.
func TestLateSuccessOfAMail(t *testing.T) {
	env := commonEnv(t)
	w := newWorld(env)
	w.hold = true
	w.webhook(hook(firing("A", "service=parsoid", "severity=page")))
	inc := theOne(t, w)
	mail := find(t, inc, PageDelivery, "email")
	now := w.now.Add(Lease + time.Second)
	inc, _ = Step(inc, Tick{}, now, env)
	inc, _ = Step(inc, Result{Delivery: mail.ID, Attempt: mail.Attempt, Verdict: VerdictSent, Ref: Ref{TS: "<id@x>"}}, now, env)
	_, taken := Take(inc, now, func(_ Delivery, n Instant) Instant { return n })
	for _, d := range taken {
		if d.ID == mail.ID {
			t.Errorf("sent again: %+v", d)
		}
	}
}

// The late answer to a first post is not the answer to a later edit.
func TestAttemptsHaveNamesOfTheirOwn(t *testing.T) {
	env := commonEnv(t)
	w := newWorld(env)
	w.hold = true
	at := func(_ Delivery, n Instant) Instant { return n }
	w.webhook(hook(firing("A", "service=parsoid", "severity=page")))
	inc := theOne(t, w)
	page := find(t, inc, PageDelivery, "slack")
	now := w.now.Add(Lease + time.Second)
	inc, _ = Step(inc, Tick{}, now, env)
	inc, _ = Take(inc, now, at)
	inc, _ = Step(inc, Result{Delivery: page.ID, Attempt: 2, Verdict: VerdictSent, Ref: Ref{"D", "2"}}, now, env)
	now = now.Add(2 * time.Second)
	inc, _ = Step(inc, Acknowledge{By: Actor{Handle: "ana"}}, now, env)
	inc, _ = Take(inc, now, at) // the edit
	inc, _ = Step(inc, Result{Delivery: page.ID, Attempt: 1, Verdict: VerdictSent, Ref: Ref{"D", "1"}}, now, env)
	if d := inc.Delivery(page.ID); d.Status != InFlight || d.Ref.TS != "2" {
		t.Errorf("the late first post counts as the edit: %+v", *d)
	}
}

// An attempt that was moot when it was looked at may be needed when it is dropped.
func TestDropLooksAgain(t *testing.T) {
	w := newWorld(commonEnv(t))
	w.hold = true
	w.webhook(hook(firing("A", "service=parsoid", "severity=page")))
	board := find(t, theOne(t, w), BoardDelivery, "slack")
	w.now = w.now.Add(time.Second)
	w.webhook(hook(alert(false, []string{"A", "service=parsoid", "severity=page"}, epoch, w.now)))
	inc := theOne(t, w)
	if !Moot(&inc, board.ID, board.Attempt) {
		t.Fatal("a board of what is over is still sent")
	}
	w.now = w.now.Add(time.Second)
	w.webhook(hook(alert(true, []string{"A", "service=parsoid", "severity=page"}, w.now, time.Time{})))
	inc = theOne(t, w)
	if dropped := Drop(inc, board.ID, board.Attempt); dropped.Delivery(board.ID) == nil {
		t.Error("the board is lost")
	}
}

// An incident that nobody answers for long stays small, and after an outage
// nobody gets a heap of pages about it.
func TestExhaustedForLong(t *testing.T) {
	w := newWorld(commonEnv(t))
	w.webhook(hook(firing("A", "service=parsoid", "severity=page")))
	w.wait(36 * time.Hour)
	if inc := theOne(t, w); len(inc.Deliveries) > 30 {
		t.Errorf("%d deliveries after 36 hours", len(inc.Deliveries))
	}

	w = newWorld(commonEnv(t))
	w.faults = []fault{{"slack", "*", VerdictDown, "revoked"}}
	w.webhook(hook(firing("A", "service=parsoid", "severity=emergency")))
	w.wait(100 * time.Minute)
	before := len(w.pages)
	w.faults = nil
	w.wait(30 * time.Second)
	got := map[string]int{}
	for _, p := range w.pages[before:] {
		if got[p.handle]++; got[p.handle] > 1 {
			t.Errorf("%s gets %d pages at once when Slack is back", p.handle, got[p.handle])
		}
	}
	if len(got) == 0 {
		t.Error("nothing was sent when Slack came back")
	}
}

// Ten thousand alerts are one page; what is over does not weigh on the record.
func TestManyAlerts(t *testing.T) {
	w := newWorld(commonEnv(t))
	var on, off []routing.WebhookAlert
	for i := range 10_000 {
		words := []string{"A", "service=parsoid", "severity=page", fmt.Sprint("i=", i)}
		on = append(on, alert(true, words, epoch, time.Time{}))
		off = append(off, alert(false, words, epoch, epoch.Add(time.Minute)))
	}
	w.webhook(hook(on...))
	w.webhook(hook(on...))
	if n := len(w.pages); n != 2 { // Slack and mail
		t.Errorf("%d pages", n)
	}
	w.now = w.now.Add(time.Minute)
	w.webhook(hook(off...))
	w.wait(time.Hour)
	if inc := theOne(t, w); inc.State != Resolved || len(encode(t, inc)) > 8_000 {
		t.Errorf("%s takes %d bytes", inc.Summary(), len(encode(t, inc)))
	}
}

// Somebody whose mail may have arrived is told who acknowledged.
func TestTellsWhoMayHaveBeenPaged(t *testing.T) {
	w := newWorld(commonEnv(t))
	w.faults = []fault{{"email", "*", VerdictAmbiguous, "timeout after the data"}}
	w.webhook(hook(firing("A", "service=parsoid", "severity=page")))
	w.do(theOne(t, w).ID, Acknowledge{By: Actor{Handle: "ben"}})
	find(t, theOne(t, w), ToldDelivery, "email")
}

// An incident that fires again as a notice has no chain to escalate along.
func TestANoticeHasNoChain(t *testing.T) {
	w := newWorld(commonEnv(t))
	w.webhook(hook(firing("A", "service=parsoid", "severity=page")))
	w.wait(time.Second)
	w.webhook(hook(alert(false, []string{"A", "service=parsoid", "severity=page"}, epoch, w.now)))
	w.wait(2 * time.Minute)
	w.webhook(hook(alert(true, []string{"B", "service=parsoid", "severity=warning"}, w.now, time.Time{})))
	inc := theOne(t, w)
	place := inc.Place()
	if a := w.do(inc.ID, Escalate{By: Actor{Handle: "ana"}, From: &place}); a.Kind != NobodyLeft {
		t.Errorf("escalating a notice: %s", a.Kind)
	}
}

// A page whose sending got no answer, and that was pressed: it is known by then
// where it is, so it is brought up to date like any other and sent to nobody again.
func TestPressedPageIsAdopted(t *testing.T) {
	w := newWorld(commonEnv(t))
	w.faults = []fault{{"slack", "*", VerdictAmbiguous, "the answer was lost"}}
	w.webhook(hook(firing("A", "service=parsoid", "severity=page")))
	inc := theOne(t, w)
	page := find(t, inc, PageDelivery, "slack")
	if page.Reached != 0 || page.Maybe == 0 {
		t.Fatalf("the page is %+v", page)
	}
	there := Ref{Channel: "D1", TS: "1.2"}
	if a := w.do(inc.ID, Result{Delivery: page.ID, Attempt: -1, Verdict: VerdictSent, Ref: there}); a.Kind != Done {
		t.Errorf("adopted: %s", a.Kind)
	}
	w.faults = nil
	pages := len(w.pages)
	w.do(inc.ID, Acknowledge{By: Actor{Handle: page.To, Name: page.To, Via: "slack"}})
	w.wait(time.Minute)
	inc = theOne(t, w)
	d := inc.Delivery(page.ID)
	if d == nil || d.Ref.Channel == "" || d.Status != Sent || d.Rev != inc.Rev || len(w.pages) != pages {
		t.Errorf("the page is %+v at revision %d; %d more pages", d, inc.Rev, len(w.pages)-pages)
	}
	if a := w.do(inc.ID, Result{Delivery: page.ID, Attempt: -1, Verdict: VerdictSent, Ref: Ref{Channel: "D2", TS: "3.4"}}); a.Kind != Unchanged {
		t.Errorf("adopted twice: %s", a.Kind)
	}
}
