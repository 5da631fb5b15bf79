package escalation

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// storm plays a desk, its digests and their messages, with crashes: an answer may
// be lost and asked for again, a message may be refused, lost, or late.
type storm struct {
	t       *rapid.T
	tb      testing.TB
	env     Env
	limit   int
	now     time.Time
	desk    Desk
	digests map[string]*Incident
	order   []string
	pages   map[string]int  // of each incident
	over    map[string]bool // incidents
	sent    []Passed        // pages that were let through, when they were
	ids     int
}

func (s *storm) ask(a Ask) (in bool, digest string) {
	s.ids++
	admit := func(k Desk, d *Incident, id string) (Desk, *Incident, bool) {
		desk, digest, in := k.Admit(d, []Ask{a}, s.now, s.limit, id)
		if in[0] != "" && (digest == nil || in[0] != digest.ID) {
			s.t.Fatalf("it is named in %s, which is not there", in[0])
		}
		return desk, digest, in[0] != ""
	}
	desk, d, in := admit(s.desk, s.digests[s.desk.Digest], fmt.Sprintf("00-%d", s.ids))
	before := encode(s.tb, []any{s.desk, s.digests[s.desk.Digest]})
	again, d2, in2 := admit(desk, d, "00-other")
	if in != in2 || encode(s.tb, []any{desk, d}) != encode(s.tb, []any{again, d2}) {
		s.t.Fatalf("asked twice at one instant: %v and %v", in, in2)
	}
	if encode(s.tb, []any{s.desk, s.digests[s.desk.Digest]}) != before {
		s.t.Fatal("a question changed its argument")
	}
	if m := s.digests[s.desk.Digest].member(a.Incident); m != nil && m.Page == a.Page && !in {
		s.t.Fatalf("a page of %s that is named is let through when it asks again", a.Incident)
	}
	s.desk = roundTrip(desk)
	if !in {
		s.sent = append(s.sent, Passed{a.Incident, At(s.now)})
		return false, ""
	}
	if s.digests[d.ID] == nil {
		s.order = append(s.order, d.ID)
	}
	kept := roundTrip(*d)
	s.digests[d.ID] = &kept
	return true, d.ID
}

// look is a roll call of a digest.
func (s *storm) look(id string) {
	d := s.digests[id]
	var roll RollCall
	d.Unlooked(func(inc string) bool {
		roll.States = append(roll.States, MemberState{Incident: inc, Over: s.over[inc], Gist: inc})
		return !s.over[inc]
	})
	s.step(id, roll)
}

func (s *storm) step(id string, ev Event) {
	d := s.digests[id]
	next, _ := Step(*d, ev, s.now, s.env)
	twice, _ := Step(next, ev, s.now, s.env)
	if encode(s.tb, next) != encode(s.tb, twice) {
		s.t.Fatalf("%T twice is not once:\n%s\n%s", ev, encode(s.tb, next), encode(s.tb, twice))
	}
	if len(next.Many.Shown) > MaxNamed || len(next.Many.Gens) > keepGens {
		s.t.Fatalf("%d named, %d lists", len(next.Many.Shown), len(next.Many.Gens))
	}
	if next.State == Triggered && next.Wake() == 0 {
		s.t.Fatal("an open digest is forgotten")
	}
	next = roundTrip(next)
	s.digests[id] = &next
}

// Whatever comes, is lost and repeated: no more incidents page within a minute than
// may; each is let through or named, once, in a digest; what is open of it is named
// before what is over, up to fifty; and a list acknowledges what was shown with it.
func TestDeskProperties(t *testing.T) {
	env := commonEnv(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := &storm{
			t: rt, tb: t, env: env, limit: rapid.IntRange(1, 7).Draw(rt, "limit"), now: epoch, desk: Desk{Handle: "ana"},
			digests: map[string]*Incident{}, pages: map[string]int{}, over: map[string]bool{},
		}
		var asked []Ask
		for range rapid.IntRange(1, 100).Draw(rt, "steps") {
			s.now = s.now.Add(time.Duration(rapid.Int64Range(0, 20_000).Draw(rt, "pass")) * time.Millisecond)
			inc := fmt.Sprintf("01-%d", rapid.IntRange(0, 80).Draw(rt, "incident"))
			switch rapid.IntRange(0, 6).Draw(rt, "what") {
			case 0, 1, 2: // an incident pages, over one channel and perhaps the other
				if s.pages[inc] == 0 || s.over[inc] {
					s.pages[inc]++
					s.over[inc] = false
				}
				a := Ask{Incident: inc, Page: s.pages[inc], Channel: "slack", Address: "U01ANA", Urgent: rapid.IntRange(0, 9).Draw(rt, "urgent") == 0}
				in, id := s.ask(a)
				asked = append(asked, a)
				if rapid.Bool().Draw(rt, "mail too") {
					mail := a
					mail.Channel, mail.Address = "email", "ana@example.org"
					if also, other := s.ask(mail); also != in || other != id {
						rt.Fatalf("two channels of one page: %v %s and %v %s", in, id, also, other)
					}
				}
			case 3: // an answer was lost
				if len(asked) > 0 {
					a := asked[len(asked)-1]
					s.ask(a)
				}
			case 4:
				s.over[inc] = true
			default:
				for _, id := range s.order {
					d := s.digests[id]
					if d.Many.LookAt.due(At(s.now)) {
						s.look(id)
					}
					taken, sends := Take(*s.digests[id], s.now, func(_ Delivery, n Instant) Instant { return n })
					s.digests[id] = &taken
					for _, del := range sends {
						verdict := rapid.SampledFrom([]Verdict{VerdictSent, VerdictSent, VerdictSent, VerdictRetry, VerdictAmbiguous, VerdictRefused, VerdictDown, VerdictWait}).Draw(rt, "verdict")
						if rapid.IntRange(0, 9).Draw(rt, "crash") > 0 {
							s.step(id, Result{Delivery: del.ID, Attempt: del.Attempt, Verdict: verdict, Ref: Ref{"D1", del.ID}, After: int64(rapid.IntRange(0, 3000).Draw(rt, "after"))})
						}
					}
				}
			}
			for i := range s.sent {
				incidents := map[string]bool{}
				for _, p := range s.sent[i:] {
					if p.At < s.sent[i].At.plus(time.Minute) {
						incidents[p.Incident] = true
					}
				}
				if len(incidents) > s.limit {
					rt.Fatalf("%d incidents paged within a minute; want at most %d", len(incidents), s.limit)
				}
			}
		}
		for _, a := range asked {
			if slices.ContainsFunc(s.sent, func(p Passed) bool { return p.Incident == a.Incident }) {
				continue
			}
			if !slices.ContainsFunc(s.order, func(id string) bool { return s.digests[id].member(a.Incident) != nil }) {
				rt.Fatalf("%s was neither let through nor named", a.Incident)
			}
		}
		for _, id := range s.order {
			d := s.digests[id]
			if d.State != Triggered {
				continue
			}
			s.now = s.now.Add(2 * time.Minute)
			s.look(id)
			many := s.digests[id].Many
			open := 0
			for _, m := range many.Members {
				// One that pages by itself again has its own message.
				if !s.over[m.Incident] && m.Page == s.pages[m.Incident] && m.Over {
					rt.Fatalf("%s is open and taken for over", m.Incident)
				}
				if !m.Over {
					open++
				}
			}
			ids, known := many.AskedFor(s.digests[id].Rev)
			if s.digests[id].State == Triggered && (!known || len(ids) != min(open, MaxNamed)) {
				rt.Fatalf("%d open, the list asks for %d (known: %v)", open, len(ids), known)
			}
			named := many.Named()
			for _, inc := range ids {
				if s.over[inc] || !slices.ContainsFunc(named, func(m Member) bool { return m.Incident == inc }) {
					rt.Fatalf("the list asks for %s, which is over (%v) or not named", inc, s.over[inc])
				}
			}
			if len(named) != min(len(many.Members), MaxNamed) {
				rt.Fatalf("%d of %d are named", len(named), len(many.Members))
			}
			for seq := 1; seq < len(many.Members); seq++ {
				if slices.ContainsFunc(many.Members[:seq], func(m Member) bool { return m.Incident == many.Members[seq].Incident }) {
					rt.Fatalf("%s is in it twice", many.Members[seq].Incident)
				}
			}
		}
	})
}

// What a digest's token says is what was put into it, and nothing else passes for one.
func TestDigestToken(t *testing.T) {
	id, rev, err := ParseDigestToken(DigestToken("d2-mfoh47odak", 7))
	if id != "d2-mfoh47odak" || rev != 7 || err != nil {
		t.Errorf("read back: %s %d %v", id, rev, err)
	}
	for _, bad := range []string{"", "d1", "d1||1", "d1|x y|1", "d1|x|01", "d1|x|-1", "d1|x|1|", "v1|x|1", ButtonToken("x", Place{1, 1, 1}), "d1|x|18446744073709551616"} {
		if id, rev, err := ParseDigestToken(bad); err == nil {
			t.Errorf("%q passes for %s %d", bad, id, rev)
		}
	}
	if _, _, err := ParseButtonToken(DigestToken("x", 1)); err == nil {
		t.Error("a digest's token passes for an incident's")
	}
}

// A message of a digest that was taken and not begun, because the process stops, is
// due at once.
func TestUnsentDigest(t *testing.T) {
	env := commonEnv(t)
	desk := Desk{Handle: "ana"}
	asks := []Ask{{Incident: "01-a", Page: 1, Channel: "slack", Address: "U01ANA"}}
	_, digest, _ := desk.Admit(nil, asks, epoch, 0, "00-digest")
	next, _ := Step(*digest, RollCall{Soon: true, States: []MemberState{{Incident: "01-a", Gist: "a"}}}, epoch, env)
	next, taken := Take(next, epoch, func(_ Delivery, now Instant) Instant { return now })
	if len(taken) != 1 {
		t.Fatalf("taken %+v", taken)
	}
	ev := Unsent{Delivery: taken[0].ID, Attempt: taken[0].Attempt}
	next, answer := Step(next, ev, epoch, env)
	if d := next.Deliveries[0]; answer.Kind != Done || d.Status != Pending || !d.At.due(At(epoch)) {
		t.Errorf("%v: %+v; want it due at once", answer, d)
	}
	if again, answer := Step(next, ev, epoch, env); answer.Kind != Unchanged || encode(t, again) != encode(t, next) {
		t.Errorf("given back twice: %v", answer)
	}
}

// A link in a mail is good for as long as what it acknowledges is what is shown,
// however often a time or a name in the list changes.
func TestLinksOfADigestLast(t *testing.T) {
	env := commonEnv(t)
	asks := []Ask{{Incident: "01-a", Page: 1, Channel: "email", Address: "ana@example.org"}, {Incident: "01-b", Page: 1, Channel: "email", Address: "ana@example.org"}}
	_, d, _ := Desk{Handle: "ana"}.Admit(nil, asks, epoch, 0, "00-digest")
	digest, now, mailed := *d, epoch, uint64(0)
	for i := range 3 * keepGens {
		roll := RollCall{Soon: true, States: []MemberState{{Incident: "01-a", Gist: fmt.Sprint(i)}, {Incident: "01-b", Gist: "b"}}}
		digest, _ = Step(digest, roll, now, env)
		if i == 0 {
			mailed = digest.Many.Gens[0].Rev
		}
		now = now.Add(10 * time.Second)
	}
	if got, ok := digest.Many.AskedFor(mailed); !ok || len(got) != 2 {
		t.Errorf("the first mail's link is for %v, %v; want both", got, ok)
	}
	digest, _ = Step(digest, RollCall{Soon: true, States: []MemberState{{Incident: "01-a", Over: true}}}, now, env)
	for rev, want := range map[uint64]int{mailed - 1: 0, mailed: 2, digest.Rev - 1: 2, digest.Rev: 1} {
		if got, ok := digest.Many.AskedFor(rev); len(got) != want || ok != (want > 0) {
			t.Errorf("revision %d asked for %v, %v; want %d", rev, got, ok, want)
		}
	}
}
