package server

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"callchain/escalation"
	"callchain/escalation/engine"
)

// The pages are for anybody who can reach the private address: they show no
// contact data and no confidential incident, and change nothing.

type row struct {
	ID, Name, Urgency, Alert, Since, With, Next string
	State                                       escalation.State
	Exhausted, Test, Held, Stale, Flapping      bool
	Until                                       string // of a snooze
}

// frame is what every page has at its head.
type frame struct {
	Shadow bool // nothing is sent: nobody was woken, whatever the page says
}

func (s *Server) frame() frame { return frame{Shadow: s.engine.Snapshot().Config.Shadow.V} }

func (s *Server) pages(mux *http.ServeMux) {
	mux.Handle("/{$}", methods{"GET": s.listPage})
	mux.Handle("/incidents/{id}", methods{"GET": s.incidentPage})
	mux.Handle("/services", methods{"GET": s.servicesPage})
	mux.Handle("/services/{name}", methods{"GET": s.servicePage})
	mux.Handle("/oncall", methods{"GET": s.onCallPage})
	mux.Handle("/route", methods{"GET": s.routePage})
	mux.Handle("/risks", methods{"GET": s.risksPage})
	mux.Handle("/reports/weekly", methods{"GET": s.reportPage})
}

func (s *Server) listPage(w http.ResponseWriter, r *http.Request) {
	f := engine.Filter{State: r.URL.Query().Get("state"), Cursor: r.URL.Query().Get("cursor")}
	title, state := "Open incidents", "open"
	switch {
	case f.State == "all":
		title, state, f.State = "Incidents", "all", ""
	case f.State == "" || !listStates[f.State]:
		f.State = "open"
	case f.State != "open":
		title, state = "Incidents: "+f.State, f.State
	}
	list, next, err := s.incidents(r.Context(), f)
	if err != nil {
		s.answer(w, r, err)
		return
	}
	data := struct {
		Title, State, Next string
		Incidents          []row
		frame
	}{frame: s.frame(), Title: title, State: state, Next: next}
	snap, now := s.engine.Snapshot(), s.engine.Now()
	for i := range list {
		inc := &list[i]
		if inc.Confidential {
			continue
		}
		data.Incidents = append(data.Incidents, row{
			ID: inc.ID, Name: subjectName(*inc), Urgency: string(inc.Urgency), Alert: alertName(inc),
			Since: longClock(inc.OpenedAt), With: inc.AcknowledgedBy(), Next: nextStep(snap, inc, now, brief),
			State: inc.State, Exhausted: inc.Exhausted, Test: inc.Kind == escalation.Test, Held: inc.Held, Stale: inc.Stale,
			Flapping: inc.Flapping(), Until: snoozedUntil(inc),
		})
	}
	render(w, http.StatusOK, "list", data)
}

func (s *Server) incidentPage(w http.ResponseWriter, r *http.Request) {
	inc, err := s.engine.Incident(r.Context(), r.PathValue("id"))
	// A confidential incident is not even known here.
	if errors.Is(err, engine.ErrNotFound) || err == nil && inc.Confidential {
		text(w, http.StatusNotFound, "There is no such incident, or it is not kept any more.")
		return
	}
	if err != nil {
		s.answer(w, r, unstored(err))
		return
	}
	type shownAlert struct{ Status, Labels, What, Since string }
	type line struct{ At, Text string }
	data := struct {
		Title, ID, Urgency, Subject, Assessment, Reason, Missing, Since, Closed, With, Next, Paged string
		State                                                                                      escalation.State
		Held, Until, Expires, Says                                                                 string
		Exhausted, Stale, Flapping, ByHand                                                         bool
		Alerts                                                                                     []shownAlert
		Timeline                                                                                   []line
		frame
	}{
		frame: s.frame(),
		Title: subjectName(inc) + ": " + alertName(&inc), ID: inc.ID, Urgency: string(inc.Urgency), Subject: inc.Subject,
		Assessment: string(inc.Assessment), Reason: inc.Reason, Since: longClock(inc.OpenedAt), Closed: longClock(inc.ClosedAt),
		With: inc.AcknowledgedBy(), Next: nextStep(s.engine.Snapshot(), &inc, s.engine.Now(), !brief), State: inc.State, Exhausted: inc.Exhausted,
		Held: inc.HeldBecause(), Stale: inc.Stale, Flapping: inc.Flapping(), Until: snoozedUntil(&inc),
	}
	if inc.State == escalation.Acknowledged && inc.Ack != nil {
		data.Expires = longClock(inc.Ack.Expires)
	}
	if data.ByHand = inc.Kind == escalation.ByHand; data.ByHand {
		data.Says = inc.Body
	}
	var missing, people []string
	for _, role := range inc.Missing {
		missing = append(missing, string(role))
	}
	for _, p := range inc.Paged {
		people = append(people, p.Handle)
	}
	data.Missing, data.Paged = strings.Join(missing, ", "), strings.Join(people, ", ")
	for _, a := range inc.Shown {
		status := "firing"
		if a.EndsAt != 0 {
			status = "resolved"
		}
		var labels []string
		for name, value := range a.Labels {
			labels = append(labels, name+"="+value)
		}
		slices.Sort(labels)
		what := a.Annotations["summary"]
		if what == "" {
			what = a.Annotations["description"]
		}
		data.Alerts = append(data.Alerts, shownAlert{status, strings.Join(labels, " "), what, longClock(a.StartsAt)})
	}
	for _, e := range inc.Timeline {
		data.Timeline = append(data.Timeline, line{e.At.Time().Format(time.DateTime) + " UTC", e.Text})
	}
	render(w, http.StatusOK, "incident", data)
}

// snoozedUntil is when a snooze ends; "" if there is none.
func snoozedUntil(inc *escalation.Incident) string {
	if inc.State != escalation.Snoozed {
		return ""
	}
	return longClock(inc.SnoozedUntil)
}

// brief leaves out as what they are paged: a list has room for the names.
const brief = true

// nextStep is who is paged next without an answer, and when; "" without a timer.
func nextStep(snap *engine.Snapshot, inc *escalation.Incident, now time.Time, short bool) string {
	at := inc.NextStepAt()
	if at == 0 {
		return ""
	}
	who := "nobody further is paged"
	switch n := snap.Next(inc, now); {
	case inc.Exhausted:
		who = "the fallback team again"
	case n != nil && len(n.Names) > 0:
		who = strings.Join(n.Names, ", ")
		if n.As != "" && !short {
			who += " (" + n.As + ")"
		}
	}
	return longClock(at) + ": " + who
}

func alertName(inc *escalation.Incident) string {
	switch inc.Kind {
	case escalation.Test:
		return "test page"
	case escalation.Drill:
		return "DRILL"
	case escalation.ByHand:
		return "paged by hand"
	case escalation.Alerts, escalation.Missed, escalation.Notice, escalation.Report:
	}
	for _, a := range inc.Shown {
		if n := a.Labels["alertname"]; n != "" {
			return n
		}
	}
	return "alert without a name"
}

// longClock is an instant with its day; "" for never.
func longClock(i escalation.Instant) string {
	if i == 0 {
		return ""
	}
	return i.Time().Format("2006-01-02 15:04 UTC")
}
