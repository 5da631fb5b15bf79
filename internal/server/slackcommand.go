package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/notifiers"
	"callchain/notifiers/slack"
	"callchain/routing/catalog"
	"callchain/routing/whois"
)

// command is a word after /callchain.
type command struct {
	word, usage, about string
	do                 func(*Server, context.Context, typed) (slack.Answer, error)
}

// commands are all of them, in the order of the help.
func commands() []command {
	return []command{
		{"oncall", "oncall [team or service]", "who is on call now, until when, and who is next", (*Server).commandOnCall},
		{"whois", "whois NAME", "what the catalog says of a service, a team or a person", (*Server).commandWhois},
		{"mine", "mine", "the open incidents that you were paged for or have, with a button to acknowledge", (*Server).commandMine},
		{"page", "page SERVICE-or-TEAM what is wrong", "page whoever is on call for it, now", (*Server).commandPage},
		{"override", "override", "how to stand in for a colleague", (*Server).commandOverride},
		{"help", "help", "this list", (*Server).commandHelp},
	}
}

// typed is a command with who typed it.
type typed struct {
	slack.Command
	who  escalation.Actor
	rest string // what follows the first word
}

// slackCommand answers /callchain. Whatever it says only the one who typed it sees.
func (s *Server) slackCommand(ctx context.Context, app Slack, payload []byte) (answer any, err error) {
	c, err := slack.ParseCommand(payload)
	if err != nil {
		return nil, err
	}
	// Who may not press may not ask either: the catalog is the members'.
	who, _, refusal := s.presser(ctx, app, slack.Interaction{User: c.User, TeamID: c.TeamID, EnterpriseID: c.EnterpriseID})
	if refusal != "" {
		return slack.Answer{Title: refusal}.Payload(), nil
	}
	word, rest, _ := strings.Cut(strings.TrimSpace(c.Text), " ")
	in := typed{c, who, strings.TrimSpace(rest)}
	do := (*Server).commandUnknown
	if word == "" {
		do = (*Server).commandHelp
	}
	for _, known := range commands() {
		if strings.EqualFold(word, known.word) {
			do = known.do
		}
	}
	said, err := do(s, ctx, in)
	if err != nil {
		s.log.Warn("command not answered", "command", word, "err", err)
		said = slack.Answer{Title: "callchain's store does not answer. Nothing changed; try again."}
	}
	said.Now = s.engine.Now()
	return said.Payload(), nil
}

func (s *Server) commandHelp(_ context.Context, in typed) (slack.Answer, error) {
	a := slack.Answer{Title: "What " + in.Name + " can do", Last: "Only you see the answers. To answer a page, use its buttons."}
	for _, c := range commands() {
		a.Lines = append(a.Lines, slack.AnswerLine{Name: in.Name + " " + c.usage, Before: c.about})
	}
	return a, nil
}

func (s *Server) commandUnknown(ctx context.Context, in typed) (slack.Answer, error) {
	a, err := s.commandHelp(ctx, in)
	word, _, _ := strings.Cut(strings.TrimSpace(in.Text), " ")
	var words []string
	for _, c := range commands() {
		words = append(words, c.word)
	}
	a.Title = fmt.Sprintf("%s knows no %q.", in.Name, notifiers.Clean(word, 40))
	if near := config.Nearest(strings.ToLower(word), words); near != "" {
		a.Title += " Did you mean " + near + "?"
	}
	return a, err
}

// mostTeams is how many teams one answer lists.
const mostTeams = 40

func (s *Server) commandOnCall(_ context.Context, in typed) (slack.Answer, error) {
	v, now := s.current(), s.engine.Now()
	name := in.rest
	if name == "" {
		return s.allOnCall(v, now), nil
	}
	t, svc := v.Catalog.Team(name), v.Catalog.Service(name)
	switch {
	case svc != nil && t == nil:
		a := slack.Answer{Title: "On call for " + svc.Name}
		for _, role := range config.Roles {
			if owner := svc.Owner(role); owner != nil {
				line := onCallLine(v, owner, now)
				line.Name = spoken(string(role)) + ", " + owner.Name
				a.Lines = append(a.Lines, line)
			}
		}
		if len(a.Lines) == 0 {
			a.Lines = []slack.AnswerLine{{Before: "No team owns it. Pages for it go to " + v.Router.Fallback().Name + "."}}
		}
		return a, nil
	case t != nil:
		return slack.Answer{Title: "On call for " + t.Name, Lines: []slack.AnswerLine{onCallLine(v, t, now)}}, nil
	}
	return slack.Answer{Title: capital(unknownName(v, "service and no team", name)) + "."}, nil
}

// allOnCall lists every team that has a schedule.
func (s *Server) allOnCall(v *view, now time.Time) slack.Answer {
	a := slack.Answer{Title: "Who is on call now"}
	left := 0
	for _, t := range v.Catalog.Teams() {
		switch {
		case t.Schedule == nil || t.Kind == config.Volunteer:
		case len(a.Lines) == mostTeams:
			left++
		default:
			a.Lines = append(a.Lines, onCallLine(v, t, now))
		}
	}
	switch {
	case len(a.Lines) == 0:
		a.Last = "No team has a schedule: the whole team is on call, always."
	case left > 0:
		a.Last = fmt.Sprintf("and %d more teams; name the one you want", left)
	default:
		a.Last = "Of teams without a schedule everybody is on call."
	}
	return a
}

func onCallLine(v *view, t *catalog.Team, now time.Time) slack.AnswerLine {
	line := slack.AnswerLine{Name: t.Name}
	rota := whois.OnCall(v.Catalog, []*catalog.Team{t}, now)
	if len(rota.OnCall) == 0 { // volunteers are told, never asked
		line.Before = "nobody: they are volunteers, who are told and never asked"
		return line
	}
	who := rota.OnCall[0]
	switch {
	case t.Schedule == nil:
		line.Before = "the whole team, always: " + strings.Join(who.People, ", ")
		return line
	case len(who.People) == 0 && len(who.StandIn) > 0:
		line.Before = "nobody; " + strings.Join(who.StandIn, ", ") + " would be asked"
	case len(who.People) == 0:
		line.Before = "nobody"
	default:
		line.Before = strings.Join(who.People, ", ")
	}
	switch {
	case len(who.Next) > 0 && who.NextFrom != nil:
		line.Before += ", then " + strings.Join(who.Next, ", ") + " from"
		line.At = *who.NextFrom
	case who.Until != nil:
		line.Before += " until"
		line.At = *who.Until
	}
	return line
}

func (s *Server) commandWhois(_ context.Context, in typed) (slack.Answer, error) {
	v := s.current()
	if in.rest == "" {
		return slack.Answer{Title: "Say who or what: " + in.Name + " whois NAME"}, nil
	}
	who := whois.Ask(v.Router, in.rest, s.engine.Now(), config.Page)
	if who.None() {
		return slack.Answer{Title: capital(unknownName(v, "service, team or person", in.rest)) + "."}, nil
	}
	// Places are named as the reviewers of the catalog know them.
	dir := filepath.Dir(v.Config.File) + string(filepath.Separator)
	return slack.Answer{Title: in.rest, Sheet: strings.ReplaceAll(who.Text(), dir, "")}, nil
}

// mostMine is how many incidents are looked through, newest first.
const mostMine = 1000

func (s *Server) commandMine(ctx context.Context, in typed) (slack.Answer, error) {
	list, next, err := s.engine.Incidents(ctx, engine.Filter{State: "open", Limit: mostMine})
	if err != nil {
		return slack.Answer{}, err
	}
	a := slack.Answer{Title: "Your open incidents"}
	left := 0
	for i := range list {
		inc := &list[i]
		if !concerns(inc, in.who.Handle) {
			continue
		}
		if len(a.Items) == 20 {
			left++
			continue
		}
		a.Items = append(a.Items, s.item(inc, in.who))
	}
	switch {
	case len(a.Items) == 0:
		a.Title = "No open incident is yours: you were paged for none, and have acknowledged none."
	case left > 0:
		a.Last = fmt.Sprintf("and %d more, not shown", left)
	case next != "":
		a.Last = fmt.Sprintf("These are of the newest %d open incidents; there are more.", mostMine)
	}
	return a, nil
}

// concerns tells whether somebody was paged for an incident, or has it.
func concerns(inc *escalation.Incident, handle string) bool {
	return inc.AcknowledgedBy() == handle || slices.ContainsFunc(inc.Paged, func(p escalation.Paged) bool { return p.Handle == handle })
}

func (s *Server) item(inc *escalation.Incident, who escalation.Actor) slack.Item {
	it := slack.Item{ID: inc.ID, Title: subjectName(*inc)}
	if len(inc.Shown) > 0 {
		it.Title += ": " + inc.Shown[0].Labels["alertname"]
	}
	state := string(inc.State)
	if by := inc.AcknowledgedBy(); by != "" && by == who.Handle {
		state += " by you"
	} else if by != "" {
		state += " by " + by
	}
	it.Text = fmt.Sprintf("%s, %s, %s, since %s", inc.ID, state, spoken(string(inc.Urgency)), notifiers.UTC(inc.OpenedAt.Time(), s.engine.Now()))
	if inc.State == escalation.Triggered {
		it.Token = escalation.ButtonToken(inc.ID, inc.Place())
	}
	return it
}

// commandPage pages by hand. Slack may bring the same command twice: its trigger
// is the key under which the second is the first.
func (s *Server) commandPage(ctx context.Context, in typed) (slack.Answer, error) {
	v := s.current()
	name, text, _ := strings.Cut(in.rest, " ")
	if name == "" || strings.TrimSpace(text) == "" {
		return slack.Answer{Title: "Say whom and why: " + in.Name + " page SERVICE-or-TEAM what is wrong"}, nil
	}
	target, err := subjectOf(v, "subject", name)
	if err != nil {
		return slack.Answer{Title: "Nobody was paged. " + detail(err)}, nil
	}
	text, err = textOf(text)
	if err != nil {
		return slack.Answer{Title: "Nobody was paged. " + detail(err)}, nil
	}
	if v.Config.Shadow.V {
		return slack.Answer{Title: "Nobody was paged: callchain runs in shadow, nothing is sent."}, nil
	}
	key := ""
	if in.TriggerID != "" {
		key = "slack:" + in.TriggerID
	}
	inc, err := s.engine.PageByHand(ctx, target, config.Page, text, in.who, key)
	if errors.Is(err, engine.ErrKeyReused) {
		return slack.Answer{Title: "Nobody was paged: this command was carried out already."}, nil
	}
	if err != nil {
		s.log.Error("page by hand not stored", "subject", target.Subject, "err", err)
		return slack.Answer{Title: "It is not certain that anybody was paged: callchain's store does not answer. Look for a page on the team's board, or try again."}, nil
	}
	a := slack.Answer{Title: "Paged for " + subjectName(inc), Lines: []slack.AnswerLine{{Name: inc.ID, Before: "pages " + strings.Join(inc.Asked, ", ")}}}
	if n := v.Next(&inc, s.engine.Now()); n != nil && len(n.Names) > 0 {
		a.Lines[0].Before += "; without an answer " + strings.Join(n.Names, ", ") + " at"
		a.Lines[0].At = n.At
	}
	return a, nil
}

func (s *Server) commandOverride(_ context.Context, _ typed) (slack.Answer, error) {
	return slack.Answer{
		Title: "Standing in for a colleague",
		Lines: []slack.AnswerLine{{Before: "There is no command for it yet. Add an override to the schedule in the catalog, and have it reviewed and loaded:"}},
		Sheet: "schedules:\n  - name: the-schedule\n    overrides:\n      - {member: who-stands-in, from: 2026-11-20T00:00:00, to: 2026-11-21T00:00:00}",
		Last:  "For one incident use Reassign… or Escalate to… on its message.",
	}, nil
}

func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
