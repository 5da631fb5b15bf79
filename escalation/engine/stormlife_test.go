package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
)

// What follows is about digests and what else can happen to an incident.

// storms fires many alerts of one service at once.
func (b *bench) storms(t *testing.T, many int) (began time.Time) {
	t.Helper()
	began = time.Now()
	for i := range many {
		if err := b.Webhook(t.Context(), "main", numbered(i, "parsoid", true, began)); err != nil {
			t.Fatal(err)
		}
	}
	return began
}

// While the store is away what exceeds the minute's pages is named in a digest as
// well: on the island nobody hears of an incident by its next step.
func TestDigestOnTheIsland(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		time.Sleep(time.Second)
		st.away.Store(true)
		began := time.Now()
		const many = 12
		for i := range many {
			if err := c.Webhook(t.Context(), "main", numbered(i, "parsoid", true, began)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		for name, f := range map[string]*fake{"slack": c.slack, "email": c.email} {
			h := f.heard("ana")
			if len(h.pages) != 6 || len(h.posts) != 1 || h.last(t).Total != many-6 {
				t.Fatalf("%s: %d pages and %d digests on the island; want 6 and 1 that names the rest", name, len(h.pages), len(h.posts))
			}
		}
		token := c.slack.heard("ana").last(t).Token
		digest, rev, err := escalation.ParseDigestToken(token)
		if err != nil {
			t.Fatal(err)
		}
		did, err := c.AcknowledgeAll(t.Context(), digest, rev, escalation.Acknowledge{By: ana}, func(escalation.Incident) bool { return false })
		if err != nil || len(did) != many-6 || slices.ContainsFunc(did, func(d Acknowledged) bool { return d.Err != nil || d.Answer.Kind != escalation.Recorded }) {
			t.Fatalf("acknowledged on the island: %+v, %v; want each recorded", did, err)
		}
		st.away.Store(false)
		time.Sleep(30 * time.Second)
		list, _, err := c.Incidents(t.Context(), Filter{State: "acknowledged"})
		if err != nil || len(list) != many-6 {
			t.Errorf("%d incidents are acknowledged when the store is back, %v; want %d", len(list), err, many-6)
		}
	})
}

// A digest's button that is pressed while the store is away counts from then: what it
// showed is known again when the store is back, before any timer goes on.
func TestDigestPressedOnTheIsland(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		began := time.Now()
		for i := range 9 {
			if err := c.Webhook(t.Context(), "main", numbered(i, "parsoid", true, began)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		s := c.slack.heard("ana").last(t)
		digest, rev, err := escalation.ParseDigestToken(s.Token)
		if err != nil {
			t.Fatal(err)
		}
		st.away.Store(true)
		pressed := time.Now()
		for range 2 {
			did, err := c.AcknowledgeAll(t.Context(), digest, rev, escalation.Acknowledge{By: ana}, func(escalation.Incident) bool { return false })
			if err != nil || len(did) != 1 || did[0].Incident.ID != digest || did[0].Answer.Kind != escalation.Recorded {
				t.Fatalf("pressed while the store is away: %+v, %v; want it recorded", did, err)
			}
		}
		time.Sleep(time.Hour) // ben's step would be due
		st.away.Store(false)
		time.Sleep(30 * time.Second)
		for _, n := range s.Named {
			inc, err := c.Incident(t.Context(), n.ID)
			if err != nil || inc.State != escalation.Acknowledged || inc.Ack.Handle != "ana" || inc.Ack.At.Time().Sub(pressed) > 5*time.Second || inc.Moves > 0 {
				t.Errorf("%s is %s by %+v after %d steps, %v; want it acknowledged when ana pressed", n.ID, inc.State, inc.Ack, inc.Moves, err)
			}
		}
		if n := c.journal.Backlog(); n != 0 {
			t.Errorf("%d entries are left in the journal", n)
		}
	})
}

// Whoever acknowledged what only a digest named is asked by a message of its own
// whether they still are on it: there is no page whose thread it could join.
func TestQuestionAboutWhatADigestNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, alone{mem.New()}, &fake{}, &fake{})
		b.storms(t, 8)
		time.Sleep(10 * time.Second)
		one := b.slack.heard("ana").last(t).Named[0].ID
		if _, _, err := b.Do(t.Context(), one, escalation.Acknowledge{By: ana}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Hour)
		for name, f := range map[string]*fake{"slack": b.slack, "email": b.email} {
			asked := f.of(notifiers.Question)
			if len(asked) != 1 || asked[0].Incident.ID != one || asked[0].Ref != (notifiers.Ref{}) {
				t.Errorf("%s: asked %+v; want once, by itself", name, asked)
			}
		}
	})
}

// An incident whose digest is over reminds by itself: an edit of what is over rings nobody.
func TestReminderAfterTheDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		b.storms(t, 7)
		time.Sleep(10 * time.Second)
		s := b.slack.heard("ana").last(t)
		one, digest := s.Named[0].ID, b.slack.heard("ana").posts[0].Incident.ID
		l, err := b.load(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		// As when it fires again, flapping, after its digest has ended.
		over := escalation.RollCall{Soon: true, States: []escalation.MemberState{{Incident: one, Over: true, By: "ana"}}}
		if _, _, err := b.apply(t.Context(), l.ID, over, nil, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Minute)
		for name, f := range map[string]*fake{"slack": b.slack, "email": b.email} {
			rang := slices.DeleteFunc(f.of(notifiers.Reminder), func(d delivered) bool { return d.Incident.ID != one })
			if len(rang) != 1 || rang[0].Ref != (notifiers.Ref{}) {
				t.Errorf("%s: reminded %+v; want once, by itself", name, rang)
			}
		}
	})
}

// A digest whose record is damaged keeps nobody from being paged.
func TestDamagedDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		b.storms(t, 7)
		time.Sleep(500 * time.Millisecond)
		partition, _ := deskKey("ana")
		damaged := 0
		_ = st.Scan(t.Context(), "m/", func(rec store.Record) bool {
			if st.Damage(store.Key{Partition: partition, ID: rec.Key.ID}) {
				damaged++
			}
			return true
		})
		if damaged != 1 {
			t.Fatalf("%d digests damaged", damaged)
		}
		time.Sleep(90 * time.Second)
		heard := map[string]bool{}
		h := b.slack.heard("ana")
		for _, d := range h.pages {
			heard[d.Incident.ID] = true
		}
		for _, d := range h.digests {
			for _, n := range d.Digest.Named {
				heard[n.ID] = true
			}
		}
		if len(heard) != 7 {
			t.Errorf("ana heard of %d incidents, want all 7", len(heard))
		}
		// What was to be in the digest and got a page of its own is one like any other.
		last := h.pages[len(h.pages)-1].Incident.ID
		if _, _, err := b.Do(t.Context(), last, escalation.Acknowledge{By: escalation.Actor{Handle: "ben"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if !slices.ContainsFunc(b.slack.all(), func(d delivered) bool {
			return d.Incident.ID == last && d.Edit && d.Kind == notifiers.Page && d.Incident.State == notifiers.Acknowledged
		}) {
			t.Error("her page does not show that it is acknowledged")
		}
	})
}

// The auditor looks after digests too: without a wake-up what they name is told to nobody.
func TestAuditorWakesDigests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		b.storms(t, 7)
		time.Sleep(500 * time.Millisecond)
		var lost store.Record
		_ = st.Scan(t.Context(), "m/", func(rec store.Record) bool { lost = rec; return true })
		overwrite(t, st, lost.Key.Partition, lost.Key.ID, lost.Data, time.Time{})
		time.Sleep(20 * time.Second)
		if got := len(b.slack.heard("ana").posts); got != 0 {
			t.Fatalf("%d digests without a wake-up", got)
		}
		if err := b.audit(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := len(b.slack.heard("ana").posts); got != 1 {
			t.Errorf("%d digests after the audit, want 1", got)
		}
	})
}

// A kind of record that this callchain does not know is left to the newer one that
// wrote it. What is only kept for a time goes when that is over.
func TestUnknownKindsAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		start(t, st, &fake{}, &fake{})
		left, gone := []string{"x/of-tomorrow", "xy/z"}, []string{"f/2025-01-01/aa", "q/i/00-bad", "d/aa", "a/00-aaaaaaaaaa", "k/aa"}
		for _, key := range slices.Concat(left, gone) {
			overwrite(t, st, 7, key, []byte("text"), time.Now().Add(time.Second))
		}
		time.Sleep(time.Hour)
		recs, err := st.Load(t.Context(), 7, slices.Concat(left, gone)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			if want := slices.Contains(left, rec.Key.ID); (rec.Version != 0) != want || want && string(rec.Data) != "text" {
				t.Errorf("%s is %q, version %d; want it kept: %v", rec.Key.ID, rec.Data, rec.Version, want)
			}
		}
	})
}

// A desk goes when nobody has paged the person for long.
func TestDesksAreNotKeptForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := alone{mem.New()}
		b := start(t, st, &fake{}, &fake{})
		began := b.storms(t, 1)
		desks := func() (n int) {
			_ = st.Scan(t.Context(), "k/", func(store.Record) bool { n++; return true })
			return n
		}
		time.Sleep(time.Second)
		if desks() != 1 {
			t.Fatalf("%d desks", desks())
		}
		if err := b.Webhook(t.Context(), "main", numbered(0, "parsoid", false, began)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * 24 * time.Hour)
		if desks() != 0 {
			t.Errorf("%d desks are left", desks())
		}
		b.storms(t, 8)
		time.Sleep(10 * time.Second)
		if h := b.slack.heard("ana"); len(h.pages) != 7 || h.last(t).Total != 2 {
			t.Errorf("%d pages, a digest of %d; want the 6 more and 2 named", len(h.pages), h.last(t).Total)
		}
	})
}

// Nobody can do anything to what is not an incident of theirs: a digest, a notice
// and a report are not there for people who act.
func TestOnlyIncidentsAreActedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		b.storms(t, 7)
		time.Sleep(10 * time.Second)
		digest := b.slack.heard("ana").posts[0].Incident.ID
		for _, ev := range []escalation.Event{escalation.Acknowledge{By: ana}, escalation.Escalate{By: ana}, escalation.Remark{By: ana, Text: "looking"}} {
			if inc, answer, err := b.Do(t.Context(), digest, ev); !errors.Is(err, ErrNotFound) {
				t.Errorf("%T to a digest: %+v %v %v; want that there is no such incident", ev, inc.Summary(), answer, err)
			}
		}
	})
}

// What asks a person is heard in their conversation, and told of as theirs when it
// cannot be delivered.
func TestMessagesToPeopleAreTheirs(t *testing.T) {
	for _, kind := range []escalation.DeliveryKind{escalation.PageDelivery, escalation.ReminderDelivery, escalation.DigestDelivery, escalation.QuestionDelivery} {
		if got := conversation(escalation.Delivery{Kind: kind, Channel: "slack", To: "ana", Address: "U01ANA"}); got != "slack person ana" {
			t.Errorf("a %s is heard in %q", kind, got)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		slack, email := &fake{}, &fake{}
		b := run(t, st, snapshot(t, map[string]Channel{notifiers.Slack: slack, notifiers.Email: email}), slack, email, escalation.Schema)
		for _, kind := range []escalation.DeliveryKind{escalation.DigestDelivery, escalation.QuestionDelivery} {
			b.tellCure(escalation.Delivery{Kind: kind, Channel: "slack", To: "ana" + string(kind), Address: "U01ANA"}, "user_not_found")
		}
		time.Sleep(time.Minute)
		titles := strings.Join(email.notices(), "\n")
		for _, who := range []string{"anadigest", "anaquestion"} {
			if !strings.Contains(titles, "Slack takes no messages for "+who) {
				t.Errorf("told %q; want of %s", titles, who)
			}
		}
	})
}
