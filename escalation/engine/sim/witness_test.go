package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/routing"
)

// How often daemons ask, how long an Alertmanager does not know what fires after a
// start, and how long it may take until a silence is heeded or a loss is found.
const (
	askEvery  = 15 * time.Second
	resendsIn = 20 * time.Second
	heeded    = 40 * time.Second
	found     = 150 * time.Second
)

// alertmanager is one peer: it forgets everything when it is started.
type alertmanager struct {
	life  int
	since time.Time // it was started
}

// muting is a silence of some alerts, or an inhibition.
type muting struct {
	span
	id    string // "": an inhibition
	group *group
	only  uint64 // one alert of it; 0: all
}

// knows tells whether some or one peer knows that an alert fires. w.mu is held.
func (w *world) knows(am *alertmanager, a *alert) bool {
	return a.firing && (!w.witness || w.now().Sub(am.since) >= resendsIn || am.life == 0)
}

// mutedBy is what keeps an alert quiet now. w.mu is held.
func (w *world) mutedBy(a *alert, from time.Time) *muting {
	for i := range w.mutings {
		m := &w.mutings[i]
		if slices.Contains(m.group.alerts, a) && (m.only == 0 || m.only == a.fp) && !from.Before(m.from) && w.now().Before(m.to) {
			return m
		}
	}
	return nil
}

var _ engine.Witness = (*sight)(nil)

// sight is a process's way to the Alertmanagers' API.
type sight struct{ p *process }

var errNoAnswer = errors.New("no answer from Alertmanager")

func (s *sight) ask(ctx context.Context, what string) error {
	p, w := s.p, s.p.w
	r := w.dice(what, p.id, w.ns())
	if err := p.wait(ctx, between(r, 2*time.Millisecond, 80*time.Millisecond)); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, away := in(w.trouble["alertmanager"], w.now()); away {
		return errNoAnswer
	}
	return nil
}

// Look implements engine.Witness.
func (s *sight) Look(ctx context.Context) (escalation.Look, error) {
	if err := s.ask(ctx, "look"); err != nil {
		return escalation.Look{}, err
	}
	w := s.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	l := escalation.Look{Heard: true, Whole: true, Up: 100 * time.Hour, Alerts: map[uint64]escalation.Sight{}, Silences: map[string]escalation.Silence{}}
	for _, am := range w.peers {
		l.Up = min(l.Up, w.now().Sub(am.since))
		for _, g := range w.groups {
			for _, a := range g.alerts {
				if !w.knows(am, a) {
					continue
				}
				sight := escalation.Sight{Active: true, Receivers: []string{"callchain"}}
				if m := w.mutedBy(a, w.now()); m != nil {
					sight.Active, sight.Inhibited = false, m.id == ""
					if m.id != "" {
						sight.Silenced = []string{m.id}
						l.Silences[m.id] = escalation.Silence{By: "femi", Comment: "we know", Ends: escalation.At(m.to)}
					}
				}
				l.Alerts[a.fp] = sight
			}
		}
	}
	w.count.looks++
	return w.mutateLook(l), nil
}

// Groups implements engine.Witness.
func (s *sight) Groups(ctx context.Context, _ []string) ([]routing.Webhook, error) {
	if err := s.ask(ctx, "groups"); err != nil {
		return nil, err
	}
	w := s.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mutant == fetchesNothing {
		return nil, nil
	}
	var all []routing.Webhook
	for _, g := range w.groups {
		wh := routing.Webhook{GroupLabels: g.labels}
		for _, a := range g.alerts {
			if slices.ContainsFunc(w.peers, func(am *alertmanager) bool { return w.knows(am, a) }) && w.mutedBy(a, w.now()) == nil {
				wh.Alerts = append(wh.Alerts, routing.WebhookAlert{Firing: true, Labels: a.labels, Fingerprint: a.fp, StartsAt: a.startsAt,
					Annotations: map[string]string{"summary": "it is slow"}})
			}
		}
		if len(wh.Alerts) > 0 {
			all = append(all, wh)
		}
	}
	return all, nil
}

// gossip is what happens to the Alertmanagers.
func (w *world) gossip() {
	r := w.dice("gossip")
	end := w.began.Add(w.troubled)
	for w.sleep(between(r, 5*time.Second, 60*time.Second)) && w.now().Before(end) {
		w.mu.Lock()
		switch what := r.IntN(10); {
		case what < 5:
			m := muting{span: span{w.now(), w.now().Add(between(r, 20*time.Second, 4*time.Minute))}, group: w.groups[r.IntN(len(w.groups))]}
			if m.to.After(end) {
				m.to = end
			}
			if r.IntN(4) != 0 {
				m.id = fmt.Sprint("silence", len(w.mutings))
			}
			if r.IntN(3) == 0 {
				m.only = m.group.alerts[r.IntN(len(m.group.alerts))].fp
			}
			w.mutings = append(w.mutings, m)
			for _, a := range m.group.alerts {
				delete(w.judge.lost, a.fp)
			}
			w.count.silences++
			w.event("%q keeps %s quiet for %v (only %d)", m.id, m.group.labels["alertname"], m.to.Sub(m.from), m.only)
		case what < 7 && w.now().Before(end.Add(-2*time.Minute)):
			// Peers are restarted one after the other, or all at once.
			for _, am := range w.peers[r.IntN(len(w.peers)):] {
				am.life, am.since = am.life+1, w.now()
				w.disturb("restart", w.now(), w.now().Add(resendsIn))
				w.count.restarts++
			}
			w.event("Alertmanager is started anew")
		case what < 9:
			out := span{w.now(), w.now().Add(between(r, 5*time.Second, 2*time.Minute))}
			if out.to.After(end) {
				out.to = end
			}
			w.disturb("alertmanager", out.from, out.to)
			w.event("nobody reaches Alertmanager's API for %v", out.to.Sub(out.from))
		}
		w.mu.Unlock()
	}
}

// witnessed checks what follows from what the Alertmanagers say. w.mu is held.
func (w *world) witnessed(a, b *escalation.Incident, stepped bool) {
	if !w.witness || a.ID == "" {
		return
	}
	now := w.now()
	if stepped && b.State == escalation.Triggered && a.State == escalation.Triggered && b.Run == a.Run && w.judge.escalating[b.ID] == 0 &&
		w.quiet(now.Add(-heeded), now, "", "store", "alertmanager") {
		quiet := 0
		for _, ep := range a.Episodes {
			al := w.truth[ep.Fingerprint]
			if a.Urgency.Pages() && !ep.Urgency.Pages() {
				continue
			}
			if al == nil || !al.firing || w.mutedBy(al, now.Add(-heeded)) == nil || !slices.ContainsFunc(w.peers, func(am *alertmanager) bool { return w.knows(am, al) }) {
				quiet = -1
				break
			}
			quiet++
		}
		if quiet > 0 {
			w.violate("I33", "%s goes on to step %v although Alertmanager keeps all of it quiet", b.ID, b.Place())
		}
	}
	if a.State != escalation.Resolved && b.State == escalation.Resolved && b.ClosedBy == nil && len(b.Timeline) > 0 &&
		strings.Contains(b.Timeline[len(b.Timeline)-1].Text, "no longer knows it") {
		w.count.lostResolves++
		for _, ep := range a.Episodes {
			if al := w.truth[ep.Fingerprint]; al != nil && al.firing && al.pages() && now.Sub(al.startsAt) > heeded {
				w.violate("I34", "%s is resolved because Alertmanager does not know it, and alert %d fires", b.ID, al.fp)
			}
		}
	}
}

// undo is one transaction that a failover may forget.
type undo struct {
	partition uint8
	before    []store.Record
}

// failover is the loss of the last commits: the replica that takes over never had
// them. Versions go on rising, which no process can tell from another's commit.
// w.mu is held.
func (w *world) failover(r *rand.Rand) {
	var lost []store.Record
	if r.IntN(5) == 0 {
		w.count.wipes++
		w.event("the store forgets everything")
		_ = w.store.Scan(context.Background(), "", func(rec store.Record) bool {
			rec.Data = nil
			lost = append(lost, rec)
			return true
		})
	} else {
		n := min(1+r.IntN(12), len(w.undos))
		w.count.failovers++
		w.count.forgotten += n
		w.event("a failover forgets %d commits", n)
		for i := range n {
			lost = append(lost, w.undos[len(w.undos)-1-i].before...)
		}
	}
	w.undos, w.forgotAt = nil, w.now()
	var order []string
	for _, rec := range lost {
		w.revert(rec)
		if kind, id, _ := strings.Cut(rec.Key.ID, "/"); (kind == "i" || kind == "c") && !slices.Contains(order, id) {
			order = append(order, id)
		}
	}
	for _, id := range order {
		w.forgot(id)
	}
	w.oweFirings()
}

// rot overwrites the record of an open incident. w.mu is held.
func (w *world) rot(r *rand.Rand) {
	var open []string
	for _, id := range w.order {
		if v := w.histories[id].last(); v.inc.Open() && v.key == "i/"+id {
			open = append(open, id)
		}
	}
	if len(open) == 0 {
		return
	}
	id := open[r.IntN(len(open))]
	partition, _ := escalation.Partition(id)
	w.count.rotten++
	w.event("somebody overwrites %s", id)
	w.revert(store.Record{Key: store.Key{Partition: partition, ID: "i/" + id}, Data: []byte(`{"st": 7, "id": [`), Wake: w.now().Add(between(r, time.Millisecond, time.Minute))})
	w.forgot(id)
}

// forgot takes note that an incident is what it was before, or not there. w.mu is held.
func (w *world) forgot(id string) {
	h, j := w.histories[id], &w.judge
	if h == nil {
		return
	}
	prev := h.last()
	for i := range prev.inc.Deliveries {
		delete(j.leases, prev.inc.Deliveries[i].ID)
	}
	for _, key := range j.keysOf(id) {
		delete(j.pages, key)
	}
	delete(j.steps, id)
	delete(j.hopeless, id)
	w.lapses[id] = w.now()
	now := version{at: w.now(), by: prev.by, key: prev.key}
	partition, _ := escalation.Partition(id)
	recs, err := w.store.Load(context.Background(), partition, "i/"+id, "c/"+id)
	for _, rec := range recs {
		var inc escalation.Incident
		if err == nil && rec.Data != nil && record.Decode(rec.Data, &inc) == nil {
			now.n, now.key, now.inc = rec.Version, rec.Key.ID, inc
		}
	}
	h.versions = append(h.versions, now)
	if now.inc.State != escalation.Triggered {
		return
	}
	for i := range now.inc.Deliveries {
		if d := &now.inc.Deliveries[i]; d.Kind == escalation.PageDelivery && d.Reached == 0 && (d.Status == escalation.Pending || d.Status == escalation.InFlight) {
			w.owePage(&now.inc, d, w.now(), nil)
		}
	}
	if at := now.inc.NextStepAt(); at != 0 {
		since := at.Time()
		if since.Before(w.now()) {
			since = w.now()
		}
		j.steps[id] = &owed{invariant: "I4", what: "the next step of " + id, since: since, within: takeover}
	}
}

// oweFirings notes that what fires and is in no incident any more comes back.
// w.mu is held.
func (w *world) oweFirings() {
	in := map[uint64]bool{}
	for _, id := range w.order {
		for _, ep := range w.histories[id].last().inc.Episodes {
			in[ep.Fingerprint] = true
		}
	}
	for _, g := range w.groups {
		for _, a := range g.alerts {
			if a.firing && a.pages() && !in[a.fp] && w.judge.lost[a.fp] == nil && w.judge.taken[a.fp] {
				w.judge.lost[a.fp] = &owed{invariant: "I8", what: fmt.Sprintf("alert %d, which the store forgot", a.fp), since: w.now(), within: found}
			}
		}
	}
}
