package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/internal/fault"
	"callchain/routing/report"
)

// loaded is an incident as it was read.
type loaded struct {
	escalation.Incident
	partition uint8
	key       string
	version   uint64
	data      []byte
	foreign   bool // data has fields of a newer callchain
}

type loadedGroup struct {
	escalation.Group
	version uint64
	data    []byte
	foreign bool
}

func keyOf(inc *escalation.Incident) string {
	switch {
	case inc.Kind == escalation.Notice:
		return "n/" + inc.ID
	case inc.Kind == escalation.Report:
		return "r/" + inc.ID
	case inc.Archived:
		return "c/" + inc.ID
	}
	return "i/" + inc.ID
}

func (e *Engine) decodeIncident(rec store.Record) (loaded, error) {
	l := loaded{partition: rec.Key.Partition, key: rec.Key.ID, version: rec.Version, data: rec.Data}
	var err error
	l.foreign, err = e.read(rec, &l.Incident, &l.Schema)
	return l, err
}

// read decodes a record whose schema is at of. The error is errUnreadable, or errNewer.
func (e *Engine) read(rec store.Record, v any, of *int) (foreign bool, err error) {
	if foreign, err = record.Read(rec.Data, v); err != nil {
		return false, e.undecodable(rec, err)
	}
	if *of > e.schema {
		return false, fmt.Errorf("decode %s: %w (schema %d, this one knows %d)", rec.Key.ID, errNewer, *of, e.schema)
	}
	return foreign, nil
}

// encode is what becomes of a record; old is nil unless it has fields of a newer callchain.
func encode(foreign bool, old []byte, v any) ([]byte, error) {
	if foreign {
		return record.Over(old, v)
	}
	return record.Encode(v)
}

// load reads an incident wherever it is kept.
func (e *Engine) load(ctx context.Context, id string) (loaded, error) {
	partition, ok := escalation.Partition(id)
	if !ok {
		return loaded{}, ErrNotFound
	}
	recs, err := e.store.Load(ctx, partition, "i/"+id, "c/"+id, "n/"+id, "r/"+id, "a/"+id)
	if err != nil {
		return loaded{}, fmt.Errorf("load %s: %w", id, err)
	}
	for _, rec := range recs {
		switch {
		case rec.Version == 0:
		case !strings.HasPrefix(rec.Key.ID, "a/"):
			return e.decodeIncident(rec)
		case string(rec.Data) != id:
			return e.load(ctx, string(rec.Data))
		}
	}
	return loaded{}, ErrNotFound
}

// look reads again an incident that we wrote. Mostly nobody else has written it
// since: then there is nothing to decode.
func (e *Engine) look(ctx context.Context, known *loaded) (loaded, error) {
	recs, err := e.store.Load(ctx, known.partition, known.key)
	switch {
	case err != nil:
		return loaded{}, fmt.Errorf("load %s: %w", known.ID, err)
	case recs[0].Version == 0: // moved, or gone
		return e.load(ctx, known.ID)
	case recs[0].Version == known.version && bytes.Equal(recs[0].Data, known.data):
		return *known, nil
	}
	return e.decodeIncident(recs[0])
}

// loadGroup reads a group and its incidents. What is damaged is passed over: a group
// is begun anew and an incident opened again rather than that its alerts page nobody.
// What a newer callchain wrote is an error; arrived tells that alerts are at stake,
// which at last are worth more than what nobody newer takes up.
func (e *Engine) loadGroup(ctx context.Context, partition uint8, gid string, arrived bool) (loadedGroup, []loaded, error) {
	recs, err := e.loadAny(ctx, partition, "g/"+gid)
	if err != nil {
		return loadedGroup{}, nil, fmt.Errorf("load group %s: %w", gid, err)
	}
	g := loadedGroup{version: recs[0].Version, data: recs[0].Data}
	if g.data == nil {
		return g, nil, nil
	}
	if g.foreign, err = e.read(recs[0], &g.Group, &g.Schema); err != nil {
		if e.newer.wait(recs[0], err, arrived, e.store.Now()) {
			return g, nil, err
		}
		e.log.Error("a group cannot be read and is begun anew", "group", gid, "err", err)
		return loadedGroup{version: g.version}, nil, nil
	}
	var keys []string
	for _, id := range g.Incidents {
		keys = append(keys, "i/"+id, "c/"+id)
	}
	if len(keys) == 0 {
		return g, nil, nil
	}
	recs, err = e.loadAny(ctx, partition, keys...)
	if err != nil {
		return g, nil, fmt.Errorf("load the incidents of group %s: %w", gid, err)
	}
	var incs []loaded
	for _, rec := range recs {
		if rec.Data == nil {
			continue
		}
		l, err := e.decodeIncident(rec)
		if err != nil {
			if e.newer.wait(rec, err, arrived, e.store.Now()) {
				return g, nil, err
			}
			e.log.Error("an incident cannot be read and is passed over", "record", rec.Key.ID, "err", err)
			continue
		}
		incs = append(incs, l)
	}
	return g, incs, nil
}

// loadAny is Load without the error for damaged records: they come without Data.
func (e *Engine) loadAny(ctx context.Context, partition uint8, ids ...string) ([]store.Record, error) {
	recs, err := e.store.Load(ctx, partition, ids...)
	if errors.Is(err, store.ErrCorrupt) {
		e.log.Error("a record is damaged", "partition", partition, "err", err)
		err = nil
	}
	return recs, err
}

// scan is Scan without the error for damaged records, which are passed over.
func (e *Engine) scan(ctx context.Context, prefix string, yield func(store.Record) bool) error {
	err := e.store.Scan(ctx, prefix, func(rec store.Record) bool { return rec.Data == nil || yield(rec) })
	if errors.Is(err, store.ErrCorrupt) {
		e.log.Error("damaged records are passed over", "err", err)
		err = nil
	}
	return err
}

func incidentsOf(ls []loaded) []escalation.Incident {
	out := make([]escalation.Incident, len(ls))
	for i := range ls {
		out[i] = ls[i].Incident
	}
	return out
}

// txn gathers the writes of one change and what is to be sent once it is committed.
type txn struct {
	partition uint8
	writes    []store.Write
	urgent    bool // a known incident changes: a store that is full must let that pass
	taken     []attempt
	wake      time.Time // the earliest of the writes
}

// attempt is a delivery that was taken.
type attempt struct {
	incident string
	delivery escalation.Delivery
	as       *loaded // the incident as it is committed with the taking
	// alone: no other was taken with it, so nobody else is about to record an
	// outcome in the same incident.
	alone bool
}

// incident adds the write of an incident, if it changed or has to be written
// anyway, with everything due in it taken.
func (t *txn) incident(e *Engine, from *loaded, inc escalation.Incident, now time.Time, rewrite bool) error {
	var taken []escalation.Delivery
	if e.stopping.Err() == nil {
		inc, taken = escalation.Take(inc, now, e.turns.next)
	}
	if e.shore != nil {
		inc = escalation.Calm(inc)
	}
	if from != nil {
		for _, d := range from.Deliveries {
			if d.Slot && d.Status == escalation.Pending && inc.Delivery(d.ID) == nil {
				e.turns.free(d)
			}
		}
	}
	inc.Schema = e.schema
	var old []byte
	if from != nil {
		old = from.data
	}
	data, err := encode(from != nil && from.foreign, old, &inc)
	if err != nil {
		return fmt.Errorf("encode %s: %w", inc.ID, err)
	}
	key := keyOf(&inc)
	w := store.Write{ID: key, Data: data, Wake: inc.Wake().Time()}
	switch {
	case from == nil:
	case from.key != key:
		t.urgent = true
		t.writes = append(t.writes, store.Write{ID: from.key, Expect: from.version})
	case !rewrite && bytes.Equal(data, from.data):
		return nil
	default:
		t.urgent = true
		w.Expect = from.version
	}
	t.writes = append(t.writes, w)
	if !w.Wake.IsZero() && (t.wake.IsZero() || w.Wake.Before(t.wake)) {
		t.wake = w.Wake
	}
	if len(taken) > 0 {
		as := &loaded{Incident: inc, partition: t.partition, key: key, version: w.Expect + 1, data: data, foreign: from != nil && from.foreign}
		for _, d := range taken {
			t.taken = append(t.taken, attempt{inc.ID, d, as, len(taken) == 1})
		}
	}
	return nil
}

// group adds the write of a group record, if more changed than when it was touched.
func (t *txn) group(e *Engine, from loadedGroup, g escalation.Group) error {
	old := from.Group
	g.Schema = e.schema
	touched := g.TouchedAt
	if from.version != 0 {
		g.TouchedAt = old.TouchedAt
		data, err := encode(from.foreign, from.data, &g)
		if err != nil {
			return fmt.Errorf("encode group %s: %w", g.ID, err)
		}
		if bytes.Equal(data, from.data) && touched < old.TouchedAt+escalation.Instant(time.Hour.Milliseconds()) {
			return nil
		}
	}
	g.TouchedAt = touched
	data, err := encode(from.foreign, from.data, &g)
	if err != nil {
		return fmt.Errorf("encode group %s: %w", g.ID, err)
	}
	t.writes = append(t.writes, store.Write{ID: "g/" + g.ID, Expect: from.version, Data: data, Wake: g.Wake().Time()})
	return nil
}

// commit applies the gathered writes; without any there is nothing to do.
func (e *Engine) commit(ctx context.Context, t *txn) error {
	if len(t.writes) == 0 {
		return nil
	}
	begin := time.Now()
	fault.Here("commit.before")
	err := e.store.Commit(ctx, store.Txn{Partition: t.partition, Writes: t.writes, Mark: mark(), Urgent: t.urgent})
	fault.Here("commit.after")
	switch {
	case err == nil:
		if e.shore == nil {
			e.metrics.commitSeconds.Observe(time.Since(begin).Seconds())
		}
		if !t.wake.IsZero() && t.wake.UnixMilli() < e.asleep.Load() {
			e.wakeUp()
		}
	case errors.Is(err, store.ErrConflict):
		e.metrics.conflicts.Inc()
	case errors.Is(err, store.ErrFull):
		e.refused(err)
	}
	return err
}

// facts adds the writes that count events in. Facts live in the partition of
// the group that the alerts came in, so that they are written with the state
// that causes them: each is counted once, whatever crashes.
func (e *Engine) facts(ctx context.Context, t *txn, events []report.Event) error {
	var keys []string
	byKey := map[string][]report.Event{}
	for _, ev := range events {
		key := report.Key(ev.Day, ev.Subject)
		if byKey[key] == nil {
			keys = append(keys, key)
		}
		byKey[key] = append(byKey[key], ev)
	}
	if len(keys) == 0 {
		return nil
	}
	recs, err := e.loadAny(ctx, t.partition, keys...)
	if err != nil {
		return fmt.Errorf("load facts: %w", err)
	}
	for i, key := range keys {
		var facts report.Facts
		foreign := false
		if recs[i].Data != nil {
			// A report is worth less than a page.
			foreign, err = e.read(recs[i], &facts, &facts.Schema)
			if errors.Is(err, errNewer) {
				e.log.Error("facts that a newer callchain keeps are not counted", "record", key, "err", err)
				continue
			}
			if err != nil {
				e.log.Error("facts cannot be read and are begun anew", "record", key, "err", err)
				facts = report.Facts{}
			}
		}
		for _, ev := range byKey[key] {
			facts.Add(ev)
		}
		if facts.Day == "" {
			continue // a correction of what is not kept any more
		}
		data, err := encode(foreign, recs[i].Data, &facts)
		if err != nil {
			return fmt.Errorf("encode %s: %w", key, err)
		}
		day, err := time.Parse(time.DateOnly, facts.Day)
		if err != nil {
			return fmt.Errorf("date %s: %w", key, err)
		}
		wake := day.Add(time.Duration(e.snap.Load().Config.Store.Retention.V))
		t.writes = append(t.writes, store.Write{ID: key, Expect: recs[i].Version, Data: data, Wake: wake})
	}
	return nil
}

// Facts returns what was recorded from one day to another, both included. Facts
// of one day and subject may come in several pieces.
func (e *Engine) Facts(ctx context.Context, from, to string) ([]report.Facts, error) {
	all, _, err := e.pieces(ctx, from, to)
	return all, err
}

// RiskFacts returns the Facts of the same days, and those of earlier days that
// got a risk on one of them: of incidents that went on.
func (e *Engine) RiskFacts(ctx context.Context, from, to string) ([]report.Facts, error) {
	all, partitions, err := e.pieces(ctx, from, to)
	if err != nil {
		return nil, err
	}
	earlier := map[uint8][]string{}
	for i, f := range all {
		for _, day := range f.Earlier {
			p, key := partitions[i], report.Key(day, f.Subject)
			if day < from && !slices.Contains(earlier[p], key) {
				earlier[p] = append(earlier[p], key)
			}
		}
	}
	for p, keys := range earlier {
		recs, err := e.loadAny(ctx, p, keys...)
		if err != nil {
			return nil, fmt.Errorf("read earlier facts: %w", err)
		}
		for _, rec := range recs {
			if rec.Data == nil {
				continue
			}
			if f, ok := e.decodeFacts(rec); ok {
				all = append(all, f)
			}
		}
	}
	return all, nil
}

// pieces reads facts, and the partition that each is in.
func (e *Engine) pieces(ctx context.Context, from, to string) (all []report.Facts, partitions []uint8, err error) {
	for _, prefix := range factPrefixes(from, to) {
		err := e.scan(ctx, prefix, func(rec store.Record) bool {
			if day := factDay(rec.Key.ID); day < from || to < day {
				return true
			}
			if f, ok := e.decodeFacts(rec); ok {
				all, partitions = append(all, f), append(partitions, rec.Key.Partition)
			}
			return true
		})
		if err != nil {
			return nil, nil, fmt.Errorf("read facts: %w", err)
		}
	}
	return all, partitions, nil
}

func (e *Engine) decodeFacts(rec store.Record) (f report.Facts, ok bool) {
	if err := record.Decode(rec.Data, &f); err != nil {
		e.log.Error("facts that cannot be read are left out", "record", rec.Key.ID, "err", err)
		return f, false
	}
	return f, true
}

// factDay is the day in the key of facts: f/DAY/HASH.
func factDay(key string) string {
	day, _, _ := strings.Cut(strings.TrimPrefix(key, "f/"), "/")
	return day
}

// factPrefixes are prefixes of keys that together cover the facts of some days:
// those of a few weeks by tens of days, so that not much else is read; of a few
// months by months. Each is one pass over the store, so there are not many.
func factPrefixes(from, to string) []string {
	first, err := time.Parse(time.DateOnly, from)
	last, err2 := time.Parse(time.DateOnly, to)
	cut, days := len("2006-01-0"), 0
	if err == nil && err2 == nil {
		days = int(last.Sub(first).Hours()/24) + 1
	}
	switch {
	case days < 1 || days > 100:
		return []string{"f/"}
	case days > 31:
		cut = len("2006-01")
	}
	var prefixes []string
	for d := first; !d.After(last); d = d.AddDate(0, 0, 1) {
		if p := "f/" + d.Format(time.DateOnly)[:cut]; !slices.Contains(prefixes, p) {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// claimDay tells whether this group is the one that may ask the fallback team
// today about a stale rule. The same group may ask again: its webhook may come twice.
func (e *Engine) claimDay(ctx context.Context, rule escalation.StaleRule, gid string, now time.Time) (bool, error) {
	sum := sha256.Sum256([]byte(rule.Service + "\x00" + rule.Alert))
	partition, key := sum[0], "d/"+hex.EncodeToString(sum[:10])
	day := now.UTC().Format(time.DateOnly)
	for {
		recs, err := e.loadAny(ctx, partition, key)
		if err != nil {
			return false, fmt.Errorf("load %s: %w", key, err)
		}
		have := string(recs[0].Data)
		if strings.HasPrefix(have, day) {
			return have == day+" "+gid, nil
		}
		err = e.store.Commit(ctx, store.Txn{Partition: partition, Mark: mark(), Writes: []store.Write{{
			ID: key, Expect: recs[0].Version, Data: []byte(day + " " + gid), Wake: now.Add(48 * time.Hour),
		}}})
		if !errors.Is(err, store.ErrConflict) {
			return err == nil, err
		}
	}
}

// Filter selects incidents of a list. Empty fields select all.
type Filter struct {
	State   string // triggered, acknowledged, snoozed, resolved, or "open" for all but resolved
	Service string
	Team    string
	Limit   int    // 0: 100; at most 1000
	Cursor  string // as returned before; "" begins
}

// ErrBadCursor is returned for a cursor that was not given out.
var ErrBadCursor = errors.New("this cursor was not given out by callchain")

// Incidents lists incidents, newest first, and the cursor of what follows; "" at the end.
func (e *Engine) Incidents(ctx context.Context, f Filter) ([]escalation.Incident, string, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, 1000)
	var after escalation.Instant
	var afterID string
	if f.Cursor != "" {
		ms, id, ok := strings.Cut(f.Cursor, ".")
		n, err := strconv.ParseInt(ms, 10, 64)
		if !ok || err != nil {
			return nil, "", ErrBadCursor
		}
		after, afterID = escalation.Instant(n), id
	}
	env := e.snap.Load().env()
	newer := func(a, b escalation.Incident) int {
		if c := cmp.Compare(b.OpenedAt, a.OpenedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	}
	var list []escalation.Incident
	var broken error
	collect := func(rec store.Record) bool {
		l, err := e.decodeIncident(rec)
		if err != nil {
			broken = errors.Join(broken, err)
			return true
		}
		inc := l.Incident
		switch {
		case f.State == "open" && !inc.Open(), f.State != "" && f.State != "open" && f.State != string(inc.State):
			return true
		case f.Service != "" && f.Service != inc.Service, f.Team != "" && f.Team != env.Team(&inc):
			return true
		case f.Cursor != "" && newer(inc, escalation.Incident{ID: afterID, OpenedAt: after}) <= 0:
			return true
		}
		list = append(list, inc)
		if len(list) > 4*limit { // keep memory flat in the number of incidents
			slices.SortFunc(list, newer)
			list = slices.Delete(list, limit+1, len(list))
		}
		return true
	}
	prefixes := []string{"i/", "c/"}
	if f.State != "" && f.State != string(escalation.Resolved) {
		prefixes = prefixes[:1]
	}
	for _, prefix := range prefixes {
		if err := e.scan(ctx, prefix, collect); err != nil {
			return nil, "", fmt.Errorf("list incidents: %w", err)
		}
	}
	if broken != nil {
		e.log.Error("records that cannot be read are left out of the list", "err", broken)
	}
	slices.SortFunc(list, newer)
	list = slices.CompactFunc(list, func(a, b escalation.Incident) bool { return a.ID == b.ID })
	if len(list) <= limit {
		return list, "", nil
	}
	last := list[limit-1]
	return list[:limit], fmt.Sprintf("%d.%s", last.OpenedAt, last.ID), nil
}
