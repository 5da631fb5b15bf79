package escalation

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
	"callchain/routing/report"
)

// epoch is where every story begins: a Friday morning.
var epoch = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

// compile makes the environment of a story from its files.
func compile(t testing.TB, ar *txtar.Archive) Env {
	t.Helper()
	dir := t.TempDir()
	for _, f := range ar.Files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, ps := config.Load(filepath.Join(dir, "callchain.yml"), config.Options{NoSecrets: true})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	files, ps := config.LoadCatalog(cfg.CatalogFiles)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	cat, ps := catalog.New(files)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	router, ps := routing.New(cfg, cat)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	env := Env{Router: router, Settings: &cfg.Escalation, Channels: map[string]bool{}}
	if cfg.Notifiers.Slack != nil {
		env.Channels["slack"] = true
		env.Channel = cfg.Notifiers.Slack.Channel.V
	}
	if cfg.Notifiers.Email != nil {
		env.Channels["email"] = true
	}
	return env
}

// world is one source and its channels, driven step by step: everything that
// the engine does, without store, clock and network.
type world struct {
	env     Env
	now     time.Time
	groups  map[string]Group
	incs    map[string]Incident
	ts      int
	faults  []fault // what the channels answer, first match wins
	log     func(format string, args ...any)
	days    map[StaleRule]string // who may ask today
	facts   []report.Event
	pages   []pageSent
	hold    bool // answers do not come: attempts stay in flight
	witness bool // Alertmanager is asked before somebody is woken
	am      alertmanager
}

// alertmanager is what the source's Alertmanagers know.
type alertmanager struct {
	alerts   map[uint64]Sight
	silence  Silence
	quiet    bool // silenced
	inhibits bool
	since    time.Time // the youngest one's start
	away     bool      // one of them
	watch    Watch
}

// ask is one round of asking them.
func (w *world) ask() {
	l := Look{At: At(w.now), Heard: true, Whole: !w.am.away, Up: w.now.Sub(w.am.since), Alerts: map[uint64]Sight{}, Silences: map[string]Silence{"s": w.am.silence}}
	for fp, sight := range w.am.alerts {
		sight.Active, sight.Inhibited = !w.am.quiet && !w.am.inhibits, w.am.inhibits
		if w.am.quiet {
			sight.Silenced = []string{"s"}
		}
		l.Alerts[fp] = sight
	}
	firing, noted := map[uint64]bool{}, map[uint64]bool{}
	for _, inc := range w.incs {
		for _, e := range inc.Episodes {
			if inc.Open() {
				firing[e.Fingerprint] = true
			} else {
				noted[e.Fingerprint] = true
			}
		}
	}
	for _, g := range w.groups {
		for _, e := range g.Recorded {
			noted[e.Fingerprint] = true
		}
	}
	w.now = w.now.Add(time.Millisecond) // it takes time
	next, absent, lost := w.am.watch.Round(l, firing, noted)
	w.am.watch = roundTrip(next)
	if len(lost) > 0 {
		w.log("Alertmanager has %d that never came here", len(lost))
	}
	for _, id := range sortedIDs(w.incs) {
		inc := w.incs[id]
		if ev := inc.Vanish(absent); ev != nil {
			w.do(id, ev)
			inc = w.incs[id]
		}
		if ev := inc.Heed(l, w.now); ev != nil {
			w.do(id, ev)
		}
	}
}

type fault struct {
	channel, to string
	verdict     Verdict
	err         string
}

type pageSent struct {
	incident, handle, channel string
	at                        time.Time
	place                     Place
	state                     State
}

func newWorld(env Env) *world {
	return &world{env: env, now: epoch, groups: map[string]Group{}, incs: map[string]Incident{}, days: map[StaleRule]string{}, am: alertmanager{alerts: map[uint64]Sight{}, watch: Watch{Receivers: map[string]Instant{"callchain": 1}}}, log: func(string, ...any) {}}
}

// webhook delivers one webhook of the source "main".
func (w *world) webhook(wh routing.Webhook) {
	gid, _ := GroupID("main", wh.GroupLabels)
	quiet := map[StaleRule]bool{}
again:
	g := w.groups[gid]
	var incs []Incident
	for _, id := range g.Incidents {
		if inc, ok := w.incs[id]; ok {
			incs = append(incs, inc)
		}
	}
	for _, a := range wh.Alerts {
		if delete(w.am.alerts, a.Fingerprint); a.Firing {
			w.am.alerts[a.Fingerprint] = Sight{Receivers: []string{"callchain"}}
		}
	}
	out := Ingest(g, incs, "main", wh, w.now, w.env, quiet)
	for _, rule := range out.StaleRules {
		day := w.now.Format(time.DateOnly) + " " + gid
		if have := w.days[rule]; strings.HasPrefix(have, day[:10]) && have != day {
			quiet[rule] = true
			goto again
		}
		w.days[rule] = day
	}
	w.groups[gid] = roundTrip(out.Group)
	for _, f := range out.Facts {
		if f.Recorded != "" {
			w.log("recorded %s of %s: %s", f.Alerts[0].Name, f.Subject, f.Recorded)
		}
		w.facts = append(w.facts, f)
	}
	for _, inc := range out.Incidents {
		w.commit(inc)
	}
}

// roundTrip is what a store does to a record.
func roundTrip[T any](v T) T {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var out T
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}

// do takes an incident through an event and sends what is due.
func (w *world) do(id string, ev Event) Answer {
	next, answer := Step(w.incs[id], ev, w.now, w.env)
	w.commit(next)
	return answer
}

// commit stores an incident, says what changed, and delivers what is due.
func (w *world) commit(inc Incident) {
	old := w.incs[inc.ID]
	before := &old
	if old.ID == "" {
		before = nil
	}
	w.facts = append(w.facts, Facts(before, &inc, w.now, w.env)...)
	inc, taken := Take(inc, w.now, func(_ Delivery, now Instant) Instant { return now })
	w.incs[inc.ID] = roundTrip(inc)
	for _, e := range inc.Timeline {
		if e.Seq > old.LastSeq {
			w.log("%s", e.Text)
		}
	}
	if old.State != inc.State {
		w.log("%s is %s", inc.Subject, inc.State)
	}
	if w.hold {
		return
	}
	for _, d := range taken {
		w.deliver(inc.ID, d)
	}
}

func (w *world) deliver(id string, d Delivery) {
	inc := w.incs[id]
	if Moot(&inc, d.ID, d.Attempt) {
		w.incs[id] = Drop(inc, d.ID, d.Attempt)
		return
	}
	r := Result{Delivery: d.ID, Attempt: d.Attempt, Verdict: VerdictSent}
	for _, f := range w.faults {
		if f.channel == d.Channel && (f.to == d.To || f.to == "*") {
			r.Verdict, r.Error = f.verdict, f.err
			break
		}
	}
	what := fmt.Sprintf("%s %s to %s", d.Channel, d.Kind, d.To)
	switch {
	case d.Kind == ThreadDelivery:
		what = ""
	case d.Ref != (Ref{}):
		what = fmt.Sprintf("%s edits the %s of %s: %s", d.Channel, d.Kind, d.To, inc.State)
	case d.Kind == BoardDelivery:
		what = fmt.Sprintf("%s board %s", d.Channel, d.Address)
	case d.Kind == ToldDelivery:
		what = fmt.Sprintf("%s tells %s: %s", d.Channel, d.To, inc.State)
	}
	if r.Verdict == VerdictSent {
		w.ts++
		r.Ref = Ref{Channel: "C-" + d.To, TS: fmt.Sprint(w.ts)}
		if d.Kind == PageDelivery && d.Ref == (Ref{}) {
			w.pages = append(w.pages, pageSent{id, d.To, d.Channel, w.now, Place{d.Run, d.Round, d.Position}, inc.State})
		}
	} else if what != "" {
		what += " fails: " + r.Error
	}
	if what != "" {
		w.log("> %s", what)
	}
	w.do(id, r)
}

// wait lets time pass, doing everything when it is due.
func (w *world) wait(d time.Duration) {
	end := w.now.Add(d)
	for range 100_000 {
		var first Instant
		var ids []string
		for id, inc := range w.incs {
			if wake := inc.Wake(); wake != 0 && (first == 0 || wake <= first) {
				if wake != first {
					ids = nil
				}
				first, ids = wake, append(ids, id)
			}
		}
		var gids []string
		for id, g := range w.groups {
			if g.Wake() <= first || first == 0 {
				gids = append(gids, id)
			}
		}
		if len(gids) > 0 {
			slices.Sort(gids)
			if at := At(end); first == 0 || first > at {
				for _, gid := range gids {
					g := w.groups[gid]
					if g.Wake() <= at {
						w.now = later(w.now, g.Wake().Time())
						w.tickGroup(gid)
					}
				}
			}
		}
		if first == 0 || first.Time().After(end) {
			w.now = end
			return
		}
		w.now = later(w.now, first.Time())
		slices.Sort(ids)
		for _, id := range ids {
			if inc := w.incs[id]; inc.Expired(w.now) {
				delete(w.incs, id)
				continue
			}
			if inc := w.incs[id]; w.witness && inc.Rings(w.now) {
				w.ask()
			}
			w.do(id, Tick{})
		}
	}
	panic("time does not pass: something is due again and again")
}

func (w *world) tickGroup(gid string) {
	g := w.groups[gid]
	var incs []Incident
	for _, id := range g.Incidents {
		if inc, ok := w.incs[id]; ok {
			incs = append(incs, inc)
		}
	}
	next, wh, gone := TickGroup(g, incs, w.now, w.env)
	if gone {
		delete(w.groups, gid)
		return
	}
	if len(wh.Alerts) > 0 {
		w.groups[gid] = next
		w.webhook(wh)
		return
	}
	next.TouchedAt = At(w.now)
	w.groups[gid] = next
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// alert makes an alert of a webhook from "name label=value ...".
func alert(firing bool, words []string, starts, ends time.Time) routing.WebhookAlert {
	a := routing.WebhookAlert{Firing: firing, Labels: map[string]string{"alertname": words[0]}, StartsAt: starts}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		a.Labels[k] = v
	}
	if !firing {
		a.EndsAt = ends
	}
	h := fnv.New64a()
	for _, k := range slices.Sorted(maps.Keys(a.Labels)) {
		fmt.Fprintf(h, "%s\xff%s\xff", k, a.Labels[k])
	}
	a.Fingerprint = h.Sum64()
	return a
}
