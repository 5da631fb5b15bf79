package escalation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Alertmanager is asked as a witness: it knows of silences and inhibitions, which
// it never tells, and which alerts there are at all. What it says changes an
// incident by the events below and no other way. Each carries the LastSeq that
// the incident had when it was held against the answer: if a line came in
// between, perhaps a new alert, the answer is too old and nothing happens.

// Held says that Alertmanager keeps quiet about every alert that could page.
type Held struct {
	Seq       int
	Silences  []Silence // that do it, by their end
	Inhibited bool      // another alert does, of some of them
	Until     Instant   // for so long it may be believed; asked again it is prolonged
}

// Released says that at least one alert that pages is not kept quiet.
type Released struct{ Seq int }

// Vanished says that Alertmanager does not know these alerts any more.
type Vanished struct {
	Seq    int
	Alerts []uint64 // fingerprints
}

// Heard says that Alertmanager still knows the incident's alerts.
type Heard struct{}

func (Held) event()     {}
func (Released) event() {}
func (Vanished) event() {}
func (Heard) event()    {}

// Silence is what Alertmanager says of one: By and Comment are anybody's text.
type Silence struct {
	By      string  `json:"b,omitempty"`
	Comment string  `json:"c,omitempty"`
	Ends    Instant `json:"e,omitempty"`
}

// Hold is kept while an incident is held.
type Hold struct {
	Until     Instant   `json:"u"` // then it goes on, unless Alertmanager confirms the hold before
	Left      Instant   `json:"l"` // milliseconds of the wait that were left
	Silences  []Silence `json:"s,omitempty"`
	Inhibited bool      `json:"i,omitempty"`
	Told      bool      `json:"t,omitempty"` // those who were paged were told
}

// Look is what the Alertmanagers of a source know, all of them taken together.
type Look struct {
	At       Instant            // when they were asked
	Heard    bool               // at least one answered
	Whole    bool               // every one did, and together they are the whole cluster
	Up       time.Duration      // for how long the youngest of them has been up
	Alerts   map[uint64]Sight   // by fingerprint
	Silences map[string]Silence // by id: those that keep some alert quiet
}

// Sight is one alert that Alertmanager knows.
type Sight struct {
	Active    bool     // one of them would send it: it is neither silenced nor inhibited
	Silenced  []string // ids of silences
	Inhibited bool
	Receivers []string
}

// settledAfter is how long every Alertmanager must have been up before the
// absence of an alert says something: after a start it knows none.
const settledAfter = 5 * time.Minute

// Settled tells whether an alert that was not seen is not there.
func (l *Look) Settled() bool { return l.Whole && l.Up > settledAfter }

// How long a hold is believed without a further word: longer than a few rounds of
// asking, so that an Alertmanager that is away for a moment does not end it, and
// no longer, so that one that is gone cannot keep people from being woken.
const (
	holdFor     = 10 * time.Minute
	holdAtLeast = 15 * time.Second // also when the silence is about to end
)

// heardEvery is how old the last word may be before the witness refreshes it.
const heardEvery = 6 * time.Hour

// Heed holds an incident against what Alertmanager knows: it returns Held,
// Released, Heard, or nil if there is nothing to say.
func (inc *Incident) Heed(l Look, now time.Time) Event {
	if inc.Kind != Alerts || !inc.Open() || !l.Heard {
		return nil
	}
	var active, quiet, absent int
	var ids []string
	inhibited, known := false, false
	for _, e := range inc.Episodes {
		sight, ok := l.Alerts[e.Fingerprint]
		known = known || ok
		switch {
		case inc.Urgency.Pages() && !e.Urgency.Pages(): // it does not keep the chain going
		case !ok:
			absent++
		case sight.Active:
			active++
		default:
			quiet++
			ids = append(ids, sight.Silenced...)
			inhibited = inhibited || len(sight.Silenced) == 0
		}
	}
	// One that is absent does not fire; but only if it cannot have come since.
	since := len(inc.Timeline) == 0 || inc.Timeline[len(inc.Timeline)-1].At < l.At
	trusted := absent == 0 || l.Settled() && since
	holds := (inc.State == Triggered || inc.unpaused(At(now))) && inc.Urgency.Pages()
	switch {
	case holds && inc.Held && active > 0:
		return Released{Seq: inc.LastSeq}
	case holds && inc.Held && quiet == 0 && absent > 0 && trusted && inc.Hold != nil:
		// It ended while it was kept quiet: on hold until that is certain.
		return Held{Seq: inc.LastSeq, Silences: inc.Hold.Silences, Inhibited: inc.Hold.Inhibited, Until: At(now).plus(holdFor)}
	case holds && active == 0 && quiet > 0 && trusted && inc.Truncated == 0:
		ev := Held{Seq: inc.LastSeq, Inhibited: inhibited, Until: At(now).plus(holdFor)}
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			s := l.Silences[id]
			s.By, s.Comment = oneLine(s.By, 80), oneLine(s.Comment, 200)
			ev.Silences = append(ev.Silences, s)
			if s.Ends != 0 { // asked again right after the first of them ends
				ev.Until = min(ev.Until, max(s.Ends.plus(2*time.Second), At(now).plus(holdAtLeast)))
			}
		}
		slices.SortStableFunc(ev.Silences, func(a, b Silence) int { return int(a.Ends - b.Ends) })
		if n := len(ev.Silences); n > maxSilences {
			ev.Silences = ev.Silences[n-maxSilences:]
		}
		return ev
	case known && At(now) >= inc.SeenAt.plus(heardEvery):
		return Heard{}
	}
	return nil
}

const maxSilences = 5 // that a record keeps: those that end last

// hold makes the chain wait.
func (s *stepper) hold(ev Held) Answer {
	if s.Kind != Alerts || s.State != Triggered && !s.unpaused(s.now) || !s.Urgency.Pages() || ev.Seq != s.LastSeq || ev.Until <= s.now {
		return Answer{Kind: Unchanged}
	}
	if s.State != Triggered {
		s.unpauseQuietly()
	}
	if s.Held && s.Hold != nil {
		h := *s.Hold
		if ev.Until < h.Until || h.Until < s.now.plus(holdFor/2) { // no write at every round
			h.Until = ev.Until
		}
		said := s.Hold.words()
		h.Silences, h.Inhibited = ev.Silences, ev.Inhibited
		if h.words() != said {
			s.note("still on hold: "+h.words(), "")
			s.Rev++
		} else if h.Until == s.Hold.Until {
			return Answer{Kind: Unchanged}
		}
		s.Hold = &h
		return Answer{Kind: Done}
	}
	timer := s.NextStepAt()
	s.Hold = &Hold{Until: ev.Until, Left: max(0, timer-s.now), Silences: ev.Silences, Inhibited: ev.Inhibited}
	s.Held = true
	s.Deadline, s.RemindAt, s.ExhaustAt = 0, 0, 0
	s.note("on hold: "+s.Hold.words()+"; nobody further is paged meanwhile", "")
	s.Rev++
	if s.HeldTold == 0 || s.now >= s.HeldTold.plus(heldTold) {
		s.Hold.Told, s.HeldTold = true, s.now
		s.tell(fmt.Sprint("held ", s.now), "")
	}
	return Answer{Kind: Done}
}

// heldTold bounds the mails to those who were paged, who are told that the chain
// waits and that it goes on: not when it does so again and again.
const heldTold = 10 * time.Minute

// release lets the chain go on where it was: what was left of the wait is waited.
func (s *stepper) release(why string) {
	var h Hold
	if s.Hold != nil {
		h = *s.Hold
	}
	left := max(time.Duration(h.Left)*time.Millisecond, time.Millisecond) // the next step is another event
	s.endHold()
	if s.Exhausted {
		s.ExhaustAt = s.now.plus(left)
	} else {
		s.Deadline = s.now.plus(left)
		s.armReminder(s.chain(0, nil).RemindEvery)
	}
	s.note(why+": the escalation goes on", "")
	s.Rev++
	if h.Told {
		s.tell(fmt.Sprint("released ", s.now), "")
	}
}

// endHold ends a hold for a new step, an answer or the end.
func (s *stepper) endHold() { s.Held, s.Hold = false, nil }

func (s *stepper) released(ev Released) Answer {
	if !s.Held || s.State != Triggered || ev.Seq != s.LastSeq {
		return Answer{Kind: Unchanged}
	}
	s.release("not silenced or inhibited any more, and it still fires")
	return Answer{Kind: Done}
}

// words says who keeps the alerts quiet, and until when.
func (h *Hold) words() string {
	if h == nil {
		return "Alertmanager keeps it quiet"
	}
	var said []string
	for _, silence := range h.Silences {
		text := "silenced in Alertmanager"
		if silence.By != "" {
			text += " by " + silence.By
		}
		if silence.Ends != 0 {
			text += " until " + silence.Ends.Time().Format("2006-01-02 15:04 UTC")
		}
		if silence.Comment != "" {
			text += " (" + silence.Comment + ")"
		}
		if !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	if h.Inhibited || len(said) == 0 {
		said = append(said, "inhibited in Alertmanager by another alert")
	}
	return strings.Join(said, ", ")
}

// holdUntil is when a hold ends by itself; 0 if there is none.
func (inc *Incident) holdUntil() Instant {
	switch {
	case !inc.Held:
		return 0
	case inc.Hold == nil:
		return 1 // nothing says why: it is over
	}
	return inc.Hold.Until
}

// Rings tells whether what is due now would wake or remind somebody: before that
// Alertmanager is asked.
func (inc *Incident) Rings(now time.Time) bool {
	at := At(now)
	return inc.Kind == Alerts && inc.Urgency.Pages() && (inc.unpaused(at) || inc.State == Triggered &&
		(inc.Deadline.due(at) || inc.RemindAt.due(at) || inc.ExhaustAt.due(at) || inc.holdUntil().due(at)))
}

// HeldBecause says who keeps the incident's alerts quiet, and until when; "" if
// it is not held. Some of it is what somebody wrote into a silence.
func (inc *Incident) HeldBecause() string {
	if !inc.Held {
		return ""
	}
	return inc.Hold.words()
}

// vanished takes alerts for over that Alertmanager does not know any more. That
// is its word and not a resolve with an instant: if one of them fires after all
// it is no late copy.
func (s *stepper) vanished(ev Vanished) Answer {
	if s.Kind != Alerts || !s.Open() || ev.Seq != s.LastSeq {
		return Answer{Kind: Unchanged}
	}
	gone := 0
	for _, fp := range ev.Alerts {
		i, ok := s.Episodes.find(fp)
		if !ok {
			continue
		}
		s.Episodes = slices.Delete(s.Episodes, i, i+1)
		s.Over++
		gone++
		for j := range s.Shown {
			if s.Shown[j].Fingerprint == fp {
				s.Shown[j].EndsAt = s.now
			}
		}
	}
	switch {
	case gone == 0:
		return Answer{Kind: Unchanged}
	case s.still() == 0:
		s.resolve(nil, "resolved: Alertmanager no longer knows it")
	default:
		what := "1 alert"
		if gone > 1 {
			what = fmt.Sprintf("%d alerts", gone)
		}
		s.note(fmt.Sprintf("Alertmanager no longer knows %s, %d still firing", what, s.Firing()), "")
		s.Rev++
	}
	return Answer{Kind: Done}
}

func (s *stepper) heard() Answer {
	if s.Kind != Alerts || !s.Open() || s.now < s.SeenAt.plus(time.Minute) && !s.Stale {
		return Answer{Kind: Unchanged}
	}
	s.SeenAt = s.now
	s.notStale()
	return Answer{Kind: Done}
}

// The longest repeat of Alertmanager's that an incident has seen decides when it
// is stale; a gap of a week was none.
const (
	staleAtLeast = 24 * time.Hour
	maxRepeat    = 7 * 24 * time.Hour
)

// spoken notes that a webhook spoke of the incident.
func (s *stepper) spoken(repeats bool) {
	// To the minute, so that repeats and second copies from a peer cost no write.
	if s.now >= s.SeenAt.plus(time.Minute) {
		if repeats && s.SeenAt != 0 {
			s.Repeat = max(s.Repeat, min(s.now-s.SeenAt, Instant(maxRepeat.Milliseconds())))
		}
		s.SeenAt = s.now
	}
}

// staleAfter is how long an incident may go without a word.
func (s *stepper) staleAfter() time.Duration {
	if after := time.Duration(s.env.Settings.StaleAfter.V); after > 0 {
		return after
	}
	return max(staleAtLeast, 3*time.Duration(s.Repeat)*time.Millisecond)
}

// armStale sets when the incident is to be marked: it ends every step.
func (s *stepper) armStale() {
	s.StaleAt = 0
	if s.Kind == Alerts && s.Open() && !s.Stale && s.SeenAt != 0 {
		s.StaleAt = s.SeenAt.plus(s.staleAfter())
	}
}

// markStale says that nobody knows whether it still fires. It stays open: an
// absent word is no resolve.
func (s *stepper) markStale() {
	s.Stale = true
	e := s.note(fmt.Sprintf("stale: no word from Alertmanager since %s; look whether it still fires, and resolve it by hand if it does not",
		s.SeenAt.Time().Format("2006-01-02 15:04 UTC")), "")
	e.Ring = true
	if s.State == Acknowledged && s.Ack != nil {
		e.Mention = s.Ack.Handle
	}
	s.Rev++
}

// notStale tells whether it was, and ends it.
func (s *stepper) notStale() bool {
	if !s.Stale {
		return false
	}
	s.Stale = false
	s.note("Alertmanager speaks of it again: it is not stale any more", "")
	s.Rev++
	return true
}

// oneLine makes what somebody wrote fit for a line of the timeline.
func oneLine(text string, n int) string {
	return cut(strings.Join(strings.Fields(strings.ToValidUTF8(text, "�")), " "), n)
}

// absentAfter rounds in a row without an alert, and it is over. lostAfter rounds
// in a row with one that callchain does not know, and it was lost on the way:
// Alertmanager may take a group_interval to tell it.
const (
	absentAfter = 3
	lostAfter   = 5
)

// Watch is what is kept of a source from one round of asking its Alertmanagers to
// the next.
type Watch struct {
	Schema    int                `json:"z"`
	Source    string             `json:"src"`
	Receivers map[string]Instant `json:"r,omitempty"` // that webhooks came from, and when last
	Absent    map[uint64]int     `json:"a,omitempty"` // alerts of open incidents: rounds in a row without them
	Unknown   map[uint64]int     `json:"u,omitempty"` // alerts that callchain does not know: rounds in a row with them

	ExternalURL string `json:"eu,omitempty"` // of one of the Alertmanagers, as a webhook gave it
}

// Bounds of a watch, and for how long a receiver is callchain's without a webhook.
const (
	maxReceivers   = 100
	maxWatched     = 100_000
	receiverKept   = 30 * 24 * time.Hour
	receiverEvery  = 24 * time.Hour // so often a use is noted
	maxReceiverLen = 300
)

// Learn notes that a webhook came from a receiver, and whether that is news.
func (w Watch) Learn(receiver, externalURL string, now time.Time) (Watch, bool) {
	at, known := w.Receivers[receiver]
	if receiver == "" || len(receiver) > maxReceiverLen || known && At(now) < at.plus(receiverEvery) || !known && len(w.Receivers) >= maxReceivers {
		return w, false
	}
	receivers := map[string]Instant{receiver: At(now)}
	for name, at := range w.Receivers {
		if name != receiver && At(now) < at.plus(receiverKept) {
			receivers[name] = at
		}
	}
	w.Receivers = receivers
	if externalURL != "" && len(externalURL) < 2*maxValue {
		w.ExternalURL = externalURL
	}
	return w, true
}

// Round holds what callchain knows of a source against what its Alertmanagers do:
// firing has the alerts of its open incidents, noted all others that it knows.
// absent are those that are over, lost those that never came here.
func (w Watch) Round(l Look, firing, noted map[uint64]bool) (next Watch, absent, lost map[uint64]bool) {
	next = w
	next.Absent, next.Unknown = nil, nil
	absent, lost = map[uint64]bool{}, map[uint64]bool{}
	count := func(rounds, before map[uint64]int, fp uint64, enough int, done map[uint64]bool) map[uint64]int {
		if rounds == nil {
			rounds = map[uint64]int{}
		}
		if n := before[fp] + 1; n >= enough {
			done[fp] = true // and counted anew, should nothing come of it
		} else if len(rounds) < maxWatched {
			rounds[fp] = n
		}
		return rounds
	}
	if l.Settled() {
		for fp := range firing {
			if _, ok := l.Alerts[fp]; !ok {
				next.Absent = count(next.Absent, w.Absent, fp, absentAfter, absent)
			}
		}
	}
	for fp, sight := range l.Alerts {
		ours := slices.ContainsFunc(sight.Receivers, func(name string) bool { _, ok := w.Receivers[name]; return ok })
		if ours && sight.Active && !firing[fp] && !noted[fp] {
			next.Unknown = count(next.Unknown, w.Unknown, fp, lostAfter, lost)
		}
	}
	return next, absent, lost
}

// Vanish is the event for an incident some of whose alerts are over; nil if none is.
func (inc *Incident) Vanish(absent map[uint64]bool) Event {
	ev := Vanished{Seq: inc.LastSeq}
	for _, e := range inc.Episodes {
		if absent[e.Fingerprint] {
			ev.Alerts = append(ev.Alerts, e.Fingerprint)
		}
	}
	if len(ev.Alerts) == 0 || !inc.Open() {
		return nil
	}
	return ev
}
