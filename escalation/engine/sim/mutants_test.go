package sim

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/notifiers"
	"callchain/routing"
)

// The bugs that can be planted. Each stands between the engine and its world and
// makes them behave as if the engine, or the store, had the bug; the checks must
// find it by the invariant that it breaks.
const (
	losesWebhooks   = "a webhook is answered with 200 and not stored"
	noLeaseEnd      = "leases never end"
	noSwap          = "commits overwrite whatever is there"
	noLook          = "nobody looks before a message is sent"
	forgetsWake     = "wake-ups are forgotten"
	ownClock        = "each process goes by its own clock"
	forgetsResults  = "what was sent is not recorded"
	shortLeases     = "leases end before the attempt does"
	triesRefused    = "a refusal is taken for a failure that passes"
	forgetsAnswers  = "an acknowledgement is confirmed and not stored"
	swallowsRepeats = "an alert that was resolved once is ignored when it fires again"
	dropsResolves   = "resolved alerts beside firing ones are not read"
	reachesNobody   = "a reload that leaves nobody to be reached is put in force"
	fetchesNothing  = "what the store forgot is not asked of Alertmanager"
	keepsNothing    = "a webhook on the island is answered with 200 and not kept"
	forgetsJournal  = "nobody looks into the journal at a start"
	dropsAnswers    = "an answer on the island is said to be recorded and is not"
	dropsOutcomes   = "what was sent from the island is not kept"
	keepsRot        = "a record that cannot be read is left where it is"
	seesNoSilence   = "silences are not looked at"
	believesFresh   = "an Alertmanager that was just started is believed"
	seesAll         = "what Alertmanager does not know any more goes on"
)

// mutants says by which invariant each bug must be found.
var mutants = map[string]string{
	losesWebhooks:   "I1",
	noLeaseEnd:      "I1",
	noSwap:          "I2",
	noLook:          "I3",
	forgetsWake:     "I4",
	ownClock:        "I4",
	forgetsResults:  "I5",
	shortLeases:     "I9",
	triesRefused:    "I11",
	forgetsAnswers:  "I12",
	swallowsRepeats: "I13",
	dropsResolves:   "I14",
	reachesNobody:   "I15",
	fetchesNothing:  "I8",
	keepsNothing:    "I19",
	forgetsJournal:  "I18",
	dropsAnswers:    "I12",
	dropsOutcomes:   "I5",
	keepsRot:        "I31",
	seesNoSilence:   "I33",
	believesFresh:   "I34",
	seesAll:         "I14",
}

// TestMutants plants each bug and wants it found within some seeds: a check that
// cannot fail proves nothing.
func TestMutants(t *testing.T) {
	const within = 80
	for _, mutant := range slices.Sorted(maps.Keys(mutants)) {
		want := mutants[mutant]
		t.Run(mutant, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(within) {
				for _, v := range simulate(t, draw(seed, mutant)).broken {
					if v.invariant == want {
						t.Logf("seed %d, %v: %s: %s", seed, v.at, v.invariant, v.text)
						return
					}
				}
			}
			t.Errorf("%d seeds, and no check of %s has noticed", within, want)
		})
	}
}

// changed is what a transaction makes of an incident.
func (w *world) changed(wr store.Write) (prev, next escalation.Incident, ok bool) {
	if wr.Data == nil || !strings.HasPrefix(wr.ID, "i/") || record.Decode(wr.Data, &next) != nil {
		return prev, next, false
	}
	if h := w.histories[next.ID]; h != nil {
		prev = h.last().inc
	}
	return prev, next, true
}

// mutateCommit may change a transaction, or pretend that it was applied. w.mu is held.
func (w *world) mutateCommit(r *rand.Rand, txn store.Txn) (store.Txn, bool) {
	if w.mutant == "" {
		return txn, false
	}
	if w.mutant == keepsRot && slices.ContainsFunc(txn.Writes, func(wr store.Write) bool { return strings.HasPrefix(wr.ID, "q/") }) {
		return txn, true
	}
	txn.Writes = slices.Clone(txn.Writes)
	for i := range txn.Writes {
		prev, next, ok := w.changed(txn.Writes[i])
		if !ok {
			continue
		}
		sent := func(inc *escalation.Incident, s escalation.Status) (n int) {
			for _, d := range inc.Deliveries {
				if d.Status == s && d.Kind == escalation.PageDelivery {
					n++
				}
			}
			return n
		}
		lasting := func(length escalation.Instant) {
			for j := range next.Deliveries {
				if d := &next.Deliveries[j]; d.Status == escalation.InFlight {
					d.Until = escalation.At(w.now()) + length
				}
			}
			txn.Writes[i].Data, _ = record.Encode(&next)
			txn.Writes[i].Wake = next.Wake().Time()
		}
		switch w.mutant {
		case losesWebhooks:
			if prev.ID == "" && r.IntN(3) == 0 {
				return txn, true
			}
		case forgetsAnswers:
			if prev.State == escalation.Triggered && next.State == escalation.Acknowledged {
				return txn, true
			}
		case forgetsResults:
			if sent(&prev, escalation.Sent) < sent(&next, escalation.Sent) && r.IntN(3) == 0 {
				return txn, true
			}
		case forgetsWake:
			if r.IntN(5) == 0 {
				txn.Writes[i].Wake = time.Time{}
			}
		case noLeaseEnd:
			lasting(10 * 60_000)
		case shortLeases:
			lasting(100)
		}
	}
	return txn, false
}

// mutateConflict may apply what conflicts. w.mu is held.
func (w *world) mutateConflict(txn store.Txn, err error) (store.Txn, error) {
	if w.mutant != noSwap {
		return txn, err
	}
	txn.Writes = slices.Clone(txn.Writes)
	for i := range txn.Writes {
		recs, err := w.store.Load(w.over, txn.Partition, txn.Writes[i].ID)
		if err != nil {
			return txn, err
		}
		txn.Writes[i].Expect = recs[0].Version
	}
	return txn, w.store.Commit(w.over, txn)
}

// mutateLoad may show the incident as it was when an attempt was taken to whoever
// looks at it before sending. w.mu is held.
func (w *world) mutateLoad(p *process, asked time.Time, recs []store.Record) {
	if w.mutant != noLook {
		return
	}
	for work, pause := range p.paused {
		delivery, asks := strings.CutPrefix(work, "go on with ")
		if !asks && !strings.HasPrefix(work, "send ") || !pause.to.Equal(asked) {
			continue
		}
		if asks { // it was taken before it asked whether it may be sent
			pause.from = p.paused["send "+delivery].from
		}
		for i := range recs {
			h := w.histories[strings.TrimPrefix(recs[i].Key.ID, "i/")]
			if h == nil || recs[i].Data == nil {
				continue
			}
			for j := len(h.versions) - 1; j > 0; j-- {
				if v := &h.versions[j]; v.key == recs[i].Key.ID && !v.at.After(pause.from) {
					recs[i].Data, _ = record.Encode(&v.inc)
					recs[i].Version = v.n
					break
				}
			}
		}
	}
}

func (w *world) mutateNow(p *process, now time.Time) time.Time {
	if w.mutant != ownClock {
		return now
	}
	return now.Add(between(w.dice("clock", p.d), -20*time.Second, 20*time.Second))
}

func (w *world) mutateResult(res notifiers.Result) notifiers.Result {
	if w.mutant == triesRefused && res.Verdict == notifiers.Refused {
		res.Verdict = notifiers.Retry
	}
	return res
}

// mutateWebhook may change what a daemon reads of a webhook, or answer it unread.
func (w *world) mutateWebhook(wh routing.Webhook) (routing.Webhook, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	firing := func(a routing.WebhookAlert) bool { return a.Firing }
	switch w.mutant {
	case swallowsRepeats:
		again := func(a routing.WebhookAlert) bool { return a.Firing && w.judge.over[a.Fingerprint] }
		return wh, slices.ContainsFunc(wh.Alerts, again)
	case dropsResolves:
		if slices.ContainsFunc(wh.Alerts, firing) {
			wh.Alerts = slices.DeleteFunc(slices.Clone(wh.Alerts), func(a routing.WebhookAlert) bool { return !a.Firing })
		}
	}
	return wh, false
}

func (w *world) mutateSnapshot(snap *engine.Snapshot) {
	if w.mutant == reachesNobody {
		snap.Channels = map[string]engine.Channel{}
	}
}

// mutateKeep may pretend that an entry of the journal was written. w.mu is held.
func (w *world) mutateKeep(r *rand.Rand, data []byte) (bool, error) {
	var ev struct {
		Webhook, Result json.RawMessage
		Act             string
	}
	if w.mutant == "" {
		return false, nil
	}
	if err := json.Unmarshal(data, &ev); err != nil {
		return true, err
	}
	switch w.mutant {
	case keepsNothing:
		return ev.Webhook != nil && r.IntN(2) == 0, nil
	case dropsAnswers:
		return ev.Act != "", nil
	case dropsOutcomes:
		return ev.Result != nil, errDisk // which nobody notes
	}
	return false, nil
}

// mutateLook may change what an Alertmanager says. w.mu is held.
func (w *world) mutateLook(l escalation.Look) escalation.Look {
	switch w.mutant {
	case seesNoSilence:
		for fp, s := range l.Alerts {
			s.Active = true
			l.Alerts[fp] = s
		}
	case believesFresh:
		l.Up = time.Hour
	case seesAll:
		l.Whole = false
	}
	return l
}
