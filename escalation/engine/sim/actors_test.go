package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/routing"
)

// group is what an Alertmanager sends together.
type group struct {
	labels map[string]string
	alerts []*alert
}

// alert is the truth about one alert, as Prometheus knows it. Under w.mu.
type alert struct {
	fp       uint64
	labels   map[string]string
	firing   bool
	startsAt time.Time
	endsAt   time.Time
}

func (a *alert) pages() bool {
	s := a.labels["severity"]
	return (s == "critical" || s == "emergency") && a.labels["service"] != "gone"
}

// newGroups draws what may fire.
func (w *world) newGroups() {
	r := w.dice("groups")
	services := []string{"parsoid", "parsoid", "search", "haproxy", "gone", "nobody-knows", ""}
	severities := []string{"critical", "critical", "critical", "emergency", "warning", "info"}
	for i := range w.scenario.groups {
		g := &group{labels: map[string]string{"alertname": fmt.Sprint("Alert", i)}}
		service := services[r.IntN(len(services))]
		for j := range 1 + r.IntN(3) {
			if r.IntN(4) == 0 {
				service = services[r.IntN(len(services))]
			}
			labels := map[string]string{"alertname": g.labels["alertname"], "instance": fmt.Sprint("host", j), "severity": severities[r.IntN(len(severities))]}
			if service != "" {
				labels["service"] = service
			}
			g.alerts = append(g.alerts, &alert{fp: uint64(i+1)<<8 + uint64(j), labels: labels})
		}
		for _, a := range g.alerts {
			w.truth[a.fp] = a
		}
		w.groups = append(w.groups, g)
	}
}

// fire lets an alert begin and end until the troubled time is over.
func (w *world) fire(a *alert) {
	r := w.dice("prometheus", a.fp)
	end := w.began.Add(w.troubled)
	if !w.sleep(between(r, time.Second, 3*time.Minute)) {
		return
	}
	for w.now().Before(end) {
		w.mu.Lock()
		a.firing, a.startsAt, a.endsAt = true, w.now(), time.Time{}
		w.count.alerts++
		w.event("alert %d fires", a.fp)
		w.mu.Unlock()
		if r.IntN(6) == 0 || !w.sleep(between(r, 20*time.Second, 9*time.Minute)) || w.now().After(end) {
			return // for as long as anybody looks
		}
		w.mu.Lock()
		a.firing, a.endsAt = false, w.now()
		delete(w.judge.lost, a.fp)
		w.event("alert %d is over", a.fp)
		w.mu.Unlock()
		if !w.sleep(between(r, 5*time.Second, 6*time.Minute)) {
			return
		}
	}
}

// How the Alertmanagers are configured.
const (
	groupInterval  = 30 * time.Second
	repeatInterval = 4 * time.Minute
)

// repeats is how often a webhook is sent again that was answered: where there is a
// witness it is so seldom that only that one can find what was lost.
func (w *world) repeats() time.Duration {
	if w.witness {
		return 12 * time.Hour
	}
	return repeatInterval
}

// dispatch is one Alertmanager's care for one group: it flushes every
// groupInterval, sends what is new, repeats what is not, and tries again what
// was not answered with 200, until the next flush.
func (w *world) dispatch(peer int, g *group) {
	r := w.dice("alertmanager", peer, g.labels["alertname"])
	told := map[uint64]bool{}  // firing alerts that were perhaps notified
	heard := map[uint64]bool{} // those for which that was answered with 200
	var last time.Time         // of the last notification that was answered 200
	var lastFiring int
	life := 0
	if !w.sleep(between(r, time.Second, 10*time.Second) + time.Duration(peer)*5*time.Second) {
		return
	}
	for {
		flush := w.now()
		var wh routing.Webhook
		fresh, firing := false, map[uint64]bool{}
		w.mu.Lock()
		if am := w.peers[peer]; life != am.life {
			life, told, heard, last, lastFiring = am.life, map[uint64]bool{}, map[uint64]bool{}, time.Time{}, 0
		}
		for _, a := range g.alerts {
			if w.mutedBy(a, w.now()) != nil {
				if !a.firing {
					delete(told, a.fp) // it is not sent, and not kept for later
				}
				continue
			}
			if a.firing && !w.knows(w.peers[peer], a) {
				continue
			}
			wa := routing.WebhookAlert{Firing: a.firing, Labels: a.labels, Annotations: map[string]string{"summary": "it is slow"}, Fingerprint: a.fp,
				StartsAt: a.startsAt.Add(time.Duration(peer) * 7 * time.Millisecond)}
			switch {
			case a.firing:
				firing[a.fp] = true
				fresh = fresh || !heard[a.fp]
			case told[a.fp]:
				wa.EndsAt = a.endsAt
				fresh = true
			default:
				continue
			}
			wh.Alerts = append(wh.Alerts, wa)
		}
		w.mu.Unlock()
		if r.IntN(2) == 0 { // the order of a list says nothing
			r.Shuffle(len(wh.Alerts), func(i, j int) { wh.Alerts[i], wh.Alerts[j] = wh.Alerts[j], wh.Alerts[i] })
		}
		wh.GroupKey, wh.Receiver, wh.GroupLabels, wh.ExternalURL = "{}:{alertname}", "callchain", g.labels, fmt.Sprint("http://am", peer, ".example.org")
		if len(wh.Alerts) > 0 && (fresh || w.now().Sub(last) >= w.repeats() && lastFiring > 0) {
			backoff := 500 * time.Millisecond
			for w.now().Sub(flush) < groupInterval && w.over.Err() == nil {
				for fp := range firing {
					told[fp] = true // it may have arrived although nobody said so
				}
				if w.send(r, wh) == nil {
					last, lastFiring = w.now(), len(firing)
					told, heard = maps.Clone(firing), firing
					if r.IntN(12) != 0 {
						break
					}
					// The answer is lost on its way back: the same once more.
				}
				if !w.sleep(between(r, backoff/2, backoff)) {
					return
				}
				backoff = min(2*backoff, 10*time.Second)
			}
		}
		if !w.sleep(max(0, groupInterval-w.now().Sub(flush)) + between(r, time.Microsecond, 100*time.Millisecond)) {
			return
		}
	}
}

// send sends one webhook to some daemon; nil is 200.
func (w *world) send(r *rand.Rand, wh routing.Webhook) error {
	p := w.up(r.IntN(8))
	if p == nil {
		return errRefused
	}
	w.mu.Lock()
	w.judge.sending(w, wh)
	w.mu.Unlock()
	err := p.webhook(wh)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.webhooks++
	if err != nil {
		w.count.refused++
	}
	w.event("webhook of %s with %d alerts to %s: %v", wh.GroupLabels["alertname"], len(wh.Alerts), p.id, err)
	w.judge.answered(w, wh, err)
	return err
}

// react is what a person does about a page: often nothing. w.mu is held.
func (w *world) react(who, incident, channel, delivery string) {
	r := w.dice("react", w.ns(), who, incident, channel, delivery)
	wait := between(r, 2*time.Second, 4*time.Minute)
	if r.IntN(3) == 0 { // it lay on the table
		wait = between(r, 200*time.Millisecond, 8*time.Second)
	}
	what := r.IntN(100)
	if what < 45 {
		return
	}
	w.work.Go(func() {
		if !w.sleep(wait) {
			return
		}
		by := escalation.Actor{Handle: who, Via: channel}
		var ev escalation.Event = escalation.Acknowledge{By: by}
		switch {
		case what < 50:
			ev = escalation.ResolveByHand{By: by}
		case what < 62:
			ev = escalation.Escalate{By: by}
		case what < 66: // a colleague who looked over the shoulder
			ev = escalation.Acknowledge{By: escalation.Actor{Handle: people[r.IntN(len(people))], Via: "api"}, TakeOver: true}
		case what < 70:
			ev = escalation.Snooze{By: by, Until: escalation.At(w.now().Add(between(r, 10*time.Second, 4*time.Minute)))}
		case what < 73:
			ev = escalation.Unacknowledge{By: by}
		case what < 76:
			ev = escalation.EscalateTo{By: by, To: targets[r.IntN(len(targets))]}
		case what < 79:
			ev = escalation.Reassign{By: by, To: targets[r.IntN(len(targets))]}
		case what < 81:
			ev = escalation.Declare{By: by, Urgency: config.UnbreakNow}
		case what < 83:
			ev = escalation.Disown{By: by, Reason: "not ours"}
		case what < 84:
			ev = escalation.Remark{By: by, Text: "looking"}
		}
		for range 4 {
			if w.press(r, incident, ev) == nil {
				return
			}
			if !w.sleep(between(r, 500*time.Millisecond, 8*time.Second)) {
				return
			}
		}
	})
}

// effects tells whether an event may take a step at any time, and whether it may
// end an acknowledgement.
func effects(ev escalation.Event) (moves, undoes bool) {
	switch ev.(type) {
	case escalation.Escalate:
		return true, false
	case escalation.Disown:
		return true, true
	case escalation.Unacknowledge, escalation.Snooze, escalation.Reassign, escalation.Declare:
		return false, true
	}
	return false, false
}

// targets are whom people ask by hand.
var targets = []string{"development", "engineering_manager", "fallback", "team:ops", "team:dev", "person:gus"}

// press is one press of a button, and what the person is told.
func (w *world) press(r *rand.Rand, incident string, ev escalation.Event) error {
	p := w.up(r.IntN(8))
	if p == nil {
		return errRefused
	}
	w.mu.Lock()
	w.count.presses++
	moves, undoes := effects(ev)
	if moves {
		w.judge.escalating[w.named(incident)]++
	}
	if undoes {
		w.judge.undoing[w.named(incident)]++
	}
	asked := w.now()
	w.mu.Unlock()
	answer, err := p.press(incident, ev)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event("%T of %s at %s: %s %v", ev, incident, p.id, answer.Kind, err)
	if err == nil && answer.Kind != escalation.Recorded { // else, as without an answer, it may still happen
		if moves {
			w.judge.escalating[w.named(incident)]--
		}
		if undoes {
			w.judge.undoing[w.named(incident)]--
		}
	}
	if err == nil {
		w.judge.told(w, incident, ev, answer, asked)
	}
	return err
}

// nemesis does to the processes what happens to processes.
func (w *world) nemesis() {
	r := w.dice("nemesis")
	end := w.began.Add(w.troubled)
	restart := func(d *daemon, after time.Duration) {
		w.work.Go(func() {
			time.Sleep(after)
			d.start()
		})
	}
	for w.sleep(between(r, 5*time.Second, 80*time.Second)) && w.now().Before(end) {
		d := w.daemons[r.IntN(len(w.daemons))]
		down := between(r, 500*time.Millisecond, 25*time.Second)
		running := func(d *daemon) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return d.process != nil && !d.process.deaf
		}
		switch what := r.IntN(10); {
		case what < 4:
			if running(d) {
				d.kill()
				restart(d, down)
			}
		case what < 5:
			for i, d := range w.daemons {
				if running(d) {
					d.kill()
					restart(d, down+time.Duration(i)*time.Second)
				}
			}
		case what < 6:
			if running(d) {
				w.work.Go(func() {
					d.stop()
					time.Sleep(down)
					w.mu.Lock()
					idle := d.process == nil
					w.mu.Unlock()
					if idle {
						d.start()
					}
				})
			}
		case what < 8:
			d.freeze(between(r, time.Second, 25*time.Second))
		default:
			n, all := r.IntN(len(catalogs)), r.IntN(2) == 0
			for _, d := range w.daemons {
				if all || r.IntN(2) == 0 {
					d.reload(n)
					if !w.sleep(between(r, time.Millisecond, 3*time.Second)) {
						return
					}
				}
			}
		}
	}
}

// weather is what happens to the store and the channels.
func (w *world) weather() {
	r := w.dice("weather")
	end := w.began.Add(w.troubled)
	for w.sleep(between(r, 5*time.Second, 100*time.Second)) && w.now().Before(end) {
		now := w.now()
		switch what := r.IntN(10); {
		case what < 2 || w.island && what < 5:
			out := outage{span: span{now, now.Add(between(r, 300*time.Millisecond, 20*time.Second))}}
			if w.island {
				if r.IntN(2) == 0 {
					out.to = out.to.Add(between(r, time.Second, 70*time.Second))
				}
				switch r.IntN(4) {
				case 0:
					out.daemon = w.daemons[r.IntN(len(w.daemons))].name
				case 1:
					out.part = 1 + r.IntN(3)
				}
			}
			w.mu.Lock()
			w.away = append(w.away, out)
			w.count.outages++
			w.disturb("store", out.from, out.to.Add(2*time.Second)) // its last answers are late
			w.event("the store is away for %v (for %q, part %d)", out.to.Sub(out.from), out.daemon, out.part)
			w.mu.Unlock()
			if w.forgets && out.daemon == "" && out.part == 0 && r.IntN(2) == 0 {
				if !w.sleep(out.to.Sub(now) - time.Millisecond) {
					return
				}
				w.mu.Lock()
				w.failover(r)
				w.mu.Unlock()
			}
			if w.rots && r.IntN(2) == 0 {
				w.mu.Lock()
				w.rot(r)
				w.mu.Unlock()
			}
		case what < 4 || w.island && what < 6:
			name := "slack"
			if r.IntN(2) == 0 {
				name = "email"
			}
			out := span{now, now.Add(between(r, 5*time.Second, 90*time.Second))}
			w.mu.Lock()
			w.channels[name].outages = append(w.channels[name].outages, out)
			w.count.outages++
			w.disturb(name, out.from, out.to)
			w.event("%s is away for %v", name, out.to.Sub(out.from))
			w.mu.Unlock()
		default:
			w.mu.Lock()
			w.lossy, w.loud = r.Float64()*0.06, 0.02+r.Float64()*0.2
			w.event("lossy %.3f, loud %.3f", w.lossy, w.loud)
			w.mu.Unlock()
			w.sleep(between(r, 10*time.Second, 90*time.Second))
			w.mu.Lock()
			w.lossy, w.loud = 0, 0
			w.mu.Unlock()
		}
	}
}
