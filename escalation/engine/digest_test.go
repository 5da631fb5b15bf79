package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
	"callchain/routing"
)

// numbered is the webhook of one incident of many.
func numbered(i int, service string, firing bool, starts time.Time) routing.Webhook {
	w := webhook(fmt.Sprintf("Slow%04d", i), service, "page", firing, starts)
	w.Alerts[0].Fingerprint = uint64(i + 1)
	return w
}

// heard is what one person got over a channel.
type heard struct {
	pages   []delivered // the first messages of pages
	posts   []delivered // of digests, not their edits
	digests []delivered // and their edits, in order
}

func (f *fake) heard(handle string) (h heard) {
	for _, d := range f.all() {
		if d.You == nil || d.You.Handle != handle {
			continue
		}
		switch {
		case d.Kind == notifiers.Page && !d.Edit:
			h.pages = append(h.pages, d)
		case d.Kind == notifiers.Digest:
			h.digests = append(h.digests, d)
			if !d.Edit {
				h.posts = append(h.posts, d)
			}
		}
	}
	return h
}

// last is the digest as the person sees it.
func (h heard) last(t *testing.T) *notifiers.Storm {
	t.Helper()
	if len(h.digests) == 0 {
		t.Fatal("there is no digest")
	}
	return h.digests[len(h.digests)-1].Digest
}

// bounded checks what a person is promised in a storm.
func (h heard) bounded(t *testing.T, limit int) {
	t.Helper()
	for i := range h.pages {
		incidents := map[string]bool{}
		for _, p := range h.pages[i:] {
			if p.at.Sub(h.pages[i].at) < time.Minute {
				incidents[p.Incident.ID] = true
			}
		}
		if len(incidents) > limit {
			t.Errorf("%d incidents paged %s within a minute; want at most %d", len(incidents), h.pages[i].You.Handle, limit)
			break
		}
	}
	edits := map[notifiers.Ref]time.Time{}
	rang := time.Time{}
	for _, d := range h.digests {
		if d.Edit {
			if gap := d.at.Sub(edits[d.Ref]); gap < 10*time.Second-time.Millisecond {
				t.Errorf("a digest is edited %v after it was", gap)
			}
			edits[d.Ref] = d.at
			continue
		}
		if gap := d.at.Sub(rang); gap < 59*time.Second && d.Ref.TS != "" {
			t.Errorf("a digest rings %v after it did", gap)
		}
		rang = d.at
	}
}

// What is beyond the pages of a minute is one digest that leaves within seconds,
// names everything, and is acknowledged at once; each incident keeps its timer.
func TestDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		began := time.Now()
		const many = 20
		for i := range many {
			if err := b.Webhook(t.Context(), "main", numbered(i, "parsoid", true, began)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		for name, f := range map[string]*fake{"slack": b.slack, "email": b.email} {
			h := f.heard("ana")
			if len(h.pages) != 6 || len(h.posts) != 1 {
				t.Fatalf("%s: %d pages and %d digests; want 6 and 1", name, len(h.pages), len(h.posts))
			}
			s := h.posts[0].Digest
			if s.Total != many-6 || s.Open != many-6 || len(s.Named) != many-6 || s.Asks != many-6 || s.Next == nil || s.Token == "" {
				t.Errorf("%s: the digest says %+v", name, s)
			}
			paged := map[string]bool{}
			for _, p := range h.pages {
				paged[p.Incident.ID] = true
			}
			for _, n := range s.Named {
				if paged[n.ID] || !strings.HasPrefix(string(n.Title), "parsoid: Slow") {
					t.Errorf("%s: the digest names %+v", name, n)
				}
			}
		}
		if got := testutil.ToFloat64(b.metrics.digests); got != 1 {
			t.Errorf("callchain_digests_total is %v", got)
		}
		time.Sleep(10 * time.Second)
		list, _, err := b.Incidents(t.Context(), Filter{})
		if err != nil || len(list) != many {
			t.Fatalf("%d incidents, %v", len(list), err)
		}
		for _, inc := range list {
			if inc.NextStepAt() == 0 || !slices.Contains(inc.RoundPaged, "ana") {
				t.Errorf("%s lost its timer or its page", inc.Summary())
			}
			for _, d := range inc.Deliveries {
				if d.Kind == escalation.PageDelivery && (d.Reached == 0 || d.Status != escalation.Sent) {
					t.Errorf("%s: the page over %s is not known to have arrived: %+v", inc.ID, d.Channel, d)
				}
			}
		}

		// One is acknowledged by itself: its line says so.
		token := b.slack.heard("ana").last(t).Token
		digest, rev, err := escalation.ParseDigestToken(token)
		if err != nil {
			t.Fatal(err)
		}
		one := b.slack.heard("ana").last(t).Named[3].ID
		if _, _, err := b.Do(t.Context(), one, escalation.Acknowledge{By: escalation.Actor{Handle: "ben", Name: "ben"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Second)
		s := b.slack.heard("ana").last(t)
		if n := s.Named[3]; n.ID != one || n.State != notifiers.Acknowledged || n.By != "ben" || s.Open != many-7 || s.Asks != many-7 {
			t.Errorf("after ben's acknowledgement the digest says %+v, %d open", n, s.Open)
		}

		// Acknowledged by the list that was shown first: all but the pages of their own.
		who := escalation.Acknowledge{By: escalation.Actor{Handle: "ana", Name: "ana", Via: "slack"}}
		did, err := b.AcknowledgeAll(t.Context(), digest, rev, who, func(escalation.Incident) bool { return false })
		if err != nil || len(did) != many-6 {
			t.Fatalf("acknowledge all: %d, %v", len(did), err)
		}
		for _, d := range did {
			want := escalation.Done
			if d.Incident.ID == one {
				want = escalation.Already
			}
			if d.Err != nil || d.Answer.Kind != want {
				t.Errorf("%s: %v, %v; want %s", d.Incident.ID, d.Answer, d.Err, want)
			}
		}
		time.Sleep(15 * time.Second)
		if s := b.slack.heard("ana").last(t); !s.Over || s.Token != "" || s.Open != 0 {
			t.Errorf("when all is answered the digest says %+v", s)
		}
		open, _, _ := b.Incidents(t.Context(), Filter{State: "triggered"})
		if len(open) != 6 {
			t.Errorf("%d incidents are open; want the 6 that the digest did not show", len(open))
		}
		time.Sleep(3 * time.Hour)
		for _, f := range []*fake{b.slack, b.email} {
			f.heard("ana").bounded(t, 6)
		}
		if got := len(b.email.heard("ana").posts); got != 1 {
			t.Errorf("%d mails of the digest; want it alone, since ana knows that it is over", got)
		}

		// "Still on it?" joins the thread of the page; what a digest named has none.
		time.Sleep(17 * time.Hour)
		for name, f := range map[string]*fake{"slack": b.slack, "email": b.email} {
			asked := 0
			for _, d := range f.all() {
				if d.Kind != notifiers.Question {
					continue
				}
				asked++
				if d.Ref != (notifiers.Ref{}) {
					t.Errorf("%s: the question of %s goes into the thread %+v of a page that was never sent", name, d.Incident.ID, d.Ref)
				}
			}
			if asked != many-6 {
				t.Errorf("%s: %d questions for %d acknowledgements", name, asked, many-6)
			}
		}
	})
}

// owners are six people with twenty services each.
func owners() (catalogue string, services []string) {
	var people, teams, svc strings.Builder
	for p := range 6 {
		fmt.Fprintf(&people, "  - {name: p%d, email: p%d@example.org, slack: U01P%d}\n", p, p, p)
		fmt.Fprintf(&teams, "  - {name: t%d, members: [p%d], manager: boss, slack_channel: \"#t%d\"}\n", p, p, p)
		for i := range 20 {
			name := fmt.Sprintf("svc-%d-%d", p, i)
			services = append(services, name)
			fmt.Fprintf(&svc, "  - {name: %s, state: active, owners: {development: t%d, configuration_deployment: t%d, incident_response: t%d, product_management: t%d}}\n", name, p, p, p, p)
		}
	}
	return "people:\n  - {name: boss, email: boss@example.org, slack: U01BOSS}\n" + people.String() +
		"teams:\n  - {name: sre, members: [boss], slack_channel: \"#sre\"}\n" + teams.String() + "services:\n" + svc.String(), services
}

// A thousand alerts for six owners within a minute: each is paged within two
// seconds, by six incidents a minute at most, and every incident is named or counted.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		catalogue, services := owners()
		st := mem.New()
		slack, email := &fake{takes: 20 * time.Millisecond}, &fake{takes: 50 * time.Millisecond}
		engines := []*bench{
			startOf(t, st.Open(), configuration, catalogue, slack, email),
			startOf(t, st.Open(), configuration, catalogue, slack, email),
		}
		began := time.Now()
		const alerts = 1000
		var wg sync.WaitGroup
		for i := range alerts {
			time.Sleep(time.Minute / alerts)
			wg.Go(func() {
				if err := engines[i%2].Webhook(t.Context(), "main", numbered(i, services[i*7%len(services)], true, began)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(30 * time.Second)
		named := map[string]map[string]bool{}
		list, _, err := engines[0].Incidents(t.Context(), Filter{Limit: 1000})
		if err != nil || len(list) != alerts {
			t.Fatalf("%d incidents, %v", len(list), err)
		}
		for _, inc := range list {
			for _, who := range inc.RoundPaged {
				if named[who] == nil {
					named[who] = map[string]bool{}
				}
				named[who][inc.ID] = true
			}
		}
		for p := range 6 {
			who := fmt.Sprint("p", p)
			for name, f := range map[string]*fake{"slack": slack, "email": email} {
				h := f.heard(who)
				h.bounded(t, 6)
				if first := h.pages[0].at.Sub(began); first > 2*time.Second {
					t.Errorf("%s is paged over %s after %v", who, name, first)
				}
				if len(h.posts) == 0 || h.posts[0].at.Sub(h.pages[5].at) > 6*time.Second {
					t.Errorf("%s got no digest over %s in time", who, name)
				}
				s := h.last(t)
				if name == "slack" && len(h.pages)+s.Total != len(named[who]) {
					t.Errorf("%s: %d pages and a digest of %d; want all %d", who, len(h.pages), s.Total, len(named[who]))
				}
				if len(s.Named) != notifiers.MaxNamed || s.Page == "" {
					t.Errorf("%s: the digest over %s names %d and leads to %q", who, name, len(s.Named), s.Page)
				}
			}
		}
	})
}

// A process may die between the commit of the desk and that of the incident, and
// the desk's answer be lost: whatever happens, each incident is paged or named.
func TestDigestSurvivesACrash(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for at := 1; at < 40; at += 3 {
			t.Run(fmt.Sprint(applied, at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					st := mem.New()
					dying := st.Open()
					slack, email := &fake{takes: time.Millisecond}, &fake{takes: time.Millisecond}
					a := start(t, dying, slack, email)
					began := time.Now()
					const many = 10
					for i := range many {
						if err := a.Webhook(t.Context(), "main", numbered(i, "parsoid", true, began)); err != nil {
							t.Fatal(err)
						}
						if i == many-2 { // the next commits are its last
							var mu sync.Mutex
							left := at
							dying.Inject(func(op string) (bool, error) {
								mu.Lock()
								defer mu.Unlock()
								if left--; left > 0 {
									return false, nil
								}
								return left == 0 && applied, errors.New("it is dead")
							})
							_ = a.Webhook(context.WithoutCancel(t.Context()), "main", numbered(many-1, "parsoid", true, began))
							break
						}
					}
					b := start(t, st.Open(), slack, email)
					if err := b.Webhook(t.Context(), "main", numbered(many-1, "parsoid", true, began)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Minute) // a lease, and a minute between two mails
					for name, f := range map[string]*fake{"slack": slack, "email": email} {
						told := map[string]bool{}
						h := f.heard("ana")
						for _, p := range h.pages {
							told[p.Incident.ID] = true
						}
						for _, d := range h.digests {
							for _, n := range d.Digest.Named {
								told[n.ID] = true
							}
						}
						list, _, _ := b.Incidents(t.Context(), Filter{})
						for _, inc := range list {
							if !told[inc.ID] {
								t.Errorf("%s: ana never heard of %s: %+v", name, inc.ID, inc.Deliveries)
							}
						}
						if len(list) != many {
							t.Errorf("%d incidents; want %d", len(list), many)
						}
					}
					// What a process lets through blindly when its store dies is bounded as well.
					slack.heard("ana").bounded(t, 12)
				})
			})
		}
	}
}

// What joins a digest rings after a while, once for all of it; edits do not ring.
// After two quiet minutes there is a new digest.
func TestDigestRings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		began, n := time.Now(), 0
		burst := func(many int) {
			t.Helper()
			for range many {
				if err := b.Webhook(t.Context(), "main", numbered(n, "parsoid", true, began)); err != nil {
					t.Fatal(err)
				}
				n++
			}
		}
		burst(10)
		time.Sleep(20 * time.Second)
		burst(3)
		time.Sleep(30 * time.Second)
		if h := b.slack.heard("ana"); len(h.posts) != 1 || h.last(t).Total != 7 || h.last(t).New != 0 {
			t.Fatalf("%d posts, last of %d; want one that was edited to 7", len(h.posts), h.last(t).Total)
		}
		time.Sleep(30 * time.Second)
		for name, f := range map[string]*fake{"slack": b.slack, "email": b.email} {
			h := f.heard("ana")
			if len(h.posts) != 2 {
				t.Fatalf("%s: %d posts; want it to ring for the 3", name, len(h.posts))
			}
			if s := h.posts[1].Digest; s.New != 3 || s.Total != 7 || s.Token == "" {
				t.Errorf("%s: it rings with %+v", name, s)
			}
			if name == "slack" && h.posts[1].Ref.TS == "" {
				t.Error("it does not ring in the digest's thread")
			}
			if name == "email" && h.posts[1].You.AckURL == "" {
				t.Error("the mail has no link")
			}
		}
		time.Sleep(150 * time.Second)
		burst(8)
		time.Sleep(10 * time.Second)
		h := b.slack.heard("ana")
		if len(h.posts) != 3 || h.posts[2].Incident.ID == h.posts[1].Incident.ID || h.posts[2].Ref.TS != "" {
			t.Errorf("%d posts; want another digest", len(h.posts))
		}
		// Reminders of what a digest names ring once, in the digest.
		before := len(h.posts)
		time.Sleep(5*time.Minute + 30*time.Second)
		h = b.slack.heard("ana")
		if got := len(h.posts) - before; got < 1 || got > 4 {
			t.Errorf("the digests rang %d times within five minutes for reminders", got)
		}
		for _, d := range b.slack.all() {
			if d.Kind == notifiers.Reminder && !slices.ContainsFunc(h.pages, func(p delivered) bool { return p.Incident.ID == d.Incident.ID }) {
				t.Errorf("%s, which a digest names, reminds by itself", d.Incident.ID)
			}
		}
	})
}

// A digest that no channel takes reached nobody: the next step follows at once.
func TestDigestReachesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		refuse := func(m notifiers.Message) notifiers.Result {
			if m.Kind == notifiers.Digest && m.You.Handle == "ana" {
				return notifiers.Result{Verdict: notifiers.Refused, Err: errors.New("no such address")}
			}
			return notifiers.Result{}
		}
		b.slack.fails(refuse)
		began := time.Now()
		for i := range 9 {
			if err := b.Webhook(t.Context(), "main", numbered(i, "parsoid", true, began)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Second)
		if got := len(b.slack.heard("ben").pages); got != 0 {
			t.Errorf("ben is paged %d times although ana has her mail", got)
		}
		b.email.fails(refuse)
		for i := range 9 {
			if err := b.Webhook(t.Context(), "main", numbered(i, "parsoid", false, began)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Minute)
		began = time.Now()
		for i := range 9 {
			if err := b.Webhook(t.Context(), "main", numbered(20+i, "parsoid", true, began)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(25 * time.Second)
		if got := len(b.slack.heard("ben").pages); got != 3 {
			t.Errorf("ben is paged for %d incidents; want the 3 whose digest reached nobody", got)
		}
	})
}

// Test pages are not bounded, and shadow mode asks no desk.
func TestWhatIsNotLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		for range 9 {
			if _, err := b.TestPage(t.Context(), "ana", escalation.Actor{Handle: "ana"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		if h := b.slack.heard("ana"); len(h.pages) != 9 || len(h.digests) != 0 {
			t.Errorf("%d test pages and %d digests; want all 9", len(h.pages), len(h.digests))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := startOf(t, st, "shadow: true\n"+configuration, catalogue, &fake{}, &fake{})
		for i := range 9 {
			if err := b.Webhook(t.Context(), "main", numbered(i, "parsoid", true, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if len(b.slack.all())+len(b.email.all()) != 0 {
			t.Error("shadow mode sent something")
		}
		kinds := map[string]int{}
		if err := st.Scan(t.Context(), "", func(r store.Record) bool {
			kind, _, _ := strings.Cut(r.Key.ID, "/")
			kinds[kind]++
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if kinds["k"]+kinds["m"] != 0 {
			t.Errorf("shadow mode keeps desks: %v", slices.Collect(maps.Keys(kinds)))
		}
	})
}

// Whoever was mailed a digest is mailed when nothing of it is left to answer.
func TestDigestIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		began := time.Now()
		for _, firing := range []bool{true, false} {
			for i := range 10 {
				if err := b.Webhook(t.Context(), "main", numbered(i, "parsoid", firing, began)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(30 * time.Second)
		}
		mails := b.email.heard("ana").posts
		if len(mails) != 2 || !mails[1].Digest.Over || mails[1].You.AckURL != "" || mails[1].Ref.TS == "" {
			t.Fatalf("%d mails; want the digest and that it is over", len(mails))
		}
		for _, d := range b.email.all() {
			if d.Kind == notifiers.Told && !slices.ContainsFunc(b.email.heard("ana").pages, func(p delivered) bool { return p.Incident.ID == d.Incident.ID }) {
				t.Errorf("a mail of its own tells that %s is over, which only the digest named", d.Incident.ID)
			}
		}
		// It is kept for as long as its link is valid, and no longer.
		partition, _ := deskKey("ana")
		id := mails[0].Incident.ID
		for _, wait := range []time.Duration{7 * 24 * time.Hour, 2 * 24 * time.Hour} {
			time.Sleep(wait)
			recs, err := b.store.Load(t.Context(), partition, "m/"+id)
			if err != nil || (recs[0].Version != 0) != (wait > 3*24*time.Hour) {
				t.Errorf("after %v more the digest's record has version %d, %v", wait, recs[0].Version, err)
			}
		}
	})
}
