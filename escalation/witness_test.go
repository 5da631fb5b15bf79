package escalation

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/config"
)

// heeded is an incident with two alerts that page, 1 and 2, and one that does
// not, 3; its last line is a minute old.
func heeded() Incident {
	return Incident{
		Schema: Schema, ID: "3f-a", State: Triggered, Urgency: config.Page, SeenAt: At(epoch), LastSeq: 4,
		Deadline: At(epoch.Add(time.Minute)), Round: 1,
		Episodes: Episodes{{1, 1, config.Page}, {2, 1, config.Page}, {3, 1, config.Notify}},
		Timeline: []Entry{{Seq: 4, At: At(epoch.Add(-time.Minute)), Text: "x"}},
	}
}

func TestHeed(t *testing.T) {
	quiet, loud := Sight{Silenced: []string{"s"}}, Sight{Active: true}
	all := func(change func(*Look)) Look {
		l := Look{
			At: At(epoch), Heard: true, Whole: true, Up: time.Hour,
			Alerts:   map[uint64]Sight{1: quiet, 2: quiet, 3: loud},
			Silences: map[string]Silence{"s": {By: "ana\n@here", Comment: "a\tb", Ends: At(epoch.Add(time.Hour))}},
		}
		change(&l)
		return l
	}
	nothing := func(*Look) {}
	for name, test := range map[string]struct {
		inc  func(*Incident)
		look func(*Look)
		want string
	}{
		"all that page are silenced":   {nil, nothing, "held"},
		"one of them is not":           {nil, func(l *Look) { l.Alerts[2] = loud }, ""},
		"one is over":                  {nil, func(l *Look) { delete(l.Alerts, 2) }, "held"},
		"one is over, a peer is away":  {nil, func(l *Look) { delete(l.Alerts, 2); l.Whole = false }, ""},
		"one is over, a peer is young": {nil, func(l *Look) { delete(l.Alerts, 2); l.Up = time.Minute }, ""},
		"one came after the question":  {func(inc *Incident) { inc.Timeline[0].At = At(epoch) }, func(l *Look) { delete(l.Alerts, 2) }, ""},
		"all are over":                 {nil, func(l *Look) { clear(l.Alerts) }, ""},
		"all are over while held":      {func(inc *Incident) { inc.Held, inc.Hold = true, &Hold{Until: 1} }, func(l *Look) { clear(l.Alerts) }, "held"},
		"some were cut off":            {func(inc *Incident) { inc.Truncated = 1 }, nothing, ""},
		"acknowledged":                 {func(inc *Incident) { inc.State = Acknowledged }, nothing, ""},
		"resolved":                     {func(inc *Incident) { inc.State = Resolved }, nothing, ""},
		"wakes nobody":                 {func(inc *Incident) { inc.Urgency = config.Notify }, nothing, ""},
		"nobody answered":              {nil, func(l *Look) { l.Heard = false }, ""},
		"a notice":                     {func(inc *Incident) { inc.Kind = Notice }, nothing, ""},
		"still held":                   {func(inc *Incident) { inc.Held, inc.Hold = true, &Hold{Until: 1} }, nothing, "held"},
		"not silenced any more":        {func(inc *Incident) { inc.Held, inc.Hold = true, &Hold{Until: 1} }, func(l *Look) { l.Alerts[1] = loud }, "released"},
		"held, part over, part loud":   {func(inc *Incident) { inc.Held, inc.Hold = true, &Hold{Until: 1} }, func(l *Look) { l.Alerts = map[uint64]Sight{1: loud} }, "released"},
		"held, and one peer lost all":  {func(inc *Incident) { inc.Held, inc.Hold = true, &Hold{Until: 1} }, func(l *Look) { clear(l.Alerts); l.Whole = false }, ""},
		"no word for long":             {func(inc *Incident) { inc.SeenAt, inc.State = At(epoch.Add(-7*time.Hour)), Acknowledged }, nothing, "heard"},
		"no word, and it is not known": {func(inc *Incident) { inc.SeenAt = At(epoch.Add(-7 * time.Hour)) }, func(l *Look) { clear(l.Alerts) }, ""},
	} {
		inc := heeded()
		if test.inc != nil {
			test.inc(&inc)
		}
		got := ""
		switch ev := inc.Heed(all(test.look), epoch).(type) {
		case Held:
			got = "held"
			if ev.Until <= At(epoch) || ev.Until > At(epoch.Add(holdFor)) {
				t.Errorf("%s: held until %v", name, ev.Until.Time())
			}
		case Released:
			got = "released"
		case Heard:
			got = "heard"
		}
		if got != test.want {
			t.Errorf("%s: %q; want %q", name, got, test.want)
		}
	}
	inc := heeded()
	got := inc.Heed(all(func(l *Look) {
		l.Silences["s"] = Silence{By: "ana\n@here", Comment: "a\tb", Ends: At(epoch.Add(-time.Hour))}
	}), epoch)
	want := Held{Seq: 4, Silences: []Silence{{By: "ana @here", Comment: "a b", Ends: At(epoch.Add(-time.Hour))}}, Until: At(epoch.Add(holdAtLeast))}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("an end that is over by another clock (-want +got):\n%s", diff)
	}
}

// An answer that is older than the last line changes nothing: an alert may have
// come since.
func TestOldAnswers(t *testing.T) {
	env := commonEnv(t)
	for _, ev := range []Event{
		Held{Seq: 3, Until: At(epoch.Add(time.Minute))},
		Held{Seq: 4, Until: At(epoch)},
		Vanished{Seq: 3, Alerts: []uint64{1, 2}},
		Released{Seq: 4},
	} {
		inc := heeded()
		next, answer := Step(inc, ev, epoch, env)
		if next.Held || len(next.Episodes) != 3 || next.LastSeq != 4 || answer.Kind != Unchanged {
			t.Errorf("%#v: %s, %s", ev, answer.Kind, next.Summary())
		}
	}
}

// At the end of a hold at most one step is taken, and by the next event.
func TestOneStepAfterHold(t *testing.T) {
	env := commonEnv(t)
	inc := heeded()
	inc.Subject, inc.Service, inc.Deadline = "service:parsoid", "parsoid", At(epoch)
	inc, _ = Step(inc, Held{Seq: 4, Until: At(epoch.Add(8 * time.Hour))}, epoch, env)
	now := epoch.Add(7 * time.Hour)
	before := inc.Place()
	inc, _ = Step(inc, Released{Seq: inc.LastSeq}, now, env)
	if inc.Place() != before {
		t.Fatal("the release itself took a step")
	}
	for range 5 {
		inc, _ = Step(inc, Tick{}, now.Add(time.Second), env)
	}
	if moves := inc.Moves; moves != 1 {
		t.Errorf("%d steps after seven hours on hold", moves)
	}
}
