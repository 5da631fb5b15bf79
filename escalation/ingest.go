package escalation

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
	"callchain/routing/report"
)

// Group is the record beside the incidents of one Alertmanager group: (source,
// groupLabels), not groupKey, which changes whenever a route's matchers do.
type Group struct {
	Schema      int               `json:"z"`
	ID          string            `json:"id"`
	Source      string            `json:"src"`
	ExternalURL string            `json:"eu,omitempty"` // of an Alertmanager of the source
	Labels      map[string]string `json:"gl,omitempty"`

	// Incidents that an alert of the group may belong to: all open ones, and
	// closed ones while they may fire again or have alerts that still fire.
	Incidents []string `json:"in,omitempty"`
	Seq       int      `json:"q,omitempty"` // incidents opened so far; makes their ids differ

	Recorded  Episodes   `json:"rc,omitempty"` // firing alerts that open no incident
	Noted     []Noted    `json:"nt,omitempty"` // what was recorded of them
	Orphans   []Gone     `json:"or,omitempty"` // resolves whose firing was not seen, less than LateCopy ago
	Deferred  []Deferred `json:"df,omitempty"` // recorded alerts whose urgency may rise by itself
	Told      []Told     `json:"to,omitempty"` // stale rules that the group asked about today
	TouchedAt Instant    `json:"t,omitempty"`
}

// Deferred is an alert to be looked at again when a time interval opens.
type Deferred struct {
	Alert Alert   `json:"a"`
	At    Instant `json:"t"`
}

// Noted is what was recorded of alerts that opened no incident. When one of them
// comes to open one after all, that is taken back.
type Noted struct {
	At      Instant        `json:"t"`
	Subject string         `json:"s"`
	Reason  string         `json:"r"`
	Risks   []routing.Risk `json:"k,omitempty"`
	Alerts  []uint64       `json:"f"` // fingerprints, in order
}

// ledger has the alerts of a group that open no incident, while a webhook is
// taken in: it may have tens of thousands of them.
type ledger struct {
	episodes map[uint64]Episode
	noted    []Noted        // their Alerts are set at the end
	of       map[uint64]int // fingerprint to what was recorded of it
	changed  bool
}

func ledgerOf(g *Group) ledger {
	l := ledger{episodes: make(map[uint64]Episode, len(g.Recorded)), noted: slices.Clone(g.Noted), of: map[uint64]int{}}
	for _, e := range g.Recorded {
		l.episodes[e.Fingerprint] = e
	}
	for i, n := range g.Noted {
		for _, fp := range n.Alerts {
			l.of[fp] = i
		}
	}
	return l
}

// add takes an alert in, or notes that it still fires.
func (l *ledger) add(e Episode) {
	old, known := l.episodes[e.Fingerprint]
	if known {
		e.StartsAt, e.Urgency = max(old.StartsAt, e.StartsAt), old.Urgency
	}
	if e != old {
		l.episodes[e.Fingerprint], l.changed = e, true
	}
}

// note keeps what was recorded of an alert.
func (l *ledger) note(n Noted, fp uint64) {
	i := slices.IndexFunc(l.noted, func(o Noted) bool {
		return o.At == n.At && o.Subject == n.Subject && o.Reason == n.Reason && slices.Equal(o.Risks, n.Risks)
	})
	if i < 0 {
		i, l.noted = len(l.noted), append(l.noted, n)
	}
	l.of[fp] = i
}

// forget ends what is kept of an alert, and tells what was recorded of it: At is
// 0 if that is not known.
func (l *ledger) forget(fp uint64) (n Noted, known bool) {
	if _, known = l.episodes[fp]; !known {
		return n, false
	}
	if i, ok := l.of[fp]; ok {
		n = l.noted[i]
	}
	delete(l.episodes, fp)
	delete(l.of, fp)
	l.changed = true
	return n, true
}

// settle writes back what changed, in the order in which it is kept.
func (l *ledger) settle(g *Group) {
	if !l.changed {
		return
	}
	g.Recorded, g.Noted = nil, nil
	for _, fp := range slices.Sorted(maps.Keys(l.episodes)) {
		g.Recorded = append(g.Recorded, l.episodes[fp])
	}
	for i := range l.noted {
		l.noted[i].Alerts = nil
	}
	for _, fp := range slices.Sorted(maps.Keys(l.of)) {
		n := &l.noted[l.of[fp]]
		n.Alerts = append(n.Alerts, fp)
	}
	for _, n := range l.noted {
		if len(n.Alerts) > 0 {
			g.Noted = append(g.Noted, n)
		}
	}
}

// maxDeferred bounds the group record; further ones are looked at again when Alertmanager repeats them.
const maxDeferred = 50

// groupRetention is how long an untouched group record without open incidents is kept.
const (
	groupRetention    = 24 * time.Hour
	recordedRetention = 7 * 24 * time.Hour // with alerts that open no incident and still fire
)

// GroupID names the group of a source: its first byte is the partition of
// everything that belongs to it.
func GroupID(source string, labels map[string]string) (id string, partition uint8) {
	h := sha256.New()
	field := func(s string) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	field(source)
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		field(k)
		field(labels[k])
	}
	sum := h.Sum(nil)
	return hex.EncodeToString(sum[:10]), sum[0]
}

// incidentID makes the id of the next incident of a group: the partition in two
// hex digits, a dash, and ten letters and digits. It depends on the subject, the
// count and the instant, so that ids do not repeat when a group record was forgotten.
func (g *Group) incidentID(subject string, now Instant) string {
	h := sha256.New()
	h.Write([]byte(g.ID + "\x00" + subject + "\x00"))
	_ = binary.Write(h, binary.BigEndian, [2]int64{int64(g.Seq), int64(now)})
	return g.ID[:2] + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))[:10]
}

// Partition is the partition that an incident's id carries.
func Partition(id string) (uint8, bool) {
	if len(id) < 4 || id[2] != '-' {
		return 0, false
	}
	b, err := hex.DecodeString(id[:2])
	if err != nil {
		return 0, false
	}
	return b[0], true
}

// Resolutions counts what became of resolved alerts, for the metric.
type Resolutions struct{ Applied, Unknown, Early int }

// Ingested is what a webhook did to its group.
type Ingested struct {
	Group       Group
	Incidents   []Incident     // all that were given, and new ones
	Facts       []report.Event // of the alerts; what follows from them, Facts tells
	Resolutions Resolutions
	// StaleRules are those for which an incident was opened. The caller claims
	// their day; for those that another group claimed it calls Ingest again,
	// with them in quiet.
	StaleRules []StaleRule
}

// StaleRule is an alert of a decommissioned service: nearly always a rule that
// was forgotten. The fallback team is asked about it once a day.
type StaleRule struct{ Service, Alert string }

// Told is a stale rule and the day on which people were asked about it.
type Told struct {
	StaleRule
	Day string `json:"d"`
}

// Ingest sorts the alerts of a webhook into incidents and takes these through
// what they have to know. incs are the incidents that the group lists, as far
// as they exist. Order and repetition of webhooks do not matter within
// LateCopy; an alert that is absent says nothing at all.
func Ingest(g Group, incs []Incident, source string, w routing.Webhook, now time.Time, env Env, quiet map[StaleRule]bool) Ingested {
	return IngestBorn(g, incs, source, w, now, env, quiet, nil)
}

// IngestBorn is Ingest of a webhook that was taken in before, where the records
// could not be read: what it opens gets the id that people were told then. born
// has it by subject; a subject that is not there gets a new one.
func IngestBorn(g Group, incs []Incident, source string, w routing.Webhook, now time.Time, env Env, quiet map[StaleRule]bool, born map[string]string) Ingested {
	in := ingest{now: At(now), at: now, env: env, quiet: quiet, w: &w, born: born}
	in.out.Group = g
	if g.ID == "" {
		id, _ := GroupID(source, w.GroupLabels)
		in.out.Group = Group{Schema: Schema, ID: id, Source: source, Labels: w.GroupLabels}
	}
	in.out.Group.Incidents = slices.Clone(g.Incidents)
	in.recorded = ledgerOf(&g)
	in.out.Group.Deferred = slices.Clone(g.Deferred)
	in.out.Incidents = slices.Clone(incs)
	in.observes = make([]Observe, len(incs))
	in.out.Group.Orphans = fresh(g.Orphans, in.now)
	if in.out.Group.ExternalURL == "" { // peers have different ones: the first will do
		in.out.Group.ExternalURL = w.ExternalURL
	}

	// Resolves first: an alert that one webhook reports both ways is decided by
	// its instants, not by the order in the list.
	for i := range w.Alerts {
		if a := &w.Alerts[i]; !a.Firing {
			in.resolved(a)
		}
	}
	if len(in.orphans) > 0 {
		in.out.Group.Orphans = bury(in.out.Group.Orphans, in.orphans)
	}
	for i := range w.Alerts {
		if a := &w.Alerts[i]; a.Firing {
			in.firing(a)
		}
	}
	for i := range in.out.Incidents {
		ob := in.observes[i]
		if len(ob.Firing) == 0 && len(ob.Resolved) == 0 && !in.out.Incidents[i].Open() {
			continue
		}
		ob.Truncated = int(min(w.Truncated, 1<<30))
		if w.GroupKey == "" { // ours, for deferred alerts: it does not know
			ob.Truncated = in.out.Incidents[i].Truncated
		}
		before := in.out.Incidents[i]
		in.out.Incidents[i], _ = Step(before, ob, now, env)
		if ev, any := in.heard(ob, &before, &in.out.Incidents[i]); any {
			in.out.Facts = append(in.out.Facts, ev)
		}
	}
	in.recorded.settle(&in.out.Group)
	in.prune()
	return in.out
}

type ingest struct {
	out      Ingested
	observes []Observe // beside out.Incidents
	w        *routing.Webhook
	orphans  []Gone
	recorded ledger
	ended    map[uint64]Instant // by the webhook's own resolves
	counted  map[uint64]bool    // episodes that were counted before, as far as their incident does not know them
	now      Instant
	at       time.Time
	env      Env
	quiet    map[StaleRule]bool
	born     map[string]string // ids that were given before, by subject
}

// forget ends what is kept of a recorded alert.
func (in *ingest) forget(fp uint64) (n Noted, known bool) {
	if n, known = in.recorded.forget(fp); known {
		g := &in.out.Group
		g.Deferred = slices.DeleteFunc(g.Deferred, func(d Deferred) bool { return d.Alert.Fingerprint == fp })
	}
	return n, known
}

func (in *ingest) count(fp uint64) {
	if in.counted == nil {
		in.counted = map[uint64]bool{}
	}
	in.counted[fp] = true
}

// end remembers a resolve that counts.
func (in *ingest) end(fp uint64, ends Instant) {
	if in.ended == nil {
		in.ended = map[uint64]Instant{}
	}
	in.ended[fp] = max(in.ended[fp], ends)
}

// day is the day of what is asked once a day.
func (in *ingest) day() string { return in.at.UTC().Format(time.DateOnly) }

// toldToday are the stale rules that the group asked about today.
func (in *ingest) toldToday() []Told {
	return slices.DeleteFunc(slices.Clone(in.out.Group.Told), func(t Told) bool { return t.Day != in.day() })
}

func (in *ingest) told(rule StaleRule) bool {
	return slices.Contains(in.out.Group.Told, Told{rule, in.day()})
}

func (in *ingest) resolved(a *routing.WebhookAlert) {
	ends := clampInstant(At(a.EndsAt))
	if ends == 0 {
		ends = in.now // said to be over, not when
	}
	for i := range in.out.Incidents {
		inc := &in.out.Incidents[i]
		j, ok := inc.Episodes.find(a.Fingerprint)
		if !ok {
			continue
		}
		if !a.EndsAt.IsZero() && ends < inc.Episodes[j].StartsAt {
			in.out.Resolutions.Early++
			return
		}
		in.out.Resolutions.Applied++
		in.end(a.Fingerprint, ends)
		in.observes[i].Resolved = append(in.observes[i].Resolved, Seen{Alert: keep(a)})
		return
	}
	if e, ok := in.recorded.episodes[a.Fingerprint]; ok {
		if ends >= e.StartsAt {
			in.forget(a.Fingerprint)
			in.orphans = append(in.orphans, Gone{a.Fingerprint, ends, in.now})
		}
		return
	}
	in.out.Resolutions.Unknown++
	// Its firing may still be on the way, from a peer that is slower.
	in.orphans = append(in.orphans, Gone{a.Fingerprint, ends, in.now})
}

func (in *ingest) firing(a *routing.WebhookAlert) {
	starts := clampInstant(At(a.StartsAt))
	if in.late(a.Fingerprint, starts) {
		return
	}
	r := in.env.Router.Route(routing.Alert{Labels: a.Labels, RouteLabels: in.w.RouteLabels}, in.at)
	seen := Seen{Alert: keep(a), Urgency: r.Urgency, ReviewAt: At(r.ReviewAt), Risks: r.Risks, Confidential: r.Confidential}

	for i := range in.out.Incidents {
		inc := &in.out.Incidents[i]
		if !inc.Episodes.Firing(a.Fingerprint) {
			continue
		}
		if !inc.Open() {
			// Closed by hand, or by its last paging alert, while this one goes on:
			// it stays quiet until a new episode begins. The instants are another
			// clock's: what began in our future is still the same.
			j, _ := inc.Episodes.find(a.Fingerprint)
			// One that has come to count for more than the incident closed with was
			// never answered.
			rose := inc.ClosedBy == nil && r.Urgency.Rank() > inc.Episodes[j].Urgency.Rank()
			same := starts <= max(inc.ClosedAt, inc.Episodes[j].StartsAt)
			if same && !rose {
				return
			}
			if same {
				in.count(a.Fingerprint) // when the incident had it
			}
			inc.Episodes = slices.Clone(inc.Episodes)
			inc.Episodes = slices.Delete(inc.Episodes, j, j+1)
			continue
		}
		in.observes[i].Firing = append(in.observes[i].Firing, seen)
		return
	}

	g := &in.out.Group
	reason := "urgency record: nobody is told"
	record := r.Urgency == config.Record
	stale := StaleRule{r.Service, a.Labels["alertname"]}
	i := in.find(r.Subject)
	asks := r.Assessment == catalog.Decommissioned && !record && (i < 0 || !in.out.Incidents[i].Open())
	if asks && (in.quiet[stale] || in.told(stale)) {
		record, reason = true, "the service is decommissioned and the fallback team was told of this alert today"
	}
	if record {
		_, known := in.recorded.episodes[a.Fingerprint]
		in.recorded.add(Episode{a.Fingerprint, starts, r.Urgency})
		if !known && !in.counted[a.Fingerprint] {
			in.count(a.Fingerprint)
			in.out.Facts = append(in.out.Facts, recordedFact(seen.Alert, r, reason, in.at, in.env))
			in.recorded.note(Noted{At: in.now, Subject: r.Subject, Reason: reason, Risks: r.Risks}, a.Fingerprint)
		}
		if seen.ReviewAt != 0 && len(g.Deferred) < maxDeferred &&
			!slices.ContainsFunc(g.Deferred, func(d Deferred) bool { return d.Alert.Fingerprint == a.Fingerprint }) {
			g.Deferred = append(g.Deferred, Deferred{seen.Alert, seen.ReviewAt})
		}
		return
	}
	if noted, ok := in.forget(a.Fingerprint); ok {
		in.count(a.Fingerprint) // when it was recorded
		if noted.At != 0 {
			in.out.Facts = append(in.out.Facts, takenBack(noted, seen.Alert, in.env))
		}
	}
	if asks {
		in.out.StaleRules = append(in.out.StaleRules, stale)
		g.Told = append(in.toldToday(), Told{stale, in.day()})
	}
	if i < 0 {
		i = in.open(r)
	}
	in.observes[i].Firing = append(in.observes[i].Firing, seen)
}

// late tells whether a firing is a late copy of an episode that was resolved.
func (in *ingest) late(fp uint64, starts Instant) bool {
	match := func(gone []Gone) bool {
		i, ok := slices.BinarySearchFunc(gone, fp, func(t Gone, fp uint64) int { return cmp.Compare(t.Fingerprint, fp) })
		return ok && starts <= gone[i].EndsAt && in.now < gone[i].Received.plus(LateCopy)
	}
	if ends, ok := in.ended[fp]; ok && starts <= ends || match(in.out.Group.Orphans) {
		return true
	}
	for i := range in.out.Incidents {
		if match(in.out.Incidents[i].Gone) {
			return true
		}
	}
	return false
}

// find returns the incident that a new alert of the subject belongs to: the open
// one, else the one whose alerts resolved it less than reopen_within ago, else -1.
// What somebody closed stays closed.
func (in *ingest) find(subject string) int {
	best := -1
	for i := range in.out.Incidents {
		inc := &in.out.Incidents[i]
		if inc.Subject != subject {
			continue
		}
		if inc.Open() {
			return i
		}
		if !inc.Archived && inc.ClosedBy == nil && in.now <= inc.ClosedAt.plus(in.env.reopenWithin()) && (best < 0 || inc.ClosedAt > in.out.Incidents[best].ClosedAt) {
			best = i
		}
	}
	return best
}

// open adds an incident without alerts; the Observe that follows starts it.
func (in *ingest) open(r routing.Resolution) int {
	g := &in.out.Group
	inc := Incident{
		Schema:       Schema,
		ID:           g.incidentID(r.Subject, in.now),
		Source:       g.Source,
		Group:        g.ID,
		GroupLabels:  g.Labels,
		ExternalURL:  in.w.ExternalURL,
		Target:       r.Target,
		Lifecycle:    r.State,
		Assessment:   r.Assessment,
		Missing:      r.MissingRoles,
		MatchedBy:    r.MatchedBy,
		Reason:       r.Reason,
		AlsoAffected: r.AlsoAffected,
		Confidential: r.Confidential,
		State:        Triggered,
		Urgency:      config.Record,
		OpenedAt:     in.now,
	}
	if id := in.born[r.Subject]; id != "" && !slices.Contains(g.Incidents, id) {
		inc.ID = id
	}
	g.Seq++
	g.Incidents = append(g.Incidents, inc.ID)
	in.out.Incidents = append(in.out.Incidents, inc)
	in.observes = append(in.observes, Observe{})
	return len(in.out.Incidents) - 1
}

// prune drops incidents from the group that no alert can belong to any more.
func (in *ingest) prune() {
	in.out.Group.Incidents, in.out.Group.TouchedAt = listed(in.out.Incidents), in.now
}

func listed(incs []Incident) []string {
	var ids []string
	for i := range incs {
		if inc := &incs[i]; !inc.Archived || len(inc.Episodes) > 0 {
			ids = append(ids, inc.ID)
		}
	}
	return ids
}

// TickGroup does what is due in a group: it returns the webhook that stands for
// alerts to be looked at again, and whether the record can be deleted. incs are
// the incidents it lists, as far as they still exist.
func TickGroup(g Group, incs []Incident, now time.Time, env Env) (Group, routing.Webhook, bool) {
	at := At(now)
	w := routing.Webhook{GroupLabels: g.Labels, ExternalURL: g.ExternalURL}
	var rest []Deferred
	for _, d := range g.Deferred {
		if !d.At.due(at) {
			rest = append(rest, d)
			continue
		}
		w.Alerts = append(w.Alerts, routing.WebhookAlert{
			Firing: true, Labels: d.Alert.Labels, Annotations: d.Alert.Annotations, StartsAt: d.Alert.StartsAt.Time(),
			GeneratorURL: d.Alert.Source, Fingerprint: d.Alert.Fingerprint,
		})
	}
	g.Deferred = rest
	g.Orphans = fresh(g.Orphans, at)
	g.Incidents = listed(incs)
	// Alerts whose end is never told, as with send_resolved: false, are kept for a while only.
	quiet := at >= g.TouchedAt.plus(groupRetention) && len(g.Recorded) == 0 || at >= g.TouchedAt.plus(recordedRetention)
	gone := len(g.Incidents) == 0 && len(w.Alerts) == 0 && quiet
	return g, w, gone
}

// Wake is when the group record wants to be looked at again.
func (g *Group) Wake() Instant {
	wake := g.TouchedAt.plus(groupRetention)
	for _, d := range g.Deferred {
		wake = min(wake, d.At)
	}
	return wake
}

// fresh are the tombstones that still matter.
func fresh(gone []Gone, now Instant) []Gone {
	var out []Gone
	for _, t := range gone {
		if now < t.Received.plus(LateCopy) {
			out = append(out, t)
		}
	}
	return out
}

// bury adds tombstones, by fingerprint. Of two for one alert the later end
// counts; a repeated resolve does not prolong the minute.
func bury(gone, more []Gone) []Gone {
	out := slices.Concat(gone, more)
	slices.SortStableFunc(out, func(a, b Gone) int {
		if c := cmp.Compare(a.Fingerprint, b.Fingerprint); c != 0 {
			return c
		}
		return cmp.Compare(b.EndsAt, a.EndsAt)
	})
	return slices.CompactFunc(out, func(a, b Gone) bool { return a.Fingerprint == b.Fingerprint })
}

// keep takes of an alert what pages and later looks at it need, within bounds.
func keep(a *routing.WebhookAlert) Alert {
	out := Alert{Fingerprint: a.Fingerprint, Source: cut(a.GeneratorURL, 2*maxValue), StartsAt: clampInstant(At(a.StartsAt)), Labels: make(map[string]string, len(a.Labels))}
	for k, v := range a.Labels {
		out.Labels[k] = cut(v, maxValue)
	}
	for _, k := range []string{"summary", "description", "message", "runbook_url", "runbook", "dashboard", "dashboard_url", "dashboardURL"} {
		if v, ok := a.Annotations[k]; ok {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[k] = cut(v, maxValue)
		}
	}
	if !a.Firing {
		out.EndsAt = clampInstant(At(a.EndsAt))
	}
	return out
}

// cut shortens a string to n runes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i] + "…"
		}
		n--
	}
	return s
}
