package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
)

// notices are the titles of what was said to a team, by mail.
func (f *fake) notices() []string {
	var titles []string
	for _, d := range f.all() {
		if d.Kind == notifiers.Notice {
			titles = append(titles, d.Notice.Title)
		}
	}
	return titles
}

// overwrite puts something else into a record, as a mistake of ours or somebody
// with a Redis console would.
func overwrite(t *testing.T, st store.Store, partition uint8, key string, data []byte, wake time.Time) {
	t.Helper()
	recs, err := st.Load(t.Context(), partition, key)
	if err != nil {
		t.Fatal(err)
	}
	if data == nil {
		data = recs[0].Data
	}
	err = st.Commit(t.Context(), store.Txn{Partition: partition, Mark: mark(), Writes: []store.Write{{ID: key, Expect: recs[0].Version, Data: data, Wake: wake}}})
	if err != nil {
		t.Fatal(err)
	}
}

// A record that nobody can read is put aside, whole, and told once; what is beside
// it in its partition goes on.
func TestUnreadableRecordsAreQuarantined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		partition, _ := escalation.Partition(only(t, b.Engine).ID)
		bad := map[string]string{
			"i/" + recordID("x"): `{"st": 7, "id": [`,
			"n/bad":              "text",
			"b/bad":              "\x01\xff\xff",
			"r/bad":              `{"id": 7}`,
		}
		for key, data := range bad {
			overwrite(t, st, partition, key, []byte(data), time.Now())
		}
		bad[weeklyKey] = "{"
		overwrite(t, st, 0, weeklyKey, []byte("{"), time.Now())
		b.wakeUp()
		time.Sleep(time.Minute)
		kept := 0
		err := st.Scan(t.Context(), "", func(rec store.Record) bool {
			was, aside := strings.CutPrefix(rec.Key.ID, "q/")
			switch data, ok := bad[was]; {
			case aside:
				kept++
				if string(rec.Data) != data {
					t.Errorf("%s is kept as %q", rec.Key.ID, rec.Data)
				}
			case ok && string(rec.Data) == data:
				t.Errorf("%s is still in the way", rec.Key.ID)
			}
			return true
		})
		if err != nil || kept != 5 {
			t.Fatalf("%d of 5 records are kept, %v", kept, err)
		}
		if got := testutil.ToFloat64(b.metrics.repairs.WithLabelValues("unreadable")); got != 5 {
			t.Errorf("counted %v, want 5", got)
		}
		if got := b.email.notices(); len(got) != 5 || got[0] != "callchain cannot read one of its records" {
			t.Errorf("the team is told %q; want each record once", got)
		}
		time.Sleep(24*time.Minute + 30*time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana", "ben"}) {
			t.Errorf("the incident beside them paged %v; want ana, ben", got)
		}
	})
}

// What a newer callchain wrote is left for it.
func TestNewerRecordsAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		newer := map[string][]byte{
			"i/00-schema": fmt.Appendf(nil, `{"z": %d, "id": "00-schema"}`, escalation.Schema+1),
			"i/00-types":  fmt.Appendf(nil, `{"z": %d, "id": ["00", "types"]}`, escalation.Schema+1),
			"i/00-form":   {2, 7, 'x'},
		}
		for key, data := range newer {
			overwrite(t, st, 0, key, data, time.Now())
		}
		if err := b.audit(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		for key, data := range newer {
			recs, err := st.Load(t.Context(), 0, key)
			if err != nil || string(recs[0].Data) != string(data) {
				t.Errorf("record %s is %q, %v", key, recs[0].Data, err)
			}
		}
		if got := b.email.notices(); len(got) != 1 || got[0] != "Incidents wait for a newer version of callchain" {
			t.Errorf("the team is told %q; want once that nobody looks after them", got)
		}
	})
}

// stumbling is a store in which the engine panics when it changes one record.
type stumbling struct {
	store.Store
	over  atomic.Pointer[string]
	times atomic.Int32
}

func (s *stumbling) Commit(ctx context.Context, txn store.Txn) error {
	for _, w := range txn.Writes {
		if over := s.over.Load(); over != nil && w.ID == *over && w.Data != nil {
			recs, err := s.Load(ctx, txn.Partition, w.ID)
			if err != nil {
				return err
			}
			if string(recs[0].Data) != string(w.Data) {
				s.times.Add(1)
				panic("a mistake with " + w.ID)
			}
		}
	}
	return s.Store.Commit(ctx, txn)
}

// A panic over one incident is contained to it: it is tried again, then more and
// more seldom, people are told once, and when the mistake is mended it goes on.
func TestPanicsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &stumbling{Store: mem.New()}
		b := start(t, st, &fake{}, &fake{})
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		key := "i/" + only(t, b.Engine).ID
		st.over.Store(&key)
		time.Sleep(4 * time.Second)
		if err := b.Webhook(t.Context(), "main", webhook("Other", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(26 * time.Minute) // the first step of both is over
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana", "ana", "ben"}) {
			t.Errorf("the incident beside it paged %v; want ana, ben", got)
		}
		first := st.times.Load()
		if first < parkAfter {
			t.Fatalf("stumbled %d times", first)
		}
		time.Sleep(12 * time.Hour)
		if n := st.times.Load() - first; n < 10 || n > 20 {
			t.Errorf("stumbled %d times more in 12 hours; want about once an hour", n)
		}
		told := 0
		for _, title := range b.email.notices() {
			if strings.HasPrefix(title, "callchain makes a mistake with ") {
				told++
			}
		}
		if told != 1 {
			t.Errorf("told %d times: %q", told, b.email.notices())
		}
		st.over.Store(nil)
		pages := len(b.slack.pages())
		time.Sleep(2 * time.Hour)
		inc, err := b.Incident(t.Context(), strings.TrimPrefix(key, "i/"))
		if err != nil || !inc.Exhausted && len(b.slack.pages()) == pages {
			t.Errorf("mended, it does not go on: %s, %v", inc.Summary(), err)
		}
	})
}

func TestParkFor(t *testing.T) {
	for n, want := range map[int]time.Duration{0: 0, 4: 0, 5: time.Minute, 6: 2 * time.Minute, 11: time.Hour, 1000: time.Hour} {
		if got := parkFor(n); got != want {
			t.Errorf("after %d panics %v, want %v", n, got, want)
		}
	}
}

// A panic over a message counts as its failure: the other channel carries the
// page, and people are told once.
func TestPanicOverAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slack := &fake{answer: func(m notifiers.Message) notifiers.Result {
			if m.Kind == notifiers.Page || m.Kind == notifiers.Notice {
				panic("a mistake with the page")
			}
			return notifiers.Result{}
		}}
		b := start(t, mem.New(), slack, &fake{})
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		inc := only(t, b.Engine)
		if got := b.email.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("paged by mail: %v; want ana", got)
		}
		for _, d := range inc.Deliveries {
			if d.Kind == escalation.PageDelivery && d.Channel == notifiers.Slack && d.Status != escalation.Failed {
				t.Errorf("the page is %s after %d tries; want it given up", d.Status, d.Tries)
			}
		}
		told := b.email.notices()
		if len(told) != 1 || !strings.HasPrefix(told[0], "callchain makes a mistake with a message of ") {
			t.Errorf("told %q, want it once", told)
		}
	})
}

// A notice over which callchain panics leads to no other one.
func TestPanicOverANotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		stumbles := func(m notifiers.Message) notifiers.Result { panic("a mistake with notices") }
		b := start(t, st, &fake{answer: stumbles}, &fake{answer: stumbles})
		if err := b.Notice(t.Context(), Notice{Key: "k", Title: "Something"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		n := 0
		if err := st.Scan(t.Context(), "n/", func(store.Record) bool { n++; return true }); err != nil || n != 1 {
			t.Errorf("%d notices, %v; want the one", n, err)
		}
	})
}

// What nobody would wake any more is found, woken and told.
func TestAuditor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		go func() { _ = b.RunAudit(t.Context()) }()
		for _, name := range []string{"Slow", "Slowest"} {
			if err := b.Webhook(t.Context(), "main", webhook(name, "parsoid", "page", true, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(21 * time.Minute)
		if n := testutil.ToFloat64(b.metrics.repairs.WithLabelValues(noWake)) + testutil.ToFloat64(b.metrics.repairs.WithLabelValues(forgotten)); n != 0 || len(b.email.notices()) > 0 {
			t.Fatalf("%v findings where nothing is wrong", n)
		}
		id := listed(t, b.Engine)[0].ID
		partition, _ := escalation.Partition(id)
		overwrite(t, st, partition, "i/"+id, nil, time.Time{})
		time.Sleep(12 * time.Minute)
		if got := b.slack.pages(); len(got) != 4 {
			t.Errorf("found, and paged: %v; want ben for both", got)
		}
		if n := testutil.ToFloat64(b.metrics.repairs.WithLabelValues(noWake)); n != 1 {
			t.Errorf("counted %v", n)
		}
		if got := b.email.notices(); !slices.Equal(got, []string{"callchain found timers that had been lost"}) {
			t.Errorf("told %q", got)
		}
	})
}

// forgetful claims nothing of one record, as a Redis does that lost its timer,
// until it is written again as it was.
type forgetful struct {
	store.Store
	lost  string
	found atomic.Bool
}

func (s *forgetful) Claim(ctx context.Context, most int, lease time.Duration) (store.Due, error) {
	due, err := s.Store.Claim(ctx, most, lease)
	due.Records = slices.DeleteFunc(due.Records, func(rec store.Record) bool { return rec.Key.ID == s.lost && !s.found.Load() })
	return due, err
}

func (s *forgetful) Commit(ctx context.Context, txn store.Txn) error {
	for _, w := range txn.Writes {
		if recs, err := s.Load(ctx, txn.Partition, w.ID); w.ID == s.lost && err == nil && string(recs[0].Data) == string(w.Data) {
			s.found.Store(true)
		}
	}
	return s.Store.Commit(ctx, txn)
}

func TestAuditorWakesTheForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		a := start(t, st.Open(), &fake{}, &fake{})
		if err := a.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		inc := only(t, a.Engine)
		a.stop()
		b := start(t, &forgetful{Store: st.Open(), lost: "i/" + inc.ID}, &fake{}, &fake{})
		rung := func() (n int) {
			for _, d := range b.slack.all() {
				if d.Kind == notifiers.Reminder {
					n++
				}
			}
			return n
		}
		time.Sleep(7 * time.Minute) // the reminder is due since four minutes
		if err := b.audit(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if rung() > 0 {
			t.Fatal("not late enough to be forgotten, and woken")
		}
		time.Sleep(2 * time.Minute)
		if err := b.audit(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := rung(); n != 1 {
			t.Errorf("woken, and reminded %d times", n)
		}
		if n := testutil.ToFloat64(b.metrics.repairs.WithLabelValues(forgotten)); n != 1 {
			t.Errorf("counted %v", n)
		}
	})
}

// Damage is told, and hides nothing else from the auditor.
func TestAuditorTellsOfDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		for _, name := range []string{"Slow", "Slowest"} {
			if err := b.Webhook(t.Context(), "main", webhook(name, "parsoid", "page", true, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		list := listed(t, b.Engine)
		for i, inc := range list {
			partition, _ := escalation.Partition(inc.ID)
			if i == 0 {
				st.Damage(store.Key{Partition: partition, ID: "i/" + inc.ID})
			} else {
				overwrite(t, st, partition, "i/"+inc.ID, nil, time.Time{})
			}
		}
		for range 2 {
			if err := b.audit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		got := b.email.notices()
		slices.Sort(got)
		if !slices.Equal(got, []string{"Records of callchain's store are damaged", "callchain found timers that had been lost"}) {
			t.Errorf("told %q", got)
		}
	})
}

func TestAble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		slack, email := &fake{}, &fake{}
		b := start(t, st, slack, email)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := b.Able(ctx); err == nil {
			t.Error("able before anybody has looked")
		}
		go func() { _ = b.RunGauges(ctx) }()
		time.Sleep(time.Second)
		want := func(text string) {
			t.Helper()
			err := b.Able(ctx)
			if text == "" && err != nil || text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
				t.Errorf("able: %v; want %q", err, text)
			}
		}
		want("")

		down := func(notifiers.Message) notifiers.Result {
			return notifiers.Result{Verdict: notifiers.Down, Err: errors.New("token_revoked")}
		}
		slack.broken, email.broken = true, true
		slack.fails(down)
		if _, err := b.TestPage(ctx, "ana", escalation.Actor{Handle: "ana"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		want("") // mail is left
		email.fails(down)
		if _, err := b.TestPage(ctx, "ben", escalation.Actor{Handle: "ben"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		want("no channel works")
		slack.mu.Lock()
		slack.broken, slack.answer = false, nil
		slack.mu.Unlock()
		time.Sleep(20 * time.Second)
		want("")

		overwrite(t, st, 0, "i/00-late", []byte(`{"z":99,"st":"triggered"}`), time.Now())
		time.Sleep(2 * time.Minute)
		want("wait for a newer version")
		overwrite(t, st, 0, "i/00-late", []byte(`{"z":99,"st":"triggered"}`), time.Time{})
		time.Sleep(30 * time.Second)
		want("")

		st.Inject(func(string) (bool, error) { return false, errors.New("away") })
		want("the store does not answer")
		st.Inject(nil)
		time.Sleep(2 * time.Second)
		want("")

		shadow := *b.Snapshot()
		cfg := *shadow.Config
		cfg.Shadow.V = true
		shadow.Config = &cfg
		b.Reload(&shadow)
		want("shadow")

		b.stop()
		time.Sleep(3 * time.Minute)
		want("timers are not read")
	})
}

// One that nobody would wake is found by the auditor.
func TestUnreadableRecordsAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		overwrite(t, st, 0, "i/00-bad", []byte("text"), time.Time{})
		if err := b.audit(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		recs, err := st.Load(t.Context(), 0, "i/00-bad", "q/i/00-bad")
		if err != nil || recs[0].Version != 0 || string(recs[1].Data) != "text" || len(b.email.notices()) != 1 {
			t.Errorf("left %v, kept %q, told %q, %v", recs[0].Version, recs[1].Data, b.email.notices(), err)
		}
	})
}

// What is overdue after a start, or an outage, is caught up with: that is no lost timer.
func TestAuditorAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		a := start(t, st.Open(), &fake{}, &fake{})
		if err := a.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		a.stop()
		time.Sleep(time.Hour)
		b := start(t, &forgetful{Store: st.Open(), lost: "i/" + only(t, a.Engine).ID}, &fake{}, &fake{}) // it claims something else first
		time.Sleep(time.Minute)
		if err := b.audit(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := testutil.ToFloat64(b.metrics.repairs.WithLabelValues(forgotten)); n != 0 || len(b.email.notices()) > 0 {
			t.Errorf("%v findings a minute after the start, told %q", n, b.email.notices())
		}
	})
}
