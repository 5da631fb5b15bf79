package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/routing"
)

// settling is how much later timers and pages may come where there are islands:
// the store has to answer for three seconds, timers wait ten more for what was
// kept, and a claim that was left alone runs out after a lease.
const settling = 3*time.Second + 10*time.Second + escalation.Lease + 2*time.Second

var errDisk = errors.New("no space left on device")

// disk is what a daemon's machine has of its journal: it outlives the processes.
type disk struct {
	next    uint64
	entries map[uint64][]byte
	marked  map[uint64][]byte // done, and the mark is not on the disk yet
}

// crash ends a process: with its machine go the marks that were not synced.
func (d *disk) crash(machine bool) {
	if machine {
		maps.Copy(d.entries, d.marked)
	}
	clear(d.marked)
}

// has tells whether an entry brings an alert that fires.
func (d *disk) has(fp uint64) bool {
	for _, data := range d.entries {
		var ev struct {
			Webhook *routing.Webhook `json:"webhook"`
		}
		if json.Unmarshal(data, &ev) == nil && ev.Webhook != nil &&
			slices.ContainsFunc(ev.Webhook.Alerts, func(a routing.WebhookAlert) bool { return a.Firing && a.Fingerprint == fp }) {
			return true
		}
	}
	return false
}

var _ engine.Journal = (*drive)(nil)

// drive is a process's journal, on its daemon's disk.
type drive struct {
	p *process
	d *disk
}

// Append implements engine.Journal.
func (j *drive) Append(data []byte) (uint64, error) {
	p, w := j.p, j.p.w
	r := w.dice("journal", p.id, w.ns(), fingerprint(data))
	took := between(r, 200*time.Microsecond, 4*time.Millisecond)
	if r.IntN(50) == 0 {
		took = between(r, 50*time.Millisecond, 600*time.Millisecond)
	}
	ghost := r.IntN(2) == 0 && p.alive()
	err := p.wait(context.Background(), took)
	w.mu.Lock()
	if err != nil && !ghost || p.dead && !ghost {
		w.mu.Unlock()
		return 0, errKilled
	}
	if w.troubledNow() && r.IntN(100) == 0 {
		w.event("%s: its disk is full", p.id)
		p.refusals = append(p.refusals, w.now())
		w.mu.Unlock()
		return 0, errDisk
	}
	w.count.kept++
	if pretend, err := w.mutateKeep(r, data); pretend {
		w.mu.Unlock()
		return 1 << 40, err
	}
	j.d.next++
	seq := j.d.next
	j.d.entries[seq] = data
	clear(j.d.marked) // the same sync
	w.event("%s keeps entry %d %x", p.id, seq, fingerprint(data))
	w.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return seq, p.wait(context.Background(), took/3)
}

// Done implements engine.Journal.
func (j *drive) Done(sequences ...uint64) error {
	w := j.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if j.p.dead {
		return errKilled
	}
	for _, seq := range sequences {
		if data, ok := j.d.entries[seq]; ok {
			j.d.marked[seq] = data
			delete(j.d.entries, seq)
			w.event("%s is done with entry %d", j.p.id, seq)
		}
	}
	return nil
}

// Read implements engine.Journal.
func (j *drive) Read(seq uint64) ([]byte, error) {
	j.p.w.mu.Lock()
	defer j.p.w.mu.Unlock()
	data, ok := j.d.entries[seq]
	if !ok {
		return nil, errors.New("no such entry")
	}
	return data, nil
}

// Waiting implements engine.Journal.
func (j *drive) Waiting() []uint64 {
	j.p.w.mu.Lock()
	defer j.p.w.mu.Unlock()
	if j.p.w.mutant == forgetsJournal {
		return nil
	}
	return slices.Sorted(maps.Keys(j.d.entries))
}

// Backlog implements engine.Journal.
func (j *drive) Backlog() int {
	j.p.w.mu.Lock()
	defer j.p.w.mu.Unlock()
	return len(j.d.entries)
}

// Check implements engine.Journal.
func (j *drive) Check() error { return nil }

// Close implements engine.Journal.
func (j *drive) Close() error { return nil }

// beach is the store of a process's island: in its memory, so that it takes no
// time, and watched like the one that all share.
type beach struct {
	*mem.Store
	p *process
}

// Load implements store.Store.
func (b *beach) Load(ctx context.Context, partition uint8, ids ...string) ([]store.Record, error) {
	recs, err := b.Store.Load(ctx, partition, ids...)
	w := b.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if name, ok := strings.CutPrefix(id, "i/"); ok && w.ashore[name] != nil {
			b.p.looks[name] = look{returned: w.now(), of: w.ashore[name], version: len(w.ashore[name].versions) - 1}
		}
	}
	return recs, err
}

// Commit implements store.Store.
func (b *beach) Commit(ctx context.Context, txn store.Txn) error {
	w := b.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if b.p.dead {
		return errKilled
	}
	err := b.Store.Commit(ctx, txn)
	if err != nil {
		return err
	}
	for _, wr := range txn.Writes {
		id, ok := strings.CutPrefix(wr.ID, "i/")
		if !ok {
			continue
		}
		var inc escalation.Incident
		if wr.Data == nil || record.Decode(wr.Data, &inc) != nil {
			w.leave(func(key string, o *owed) bool { return strings.HasPrefix(key, id+" ") })
			continue
		}
		w.event("%s has %s on its island: %s", b.p.id, id, inc.State)
		h := w.ashore[id]
		if h == nil {
			h = &history{id: id, versions: []version{{at: w.now(), by: b.p}}}
			w.ashore[id] = h
		}
		prev := h.last()
		h.versions = append(h.versions, version{at: w.now(), by: b.p, key: wr.ID, inc: inc})
		if inc.State != escalation.Triggered {
			w.leave(func(key string, o *owed) bool { return strings.HasPrefix(key, id+" ") })
			continue
		}
		for i := range prev.inc.Deliveries { // left to whoever reaches the store
			if d := &prev.inc.Deliveries[i]; inc.Delivery(d.ID) == nil {
				w.leave(func(key string, o *owed) bool { return key == id+" "+d.To || key == id+" "+d.To+" "+d.ID })
			}
		}
		if to, from := inc.Place(), prev.inc.Place(); prev.inc.ID != "" && to != from && from.Run == to.Run && from != (escalation.Place{}) {
			w.violate("I2", "%s goes from step %v to %v on the island", id, from, to)
		}
		for i := range inc.Deliveries {
			if d := &inc.Deliveries[i]; d.Kind == escalation.PageDelivery && prev.inc.Delivery(d.ID) == nil && d.Status != escalation.Sent && w.judge.pages[id+" "+d.To+" "+d.ID] == nil {
				w.owePage(&inc, d, w.now(), b.p)
			}
		}
	}
	return nil
}

// leave ends what an island owed: it went, or its incidents are the store's again.
// w.mu is held.
func (w *world) leave(which func(key string, o *owed) bool) {
	for _, key := range slices.Sorted(maps.Keys(w.judge.pages)) {
		if o := w.judge.pages[key]; o.ashore != nil && which(key, o) {
			delete(w.judge.pages, key)
		}
	}
}

// outage is a time in which the store is away: for everybody or for one daemon,
// all of it or a third.
type outage struct {
	span
	daemon string
	part   int // 1 to 3; 0: all of it
}

func (o *outage) hits(p *process, partition int) bool {
	return (o.daemon == "" || o.daemon == p.d) && (o.part == 0 || partition >= 0 && partition%3 == o.part-1)
}

// gone tells whether a process does not reach a partition now; -1 is all of them.
// w.mu is held.
func (w *world) gone(p *process, partition int) (span, bool) {
	for i := range w.away {
		if o := &w.away[i]; o.hits(p, partition) && !w.now().Before(o.from) && w.now().Before(o.to) {
			return o.span, true
		}
	}
	return span{}, false
}

// named is the incident that an id leads to. w.mu is held.
func (w *world) named(id string) string {
	if to := w.alias[id]; to != "" {
		return to
	}
	return id
}

// recorded is an answer that was taken in on an island.
type recorded struct {
	id  string
	ack *escalation.Acknowledge // nil: a resolve
	at  time.Time
}

// keptAnswers checks that what was recorded on an island came to be. w.mu is held.
func (w *world) keptAnswers() {
	for _, rec := range w.judge.recorded {
		id := w.named(rec.id)
		h := w.histories[id]
		if island := w.ashore[rec.id]; h == nil && (w.forgets || island != nil && island.last().inc.Service == "gone" || island != nil && !slices.ContainsFunc(island.last().inc.Episodes, func(ep escalation.Episode) bool {
			return w.judge.resolves[ep.Fingerprint].Before(island.versions[1].at)
		})) {
			continue // its alerts were over, or forgotten, before the page was gone through
		}
		if h == nil {
			w.violate("I12", "an answer to %s was recorded, and %s never came to be", rec.id, id)
			continue
		}
		answered, theirs := false, false
		for i := range h.versions {
			v := &h.versions[i]
			until := w.now()
			if i+1 < len(h.versions) {
				until = h.versions[i+1].at
			}
			answered = answered || until.After(rec.at) && v.inc.State != escalation.Triggered
			theirs = theirs || rec.ack != nil && slices.ContainsFunc(v.inc.Paged, func(p escalation.Paged) bool { return p.Handle == rec.ack.By.Handle })
		}
		// Whoever turns out to be in no chain is told in the log.
		if !answered && (rec.ack == nil || rec.ack.TakeOver || theirs) {
			w.violate("I12", "an answer to %s (%s) was recorded at %v and is lost", rec.id, id, rec.at.Sub(w.began))
		}
	}
	for _, d := range w.daemons {
		n := 0
		for _, data := range d.disk.entries {
			if bytes.Contains(data, []byte(`"webhook":`)) { // others may wait for an incident that never comes
				n++
			}
		}
		if n > 0 && d.process != nil {
			w.violate("I18", "%d entries of %s's journal were never gone through", n, d.name)
		}
	}
}
