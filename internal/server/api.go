package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/routing"
	"callchain/routing/catalog"
	"callchain/routing/whois"
)

// endpoint is a handler of the API: what it returns is answered as JSON.
type endpoint func(r *http.Request, v *view) (any, error)

func (s *Server) api(mux *http.ServeMux) {
	byPath := map[string]methods{}
	for _, op := range s.operations() {
		if byPath[op.path] == nil {
			byPath[op.path] = methods{}
		}
		byPath[op.path][op.method] = s.endpoint(op.scope, op.do)
	}
	for path, m := range byPath {
		mux.Handle("/api/v1/"+path, m)
	}
	// Without a pattern of its own "/api" would be redirected to "/api/".
	for _, rest := range []string{"/api", "/api/"} {
		mux.HandleFunc(rest, func(w http.ResponseWriter, r *http.Request) {
			refuse(w, r, http.StatusNotFound, "not_found", "there is nothing at this address")
		})
	}
}

func (s *Server) endpoint(need scope, h endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := s.current()
		if _, err := v.authorize(r, need); err != nil {
			s.answer(w, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 2*storeWithin)
		defer cancel()
		out, err := h(r.WithContext(ctx), v)
		if err != nil {
			s.answer(w, r, err)
			return
		}
		send(w, http.StatusOK, "application/json", out)
	}
}

// incident is an incident as the API shows it. All fields are always there;
// lists are never null.
type incident struct {
	ID             string             `json:"id"`
	State          escalation.State   `json:"state"`
	Exhausted      bool               `json:"exhausted"`
	Stale          bool               `json:"stale"`
	Held           bool               `json:"held"`
	Subject        string             `json:"subject"`
	Service        string             `json:"service"`
	Named          string             `json:"named"`
	Team           string             `json:"team"`
	Urgency        config.Urgency     `json:"urgency"`
	Assessment     catalog.Assessment `json:"assessment"`
	MissingRoles   []config.Role      `json:"missing_roles"`
	Risks          []routing.Risk     `json:"risks"`
	Alerts         []alert            `json:"alerts"`
	AcknowledgedBy string             `json:"acknowledged_by"`
	AcknowledgedAt *time.Time         `json:"acknowledged_at"`
	NextStepAt     *time.Time         `json:"next_step_at"`
	NextPeople     []string           `json:"next_people"` // handles; none when nobody further is paged then
	NextAs         string             `json:"next_as"`
	Timeline       []entry            `json:"timeline"`
	OpenedAt       time.Time          `json:"opened_at"`
	ClosedAt       *time.Time         `json:"closed_at"`
	Round          int                `json:"round"`
	Step           int                `json:"step"`
	Paged          []paged            `json:"paged"`
	AlsoAffected   []string           `json:"also_affected"`
	MatchedBy      string             `json:"matched_by"`
	Reason         string             `json:"reason"`
	Test           bool               `json:"test"`
	Shadow         bool               `json:"shadow"` // nothing is sent now: who is paged only would have been
	Drill          bool               `json:"drill"`
	Source         string             `json:"source"`
	GroupLabels    map[string]string  `json:"group_labels"`
	Firing         int                `json:"firing"`
	Truncated      int                `json:"truncated"`
	ExpiresAt      *time.Time         `json:"acknowledgement_expires_at"`
	SnoozedUntil   *time.Time         `json:"snoozed_until"`
	SnoozedBy      string             `json:"snoozed_by"`
	Declared       config.Urgency     `json:"declared_urgency"` // what somebody said it is; "" if nobody did
	Flapping       bool               `json:"flapping"`
	ByHand         bool               `json:"by_hand"`  // somebody paged: there are no alerts
	Text           string             `json:"text"`     // of a page by hand
	Recorded       bool               `json:"recorded"` // what was just done is on this machine's disk only: Redis is away, the escalation may still happen
}

type alert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     *time.Time        `json:"starts_at"`
	EndsAt       *time.Time        `json:"ends_at"`
	Fingerprint  string            `json:"fingerprint"`
	GeneratorURL string            `json:"generator_url"`
}

type entry struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
	By   string    `json:"by"`
}

type paged struct {
	Person string    `json:"person"`
	As     string    `json:"as"`
	At     time.Time `json:"at"`
	Step   int       `json:"step"`
	Failed string    `json:"failed"`
}

func show(v *view, inc *escalation.Incident, now time.Time) incident {
	env := escalation.Env{Router: v.Router, Settings: &v.Config.Escalation}
	out := incident{
		ID: inc.ID, State: inc.State, Exhausted: inc.Exhausted, Stale: inc.Stale, Held: inc.Held,
		Subject: inc.Subject, Service: inc.Service, Named: inc.Named, Team: env.Team(inc),
		Urgency: inc.Urgency, Assessment: inc.Assessment,
		MissingRoles: notNil(inc.Missing), Risks: notNil(inc.Risks),
		Alerts: []alert{}, AcknowledgedBy: inc.AcknowledgedBy(), NextStepAt: when(inc.NextStepAt()), NextPeople: []string{},
		Timeline: []entry{}, OpenedAt: inc.OpenedAt.Time(), ClosedAt: when(inc.ClosedAt),
		Round: inc.Round, Step: inc.Position, Paged: []paged{}, AlsoAffected: notNil(inc.AlsoAffected),
		MatchedBy: inc.MatchedBy, Reason: inc.Reason, Test: inc.Kind == escalation.Test, Drill: inc.Kind == escalation.Drill, Shadow: v.Config.Shadow.V,
		Source: inc.Source, GroupLabels: notNilMap(inc.GroupLabels), Firing: inc.Firing(), Truncated: inc.Truncated,
	}
	out.Declared, out.Flapping = inc.Declared, inc.Flapping()
	if out.ByHand = inc.Kind == escalation.ByHand; out.ByHand {
		out.Text = inc.Body
	}
	if inc.Ack != nil && out.AcknowledgedBy != "" {
		out.AcknowledgedAt = when(inc.Ack.At)
	}
	switch {
	case inc.State == escalation.Acknowledged && inc.Ack != nil:
		out.ExpiresAt = when(inc.Ack.Expires)
	case inc.State == escalation.Snoozed:
		out.SnoozedUntil = when(inc.SnoozedUntil)
		if inc.SnoozedBy != nil {
			out.SnoozedBy = inc.SnoozedBy.Handle
		}
	}
	for _, a := range inc.Shown {
		status := "firing"
		if a.EndsAt != 0 {
			status = "resolved"
		}
		out.Alerts = append(out.Alerts, alert{
			Status: status, Labels: notNilMap(a.Labels), Annotations: notNilMap(a.Annotations),
			StartsAt: when(a.StartsAt), EndsAt: when(a.EndsAt),
			Fingerprint: fmt.Sprintf("%016x", a.Fingerprint), GeneratorURL: a.Source,
		})
	}
	for _, e := range inc.Timeline {
		out.Timeline = append(out.Timeline, entry{e.At.Time(), e.Text, e.By})
	}
	if n := v.Next(inc, now); n != nil {
		out.NextPeople, out.NextAs = notNil(n.Names), n.As
	}
	for _, p := range inc.Paged {
		out.Paged = append(out.Paged, paged{p.Handle, p.As, p.At.Time(), p.Step, p.Failed})
	}
	return out
}

func when(i escalation.Instant) *time.Time {
	if i == 0 {
		return nil
	}
	t := i.Time()
	return &t
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func notNilMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

var listStates = map[string]bool{
	"": true, "open": true, "triggered": true, "acknowledged": true, "snoozed": true, "resolved": true,
}

// filter reads the query of a list.
func filter(r *http.Request) (engine.Filter, error) {
	q := r.URL.Query()
	f := engine.Filter{State: q.Get("state"), Service: q.Get("service"), Team: q.Get("team"), Cursor: q.Get("cursor")}
	if !listStates[f.State] {
		return f, fail(http.StatusBadRequest, "bad_request", "state is one of open, triggered, acknowledged, snoozed, resolved")
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return f, fail(http.StatusBadRequest, "bad_request", "limit is a number from 1 to 1000")
		}
		f.Limit = min(n, 1000)
	}
	return f, nil
}

func (s *Server) incidents(ctx context.Context, f engine.Filter) ([]escalation.Incident, string, error) {
	list, next, err := s.engine.Incidents(ctx, f)
	if errors.Is(err, engine.ErrBadCursor) {
		return nil, "", fail(http.StatusBadRequest, "bad_request", "this cursor was not returned as next before")
	}
	if err != nil {
		return nil, "", unstored(err)
	}
	return list, next, nil
}

type incidentList struct {
	Incidents []incident `json:"incidents"`
	Next      string     `json:"next"`
}

func (s *Server) listIncidents(r *http.Request, v *view) (any, error) {
	f, err := filter(r)
	if err != nil {
		return nil, err
	}
	// Aliases are names too.
	if svc := v.Catalog.Service(f.Service); f.Service != "" && svc != nil {
		f.Service = svc.Name
	}
	if t := v.Catalog.Team(f.Team); f.Team != "" && t != nil {
		f.Team = t.Name
	}
	list, next, err := s.incidents(r.Context(), f)
	if err != nil {
		return nil, err
	}
	out := incidentList{[]incident{}, next}
	for i := range list {
		out.Incidents = append(out.Incidents, show(v, &list[i], s.engine.Now()))
	}
	return out, nil
}

func (s *Server) showIncident(r *http.Request, v *view) (any, error) {
	inc, err := s.engine.Incident(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, unstored(err)
	}
	return show(v, &inc, s.engine.Now()), nil
}

func readAll(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, fail(http.StatusRequestEntityTooLarge, "too_large", "the body is larger than 1 MiB")
	}
	if err != nil {
		return nil, fail(http.StatusBadRequest, "bad_request", "the body could not be read to its end")
	}
	return body, nil
}

// actor is the person that a request says it acts for.
func actor(r *http.Request, v *view, handle string) (escalation.Actor, error) {
	if handle == "" {
		return escalation.Actor{}, fail(http.StatusUnprocessableEntity, "by_missing", `say who does it: {"by": "handle"} with a handle of the catalog`)
	}
	p := v.Catalog.Person(handle)
	if p == nil {
		return escalation.Actor{}, fail(http.StatusUnprocessableEntity, "unknown_person",
			fmt.Sprintf("by: no person of the catalog has the handle %q; use the name under people in the catalog", handle))
	}
	via := "api"
	if strings.HasPrefix(r.UserAgent(), "callchain/") {
		via = "cli"
	}
	return escalation.Actor{Handle: p.Handle, Name: p.Handle, Via: via}, nil
}

func (s *Server) testPage(r *http.Request, v *view) (any, error) {
	o, err := readOrder(r)
	if err != nil {
		return nil, err
	}
	if o.Person == "" {
		return nil, fail(http.StatusUnprocessableEntity, "person_missing", `say who is to be paged: {"person": "handle"}`)
	}
	if v.Catalog.Person(o.Person) == nil {
		return nil, fail(http.StatusUnprocessableEntity, "unknown_person",
			fmt.Sprintf("person: no person of the catalog has the handle %q; use the name under people in the catalog", o.Person))
	}
	if v.Config.Shadow.V {
		return nil, fail(http.StatusConflict, "shadow", "shadow is true in callchain.yml: nothing is sent, and no test page either")
	}
	if o.By == "" {
		o.By = o.Person
	}
	by, err := actor(r, v, o.By)
	if err != nil {
		return nil, err
	}
	inc, err := s.engine.TestPage(r.Context(), o.Person, by)
	if err != nil {
		return nil, unstored(err)
	}
	return show(v, &inc, s.engine.Now()), nil
}

// daemonStatus is what the daemon says of itself.
type daemonStatus struct {
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	Now       time.Time `json:"now"`
	Ready     bool      `json:"ready"`
	Shadow    bool      `json:"shadow"`
	Config    string    `json:"config_file"`
	Services  int       `json:"services"`
	Teams     int       `json:"teams"`
	People    int       `json:"people"`
	Fallback  string    `json:"fallback_team"`
	Channels  []string  `json:"channels"`
}

func (s *Server) status(r *http.Request, v *view) (any, error) {
	ready := s.engine.Ready(r.Context())
	out := daemonStatus{
		s.deps.Version, s.started.UTC(), s.engine.Now().UTC(), ready == nil, v.Config.Shadow.V, v.Config.File,
		len(v.Catalog.Services()), len(v.Catalog.Teams()), len(v.Catalog.People()), v.Router.Fallback().Name, []string{},
	}
	if v.Config.Notifiers.Slack != nil {
		out.Channels = append(out.Channels, "slack")
	}
	if v.Config.Notifiers.Email != nil {
		out.Channels = append(out.Channels, "email")
	}
	return out, nil
}

type service struct {
	Name         string                 `json:"name"`
	State        config.State           `json:"state"`
	Tier         int                    `json:"tier"`
	Assessment   catalog.Assessment     `json:"assessment"`
	MissingRoles []config.Role          `json:"missing_roles"`
	Owners       map[config.Role]string `json:"owners"`
	Volunteers   []string               `json:"volunteers"`
	Policy       string                 `json:"policy"`
	Runbook      string                 `json:"runbook"`
	Dashboard    string                 `json:"dashboard"`
	Place        string                 `json:"place"`
}

func showService(svc *catalog.Service) service {
	out := service{
		Name: svc.Name, State: svc.State, Tier: svc.Tier, Assessment: svc.Assessment, MissingRoles: notNil(svc.MissingRoles),
		Owners: map[config.Role]string{}, Volunteers: []string{}, Policy: svc.Policy,
		Runbook: svc.Runbook, Dashboard: svc.Dashboard, Place: svc.Pos.String(),
	}
	for role, team := range svc.Owners {
		out.Owners[role] = team.Name
	}
	for _, t := range svc.Volunteers {
		out.Volunteers = append(out.Volunteers, t.Name)
	}
	return out
}

type serviceList struct {
	Services []service `json:"services"`
}

func (s *Server) listServices(_ *http.Request, v *view) (any, error) {
	out := serviceList{[]service{}}
	for _, svc := range v.Catalog.Services() {
		out.Services = append(out.Services, showService(svc))
	}
	return out, nil
}

func (s *Server) showService(r *http.Request, v *view) (any, error) {
	svc := v.Catalog.Service(r.PathValue("name"))
	if svc == nil {
		return nil, fail(http.StatusNotFound, "not_found", "the catalog has no service of this name or alias")
	}
	return showService(svc), nil
}

type team struct {
	Name     string          `json:"name"`
	Kind     config.TeamKind `json:"kind"`
	Members  []string        `json:"members"`
	Lead     string          `json:"lead"`
	Manager  string          `json:"manager"`
	Director string          `json:"director"`
	OnCall   []string        `json:"on_call"`
}

func showTeam(c *catalog.Catalog, t *catalog.Team, now time.Time) team {
	handle := func(p *catalog.Person) string {
		if p == nil {
			return ""
		}
		return p.Handle
	}
	out := team{Name: t.Name, Kind: t.Kind, Members: []string{}, Lead: handle(t.Lead), Manager: handle(t.Manager), Director: handle(t.Director), OnCall: []string{}}
	for _, p := range t.Members {
		out.Members = append(out.Members, p.Handle)
	}
	for _, p := range c.OnCall(t, now) {
		out.OnCall = append(out.OnCall, p.Handle)
	}
	return out
}

func (s *Server) teams(v *view) []team {
	list := []team{}
	for _, t := range v.Catalog.Teams() {
		list = append(list, showTeam(v.Catalog, t, s.engine.Now()))
	}
	return list
}

type teamList struct {
	Teams []team `json:"teams"`
}

func (s *Server) listTeams(_ *http.Request, v *view) (any, error) {
	return teamList{s.teams(v)}, nil
}

// onCall tells who is on call, now or at the instant of ?at=, for all teams or
// those of ?team=.
func (s *Server) onCall(r *http.Request, v *view) (any, error) {
	q := r.URL.Query()
	at := s.engine.Now()
	if text := q.Get("at"); text != "" {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, fail(http.StatusBadRequest, "bad_request", "at is an instant like 2026-11-20T22:00:00Z")
		}
		at = t
	}
	teams := v.Catalog.Teams()
	if q.Has("team") {
		teams = nil
		for _, name := range q["team"] {
			t := v.Catalog.Team(name)
			if t == nil {
				text := fmt.Sprintf("the catalog has no team %q", name)
				if v.Catalog.Service(name) != nil {
					text += ", but a service: ask callchain whois " + name
				}
				return nil, fail(http.StatusNotFound, "not_found", text)
			}
			teams = append(teams, t)
		}
	}
	return whois.OnCall(v.Catalog, teams, at), nil
}
